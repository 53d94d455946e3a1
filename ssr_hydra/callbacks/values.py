"""Functions for loggers: the numbers of a record, the run's folder, and the packages that a logger needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssr_hydra.errors import MissingValueError, missing_package
from ssr_hydra.records import CLOCKS

PACKAGES = {
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "trackio": ("trackio",),
}
"""A mapping from an extra of this package to the modules that the extra installs."""


def columns(record: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten a record: each element of a list or mapping becomes a value with its own name.

    A list ``lrs`` becomes ``lrs/0``, ``lrs/1``. A mapping ``lrs`` becomes ``lrs/body``, ``lrs/head``. If the record
    also has a value ``lr`` (the name without the final s), the names of the elements start with ``lr`` instead:
    ``lr/0``, ``lr/body``.

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
    """Return the numbers of a record, without the counters in :data:`CLOCKS`. NaN and infinity count as numbers.

    In a record of an evaluation, ``train/loss`` becomes ``train/loss_since_eval``, the mean since the previous
    evaluation, because a logging service stores only one value for each name and step.

    Example:
        >>> scalars({"event": "eval", "batch": 10, "eval/accuracy": 0.5, "note": "x", "eval/loss": None})
        {'eval/accuracy': 0.5}
    """
    items = columns(record).items()
    values = {name: float(value) for name, value in items if name not in CLOCKS and isinstance(value, (int, float))}
    if record.get("event") == "eval" and "train/loss" in values:
        values["train/loss_since_eval"] = values.pop("train/loss")
    return values


def flat(config: Mapping[str, Any] | None) -> dict[str, str | int | float | bool]:
    """Return a flat mapping from the dotted names of a config to plain values. None becomes ``"null"``, as in YAML.

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
    """Return the run's folder, and create it if it is missing."""
    if trainer.run_dir is None:
        rule = f"must be set, because the {logger} logger writes into the run's folder"
        raise MissingValueError("run_dir", None, rule, "give run_dir")
    folder = Path(trainer.run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def require_extra(extra: str) -> None:
    """Check that the packages of an extra (``pip install ssr_hydra[extra]``) are installed. Do not import them."""
    for module in PACKAGES[extra]:
        if importlib.util.find_spec(module) is None:
            raise missing_package("logger", extra, module, extra)
