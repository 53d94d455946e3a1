from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    StepLR,
)

from ssr_hydra.errors import InputError
from ssr_hydra.optim import ScheduledLR
from ssr_hydra.schedulers import ConstantScheduler, LinearScheduler
from ssr_hydra.state import State
from ssr_hydra.trainer.learning_rates import LearningRates

BATCHES = 4


def sgd(lr: Any = 0.8) -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def trace(
    schedulers: Any, optimizer: torch.optim.Optimizer, epochs: int = 2, stepwise: bool | None = None
) -> list[float]:
    """The rate of every batch in a run of epochs of four batches, driven as the loop drives it."""
    state = State(max_duration=f"{epochs}ep", dataloader_len=BATCHES, optimizers=optimizer)
    rates = LearningRates(schedulers, state, Fraction(1), stepwise)
    seen = []
    for _ in range(epochs):
        for number in range(BATCHES):
            seen.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            state.timestamp = state.timestamp.to_next_batch()
            if number == BATCHES - 1:
                state.timestamp = state.timestamp.to_next_epoch()
                rates.epoch_ended()
            rates.batch_ended()()
    return seen


def alone(scheduler: LRScheduler, steps: int, every: int = 1) -> list[float]:
    """The rates that torch itself gives, stepping every so many batches."""
    seen = []
    for step in range(1, steps + 1):
        seen.append(float(scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.optimizer.step()
        if step % every == 0:
            scheduler.step()
    return seen


LINEAR = [0.8 * (8 - k) / 8 for k in range(8)]


def test_ours_set_the_rate_of_every_batch() -> None:
    assert trace(LinearScheduler(), sgd()) == LINEAR
    assert trace([LinearScheduler(), ConstantScheduler(0.5)], sgd()) == pytest.approx([lr / 2 for lr in LINEAR])


def test_torch_steps_by_epochs_unless_told_otherwise() -> None:
    a, b = sgd(), sgd()
    assert trace(ExponentialLR(a, 0.5), a) == [0.8] * 4 + [0.4] * 4
    assert trace(ExponentialLR(b, 0.5), b, stepwise=True) == [0.8 * 0.5**k for k in range(8)]


def test_ours_step_by_epochs_when_told_to() -> None:
    assert trace(LinearScheduler(), sgd(), stepwise=False) == [0.8] * 4 + [0.4] * 4


def decay(state: State) -> float:
    return 1.0 if state.timestamp.epoch < 1 else 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: ExponentialLR(optimizer, 0.5),
        lambda optimizer: StepLR(optimizer, 1, 0.3),
        lambda optimizer: CosineAnnealingLR(optimizer, 8),
        lambda optimizer: LinearLR(optimizer, 0.25, 1.0, 3),
        lambda optimizer: MultiStepLR(optimizer, [1, 3], 0.1),
    ],
)
@pytest.mark.parametrize("stepwise", [None, True])
@pytest.mark.parametrize("tensor", [False, True])
def test_ours_multiply_what_torchs_set_each_at_its_own_pace(make: Any, stepwise: bool | None, tensor: bool) -> None:
    def lr() -> Any:
        return torch.tensor(0.8, dtype=torch.float64) if tensor else 0.8

    reference = alone(make(sgd(lr())), 8, every=1 if stepwise else BATCHES)
    optimizer = sgd(lr())
    held = optimizer.param_groups[0]["lr"]
    mixed = trace([make(optimizer), LinearScheduler(), decay], optimizer, stepwise=stepwise)
    expected = [rate * (8 - k) / 8 * (1.0 if k < 4 else 0.5) for k, rate in enumerate(reference)]
    assert mixed == pytest.approx(expected, rel=1e-12)
    if tensor:
        assert optimizer.param_groups[0]["lr"] is held


def test_torch_schedulers_of_several_optimizers_keep_apart() -> None:
    a, b = sgd(), sgd(0.2)
    state = State(max_duration="2ep", dataloader_len=1, optimizers=(a, b))
    rates = LearningRates([ExponentialLR(a, 0.5), ExponentialLR(b, 0.1), ConstantScheduler(0.5)], state, Fraction(1))
    assert [a.param_groups[0]["lr"], b.param_groups[0]["lr"]] == [0.4, 0.1]
    state.timestamp = state.timestamp.to_next_batch().to_next_epoch()
    a.step(), b.step()
    rates.epoch_ended()
    rates.batch_ended()()
    assert [a.param_groups[0]["lr"], b.param_groups[0]["lr"]] == pytest.approx([0.2, 0.01])


def test_a_plateau_waits_for_evaluations() -> None:
    optimizer = sgd()
    state = State(max_duration="2ep", dataloader_len=1, optimizers=optimizer)
    rates = LearningRates(
        [ReduceLROnPlateau(optimizer, patience=0, factor=0.5), ConstantScheduler(0.5)], state, Fraction(1)
    )
    assert rates.needs_evaluation
    for metric, expected in [(1.0, 0.4), (2.0, 0.2), (0.5, 0.2)]:
        rates.epoch_ended()
        rates.batch_ended()()
        rates.evaluated(metric)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected)


def test_an_epoch_whose_end_was_not_foreseen_sets_ours_again() -> None:
    optimizer = sgd()
    state = State(max_duration="2ep", optimizers=optimizer)
    rates = LearningRates(decay, state, Fraction(1))
    optimizer.step()
    state.timestamp = state.timestamp.to_next_batch()
    rates.batch_ended()()
    assert optimizer.param_groups[0]["lr"] == 0.8
    state.timestamp = state.timestamp.to_next_epoch()
    rates.epoch_ended(again=True)
    assert optimizer.param_groups[0]["lr"] == 0.4


def test_no_schedule_leaves_the_rate_alone() -> None:
    assert trace(None, sgd()) == [0.8] * 8 == trace([], sgd())


@pytest.mark.parametrize(
    ("make", "ssr", "field", "words"),
    [
        (lambda o: StepLR(o, 1), 0.5, "schedulers", "use StepScheduler"),
        (lambda o: [CosineAnnealingLR(o, 5)], 2, "schedulers[0]", "use CosineAnnealingScheduler"),
        (lambda o: [ReduceLROnPlateau(o)], 2, "schedulers[0]", "ssr_hydra.schedulers"),
        (lambda o: [None, StepLR(sgd(), 1)], 1, "schedulers[1]", "an optimizer that this trainer does not run"),
        (lambda o: {"a": StepLR(o, 1)}, 1, "schedulers.a", "in a list"),
        (lambda o: StepLR, 1, "schedulers", r"StepLR\(\.\.\.\)"),
        (lambda o: ScheduledLR(o, LinearScheduler(), max_duration="8ba"), 1, "schedulers", "clock of its own"),
        (lambda o: decay, 0.5, "ssr", "second argument ssr"),
        (lambda o: [StepLR(o, 1), 3], 1, "schedulers[1].scheduler", "must be a scheduler"),
    ],
)
def test_what_cannot_drive_the_run_is_refused_by_name(make: Any, ssr: float, field: str, words: str) -> None:
    optimizer = sgd()
    state = State(max_duration="8ba", dataloader_len=BATCHES, optimizers=optimizer)
    with pytest.raises(InputError, match=words) as caught:
        LearningRates(make(optimizer), state, Fraction(str(ssr)))
    assert caught.value.field == field
