"""Measure the cost of each feature of the trainer, compared with the same trainer without features.

The model is the MLP of `bench.py loop`, with batches in memory, one thread and fused SGD. The rounds of all features
are interleaved, and ratios are medians over rounds. The time is that of the whole `fit()`, including writing and
saving. A step takes a fraction of a millisecond here. A feature that adds 10 % to such a step adds almost nothing to a
step of 10 ms.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import TensorDataset

from bench_loop import _BATCH, _STEPS, _sgd, training_data
from ssr_hydra.callbacks import EMA, CSVLogger
from ssr_hydra.data import TensorLoader
from ssr_hydra.models import MLP
from ssr_hydra.optim import param_groups
from ssr_hydra.schedulers import CosineAnnealingScheduler, LinearScheduler
from ssr_hydra.trainer import Trainer


class _Listener:
    def batch_end(self, trainer: Any, loss: Any) -> None:
        """Do nothing, to measure the cost of the call itself."""


def variants() -> dict[str, Mapping[str, Any]]:
    """Return a mapping from the name of a feature to the arguments of ``Trainer`` that enable it."""
    never: dict[str, Any] = {"checkpoint": {"interval": None}}
    return {
        "everything off": {},
        "records: a line every 10 batches": {"run": True, "checkpoint": {"enabled": False}},
        "records: a line for every batch": {"run": True, "checkpoint": {"enabled": False}, "log_interval": "1ba"},
        "CSV logger, a line every 10 batches": {"run": True, **never, "loggers": CSVLogger},
        "a checkpoint every 100 batches": {"run": True, "checkpoint": {"interval": "100ba"}},
        "a callback after each batch": {"callbacks": _Listener},
        "EMA of the weights": {"callbacks": EMA},
        "a schedule of weight_decay": {"schedules": {"weight_decay": LinearScheduler()}},
        "param groups: no decay on biases": {"groups": {"no_decay": {"params": {"ndim": 1}, "weight_decay": 0.0}}},
        "clip_grad_norm": {"step": {"clip_grad_norm": 1.0}},
        "accumulate=2": {"step": {"accumulate": 2}},
        "bf16 on the CPU": {"precision": "bf16"},
        "channels_last (no images here)": {"step": {"channels_last": True}},
    }


def one(data: TensorDataset, options: Mapping[str, Any], folder: Path) -> float:
    """Train one epoch. Return the seconds per step."""
    arguments = dict(options)
    model = MLP()
    groups = arguments.pop("groups", None)
    optimizer = _sgd(model, fused=True)
    if groups is not None or "schedules" in arguments:
        params: Any = model.parameters() if groups is None else param_groups(model, groups, weight_decay=1e-4)
        optimizer = torch.optim.SGD(params, lr=0.05, momentum=0.9, weight_decay=1e-4, fused=True)
    for kind in ("callbacks", "loggers"):
        if kind in arguments:
            arguments[kind] = [arguments[kind]()]
    if arguments.pop("run", False):
        arguments["run_dir"] = folder / str(time.perf_counter_ns())
    arguments = {"log_interval": "10ba", **arguments}
    trainer = Trainer(
        model,
        TensorLoader(data, _BATCH),
        None,
        optimizer,
        CosineAnnealingScheduler(),
        "1ep",
        device="cpu",
        progress="none",
        **arguments,
    )
    start = time.perf_counter()
    trainer.fit()
    return (time.perf_counter() - start) / _STEPS


def main(argv: Sequence[str] | None = None) -> int:
    """Print microseconds per step and the ratio to the trainer without features."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds of one epoch each (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    torch.set_num_threads(1)
    data = training_data()
    times: dict[str, list[float]] = {name: [] for name in variants()}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds + 1):
            for name, options in variants().items():
                seconds = one(data, options, Path(folder))
                if number > 0:  # the first round warms up
                    times[name].append(seconds)
    base = times["everything off"]
    print(f"MLP 64-128-10, batch {_BATCH}, one thread, torch {torch.__version__}, {arguments.rounds} rounds")
    print(f"{'feature':<40}{'us/step':>9}{'against everything off':>25}")
    for name, measured in times.items():
        ratio = statistics.median(a / b for a, b in zip(measured, base, strict=True))
        print(f"{name:<40}{statistics.median(measured) * 1e6:>9.1f}{ratio:>25.3f}")
    return 0
