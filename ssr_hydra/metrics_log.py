"""The log of a run, ``metrics.jsonl``. A run writes and locks the file, and reads it again when the run resumes."""

from __future__ import annotations

import errno
import json
import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from ssr_hydra.errors import ConflictError, PathError, RunError
from ssr_hydra.files import check_path, create, flock, open_regular, sync_folder, write_error
from ssr_hydra.records import CLOCKS, MOST_BYTES, check_evaluations, finite

if TYPE_CHECKING:
    from io import FileIO

    from filelock import SoftFileLock

METRICS = "metrics.jsonl"


def evaluation_record(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record that ``metrics.jsonl`` stores for an evaluation."""
    return {
        "event": "eval",
        **evaluation["timestamp"],
        **evaluation["metrics"],
        "eval_seconds": evaluation["seconds"],
    }


def read_evaluations(path: Path, size: int) -> list[dict[str, Any]]:
    """Read the evaluations from the first ``size`` bytes of a ``metrics.jsonl``, in the format of ``result.json``.

    Leave out truncated and invalid lines. If the file cannot be read, return an empty list.
    """
    evaluations: list[dict[str, Any]] = []
    try:
        file = open_regular(path)
    except (OSError, ValueError):
        return evaluations
    with file:
        while size > 0 and (line := file.readline(min(size, MOST_BYTES))):
            size -= len(line)
            if not line.startswith(b'{"event":"eval"') or not line.endswith(b"\n"):
                continue
            with suppress(ValueError, KeyError, RecursionError):
                record = json.loads(line)
                del record["event"]
                evaluation = {
                    "timestamp": {clock: record.pop(clock) for clock in CLOCKS},
                    "seconds": record.pop("eval_seconds"),
                }
                evaluation["metrics"] = record
                check_evaluations([evaluation])
                evaluations.append({name: evaluation[name] for name in ("timestamp", "metrics", "seconds")})
    return evaluations


class MetricsLog:
    """The file ``metrics.jsonl``, with one JSON object per line. If the run is killed, only the last line may be cut.

    An open log is locked, so a second run cannot use the same folder. A run that resumes does not change the old file:
    it copies the records up to its checkpoint to a new file, which replaces the old file. So other links to the old
    file keep their content.

    Args:
        folder: The run's folder; created if missing.
        keep: Number of bytes of the existing file to keep, up to the end of a line.
        check: A function that is called after the log is locked and before its content changes. It may raise an error.
    """

    def __init__(self, folder: Path, keep: int = 0, check: Callable[[], object] | None = None) -> None:
        self.path = check_path(folder, "run_dir") / METRICS
        self._soft_lock: SoftFileLock | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = self._lock_old()
        except OSError as error:
            rule = f"cannot be written ({error.strerror or error})"
            raise PathError("run_dir", str(folder), rule, "choose a different folder") from error
        try:
            if check is not None:
                check()
            self._file, self._size = self._replace(old, keep)
        except BaseException:
            self._unlock()
            raise
        finally:
            old.close()
        _open_logs.add(self)

    def _lock_old(self) -> BinaryIO:
        """Open and lock the existing ``metrics.jsonl``. If it does not exist, create an empty file first."""
        while True:
            try:
                file = open_regular(self.path)
            except FileNotFoundError:
                try:
                    file = os.fdopen(create(self.path), "rb")
                except FileExistsError:  # a different process has created the file first
                    continue
            except ValueError:
                rule = "must be a regular file"
                raise PathError("run_dir", str(self.path), rule, "choose a different folder") from None
            try:
                if self._is_locked(file.fileno()):
                    rule = "another run is writing to this folder"
                    raise ConflictError("run_dir", str(self.path.parent), rule, "choose a different folder")
                if self._is_at_path(file.fileno()):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()  # a different run replaced the file after it was opened, so try again

    def _is_locked(self, descriptor: int) -> bool:
        locked = flock(descriptor)
        if locked is None and self._soft_lock is None:  # the file system has no locks (some network mounts)
            from filelock import SoftFileLock, Timeout

            lock = SoftFileLock(self.path.with_name(f".{METRICS}.lock"), timeout=0)
            try:
                lock.acquire()
            except Timeout:
                return True
            self._soft_lock = lock
        return locked is False

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _replace(self, old: BinaryIO, keep: int) -> tuple[FileIO, int]:
        """Replace the file with a copy of the first ``keep`` bytes of ``old``. Return the copy and its size."""
        content = old.read(max(keep, 0))
        content = content[: content.rfind(b"\n") + 1]  # after a crash of the machine, the file may end within a line
        temporary = self.path.with_name(f".{METRICS}.tmp")
        file: FileIO = os.fdopen(create(temporary), "ab", buffering=0)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[file.write(rest) :]
            flock(file.fileno())
            if content:
                os.fsync(file.fileno())
            temporary.replace(self.path)
            if content:
                sync_folder(self.path.parent)
        except BaseException as error:
            file.close()
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise write_error(error, self.path, len(content)) from error
            raise
        return file, len(content)

    def check(self) -> None:
        """Raise a RunError if another program has moved, removed, replaced or changed the file of this run."""
        if not self._is_at_path(self._file.fileno()):
            raise RunError(f"{self.path}: was moved or removed while the run wrote to it; the records are incomplete")
        size = os.fstat(self._file.fileno()).st_size
        if size != self._size:
            change = f"it has {size} bytes instead of {self._size}"
            raise RunError(f"{self.path}: another program changed this file during the run: {change}")

    def sync(self) -> int:
        """Sync the file to the disk, and return its size in bytes. A resumed run passes this size as ``keep``."""
        self.check()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(error, self.path, self._size) from error
        return self._size

    def write(self, record: Mapping[str, Any]) -> None:
        self.check()
        line = json.dumps(finite(record), allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            written = self._file.write(line)
        except OSError as error:
            raise write_error(error, self.path, len(line)) from error
        self._size += written
        if written != len(line):  # an unbuffered write may be partial if the disk is full
            raise write_error(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self.path, len(line))

    def _unlock(self) -> None:
        if self._soft_lock is not None:
            self._soft_lock.release()

    def close(self) -> None:
        _open_logs.discard(self)
        self._file.close()
        self._unlock()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


_open_logs: weakref.WeakSet[MetricsLog] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the logs in a forked child. Otherwise the child would keep the inherited locks after the run is killed."""
    for log in list(_open_logs):
        log._file.close()  # close only the file: the soft lock belongs to the parent process
        _open_logs.discard(log)


def has_log(folder: Path) -> bool:
    """Return whether a folder has a log with records. A run that fails before its start leaves an empty log."""
    try:
        return (folder / METRICS).stat().st_size > 0
    except OSError:
        return False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
