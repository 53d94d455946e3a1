"""Optimizers for tests of schedules, and their learning rates."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import SGD, Optimizer

from ssr_hydra.state import State


def parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(2))


def sgd(*rates: float | torch.Tensor, **options: Any) -> SGD:
    """Return an optimizer with one group for each rate, by default one group with 0.1."""
    groups = [{"params": [parameter()], "lr": rate, **options} for rate in rates or (0.1,)]
    return SGD(groups, lr=0.1)


def rates(*optimizers: Optimizer) -> list[float]:
    """Return the current learning rates of the optimizers."""
    return [float(group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]


def trace(optimizer: Optimizer, step: Callable[[], Any], batches: int, group: int = 0) -> list[float]:
    """Return the learning rate of each batch."""
    lrs = []
    for _ in range(batches):
        lrs.append(float(optimizer.param_groups[group]["lr"]))
        optimizer.step()
        step()
    return lrs


def tick(state: State, scheduler: torch.optim.lr_scheduler.LRScheduler, samples: int = 0, tokens: int = 0) -> None:
    """Do what a trainer does after each optimizer step."""
    state.timestamp = state.timestamp.to_next_batch(samples, tokens)
    scheduler.step()


def through_a_file(value: Any) -> Any:
    """Return a value as ``torch.load`` reads it from a file."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
