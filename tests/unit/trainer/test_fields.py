"""Schedules of weight decay, momentum and betas: the values that an optimizer steps with."""

import io
import math

import pytest
import torch
from refusals import refused
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adafactor, AdamW, Muon

from ssr_hydra.errors import MissingValueError, RangeError, WrongTypeError
from ssr_hydra.schedulers import (
    ConstantScheduler,
    CosineAnnealingScheduler,
    LinearScheduler,
    MultiStepScheduler,
    PiecewiseLinearScheduler,
)
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.trainer.fields import FieldSchedules


def parameter():
    return nn.Parameter(torch.ones(2))


def run(*optimizers, length="10ba", **rates):
    return State(max_duration=length, optimizers=list(optimizers), **rates)


def advance(fields, state, batches=1):
    for _ in range(batches):
        state.timestamp = state.timestamp.to_next_batch()
        fields.step()


def test_value_at_batch_k_is_the_initial_value_times_alpha_at_k():
    optimizer = AdamW([parameter()], weight_decay=0.4)
    state = run(optimizer)
    fields = FieldSchedules({"weight_decay": CosineAnnealingScheduler(alpha_f=0.1)}, state)
    for k in range(11):
        alpha = 0.1 + 0.9 * (1 + math.cos(math.pi * k / 10)) / 2
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4 * alpha, rel=1e-12)
        advance(fields, state)


def test_ssr_stretches_the_schedule():
    values = {}
    for ssr in (1.0, 2.0):
        optimizer = SGD([parameter()], momentum=0.8)
        state = run(optimizer, length="20ba")
        fields = FieldSchedules({"momentum": MultiStepScheduler(["3ba"], gamma=0.5)}, state, ssr)
        momenta = []
        for _ in range(8):
            momenta.append(optimizer.param_groups[0]["momentum"])
            advance(fields, state)
        values[ssr] = momenta
    assert values == {1.0: [0.8] * 3 + [0.4] * 5, 2.0: [0.8] * 6 + [0.4] * 2}


def test_optimizer_computes_with_the_scheduled_value():
    """Without a gradient, AdamW only decays: it multiplies by 1 - lr * weight_decay in every step."""
    for fused in (False, True):
        weight = parameter()
        optimizer = AdamW([weight], lr=0.5, weight_decay=0.4, fused=fused)
        state = run(optimizer, length="4ba")
        fields = FieldSchedules({"weight_decay": LinearScheduler()}, state)
        expected = 1.0
        for k in range(4):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
            expected *= 1 - 0.5 * 0.4 * (1 - k / 4)
            assert weight.detach().tolist() == pytest.approx([expected] * 2, rel=1e-6)
            advance(fields, state)


def test_each_part_of_betas_can_be_scheduled():
    optimizer = AdamW([parameter()], betas=(0.8, 0.96))
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"beta1": LinearScheduler(), "beta2": LinearScheduler(1.0, 0.5)}, state)
    advance(fields, state, 2)
    assert optimizer.param_groups[0]["betas"] == (0.4, 0.72)
    assert fields.values() == {"beta1": 0.4, "beta2": 0.72}
    assert fields.fields == ("beta1", "beta2")


def test_each_part_of_other_tuples_can_be_scheduled():
    rprop = torch.optim.Rprop([parameter()], etas=(0.5, 1.5))
    FieldSchedules({"eta2": ConstantScheduler(0.9)}, run(rprop))
    assert rprop.param_groups[0]["etas"] == (0.5, 1.5 * 0.9)
    adafactor = Adafactor([parameter()], eps=(None, 1e-3))
    FieldSchedules({"eps2": ConstantScheduler(0.5)}, run(adafactor))
    assert adafactor.param_groups[0]["eps"] == (None, 5e-4)


def test_scheduled_values_are_named_by_their_param_groups():
    weight, bias = parameter(), parameter()
    named = [{"params": [weight], "name": "body"}, {"params": [bias], "name": "head", "weight_decay": 0.0}]
    others = [{"params": [parameter()], "name": "head"}, {"params": [parameter()]}]
    state = run(SGD(named, weight_decay=0.2), AdamW(others, weight_decay=0.1), length="4ba")
    fields = FieldSchedules({"weight_decay": LinearScheduler()}, state)
    advance(fields, state, 2)
    assert fields.values() == {"weight_decay": {"body": 0.1, "head": 0.0, "head-2": 0.05, "3": 0.05}}


def test_only_groups_with_the_field_are_scheduled():
    weight, bias = parameter(), parameter()
    sgd = SGD([{"params": [weight]}, {"params": [bias], "weight_decay": 0.0}], weight_decay=0.2, momentum=0.9)
    adamw = AdamW([parameter()], weight_decay=0.1)
    state = run(sgd, adamw, length="4ba")
    fields = FieldSchedules({"weight_decay": LinearScheduler(), "momentum": LinearScheduler(1.0, 0.5)}, state)
    advance(fields, state, 2)
    assert fields.values() == {"weight_decay": [0.1, 0.0, 0.05], "momentum": pytest.approx(0.675)}
    assert "momentum" not in adamw.param_groups[0]
    assert not {key for key in adamw.param_groups[0] if key.startswith("initial_")} - {"initial_weight_decay"}


def test_schedules_of_one_field_are_multiplied_and_may_be_functions():
    optimizer = AdamW([parameter()], weight_decay=0.4)
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"weight_decay": [LinearScheduler(), lambda state: 0.5]}, state)
    advance(fields, state)
    assert optimizer.param_groups[0]["weight_decay"] == 0.4 * 0.75 * 0.5


def test_schedule_is_evaluated_once_per_step():
    calls = []

    def schedule(state):
        calls.append(state)
        return 1.0

    optimizer = SGD([{"params": [parameter()]} for _ in range(5)], weight_decay=0.1)
    state = run(optimizer)
    fields = FieldSchedules({"weight_decay": schedule}, state)
    advance(fields, state, 3)
    assert len(calls) == 4


def test_schedules_use_the_time_of_a_custom_clock():
    optimizer = AdamW([parameter()], weight_decay=0.4)
    state = run(optimizer, length="10ba")
    state.timestamp = Timestamp(batch=2)
    fields = FieldSchedules(
        {"weight_decay": LinearScheduler()}, state, clock=lambda now: Timestamp(batch=now.batches * 2)
    )
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4 * 0.6)
    advance(fields, state)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(0.4 * 0.4)


def test_resume_restores_fields_from_the_optimizer_and_the_time():
    def make():
        optimizer = AdamW([parameter()], weight_decay=0.4, betas=(0.8, 0.9))
        return optimizer, run(optimizer, length="8ba")

    schedules = {"weight_decay": LinearScheduler(), "beta1": CosineAnnealingScheduler(alpha_f=0.5)}
    optimizer, state = make()
    fields = FieldSchedules(schedules, state)
    advance(fields, state, 5)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    assert saved["param_groups"][0]["initial_weight_decay"] == 0.4
    assert saved["param_groups"][0]["initial_betas"] == (0.8, 0.9)  # both betas, as the user gave them to the optimizer

    again, resumed = make()
    later = FieldSchedules(schedules, resumed)  # the optimizer is loaded after the fields were created, as in a trainer
    again.load_state_dict(saved)
    resumed.timestamp = state.timestamp
    later.step()
    assert later.values() == fields.values()
    advance(fields, state, 2)
    advance(later, resumed, 2)
    assert later.values() == fields.values() == {"weight_decay": 0.4 * (1 - 7 / 8), "beta1": fields.values()["beta1"]}

    first, fresh = make()  # the optimizer is loaded before the fields are created
    first.load_state_dict(saved)
    fresh.timestamp = state.timestamp
    assert FieldSchedules(schedules, fresh).values() == fields.values()


def test_resume_may_schedule_another_part_of_the_same_tuple():
    optimizer = AdamW([parameter()], betas=(0.8, 0.96))
    state = run(optimizer, length="4ba")
    advance(FieldSchedules({"beta1": LinearScheduler()}, state), state, 2)
    again = AdamW([parameter()], betas=(0.1, 0.1))
    again.load_state_dict(optimizer.state_dict())
    resumed = run(again, length="4ba", timestamp=state.timestamp)
    both = FieldSchedules({"beta1": LinearScheduler(), "beta2": LinearScheduler()}, resumed)
    assert both.values() == {"beta1": 0.4, "beta2": 0.48}


def test_param_group_that_is_added_later_follows_the_field_schedule():
    optimizer = AdamW([parameter()], weight_decay=0.4)
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"weight_decay": LinearScheduler()}, state)
    optimizer.add_param_group({"params": [parameter()], "weight_decay": 0.8})
    advance(fields, state)
    assert fields.values() == {"weight_decay": [pytest.approx(0.3), pytest.approx(0.6)]}


def test_tensors_are_changed_in_place():
    beta1, decay = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.4)
    optimizer = AdamW([parameter()], betas=(beta1, torch.tensor(0.9)), capturable=False)
    optimizer.param_groups[0]["weight_decay"] = decay
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"beta1": LinearScheduler(), "weight_decay": LinearScheduler()}, state)
    advance(fields, state)
    assert optimizer.param_groups[0]["betas"][0] is beta1
    assert optimizer.param_groups[0]["weight_decay"] is decay
    assert (beta1.item(), decay) == (0.375, torch.tensor(0.3))
    assert isinstance(optimizer.param_groups[0]["initial_weight_decay"], Tensor)
    assert fields.values() == {"beta1": 0.375, "weight_decay": decay.item()}


def test_tensor_used_by_two_groups_is_read_before_it_is_changed():
    shared = torch.tensor(0.4)
    optimizer = SGD([{"params": [parameter()]}], weight_decay=0.1)
    optimizer.param_groups[0]["weight_decay"] = shared
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"weight_decay": LinearScheduler()}, state)
    advance(fields, state, 2)
    optimizer.add_param_group({"params": [parameter()], "weight_decay": shared})
    advance(fields, state)
    assert shared == torch.tensor(0.1)


def test_new_group_gets_the_initial_values_of_both_betas_that_it_shares():
    betas = torch.tensor(0.8, dtype=torch.float64), torch.tensor(0.96, dtype=torch.float64)
    optimizer = AdamW([parameter()], betas=betas)
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"beta1": LinearScheduler(), "beta2": LinearScheduler()}, state)
    advance(fields, state)
    optimizer.add_param_group({"params": [parameter()]})  # it has the tensors of the first group
    advance(fields, state)
    assert fields.values() == {"beta1": 0.4, "beta2": 0.48}
    assert [group["initial_betas"] for group in optimizer.param_groups] == [(0.8, 0.96)] * 2


def adamw():
    return AdamW([parameter()], weight_decay=0.0, betas=(0.9, 0.99), amsgrad=True)


@pytest.mark.parametrize(
    ("schedules", "field", "says"),
    [
        ({"lr": LinearScheduler()}, "schedules.lr", "set 'scheduler' instead"),
        ({"momentum": LinearScheduler()}, "schedules.momentum", "use one of beta1, beta2, eps, weight_decay"),
        ({"betas": LinearScheduler()}, "schedules.betas", "no param group has this field"),
        ({"beta3": LinearScheduler()}, "schedules.beta3", "no param group has this field"),
        ({"initial_lr": LinearScheduler()}, "schedules.initial_lr", "no param group has this field"),
        ({"params": LinearScheduler()}, "schedules.params", "no param group has this field"),
        ({"amsgrad": LinearScheduler()}, "schedules.amsgrad", "must be a single number"),
        ({"foreach": LinearScheduler()}, "schedules.foreach", "must be a single number"),
        ({"weight_decay": LinearScheduler()}, "schedules.weight_decay", "is 0 in every param group"),
        ({"eps": LinearScheduler}, "schedules.eps", "must be a scheduler"),
        ({"eps": torch.optim.lr_scheduler.StepLR(adamw(), 3)}, "schedules.eps", "must be a scheduler"),
        ({"eps": {"a": LinearScheduler()}}, "schedules.eps", "must be a scheduler"),
        ({"eps": []}, "schedules.eps", "at least one"),
        ({"eps": LinearScheduler(t_max="3ep")}, "schedules.eps.t_max", "dataloader_len"),
        ([LinearScheduler()], "schedules", "a mapping from hyperparameter"),
    ],
)
def test_fields_that_cannot_be_scheduled_are_refused(schedules, field, says):
    with refused(field) as caught:
        FieldSchedules(schedules, run(adamw()))
    assert says in str(caught.value)


@pytest.mark.parametrize(("optimizer", "field"), [(Muon, "ns_steps"), (LBFGS, "max_iter"), (LBFGS, "max_eval")])
def test_number_of_steps_cannot_be_scheduled(optimizer, field):
    state = run(optimizer([nn.Parameter(torch.ones(2, 2))], **{field: 5}))
    with refused(f"schedules.{field}", WrongTypeError):
        FieldSchedules({field: LinearScheduler()}, state)


def test_missing_optimizer_and_field_with_several_numbers_are_refused():
    with refused("optimizers", MissingValueError):
        FieldSchedules({"eps": LinearScheduler()}, State(max_duration="4ba"))
    optimizer = adamw()
    optimizer.param_groups[0]["eps"] = torch.ones(3)
    with refused("schedules.eps", WrongTypeError, match="a tensor of 3"):
        FieldSchedules({"eps": LinearScheduler()}, run(optimizer))


def test_schedule_that_sets_a_beta_to_one_is_refused():
    optimizer = adamw()
    state = run(optimizer, length="4ba")
    fields = FieldSchedules({"beta1": PiecewiseLinearScheduler([("0dur", 1.0), ("1dur", 1.2)])}, state)
    advance(fields, state, 2)
    assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.9 * 1.1)
    with refused("schedules.beta1", RangeError, match=r"^schedules\.beta1=1\.035\d*: must be below 1"):
        advance(fields, state)
    assert optimizer.param_groups[0]["betas"][0] == pytest.approx(0.9 * 1.1)  # no field was set
