"""The initial value of a second schedule on an optimizer: the value that the user set, as in torch's own classes."""

import copy
import gc
import pickle
import weakref
from itertools import product

import pytest
import torch
from cases import each
from optim_helpers import parameter, rates, sgd, tick, trace
from refusals import refused
from torch.optim.lr_scheduler import ConstantLR, LinearLR, SequentialLR, StepLR

from ssr_hydra.errors import ConflictError
from ssr_hydra.optim import ScheduledLR, compile_composer_scheduler
from ssr_hydra.schedulers import ConstantScheduler, CosineAnnealingWithWarmupScheduler, LinearScheduler
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers import ExponentialLR
from ssr_hydra.trainer.fields import FieldSchedules
from ssr_hydra.trainer.learning_rates import LearningRates


def own(optimizer, schedule):
    return ScheduledLR(optimizer, schedule, max_duration="8ba")


def scheduled(schedule, optimizer):
    return own(optimizer, schedule).step


def compiled(schedule, optimizer):
    state = State("8ba", optimizers=optimizer)
    scheduler = compile_composer_scheduler(schedule, state)
    return lambda: tick(state, scheduler)


def trained(schedule, optimizer):
    state = State("8ba", dataloader_len=8, optimizers=optimizer)
    rates = LearningRates(schedule, state, 1)

    def step():
        state.timestamp = state.timestamp.to_next_batch()
        rates.batch_ended()()

    return step


def trained_with_torchs(schedule, optimizer):
    """Put the schedule into a list with a torch scheduler, which then sets the rates."""
    return trained([schedule, ExponentialLR(1.0, pace="batch")], optimizer)


def torchs(schedule, optimizer):
    return StepLR(optimizer, 100).step


WAYS = [scheduled, compiled, trained, trained_with_torchs]
LINEAR = [1 - k / 8 for k in range(4)]


def set_lr(optimizer, *values):
    for group, value in zip(optimizer.param_groups, values, strict=True):
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(value)
        else:
            group["lr"] = value


@each("first,second,batches,dtype", product([*WAYS, torchs], WAYS, [0, 3], [None, torch.float32]))
def test_second_schedule_starts_from_the_rate_that_the_user_has_set(first, second, batches, dtype):
    number = float if dtype is None else lambda lr: torch.tensor(lr, dtype=dtype)
    optimizer = sgd(number(0.1), number(0.2))
    trace(optimizer, first(LinearScheduler(), optimizer), batches)
    set_lr(optimizer, 0.02, 0.04)
    lrs = trace(optimizer, second(LinearScheduler(), optimizer), 4)
    assert lrs == pytest.approx([0.02 * alpha for alpha in LINEAR])
    assert rates(optimizer)[1] == pytest.approx(2 * rates(optimizer)[0])
    # The initial rate is saved with the optimizer, so that a resumed run has it.
    assert [float(group["initial_lr"]) for group in optimizer.param_groups] == pytest.approx([0.02, 0.04])


@each("first,second,batches,dtype", product(WAYS, WAYS, [0, 3], [None, torch.float32]))
def test_rate_that_a_schedule_has_set_is_not_an_initial_rate(first, second, batches, dtype):
    # A notebook cell that runs again: the warmup has set the rate to 0.
    optimizer = sgd(0.1 if dtype is None else torch.tensor(0.1, dtype=dtype))
    trace(optimizer, first(CosineAnnealingWithWarmupScheduler("5ba"), optimizer), batches)
    second(ConstantScheduler(0.5), optimizer)
    assert rates(optimizer) == [pytest.approx(0.05)]


def test_only_the_changed_group_gets_a_new_initial_rate():
    for second in WAYS:
        optimizer = sgd(0.1, 0.3)
        trace(optimizer, scheduled(LinearScheduler(), optimizer), 3)
        optimizer.param_groups[1]["lr"] = 0.02
        second(ConstantScheduler(), optimizer)
        assert rates(optimizer) == [0.1, 0.02]
    one, two = sgd(0.1), sgd(0.3)  # also if the groups belong to different optimizers
    compile_composer_scheduler(LinearScheduler(), State("8ba", optimizers=(one, two)))
    set_lr(two, 0.02)
    compile_composer_scheduler(ConstantScheduler(), State("8ba", optimizers=(one, two)))
    assert rates(one, two) == [0.1, 0.02]


def test_schedule_that_fails_before_its_first_rate_is_not_a_schedule():
    # A notebook cell that runs again, because the user's function had an error.
    def broken(state):
        raise KeyError("t_warmup")

    for first, second in product([scheduled, compiled], [*WAYS, trained_with_torchs]):
        optimizer = sgd(0.1)
        trace(optimizer, first(LinearScheduler(), optimizer), 4)
        assert rates(optimizer) == [0.05]
        for _ in range(2):
            with pytest.raises(KeyError):
                first(broken, optimizer)
        second(LinearScheduler(), optimizer)
        assert rates(optimizer) == [0.1]


def test_late_group_with_its_own_schedule_starts_from_the_rate_that_the_user_has_set():
    optimizer = sgd(0.1)
    schedules = {"default": LinearScheduler(), "head": ConstantScheduler(0.5)}
    first = own(optimizer, schedules)
    optimizer.add_param_group({"params": [parameter()], "lr": 0.4, "schedule": "head"})
    trace(optimizer, first.step, 2)
    assert rates(optimizer) == pytest.approx([0.075, 0.2])
    own(optimizer, schedules)
    assert rates(optimizer) == [0.1, 0.2]  # the user set nothing
    optimizer.param_groups[1]["lr"] = 0.02
    own(optimizer, schedules)
    assert rates(optimizer) == [0.1, 0.01]


# --- resumed schedules keep their initial rate -----------------------------------------------------------------------


def test_resumed_schedule_uses_the_saved_initial_rate():
    optimizer = sgd(0.1)
    first = own(optimizer, LinearScheduler())
    trace(optimizer, first.step, 2)
    saved, state = copy.deepcopy(optimizer.state_dict()), first.state_dict()
    for set_between in (False, True):
        other = sgd(0.5)
        ConstantLR(other, 0.5)  # an earlier schedule existed
        other.load_state_dict(saved)
        if set_between:
            set_lr(other, 0.02)
        second = own(other, LinearScheduler())
        second.load_state_dict(state)
        assert rates(other) == pytest.approx([0.075])
        third = own(other, LinearScheduler())
        third.timestamp = Timestamp(batch=4)
        assert rates(other) == pytest.approx([0.05])


def test_schedule_resumes_if_the_timestamp_is_after_the_start():
    optimizer = sgd(0.1)
    ConstantLR(optimizer, 0.5)
    state = State("8ba", timestamp=Timestamp(batch=4), optimizers=optimizer)
    compile_composer_scheduler(LinearScheduler(), state)
    assert rates(optimizer) == [0.05]
    other = sgd(0.1)
    StepLR(other, 1)
    set_lr(other, 0.02)
    late = State("8ba", optimizers=other)
    scheduler = compile_composer_scheduler(LinearScheduler(), late)
    late.timestamp = Timestamp(batch=4)  # set after the scheduler was created
    other.step()
    scheduler.step()
    assert rates(other) == [0.05]


@pytest.mark.filterwarnings("ignore:Seems like `optimizer.step:UserWarning")  # torch warns about pickles
def test_pickled_schedule_keeps_its_rates():
    optimizer = sgd(0.1)
    own(optimizer, LinearScheduler())
    set_lr(optimizer, 0.02)
    scheduler = own(optimizer, LinearScheduler())
    other = pickle.loads(pickle.dumps(scheduler))
    assert trace(other.optimizer, other.step, 4) == pytest.approx([0.02 * alpha for alpha in LINEAR])


def test_part_of_a_torch_sequence_starts_from_the_initial_rate():
    # The first part of the sequence has already set the rate, and the user has not changed that rate.
    optimizer = sgd(0.1)
    parts = [LinearLR(optimizer, 0.5, total_iters=2), ScheduledLR(optimizer, LinearScheduler(), max_duration="4ba")]
    lrs = trace(optimizer, SequentialLR(optimizer, parts, [2]).step, 5)
    assert lrs == pytest.approx([0.05, 0.075, 0.1, 0.075, 0.05])


def test_group_that_is_added_after_a_state_was_loaded_has_the_initial_rate_of_the_default_tensor():
    optimizer = torch.optim.SGD([parameter()], lr=torch.tensor(0.1, dtype=torch.float64))
    schedule = own(optimizer, LinearScheduler())
    trace(optimizer, schedule.step, 2)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.add_param_group({"params": [parameter()]})  # its lr is the tensor of the group before the loading
    trace(optimizer, schedule.step, 1)
    assert rates(optimizer) == [pytest.approx(0.1 * 5 / 8)] * 2


def test_schedule_does_not_keep_its_optimizer_alive():
    optimizer = sgd(0.1)
    trace(optimizer, scheduled(LinearScheduler(), optimizer), 2)
    alive = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert alive() is None


# --- fields --------------------------------------------------------------------------------------------------------


def test_second_field_schedule_starts_from_the_value_that_the_user_has_set():
    optimizer = torch.optim.AdamW([parameter()], weight_decay=0.4, betas=(0.8, 0.9))
    group = optimizer.param_groups[0]
    schedules = {"weight_decay": LinearScheduler(), "beta1": LinearScheduler(1.0, 0.5)}
    state = State("8ba", optimizers=optimizer)
    first = FieldSchedules(schedules, state)
    for _ in range(4):
        state.timestamp = state.timestamp.to_next_batch()
        first.step()
    assert (group["weight_decay"], group["betas"]) == (0.2, (pytest.approx(0.6), 0.9))
    FieldSchedules(schedules, State("8ba", optimizers=optimizer))
    assert (group["weight_decay"], group["betas"]) == (0.4, (0.8, 0.9))  # the user set nothing
    group["weight_decay"] = 0.02
    FieldSchedules(schedules, State("8ba", optimizers=optimizer))
    assert (group["weight_decay"], group["initial_weight_decay"]) == (0.02, 0.02)
    assert group["betas"] == (0.8, 0.9)
    group["betas"] = (0.4, 0.9)
    FieldSchedules(schedules, State("8ba", optimizers=optimizer))
    assert (group["betas"], group["initial_betas"]) == ((0.4, 0.9), (0.4, 0.9))
    group["weight_decay"] = 0.0
    with refused("schedules.weight_decay", ConflictError, match="is 0 in every param group"):
        FieldSchedules(schedules, State("8ba", optimizers=optimizer))
