"""The folder of a run's checkpoints: written atomically, with the newest ones and the best one kept.

::

    checkpoints/ba1200/state.pt          tensors and plain values
    checkpoints/ba1200/checkpoint.json   counters, description, metric, SHA-256 of state.pt, and its own digest

A checkpoint is written into a folder with a temporary name, synced, and renamed. To remove one, it is renamed before it
is deleted. So a folder with a checkpoint's name is always complete, at whatever moment the process is killed.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_hydra.checkpoints.format import (
    STATE,
    CheckpointError,
    Index,
    check_state,
    plain_json,
    read_state,
    write_state,
)
from ssr_hydra.errors import InputError, RunError
from ssr_hydra.files import check_path, sync_folder, try_lock, write_error

__all__ = [
    "CHECKPOINTS",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "is_store",
    "load",
    "load_latest_good",
    "refuse_links",
]

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints inside a run's folder."""

# The second is the old checkpoint while a new one of the same batch replaces it.
_NAME = re.compile(r"ba\d+(\.replaced)?")
_LEFTOVER = re.compile(r"\.ba\d+\.(\d+)\.(new|gone)")
_LOCK = ".lock"
_LOCK_SECONDS = 60.0
_TRIES = 3
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Args:
        path: Its folder.
        state: Tensors and plain values, on the CPU.
        timestamp: The counters of the run.
        description: The description of the run.
        metric: The metric that decides which checkpoint is best, or None.
    """

    path: Path
    state: dict[str, Any]
    timestamp: dict[str, Any]
    description: dict[str, Any]
    metric: float | None

    @contextmanager
    def part(self, name: str) -> Iterator[Any]:
        """Use a part of the state in a ``with`` statement.

        Raises:
            CheckpointError: The part is missing, or using it raises an error: it does not fit this run.
        """
        try:
            yield self.state[name]
        except CheckpointError:
            raise
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            if isinstance(error, KeyError):
                reason = f"{reason} is missing"
            raise CheckpointError(self.path / STATE, f"its part {name!r} does not fit this run ({reason})") from error


class CheckpointStore:
    """Writes checkpoints ``folder/ba<batch>/``, and keeps the last ``keep`` of them and the best.

    Their order is the order of saving, not of batches: a run that resumes from an earlier checkpoint saves fewer
    batches than the abandoned attempt, but is newer. Only one of several processes saves.

    Args:
        folder: The folder of the checkpoints, created with the first one.
        keep: How many of the newest to keep, at least 2, so that a damaged one is not the only one.
        best_mode: ``max`` or ``min``: also keep the one with the best metric. None: do not.

    Raises:
        InputError: ``keep`` or ``best_mode`` is invalid.

    Example:
        >>> store = CheckpointStore(Path("run/checkpoints"), best_mode="max")
        >>> for batch, accuracy in ((10, 0.7), (20, 0.9), (30, 0.8), (40, 0.8)):
        ...     path = store.save(
        ...         {"step": batch}, timestamp={"batch": batch}, description={"ssr": 0.5}, metric=accuracy
        ...     )
        >>> [batch for batch, _ in store.all()], store.best().name
        ([20, 30, 40], 'ba20')
        >>> load(path).state
        {'step': 40}
    """

    def __init__(self, folder: Path, keep: int = 2, best_mode: str | None = None) -> None:
        if type(keep) is not int or keep < 2:
            rule = "must be an integer >= 2, so that a damaged checkpoint is not the only one"
            raise InputError("keep", keep, rule, "write 2")
        if best_mode not in ("max", "min", None):
            raise InputError(
                "best_mode", best_mode, "must be max, min or None", "write max for an accuracy, min for a loss"
            )
        self._folder, self._keep, self._best_mode = check_path(folder, "folder"), keep, best_mode

    def save(
        self,
        state: Mapping[str, Any],
        *,
        timestamp: Mapping[str, Any],
        description: Mapping[str, Any],
        metric: float | None = None,
    ) -> Path:
        """Write a checkpoint durably, then remove those that are not kept.

        It replaces a checkpoint of the same batch. Incomplete folders of killed processes are removed.

        Args:
            state: Tensors, numbers, strings, lists and dicts.
            timestamp: ``Timestamp.state_dict()``.
            description: The description of the run, as JSON.
            metric: The metric that decides which checkpoint is best; a value that is not finite counts as None.

        Returns:
            The checkpoint's folder.

        Raises:
            InputError: A value in the state or the description is not plain; nothing is written.
            WriteError: The disk is full, for example. The message has path and size; older checkpoints stay intact.
            RunError: Another process has been saving into this folder for a minute.
        """
        counters, described = plain_json(timestamp, "timestamp"), plain_json(description, "description")
        batch = counters.get("batch")
        if type(batch) is not int or batch < 0:
            raise InputError("timestamp.batch", batch, "must be an integer", "pass Timestamp.state_dict()")
        check_state(state)
        value = None if metric is None or not math.isfinite(metric) else float(metric)
        target = self._folder / f"ba{batch}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self._folder):
                _remove_leftovers(self._folder)
                number = 1 + max((index.number for _, index in _whole(self._folder)), default=0)
                new = self._folder / f".ba{batch}.{os.getpid()}.new"
                try:
                    new.mkdir()
                    size, sha256 = write_state(dict(state), new)
                    Index(number, size, sha256, counters, described, value).write(new)
                    sync_folder(new)
                    _put(new, target)
                finally:
                    shutil.rmtree(new, ignore_errors=True)  # it exists only after an error
                self._rotate()
        except RunError:
            raise
        except OSError as error:  # rename the folder, not a file in it
            raise write_error(error, Path(error.filename or target), 0) from error
        return target

    def _rotate(self) -> None:
        """Remove checkpoints that are not kept. An incomplete one does not count and is removed with older ones."""
        whole = _whole(self._folder)
        kept = {path for path, _ in whole[-self._keep :]}
        best = self._best(whole)
        if len(whole) >= self._keep:
            for path in _checkpoint_folders(self._folder):
                if path not in kept and path != best:
                    _remove(path)

    def _best(self, whole: list[tuple[Path, Index]]) -> Path | None:
        """Return the best by the metrics on disk, so that a killed process loses nothing; of equal ones the first."""
        scored = [(index.metric, path) for path, index in whole if index.metric is not None]
        if self._best_mode is None or not scored:
            return None
        choose = max if self._best_mode == "max" else min
        return choose(scored, key=lambda item: item[0])[1]

    def all(self) -> list[tuple[int, Path]]:
        """Return batch and folder of the checkpoints that seem complete, in the order of saving. Reads no tensors."""
        return [(index.batch, path) for path, index in _whole(self._folder)]

    def latest(self) -> Path | None:
        """Return the checkpoint that was saved last."""
        return next((path for _, path in reversed(self.all())), None)

    def best(self) -> Path | None:
        """Return the checkpoint with the best metric; None if none has a metric, or without ``best_mode``."""
        return self._best(_whole(self._folder))


def refuse_links(folder: Path, names: Iterable[str] = (CHECKPOINTS,), field: str = "run_dir") -> None:
    """Refuse a run's folder in which one of these is a link, because the run would write outside of its folder.

    Raises:
        InputError: Names ``field``.
    """
    for name in names:
        if (folder / name).is_symlink():
            rule = f"must not contain a link ({name}), because a run writes only into its own folder"
            raise InputError(field, str(folder), rule, "replace the link by its target")


def is_store(folder: Path) -> bool:
    """Whether a folder has anything with the name of a checkpoint."""
    return bool(_checkpoint_folders(folder))


def load(path: Path | str) -> Checkpoint:
    """Read a checkpoint, and verify all of it before it is used.

    Args:
        path: Its folder.

    Raises:
        CheckpointError: It is missing, truncated, altered, or not plain data. The message names the file.
    """
    path = Path(path)
    index = Index.read(path)
    return Checkpoint(path, read_state(path, index), index.timestamp, index.description, index.metric)


def load_latest_good(folder: Path | str) -> tuple[Checkpoint, list[str]] | None:
    """Read the newest checkpoint of a folder that can be read.

    Args:
        folder: The folder of checkpoints.

    Returns:
        The checkpoint, and one line for each newer one that was refused; None if there are no checkpoints.

    Raises:
        CheckpointError: There are checkpoints, but none can be read: a run never silently starts from scratch.
    """
    folder = check_path(folder, "folder")
    for _ in range(_TRIES):
        refused: list[str] = []
        has_vanished = False
        for path in _newest_first(folder):
            try:
                return load(path), refused
            except CheckpointError as error:  # noqa: PERF203 - try the next one
                if path.exists():
                    refused.append(f"refused {error.path}: {error.what}")
                else:  # the run that is writing here has removed it
                    has_vanished = True
        if not has_vanished:
            break
    if not refused and not has_vanished:
        return None
    refused = refused or ["another process keeps removing them"]
    raise CheckpointError(
        folder, f"none of its checkpoints can be used: {'; '.join(refused)}", "start in another folder"
    )


def _checkpoint_folders(folder: Path) -> list[Path]:
    """Return folders with the name of a checkpoint."""
    try:
        found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(found, key=lambda path: (len(path.name), path.name))  # ba9, ba10


def _indexed(folder: Path) -> list[tuple[Path, Index]]:
    """Return checkpoints whose index is complete, in the order of saving."""
    found = []
    for path in _checkpoint_folders(folder):
        with suppress(CheckpointError):  # reading it raises the error
            found.append((path, Index.read(path)))
    return sorted(found, key=lambda item: item[1].number)


def _whole(folder: Path) -> list[tuple[Path, Index]]:
    """Return those whose state has its recorded size."""
    return [(path, index) for path, index in _indexed(folder) if _size(path / STATE) == index.size]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _newest_first(folder: Path) -> list[Path]:
    """Return the order to try. A checkpoint without an index has no number, so it comes first."""
    indexed = [path for path, _ in _indexed(folder)]
    return [path for path in reversed(_checkpoint_folders(folder)) if path not in indexed] + indexed[::-1]


def _put(new: Path, target: Path) -> None:
    """Rename a checkpoint to its name. A folder cannot be replaced atomically, so the old one keeps a valid name."""
    folder, replaced = target.parent, target.with_name(f"{target.name}.replaced")
    if target.exists():
        if any(path == target for path, _ in _whole(folder)):
            _remove(replaced)  # left by a process that was killed after the second rename
            target.rename(replaced)
        else:
            _remove(target)
    new.rename(target)
    sync_folder(folder)
    _remove(replaced)


def _remove(path: Path) -> None:
    """Rename, then delete, so that an incomplete checkpoint never has a checkpoint's name."""
    if path.exists():
        gone = path.with_name(f".{path.name.partition('.')[0]}.{os.getpid()}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        sync_folder(path.parent)
        shutil.rmtree(gone, ignore_errors=True)  # the next save removes the rest


def _remove_leftovers(folder: Path) -> None:
    """Remove the leftovers of killed processes. The lock is held, so no running process uses them."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            if path.is_symlink():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time save. The kernel releases the lock of a killed process."""
    with (folder / _LOCK).open("ab") as file:
        until = time.monotonic() + _LOCK_SECONDS
        while not try_lock(file.fileno()):
            if time.monotonic() > until:
                raise RunError(
                    f"{folder}: another process is saving checkpoints here; use a different folder for each run"
                )
            time.sleep(0.02)
        yield
