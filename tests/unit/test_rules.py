"""Selections and rules as plain data: what they select, and which are invalid."""

import pytest
from cases import each
from refusals import refused

from ssr_hydra.rules import Described, check_hyperparameter, parse_rules, parse_selection, selects

# Parameters of a model of three layers: an embedding that is tied with the head, a norm, and a linear layer.
TIED = Described((("wte.weight", ("Embedding",)), ("head.weight", ("Linear",))), ndim=2, layer=0, layers=3)
NORM = Described((("h.0.ln.weight", ("LlamaRMSNorm", "RMSNorm")),), ndim=1, layer=1, layers=3)
BIAS = Described((("h.0.fc.bias", ("Linear",)),), ndim=1, layer=1, layers=3)
MATRIX = Described((("h.0.fc.weight", ("Linear",)),), ndim=2, layer=1, layers=3)
LAST = Described((("out.weight", ("Linear",)),), ndim=2, layer=2, layers=3)
ALL = {"tied": TIED, "norm": NORM, "bias": BIAS, "matrix": MATRIX, "last": LAST}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, "tied norm bias matrix last"),
        ("*.bias", "bias"),
        ("bias", ""),  # a pattern fits a whole name
        ("h.*", "norm bias matrix"),  # * matches any text, also dots
        ({"name": ["wte.*", "out.*"]}, "tied last"),
        ({"name": "head.*"}, "tied"),  # by its second name
        ({"module": "*Norm*"}, "norm"),
        ({"module": "RMSNorm"}, "norm"),  # a user's class that is derived from it
        ({"module": "linear"}, ""),  # case matters
        ({"ndim": 1}, "norm bias"),
        ({"ndim": [0, 2]}, "tied matrix last"),
        ({"layer": -1}, "last"),
        ({"layer": [1, -3]}, "tied norm bias matrix"),
        ({"name": "head.*", "module": "Embedding"}, ""),  # of the same name
        ({"ndim": 2, "except": {"module": "Embedding"}}, "matrix last"),
        ({"ndim": 2, "except": [{"layer": -1}, "wte.*"]}, "matrix"),
        ({"except": {"ndim": 2, "except": "out.*"}}, "norm bias last"),
        ([{"ndim": 1}, "out.*"], "norm bias last"),  # one of them
        ({"ndim": 1, "name": None}, "norm bias"),  # null removes a condition
    ],
)
def test_selection_matches_the_expected_parameters(setting, expected):
    selections = parse_selection(setting, "params")
    assert [name for name, parameter in ALL.items() if selects(selections, parameter)] == expected.split()


@each(
    "setting,field",
    [
        *((setting, "params") for setting in ({}, [], 3, "")),
        *(({"ndim": value}, "params.ndim") for value in (-1, 1.5, "<=1")),
        ({"naem": "x"}, "params.naem"), ({"name": 3}, "params.name"), ({"module": [None]}, "params.module"),
        ({"layer": "last"}, "params.layer"), ({"except": {}}, "params.except"),
        ({"except": {"nmae": "x"}}, "params.except.nmae"), ([{"ndim": 1}, None], "params[1]"),
        ([{"ndim": 1}, {"ndim": "x"}], "params[1].ndim"),
    ],
)  # fmt: skip
def test_invalid_selections_are_refused(setting, field):
    with refused(field):
        parse_selection(setting, "params")


def test_rule_is_parsed():
    (rule,) = parse_rules({"head": {"params": {"layer": -1}, "betas": [0.9, 0.95], "lr_scale": 10, "layer_decay": 0.5}})
    assert (rule.name, rule.path) == ("head", "param_groups.head")
    assert rule.values == {"betas": (0.9, 0.95)}
    assert (rule.scales, rule.layer_decay, rule.layers) == ({"lr": 10}, 0.5, ())
    assert (rule.field_of("betas"), rule.field_of("lr")) == ("param_groups.head.betas", "param_groups.head.lr_scale")
    assert parse_rules({}) == ()


@each(
    "rules,field",
    [
        ([], "param_groups"),
        ({"a": None}, "param_groups.a"),
        ({"a": {}}, "param_groups.a"),
        ({"a": {"params": "*"}}, "param_groups.a"),  # the rule does not mention them
        ({"default": {"lr": 1}}, "param_groups.default"),
        ({"a+b": {"lr": 1}}, "param_groups.a+b"),
        ({1: {"lr": 1}}, "param_groups.1"),
        ({"a": {"name": "*.bias", "lr": 1}}, "param_groups.a.name"),
        ({"a": {"fused": True}}, "param_groups.a.fused"),
        ({"a": {"initial_lr": 1}}, "param_groups.a.initial_lr"),
        ({"a": {"lr": None}}, "param_groups.a.lr"),
        ({"a": {"lr": "fast"}}, "param_groups.a.lr"),
        ({"a": {"weight_decay": -0.1}}, "param_groups.a.weight_decay"),
        ({"a": {"betas": [0.9, 1]}}, "param_groups.a.betas[1]"),
        ({"a": {"lr_scale": -1}}, "param_groups.a.lr_scale"),
        ({"a": {"lr": 1, "lr_scale": 2}}, "param_groups.a.lr_scale"),
        *(({"a": {"layer_decay": value}}, "param_groups.a.layer_decay") for value in (0, 1.1, -1, True, "x")),
        ({"a": {"lr": 1, "layers": "h.*"}}, "param_groups.a.layers"),
        ({"a": {"layer_decay": 0.5, "layers": []}}, "param_groups.a.layers"),
        ({"a": {"lr": 1}, "b": {"lr": 1, "params": {"x": 1}}}, "param_groups.b.params.x"),
    ],
)
def test_invalid_rules_are_refused(rules, field):
    with refused(field):
        parse_rules(rules)


def test_ranges_of_hyperparameters_are_checked_by_name():
    for key, value in (("lr", 0), ("betas", (0, 0.999)), ("nesterov", True), ("amsgrad", False), ("foreach", None)):
        check_hyperparameter(key, value, key)
    for key, value, field in (
        ("lr", -1, "x"), ("lr", True, "x"), ("momentum", 1, "x"), ("betas", (0.5, 1.0), "x[1]"),
        ("eps", float("nan"), "x"), ("anything", float("inf"), "x"), ("anything", {}, "x"),
    ):  # fmt: skip
        with refused(field):
            check_hyperparameter(key, value, "x")
