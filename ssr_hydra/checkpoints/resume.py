"""What ``resume=...`` means. (Skeleton: signatures hold, bodies follow.)"""

from __future__ import annotations

from pathlib import Path

from ssr_hydra.checkpoints.store import Checkpoint

__all__ = ["find", "open_checkpoint"]


def find(resume: str | Path, run_dir: Path | None) -> Path | None:
    """The folder to resume from: one of checkpoints, or one checkpoint; None to start anew. No torch; for composition.

    ``auto`` -> ``run_dir/checkpoints`` where it holds a checkpoint; ``never`` -> None; a path -> InputError if nothing
    is there.
    """
    raise NotImplementedError


def open_checkpoint(resume: str | Path, run_dir: Path | None) -> tuple[Checkpoint, list[str]] | None:
    """find() and load: the checkpoint, and a line for each newer one that was refused; None to start anew."""
    raise NotImplementedError
