"""Loggers and callbacks, such as an average of the weights or a profiler.

A callback is any object with one or more of the methods in :data:`~ssr_hydra.callbacks.events.EVENTS`; it needs no
base class. Each name is imported on first use, so only the chosen loggers and callbacks are loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_hydra.callbacks.csv import CSVLogger
    from ssr_hydra.callbacks.ema import EMA
    from ssr_hydra.callbacks.events import EVENTS, Events
    from ssr_hydra.callbacks.mlflow import MLflowLogger
    from ssr_hydra.callbacks.profiler import Profiler
    from ssr_hydra.callbacks.tensorboard import TensorBoardLogger
    from ssr_hydra.callbacks.throughput import Throughput
    from ssr_hydra.callbacks.wandb import WandbLogger

__all__ = [
    "EMA",
    "EVENTS",
    "CSVLogger",
    "Events",
    "MLflowLogger",
    "Profiler",
    "TensorBoardLogger",
    "Throughput",
    "WandbLogger",
]

_HOMES = {
    "EMA": "ema",
    "EVENTS": "events",
    "CSVLogger": "csv",
    "Events": "events",
    "MLflowLogger": "mlflow",
    "Profiler": "profiler",
    "TensorBoardLogger": "tensorboard",
    "Throughput": "throughput",
    "WandbLogger": "wandb",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
