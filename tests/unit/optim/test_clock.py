"""The clock of ScheduledLR: every unit is counted, and unknown counts are errors."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

import pytest
from optim_helpers import rates, sgd, trace
from refusals import refused

from ssr_hydra.errors import MissingRateError, MissingValueError, RangeError
from ssr_hydra.optim import ScheduledLR
from ssr_hydra.schedulers import (
    LinearScheduler,
    StepScheduler,
)
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp

# --- units --------------------------------------------------------------------------------------------------------


def test_scheduled_lr_counts_the_samples_that_step_gets() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="100sp")
    lrs = []
    for samples in (10, 40, 25, 25):
        lrs += rates(optimizer)
        optimizer.step()
        scheduler.step(samples=samples)
    assert lrs == [1.0, 0.9, 0.5, 0.25]
    assert scheduler.is_done
    assert scheduler.timestamp.sample == 100


def test_argument_samples_of_step_overrides_samples_per_batch() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(
        optimizer, LinearScheduler(), max_duration="2ep", dataloader_len=2, samples_per_batch=16, tokens_per_batch=100
    )
    optimizer.step()
    scheduler.step()
    optimizer.step()
    scheduler.step(samples=4)
    assert scheduler.timestamp == Timestamp(
        epoch=1,
        epoch_in_iteration=1,
        batch=2,
        sample=20,
        token=200,
        token_in_iteration=200,
        seconds=scheduler.timestamp.seconds,
        iteration_seconds=scheduler.timestamp.seconds,
    )
    scheduler.step(tokens=60)
    assert scheduler.timestamp.token == 260
    assert scheduler.timestamp.sample == 36
    assert scheduler.timestamp.sample_in_epoch == 16
    assert scheduler.timestamp.token_in_epoch == 60
    assert rates(optimizer) == [0.25]


def test_tokens_per_batch_may_be_a_fraction() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="10tok", tokens_per_batch=2.5)
    assert trace(optimizer, scheduler.step, 5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert scheduler.timestamp.token == Fraction(25, 2)


def test_seconds_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10**9
    monkeypatch.setattr(time, "perf_counter_ns", lambda: now)
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="80s", ssr=0.5)
    assert rates(optimizer) == [1.0]
    now += 10 * 10**9
    assert rates(optimizer) == [1.0]
    optimizer.step()
    scheduler.step()
    assert rates(optimizer) == [0.75]
    assert scheduler.timestamp.seconds == 10
    now += 5 * 10**9
    assert scheduler.timestamp.seconds == 10  # time is read once per batch
    now += 5 * 10**9
    scheduler.step()
    assert rates(optimizer) == [0.5]
    saved = scheduler.state_dict()
    now += 3600 * 10**9  # the program was not running
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="80s", ssr=0.5)
    scheduler.load_state_dict(saved)
    assert rates(optimizer) == [0.5]
    now += 10 * 10**9
    scheduler.step()
    assert rates(optimizer) == [0.25]
    assert not scheduler.is_done
    now += 10 * 10**9
    scheduler.step()
    assert scheduler.is_done


def test_function_in_a_scheduled_lr_gets_a_state() -> None:
    def epochs(state: State) -> float:
        assert state.dataloader_len == 2
        return 1.0 if state.timestamp.epoch < 2 else 0.5

    class Decay:
        def __call__(self, state: State, ssr: float = 1.0) -> float:
            elapsed = state.get_elapsed_duration()
            return 1.0 if elapsed is None else 1 - float(elapsed)

    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, [epochs, Decay()], max_duration="4ep", dataloader_len=2)
    assert trace(optimizer, scheduler.step, 6) == [1, 0.875, 0.75, 0.625, 0.25, 0.1875]


def test_schedule_without_a_run_length_is_supported() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, StepScheduler("2ba", 0.5), max_duration=None)
    assert trace(optimizer, scheduler.step, 4) == [1, 1, 0.5, 0.5]
    assert scheduler.max_duration is None
    assert not scheduler.is_done
    with refused("t_max", MissingRateError):
        ScheduledLR(sgd(), LinearScheduler(), max_duration=None)


# --- unknown counts are errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["samples", "tokens"])
def test_schedule_without_its_counter_is_an_error(unit: str) -> None:
    duration = {"samples": "100sp", "tokens": "100tok"}[unit]
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration=duration)
    optimizer.step()
    with pytest.raises(MissingValueError, match=rf"call step\({unit}=\.\.\.\) or give {unit}_per_batch"):
        scheduler.step()


def test_counter_for_only_some_of_the_steps_is_refused() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="100sp")
    optimizer.step()
    scheduler.step(samples=10)
    with refused("samples", MissingValueError):
        scheduler.step()


def test_unknown_counter_stays_unknown_after_a_checkpoint() -> None:
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, StepScheduler("2ba"), max_duration=None)
    optimizer.step()
    scheduler.step(samples=10)
    scheduler.step()
    again = ScheduledLR(optimizer, LinearScheduler(), max_duration="100sp")
    with refused("samples", MissingValueError):
        again.load_state_dict(scheduler.state_dict())


def test_function_that_reads_epochs_needs_dataloader_len() -> None:
    with refused("dataloader_len", MissingValueError):
        ScheduledLR(sgd(), lambda state: 1.0 if state.timestamp.epoch < 10 else 0.5, max_duration="10ba")
    with refused("t_max", MissingRateError):
        ScheduledLR(sgd(), LinearScheduler(), max_duration="10ep")
    scheduler = ScheduledLR(sgd(), StepScheduler("2ba"), max_duration="10ep")
    with refused("max_duration", MissingRateError):
        _ = scheduler.is_done


@pytest.mark.parametrize("value", [-1, float("nan"), True])
@pytest.mark.parametrize("name", ["samples", "tokens"])
def test_invalid_count_does_not_change_the_clock(name: str, value: Any) -> None:
    optimizer = sgd()
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="10ba")
    optimizer.step()
    before = scheduler.state_dict()
    with pytest.raises(RangeError, match=name):
        scheduler.step(**{"samples": 3, "tokens": 3, name: value})
    assert scheduler.state_dict() == before
