"""A model and data for tests of resuming: dropout, random numbers in the data, and a smaller last batch.

The tests set ``trust=[resume_lab]``, as for a user's module.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

SIGNALS = ("SIGTERM", "SIGUSR2", "SIGHUP", "SIGINT")
SAMPLES, EVAL_SAMPLES = 53, 20


class Net(nn.Module):
    """A network with dropout, which uses random numbers, and with BatchNorm, which has buffers."""

    def __init__(self, features: int = 6, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(features, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3),
            nn.Linear(width, classes),
        )  # fmt: skip

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


class Noisy(Dataset[tuple[Tensor, int]]):
    """Training samples with random numbers of torch, NumPy and Python; evaluation samples without random numbers."""

    def __init__(self, train: bool = True) -> None:
        self.train = train
        self.rows = torch.randn(
            SAMPLES if train else EVAL_SAMPLES, 6, generator=torch.Generator().manual_seed(int(train))
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        row = self.rows[index]
        if self.train:
            noise = [*torch.randn(4).tolist(), float(np.random.standard_normal()), random.gauss(0, 1)]
            row = row + 0.1 * torch.tensor(noise)
        return row, index % 3


class NoisyStream(IterableDataset[Any]):
    """Yields its epoch and a number from each global random generator."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        for _ in range(4):
            yield self.epoch, random.random(), float(np.random.rand()), float(torch.rand(()))


NOISY = {
    "data": "custom", "data.train._target_": "resume_lab.Noisy",
    "data.eval": "{_target_: resume_lab.Noisy, train: false}", "data.batch_size": 6, "data.eval_batch_size": 7,
}  # fmt: skip
"""An epoch has 9 batches. The last batch has 5 samples. The loader reads single samples."""

DIGITS = {
    "data": "digits", "data.augment": "{_target_: ssr_hydra.data.RandomShift, pixels: 1}", "data.batch_size": 130,
    "data.limit_eval": 1, "+model.features": 64, "+model.classes": 10,
}  # fmt: skip
"""An epoch has 10 batches. The last batch has 28 samples. The data is in memory."""


def arguments(*more: str, data: dict[str, Any] = NOISY, **values: Any) -> list[str]:
    """Return the overrides of a run with this model. ``__`` in the name of an argument stands for a dot."""
    settings = {
        "model": "custom", "model._target_": "resume_lab.Net", **data, "max_duration": "3.5ep",
        "scheduler": "cosine_warmup", "scheduler.t_warmup": "5ba", "trainer.eval_interval": "11ba",
        "trainer.log_interval": "1ba", "trainer.progress": "none", "trainer.device": "cpu",
        "checkpoint.interval": "7ba", "hydra.run.dir": "run",
        **{key.replace("__", "."): value for key, value in values.items()},
    }  # fmt: skip
    return [*(f"{key}={value}" for key, value in settings.items()), "trust=[resume_lab]", *more]


def scenarios(plan: str, folder: Path) -> dict[str, Any]:
    """Run scenarios of resume_killer.py, which compares each resumed run with an uninterrupted run bitwise."""
    from checkout import SUPPORT
    from warm import warm

    # The scenarios take many minutes on a slow disk.
    process = warm.run(str(SUPPORT / "resume_killer.py"), plan, str(folder), cwd=folder, timeout=3000)
    assert process.returncode == 0, process.stderr[-3000:]
    counts: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return counts
