"""What the tests of shared steps trust: a model with dropout and batch norm, and callbacks."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Net(nn.Sequential):
    """A small conv net for digits whose state is more than its weights, and whose steps use random numbers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, 10),
        )


class Nudge:
    """Changes the weights by the length of the run, which no checkpoint of a shared step can have."""

    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Called after each step."""
        with torch.no_grad():
            next(trainer.model.parameters()).mul_(1 + 1e-3 / float(trainer.state.max_duration.value))


class Notes:
    """Notes each trained step in the file ``SHARING_STEPS``, and kills its process at the step ``SHARING_KILL``, once.

    It does not depend on the length of the run.
    """

    shareable = True

    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Called after each step."""
        steps = os.environ.get("SHARING_STEPS")
        if not steps:
            return
        with Path(steps).open("a") as file:
            file.write(f"{trainer.config['ssr']:g} {trainer.config['seed']} {trainer.state.timestamp.batches}\n")
        which = os.environ.get("SHARING_KILL")
        killed = Path(f"{steps}.{which}.killed")
        if which and Path(steps).read_text().splitlines()[-1] == which and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
