"""Find the resolvers that a value calls, in every spelling."""

import pytest
from refusals import refused

from ssr_hydra.app.interpolations import check_interpolations
from ssr_hydra.errors import UntrustedError

HARMLESS = [
    None,
    3,
    "oc.env:HOME",
    "$HOME ${HOME}",
    "${a.b} ${..c} ${d[0]}",
    "${now:%Y} ${run_id:} ${hydra:job.num} ${oc.select:a,b}",
    r"\${oc.env:HOME}",
    "${broken:",
    {"a": ["${b}"]},
]


@pytest.mark.parametrize("node", HARMLESS)
def test_harmless_interpolations_are_accepted(node):
    check_interpolations(node, (), "")


@pytest.mark.parametrize(
    ("text", "resolver"),
    [
        ("${oc.env:HOME}", "oc.env"),
        ("a ${ oc.env : HOME } b", "oc.env"),
        (r"\\${oc.env:HOME}", "oc.env"),
        ("${now:${oc.env:HOME}}", "oc.env"),
        ("${oc.select:a,[{b: '${oc.env:HOME}'}]}", "oc.env"),
        ("${oc.${a}:HOME}", "oc.${a}"),
        ("${oc.decode:x}", "oc.decode"),
        ("${somebodys:}", "somebodys"),
    ],
)
def test_resolvers_are_refused_unless_trusted(text, resolver):
    with refused("x.a[0].b", UntrustedError) as caught:
        check_interpolations({"a": [{"b": text}]}, (), "x")
    assert f"resolver {resolver};" in str(caught.value)
    assert f"trust=[{resolver}]" in str(caught.value)
    check_interpolations(text, (resolver,), "x")
