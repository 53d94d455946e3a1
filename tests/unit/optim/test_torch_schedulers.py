"""torch's schedulers, converted from their instances: they have torch's values, stretched by SSR."""

import re
from fractions import Fraction
from functools import partial

import pytest
import torch
from cases import each
from checkout import REPO
from refusals import refused
from torch.optim import lr_scheduler as theirs
from torch_helpers import CASES, by_torch, by_us, decay, made, optimizer

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import InputError, UnknownNameError, WrongTypeError
from ssr_hydra.optim.torch_schedulers import Paced, read
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp
from ssr_hydra.trainer.learning_rates import LearningRates


def close(values, expected):
    """Compare twelve digits, because torch's recursions round at every step. Functions of time round only once."""
    assert len(values) == len(expected)
    for batch, (row, expected_row) in enumerate(zip(values, expected, strict=True)):
        for group, (a, b) in enumerate(zip(row, expected_row, strict=True)):
            assert a == pytest.approx(b, rel=1e-12, abs=1e-16), (batch, group)


@pytest.mark.parametrize("name", CASES)
def test_every_class_that_steps_by_batch_equals_torch_in_values_and_momenta(name):
    make = CASES[name]
    for kind in ("sgd", "adamw") if "ycl" in name else ("sgd",):  # only cycles set the momentum
        expected = by_torch(make, kind)
        close(by_us(make, kind), expected)
        close(by_us(lambda _: make(), kind), expected)


@pytest.mark.parametrize("name", CASES)
def test_every_class_that_steps_by_epoch_equals_torch_in_values_and_momenta(name):
    make = CASES[name]
    expected = by_torch(make, every=3)
    close(by_us(make, every=3, stepwise=False), expected)
    close(by_us(lambda _: make(), every=3, stepwise=False), expected)


@pytest.mark.parametrize("name", CASES)
def test_scaled_schedule_equals_torch_at_scaled_time(name):
    # At ssr 2, the even batches have torch's values. At ssr 1/2, the batches have every second value of torch.
    make = CASES[name]
    expected = by_torch(make)
    close(by_us(make, ssr=2, batches=128)[::2], expected)
    close(by_us(make, ssr="0.5", batches=32), expected[::2])


@pytest.mark.parametrize("name", CASES)
def test_schedule_that_steps_by_epoch_is_stretched(name):
    make = CASES[name]
    expected = by_torch(make, every=3)
    doubled = by_us(make, every=3, stepwise=False, ssr=2, batches=128)
    # Epoch 2k of our run has the values of epoch k of torch's run.
    close([doubled[6 * epoch] for epoch in range(21)], [expected[3 * epoch] for epoch in range(21)])
    # The value changes between epochs, but not within one.
    assert all(doubled[3 * epoch + k] == doubled[3 * epoch] for epoch in range(42) for k in (1, 2))


def test_paced_wrapper_overrides_the_pace_of_the_trainer_and_needs_a_scheduler_with_steps():
    def step(o):
        return theirs.StepLR(o, 2, 0.5)

    for stepwise in (None, True, False):
        close(by_us(lambda o: Paced(step(o), "batch"), every=3, stepwise=stepwise), by_torch(step))
        close(by_us(lambda o: Paced(step(o), "epoch"), every=3, stepwise=stepwise), by_torch(step, every=3))
    with refused("scheduler", WrongTypeError):
        Paced(theirs.ReduceLROnPlateau(optimizer()), "batch")
    with refused("scheduler", WrongTypeError):
        Paced(ours.StepLR(3), "batch")
    with refused("pace", UnknownNameError):
        Paced(theirs.StepLR(optimizer(), 3), "week")


def test_step_counts_given_as_floats_are_read_exactly():
    scheduler = read(theirs.CyclicLR(optimizer(), 0.1, 0.5, 3, 4))
    assert isinstance(scheduler, ours.CyclicLR)
    assert (scheduler.step_size_up, scheduler.step_size_down) == (3, 4)
    make = partial(theirs.CosineAnnealingLR, T_max=7.5)
    close(by_us(make), by_torch(make))


class MyStep(theirs.StepLR):
    """A user's class."""


def unreadable():
    """Yield torch schedulers that are not functions of time, and the reason."""
    stepped = theirs.StepLR(optimizer(), 3)
    stepped.optimizer.step()
    stepped.step()
    yield stepped, "has already been stepped .steps: 1"
    own = optimizer()
    chain = theirs.ChainedScheduler([theirs.StepLR(own, 3), theirs.ExponentialLR(own, 0.9)])
    own.step()
    chain.step()
    yield chain, "must be new, but has already been stepped"
    plateau = theirs.ReduceLROnPlateau(optimizer())
    plateau.step(1.0)
    plateau.step(2.0)
    yield plateau, "must be new, but has already been stepped"
    own = optimizer()
    before = theirs.StepLR(own, 3)
    theirs.OneCycleLR(own, 0.5, total_steps=10)
    yield before, r"was created for the initial learning rates \[0.8, 0.05, 0.001\], but the optimizer now has \[0.02"
    own = optimizer()
    yield MyStep(own, 3), "contains a custom class"
    yield (
        theirs.SequentialLR(own, [MyStep(own, 3), theirs.ExponentialLR(own, 0.9)], [3]),
        "contains a custom class",
    )
    yield theirs.ConstantLR(optimizer(), 0.5, 0), "^total_iters=0: must be above 0"
    changed = theirs.OneCycleLR(optimizer(), 0.5, total_steps=10)
    del changed._anneal_func_type
    yield changed, "has unknown attributes in this release of torch .*_anneal_func_type"


@each("scheduler,words", unreadable())
def test_error_says_why_a_scheduler_is_not_a_function_of_time(scheduler, words):
    with pytest.raises(InputError, match=words):
        read(scheduler)


def test_conversion_reads_functions_and_tensors_and_does_not_change_the_optimizer():
    for make in CASES.values():
        own = optimizer()
        scheduler = made(make, own)
        before = [dict(group) for group in own.param_groups]
        read(scheduler)
        assert [dict(group) for group in own.param_groups] == before
    assert read(theirs.LambdaLR(optimizer(), decay)).lr_lambda is decay
    own = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=torch.tensor(0.5))
    assert read(theirs.CosineAnnealingLR(own, 8)).T_max == 8


# --- the page ---

PAGE = REPO / "docs/guide/torch-schedulers.md"
ROWS = re.findall(r"^\| `(\w+\(.*\))` \|[^|]*\| (\S+) \| (\S+) \| (\S+) \|$", PAGE.read_text(encoding="utf-8"), re.M)


def rate_at_20(code, ssr):
    own = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    state = State(Time("90ba") * Fraction(ssr), optimizers=own)
    rates = LearningRates(eval(code, vars(theirs), {"opt": own}), state, Fraction(ssr), True)
    state.timestamp = Timestamp(batch=20)
    rates.load_state_dict({})
    return float(own.param_groups[0]["lr"])


def torchs_rate_at(code, step):
    own = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0, momentum=0.9)
    scheduler = eval(code, vars(theirs), {"opt": own})
    for _ in range(step):
        own.step()
        scheduler.step()
    return float(own.param_groups[0]["lr"])


@pytest.mark.parametrize(("code", "one", "half", "third"), ROWS, ids=[row[0].partition("(")[0] for row in ROWS])
def test_guide_table_matches_the_schedulers(code, one, half, third):
    rates = [f"{rate_at_20(code, ssr):.6g}" for ssr in ("1", "0.5", "0.3")]
    assert rates == [one, half, third]
    assert [f"{torchs_rate_at(code, step):.6g}" for step in (20, 40)] == [one, half]


def test_page_lists_every_class():
    names = {code.partition("(")[0] for code, *_ in ROWS}
    assert names == {name for name in theirs.__all__ if name != "LRScheduler"} - {"ReduceLROnPlateau"}


@each("ssr,evaluation", [("1", 7), ("0.5", 4), ("0.3", 3)])
def test_guide_example_of_plateau_reductions_is_correct(ssr, evaluation):
    own = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    state = State("90ba", optimizers=own)
    rates = LearningRates(theirs.ReduceLROnPlateau(own, patience=5), state, Fraction(ssr))
    lrs = []
    for _ in range(10):
        rates.evaluated(1.0)
        lrs.append(own.param_groups[0]["lr"])
    assert lrs.index(0.1) + 1 == evaluation
    assert f"at the {evaluation}" in PAGE.read_text(encoding="utf-8")
