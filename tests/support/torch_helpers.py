"""torch's schedulers by name, as torch makes them and as this package describes them, and the rates of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch
from torch.optim import lr_scheduler as theirs

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.state import State
from ssr_hydra.time import Time, exact
from ssr_hydra.trainer.learning_rates import LearningRates

GROUPS = (0.8, 0.05, 1e-3)
"""The learning rates of three param groups."""


def optimizer(kind: str = "sgd", lrs: tuple[float, ...] = GROUPS) -> torch.optim.Optimizer:
    """One group for each rate."""
    groups: Any = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, momentum=0.5) if kind == "sgd" else torch.optim.AdamW(groups)


def decay(step: float) -> float:
    return 1.0 / (1.0 + 0.1 * step)


def squash(step: float) -> float:
    return 0.9 if step % 3 else 1.05


# Name -> how torch makes it for an optimizer, and how it is described without one.
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[], Any]]] = {
    "StepLR": (lambda o: theirs.StepLR(o, 4, 0.3), lambda: ours.StepLR(4, 0.3)),
    "MultiStepLR": (
        lambda o: theirs.MultiStepLR(o, [9, 3, 3, 20], 0.3),
        lambda: ours.MultiStepLR([9, 3, 3, 20], 0.3),
    ),
    "MultiStepLR from 0": (lambda o: theirs.MultiStepLR(o, [0, 2], 0.3), lambda: ours.MultiStepLR([0, 2], 0.3)),
    "ConstantLR": (lambda o: theirs.ConstantLR(o, 0.25, 6), lambda: ours.ConstantLR(0.25, 6)),
    "ConstantLR by default": (lambda o: theirs.ConstantLR(o), lambda: ours.ConstantLR()),
    "LinearLR": (lambda o: theirs.LinearLR(o, 0.1, 0.7, 11), lambda: ours.LinearLR(0.1, 0.7, 11)),
    "LinearLR to 0": (lambda o: theirs.LinearLR(o, 1.0, 0.0, 11), lambda: ours.LinearLR(1.0, 0.0, 11)),
    "LinearLR by default": (lambda o: theirs.LinearLR(o), lambda: ours.LinearLR()),
    "ExponentialLR": (lambda o: theirs.ExponentialLR(o, 0.93), lambda: ours.ExponentialLR(0.93)),
    "PolynomialLR": (lambda o: theirs.PolynomialLR(o, 17, 1.7), lambda: ours.PolynomialLR(17, 1.7)),
    "PolynomialLR by default": (lambda o: theirs.PolynomialLR(o), lambda: ours.PolynomialLR()),
    "CosineAnnealingLR": (lambda o: theirs.CosineAnnealingLR(o, 10), lambda: ours.CosineAnnealingLR(10)),
    "CosineAnnealingLR with a floor": (
        lambda o: theirs.CosineAnnealingLR(o, 13, 0.002),
        lambda: ours.CosineAnnealingLR(13, 0.002),
    ),
    "CosineAnnealingWarmRestarts": (
        lambda o: theirs.CosineAnnealingWarmRestarts(o, 3, 2, 0.002),
        lambda: ours.CosineAnnealingWarmRestarts(3, 2, 0.002),
    ),
    "CosineAnnealingWarmRestarts of one length": (
        lambda o: theirs.CosineAnnealingWarmRestarts(o, 7),
        lambda: ours.CosineAnnealingWarmRestarts(7),
    ),
    "CyclicLR": (
        lambda o: theirs.CyclicLR(o, [0.01, 0.02, 0.03], 0.5, 4, 7),
        lambda: ours.CyclicLR([0.01, 0.02, 0.03], 0.5, 4, 7),
    ),
    "CyclicLR triangular2": (
        lambda o: theirs.CyclicLR(o, 0.01, 0.5, 5, mode="triangular2", base_momentum=0.7),
        lambda: ours.CyclicLR(0.01, 0.5, 5, mode="triangular2", base_momentum=0.7),
    ),
    "CyclicLR exp_range": (
        lambda o: theirs.CyclicLR(o, 0.01, 0.5, 3, 6, mode="exp_range", gamma=0.95, cycle_momentum=False),
        lambda: ours.CyclicLR(0.01, 0.5, 3, 6, mode="exp_range", gamma=0.95, cycle_momentum=False),
    ),
    "CyclicLR of a function": (
        lambda o: theirs.CyclicLR(o, 0.01, 0.5, 3, 6, scale_fn=decay, scale_mode="iterations"),
        lambda: ours.CyclicLR(0.01, 0.5, 3, 6, scale_fn=decay, scale_mode="iterations"),
    ),
    "OneCycleLR": (
        lambda o: theirs.OneCycleLR(o, [0.5, 0.2, 0.1], total_steps=64),
        lambda: ours.OneCycleLR([0.5, 0.2, 0.1], total_steps=64),
    ),
    "OneCycleLR in three phases": (
        lambda o: theirs.OneCycleLR(
            o, 0.5, epochs=8, steps_per_epoch=8, pct_start=0.4, anneal_strategy="linear", three_phase=True,
            base_momentum=0.6, max_momentum=0.8, div_factor=10.0, final_div_factor=100.0,
        ),
        lambda: ours.OneCycleLR(
            0.5, epochs=8, steps_per_epoch=8, pct_start=0.4, anneal_strategy="linear", three_phase=True,
            base_momentum=0.6, max_momentum=0.8, div_factor=10.0, final_div_factor=100.0,
        ),
    ),
    "OneCycleLR without momentum": (
        lambda o: theirs.OneCycleLR(o, 0.5, total_steps=64, pct_start=0.0, cycle_momentum=False),
        lambda: ours.OneCycleLR(0.5, total_steps=64, pct_start=0.0, cycle_momentum=False),
    ),
    "LambdaLR": (
        lambda o: theirs.LambdaLR(o, [decay, squash, lambda step: 0.5**step]),
        lambda: ours.LambdaLR([decay, squash, lambda step: 0.5**step]),
    ),
    "MultiplicativeLR": (
        lambda o: theirs.MultiplicativeLR(o, [decay, squash, squash]),
        lambda: ours.MultiplicativeLR([decay, squash, squash]),
    ),
    "SequentialLR": (
        lambda o: theirs.SequentialLR(
            o, [theirs.LinearLR(o, 0.1, total_iters=5), theirs.CosineAnnealingLR(o, 20, 0.001)], [5]
        ),
        lambda: ours.SequentialLR([ours.LinearLR(0.1, total_iters=5), ours.CosineAnnealingLR(20, 0.001)], [5]),
    ),
    "SequentialLR of many": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.ConstantLR(o, 0.5, 2), theirs.ExponentialLR(o, 0.9), theirs.MultiplicativeLR(o, squash),
                theirs.MultiplicativeLR(o, decay), theirs.StepLR(o, 2, 0.5), theirs.LambdaLR(o, decay),
                theirs.CosineAnnealingWarmRestarts(o, 3, 2), theirs.PolynomialLR(o, 6, 2.0),
            ],
            [4, 8, 9, 13, 20, 21, 40],
        ),
        lambda: ours.SequentialLR(
            [
                ours.ConstantLR(0.5, 2), ours.ExponentialLR(0.9), ours.MultiplicativeLR(squash),
                ours.MultiplicativeLR(decay), ours.StepLR(2, 0.5), ours.LambdaLR(decay),
                ours.CosineAnnealingWarmRestarts(3, 2), ours.PolynomialLR(6, 2.0),
            ],
            [4, 8, 9, 13, 20, 21, 40],
        ),
    ),
    "SequentialLR with cycles": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.ConstantLR(o, 0.5, 9), theirs.CyclicLR(o, 0.01, 0.4, 3, base_momentum=0.6),
                theirs.ExponentialLR(o, 0.9),
            ],
            [4, 12],
        ),
        lambda: ours.SequentialLR(
            [ours.ConstantLR(0.5, 9), ours.CyclicLR(0.01, 0.4, 3, base_momentum=0.6), ours.ExponentialLR(0.9)], [4, 12]
        ),
    ),
    "SequentialLR in itself": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.SequentialLR(o, [theirs.ExponentialLR(o, 0.9), theirs.PolynomialLR(o, 9)], [4]),
                theirs.StepLR(o, 3, 0.5),
            ],
            [10],
        ),
        lambda: ours.SequentialLR(
            [ours.SequentialLR([ours.ExponentialLR(0.9), ours.PolynomialLR(9)], [4]), ours.StepLR(3, 0.5)], [10]
        ),
    ),
    "SequentialLR of a chain": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.ChainedScheduler([
                    theirs.ExponentialLR(o, 0.9), theirs.PolynomialLR(o, 30, 2.0), theirs.MultiplicativeLR(o, squash),
                    theirs.LinearLR(o, 0.5), theirs.StepLR(o, 3, 0.5),
                ]),
                theirs.CosineAnnealingLR(o, 30),
            ],
            [10],
        ),
        lambda: ours.SequentialLR(
            [
                ours.ChainedScheduler([
                    ours.ExponentialLR(0.9), ours.PolynomialLR(30, 2.0), ours.MultiplicativeLR(squash),
                    ours.LinearLR(0.5), ours.StepLR(3, 0.5),
                ]),
                ours.CosineAnnealingLR(30),
            ],
            [10],
        ),
    ),
    "SequentialLR of a chain with a floor": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.ChainedScheduler([theirs.CosineAnnealingLR(o, 7, 0.003), theirs.ExponentialLR(o, 0.9)]),
                theirs.CosineAnnealingLR(o, 30),
            ],
            [20],
        ),
        lambda: ours.SequentialLR(
            [
                ours.ChainedScheduler([ours.CosineAnnealingLR(7, 0.003), ours.ExponentialLR(0.9)]),
                ours.CosineAnnealingLR(30),
            ],
            [20],
        ),
    ),
    "SequentialLR of three depths": (
        lambda o: theirs.SequentialLR(
            o,
            [
                theirs.SequentialLR(
                    o,
                    [
                        theirs.SequentialLR(o, [theirs.CosineAnnealingLR(o, 9, 0.01), theirs.StepLR(o, 2)], [5]),
                        theirs.LinearLR(o, 0.2),
                    ],
                    [12],
                ),
                theirs.ExponentialLR(o, 0.9),
            ],
            [20],
        ),
        lambda: ours.SequentialLR(
            [
                ours.SequentialLR(
                    [ours.SequentialLR([ours.CosineAnnealingLR(9, 0.01), ours.StepLR(2)], [5]), ours.LinearLR(0.2)],
                    [12],
                ),
                ours.ExponentialLR(0.9),
            ],
            [20],
        ),
    ),
    "ChainedScheduler": (
        lambda o: theirs.ChainedScheduler([
            theirs.ConstantLR(o, 0.1, 4), theirs.ExponentialLR(o, 0.9), theirs.MultiplicativeLR(o, squash)
        ]),
        lambda: ours.ChainedScheduler([
            ours.ConstantLR(0.1, 4), ours.ExponentialLR(0.9), ours.MultiplicativeLR(squash)
        ]),
    ),
    "ChainedScheduler with a cosine": (
        lambda o: theirs.ChainedScheduler([theirs.LinearLR(o, 0.1, 1.0, 6), theirs.CosineAnnealingLR(o, 10)]),
        lambda: ours.ChainedScheduler([ours.LinearLR(0.1, 1.0, 6), ours.CosineAnnealingLR(10)]),
    ),
    "ChainedScheduler with a floor": (
        lambda o: theirs.ChainedScheduler([
            theirs.LinearLR(o, 0.1, 1.0, 6), theirs.CosineAnnealingLR(o, 10, 0.003), theirs.ExponentialLR(o, 0.98)
        ]),
        lambda: ours.ChainedScheduler([
            ours.LinearLR(0.1, 1.0, 6), ours.CosineAnnealingLR(10, 0.003), ours.ExponentialLR(0.98)
        ]),
    ),
    "ChainedScheduler of a sequence": (
        lambda o: theirs.ChainedScheduler([
            theirs.StepLR(o, 3, 0.7),
            theirs.SequentialLR(
                o, [theirs.LinearLR(o, 0.1), theirs.ExponentialLR(o, 0.9), theirs.MultiplicativeLR(o, squash)], [5, 14]
            ),
            theirs.ExponentialLR(o, 0.95),
        ]),
        lambda: ours.ChainedScheduler([
            ours.StepLR(3, 0.7),
            ours.SequentialLR([ours.LinearLR(0.1), ours.ExponentialLR(0.9), ours.MultiplicativeLR(squash)], [5, 14]),
            ours.ExponentialLR(0.95),
        ]),
    ),
    "ChainedScheduler in itself": (
        lambda o: theirs.ChainedScheduler([
            theirs.ChainedScheduler([theirs.ConstantLR(o, 0.2), theirs.StepLR(o, 3)]), theirs.ExponentialLR(o, 0.9)
        ]),
        lambda: ours.ChainedScheduler([
            ours.ChainedScheduler([ours.ConstantLR(0.2), ours.StepLR(3)]), ours.ExponentialLR(0.9)
        ]),
    ),
}  # fmt: skip

Values = list[list[tuple[float, float]]]


def seen(optimizer: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Learning rate and momentum (or first beta) of every group."""
    groups = optimizer.param_groups
    return [(float(g["lr"]), float(g["momentum"] if "momentum" in g else g["betas"][0])) for g in groups]


def made(make: Callable[[Any], Any], own: torch.optim.Optimizer) -> Any:
    """Without torch's warning about its own steps where one sequence is made of another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make(own)


def by_torch(make: Callable[[Any], Any], kind: str = "sgd", batches: int = 64, every: int = 1) -> Values:
    """What torch itself gives for each batch, stepped after every so many."""
    own = optimizer(kind)
    scheduler = made(make, own)
    values = []
    for batch in range(batches):
        values.append(seen(own))
        own.step()
        if (batch + 1) % every == 0:
            scheduler.step()
    return values


def by_us(
    make: Callable[[Any], Any], kind: str = "sgd", batches: int = 64, every: int = 8, ssr: Any = 1,
    stepwise: bool | None = True, max_duration: str = "64ba",
) -> Values:  # fmt: skip
    """What the trainer's learning rates are for each batch of a run of epochs of ``every`` batches."""
    own = optimizer(kind)
    state = State(Time(max_duration) * exact(ssr), dataloader_len=every, optimizers=own)
    rates = LearningRates(made(make, own), state, Fraction(str(ssr)), stepwise)
    assert rates.state_dict() == {}  # a function of time: nothing runs as it is
    step = rates.batch_ended()
    values = []
    for _ in range(batches):
        values.append(seen(own))
        state.timestamp = state.timestamp.to_next_batch()
        if state.timestamp.batches_in_epoch == every:
            state.timestamp = state.timestamp.to_next_epoch()
            rates.epoch_ended()
        step()
    return values
