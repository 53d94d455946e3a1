"""The clock of ScheduledLR: every unit is counted, and unknown counts are errors."""

from fractions import Fraction
from itertools import product

import pytest
from cases import each
from optim_helpers import rates, sgd, trace
from refusals import refused

from ssr_hydra.errors import MissingRateError, MissingValueError, RangeError
from ssr_hydra.optim import ScheduledLR
from ssr_hydra.schedulers import LinearScheduler, StepScheduler
from ssr_hydra.time import Timestamp

# --- units --------------------------------------------------------------------------------------------------------


@each("unit", ["samples", "tokens"])
def test_scheduled_lr_counts_what_step_gets_and_refuses_unknown_counts(unit):
    optimizer = sgd(1.0)
    schedule = LinearScheduler(), {"samples": "100sp", "tokens": "100tok"}[unit]
    scheduler = ScheduledLR(optimizer, schedule[0], max_duration=schedule[1])
    lrs = []
    for count in (10, 40, 25, 25):
        lrs += rates(optimizer)
        optimizer.step()
        scheduler.step(**{unit: count})
    assert lrs == [1.0, 0.9, 0.5, 0.25]
    assert scheduler.is_done
    assert getattr(scheduler.timestamp, unit) == 100
    uncounted = ScheduledLR(optimizer, StepScheduler("2ba"), max_duration=None)
    for arguments in ({}, {unit: 10}):  # no count, and a count for only some of the steps
        for options in (arguments, {}):
            uncounted.step(**options)
        with pytest.raises(MissingValueError, match=rf"call step\({unit}=\.\.\.\) or give {unit}_per_batch"):
            ScheduledLR(optimizer, schedule[0], max_duration=schedule[1]).load_state_dict(uncounted.state_dict())
    with refused(unit, MissingValueError):
        scheduler.step()


def test_tokens_per_batch_may_be_a_fraction():
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="10tok", tokens_per_batch=2.5)
    assert trace(optimizer, scheduler.step, 5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert scheduler.timestamp.token == Fraction(25, 2)


def test_argument_samples_of_step_overrides_samples_per_batch():
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(
        optimizer, LinearScheduler(), max_duration="2ep", dataloader_len=2, samples_per_batch=16, tokens_per_batch=100
    )
    optimizer.step()
    scheduler.step()
    optimizer.step()
    scheduler.step(samples=4)
    counts = {"epoch": 1, "epoch_in_iteration": 1, "batch": 2, "sample": 20, "token": 200, "token_in_iteration": 200}
    assert scheduler.timestamp.copy(seconds=0, iteration_seconds=0) == Timestamp(**counts)
    scheduler.step(tokens=60)
    now = scheduler.timestamp
    assert (now.token, now.sample, now.sample_in_epoch, now.token_in_epoch) == (260, 36, 16, 60)
    assert rates(optimizer) == [0.25]
    scheduler.step(samples=10)  # the last batch of epoch 1
    scheduler.step(samples=1)
    assert (scheduler.timestamp.sample, scheduler.timestamp.sample_in_epoch) == (47, 1)
    scheduler.timestamp = now  # in the middle of epoch 1
    scheduler.step(samples=0)
    assert (scheduler.timestamp.sample, scheduler.timestamp.epoch) == (36, 2)
    scheduler.timestamp = now.copy(sample=50, sample_in_epoch=30)
    assert (scheduler.timestamp.sample_in_epoch, scheduler.timestamp.token_in_epoch) == (30, 60)


def test_seconds_follow_the_wall_clock(clock):
    optimizer = sgd(1.0)

    def begin():
        return ScheduledLR(optimizer, LinearScheduler(), max_duration="80s", ssr=0.5)

    def step_after(seconds):
        clock.sleep(1000 * seconds)
        optimizer.step()
        scheduler.step()
        return rates(optimizer)

    scheduler = begin()
    assert step_after(10) == [0.75]
    assert scheduler.timestamp.seconds == 10
    clock.sleep(5000)
    assert scheduler.timestamp.seconds == 10  # time is read once per batch
    assert step_after(5) == [0.5]
    saved = scheduler.state_dict()
    clock.sleep(3_600_000)  # the program was not running
    scheduler = begin()
    scheduler.load_state_dict(saved)
    assert rates(optimizer) == [0.5]
    assert step_after(10) == [0.25]
    assert not scheduler.is_done
    step_after(10)
    assert scheduler.is_done


def test_function_in_a_scheduled_lr_gets_a_state():
    def epochs(state):
        assert state.dataloader_len == 2
        return 1.0 if state.timestamp.epoch < 2 else 0.5

    class Decay:
        def __call__(self, state, ssr=1.0):
            elapsed = state.get_elapsed_duration()
            return 1.0 if elapsed is None else 1 - float(elapsed)

    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, [epochs, Decay()], max_duration="4ep", dataloader_len=2)
    assert trace(optimizer, scheduler.step, 6) == [1, 0.875, 0.75, 0.625, 0.25, 0.1875]


def test_schedule_without_a_run_length_is_supported():
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, StepScheduler("2ba", 0.5), max_duration=None)
    assert trace(optimizer, scheduler.step, 4) == [1, 1, 0.5, 0.5]
    assert scheduler.max_duration is None
    assert not scheduler.is_done
    with refused("t_max", MissingRateError):
        ScheduledLR(sgd(), LinearScheduler(), max_duration=None)


# --- unknown counts are errors ------------------------------------------------------------------------------------


def test_function_that_reads_epochs_needs_dataloader_len():
    with refused("dataloader_len", MissingValueError):
        ScheduledLR(sgd(), lambda state: 1.0 if state.timestamp.epoch < 10 else 0.5, max_duration="10ba")
    with refused("t_max", MissingRateError):
        ScheduledLR(sgd(), LinearScheduler(), max_duration="10ep")
    scheduler = ScheduledLR(sgd(), StepScheduler("2ba"), max_duration="10ep")
    with refused("max_duration", MissingRateError):
        _ = scheduler.is_done


@each("name,value", product(["samples", "tokens"], [-1, float("nan"), True]))
def test_invalid_count_does_not_change_the_clock(name, value):
    optimizer = sgd()
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="10ba")
    optimizer.step()
    before = scheduler.state_dict()
    with pytest.raises(RangeError, match=name):
        scheduler.step(**{"samples": 3, "tokens": 3, name: value})
    assert scheduler.state_dict() == before
