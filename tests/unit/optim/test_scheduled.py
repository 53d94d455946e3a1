"""ScheduledLR in a plain loop: SSR, the end of the run, resuming, torch's combinators."""

import copy
import math
import pickle

import pytest
import torch
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from optim_helpers import rates, sgd, through_a_file, trace
from refusals import refused
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LinearLR, SequentialLR

from ssr_hydra.errors import MissingRateError, MissingValueError, WrongTypeError
from ssr_hydra.optim import ScheduledLR
from ssr_hydra.schedulers import (
    ConstantScheduler,
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    StepScheduler,
)
from ssr_hydra.time import Time, Timestamp
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, StepLR

# --- a plain loop ------------------------------------------------------------------------------------------------


def test_plain_loop_follows_the_schedule():
    optimizer = sgd(0.1)
    scheduler = ScheduledLR(optimizer, CosineAnnealingWithWarmupScheduler("2ba"), max_duration="12ba", ssr=0.5)
    lrs = []
    while not scheduler.is_done:
        lrs += trace(optimizer, scheduler.step, 1)
    cosine = [0.1 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert lrs == pytest.approx([0.0, 0.05, *cosine])
    assert scheduler.max_duration == Time("6ba")
    assert rates(optimizer) == [0.0]


@each(
    "options,steps",
    [
        ({"max_duration": "7ba", "ssr": 0.5}, 4),  # 3.5 batches: the run ends at the first boundary after them
        ({"max_duration": "3ep", "dataloader_len": 5, "ssr": 0.5}, 8),
        ({"max_duration": "100sp", "samples_per_batch": 16}, 7),
        ({"max_duration": "3ep"}, None),
        ({"max_duration": "10m"}, None),
        ({"max_duration": None}, None),
    ],
)
def test_total_steps_is_known_if_the_run_length_converts_to_batches(options, steps):
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, StepScheduler("4ba"), **options)  # this schedule needs no length
    assert hasattr(scheduler, "total_steps") == (steps is not None)  # Accelerate tests this, then compares the value
    assert getattr(scheduler, "total_steps", None) == steps
    lrs = []
    while steps is not None and not scheduler.is_done:
        lrs += trace(optimizer, scheduler.step, 1)
    assert len(lrs) == (steps or 0)


def test_error_for_torch_schedulers_names_the_trainer():
    for schedulers, field in (
        ([LinearScheduler(), LinearLR(sgd(1.0))], "schedulers"),
        (ReduceLROnPlateau(), "schedulers"),
        ({"default": LinearScheduler(), "head": [StepLR(30)]}, "schedulers.head"),
    ):
        with refused(field, WrongTypeError):
            ScheduledLR(sgd(1.0), schedulers, max_duration="8ba")


def test_error_for_epochs_of_unknown_length_names_max_duration_and_the_fix():
    with refused("t_max", MissingRateError, match=r"max_duration \(5ep\), .*dataloader_len="):
        ScheduledLR(sgd(1.0), CosineAnnealingWithWarmupScheduler("10ba"), max_duration="5ep")
    with refused("max_duration", MissingRateError, match="dataloader_len="):
        _ = ScheduledLR(sgd(1.0), StepScheduler("4ba"), max_duration="5ep").is_done


def test_repr_shows_arguments_and_position():
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="8ba", ssr=0.5)
    trace(optimizer, scheduler.step, 3)
    text = repr(scheduler)
    assert text == f"ScheduledLR({LinearScheduler()!r}, max_duration='8ba', ssr=0.5, batch=3)"
    endless = ScheduledLR(sgd(1.0), StepScheduler("4ba"), max_duration=None)
    assert repr(endless).endswith(", max_duration=None, ssr=1, batch=0)")


@each(
    "argument,value",
    [
        ("max_duration", 10), ("dataloader_len", 2.5), ("samples_per_batch", -1), ("tokens_per_batch", float("nan")),
        ("ssr", "0.5x"), ("schedulers", []), ("optimizer", [sgd()]),
    ],
)  # fmt: skip
def test_error_for_an_invalid_argument_names_the_argument(argument, value):
    with refused(argument):
        ScheduledLR(**{"optimizer": sgd(), "schedulers": LinearScheduler(), "max_duration": "10ba", argument: value})


# --- torch's ways -------------------------------------------------------------------------------------------------


def test_scheduler_inside_sequential_lr_starts_when_its_phase_starts():
    optimizer = sgd(1.0)
    first = LinearLR(optimizer, start_factor=0.5, total_iters=2)
    second = ScheduledLR(optimizer, LinearScheduler(), max_duration="4ba", samples_per_batch=8)
    sequence = SequentialLR(optimizer, [first, second], milestones=[2])
    assert trace(optimizer, sequence.step, 6) == [0.5, 0.75, 1.0, 0.75, 0.5, 0.25]
    assert (second.timestamp.batch, second.timestamp.sample) == (4, 32)
    optimizer = sgd(1.0)  # as the first phase
    first_phase = ScheduledLR(optimizer, LinearScheduler(0.0, 1.0), max_duration="4ba")
    sequence = SequentialLR(optimizer, [first_phase, ConstantLR(optimizer, 0.5, total_iters=100)], milestones=[4])
    assert trace(optimizer, sequence.step, 6) == [0.0, 0.25, 0.5, 0.75, 0.5, 0.5]


def test_sequential_lr_of_torch_can_be_resumed():
    def begin():
        optimizer = sgd(1.0)
        first = LinearLR(optimizer, start_factor=0.5, total_iters=2)
        second = ScheduledLR(optimizer, LinearScheduler(), max_duration="8ba")
        return optimizer, SequentialLR(optimizer, [first, second], milestones=[2])

    optimizer, sequence = begin()
    expected = trace(optimizer, sequence.step, 9)
    optimizer, sequence = begin()
    lrs = trace(optimizer, sequence.step, 5)
    saved = through_a_file({"o": optimizer.state_dict(), "s": sequence.state_dict()})
    optimizer, sequence = begin()
    sequence.load_state_dict(saved["s"])
    optimizer.load_state_dict(saved["o"])
    assert lrs + trace(optimizer, sequence.step, 4) == expected


# --- resuming -----------------------------------------------------------------------------------------------------


@given(
    stop=st.integers(0, 20),
    with_samples=st.booleans(),
    ssr=st.sampled_from([0.35, 1.0, 1.3]),
    load_optimizer_first=st.booleans(),
)
def test_resumed_run_continues_with_bitwise_equal_rates(stop, with_samples, ssr, load_optimizer_first):
    def begin():
        optimizer = sgd(0.3, torch.tensor(0.7))
        schedule = CosineAnnealingWithWarmupScheduler("0.1dur")
        per_batch = None if with_samples else 9
        return optimizer, ScheduledLR(
            optimizer, schedule, max_duration="200sp", dataloader_len=4, samples_per_batch=per_batch, ssr=ssr
        )

    def run(scheduler, first, last):
        lrs = []
        for batch in range(first, last):
            lrs.append(rates(scheduler.optimizer))
            scheduler.optimizer.step()
            scheduler.step(samples=7 + batch % 5 if with_samples else None)
        return lrs

    optimizer, scheduler = begin()
    expected = run(scheduler, 0, 25)
    final = scheduler.timestamp.copy(seconds=0, iteration_seconds=0)
    optimizer, scheduler = begin()
    lrs = run(scheduler, 0, stop)
    saved = through_a_file({"o": optimizer.state_dict(), "s": scheduler.state_dict()})
    optimizer, scheduler = begin()
    if load_optimizer_first:
        optimizer.load_state_dict(saved["o"])
    scheduler.load_state_dict(saved["s"])
    if not load_optimizer_first:
        optimizer.load_state_dict(saved["o"])
    assert set(saved["s"]) == {"timestamp", "told", "_step_count"}  # only times, no rates
    assert lrs + run(scheduler, stop, 25) == expected
    assert scheduler.timestamp.copy(seconds=0, iteration_seconds=0) == final


@each("damage", [{"told": None}, {"told": [1]}, {"told": [-1, 5]}, {"_step_count": "x"}, {"timestamp": None}, {1: 2}])
def test_a_damaged_state_is_refused_and_changes_nothing(damage):
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="8ba")
    trace(optimizer, scheduler.step, 3)
    before = scheduler.state_dict()
    with pytest.raises(WrongTypeError):
        scheduler.load_state_dict({**before, **damage})
    with refused("state_dict", WrongTypeError, match=r"scheduler\.timestamp = Timestamp"):
        scheduler.load_state_dict(LambdaLR(optimizer, lambda epoch: 1.0).state_dict())
    assert scheduler.state_dict() == before


def test_timestamp_can_be_assigned():
    optimizer = sgd(1.0)
    scheduler = ScheduledLR(optimizer, LinearScheduler(), max_duration="80sp", samples_per_batch=10)
    scheduler.timestamp = Timestamp(batch=4)
    assert rates(optimizer) == [0.5]
    assert scheduler.timestamp.sample == 40
    scheduler.timestamp = Timestamp(batch=4, sample=60)
    assert rates(optimizer) == [0.25]
    optimizer.step()
    scheduler.step()
    assert rates(optimizer) == [0.125]
    with refused("timestamp", WrongTypeError):
        scheduler.timestamp = "5ba"
    with refused("timestamp", MissingValueError):  # the learning rate follows from batches, which would be 0
        scheduler.timestamp = Timestamp(epoch=2)
    assert (rates(optimizer), scheduler.last_epoch) == ([0.125], 5)


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda scheduler: pickle.loads(pickle.dumps(scheduler))])
def test_a_scheduler_survives_pickling(clone):
    optimizer = sgd(1.0, torch.tensor(2.0))
    schedules = {"default": [LinearScheduler(), ConstantScheduler(0.5)]}
    scheduler = ScheduledLR(
        optimizer, schedules, max_duration="32sp", dataloader_len=2, samples_per_batch=2, tokens_per_batch=3, ssr=0.5
    )
    trace(optimizer, scheduler.step, 3)
    again = clone(scheduler)
    assert again.timestamp == scheduler.timestamp
    assert again.max_duration == scheduler.max_duration
    again.step()
    assert rates(again.optimizer) == [0.25, 0.5]
    assert again.timestamp.sample == 8
    assert not again.is_done
    assert rates(optimizer) == [0.3125, 0.625]
    scheduler.step()
    assert rates(optimizer) == [0.25, 0.5]
