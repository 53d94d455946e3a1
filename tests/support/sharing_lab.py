"""Settings, a model and callbacks for sweeps that share steps. The tests set ``trust=[sharing_lab]``."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

QUIET = ("launcher=basic", "trainer.progress=none", "study_report=false", "study_code=any", "trainer.eval_interval=2ep")
# Six batches per epoch. The last batch has 198 samples.
SMALL = (*QUIET, "max_duration=24ba", "data.batch_size=200", "trainer.log_interval=5ba")
WSD = ("scheduler=wsd", "scheduler.t_warmup=4ba", "scheduler.t_decay=0.25dur", "scheduler.decay=linear")
RICH = (
    "model=custom",
    "model._target_=sharing_lab.Net",
    "trust=[sharing_lab]",
    "callbacks=[ema]",
    "callbacks.ema.half_life=null",
    "callbacks.ema.decay=0.9",
    "optimizer=adamw",
    "+scheduler@schedules.weight_decay=constant_warmup",
    "schedules.weight_decay.t_warmup=6ba",
)


class Net(nn.Sequential):
    """A small conv net for digits with batch norm, which has buffers, and with dropout, which uses random numbers."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, 10),
        )


def stored_images() -> TensorDataset:
    """Return a data set of the images in the file ``images.pt``."""
    images = torch.load("images.pt")
    return TensorDataset(images, images.flatten(1).sum(1).long() % 10)


class Nudge:
    """A callback whose effect depends on the length of the run, so jobs of different lengths cannot share steps."""

    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Called after each step."""
        with torch.no_grad():
            next(trainer.model.parameters()).mul_(1 + 1e-3 / float(trainer.state.max_duration.value))


class Notes:
    """A callback that writes each step to the file ``SHARING_STEPS``, and kills its process once.

    ``SHARING_KILL`` names the job and the step of the kill. The callback does not depend on the length of the run.
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
