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
            ``state.pt``. If this path is outside of the run's own folder, the run uses the path only until the run has
            written its own first checkpoint. So a requeued job does not lose its progress.
        run_dir: The run's own folder; None if it writes no files.

    Returns:
        A folder of checkpoints, the folder of one checkpoint, or None if the run must start from the beginning.

    Raises:
        InputError: The path does not exist or has no checkpoint.
    """
    check_path(resume, "resume")
    if run_dir is not None:
        check_path(run_dir, "run_dir")
    if str(resume) == NEVER:
        return None
    own = None if run_dir is None else Path(run_dir) / CHECKPOINTS
    if own is not None and is_store(own) and not _names_own(resume, own):
        return own
    return None if str(resume) == AUTO else _checkpoints_at(Path(resume).expanduser())


def _names_own(resume: str | Path, own: Path) -> bool:
    """Return whether the path ``resume`` is the run's folder, or is inside the run's folder of checkpoints."""
    path = Path(resume).expanduser().resolve()
    return str(resume) != AUTO and (path == own.parent.resolve() or own.resolve() in (path, *path.parents))


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
        the run uses its own checkpoints instead of the checkpoints at ``resume``. None if the run must start from the
        beginning.

    Raises:
        InputError: See :func:`find`.
        CheckpointError: The checkpoint at the path, or every checkpoint in the folder, cannot be used.
    """
    path = find(resume, run_dir)
    if path is None:
        return None
    opened = load_latest_good(path) if is_store(path) else (load(path), [])
    if opened is not None and _is_elsewhere(resume, path, run_dir):
        opened[1].insert(0, f"resume={resume} is not used, because the run has its own checkpoints in {path}")
    return opened


def _is_elsewhere(resume: str | Path, path: Path, run_dir: Path | None) -> bool:
    """Return whether the run uses its own checkpoints instead of the checkpoints at the path ``resume``."""
    own = None if run_dir is None else Path(run_dir) / CHECKPOINTS
    return path == own and own is not None and str(resume) != AUTO and not _names_own(resume, own)
