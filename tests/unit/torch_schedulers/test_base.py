"""Properties that all descriptions of torch schedulers have."""

import inspect
from dataclasses import fields
from fractions import Fraction

import pytest
from cases import each
from refusals import refused
from torch.optim import lr_scheduler as theirs
from torch_helpers import CASES, GROUPS, squash

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import MismatchError, MissingRateError, UnknownNameError
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, exact

NAMES = [name for name in theirs.__all__ if name not in ("LRScheduler",)]


def at(batch, dataloader_len=8):
    whole = Fraction(batch) // dataloader_len
    return Timestamp(epoch=whole, batch=batch, batch_in_epoch=Fraction(batch) - whole * dataloader_len)


def bound(scheduler, ssr=1, stepwise=True):
    return scheduler.bind(State(Time("64ba") * exact(ssr), dataloader_len=8), ssr, stepwise)


@each("ssr", ["0.3", "1.7", "1/3"])
@pytest.mark.parametrize("name", CASES)
def test_rate_at_the_stretched_time_equals_the_rate_without_ssr(name, ssr):
    course, reference, ratio = bound(CASES[name](), ssr), bound(CASES[name]()), exact(ssr)
    for third in range(0, 150, 2):
        time = Fraction(third, 3)
        rates, expected = course.rates(at(time * ratio), GROUPS), reference.rates(at(time), GROUPS)
        assert rates == expected, time  # to the last bit
        if course.has_momenta:
            assert course.momenta(at(time * ratio), 3) == reference.momenta(at(time), 3)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_have_the_same_names_and_order_and_defaults_as_in_torch(name):
    torchs = [
        parameter
        for key, parameter in inspect.signature(getattr(theirs, name)).parameters.items()
        if key not in ("optimizer", "last_epoch")
    ]
    own = [field for field in fields(getattr(ours, name)) if field.name != "pace"]
    assert [field.name for field in own] == [parameter.name for parameter in torchs]
    parameters = inspect.signature(getattr(ours, name)).parameters
    assert [parameters[p.name].default for p in torchs] == [p.default for p in torchs]


def test_package_has_every_scheduler_class_of_torch():
    assert set(ours.__all__) == {*NAMES, "Course", "TorchScheduler"}
    assert {name.split()[0] for name in CASES} == {*NAMES} - {"ReduceLROnPlateau"}


def test_whether_a_scheduler_steps_by_batch_or_epoch_depends_on_its_class_and_settings():
    assert ours.StepLR(1).pace_in(None) == "epoch"
    assert ours.OneCycleLR(1.0).pace_in(None) == ours.CyclicLR(0.1, 1.0).pace_in(None) == "batch"
    assert ours.SequentialLR([ours.StepLR(1), ours.OneCycleLR(1.0)], [3]).pace_in(None) == "batch"
    assert ours.ChainedScheduler([ours.StepLR(1), ours.StepLR(2)]).pace_in(None) == "epoch"
    assert ours.StepLR(1).pace_in(True) == "batch"
    assert ours.OneCycleLR(1.0).pace_in(False) == "epoch"
    assert ours.StepLR(1, pace="epoch").pace_in(True) == "epoch"
    with refused("pace", UnknownNameError):
        ours.StepLR(1, pace="step")


def test_scheduler_that_steps_by_epoch_changes_only_between_epochs():
    # The run has 3 epochs of 10 batches. The first epoch that begins after 1.8 epochs is epoch 2, at batch 20.
    course = ours.StepLR("1.8ep", 0.5).bind(State("30ba", dataloader_len=10), 1)
    assert [course.rates(at(k, 10), [1.0])[0] for k in (0, 18, 19, 20, 29)] == [1.0, 1.0, 1.0, 0.5, 0.5]
    batches = ours.StepLR("1.8ep", 0.5, pace="batch").bind(State("30ba", dataloader_len=10), 1)
    assert [batches.rates(at(k, 10), [1.0])[0] for k in (17, 18, 20)] == [1.0, 0.5, 0.5]


def test_times_in_any_unit_are_read():
    state = State("100ba", dataloader_len=10, samples_per_batch=32)
    tokens = ours.StepLR("1000tok", 0.5, pace="batch").bind(state)
    assert [tokens.rates(Timestamp(batch=1, token=n), [1.0])[0] for n in (999, 1000, 2500)] == [1.0, 0.5, 0.25]
    shares = ours.CosineAnnealingLR("0.5dur", pace="batch").bind(state, 0.5)
    assert shares.rates(Timestamp(batch=50), [1.0]) == [0.0]  # the run has 100 batches: dur is already scaled by ssr
    seconds = ours.ConstantLR(0.5, "1m", pace="batch").bind(state, 0.5)
    assert [seconds.rates(Timestamp(seconds=n), [1.0])[0] for n in (29, 30)] == [0.5, 1.0]


def test_epochs_are_counted_if_dataloader_len_is_unknown():
    course = ours.StepLR(3, 0.5).bind(State("12ep"), 0.5)
    assert [course.rates(Timestamp(epoch=k, batch=7 * k), [1.0])[0] for k in (0, 1, 2, 3)] == [1.0, 1.0, 0.5, 0.25]
    with refused("step_size", MissingRateError):
        ours.StepLR("3ep", pace="batch").bind(State("12ep"))


def test_numbers_of_steps_may_be_larger_than_any_float():
    course = ours.StepLR(2**53 + 1, 0.5, pace="batch").bind(State(f"{2**60}ba"))
    rates = [course.rates(Timestamp(batch=k), [1.0])[0] for k in (2**53, 2**53 + 1)]
    assert rates == [1.0, 0.5]


# For each argument: calls in which it is invalid.
STEP = ours.StepLR(1)
BAD = {
    "step_size": [lambda: ours.StepLR(0), lambda: ours.StepLR("3"), lambda: ours.StepLR(None)],
    "gamma": [lambda: ours.StepLR(3, -0.1), lambda: ours.StepLR(3, "0.1"), lambda: ours.ExponentialLR(-1.0)],
    "milestones": [
        lambda: ours.MultiStepLR("3ep"), lambda: ours.MultiStepLR([]), lambda: ours.SequentialLR([STEP], [3])
    ],
    "milestones[1]": [lambda: ours.MultiStepLR([3, -1])],
    "factor": [lambda: ours.ConstantLR(1.5), lambda: ours.ReduceLROnPlateau(factor=1.0)],
    "total_iters": [lambda: ours.ConstantLR(0.5, 0)],
    "start_factor": [lambda: ours.LinearLR(0.0)],
    "end_factor": [lambda: ours.LinearLR(0.5, 1.5)],
    "power": [lambda: ours.PolynomialLR(5, 0.0)],
    "T_max": [lambda: ours.CosineAnnealingLR("0dur")],
    "eta_min": [lambda: ours.CosineAnnealingLR(3, -0.1)],
    "T_mult": [lambda: ours.CosineAnnealingWarmRestarts(3, 1.5)],
    "base_lr": [lambda: ours.CyclicLR([], 1.0)],
    "base_lr[1]": [lambda: ours.CyclicLR([0.1, -1.0], 1.0)],
    "mode": [lambda: ours.CyclicLR(0.1, 1.0, mode="square"), lambda: ours.ReduceLROnPlateau("low")],
    "scale_fn": [lambda: ours.CyclicLR(0.1, 1.0, scale_fn=3)],
    "step_size_down": [lambda: ours.CyclicLR(0.1, 1.0, step_size_down=0)],
    "pct_start": [lambda: ours.OneCycleLR(1.0, pct_start=1.5)],
    "anneal_strategy": [lambda: ours.OneCycleLR(1.0, anneal_strategy="cosine")],
    "epochs": [lambda: ours.OneCycleLR(1.0, epochs=3), lambda: ours.OneCycleLR(1.0, 10, epochs=3, steps_per_epoch=3)],
    "div_factor": [lambda: ours.OneCycleLR(1.0, div_factor=0.0)],
    "lr_lambda": [lambda: ours.LambdaLR(3)],
    "lr_lambda[1]": [lambda: ours.MultiplicativeLR([squash, int])],
    "schedulers": [lambda: ours.SequentialLR(STEP, [3])],
    "schedulers[1]": [lambda: ours.ChainedScheduler([STEP, 3])],
    "schedulers.a": [lambda: ours.ChainedScheduler({"a": ours.ReduceLROnPlateau()})],
    "schedulers[0].pace": [lambda: ours.ChainedScheduler([ours.StepLR(1, pace="batch")])],
    "patience": [lambda: ours.ReduceLROnPlateau(patience=-1)],
    "cooldown": [lambda: ours.ReduceLROnPlateau(cooldown="3")],
    "min_lr": [lambda: ours.ReduceLROnPlateau(min_lr=-1.0)],
    "threshold_mode": [lambda: ours.ReduceLROnPlateau(threshold_mode="none")],
}  # fmt: skip


@each("field,make", [(field, make) for field, calls in BAD.items() for make in calls])
def test_invalid_arguments_are_refused_in_one_line(field, make):
    with refused(field):
        make()


def test_list_must_have_one_value_for_each_group():
    course = ours.OneCycleLR([0.1, 0.2]).bind(State("8ba"))
    assert len(course.rates(Timestamp(), [1.0, 1.0])) == 2
    with refused("max_lr", MismatchError, match=r"\(3\), but has 2"):
        course.rates(Timestamp(), [1.0] * 3)
