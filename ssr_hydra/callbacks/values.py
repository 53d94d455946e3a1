"""Helpers of loggers: the numbers of a record, the run's folder, and the packages of extras."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssr_hydra.errors import InputError, missing_package

__all__ = ["CLOCKS", "PACKAGES", "columns", "flat", "require_extra", "run_folder", "scalars"]

CLOCKS = ("epoch", "batch", "sample", "token", "train_seconds")
"""Keys of a record that give the position of the run."""

PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
"""Extra of this package -> the modules that it installs."""


def columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with one value per name: ``lrs`` of several param groups become ``lr/0``, ``lr/1``.

    A list is spread under its name, without the plural's s where the singular stands in the record too; a mapping
    under its name and its keys, so ``lrs`` of named param groups become ``lr/body``, ``lr/head``.

    Example:
        >>> columns({"event": "train", "batch": 10, "lr": 0.1, "lrs": [0.1, 0.01], "momentum": {"body": 0.9}})
        {'event': 'train', 'batch': 10, 'lr': 0.1, 'lr/0': 0.1, 'lr/1': 0.01, 'momentum/body': 0.9}
    """
    spread: dict[str, Any] = {}
    for name, value in record.items():
        base = name[:-1] if name.endswith("s") and name[:-1] in record else name
        parts: Iterable[tuple[Any, Any]]
        if isinstance(value, Mapping):
            parts = value.items()
        elif isinstance(value, (list, tuple)):
            parts = enumerate(value)
        else:
            spread[name] = value
            continue
        spread.update(columns({f"{base}/{key}": part for key, part in parts}))
    return spread


def scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that a record tells, without those of its clocks; NaN and infinity are numbers.

    The ``train/loss`` of an evaluation is the mean since the evaluation before, and that of a record of training the
    mean since the record before. Stores have one value for a name at a step, so the first is ``train/loss_since_eval``.

    Example:
        >>> scalars({"event": "eval", "batch": 10, "eval/accuracy": 0.5, "note": "x", "eval/loss": None})
        {'eval/accuracy': 0.5}
    """
    found = columns(record).items()
    values = {name: float(value) for name, value in found if name not in CLOCKS and isinstance(value, (int, float))}
    if record.get("event") == "eval" and "train/loss" in values:
        values["train/loss_since_eval"] = values.pop("train/loss")
    return values


def flat(config: Mapping[str, Any] | None) -> dict[str, str | int | float | bool]:
    """Flatten a config to dotted names with plain values; None becomes the word ``null``, as in YAML.

    Example:
        >>> flat({"ssr": 0.5, "scheduler": {"t_warmup": None, "milestones": ["0.5dur"]}})
        {'ssr': 0.5, 'scheduler.t_warmup': 'null', 'scheduler.milestones[0]': '0.5dur'}
    """
    values: dict[str, str | int | float | bool] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, Mapping) and node:
            for key, value in node.items():
                walk(value, f"{path}.{key}" if path else str(key))
        elif isinstance(node, (list, tuple)) and node:
            for index, value in enumerate(node):
                walk(value, f"{path}[{index}]")
        elif path:
            plain = isinstance(node, (str, int, float))
            values[path] = node if plain else "null" if node is None else str(node)

    walk({} if config is None else config, "")
    return values


def run_folder(trainer: Any, logger: str) -> Path:
    """Return the folder of the run.

    Raises:
        InputError: The run has no folder, but this logger writes files.
    """
    if trainer.run_dir is None:
        raise InputError("run_dir", None, f"the {logger} logger writes into the run's folder", "give run_dir")
    folder = Path(trainer.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_extra(extra: str) -> None:
    """Check that the packages of an extra of this package are installed, without importing them.

    Raises:
        InputError: A package is not installed; the error says how to install it.
    """
    for module in PACKAGES[extra]:
        if importlib.util.find_spec(module) is None:
            raise missing_package("logger", extra, module, extra)
