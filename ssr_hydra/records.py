"""The records of a run: ``metrics.jsonl`` during the run, and ``result.json`` last, written atomically.

Readers of records (studies) import this module without torch. JSON has no NaN or infinity, so a number that is not
finite is written as ``null``. If such a number ended the run, ``error`` has its value.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import InputError
from ssr_hydra.files import (
    WriteError,
    check_path,
    read_bounded,
    write_atomically,
)

if TYPE_CHECKING:
    pass

__all__ = [
    "RESULT",
    "STATUSES",
    "RunResult",
    "WriteError",
    "as_number",
    "check_evaluations",
    "config_hash",
    "finite",
    "is_count",
    "is_number",
    "write_atomically",
]

RESULT = "result.json"
CLOCKS = ("epoch", "batch", "sample", "token", "train_seconds")
# Keys that records of earlier releases do not have.
_ADDED = frozenset({"code", "conditions", "control", "data", "resumes"})
MOST_BYTES = 64 << 20  # of a record; 100,000 evaluations take 30 million
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
            content = json.loads(read_bounded(path, MOST_BYTES))
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
