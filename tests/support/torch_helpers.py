"""torch's schedulers by name, created by torch and described by this package, and the rates of both."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial
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
    """Return an optimizer with one group for each rate."""
    groups: Any = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]
    return torch.optim.SGD(groups, momentum=0.5) if kind == "sgd" else torch.optim.AdamW(groups)


def decay(step: float) -> float:
    return 1.0 / (1.0 + 0.1 * step)


def squash(step: float) -> float:
    return 0.9 if step % 3 else 1.05


def build(spec: tuple[Any, ...], own: torch.optim.Optimizer | None = None) -> Any:
    """Return the scheduler of a spec: its class, its arguments, and a mapping of keywords. A list holds specs.

    With an optimizer, the function returns torch's scheduler. Without one, it returns this package's description.
    """
    name, *arguments = spec
    keywords = arguments.pop() if arguments and isinstance(arguments[-1], dict) else {}
    parts = [[build(part, own) for part in item] if type(item) is list else item for item in arguments]
    if own is None:
        return getattr(ours, name)(*parts, **keywords)
    return getattr(theirs, name)(*([] if name == "ChainedScheduler" else [own]), *parts, **keywords)


_DECAYS = (decay, squash, lambda step: 0.5**step)
_THREE_PHASES: dict[str, Any] = {
    "epochs": 8, "steps_per_epoch": 8, "pct_start": 0.4, "anneal_strategy": "linear", "three_phase": True,
    "base_momentum": 0.6, "max_momentum": 0.8, "div_factor": 10.0, "final_div_factor": 100.0,
}  # fmt: skip
_MANY = [
    ("ConstantLR", 0.5, 2), ("ExponentialLR", 0.9), ("MultiplicativeLR", squash), ("MultiplicativeLR", decay),
    ("StepLR", 2, 0.5), ("LambdaLR", decay), ("CosineAnnealingWarmRestarts", 3, 2), ("PolynomialLR", 6, 2.0),
]  # fmt: skip
_CHAIN = [
    ("ExponentialLR", 0.9), ("PolynomialLR", 30, 2.0), ("MultiplicativeLR", squash), ("LinearLR", 0.5),
    ("StepLR", 3, 0.5),
]  # fmt: skip
_DEEP = ("SequentialLR", [("CosineAnnealingLR", 9, 0.01), ("StepLR", 2)], (5,))
_THREE = [("LinearLR", 0.1), ("ExponentialLR", 0.9), ("MultiplicativeLR", squash)]
SPECS: dict[str, tuple[Any, ...]] = {
    "StepLR": ("StepLR", 4, 0.3),
    "MultiStepLR": ("MultiStepLR", (9, 3, 3, 20), 0.3),
    "MultiStepLR from 0": ("MultiStepLR", (0, 2), 0.3),
    "ConstantLR": ("ConstantLR", 0.25, 6),
    "ConstantLR by default": ("ConstantLR",),
    "LinearLR": ("LinearLR", 0.1, 0.7, 11),
    "LinearLR to 0": ("LinearLR", 1.0, 0.0, 11),
    "LinearLR by default": ("LinearLR",),
    "ExponentialLR": ("ExponentialLR", 0.93),
    "PolynomialLR": ("PolynomialLR", 17, 1.7),
    "PolynomialLR by default": ("PolynomialLR",),
    "CosineAnnealingLR": ("CosineAnnealingLR", 10),
    "CosineAnnealingLR with a floor": ("CosineAnnealingLR", 13, 0.002),
    "CosineAnnealingWarmRestarts": ("CosineAnnealingWarmRestarts", 3, 2, 0.002),
    "CosineAnnealingWarmRestarts of one length": ("CosineAnnealingWarmRestarts", 7),
    "CyclicLR": ("CyclicLR", (0.01, 0.02, 0.03), 0.5, 4, 7),
    "CyclicLR triangular2": ("CyclicLR", 0.01, 0.5, 5, {"mode": "triangular2", "base_momentum": 0.7}),
    "CyclicLR exp_range": (
        "CyclicLR", 0.01, 0.5, 3, 6, {"mode": "exp_range", "gamma": 0.95, "cycle_momentum": False}
    ),
    "CyclicLR of a function": ("CyclicLR", 0.01, 0.5, 3, 6, {"scale_fn": decay, "scale_mode": "iterations"}),
    "OneCycleLR": ("OneCycleLR", (0.5, 0.2, 0.1), {"total_steps": 64}),
    "OneCycleLR in three phases": ("OneCycleLR", 0.5, _THREE_PHASES),
    "OneCycleLR without momentum": (
        "OneCycleLR", 0.5, {"total_steps": 64, "pct_start": 0.0, "cycle_momentum": False}
    ),
    "LambdaLR": ("LambdaLR", _DECAYS),
    "MultiplicativeLR": ("MultiplicativeLR", (decay, squash, squash)),
    "SequentialLR": (
        "SequentialLR", [("LinearLR", 0.1, {"total_iters": 5}), ("CosineAnnealingLR", 20, 0.001)], (5,)
    ),
    "SequentialLR of many": ("SequentialLR", _MANY, (4, 8, 9, 13, 20, 21, 40)),
    "SequentialLR with cycles": (
        "SequentialLR",
        [("ConstantLR", 0.5, 9), ("CyclicLR", 0.01, 0.4, 3, {"base_momentum": 0.6}), ("ExponentialLR", 0.9)],
        (4, 12),
    ),
    "SequentialLR in itself": (
        "SequentialLR",
        [("SequentialLR", [("ExponentialLR", 0.9), ("PolynomialLR", 9)], (4,)), ("StepLR", 3, 0.5)],
        (10,),
    ),
    "SequentialLR of a chain": ("SequentialLR", [("ChainedScheduler", _CHAIN), ("CosineAnnealingLR", 30)], (10,)),
    "SequentialLR of a chain with a floor": (
        "SequentialLR",
        [("ChainedScheduler", [("CosineAnnealingLR", 7, 0.003), ("ExponentialLR", 0.9)]), ("CosineAnnealingLR", 30)],
        (20,),
    ),
    "SequentialLR of three depths": (
        "SequentialLR", [("SequentialLR", [_DEEP, ("LinearLR", 0.2)], (12,)), ("ExponentialLR", 0.9)], (20,)
    ),
    "ChainedScheduler": (
        "ChainedScheduler", [("ConstantLR", 0.1, 4), ("ExponentialLR", 0.9), ("MultiplicativeLR", squash)]
    ),
    "ChainedScheduler with a cosine": ("ChainedScheduler", [("LinearLR", 0.1, 1.0, 6), ("CosineAnnealingLR", 10)]),
    "ChainedScheduler with a floor": (
        "ChainedScheduler", [("LinearLR", 0.1, 1.0, 6), ("CosineAnnealingLR", 10, 0.003), ("ExponentialLR", 0.98)]
    ),
    "ChainedScheduler of a sequence": (
        "ChainedScheduler", [("StepLR", 3, 0.7), ("SequentialLR", _THREE, (5, 14)), ("ExponentialLR", 0.95)]
    ),
    "ChainedScheduler in itself": (
        "ChainedScheduler", [("ChainedScheduler", [("ConstantLR", 0.2), ("StepLR", 3)]), ("ExponentialLR", 0.9)]
    ),
}  # fmt: skip
# Each function creates torch's scheduler for an optimizer or, without an optimizer, its description.
CASES: dict[str, Callable[..., Any]] = {name: partial(build, spec) for name, spec in SPECS.items()}

Values = list[list[tuple[float, float]]]


def seen(optimizer: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """Return learning rate and momentum (or first beta) of every group."""
    groups = optimizer.param_groups
    return [(float(g["lr"]), float(g["momentum"] if "momentum" in g else g["betas"][0])) for g in groups]


def made(make: Callable[[Any], Any], own: torch.optim.Optimizer) -> Any:
    """Create a scheduler. Ignore the warning that torch causes itself when a sequence is in a sequence."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make(own)


def by_torch(make: Callable[[Any], Any], kind: str = "sgd", batches: int = 64, every: int = 1) -> Values:
    """Return torch's rates for each batch, with a scheduler step after every ``every`` batches."""
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
    """Return the trainer's learning rates for each batch of a run with epochs of ``every`` batches."""
    own = optimizer(kind)
    state = State(Time(max_duration) * exact(ssr), dataloader_len=every, optimizers=own)
    rates = LearningRates(made(make, own), state, Fraction(str(ssr)), stepwise)
    assert rates.state_dict() == {}  # a function of time: no scheduler runs unchanged
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
