"""Measure the cost of a step of several training loops: plain PyTorch, this package, and other libraries if installed.

Each loop trains an MLP 64-128-10 on 32,768 samples in memory with batch size 64, SGD with momentum, a learning rate
that changes every step, and one thread. The rounds of all loops are interleaved in one process, so that noise of the
machine affects all of them. Ratios are medians over the ratios of the rounds; they are more reliable than the
microseconds.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ssr_hydra.data import TensorLoader
from ssr_hydra.models import MLP
from ssr_hydra.schedulers import CosineAnnealingScheduler
from ssr_hydra.trainer import Trainer

_SAMPLES, _BATCH = 32_768, 64
_STEPS = _SAMPLES // _BATCH

# A runner trains one epoch on a given loader. It returns the training time in seconds, without the time for set-up.
Runner = Callable[[Iterable[Any], bool], float]


def _sgd(model: nn.Module, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=fused)


def _cosine(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=_STEPS)


def training_data() -> TensorDataset:
    """Return random samples and targets, the same in each call."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(_SAMPLES, 64, generator=generator)
    return TensorDataset(samples, torch.randint(10, (_SAMPLES,), generator=generator))


def plain(loader: Iterable[Any], fused: bool, schedule: bool = True) -> float:
    """Train with a typical plain PyTorch loop."""
    model = MLP()
    optimizer = _sgd(model, fused)
    scheduler = _cosine(optimizer) if schedule else None
    start = time.perf_counter()
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return time.perf_counter() - start


def ours(loader: Iterable[Any], fused: bool) -> float:
    """Train with this package's Trainer, with a cosine schedule, its clock, and its check of the loss."""
    model = MLP()
    optimizer = _sgd(model, fused)
    trainer = Trainer(model, loader, None, optimizer, CosineAnnealingScheduler(), "1ep", device="cpu", progress="none")
    return trainer.fit().train_seconds


def fabric(loader: Iterable[Any], fused: bool) -> float:
    """Train with Lightning Fabric around the plain loop."""
    from lightning.fabric import Fabric

    handle = Fabric(accelerator="cpu", devices=1)
    inner = MLP()
    inner_optimizer = _sgd(inner, fused)
    scheduler = _cosine(inner_optimizer)
    model, optimizer = handle.setup(inner, inner_optimizer)
    if isinstance(loader, DataLoader):
        loader = handle.setup_dataloaders(loader)
    start = time.perf_counter()
    for inputs, targets in loader:
        optimizer.zero_grad()
        handle.backward(F.cross_entropy(model(inputs), targets))
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - start


def lightning(loader: Iterable[Any], fused: bool) -> float:
    """Train with Lightning's Trainer, with all options off."""
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = MLP()
            self.start = 0.0
            self.seconds = 0.0

        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            del batch_idx
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            optimizer = _sgd(self, fused)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": _cosine(optimizer), "interval": "step"}}

        def on_train_start(self) -> None:
            self.start = time.perf_counter()

        def on_train_end(self) -> None:
            self.seconds = time.perf_counter() - self.start

    module = Module()
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        barebones=False,
    ).fit(module, loader)
    return module.seconds


def accelerate(loader: Iterable[Any], fused: bool) -> float:
    """Train with Hugging Face Accelerate around the plain loop."""
    from accelerate import Accelerator

    handle = Accelerator(cpu=True)
    model: Any = MLP()
    optimizer: Any = _sgd(model, fused)
    scheduler: Any = _cosine(optimizer)
    if isinstance(loader, DataLoader):
        loader = handle.prepare(loader)
    model, optimizer, scheduler = handle.prepare(model, optimizer, scheduler)
    start = time.perf_counter()
    for inputs, targets in loader:
        optimizer.zero_grad()
        handle.backward(F.cross_entropy(model(inputs), targets))
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - start


def composer(loader: Iterable[Any], fused: bool) -> float:
    """Train with MosaicML Composer's Trainer, without metrics."""
    from composer import Callback
    from composer import Trainer as ComposerTrainer
    from composer.models import ComposerClassifier
    from composer.optim import CosineAnnealingScheduler as ComposerCosine
    from torchmetrics import MetricCollection

    class Clock(Callback):
        def fit_start(self, *_: Any) -> None:
            self.start = time.perf_counter()

        def fit_end(self, *_: Any) -> None:
            self.seconds = time.perf_counter() - self.start

    none: Any = MetricCollection([])
    model = ComposerClassifier(MLP(), num_classes=10, train_metrics=none, val_metrics=none)
    clock = Clock()
    trainer = ComposerTrainer(
        model=model,
        train_dataloader=loader,
        optimizers=_sgd(model, fused),
        schedulers=ComposerCosine(),
        max_duration="1ep",
        device="cpu",
        callbacks=[clock],
        progress_bar=False,
        log_to_console=False,
        loggers=[],
    )
    trainer.fit()
    trainer.close()
    return clock.seconds


_PEERS = {"lightning.fabric": fabric, "lightning": lightning, "accelerate": accelerate, "composer": composer}


def _installed(module: str) -> bool:
    spec = importlib.util.find_spec(module.partition(".")[0])
    return spec is not None and spec.origin is not None  # a folder with that name is not a package


def loops() -> dict[str, tuple[Runner, str, bool]]:
    """Return a mapping from the name of a loop to its runner, its kind of loader, and whether its SGD is fused."""
    runners: dict[str, tuple[Runner, str, bool]] = {
        "plain, DataLoader": (plain, "DataLoader", False),
        "plain, in memory": (plain, "memory", False),
        "plain, in memory, no schedule": (partial(plain, schedule=False), "memory", False),
        "ssr_hydra, DataLoader": (ours, "DataLoader", False),
        "ssr_hydra, in memory": (ours, "memory", False),
        "plain, in memory, fused": (plain, "memory", True),
        "ssr_hydra, in memory, fused (its defaults)": (ours, "memory", True),
    }
    for module, runner in _PEERS.items():
        if _installed(module):
            name = runner.__name__.capitalize()
            runners[f"{name}, DataLoader"] = (runner, "DataLoader", False)
            if module != "composer":  # Composer accepts no other loader
                runners[f"{name}, in memory"] = (runner, "memory", False)
    return runners


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds per step of each loop in each round. If a loop fails, print the reason and skip the loop."""
    data = training_data()
    makers: dict[str, Callable[[], Iterable[Any]]] = {
        "DataLoader": lambda: DataLoader(data, _BATCH, shuffle=True),
        "memory": lambda: TensorLoader(data, _BATCH),
    }
    times: dict[str, list[float]] = {name: [] for name in loops()}
    for number in range(rounds + 1):
        for name in list(times):
            runner, loader, fused = loops()[name]
            try:
                seconds = runner(makers[loader](), fused)
            except Exception as error:  # an error in another library must not end the measurement
                print(f"{name}: skipped, {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
                del times[name]
                continue
            if number > 0:  # the first round warms up
                times[name].append(seconds / _STEPS)
    return times


def _ratio(times: list[float], base: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(times, base, strict=True))


def _quiet() -> None:
    """Silence the messages that other libraries print in every round."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "composer"):
        logging.getLogger(name).setLevel(logging.ERROR)


def main(argv: Sequence[str] | None = None) -> int:
    """Print microseconds per step and ratios to the plain loop on the same batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds of one epoch each (%(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error("--rounds must be 1 or more")
    torch.set_num_threads(1)
    _quiet()
    times = measure(arguments.rounds)
    print(f"MLP 64-128-10, batch {_BATCH}, one thread, torch {torch.__version__}, {arguments.rounds} rounds")
    print(f"{'loop':<42}{'us/step':>9}{'vs plain, same settings':>26}{'vs plain, DataLoader':>23}")
    for name, seconds in times.items():
        _, loader, fused = loops()[name]
        base = (
            "plain, DataLoader"
            if loader == "DataLoader"
            else "plain, in memory, fused"
            if fused
            else "plain, in memory"
        )
        same, written = _ratio(seconds, times[base]), _ratio(seconds, times["plain, DataLoader"])
        print(f"{name:<42}{statistics.median(seconds) * 1e6:>9.1f}{same:>26.3f}{written:>23.3f}")
    return 0
