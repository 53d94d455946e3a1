"""What ``resume=...`` means: ``auto``, ``never``, or where a checkpoint lies."""

from __future__ import annotations

from pathlib import Path

from ssr_hydra.checkpoints.files import INDEX, STATE
from ssr_hydra.checkpoints.store import CHECKPOINTS, Checkpoint, is_store, load, load_latest_good
from ssr_hydra.errors import InputError
from ssr_hydra.files import check_path

__all__ = ["AUTO", "NEVER", "find", "open_checkpoint"]

AUTO, NEVER = "auto", "never"
_FIX = "give the folder of a run, of its checkpoints, or of one checkpoint; or resume=auto, resume=never"


def find(resume: str | Path, run_dir: Path | None) -> Path | None:
    """Where a run is to be resumed from. Reads no checkpoint, and needs no torch.

    Args:
        resume: ``auto``: the run's own folder, if it holds checkpoints. ``never``: nowhere. Else a path: of a run, of
            its checkpoints, of one checkpoint, or of its ``state.pt``. A run that began at a path outside of its folder
            and was stopped goes on from its own checkpoints, as a job that is queued again has to.
        run_dir: The run's own folder; None where it leaves no files.

    Returns:
        A folder of checkpoints, the folder of one, or None to start anew.

    Raises:
        InputError: The path does not exist, or is no checkpoint and holds none.
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
    """Whether a path leads to one of the run's own checkpoints, which is then taken as it is named."""
    path = Path(resume).expanduser().resolve()
    return str(resume) != AUTO and (path == own.parent.resolve() or own.resolve() in (path, *path.parents))


def _checkpoints_at(path: Path) -> Path:
    if not path.exists():
        raise InputError("resume", str(path), "there is no such file or folder", _FIX)
    if path.is_file():
        if path.name not in (STATE, INDEX):
            rule = f"a checkpoint is a folder of {STATE} and {INDEX}, and this file is neither"
            raise InputError("resume", str(path), rule, _FIX)
        return path.parent
    if (path / INDEX).exists() or (path / STATE).exists():
        return path
    for folder in (path / CHECKPOINTS, path):
        if is_store(folder):
            return folder
    raise InputError("resume", str(path), "it holds no checkpoint", _FIX)


def open_checkpoint(resume: str | Path, run_dir: Path | None) -> tuple[Checkpoint, list[str]] | None:
    """The checkpoint to resume from.

    Args:
        resume: As for :func:`find`.
        run_dir: Likewise.

    Returns:
        The checkpoint, and a line for each newer one that was refused; None to start anew.

    Raises:
        InputError: As :func:`find`.
        CheckpointError: What was named, or all that there are, cannot be used.
    """
    found = find(resume, run_dir)
    if found is None:
        return None
    opened = load_latest_good(found) if is_store(found) else (load(found), [])
    if opened is not None and _is_elsewhere(resume, found, run_dir):
        opened[1].insert(0, f"{resume} is where this run began; it goes on from its own checkpoints in {found}")
    return opened


def _is_elsewhere(resume: str | Path, found: Path, run_dir: Path | None) -> bool:
    """Whether the run's own checkpoints were found in place of those that a path leads to."""
    own = None if run_dir is None else Path(run_dir) / CHECKPOINTS
    return found == own and own is not None and str(resume) != AUTO and not _names_own(resume, own)
