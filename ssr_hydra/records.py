"""The records of a run. The run writes ``metrics.jsonl`` while it trains, and ``result.json`` atomically at its end.

JSON has no NaN or infinity, so a number that is not finite is written as ``null``. If the run failed or diverged
because of such a number, the field ``error`` contains the number.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ssr_hydra.errors import ConflictError, FormatError, InputError, UnknownNameError, WrongTypeError
from ssr_hydra.files import check_path, read_bounded, write_atomically

RESULT = "result.json"
CLOCKS = ("epoch", "batch", "sample", "token", "train_seconds")
# Keys that are missing in records of earlier releases.
_ADDED = frozenset({"code", "conditions", "control", "data", "resumes"})
MOST_BYTES = 64 << 20  # the maximum size of a record; 100,000 evaluations take 30 million bytes
_LARGEST = 2**63 - 1
# In records of earlier releases, a stopped run has the status `failed`. Its error starts with one of these texts.
_STOPS = ("KeyboardInterrupt", "terminated by ")
STATUSES = ("completed", "failed", "diverged", "stopped")


@dataclass
class RunResult:
    """The result of a run: the content of ``result.json``.

    Args:
        status: ``completed``; ``failed`` (an exception); ``diverged`` (a loss was not finite, or the run ended with a
            weight that is not finite); or ``stopped`` (ctrl-C or another signal stopped the run, and the run can be
            resumed).
        error: The error's type and message; None if the run completed.
        ssr: The scale schedule ratio.
        max_duration: The run's length before scaling, such as ``"20ep"``.
        seed: The run's seed, or None if none was set.
        steps: Number of optimizer steps.
        samples: Number of samples. A sample counts each time that it is used.
        tokens: Number of tokens; 0 for data without tokens.
        train_seconds: Seconds of training, without evaluation and start-up.
        total_seconds: Seconds from the call of ``fit`` to its end.
        metrics: A mapping from name (``eval/accuracy``) to final value. ``train/loss`` is the mean since the last
            evaluation.
        evaluations: The evaluations. Each has a ``timestamp`` (epoch, batch, sample, token, train_seconds), its
            ``metrics``, and its length in ``seconds``.
        config_hash: SHA-256 of the run's config as canonical JSON; None if the run has no config.
        versions: The versions of python, torch, numpy and ssr_hydra.
        hardware: The CPU, its instruction set and threads, the GPU, and the number of processes.
        data: The training data: numbers of batches and samples, and a description of the data set.
        resumes: How often the run was resumed from a checkpoint.
        control: ``truncate`` for a control run, which ends before the end of its schedule. None for other runs.
        conditions: The load of the machine during the run: ``jobs_beside``, the mean number of other jobs that ran at
            the same time; ``load``, the load average; ``cpus``, the number of cores. Empty if it was not measured.
        code: A mapping from package to the digest of the source that the run used. If the run was resumed with changed
            code, ``+`` separates the digests.
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
        """Write ``folder/result.json`` atomically."""
        path = folder / RESULT
        write_atomically(path, self.to_json())
        return path

    @classmethod
    def load(cls, path: Path | str) -> RunResult:
        """Read a ``result.json``.

        Args:
            path: The file, or the folder that contains it.

        Raises:
            InputError: The file is not a complete record with the keys of this class.
            OSError: The file is missing or cannot be read.

        Example:
            >>> RunResult.load("outputs/run").metrics["eval/accuracy"]  # doctest: +SKIP
            0.9632
        """
        path = check_path(path, "result")
        path = path / RESULT if path.is_dir() else path
        fix = "run the experiment again"
        try:
            content = json.loads(read_bounded(path, MOST_BYTES))
        except (ValueError, RecursionError) as error:
            raise FormatError("result", str(path), f"must be a complete JSON record ({error})", fix) from None
        names = [item.name for item in fields(cls)]
        needed = {item.name for item in fields(cls) if item.name not in _ADDED}
        if not isinstance(content, dict) or not needed <= set(content) <= set(names):
            actual = sorted(content) if isinstance(content, dict) else type(content).__name__
            raise FormatError("result", str(path), f"must have the keys {', '.join(names)} (got {actual})", fix)
        if content["status"] not in STATUSES:
            raise UnknownNameError("result.status", content["status"], f"must be one of {', '.join(STATUSES)}", fix)
        if content["status"] == "failed" and str(content["error"]).startswith(_STOPS):
            content["status"] = "stopped"
        record = cls(**content)
        record.check()
        return record

    def check(self) -> None:
        """Check the types and ranges of the values, because a damaged file may still be valid JSON."""
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


def check_evaluations(evaluations: Iterable[Any]) -> None:
    """Raise an InputError if a counter or metric of a record's evaluations has a wrong type or range."""
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
        raise WrongTypeError(f"result.{field}", value, "is not a valid value of this field", "run the experiment again")


def is_number(value: Any) -> bool:
    """Return whether a value from JSON is a finite number."""
    if type(value) is float:  # a fast path, because a record has many numbers and most are floats
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # the integer is too large for a float
        return False


def is_count(value: Any) -> bool:
    """Return whether a value from JSON is an integer >= 0 that fits into 64 bits, as columns of data frames require."""
    return type(value) is int and 0 <= value <= _LARGEST


def refuse_finished(folder: Path, field: str = "run_dir", hashed: str | None = None) -> None:
    """Raise an InputError if a folder has the ``result.json`` of an old run, so that the files of two runs never mix.

    Call this function only if the folder has no checkpoint to resume from. A failed or stopped run in the folder is not
    an error if it trained no batch, or if the hash of its config is ``hashed``.
    """
    if not (folder / RESULT).exists():
        return
    try:
        record = RunResult.load(folder)
    except InputError:
        record = None
    same = record is not None and hashed is not None and record.config_hash == hashed
    if record is None or record.status not in ("failed", "stopped") or not (record.steps == 0 or same):
        rule = f"must not be the folder of a run that has ended: it has a {RESULT}, but no checkpoint to resume from"
        raise ConflictError(field, str(folder), rule, "choose a different folder, or move this folder away")


def config_hash(config: Mapping[str, Any] | None) -> str | None:
    """Return the SHA-256 of a config, written as canonical JSON; None if ``config`` is None.

    The JSON has sorted keys and no spaces, so the order and layout of the config do not matter.

    Example:
        >>> config_hash({"ssr": 1.0, "seed": 0}) == config_hash({"seed": 0, "ssr": 1.0})
        True
    """
    if config is None:
        return None
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    except (TypeError, ValueError) as error:
        rule = f"must be plain dicts, lists, strings and finite numbers ({error})"
        raise WrongTypeError("config", type(config).__name__, rule, "convert the config to plain data first") from None
    return hashlib.sha256(text.encode()).hexdigest()


def as_number(value: Any) -> float | None:
    """Return a value as a float if it is one number; otherwise return None.

    One number is a Python number, a NumPy number, or a tensor or array with one element.

    Example:
        >>> import numpy as np
        >>> [as_number(value) for value in (True, np.float32(0.5), np.ones(1), np.ones(2), "1")]
        [1.0, 0.5, 1.0, None, None]
    """
    item = getattr(value, "item", None)  # tensors, arrays and NumPy scalars have item()
    try:
        value = item() if callable(item) else value
        return float(value) if isinstance(value, numbers.Real) else None
    except (OverflowError, RuntimeError, TypeError, ValueError):  # several elements
        return None


def finite(value: Any) -> Any:
    """Return plain data in which None replaces each number that is not finite."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
