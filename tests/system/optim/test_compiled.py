"""Schedules bound to a state: learning rates by hand, several optimizers, late groups, schedules by name."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from optim_helpers import parameter, rates, sgd, tick, trace
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.optim import compile_composer_scheduler
from ssr_hydra.schedulers import (
    ConstantScheduler,
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    LinearWithWarmupScheduler,
    StepScheduler,
)
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp


def compiled(
    schedulers: Any, *optimizers: Optimizer, max_duration: str = "8ba", ssr: float = 1.0, **state: Any
) -> tuple[State, LRScheduler]:
    run = State(max_duration, optimizers=optimizers, **state)
    return run, compile_composer_scheduler(schedulers, run, ssr)


# --- values -----------------------------------------------------------------------------------------------------


def test_each_batch_trains_at_alpha_of_its_own_timestamp() -> None:
    # Composer steps the schedule before its clock: 1, 1, .875 ... there.
    optimizer = sgd(1.0)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    assert trace(optimizer, lambda: tick(state, scheduler), 8) == [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    assert rates(optimizer) == [0.0]


def test_one_batch_alone_trains_at_zero_in_a_warmup_of_two() -> None:
    optimizer = sgd(1.0)
    state, scheduler = compiled(LinearWithWarmupScheduler("2ba", alpha_f=1.0), optimizer)
    assert trace(optimizer, lambda: tick(state, scheduler), 4) == [0.0, 0.5, 1.0, 1.0]


def test_several_schedulers_multiply() -> None:
    # Composer: the last one wins, 0.2.
    optimizer = sgd(1.0)
    compiled([ConstantScheduler(0.5), ConstantScheduler(0.2)], optimizer)
    assert rates(optimizer) == [0.1]


def test_ssr_stretches_the_schedule() -> None:
    optimizer = sgd(1.0)
    state, scheduler = compiled(StepScheduler("2ba", gamma=0.5), optimizer, max_duration="4ba", ssr=0.5)
    assert trace(optimizer, lambda: tick(state, scheduler), 4) == [1.0, 0.5, 0.25, 0.125]


def test_construction_sets_the_rate_of_the_present_time() -> None:
    optimizer = sgd(1.0)
    compiled(LinearScheduler(), optimizer, timestamp=Timestamp(batch=6))
    assert rates(optimizer) == [0.25]


def test_the_rate_follows_the_timestamp_however_it_moves() -> None:
    optimizer = sgd(1.0)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    seen = []
    for batch in (4, 4, 2, 8, 0):
        state.timestamp = Timestamp(batch=batch)
        optimizer.step()
        scheduler.step()
        seen += rates(optimizer)
    assert seen == [0.5, 0.5, 0.75, 0.0, 1.0]


def test_a_function_sees_the_state() -> None:
    def ten_epoch_decay(state: State) -> float:
        return 1.0 if state.timestamp.epoch < 10 else 0.5

    def by_ssr(state: State, ssr: float) -> float:
        return ssr

    optimizer = sgd(1.0)
    state, scheduler = compiled(ten_epoch_decay, optimizer)
    assert rates(optimizer) == [1.0]
    state.timestamp = Timestamp(epoch=10)
    optimizer.step()
    scheduler.step()
    assert rates(optimizer) == [0.5]
    compiled([by_ssr, ConstantScheduler(0.5)], optimizer, ssr=0.25)
    assert rates(optimizer) == [0.125]


def _times_by_lambda(curve: Any) -> Any:
    return lambda epoch: curve(Timestamp(batch=epoch))


@given(
    lrs=st.lists(st.floats(1e-8, 10.0), min_size=1, max_size=4),
    warmup=st.integers(0, 9),
    alpha_f=st.floats(0.0, 1.0),
)
def test_the_trajectory_is_bitwise_that_of_lambda_lr(lrs: list[float], warmup: int, alpha_f: float) -> None:
    schedule = CosineAnnealingWithWarmupScheduler(f"{warmup}ba", alpha_f=alpha_f)
    ours, theirs = sgd(*lrs), sgd(*lrs)
    state, scheduler = compiled(schedule, ours, max_duration="17ba")
    reference = LambdaLR(theirs, _times_by_lambda(schedule.bind(state)))
    for _ in range(20):
        assert rates(ours) == rates(theirs)
        assert scheduler.get_last_lr() == reference.get_last_lr() == rates(ours)
        theirs.step()
        reference.step()
        ours.step()
        tick(state, scheduler)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_tensor_rates_are_bitwise_those_of_lambda_lr(dtype: torch.dtype) -> None:
    schedule = CosineAnnealingWithWarmupScheduler("30ba")
    ours, theirs = (sgd(*(torch.tensor(lr, dtype=dtype) for lr in (0.1, 0.3, 7e-4))) for _ in range(2))
    state, scheduler = compiled(schedule, ours, max_duration="300ba")
    reference = LambdaLR(theirs, _times_by_lambda(schedule.bind(state)))
    for _ in range(302):
        assert rates(ours) == rates(theirs) == [float(rate) for rate in scheduler.get_last_lr()]
        theirs.step()
        reference.step()
        ours.step()
        tick(state, scheduler)


# --- a genuine torch scheduler ------------------------------------------------------------------------------------


def test_it_is_a_torch_scheduler() -> None:
    optimizer = sgd(0.5, 0.25)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.optimizer is optimizer
    assert scheduler.base_lrs == [0.5, 0.25]
    assert scheduler.last_epoch == 0
    optimizer.step()
    tick(state, scheduler)
    assert scheduler.last_epoch == 1
    assert scheduler.get_last_lr() == scheduler.get_lr() == [0.4375, 0.21875]


def test_torch_warns_of_the_wrong_order() -> None:
    state, scheduler = compiled(LinearScheduler(), sgd())
    with pytest.warns(UserWarning, match=r"before `optimizer.step\(\)`"):
        tick(state, scheduler)
    tick(state, scheduler)  # once is enough


def test_an_initial_rate_that_is_there_is_kept() -> None:
    optimizer = sgd(0.01, initial_lr=1.0)
    compiled(ConstantScheduler(0.5), optimizer)
    assert rates(optimizer) == [0.5]


def test_a_changed_base_rate_takes_effect_as_in_torch() -> None:
    optimizer = sgd(1.0, 1.0)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    scheduler.base_lrs[1] = 2.0
    optimizer.step()
    tick(state, scheduler)
    assert rates(optimizer) == [0.875, 1.75]


def test_an_integer_rate_is_one_as_well() -> None:
    optimizer = sgd(2)
    compiled(ConstantScheduler(0.5), optimizer)
    assert optimizer.param_groups[0]["lr"] == 1.0
    assert isinstance(optimizer.param_groups[0]["lr"], float)


def test_alpha_is_computed_once_per_step() -> None:
    calls = 0

    def counted(state: State) -> float:
        nonlocal calls
        calls += 1
        return 1.0

    optimizers = [sgd(*[0.1] * 50), sgd(*[0.1] * 50)]
    state, scheduler = compiled(counted, *optimizers)
    calls = 0
    optimizers[0].step()
    for step in range(1, 6):
        tick(state, scheduler)
        assert calls == step


# --- tensors in place -------------------------------------------------------------------------------------------


def test_tensor_rates_are_changed_in_place() -> None:
    lrs = [torch.tensor(0.5), torch.tensor(0.25, dtype=torch.float64), torch.tensor([1.0])]
    places = [lr.data_ptr() for lr in lrs]
    optimizer = sgd(*lrs)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    for _ in range(4):
        optimizer.step()
        tick(state, scheduler)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, lrs, strict=True))
    assert [lr.data_ptr() for lr in lrs] == places
    assert rates(optimizer) == [0.25, 0.125, 0.5]
    assert [float(rate) for rate in scheduler.get_last_lr()] == [0.25, 0.125, 0.5]


def test_last_rates_are_copies_of_tensors() -> None:
    optimizer = sgd(torch.tensor(0.5))
    _, scheduler = compiled(LinearScheduler(), optimizer)
    rate = scheduler.get_last_lr()[0]
    assert isinstance(rate, torch.Tensor)
    rate.zero_()
    assert rates(optimizer) == [0.5]


def test_a_rate_that_becomes_a_tensor_is_changed_in_place_from_then_on() -> None:
    optimizer = sgd(1.0)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    optimizer.param_groups[0]["lr"] = lr = torch.tensor(1.0)
    optimizer.step()
    tick(state, scheduler)
    assert optimizer.param_groups[0]["lr"] is lr
    assert rates(optimizer) == [0.875]


def test_a_rate_that_becomes_a_number_stays_one() -> None:
    optimizer = sgd(torch.tensor(1.0))
    state, scheduler = compiled(LinearScheduler(), optimizer)
    optimizer.param_groups[0]["lr"] = 1
    optimizer.step()
    tick(state, scheduler)
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert rates(optimizer) == [0.875]


def test_a_compiled_optimizer_step_sees_the_new_rate() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(1.0))
    state, scheduler = compiled(LinearScheduler(), optimizer, max_duration="4ba")
    graphs = 0

    def backend(graph: Any, inputs: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return graph.forward

    @torch.compile(backend=backend)
    def step() -> None:
        optimizer.step()

    moved = []
    for _ in range(4):
        before = weight.item()
        weight.grad = torch.ones(1)
        step()
        moved.append(before - weight.item())
        tick(state, scheduler)
    assert moved == [1.0, 0.75, 0.5, 0.25]
    assert graphs <= 2  # the optimizer's first step may differ; a rate that is a number is a new graph each time


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_captured_graph_sees_the_new_rate() -> None:
    weight = torch.nn.Parameter(torch.zeros(1, device="cuda"))
    weight.grad = torch.ones(1, device="cuda")
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(1.0, device="cuda"))
    state, scheduler = compiled(LinearScheduler(), optimizer, max_duration="4ba")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        optimizer.step()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    moved = []
    for _ in range(4):
        before = weight.item()
        graph.replay()
        moved.append(before - weight.item())
        tick(state, scheduler)
    assert moved == [1.0, 0.75, 0.5, 0.25]


# --- groups and optimizers --------------------------------------------------------------------------------------


def test_every_optimizer_of_the_state_is_driven() -> None:
    optimizers = [sgd(1.0), Adam([parameter()], lr=0.5), sgd(0.25, 2.0)]
    state, scheduler = compiled(LinearScheduler(), *optimizers)
    optimizers[0].step()
    for batch in range(1, 5):
        tick(state, scheduler)
        alpha = 1 - batch / 8
        assert rates(*optimizers) == [alpha, alpha / 2, alpha / 4, alpha * 2] == scheduler.get_last_lr()
    assert scheduler.base_lrs == [1.0, 0.5, 0.25, 2.0]


@pytest.mark.parametrize("make", [float, torch.tensor])
def test_late_groups_follow(make: Any) -> None:
    first, second = sgd(1.0), torch.optim.SGD([parameter()], lr=make(0.5))
    state, scheduler = compiled(LinearScheduler(), first, second)
    first.step()
    tick(state, scheduler)
    tick(state, scheduler)
    first.add_param_group({"params": [parameter()], "lr": 0.25})
    second.add_param_group({"params": [parameter()]})  # the default, which as a tensor has been scheduled meanwhile
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(first, second) == [0.5, 0.125, 0.25, 0.25]
    assert [float(rate) for rate in scheduler.base_lrs] == [1.0, 0.25, 0.5, 0.5]
    assert len(scheduler.get_last_lr()) == 4


def test_late_groups_follow_in_a_single_optimizer() -> None:
    optimizer = sgd(1.0)
    state, scheduler = compiled(LinearScheduler(), optimizer)
    optimizer.step()
    tick(state, scheduler)
    optimizer.add_param_group({"params": [parameter()], "lr": 0.25})
    assert scheduler.get_last_lr() == [0.875]  # what was set last
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(optimizer) == [0.625, 0.15625]


def test_groups_choose_their_schedule_by_name() -> None:
    optimizer = sgd(1.0)
    optimizer.add_param_group({"params": [parameter()], "lr": 1.0, "schedule": "steps"})
    schedules = {"default": LinearScheduler(), "steps": [StepScheduler("2ba"), ConstantScheduler(0.5)]}
    state, scheduler = compiled(schedules, optimizer)
    assert rates(optimizer) == [1.0, 0.5]
    optimizer.step()
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(optimizer) == [0.75, 0.05] == scheduler.get_last_lr()
    optimizer.add_param_group({"params": [parameter()], "lr": 0.1, "schedule": "steps"})
    tick(state, scheduler)
    assert rates(optimizer) == pytest.approx([0.625, 0.05, 0.005])


def test_each_schedule_is_computed_once_per_step() -> None:
    calls = []
    schedules = {
        name: (lambda state, name=name: calls.append(name) or 1.0)  # type: ignore[misc]
        for name in ("default", "head")
    }
    optimizer = sgd(*[0.1] * 5)
    for _ in range(5):
        optimizer.add_param_group({"params": [parameter()], "schedule": "head"})
    state, scheduler = compiled(schedules, optimizer)
    optimizer.step()
    calls.clear()
    tick(state, scheduler)
    assert sorted(calls) == ["default", "head"]


def test_groups_without_a_name_need_a_default() -> None:
    with pytest.raises(InputError, match=r"param_groups\[0\]\.schedule='default': unknown schedule .*'head'"):
        compiled({"head": LinearScheduler()}, sgd())


@pytest.mark.parametrize("schedules", [LinearScheduler(), {"default": LinearScheduler()}])
@pytest.mark.parametrize("name", ["haed", 3, None, ["default"]])
def test_an_unknown_schedule_is_refused(schedules: Any, name: Any) -> None:
    with pytest.raises(InputError) as caught:
        compiled(schedules, sgd(1.0, schedule=name))
    assert caught.value.field == "param_groups[0].schedule"
    assert caught.value.value == name


def test_a_late_group_with_an_unknown_schedule_is_refused() -> None:
    optimizer = sgd()
    state, scheduler = compiled(LinearScheduler(), optimizer)
    optimizer.add_param_group({"params": [parameter()], "schedule": "head"})
    optimizer.step()
    for _ in range(2):  # and again: it is not taken for granted then
        with pytest.raises(InputError, match=r"param_groups\[1\]\.schedule"):
            tick(state, scheduler)
    del optimizer.param_groups[1]["schedule"]
    tick(state, scheduler)
    assert rates(optimizer) == [0.0625, 0.0625]


def test_a_tensor_shared_by_groups_of_different_schedules_is_refused() -> None:
    groups = [{"params": [parameter()]}, {"params": [parameter()], "schedule": "head"}]
    optimizer = torch.optim.SGD(groups, lr=torch.tensor(1.0))  # both groups get this very tensor
    with pytest.raises(InputError, match="give each group its own tensor"):
        compiled({"default": LinearScheduler(), "head": ConstantScheduler()}, optimizer)


def test_a_tensor_shared_by_groups_of_one_schedule_is_no_harm() -> None:
    optimizer = torch.optim.SGD([{"params": [parameter()]}, {"params": [parameter()]}], lr=torch.tensor(1.0))
    state, scheduler = compiled(LinearScheduler(), optimizer)
    optimizer.step()
    tick(state, scheduler)
    tick(state, scheduler)
    assert rates(optimizer) == [0.75, 0.75]


# --- resuming ---------------------------------------------------------------------------------------------------


def through_a_file(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("make", [float, torch.tensor])
def test_a_resumed_run_continues_bitwise(make: Any) -> None:
    schedule = CosineAnnealingWithWarmupScheduler("3ba", alpha_f=0.1)

    def begin() -> tuple[Optimizer, State, LRScheduler]:
        optimizer = sgd(make(0.3), 0.7)
        return optimizer, *compiled(schedule, optimizer, max_duration="17ba")

    optimizer, state, scheduler = begin()
    expected = trace(optimizer, lambda: tick(state, scheduler), 20)
    optimizer, state, scheduler = begin()
    seen = trace(optimizer, lambda: tick(state, scheduler), 7)
    saved = through_a_file(
        {"o": optimizer.state_dict(), "s": scheduler.state_dict(), "t": state.timestamp.state_dict()}
    )
    optimizer, state, scheduler = begin()
    optimizer.load_state_dict(saved["o"])
    state.timestamp = Timestamp.from_state_dict(saved["t"])
    scheduler.load_state_dict(saved["s"])
    assert scheduler.state_dict() == saved["s"]
    assert seen + trace(optimizer, lambda: tick(state, scheduler), 13) == expected


def test_a_checkpoint_holds_no_learning_rates() -> None:
    _, scheduler = compiled(LinearScheduler(), sgd())
    assert scheduler.state_dict() == {"last_epoch": 0, "_step_count": 1}


def test_the_optimizer_restores_the_initial_rates() -> None:
    before = sgd(1.0)
    state, scheduler = compiled(LinearScheduler(), before)
    before.step()
    tick(state, scheduler)
    after = sgd(0.1)  # another rate in the new program: the checkpoint's is the run's
    state, scheduler = compiled(LinearScheduler(), after)
    after.load_state_dict(before.state_dict())
    state.timestamp = Timestamp(batch=4)
    after.step()
    scheduler.step()
    assert scheduler.base_lrs == [1.0]
    assert rates(after) == [0.5]


@pytest.mark.parametrize(
    "state", [None, [], {}, {"last_epoch": 3}, {"last_epoch": -5, "_step_count": 1}, {1: 2, "last_epoch": 3}], ids=repr
)
def test_what_is_not_a_schedulers_state_is_refused(state: Any) -> None:
    _, scheduler = compiled(LinearScheduler(), sgd())
    before = scheduler.state_dict()
    with pytest.raises(InputError, match="state_dict"):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda scheduler: pickle.loads(pickle.dumps(scheduler))])
@pytest.mark.parametrize("make", [float, torch.tensor])
def test_a_scheduler_survives_pickling(clone: Any, make: Any) -> None:
    optimizer = sgd(make(1.0), make(1.0))
    state, scheduler = compiled({"default": [LinearScheduler(), ConstantScheduler(0.5)]}, optimizer)
    optimizer.step()
    tick(state, scheduler)
    again = clone(scheduler)
    again._state.timestamp = Timestamp(batch=4)
    again.step()
    assert [float(rate) for rate in again.get_last_lr()] == [0.25, 0.25] == rates(again.optimizer)
    assert rates(optimizer) == [0.4375, 0.4375]


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedulers", "field"),
    [
        ([], "schedulers"),
        ({}, "schedulers"),
        ({"default": []}, "schedulers.default"),
        ({1: LinearScheduler()}, "schedulers"),
        (LinearScheduler, "scheduler"),
        ([LinearScheduler(), 0.5], "schedulers[1].scheduler"),
        ({"default": "cosine"}, "schedulers.default.scheduler"),
        ("cosine", "scheduler"),
        (b"cosine", "scheduler"),
        ({"default": LinearScheduler(t_max="1ep")}, "schedulers.default.t_max"),
        ([LinearWithWarmupScheduler("9ba")], "schedulers[0].t_warmup"),
        (LinearWithWarmupScheduler("9ba"), "t_warmup"),
    ],
)
def test_errors_name_the_field_of_a_bad_scheduler(schedulers: Any, field: str) -> None:
    with pytest.raises(InputError) as caught:
        compiled(schedulers, sgd())
    assert caught.value.field == field


def test_a_state_without_optimizers_is_refused() -> None:
    with pytest.raises(InputError, match="optimizers"):
        compile_composer_scheduler(LinearScheduler(), State("8ba"))


def test_what_is_no_optimizer_is_refused() -> None:
    state = State("8ba", optimizers=[sgd(), "adam"])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"optimizers\[1\]='adam'"):
        compile_composer_scheduler(LinearScheduler(), state)


def test_a_function_of_the_state_alone_cannot_be_scaled() -> None:
    with pytest.raises(InputError, match="ssr"):
        compiled(lambda state: 1.0, sgd(), ssr=0.5)


@pytest.mark.parametrize("ssr", [0, -1, float("nan"), float("inf"), "fast"])
def test_a_bad_ssr_is_refused(ssr: Any) -> None:
    with pytest.raises(InputError, match="ssr"):
        compiled(LinearScheduler(), sgd(), ssr=ssr)


def test_a_missing_rate_is_named() -> None:
    with pytest.raises(MissingRateError, match="dataloader_len"):
        compiled(LinearScheduler(t_max="3ep"), sgd(), max_duration="3ep")
