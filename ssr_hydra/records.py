"""The records of a run: ``metrics.jsonl`` during the run, and ``result.json`` last, written atomically.

Readers of records (studies) import this module without torch. JSON has no NaN or infinity, so a number that is not
finite is written as ``null``. If such a number ended the run, ``error`` has its value.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import numbers
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

from ssr_hydra.errors import InputError, RunError
from ssr_hydra.files import (
    WriteError,
    check_path,
    create,
    flock,
    open_regular,
    read_bounded,
    sync_folder,
    write_atomically,
    write_error,
)

if TYPE_CHECKING:
    from io import FileIO

    from filelock import SoftFileLock

__all__ = [
    "METRICS",
    "RESULT",
    "STATUSES",
    "MetricsLog",
    "RunResult",
    "WriteError",
    "as_number",
    "check_evaluations",
    "config_hash",
    "evaluation_record",
    "finite",
    "is_count",
    "is_number",
    "read_evaluations",
    "write_atomically",
]

RESULT, METRICS = "result.json", "metrics.jsonl"
_CLOCKS = ("epoch", "batch", "sample", "token", "train_seconds")
# Keys that records of earlier releases do not have.
_ADDED = frozenset({"code", "conditions", "control", "data", "resumes"})
_MOST_BYTES = 64 << 20  # of a record; 100,000 evaluations take 30 million
_LARGEST = 2**63 - 1
# How the error of a stopped run starts in records of earlier releases, which have the status `failed`.
_STOPS = ("KeyboardInterrupt", "terminated by ")
STATUSES = ("completed", "failed", "diverged", "stopped")


@dataclass
class RunResult:
    """What a run did: the content of ``result.json``.

    Args:
        status: ``completed``, ``failed`` (an exception), ``diverged`` (a loss, or a weight at the end, was not finite)
        status: ``completed``, ``failed`` (an exception), ``diverged`` (a loss, or a weight at the end, was not finite)
            or ``stopped`` (by ctrl-C or another signal: the run can continue).
        error: The error's type and message; None if the run completed.
        ssr: The scale schedule ratio.
        max_duration: The run's length before scaling, such as ``"20ep"``.
        seed: The run's seed, or None if none was set.
        steps: Optimizer steps taken.
        samples: Samples trained on, each time counted.
        tokens: Tokens trained on, 0 for data without them.
        train_seconds: Seconds of training, without evaluation and start-up.
        total_seconds: Seconds from the call of ``fit`` to its end.
        metrics: Name to final value, such as ``eval/accuracy``; ``train/loss`` is the mean since the last evaluation.
        evaluations: Every evaluation: its ``timestamp`` (epoch, batch, sample, token, train_seconds), its ``metrics``,
            and the ``seconds`` it took.
        config_hash: SHA-256 of the run's configuration as canonical JSON, or None without one.
        versions: Of python, torch, numpy and ssr_hydra.
        hardware: CPU, its instruction set and threads, the GPU, and the number of processes.
        data: What was trained on: batches, samples, and what the data set says of itself.
        resumes: How often the run was resumed from a checkpoint.
        control: ``truncate`` for a run that ended before its schedule did, as a control of stretching; else None.
        conditions: What else the machine did meanwhile: ``jobs_beside``, the mean number of other jobs that ran next to
            this one; ``load``, the machine's load average; ``cpus``, their number. Empty if it was not measured.
        code: Package or module to a digest of its source as the run used it; several, joined by ``+``, if the run was
            resumed with other code.
    """

    status: str
    error: str | None
    name: str | None
    ssr: float
    max_duration: str
    seed: int | None
    steps: int
    samples: int
    tokens: int
    train_seconds: float
    total_seconds: float
    metrics: dict[str, float | None] = field(default_factory=dict)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    config_hash: str | None = None
    versions: dict[str, str | None] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    resumes: int = 0
    control: str | None = None
    conditions: dict[str, Any] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of ``result.json``."""
        return json.dumps(finite(asdict(self)), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    def save(self, folder: Path) -> Path:
        """Write ``folder/result.json`` atomically.

        Raises:
            WriteError: It cannot be written. The message has its path and size.
        """
        path = folder / RESULT
        write_atomically(path, self.to_json())
        return path

    @classmethod
    def load(cls, path: Path | str) -> RunResult:
        """Read a ``result.json``, or the one in a folder.

        Raises:
            InputError: It is not a complete record with exactly these keys.
            OSError: It is missing or cannot be read.

        Example:
            >>> RunResult.load("outputs/run").metrics["eval/accuracy"]  # doctest: +SKIP
            0.9632
        """
        path = check_path(path, "result")
        path = path / RESULT if path.is_dir() else path
        fix = "run it again"
        try:
            content = json.loads(read_bounded(path, _MOST_BYTES))
        except (ValueError, RecursionError) as error:
            raise InputError("result", str(path), f"not a whole JSON record ({error})", fix) from None
        names = [item.name for item in fields(cls)]
        needed = {item.name for item in fields(cls) if item.name not in _ADDED}
        if not isinstance(content, dict) or not needed <= set(content) <= set(names):
            found = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise InputError("result", str(path), f"a record's keys are {', '.join(names)}; found {found}", fix)
        if content["status"] not in STATUSES:
            raise InputError("result.status", content["status"], f"one of {', '.join(STATUSES)}", fix)
        if content["status"] == "failed" and str(content["error"]).startswith(_STOPS):
            content["status"] = "stopped"
        record = cls(**content)
        record.check()
        return record

    def check(self) -> None:
        """Refuse a record with a value of a wrong type or range: a damaged file may still be JSON.

        Raises:
            InputError: Names ``result.<field>``.
        """
        _require(is_number(self.ssr) and self.ssr > 0, "ssr", self.ssr)
        _require(self.seed is None or is_count(self.seed), "seed", self.seed)
        for name in ("steps", "samples", "tokens", "resumes"):
            _require(is_count(getattr(self, name)), name, getattr(self, name))
        for name in ("train_seconds", "total_seconds"):
            value = getattr(self, name)
            _require(is_number(value) and value >= 0, name, value)
        for name in ("error", "name", "config_hash", "control"):
            value = getattr(self, name)
            _require(value is None or isinstance(value, str), name, value)
        _require(isinstance(self.max_duration, str), "max_duration", self.max_duration)
        for name in ("versions", "hardware", "data", "conditions", "code"):
            _require(isinstance(getattr(self, name), dict), name, getattr(self, name))
        _check_metrics("metrics", self.metrics)
        _require(isinstance(self.evaluations, list), "evaluations", self.evaluations)

    def check_evaluations(self) -> None:
        """Refuse a record with an evaluation whose counters or metrics have a wrong type or range.

        Raises:
            InputError: Names ``result.evaluations``.
        """
        check_evaluations(self.evaluations)


def check_evaluations(evaluations: Iterable[Any]) -> None:
    """Refuse evaluations of a record whose counters or metrics have a wrong type or range.

    Raises:
        InputError: Names ``result.evaluations``.
    """
    for evaluation in evaluations:
        timestamp: Any = evaluation.get("timestamp") if isinstance(evaluation, dict) else None
        _require(isinstance(timestamp, dict), "evaluations", evaluation)
        for clock in ("batch", "sample", "token"):
            if not is_count(value := timestamp.get(clock)):
                _require(False, f"evaluations.{clock}", value)
        seconds = timestamp.get("train_seconds")
        _require(is_number(seconds) and seconds >= 0, "evaluations.train_seconds", seconds)
        _check_metrics("evaluations.metrics", evaluation.get("metrics"))


def evaluation_record(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of an evaluation in ``metrics.jsonl``."""
    return {
        "event": "eval",
        **evaluation["timestamp"],
        **evaluation["metrics"],
        "eval_seconds": evaluation["seconds"],
    }


def read_evaluations(path: Path, size: int) -> list[dict[str, Any]]:
    """Read the evaluations from the first bytes of a ``metrics.jsonl``.

    Args:
        path: The file.
        size: Number of bytes to read.

    Returns:
        The evaluations as in ``result.json``, without truncated lines; an empty list if the file cannot be read.
    """
    found: list[dict[str, Any]] = []
    try:
        file = open_regular(path)
    except (OSError, ValueError):
        return found
    with file:
        while size > 0 and (line := file.readline(min(size, _MOST_BYTES))):
            size -= len(line)
            if not line.startswith(b'{"event":"eval"') or not line.endswith(b"\n"):
                continue
            with suppress(ValueError, KeyError, RecursionError):
                record = json.loads(line)
                del record["event"]
                evaluation = {
                    "timestamp": {clock: record.pop(clock) for clock in _CLOCKS},
                    "seconds": record.pop("eval_seconds"),
                }
                evaluation["metrics"] = record
                check_evaluations([evaluation])
                found.append({name: evaluation[name] for name in ("timestamp", "metrics", "seconds")})
    return found


def _check_metrics(field: str, metrics: Any) -> None:
    _require(isinstance(metrics, dict), field, metrics)
    for name, value in metrics.items():
        if value is not None and not is_number(value):
            _require(False, f"{field}.{name}", value)


def _require(holds: bool, field: str, value: Any) -> None:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
        raise InputError(f"result.{field}", value, f"{field} cannot be {shown}", "run it again")


def is_number(value: Any) -> bool:
    """Whether a value from JSON is a finite number."""
    if type(value) is float:  # nearly all numbers, and there are many
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that is too large for a float
        return False


def is_count(value: Any) -> bool:
    """Whether a value from JSON is an integer >= 0 that a column of a table can hold."""
    return type(value) is int and 0 <= value <= _LARGEST


class MetricsLog:
    """``metrics.jsonl``: one JSON object per line. Each line is one write, so a kill tears at most the last line.

    While the log is open the folder is locked, and a second run in it is refused. A run that continues keeps the
    records up to its checkpoint and writes the later ones again. It copies the kept records to a new file that replaces
    the old one: a hard link to the old file, or the target of a symbolic link, does not change.

    Args:
        folder: The run's folder; created if missing.
        keep: Number of bytes to keep of the file, which end with a line.
        check: Called when the folder is locked, before anything in it changes; if it raises, nothing changes.

    Raises:
        InputError: Another run is writing to the folder, or the folder cannot be written.
    """

    def __init__(self, folder: Path, keep: int = 0, check: Callable[[], object] | None = None) -> None:
        self.path = check_path(folder, "run_dir") / METRICS
        self._soft_lock: SoftFileLock | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            old = self._lock_old()
        except OSError as error:
            rule = f"cannot be written ({error.strerror or error})"
            raise InputError("run_dir", str(folder), rule, "choose another folder") from error
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
        """Open and lock the present file, or an empty new one."""
        while True:
            try:
                file = open_regular(self.path)
            except FileNotFoundError:
                try:
                    file = os.fdopen(create(self.path), "rb")
                except FileExistsError:  # another process was faster
                    continue
            except ValueError:
                rule = "must be a regular file"
                raise InputError("run_dir", str(self.path), rule, "choose another folder") from None
            try:
                if self._is_locked(file.fileno()):
                    rule = "another run is writing to this folder"
                    raise InputError("run_dir", str(self.path.parent), rule, "choose another folder")
                if self._is_at_path(file.fileno()):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()  # another run replaced the file between the two calls

    def _is_locked(self, descriptor: int) -> bool:
        locked = flock(descriptor)
        if locked is None and self._soft_lock is None:  # a file system without locks, such as some network mounts
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
        """Put a new file with the first ``keep`` bytes of the old one at the path; return it with its size."""
        kept = old.read(max(keep, 0))
        kept = kept[: kept.rfind(b"\n") + 1]  # the end of the file may be lost if the machine crashed
        temporary = self.path.with_name(f".{METRICS}.tmp")
        file: FileIO = os.fdopen(create(temporary), "ab", buffering=0)
        try:
            rest = memoryview(kept)
            while rest:
                rest = rest[file.write(rest) :]
            flock(file.fileno())
            if kept:
                os.fsync(file.fileno())
            temporary.replace(self.path)
            if kept:
                sync_folder(self.path.parent)
        except BaseException as error:
            file.close()
            temporary.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise write_error(error, self.path, len(kept)) from error
            raise
        return file, len(kept)

    def check(self) -> None:
        """Check that the file is the one that this run writes.

        Raises:
            RunError: It was moved, removed, replaced or truncated.
        """
        if not self._is_at_path(self._file.fileno()):
            raise RunError(f"{self.path}: was moved or removed while the run wrote to it; the records are incomplete")
        size = os.fstat(self._file.fileno()).st_size
        if size != self._size:
            raise RunError(f"{self.path}: another program changed it during the run: {size} bytes, not {self._size}")

    def sync(self) -> int:
        """Write the records to the disk durably, and return their number of bytes, for ``keep``.

        Raises:
            RunError: The file was moved, removed, replaced or truncated.
            WriteError: It cannot be written.
        """
        self.check()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise write_error(error, self.path, self._size) from error
        return self._size

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Raises:
            RunError: The file was moved, removed, replaced or truncated.
            WriteError: It cannot be written.
        """
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
        """Close the file and release the lock."""
        _open_logs.discard(self)
        self._file.close()
        self._unlock()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


_open_logs: weakref.WeakSet[MetricsLog] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the logs in a forked child, which inherits the locks and may outlive a killed run."""
    for log in list(_open_logs):
        log._file.close()  # but not the soft lock, which belongs to the parent
        _open_logs.discard(log)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


def has_log(folder: Path) -> bool:
    """Whether a run has written records there. A refused run leaves an empty file."""
    try:
        return (folder / METRICS).stat().st_size > 0
    except OSError:
        return False


def refuse_finished(folder: Path, field: str = "run_dir", hashed: str | None = None) -> None:
    """Refuse a folder that has the record of a run but no checkpoint to resume from, so that two runs never mix.

    A run that failed or was stopped before its first batch has left nothing and may start again. So may the same run
    before its first checkpoint.

    Args:
        folder: The folder of the run.
        field: Name of the setting of the folder.
        hashed: The run's :func:`config_hash`.

    Raises:
        InputError: Names ``field``.
    """
    if not (folder / RESULT).exists():
        return
    try:
        record = RunResult.load(folder)
    except InputError:
        record = None
    same = record is not None and hashed is not None and record.config_hash == hashed
    if record is None or record.status not in ("failed", "stopped") or not (record.steps == 0 or same):
        rule = f"the folder has the {RESULT} of another run, but no checkpoint to resume from"
        raise InputError(field, str(folder), rule, "choose another folder, or move that one away")


def config_hash(config: Mapping[str, Any] | None) -> str | None:
    """Return the SHA-256 of a config as canonical JSON: keys sorted, no spaces, so order and layout do not matter.

    Args:
        config: Plain dicts, lists, strings, numbers, booleans and None; or None.

    Raises:
        InputError: It has another value, or NaN.

    Example:
        >>> config_hash({"ssr": 1.0, "seed": 0}) == config_hash({"seed": 0, "ssr": 1.0})
        True
    """
    if config is None:
        return None
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        rule = f"a configuration is plain dicts, lists, strings and finite numbers ({error})"
        raise InputError("config", type(config).__name__, rule, "convert it first") from None
    return hashlib.sha256(text.encode()).hexdigest()


def as_number(value: Any) -> float | None:
    """Return the single number in a value: a Python or NumPy number, or a tensor or array of one element. Else None.

    Example:
        >>> import numpy as np
        >>> [as_number(value) for value in (True, np.float32(0.5), np.ones(1), np.ones(2), "1")]
        [1.0, 0.5, 1.0, None, None]
    """
    item = getattr(value, "item", None)  # of a tensor, an array, or a NumPy scalar
    try:
        value = item() if callable(item) else value
        return float(value) if isinstance(value, numbers.Real) else None
    except (OverflowError, RuntimeError, TypeError, ValueError):  # several elements
        return None


def finite(value: Any) -> Any:
    """Return plain data with None for each number that is not finite."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
