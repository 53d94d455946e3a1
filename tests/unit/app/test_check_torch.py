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
from ssr_hydra.errors import ConflictError, MissingValueError, RangeError, UntrustedError
from ssr_hydra.torch_schedulers import CosineAnnealingLR, LinearLR, SequentialLR, StepLR

NAMES = [name for name in GROUPS["scheduler"] if name.startswith("torch_")]
OF_FUNCTIONS = ("torch_lambda", "torch_multiplicative")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_FUNCTIONS])
def test_every_torch_scheduler_is_valid(composed: Callable[..., DictConfig], name: str) -> None:
    values = check(composed(f"scheduler={name}", "ssr=0.3"))
    scheduler = make_schedulers(values, (), [])
    assert type(scheduler).__module__.startswith("ssr_hydra.torch_schedulers.")
    assert f"ssr_hydra.torch_schedulers.{type(scheduler).__name__}" == values["scheduler"]["_target_"]


@pytest.mark.parametrize("name", OF_FUNCTIONS)
def test_function_in_a_torch_scheduler_must_be_set_and_trusted(composed: Callable[..., DictConfig], name: str) -> None:
    with refused("scheduler.lr_lambda", MissingValueError):
        check(composed(f"scheduler={name}"))
    function = ["+scheduler.lr_lambda._target_=mine.decay", "+scheduler.lr_lambda._partial_=true"]
    with refused("scheduler.lr_lambda._target_", UntrustedError, match=r"trust=\[mine\]"):
        check(composed(f"scheduler={name}", "scheduler.lr_lambda={}", *function))
    check(composed(f"scheduler={name}", "scheduler.lr_lambda={}", *function), trust="mine")


def test_argument_of_a_torch_scheduler_may_be_a_number_of_steps_or_a_time(composed: Callable[..., DictConfig]) -> None:
    values = check(composed("scheduler=torch_step", "scheduler.step_size=30", "scheduler.pace=batch"))
    assert make_schedulers(values, (), []) == StepLR(30, 0.1, pace="batch")
    values = check(composed("scheduler=torch_step", "scheduler.step_size=30ba"))
    assert make_schedulers(values, (), []) == StepLR("30ba", 0.1)


def test_overrides_can_change_the_parts_of_a_sequence(composed: Callable[..., DictConfig]) -> None:
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


def test_name_of_a_torch_class_gives_the_matching_scheduler_of_this_package(
    composed: Callable[..., DictConfig],
) -> None:
    target = "scheduler._target_=torch.optim.lr_scheduler.StepLR"
    values = check(composed("scheduler=custom", target, "+scheduler.step_size=3ep", "ssr=0.5"))
    assert make_schedulers(values, (), []) == StepLR("3ep")


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


def test_epoch_length_of_text_is_known_in_tokens(composed: Callable[..., DictConfig]) -> None:
    values = check(composed("experiment=byte_lm", "scheduler=torch_cosine"))  # the text has not been read
    # A batch is 8 windows of 16 bytes, so 204,800 tokens are 1,600 batches.
    with refused("scheduler.pace", RangeError):
        check_schedule(values, dataloader_len=1600)
    check_schedule(values, dataloader_len=1599)


def test_torch_schedulers_in_a_list_are_chained_and_multiply_other_schedules(
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
