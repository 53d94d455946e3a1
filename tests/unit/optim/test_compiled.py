"""Schedules bound to a state: learning rates by hand, several optimizers, late groups, schedules by name."""

import copy
import pickle

import pytest
import torch
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from optim_helpers import parameter, rates, sgd, through_a_file, tick, trace
from refusals import refused
from schedule_helpers import ForeignState, ForeignTimestamp
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ssr_hydra import schedulers as s
from ssr_hydra.errors import (
    ConflictError,
    MismatchError,
    MissingRateError,
    MissingValueError,
    RangeError,
    UnknownNameError,
    UnsupportedError,
    WrongTypeError,
)
from ssr_hydra.optim import ScheduledLR, compile_composer_scheduler
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp


def compiled(schedulers, *optimizers, max_duration="8ba", ssr=1.0, **state):
    run = State(max_duration, optimizers=optimizers, **state)
    return run, compile_composer_scheduler(schedulers, run, ssr)


# --- values -----------------------------------------------------------------------------------------------------


def test_ssr_stretches_the_product_of_several_schedulers():
    # In Composer, the last schedule wins.
    optimizer = sgd(1.0)
    state, scheduler = compiled([s.StepScheduler("2ba", gamma=0.5), s.ConstantScheduler(0.5)], optimizer, ssr=0.5)
    assert trace(optimizer, lambda: tick(state, scheduler), 4) == [0.5, 0.25, 0.125, 0.0625]


def test_rate_follows_a_timestamp_that_moves_in_any_direction():
    optimizer = sgd(1.0)
    state, scheduler = compiled(s.LinearScheduler(), optimizer, timestamp=Timestamp(batch=6))
    lrs = rates(optimizer)
    for batch in (4, 4, 2, 8, 0):
        state.timestamp = Timestamp(batch=batch)
        optimizer.step()
        scheduler.step()
        lrs += rates(optimizer)
    assert lrs == [0.25, 0.5, 0.5, 0.75, 0.0, 1.0]


def test_schedule_can_be_compiled_for_the_state_of_another_library():
    optimizer = sgd(1.0)
    state = ForeignState("8ba", ForeignTimestamp(2, 4, 32, 1024), 4)
    state.optimizers = optimizer
    scheduler = compile_composer_scheduler(s.LinearScheduler(), state)
    assert rates(optimizer) == [0.75]
    state.timestamp = ForeignTimestamp(4, 4, 32, 1024)
    optimizer.step()
    scheduler.step()
    assert rates(optimizer) == [0.5]


# Composer steps the schedule before its clock, and so has each rate one batch too late.
def _same_as_lambda_lr(schedule, make, batches=20):
    ours, theirs = make(), make()
    state, scheduler = compiled(schedule, ours, max_duration=f"{batches}ba")
    curve = schedule.bind(state)
    reference = LambdaLR(theirs, lambda epoch: curve(Timestamp(batch=epoch)))
    for _ in range(batches + 2):
        assert rates(ours) == rates(theirs) == [float(rate) for rate in scheduler.get_last_lr()]
        theirs.step()
        reference.step()
        ours.step()
        tick(state, scheduler)


@given(
    lrs=st.lists(st.floats(1e-8, 10.0), min_size=1, max_size=4),
    warmup=st.integers(0, 9),
    alpha_f=st.floats(0.0, 1.0),
)
def test_rates_are_bitwise_equal_to_those_of_lambda_lr(lrs, warmup, alpha_f):
    _same_as_lambda_lr(s.CosineAnnealingWithWarmupScheduler(f"{warmup}ba", alpha_f=alpha_f), lambda: sgd(*lrs))
    _same_as_lambda_lr(s.ConstantScheduler(alpha_f), lambda: sgd(2, 0.01, initial_lr=1))  # an initial_lr is kept


@each("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_tensor_rates_are_bitwise_equal_to_those_of_lambda_lr(dtype):
    def make():
        return sgd(*(torch.tensor(lr, dtype=dtype) for lr in (0.1, 0.3, 7e-4)))

    _same_as_lambda_lr(s.CosineAnnealingWithWarmupScheduler("10ba"), make, 100)


# --- a genuine torch scheduler ------------------------------------------------------------------------------------


def test_compiled_scheduler_is_a_torch_scheduler():
    optimizer = sgd(0.5, 0.25)
    state, scheduler = compiled(s.LinearScheduler(), optimizer)
    assert isinstance(scheduler, LRScheduler)
    assert (scheduler.optimizer, scheduler.base_lrs, scheduler.last_epoch) == (optimizer, [0.5, 0.25], 0)
    optimizer.step()
    tick(state, scheduler)
    assert scheduler.last_epoch == 1
    assert scheduler.get_last_lr() == scheduler.get_lr() == [0.4375, 0.21875]
    scheduler.base_lrs[1] = 2.0
    tick(state, scheduler)
    assert rates(optimizer) == [0.375, 1.5]


def test_torch_warns_if_the_scheduler_steps_before_the_optimizer():
    state, scheduler = compiled(s.LinearScheduler(), sgd())
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        tick(state, scheduler)
    tick(state, scheduler)  # torch warns only at the first step


def test_each_schedule_is_computed_once_per_step():
    calls = []
    schedules = {name: (lambda state, name=name: calls.append(name) or 1.0) for name in ("default", "head")}
    one, two = sgd(*[0.1] * 5), sgd(*[0.1] * 5)
    one.add_param_group({"params": [parameter()], "schedule": "head"})
    state, scheduler = compiled(schedules, one, two)
    one.step()
    calls.clear()
    tick(state, scheduler)
    assert sorted(calls) == ["default", "head"]


# --- tensors in place -------------------------------------------------------------------------------------------


def test_tensor_rates_are_changed_in_place():
    lrs = [torch.tensor(0.5), torch.tensor(0.25, dtype=torch.float64), torch.tensor([1.0])]
    places = [lr.data_ptr() for lr in lrs]
    optimizer = sgd(*lrs)
    state, scheduler = compiled(s.LinearScheduler(), optimizer)
    trace(optimizer, lambda: tick(state, scheduler), 4)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, lrs, strict=True))
    assert [lr.data_ptr() for lr in lrs] == places
    last = scheduler.get_last_lr()
    assert rates(optimizer) == [float(rate) for rate in last] == [0.25, 0.125, 0.5]
    last[0].zero_()
    assert rates(optimizer)[0] == 0.25  # get_last_lr returned copies
    optimizer.param_groups[1]["lr"] = 1  # the user may replace a tensor by a number
    tick(state, scheduler)
    assert (optimizer.param_groups[1]["lr"], type(optimizer.param_groups[1]["lr"])) == (0.09375, float)


# --- groups and optimizers --------------------------------------------------------------------------------------


@each("make", [float, torch.tensor])
def test_groups_that_are_added_later_follow_the_schedule(make):
    first, second = sgd(1.0), torch.optim.SGD([parameter()], lr=make(0.5))
    state, scheduler = compiled(s.LinearScheduler(), first, second)
    alone = sgd(1.0)
    alone_state, alone_scheduler = compiled(s.LinearScheduler(), alone)
    first.step()
    alone.step()
    for _ in range(2):
        tick(state, scheduler)
        tick(alone_state, alone_scheduler)
    alone.add_param_group({"params": [parameter()], "lr": 0.25})
    assert alone_scheduler.get_last_lr() == [0.75]  # the rate that was set last
    tick(alone_state, alone_scheduler)
    assert rates(alone) == [0.625, 0.15625]
    first.add_param_group({"params": [parameter()], "lr": 0.25})
    second.add_param_group({"params": [parameter()]})  # gets the default, a tensor that the schedule has changed
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(first, second) == [0.5, 0.125, 0.25, 0.25]
    assert [float(rate) for rate in scheduler.base_lrs] == [1.0, 0.25, 0.5, 0.5]
    assert len(scheduler.get_last_lr()) == 4


def test_groups_choose_their_schedule_by_name():
    optimizer = sgd(1.0)
    optimizer.add_param_group({"params": [parameter()], "lr": 1.0, "schedule": "steps"})
    schedules = {"default": s.LinearScheduler(), "steps": [s.StepScheduler("2ba"), s.ConstantScheduler(0.5)]}
    state, scheduler = compiled(schedules, optimizer)
    assert rates(optimizer) == [1.0, 0.5]
    optimizer.step()
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(optimizer) == [0.75, 0.05] == scheduler.get_last_lr()
    optimizer.add_param_group({"params": [parameter()], "lr": 0.1, "schedule": "steps"})
    tick(state, scheduler)
    assert rates(optimizer) == pytest.approx([0.625, 0.05, 0.005])


def test_an_unknown_schedule_is_refused():
    with refused("param_groups[0].schedule", UnknownNameError, match=r"='default': unknown schedule .*'head'"):
        compiled({"head": s.LinearScheduler()}, sgd())
    for name in ("haed", None, ["default"]):
        with refused("param_groups[0].schedule", UnknownNameError):
            compiled(s.LinearScheduler(), sgd(1.0, schedule=name))
    optimizer = sgd()
    state, scheduler = compiled(s.LinearScheduler(), optimizer)
    optimizer.add_param_group({"params": [parameter()], "schedule": "head"})  # a late group
    optimizer.step()
    for _ in range(2):  # every step refuses it
        with refused("param_groups[1].schedule", UnknownNameError):
            tick(state, scheduler)
    del optimizer.param_groups[1]["schedule"]
    tick(state, scheduler)
    assert rates(optimizer) == [0.0625, 0.0625]


def test_tensor_lr_can_be_shared_only_by_groups_with_the_same_schedule():
    groups = [{"params": [parameter()]}, {"params": [parameter()], "schedule": "head"}]
    optimizer = torch.optim.SGD(groups, lr=torch.tensor(1.0))  # both groups get this tensor object
    with refused("param_groups[1].lr", ConflictError):
        compiled({"default": s.LinearScheduler(), "head": s.ConstantScheduler()}, optimizer)
    shared = torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()]}], lr=torch.tensor(1.0))
    state, scheduler = compiled(s.LinearScheduler(), shared)
    trace(shared, lambda: tick(state, scheduler), 2)
    assert rates(shared) == [0.75, 0.75]


# --- resuming ---------------------------------------------------------------------------------------------------


@each("make", [float, torch.tensor])
def test_resumed_run_continues_with_bitwise_equal_rates(make):
    schedule = s.CosineAnnealingWithWarmupScheduler("3ba", alpha_f=0.1)

    def begin():
        optimizer = sgd(make(0.3), 0.7)
        return optimizer, *compiled(schedule, optimizer, max_duration="17ba")

    optimizer, state, scheduler = begin()
    expected = trace(optimizer, lambda: tick(state, scheduler), 20)
    optimizer, state, scheduler = begin()
    lrs = trace(optimizer, lambda: tick(state, scheduler), 7)
    saved = through_a_file(
        {"o": optimizer.state_dict(), "s": scheduler.state_dict(), "t": state.timestamp.state_dict()}
    )
    assert saved["s"] == {"last_epoch": 7, "_step_count": 8}  # no learning rates
    optimizer, state, scheduler = begin()
    optimizer.load_state_dict(saved["o"])
    state.timestamp = Timestamp.from_state_dict(saved["t"])
    scheduler.load_state_dict(saved["s"])
    assert scheduler.state_dict() == saved["s"]
    assert lrs + trace(optimizer, lambda: tick(state, scheduler), 13) == expected


def test_resumed_schedule_uses_the_fast_path(monkeypatch):
    loaded, own, late = sgd(1.0), sgd(1.0), sgd(1.0)
    state, by_state = compiled(s.LinearScheduler(), loaded)
    state.timestamp = Timestamp(batch=4)
    by_state.load_state_dict({"last_epoch": 4, "_step_count": 5})
    by_clock = ScheduledLR(own, s.LinearScheduler(), max_duration="8ba")
    by_clock.timestamp = Timestamp(batch=4)
    late_state, by_late = compiled(s.LinearScheduler(), late)
    late_state.timestamp = Timestamp(batch=4)  # set after the scheduler was created
    steps = [(loaded, lambda: tick(state, by_state)), (own, by_clock.step), (late, lambda: tick(late_state, by_late))]
    for optimizer, step in steps:
        trace(optimizer, step, 1)
    for scheduler in (by_state, by_clock, by_late):  # the slow path, which checks every group, is no longer needed
        monkeypatch.setattr(scheduler, "_set_lrs_of_all", None)
    for optimizer, step in steps:
        trace(optimizer, step, 1)
    assert rates(loaded, own, late) == [0.25] * 3


@each("state", [None, {"last_epoch": 3}, {"last_epoch": -5, "_step_count": 1}])
def test_invalid_state_dict_is_refused(state):
    _, scheduler = compiled(s.LinearScheduler(), sgd())
    before = scheduler.state_dict()
    with refused("state_dict", MismatchError):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda scheduler: pickle.loads(pickle.dumps(scheduler))])
def test_a_scheduler_survives_pickling(clone):
    optimizer = sgd(1.0, torch.tensor(1.0))
    state, scheduler = compiled({"default": [s.LinearScheduler(), s.ConstantScheduler(0.5)]}, optimizer)
    optimizer.step()
    tick(state, scheduler)
    again = clone(scheduler)
    again._state.timestamp = Timestamp(batch=4)
    again.step()
    assert [float(rate) for rate in again.get_last_lr()] == [0.25, 0.25] == rates(again.optimizer)
    assert rates(optimizer) == [0.4375, 0.4375]


# --- errors -----------------------------------------------------------------------------------------------------


@each(
    "schedulers,field",
    [
        ([], "schedulers"), ({}, "schedulers"), ({"default": []}, "schedulers.default"),
        ({1: s.LinearScheduler()}, "schedulers"), (s.LinearScheduler, "scheduler"), ("cosine", "scheduler"),
        ([s.LinearScheduler(), 0.5], "schedulers[1].scheduler"), (s.LinearWithWarmupScheduler("9ba"), "t_warmup"),
        ({"default": s.LinearScheduler(t_max="1ep")}, "schedulers.default.t_max"),
    ],
)  # fmt: skip
def test_error_for_an_invalid_scheduler_names_the_field(schedulers, field):
    with refused(field):
        compiled(schedulers, sgd())


def test_error_for_an_invalid_state_or_ssr_names_the_field():
    with refused("optimizers", MissingValueError):
        compile_composer_scheduler(s.LinearScheduler(), State("8ba"))
    with refused("optimizers[1]", WrongTypeError):
        compiled(s.LinearScheduler(), sgd(), "adam")
    with refused("ssr", UnsupportedError):
        compiled(lambda state: 1.0, sgd(), ssr=0.5)  # a function without the argument ssr cannot be stretched
    with refused("ssr", RangeError):
        compiled(s.LinearScheduler(), sgd(), ssr=0)
    with refused("t_max", MissingRateError, match="dataloader_len"):
        compiled(s.LinearScheduler(t_max="3ep"), sgd(), max_duration="3ep")
