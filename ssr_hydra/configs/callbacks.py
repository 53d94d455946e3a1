"""Configs of loggers and callbacks, derived from their classes. A run can combine several choices of these groups."""

from __future__ import annotations

from typing import Any

from ssr_hydra.configs.derive import Choices

_LOGGERS = {
    "csv": "CSVLogger",
    "tensorboard": "TensorBoardLogger",
    "wandb": "WandbLogger",
    "mlflow": "MLflowLogger",
    "trackio": "TrackioLogger",
}
_CALLBACKS = {"ema": "EMA", "profiler": "Profiler", "throughput": "Throughput"}

LOGGERS = Choices(__name__, {choice: (f"ssr_hydra.callbacks.{name}", {}) for choice, name in _LOGGERS.items()})
"""Choices of the group ``logger``. The config of each choice is at ``logger.<name>``."""

CALLBACKS = Choices(__name__, {choice: (f"ssr_hydra.callbacks.{name}", {}) for choice, name in _CALLBACKS.items()})
"""Choices of the group ``callbacks``. The config of each choice is at ``callbacks.<name>``."""


def __getattr__(name: str) -> Any:
    return (LOGGERS if name.endswith("LoggerConfig") else CALLBACKS).attribute(name)
