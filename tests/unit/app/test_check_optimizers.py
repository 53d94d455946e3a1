"""Errors of optimizers, rules and schedules of fields, found before torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig
from refusals import refused

from ssr_hydra.app.check import check
from ssr_hydra.app.check_optimizers import optimizer_nodes
from ssr_hydra.errors import ConflictError, RangeError, UnknownNameError, WrongTypeError

WEIGHT_DECAY = "+scheduler@schedules.weight_decay=cosine"


@pytest.mark.parametrize(
    "overrides",
    [
        "optimizer=muon_adamw",
        "optimizer=muon_adamw optimizer.adamw.lr=1e-3 optimizer@optimizer.adamw=sgd",
        "optimizer=adamw param_groups=[no_decay,layer_decay] param_groups.layer_decay.layer_decay=0.8",
        "optimizer=muon_adamw param_groups=no_decay +param_groups.head={params:{layer:-1},lr_scale:10}",
        f"optimizer=muon_adamw {WEIGHT_DECAY} +scheduler@schedules.momentum=linear +scheduler@schedules.beta2=rex",
        # Muon has a momentum and AdamW has none: the schedule sets the group that has one.
        "optimizer=muon_adamw +scheduler@schedules.momentum=linear schedules.momentum.alpha_f=0.9",
        "+schedules.momentum=[{_target_:ssr_hydra.schedulers.LinearScheduler}]",
        # The weight decay is 0 in the optimizer, but not in the group no_decay.
        f"param_groups=no_decay param_groups.no_decay.weight_decay=0.1 {WEIGHT_DECAY}",
        "+scheduler@schedules.momentum=linear schedules.momentum.alpha_i=1.1",  # 0.9 * 1.1 = 0.99
        "~scheduler +scheduler@scheduler.default=cosine +scheduler@scheduler.head=linear "
        "+param_groups.head={params:{layer:-1},schedule:head}",
    ],
)
def test_valid_options_are_accepted(composed: Callable[..., DictConfig], overrides: str) -> None:
    check(composed(*overrides.split()))


@pytest.mark.parametrize(
    ("optimizer", "field", "rule"),
    [
        ("sgd_nesterov", "momentum", "momentum:0.95"),  # 0.95 * 1.1 = 1.045; the optimizer's 0.9 * 1.1 = 0.99 is valid
        ("sgd_nesterov", "momentum", "momentum_scale:1.05"),
        ("adamw", "beta1", "betas:[0.95,0.9]"),
    ],
)
def test_schedule_that_raises_the_momentum_of_a_rule_to_1_is_refused(
    composed: Callable[..., DictConfig], optimizer: str, field: str, rule: str
) -> None:
    overrides = [f"optimizer={optimizer}", f"+scheduler@schedules.{field}=linear", f"schedules.{field}.alpha_i=1.1"]
    check(composed(*overrides))
    with refused(f"schedules.{field}", RangeError):
        check(composed(*overrides, f"+param_groups.a={{params:x,{rule}}}"))


def test_parameters_of_a_custom_optimizer_are_checked_when_it_is_created(experiment: dict[str, Any]) -> None:
    experiment["optimizer"] = {"_target_": "not_installed.Own", "lr": 1}
    experiment["param_groups"] = {"a": {"anything": 3}}
    experiment["schedules"] = {"something": {"_target_": "ssr_hydra.schedulers.LinearScheduler"}}
    check(experiment, "not_installed")
    experiment["schedules"]["something"]["t_max"] = "0ba"
    with refused("schedules.something.t_max", RangeError):
        check(experiment, "not_installed")


def test_optimizers_are_named_by_their_config_keys(experiment: dict[str, Any]) -> None:
    node = experiment["optimizer"]
    assert list(optimizer_nodes(node)) == ["optimizer"]
    assert list(optimizer_nodes({"a": node, "b": node})) == ["optimizer.a", "optimizer.b"]
    for bad in ({}, {"a": node, "b": 3}, {"a": {}}, [node], "sgd", None):
        with refused("optimizer"):
            optimizer_nodes(bad)
    with pytest.raises(UnknownNameError):
        optimizer_nodes({"a.b": node})


def test_a_saved_config_may_omit_the_params_of_an_optimizer(experiment: dict[str, Any]) -> None:
    del experiment["optimizer"]["params"]
    check(experiment)


@pytest.mark.parametrize("key", ["param_groups", "schedules"])
def test_values_of_the_wrong_kind_are_refused(experiment: dict[str, Any], key: str) -> None:
    for value in (None, [], "no_decay", 3):
        experiment[key] = value
        with refused(key, WrongTypeError):
            check(experiment)


def test_the_preset_no_decay_needs_a_weight_decay_above_0(composed: Callable[..., DictConfig]) -> None:
    with refused("param_groups.no_decay.weight_decay", ConflictError):
        check(composed("param_groups=no_decay"))
    check(composed("param_groups=no_decay", "optimizer.weight_decay=1e-4"))
    check(composed("param_groups=no_decay", "optimizer=muon_adamw", "optimizer.muon.weight_decay=0"))
    check(composed("param_groups=no_decay", "+param_groups.no_decay.lr_scale=2"))  # lr_scale has an effect
    check(composed("param_groups=no_decay", "+param_groups.head={params: {layer: -1}, weight_decay: 0.1}"))
