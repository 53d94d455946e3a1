"""Checkpoint files. (Skeleton: signatures hold, bodies follow.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_hydra.errors import RunError

__all__ = ["CHECKPOINTS", "Checkpoint", "CheckpointError", "CheckpointStore", "load", "load_latest_good"]

CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints, inside the run's own: pass ``run_dir / CHECKPOINTS`` to the store."""


class CheckpointError(RunError):
    """A checkpoint that is there cannot be used: torn, altered, or not plain data. One line; exit code 1."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified. ``path`` is its folder."""

    path: Path
    state: dict[str, Any]
    timestamp: dict[str, Any]
    description: dict[str, Any]
    metric: float | None


class CheckpointStore:
    """Writes checkpoints ``folder/ba<batch>/`` and keeps the last ``keep`` of them and the best.

    ``save`` is for one process (rank 0). Order is that of saving, not of batches: a run repeated from an earlier point
    has its newest checkpoint at a smaller batch than those of the attempt that was given up.
    """

    def __init__(self, folder: Path, keep: int = 2, best_mode: str | None = None) -> None:
        raise NotImplementedError

    def save(
        self,
        state: Mapping[str, Any],
        *,
        timestamp: Mapping[str, Any],
        description: Mapping[str, Any],
        metric: float | None = None,
    ) -> Path:
        """Write one; InputError (a state that is not plain, naming the key), WriteError (disk)."""
        raise NotImplementedError

    def all(self) -> list[tuple[int, Path]]:
        """(batch, folder) of those that look whole, in the order of saving."""
        raise NotImplementedError

    def latest(self) -> Path | None:
        """The one saved last."""
        raise NotImplementedError

    def best(self) -> Path | None:
        """The one with the best metric."""
        raise NotImplementedError


def load(path: Path) -> Checkpoint:
    """Read the checkpoint in folder ``path``; CheckpointError."""
    raise NotImplementedError


def load_latest_good(folder: Path) -> tuple[Checkpoint, list[str]] | None:
    """The newest of a checkpoints folder that can be read, and a line for each newer one that could not."""
    raise NotImplementedError
