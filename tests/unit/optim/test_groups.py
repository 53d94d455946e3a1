"""Param groups by rule: the parameters and the values of each group."""

import pytest
import torch
from cases import each
from refusals import refused
from torch import nn

from ssr_hydra.errors import ConflictError, MissingValueError, RangeError, WrongTypeError
from ssr_hydra.models import MLP, ConvNet
from ssr_hydra.optim import param_groups, split_params

NO_DECAY = {"params": [{"ndim": [0, 1]}, {"name": ["bias", "*.bias"]}, {"module": "*Norm*"}], "weight_decay": 0.0}


def members(model, groups):
    """Return group name -> names of its parameters; check that every trainable parameter is in exactly one group."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    every = [parameter for group in groups for parameter in group["params"]]
    assert len(set(every)) == len(every)
    assert set(every) == {parameter for parameter in model.parameters() if parameter.requires_grad}
    return {group["name"]: [names[parameter] for parameter in group["params"]] for group in groups}


def by_name(groups, key):
    return {group["name"]: group[key] for group in groups}


def test_the_preset_no_decay_selects_biases_and_norms_of_a_conv_net():
    model = ConvNet()
    groups = param_groups(model, {"no_decay": NO_DECAY}, lr=0.1, weight_decay=0.5)
    assert members(model, groups) == {
        "default": ["features.0.weight", "features.3.weight", "classifier.weight"],
        "no_decay": ["features.1.weight", "features.1.bias", "features.4.weight", "features.4.bias", "classifier.bias"],
    }
    assert by_name(groups, "weight_decay") == {"default": 0.5, "no_decay": 0.0}
    assert by_name(groups, "lr") == {"default": 0.1, "no_decay": 0.1}


def test_the_preset_no_decay_selects_biases_norms_and_embeddings_of_a_transformer():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    group_members = members(model, param_groups(model, {"no_decay": NO_DECAY}))
    matrices = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
    assert group_members["default"] == [f"layers.{k}.{name}" for k in range(2) for name in matrices]
    assert len(group_members["no_decay"]) == 2 * 8  # four biases, and two norms with a scale and a bias each


def test_the_presets_no_decay_and_layer_decay_divide_a_resnet_into_param_groups():
    models = pytest.importorskip("torchvision.models")
    model = models.resnet18()
    groups = param_groups(model, {"no_decay": NO_DECAY, "deep": {"layer_decay": 0.5}}, lr=1.0, weight_decay=0.1)
    group_members = members(model, groups)
    # The stem, eight blocks and the classifier: each has a weight with decay and vectors without.
    assert len(groups) == 2 * 10
    assert group_members["deep[9]"] == ["fc.weight"]
    assert group_members["no_decay+deep[0]"] == ["bn1.weight", "bn1.bias"]
    vectors = [name for group, names in group_members.items() if "no_decay" in group for name in names]
    assert len(vectors) == 41  # 20 norms of two, and fc.bias
    for group in groups:
        layer = int(group["name"].split("[")[1][:-1])
        assert group["lr"] == 0.5 ** (9 - layer)
        assert group["weight_decay"] == (0.0 if group["name"].startswith("no_decay+") else 0.1)


def test_every_rule_that_selects_a_parameter_applies():
    model = MLP()
    rules = {
        "head": {"params": {"layer": -1}, "lr_scale": 10, "weight_decay": 0.3},
        "no_decay": {"params": "*.bias", "weight_decay": 0.0, "lr_scale": 2},
    }
    groups = param_groups(model, rules, lr=0.01, weight_decay=0.1)
    assert by_name(groups, "lr") == {"default": 0.01, "no_decay": 0.02, "head": 0.1, "head+no_decay": 0.2}
    # If two rules set the same value, the first counts.
    assert by_name(groups, "weight_decay") == {"default": 0.1, "no_decay": 0.0, "head": 0.3, "head+no_decay": 0.3}
    # A factor multiplies the value of a different rule. The factor of a tensor creates a new tensor.
    slow = {"slow": {"lr_scale": 0.5}, "head": {"params": {"layer": -1}, "lr": 0.4}}
    assert by_name(param_groups(model, slow, lr=0.1), "lr") == {"slow": 0.05, "slow+head": 0.2}
    groups = param_groups(model, {"head": {"params": {"layer": -1}, "lr_scale": 2}}, lr=torch.tensor(0.5))
    assert by_name(groups, "lr") == {"default": torch.tensor(0.5), "head": torch.tensor(1.0)}


def test_layer_decay_uses_layers_with_matching_names():
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 3, norm=nn.LayerNorm(8))
    groups = param_groups(model, {"deep": {"layer_decay": 0.5, "layers": "layers.?"}}, lr=1.0)
    assert by_name(groups, "lr") == {"deep[0]": 0.125, "deep[1]": 0.25, "deep[2]": 0.5, "deep[3]": 1.0}
    assert [len(group["params"]) for group in groups] == [12, 12, 12, 2]


def test_tied_parameters_are_in_one_group_and_frozen_parameters_are_in_no_group():
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 4), nn.Linear(4, 6))
    model[2].weight = model[0].weight
    model[1].weight.requires_grad_(False)
    groups = param_groups(model, {"embedding": {"params": {"module": "Embedding"}, "lr": 1.0}}, lr=0.1)
    assert members(model, groups) == {"default": ["1.bias", "2.bias"], "embedding": ["0.weight"]}
    head = param_groups(model, {"head": {"params": "2.*", "lr": 1.0}}, lr=0.1)
    assert members(model, head)["head"] == ["0.weight", "2.bias"]  # tied, so its other name is 2.weight


def test_groups_can_be_limited_to_some_parameters():
    model = MLP()
    parts = split_params(model, {"weights": {"ndim": 2}, "rest": None})
    groups = param_groups(model, {"head": {"params": {"layer": -1}, "lr": 1.0}}, among=parts["rest"], lr=0.1)
    assert [(group["name"], [p.ndim for p in group["params"]]) for group in groups] == [("default", [1]), ("head", [1])]
    with refused("among", WrongTypeError):
        param_groups(model, {}, among=[nn.Parameter(torch.zeros(2))])


def test_torch_accepts_the_groups_and_keeps_their_names():
    model = ConvNet()

    def optimizer():
        rules = {"no_decay": NO_DECAY, "head": {"params": {"layer": -1}, "lr_scale": 10}}
        return torch.optim.AdamW(param_groups(model, rules, lr=0.01, betas=(0.9, 0.95)), fused=True)

    first = optimizer()
    model(torch.randn(4, 1, 8, 8)).square().mean().backward()
    before = [parameter.clone() for parameter in model.parameters()]
    first.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    names = ["default", "no_decay", "head", "no_decay+head"]
    assert [group["name"] for group in first.param_groups] == names
    assert {group["betas"] for group in first.param_groups} == {(0.9, 0.95)}
    again = optimizer()
    again.load_state_dict(first.state_dict())
    assert [group["name"] for group in again.param_groups] == names


@each(
    "rules,field,says",
    [
        ({"a": {"params": "x.*", "lr": 1}}, "param_groups.a.params", "parameters are features.0.weight"),
        ({"a": {"params": {"module": "BatchNorm*"}, "lr": 1}}, "param_groups.a.params", "Conv2d, GroupNorm, Linear"),
        ({"a": {"params": {"ndim": 3}, "lr": 1}}, "param_groups.a.params", "the values of ndim are 1, 2, 4"),
        ({"a": {"params": {"layer": 3}, "lr": 1}}, "param_groups.a.params", "layers are 0 to 2"),
        ({"a": {"lr": 1}, "b": {"params": "*.bias", "lr": 2}}, "param_groups.b", "move this rule to the top"),
        ({"a": {"momentum_scale": 2}}, "param_groups.a.momentum_scale", "needs a value of momentum"),
        ({"a": {"betas_scale": 2}}, "param_groups.a.betas_scale", "can multiply only a number, but betas"),
        ({"a": {"dampening_scale": 2}, "b": {"alpha_scale": 3}}, "param_groups.b.alpha_scale", "must be below 1"),
        ({"a": {"layer_decay": 0.5, "layers": "block.*"}}, "param_groups.a.layers", "features.0"),
    ],
)
def test_rules_that_do_not_fit_the_model_are_refused(rules, field, says):
    with refused(field) as info:
        param_groups(ConvNet(), rules, lr=0.1, betas=(0.9, 0.99), dampening=0.0, alpha=0.5)
    assert says in str(info.value)


def test_object_that_is_not_a_model_or_has_nothing_to_train_is_refused():
    with refused("model", WrongTypeError):
        param_groups([], {})
    frozen = MLP().requires_grad_(False)
    with refused("model", MissingValueError):
        param_groups(frozen, {})
    frozen.layers[1].requires_grad_(True)
    with refused("param_groups.a.params", ConflictError):
        param_groups(frozen, {"a": {"params": "layers.3.*", "lr": 1}})
    with refused("weight_decay", RangeError):
        param_groups(frozen, {}, weight_decay=-1)


@each(
    "takers,field,says",
    [
        ({"a": {"ndim": 1}}, "a.params", "must select every parameter, but none of them selects 'features.0.weight'"),
        (
            {"a": {"ndim": 1}, "b": "*.weight", "c": None}, "b.params",
            "must not select 'features.1.weight', which the optimizer 'a' also selects",
        ),
        ({"a": None, "b": None}, "b.params", "'a' already has all remaining"),
        ({"a": {"except": "nothing"}, "b": None}, "b.params", "has no parameters"),
        ({"a": {"ndim": 3}, "b": None}, "a.params", "selects no parameter"),
        ({"a": {"ndim": "x"}, "b": None}, "a.params.ndim", "an integer"),
        ({}, "takers", "must be a mapping"),
        (None, "takers", "must be a mapping"),
    ],
)  # fmt: skip
def test_every_parameter_is_in_exactly_one_optimizer(takers, field, says):
    with refused(field) as info:
        split_params(ConvNet(), takers)
    assert says in str(info.value)
