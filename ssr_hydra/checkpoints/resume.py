"""Find and read the checkpoint for the setting ``resume``: ``auto``, ``never``, or a path."""

from __future__ import annotations

from pathlib import Path

from ssr_hydra.checkpoints.format import INDEX, STATE
from ssr_hydra.checkpoints.store import CHECKPOINTS, Checkpoint, is_store, load, load_latest_good
from ssr_hydra.errors import MissingValueError, PathError
from ssr_hydra.files import check_path
from ssr_hydra.settings.resume import AUTO, NEVER

_FIX = "write auto, never, or the path of a run folder, a checkpoints folder or one checkpoint"


def find(resume: str | Path, run_dir: Path | None) -> Path | None:
    """Return the folder to resume from. This function reads no checkpoint and does not import torch.

    Args:
        resume: ``auto`` means the run's own folder, if it has checkpoints. ``never`` means no checkpoint. Any other
            value is the path of a run, of its ``checkpoints`` folder, of one checkpoint, or of a checkpoint's
            ``state.pt``. If this path is outside of the run's own folder, and the run already has checkpoints of its
            own, the function ignores the path. So a requeued job does not lose its progress.
        run_dir: The run's own folder; None if the run writes no files.

    Returns:
        A folder of checkpoints, the folder of one checkpoint, or None if the run must start from the beginning.

    Raises:
        InputError: The path does not exist or has no checkpoint.
    """
    return _find(resume, run_dir)[0]


def _find(resume: str | Path, run_dir: Path | None) -> tuple[Path | None, bool]:
    """Return the result of :func:`find`, and whether :func:`find` ignores the path ``resume``."""
    check_path(resume, "resume")
    if run_dir is not None:
        check_path(run_dir, "run_dir")
    if str(resume) == NEVER:
        return None, False
    own = None if run_dir is None else Path(run_dir) / CHECKPOINTS
    if own is not None and not is_store(own):
        own = None
    if str(resume) == AUTO:
        return own, False
    path = Path(resume).expanduser()
    if own is not None and own.parent.resolve() != path.resolve() and not path.resolve().is_relative_to(own.resolve()):
        return own, True
    return _checkpoints_at(path), False


def _checkpoints_at(path: Path) -> Path:
    if not path.exists():
        raise PathError("resume", str(path), "not found", _FIX)
    if path.is_file():
        if path.name not in (STATE, INDEX):
            rule = f"must be a checkpoint, which is a folder with {STATE} and {INDEX}"
            raise PathError("resume", str(path), rule, _FIX)
        return path.parent
    if (path / INDEX).exists() or (path / STATE).exists():
        return path
    for folder in (path / CHECKPOINTS, path):
        if is_store(folder):
            return folder
    raise MissingValueError("resume", str(path), "has no checkpoint", _FIX)


def open_checkpoint(resume: str | Path, run_dir: Path | None) -> tuple[Checkpoint, list[str]] | None:
    """Read the checkpoint to resume from.

    Args:
        resume: See :func:`find`.
        run_dir: See :func:`find`.

    Returns:
        The checkpoint and a list of messages: one line for each newer checkpoint that cannot be used, and one line if
        the run uses its own checkpoints instead of the path ``resume``. None if the run must start from the beginning.

    Raises:
        InputError: See :func:`find`.
        CheckpointError: The checkpoint at the path, or every checkpoint in the folder, cannot be used.
    """
    path, is_replaced = _find(resume, run_dir)
    if path is None:
        return None
    opened = load_latest_good(path) if is_store(path) else (load(path), [])
    if opened is not None and is_replaced:
        opened[1].insert(0, f"resume={resume} is not used, because the run has its own checkpoints in {path}")
    return opened
