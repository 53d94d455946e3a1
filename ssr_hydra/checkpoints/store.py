"""Store of a run's checkpoints. It writes them atomically, and keeps the newest checkpoints and the best checkpoint.

::

    checkpoints/ba1200/state.pt          tensors and plain values
    checkpoints/ba1200/checkpoint.json   counters, description, metric, SHA-256 of state.pt, digest of these values

The store writes a checkpoint into a folder with a temporary name, syncs it, and renames it. To remove a checkpoint, the
store renames the folder and then deletes it. So a kill never leaves an incomplete folder with a checkpoint's name.
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

from ssr_hydra.checkpoints.format import STATE, CheckpointError, Index, check_state, plain_json, read_state, write_state
from ssr_hydra.errors import PathError, RangeError, RunError, WrongTypeError
from ssr_hydra.files import check_path, sync_folder, try_lock, write_error
from ssr_hydra.settings.base import one_of

CHECKPOINTS = "checkpoints"
"""The folder of checkpoints inside a run's folder."""

# While a new checkpoint replaces an old checkpoint of the same batch, the old checkpoint has the suffix ".replaced".
_NAME = re.compile(r"ba\d+(\.replaced)?")
_LEFTOVER = re.compile(r"\.ba\d+\.(\d+)\.(new|gone)")
_LOCK = ".lock"
OF_A_RUN = (".hydra", "train.log", "output.log", CHECKPOINTS, f"{CHECKPOINTS}/{_LOCK}")
"""Entries of a run's folder that the run, or its sweep, opens to write."""
_LOCK_SECONDS = 60.0
_TRIES = 3
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and verified.

    Args:
        path: The checkpoint's folder.
        state: Tensors and plain values, on the CPU.
        timestamp: The counters of the run.
        description: Settings, model and data of the run. A resume compares them with those of the new run.
        metric: The value of the metric that selects the best checkpoint; None if unknown or not finite.
    """

    path: Path
    state: dict[str, Any]
    timestamp: dict[str, Any]
    description: dict[str, Any]
    metric: float | None

    @contextmanager
    def part(self, name: str) -> Iterator[Any]:
        """Return a context manager that yields one entry of the state, such as ``"model"``.

        Raises:
            CheckpointError: The entry is missing, or the code in the ``with`` block raised an error, for example
                because the entry does not fit this run.
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
    """Store checkpoints as ``folder/ba<batch>/``, and keep the newest ``keep`` checkpoints and the best checkpoint.

    The newest checkpoint is the checkpoint that was saved last, not the one with the most batches. The two differ after
    a run has resumed from an earlier checkpoint.

    Args:
        folder: The folder of the checkpoints, created with the first checkpoint.
        keep: Number of the newest checkpoints to keep, at least 2. If the newest checkpoint is damaged, the run can
            resume from an older one.
        best_mode: ``max`` or ``min`` also keeps the checkpoint with the best metric; None keeps only the newest.

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
            raise RangeError("keep", keep, rule, "write 2")
        if best_mode is not None:
            one_of(best_mode, "best_mode", ("max", "min"))
        self._folder, self._keep, self._best_mode = check_path(folder, "folder"), keep, best_mode

    def save(
        self,
        state: Mapping[str, Any],
        *,
        timestamp: Mapping[str, Any],
        description: Mapping[str, Any],
        metric: float | None = None,
    ) -> Path:
        """Write a checkpoint and sync it. Then remove all checkpoints except the newest ``keep`` and the best.

        The new checkpoint replaces an old one of the same batch. Incomplete folders of killed processes are removed.

        Args:
            state: Tensors, numbers, strings, lists and dicts.
            timestamp: ``Timestamp.state_dict()``.
            description: The description of the run, as data that JSON can store.
            metric: The value of the metric that selects the best checkpoint. A value that is not finite is stored as
                None.

        Returns:
            The checkpoint's folder.

        Raises:
            InputError: A value in the state or the description is not plain data. Nothing is written.
            WriteError: A file cannot be written. The message has its path and size. Older checkpoints stay intact.
            RunError: Another process has been saving into this folder for more than a minute.
        """
        counters, described = plain_json(timestamp, "timestamp"), plain_json(description, "description")
        batch = counters.get("batch")
        if type(batch) is not int or batch < 0:
            raise WrongTypeError(
                "timestamp.batch", batch, "must be an integer", "pass a result of Timestamp.state_dict()"
            )
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
                    _put(new, target)
                finally:
                    shutil.rmtree(new, ignore_errors=True)  # the folder exists only if the save has failed
                self._rotate()
        except RunError:  # includes WriteError, which already names the file
            raise
        except OSError as error:
            raise write_error(error, Path(error.filename or target), 0) from error
        return target

    def _rotate(self) -> None:
        """Remove all checkpoints except the newest complete checkpoints and the best checkpoint."""
        whole = _whole(self._folder)
        to_keep = {self._best(whole), *(path for path, _ in whole[-self._keep :])}
        if len(whole) >= self._keep:
            for path in _checkpoint_folders(self._folder):
                if path not in to_keep:
                    _remove(path)

    def _best(self, whole: list[tuple[Path, Index]]) -> Path | None:
        """Return the first checkpoint with the best metric, or None if no checkpoint has a metric."""
        scored = [(index.metric, path) for path, index in whole if index.metric is not None]
        if self._best_mode is None or not scored:
            return None
        choose = max if self._best_mode == "max" else min
        return choose(scored, key=lambda item: item[0])[1]

    def all(self) -> list[tuple[int, Path]]:
        """Return the batch number and the folder of each checkpoint, oldest first.

        This method checks only the size of ``state.pt``, so a checkpoint may be damaged.
        """
        return [(index.batch, path) for path, index in _whole(self._folder)]

    def latest(self) -> Path | None:
        """Return the folder of the checkpoint that was saved last; None if there is no checkpoint."""
        return next((path for _, path in reversed(self.all())), None)

    def best(self) -> Path | None:
        """Return the folder of the best checkpoint; None if no checkpoint has a metric, or ``best_mode`` is None."""
        return self._best(_whole(self._folder))


def refuse_links(folder: Path, names: Iterable[str] = OF_A_RUN[3:], field: str = "run_dir") -> None:
    """Refuse links and pipes in a run's folder: a link could lead to files outside, and a pipe would block."""
    for name in names:
        path = folder / name
        if path.is_symlink():
            rule = f"must not contain a symbolic link ({name}), because a run writes only into its own folder"
            raise PathError(field, str(folder), rule, "replace the link with its target")
        if path.exists() and not (path.is_file() or path.is_dir()):
            rule = f"must contain only files and folders, but {name} is a pipe, a socket or a device"
            raise PathError(field, str(folder), rule, f"remove {name}")


def is_store(folder: Path) -> bool:
    """Return whether a folder has a subfolder that is named like a checkpoint, such as ``ba10``."""
    return bool(_checkpoint_folders(folder))


def load(path: Path | str) -> Checkpoint:
    """Read a checkpoint, and verify all of its content.

    Args:
        path: The checkpoint's folder.

    Raises:
        CheckpointError: A file is missing, truncated, altered, or not plain data. The message names the file.
    """
    path = Path(path)
    index = Index.read(path)
    return Checkpoint(path, read_state(path, index), index.timestamp, index.description, index.metric)


def load_latest_good(folder: Path | str) -> tuple[Checkpoint, list[str]] | None:
    """Read the newest readable checkpoint of a folder.

    Args:
        folder: The folder of checkpoints.

    Returns:
        The checkpoint, and a list with one line for each newer checkpoint that cannot be read. None if the folder
        contains no checkpoints.

    Raises:
        CheckpointError: The folder contains checkpoints, but none of them can be read.
    """
    folder = check_path(folder, "folder")
    for _ in range(_TRIES):
        refused: list[str] = []
        has_vanished = False
        for path in _newest_first(folder):
            try:
                return load(path), refused
            except CheckpointError as error:  # noqa: PERF203 - try the next checkpoint
                if path.exists():
                    refused.append(f"refused {error.path}: {error.what}")
                else:  # a different process that saves into this folder has removed the checkpoint
                    has_vanished = True
        if not has_vanished:
            break
    else:
        refused = refused or ["another process keeps removing them"]
    if not refused:
        return None
    raise CheckpointError(folder, f"none of its checkpoints can be used: {'; '.join(refused)}", "start in a new folder")


def _checkpoint_folders(folder: Path) -> list[Path]:
    """Return the folders that have the name of a checkpoint, in order of their batches."""
    try:
        folders = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(folders, key=lambda path: (len(path.name), path.name))  # ba9 before ba10


def _indexed(folder: Path) -> list[tuple[Path, Index]]:
    """Return the checkpoints with a valid ``checkpoint.json``, in the order of saving."""
    checkpoints = []
    for path in _checkpoint_folders(folder):
        with suppress(CheckpointError):
            checkpoints.append((path, Index.read(path)))
    return sorted(checkpoints, key=lambda item: item[1].number)


def _whole(folder: Path) -> list[tuple[Path, Index]]:
    """Return the checkpoints whose ``state.pt`` has the recorded size, in the order of saving."""
    return [(path, index) for path, index in _indexed(folder) if _has_size(path / STATE, index.size)]


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def _newest_first(folder: Path) -> list[Path]:
    """Return the checkpoint folders, newest first. Folders without a valid ``checkpoint.json`` come before the rest."""
    indexed = [path for path, _ in _indexed(folder)]
    return [path for path in reversed(_checkpoint_folders(folder)) if path not in indexed] + indexed[::-1]


def _put(new: Path, target: Path) -> None:
    """Rename a new checkpoint to its final name.

    A folder cannot be replaced atomically. So the old checkpoint of the same batch keeps a valid name (``.replaced``)
    until the new checkpoint is in place.
    """
    folder, replaced = target.parent, target.with_name(f"{target.name}.replaced")
    if target.exists():
        if any(path == target for path, _ in _whole(folder)):
            _remove(replaced)  # a process that was killed after the rename to `target` may have left this folder
            target.rename(replaced)
        else:
            _remove(target)
    new.rename(target)
    sync_folder(folder)
    _remove(replaced)


def _remove(path: Path) -> None:
    """Rename a checkpoint and then delete it, so that an incomplete folder never has a checkpoint's name."""
    if path.exists():
        gone = path.with_name(f".{path.name.partition('.')[0]}.{os.getpid()}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        path.rename(gone)
        sync_folder(path.parent)
        shutil.rmtree(gone, ignore_errors=True)  # if files remain, the next save removes them


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary folders of killed processes. The caller must hold the lock."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name):
            if path.is_symlink():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """In the ``with`` block, only this process may save into the folder. If the process dies, the lock is released."""
    with (folder / _LOCK).open("ab") as file:
        until = time.monotonic() + _LOCK_SECONDS
        while not try_lock(file.fileno()):
            if time.monotonic() > until:
                raise RunError(
                    f"{folder}: another process is saving checkpoints here; use a different folder for each run"
                )
            time.sleep(0.02)
        yield
