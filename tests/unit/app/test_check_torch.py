"""torch's schedulers in a config: errors before torch is imported, and the created schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import DictConfig
from refusals import refused

from ssr_hydra.app.check import check, check_schedule
from ssr_hydra.app.factory import make_schedulers
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import ConflictError, InputError, MissingValueError, RangeError, UntrustedError
from ssr_hydra.torch_schedulers import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

NAMES = [name for name in GROUPS["scheduler"] if name.startswith("torch_")]
OF_FUNCTIONS = ("torch_lambda", "torch_multiplicative")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_FUNCTIONS])
def test_every_torch_scheduler_trains(composed: Callable[..., DictConfig], name: str) -> None:
    values = check(composed(f"scheduler={name}", "ssr=0.3"))
    made = make_schedulers(values, (), [])
    assert type(made).__module__.startswith("ssr_hydra.torch_schedulers.")
    assert f"ssr_hydra.torch_schedulers.{type(made).__name__}" == values["scheduler"]["_target_"]


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_function_arguments_must_be_given_and_trusted(composed: Callable[..., DictConfig], name: str) -> None:
    with refused("scheduler.lr_lambda", MissingValueError):
        check(composed(f"scheduler={name}"))
    function = ["+scheduler.lr_lambda._target_=mine.decay", "+scheduler.lr_lambda._partial_=true"]
    with refused("scheduler.lr_lambda._target_", UntrustedError, match=r"trust=\[mine\]"):
        check(composed(f"scheduler={name}", "scheduler.lr_lambda={}", *function))
    check(composed(f"scheduler={name}", "scheduler.lr_lambda={}", *function), trust="mine")


def test_arguments_may_be_steps_or_times(composed: Callable[..., DictConfig]) -> None:
    values = check(composed("scheduler=torch_step", "scheduler.step_size=30", "scheduler.pace=batch"))
    assert make_schedulers(values, (), []) == StepLR(30, 0.1, pace="batch")
    values = check(composed("scheduler=torch_step", "scheduler.step_size=30ba"))
    assert make_schedulers(values, (), []) == StepLR("30ba", 0.1)


def test_the_command_line_reaches_into_a_sequence(composed: Callable[..., DictConfig]) -> None:
    values = check(
        composed(
            "scheduler=torch_sequential",
            "scheduler.schedulers.warmup.start_factor=0.01",
            "scheduler.milestones=[500ba]",
            "scheduler.schedulers.decay.eta_min=1e-4",
            "scheduler.pace=batch",
        )
    )
    parts = {"warmup": LinearLR(0.01, total_iters="1dur"), "decay": CosineAnnealingLR("1dur", 1e-4)}
    assert make_schedulers(values, (), []) == SequentialLR(parts, ["500ba"], pace="batch")
    values = check(
        composed("scheduler=torch_sequential", "scheduler@scheduler.schedulers.decay=torch_step", "max_duration=9ep")
    )
    assert isinstance(make_schedulers(values, (), []).schedulers["decay"], StepLR)


def test_names_of_torch_classes_give_the_same_schedulers(composed: Callable[..., DictConfig]) -> None:
    target = "scheduler._target_=torch.optim.lr_scheduler.StepLR"
    values = check(composed("scheduler=custom", target, "+scheduler.step_size=3ep", "ssr=0.5"))
    assert make_schedulers(values, (), []) == StepLR("3ep")


@pytest.mark.parametrize(
    ("overrides", "field", "words"),
    [
        (["torch_step", "scheduler.step_size=0"], "scheduler.step_size", "must be above 0"),
        (["torch_step", "scheduler.step_size='3'"], "scheduler.step_size", "a duration needs a unit"),
        (["torch_step", "+scheduler.last_epoch=3"], "scheduler._target_", "last_epoch"),
        (["torch_multistep", "scheduler.milestones=[1ep,-3]"], "scheduler.milestones[1]", "at least 0"),
        (["torch_cosine", "max_duration=1ep"], "scheduler.pace", "within its first epoch, .*use scheduler.pace=batch"),
        (["torch_cosine", "max_duration=100ba", "ssr=0.5"], "scheduler.pace", "the learning rate would never change"),
        (["torch_step", "max_duration=2ep", "ssr=0.5", "control=truncate"], "scheduler.pace", "within its first epoch"),
        (["torch_onecycle", "scheduler.total_steps=9"], "scheduler.total_steps", "before the run does"),
        (["torch_onecycle", "optimizer=adagrad"], "scheduler.cycle_momentum", "Adagrad has no momentum"),
        (
            ["torch_onecycle", "+scheduler@schedules.momentum=cosine"],
            "scheduler.cycle_momentum",
            "cannot be used with schedules.momentum",
        ),
        (["torch_cyclic", "scheduler.step_size_down=4tok"], "scheduler.step_size_down", "tokens_per_batch"),
        (["torch_plateau", "data.eval=null", "trainer.objective=null"], "scheduler", "needs evaluation data"),
        (["torch_plateau", "scheduler.mode=min"], "scheduler.mode", "must be max, because a higher"),
        (["torch_plateau", "scheduler.mode=max", "trainer.objective=null"], "scheduler.mode", "must be min"),
        (["torch_sequential", "scheduler.milestones=[3,9]"], "scheduler.milestones", "one less"),
        (["torch_sequential", "scheduler.schedulers.decay=torch_step"], "scheduler.schedulers.decay", "not its name"),
        (["torch_sequential", "scheduler.schedulers.decay.pace=batch"], "scheduler.schedulers.decay.pace", "the whole"),
        (
            ["torch_chained", "scheduler@scheduler.schedulers.decay=torch_cosine_restarts"],
            "scheduler.schedulers.decay",
            "it overwrites the learning rate of the others",
        ),
        (
            ["torch_chained", "scheduler@scheduler.schedulers.decay=cosine"],
            "scheduler.schedulers.decay",
            "must be one of ssr_hydra.torch_schedulers.*to multiply with others",
        ),
        (
            ["product", "scheduler@scheduler.factors.decay=torch_step"],
            "scheduler.factors.decay",
            "to multiply both, list them: .*YAML",
        ),
        (
            ["sequence", "scheduler@scheduler.phases.warmup.scheduler=torch_step"],
            "scheduler.phases.warmup.scheduler",
            "to multiply both, list them: .*YAML",
        ),
        (
            ["constant", "optimizer.weight_decay=0.1", "+scheduler@schedules.weight_decay=torch_step"],
            "schedules.weight_decay",
            "whole optimizer",
        ),
    ],
)
def test_invalid_values_are_refused_at_composition(
    composed: Callable[..., DictConfig], overrides: list[str], field: str, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        check(composed(f"scheduler={overrides[0]}", *overrides[1:]))
    assert caught.value.field == field
    assert len(str(caught.value).splitlines()) == 1


# The digits have 1198 training images, 75 batches of 16.
@pytest.mark.parametrize(
    "overrides",
    [
        ["torch_cosine", "max_duration=1ep", "scheduler.pace=batch"],
        ["torch_cosine", "max_duration=1ep", "trainer.use_stepwise_scheduler=true"],
        ["torch_cosine", "max_duration=76ba"],
        ["torch_cosine", "max_duration=10m"],
        ["torch_onecycle", "max_duration=1ep"],
        ["torch_plateau", "max_duration=1ep"],
    ],
)
def test_short_run_is_accepted_if_a_pace_is_chosen_or_the_rate_changes(
    composed: Callable[..., DictConfig], overrides: list[str]
) -> None:
    check(composed(f"scheduler={overrides[0]}", *overrides[1:]))


def test_epoch_of_text_is_known_in_tokens(composed: Callable[..., DictConfig]) -> None:
    values = check(composed("experiment=byte_lm", "scheduler=torch_cosine"))  # the text has not been read
    # A batch is 8 windows of 16 bytes, so 204,800 tokens are 1,600 batches.
    with refused("scheduler.pace", RangeError):
        check_schedule(values, dataloader_len=1600)
    check_schedule(values, dataloader_len=1599)


def test_torch_schedulers_in_a_list_are_chained_and_multiply_with_ours(
    composed: Callable[..., DictConfig],
) -> None:
    def listed(*names: str) -> dict[str, Any]:
        values = dict(composed())
        values["scheduler"] = [composed(f"scheduler={name}").scheduler for name in names]
        return values

    check(listed("torch_step", "torch_exponential", "cosine"))
    check(listed("torch_cosine_restarts", "cosine"))
    with refused("scheduler[2]", ConflictError):
        check(listed("cosine", "torch_step", "torch_cosine_restarts"))
