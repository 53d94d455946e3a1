"""Errors of optimizers, rules and schedules of fields, found before torch is imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig

from ssr_hydra.app.check import check
from ssr_hydra.app.check_optimizers import optimizer_nodes
from ssr_hydra.errors import ConflictError, InputError, UnknownNameError

WEIGHT_DECAY = "+scheduler@schedules.weight_decay=cosine"


def refused(cfg: DictConfig | dict[str, Any], trust: str | tuple[str, ...] = ()) -> InputError:
    with pytest.raises(InputError) as info:
        check(cfg, trust)
    assert "\n" not in str(info.value)
    return info.value


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
        # 0 in the optimizer, but not in one of its groups.
        f"param_groups=no_decay param_groups.no_decay.weight_decay=0.1 {WEIGHT_DECAY}",
        "+scheduler@schedules.momentum=linear schedules.momentum.alpha_i=1.1",  # 0.9 * 1.1 = 0.99
        "~scheduler +scheduler@scheduler.default=cosine +scheduler@scheduler.head=linear "
        "+param_groups.head={params:{layer:-1},schedule:head}",
    ],
)
def test_valid_options_are_accepted(composed: Callable[..., DictConfig], overrides: str) -> None:
    check(composed(*overrides.split()))


@pytest.mark.parametrize(
    ("overrides", "field", "says"),
    [
        ("optimizer=muon_adamw optimizer.adamw.lr=-1", "optimizer.adamw.lr", "must be >= 0"),
        (
            "optimizer=muon_adamw optimizer.muon.params=null",
            "optimizer.adamw.params",
            "already takes all remaining parameters",
        ),
        ("optimizer=muon_adamw +optimizer.muon.params.ndmi=2", "optimizer.muon.params.ndmi", "did you mean ndim?"),
        ("optimizer=muon_adamw +optimizer.third={lr:1}", "optimizer", "must have a _target_"),
        (
            "optimizer=muon_adamw optimizer@optimizer.adamw=sgd optimizer.adamw.nesterov=true "
            "optimizer.adamw.momentum=0.0",
            "optimizer.adamw.nesterov",
            "set optimizer.adamw.momentum=0.9",
        ),
        (
            "param_groups=no_decay optimizer=sparseadam",
            "param_groups.no_decay.weight_decay",
            "does not have this hyperparameter",
        ),
        ("+param_groups.a={momentun:0.5}", "param_groups.a.momentun", "did you mean momentum?"),
        ("optimizer=adam +param_groups.a={momentum_scale:0.5}", "param_groups.a.momentum_scale", "torch.optim.Adam "),
        ("+param_groups.a={schedule:head,lr:1}", "param_groups.a.schedule", "all param groups have one schedule"),
        (
            "~scheduler +scheduler@scheduler.default=cosine +param_groups.a={schedule:head}",
            "param_groups.a.schedule",
            "there are default",
        ),
        ("+scheduler@schedules.lr=cosine", "schedules.lr", "use scheduler"),
        ("optimizer=adamw +scheduler@schedules.weight_dceay=cosine", "schedules.weight_dceay", "did you mean weight"),
        (
            "optimizer=adamw +scheduler@schedules.momentum=cosine",
            "schedules.momentum",
            "beta1, beta2, eps, weight_decay",
        ),
        ("optimizer=adamw +scheduler@schedules.amsgrad=cosine", "schedules.amsgrad", "no numeric field of this name"),
        (WEIGHT_DECAY, "schedules.weight_decay", "a multiplier has no effect"),
        (f"optimizer=adamw {WEIGHT_DECAY} schedules.weight_decay.t_max=3", "schedules.weight_decay.t_max", "unit"),
        (
            "+scheduler@schedules.momentum=linear_warmup schedules.momentum.t_warmup=99ep",
            "schedules.momentum.t_warmup",
            "",
        ),
        ("+schedules.momentum=[]", "schedules.momentum", "or a list of schedulers"),
        ("+scheduler@schedules.momentum.a=linear", "schedules.momentum", "or a list of schedulers"),
        ("+schedules.momentum={_target_:os.system}", "schedules.momentum._target_", "must be part of this package"),
        ("+schedules.momentum={_target_:ssr_hydra.models.MLP}", "schedules.momentum._target_", "is not a scheduler"),
        (
            "+scheduler@schedules.momentum=linear schedules.momentum.alpha_f=1.2",
            "schedules.momentum",
            "momentum must stay below 1, but alpha reaches 1.2, so momentum reaches 1.08",
        ),
        (
            "optimizer=adamw +scheduler@schedules.beta2=linear schedules.beta2.alpha_i=1.01",
            "schedules.beta2",
            "reaches 1.01",
        ),
    ],
)
def test_invalid_values_are_refused(composed: Callable[..., DictConfig], overrides: str, field: str, says: str) -> None:
    error = refused(composed(*overrides.split()))
    assert error.field == field
    assert says in str(error)


def test_a_torch_scheduler_drives_learning_rates_alone(experiment: dict[str, Any]) -> None:
    experiment["schedules"] = {"momentum": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}}
    assert refused(experiment).field.startswith("schedules.momentum")


def test_parameters_of_a_custom_optimizer_are_checked_when_it_is_created(experiment: dict[str, Any]) -> None:
    experiment["optimizer"] = {"_target_": "not_installed.Own", "lr": 1}
    experiment["param_groups"] = {"a": {"anything": 3}}
    experiment["schedules"] = {"something": {"_target_": "ssr_hydra.schedulers.LinearScheduler"}}
    check(experiment, "not_installed")
    experiment["schedules"]["something"]["t_max"] = "0ba"
    assert refused(experiment, "not_installed").field == "schedules.something.t_max"


def test_optimizers_are_named_by_their_config_keys(experiment: dict[str, Any]) -> None:
    node = experiment["optimizer"]
    assert list(optimizer_nodes(node)) == ["optimizer"]
    assert list(optimizer_nodes({"a": node, "b": node})) == ["optimizer.a", "optimizer.b"]
    for bad in ({}, {"a": node, "b": 3}, {"a": {}}, [node], "sgd", None):
        with pytest.raises(InputError, match="must (have|be a mapping with) a _target_"):
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
        assert refused(experiment).field == key


def test_no_decay_preset_needs_a_weight_decay_above_0(composed: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConflictError, match=r"^param_groups\.no_decay\.weight_decay=") as caught:
        check(composed("param_groups=no_decay"))
    assert caught.value.fix.startswith("set optimizer.weight_decay above 0")
    check(composed("param_groups=no_decay", "optimizer.weight_decay=1e-4"))
    check(composed("param_groups=no_decay", "optimizer=muon_adamw", "optimizer.muon.weight_decay=0"))
    check(composed("param_groups=no_decay", "+param_groups.no_decay.lr_scale=2"))  # this name means something else
    check(composed("param_groups=no_decay", "+param_groups.head={params: {layer: -1}, weight_decay: 0.1}"))


def test_the_value_of_a_field_that_is_0_is_shown(composed: Callable[..., DictConfig]) -> None:
    with pytest.raises(ConflictError, match=r"^schedules.weight_decay=0.0: "):
        check(composed("+scheduler@schedules.weight_decay=cosine"))
