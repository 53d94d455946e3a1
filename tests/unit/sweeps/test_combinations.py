"""The jobs of a sweep: ``zip`` pairs values, and other values are combined."""

from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from refusals import refused

from ssr_hydra.errors import InputError, RangeError
from ssr_hydra.sweeps.combinations import check_job_count, combinations, product_of, zips_of


def parsed(line):
    return OverridesParser.create().parse_overrides(line.split())


@pytest.mark.parametrize(
    ("line", "value", "jobs"),
    [
        ("ssr=1,2 lr=3,4", ["ssr", "lr"], ["ssr=1 lr=3", "ssr=2 lr=4"]),
        ("ssr=1,2 lr=3,4", [], ["ssr=1 lr=3", "ssr=1 lr=4", "ssr=2 lr=3", "ssr=2 lr=4"]),
        ("a=1,2 seed=0,1 b=3,4", ["a", "b"], ["a=1 seed=0 b=3", "a=1 seed=1 b=3", "a=2 seed=0 b=4", "a=2 seed=1 b=4"]),
        ("seed=0,1 a=1,2 b=3,4", ["b", "a"], ["seed=0 a=1 b=3", "seed=0 a=2 b=4", "seed=1 a=1 b=3", "seed=1 a=2 b=4"]),
        (
            "a=1,2 b=3,4 c=5,6 d=7,8",
            [["a", "c"], ["d", "b"]],
            ["a=1 b=3 c=5 d=7", "a=1 b=4 c=5 d=8", "a=2 b=3 c=6 d=7", "a=2 b=4 c=6 d=8"],
        ),
        ("a=1 b=2 seed=0,1", ["a", "b"], ["a=1 b=2 seed=0", "a=1 b=2 seed=1"]),
        ("a=range(1,3) b=choice(x,y)", ["a", "b"], ["a=1 b=x", "a=2 b=y"]),
        ("a={x:1},{} b=[1,2],[]", ["a", "b"], ["a={x:1} b=[1,2]", "a={} b=[]"]),
        ("a='x,y','=' b=1,2", ["a", "b"], ["a='x,y' b=1", "a='=' b=2"]),
        ("+a.b=1,2 g@c.d=x,y ++e=3,4", ["a.b", "g@c.d", "e"], ["+a.b=1 g@c.d=x ++e=3", "+a.b=2 g@c.d=y ++e=4"]),
    ],
)
def test_values_of_a_zip_are_paired_by_their_order(line, value, jobs):
    overrides = parsed(line)
    zips = zips_of(value, overrides, value)
    assert [" ".join(job) for job in combinations(overrides, zips)] == jobs
    assert check_job_count(overrides, zips) == len(jobs)


@pytest.mark.parametrize(
    ("line", "value", "rule"),
    [
        (
            "ssr=1 lr=1,2",
            ["ssr", "lr"],
            "zip=...: must list keys with the same number of values (got 1 for ssr, 2 for lr)",
        ),
        ("ssr=1,2 lr=1,2", ["ssr"], "zip=...: must list at least two keys (got ssr)"),
        ("ssr=1,2 lr=1,2", [["ssr", "lr"], ["seed"]], "zip=...: must list keys that the sweep varies (got seed)"),
        ("ssr=1,2 lr=1,2", ["ssr", "lrr"], "zip=...: must list keys that the sweep varies (got lrr); did you mean lr?"),
        (
            "",
            ["ssr", "lr"],
            "zip=...: must list keys that the sweep varies (got ssr); e.g. ssr=0.5,1 optimizer.lr=0.1,0.05 zip=",
        ),
        ("ssr=1,2 lr=1,2", ["ssr", "ssr"], "zip=...: must list each key only once (got ssr twice)"),
        ("a=1,2 b=1,2 c=1,2", [["a", "b"], ["b", "c"]], "zip=...: must list each key only once (got b twice)"),
        ("a=1,2 b=1,2 ++a=3,4", ["a", "b"], "zip=...: must list keys that the sweep sets only once (got a twice)"),
        ("ssr=1,2 lr=1,2", ["ssr", ["lr"]], "zip=...: must list keys (got ['lr'])"),
        ("ssr=1,2 lr=1,2", {"ssr": "lr"}, "zip=...: must list keys (got {'ssr': 'lr'})"),
        ("a=shuffle(1,2) b=1,2", ["a", "b"], "a='shuffle(1,2)': cannot be shuffled, because zip pairs values by their"),
        ("a=interval(0,1) b=1,2", ["a", "b"], "a='interval(0,1)': cannot be an interval"),
    ],
)
def test_zip_without_pairs_is_refused(line, value, rule):
    with pytest.raises(InputError) as caught:
        zips_of(value, parsed(line), "...")
    assert str(caught.value).replace("'...'", "...").startswith(rule)


def test_paired_ranges_are_counted_without_listing_them():
    overrides = parsed("a=range(10000) b=range(10000)")
    with refused("a", RangeError, match="makes a sweep of 100,000,000 jobs, but the limit is 10,000; .*pair them"):
        check_job_count(overrides)
    assert check_job_count(overrides, zips_of(["a", "b"], overrides, None)) == 10_000
    endless = parsed("a=range(0,1,0) b=range(0,1,0)")
    with refused("a", RangeError):
        check_job_count(endless, zips_of(["a", "b"], endless, None))


@pytest.mark.parametrize("value", ["range(0)", "range(3,0)", "range(0,3,-1)", "shuffle(range(0))", "glob(zz*)"])
def test_key_without_values_is_refused(value):
    loader = SimpleNamespace(get_group_options=lambda *_, **__: ["cosine", "rex"])
    overrides = OverridesParser.create(loader).parse_overrides(["ssr=0.5,1", f"scheduler={value}"])
    with refused("scheduler", RangeError, match="must have at least one value"):
        check_job_count(overrides)


def test_product_counts_the_values_of_each_axis():
    overrides = parsed("ssr=1,2 x=1 seed=range(3) lr=3,4")
    assert product_of(overrides) == "2 ssr x 3 seed x 2 lr"
    assert product_of(overrides, [("ssr", "lr")]) == "2 ssr,lr x 3 seed"
