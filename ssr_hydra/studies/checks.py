"""Whether a record can be believed, and which way its objective goes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ssr_hydra.errors import InputError
from ssr_hydra.metrics import DIRECTIONS, Direction, resolve_direction
from ssr_hydra.records import RunResult
from ssr_hydra.time import simplest

__all__ = ["check_record", "direction_of"]

_LARGEST = 2**63 - 1
_CLOCKS = ("batch", "sample", "token")
_CONTROLS = (None, "truncate")


def direction_of(metric: str, given: str | None, modes: set[str]) -> Direction:
    """Return the better direction of a metric: the given one, that of the configs, or that of the name.

    Args:
        metric: Such as ``eval/accuracy``, ``val_ppl`` or ``error rate``.
        given: The user's choice; None leaves it to the configs and the name.
        modes: The ``checkpoint.mode`` of the runs that keep their best checkpoint by this metric.

    Raises:
        InputError: The configs contradict each other, or neither they nor the name give a direction.

    Example:
        >>> direction_of("eval/bits_per_byte", None, set())
        'min'
    """
    if given is None and len(modes) > 1:
        rule = "some of the runs hold more for better, some less"
        raise InputError("direction", None, rule, "say max or min, or load them apart")
    configured = next((mode for mode in DIRECTIONS if modes == {mode}), None)
    return resolve_direction(given or configured, metric, "direction")


def check_record(record: RunResult, config: Mapping[str, Any]) -> None:
    """Refuse a record that says what cannot be, or contradicts itself or the config beside it.

    A file that was damaged may still be JSON: every number that is used is checked for its kind and its range.

    Args:
        record: Read from a ``result.json``.
        config: ``ssr``, ``seed`` and ``control`` as the config beside it says them.

    Raises:
        ValueError: In one line.
    """
    _require(_is_number(record.ssr) and record.ssr > 0, "ssr", record.ssr)
    _require(record.seed is None or _is_count(record.seed), "seed", record.seed)
    for name in ("steps", "samples", "tokens", "resumes"):
        _require(_is_count(getattr(record, name)), name, getattr(record, name))
    for name in ("train_seconds", "total_seconds"):
        value = getattr(record, name)
        _require(_is_number(value) and value >= 0, name, value)
    for name in ("error", "name", "config_hash"):
        value = getattr(record, name)
        _require(value is None or isinstance(value, str), name, value)
    _require(isinstance(record.max_duration, str), "max_duration", record.max_duration)
    _require(record.control is None or record.control in _CONTROLS, "control", record.control)
    for name in ("versions", "hardware", "data"):
        _require(isinstance(getattr(record, name), dict), name, getattr(record, name))
    _check_metrics("metrics", record.metrics)
    _check_evaluations(record)
    for name, value in config.items():
        if name == "ssr" and _is_number(value):
            _agree(name, float(simplest(float(record.ssr))), float(simplest(float(value))))
        elif name == "seed" and _is_count(value):
            _agree(name, record.seed, value)
        elif name == "control":
            _agree(name, record.control, value)


def _check_evaluations(record: RunResult) -> None:
    evaluations = record.evaluations
    _require(isinstance(evaluations, list), "evaluations", evaluations)
    before = 0
    for evaluation in evaluations:
        timestamp: Any = evaluation.get("timestamp") if isinstance(evaluation, dict) else None
        _require(isinstance(timestamp, dict), "evaluations", evaluation)
        for clock in _CLOCKS:
            value = timestamp.get(clock)
            if not _is_count(value):
                _require(False, f"evaluations.{clock}", value)
        seconds = timestamp.get("train_seconds")
        _require(_is_number(seconds) and seconds >= 0, "evaluations.train_seconds", seconds)
        _check_metrics("evaluations.metrics", evaluation.get("metrics"))
        if not before <= timestamp["batch"] <= record.steps:
            raise ValueError(f"an evaluation at step {timestamp['batch']} is not one of {record.steps} steps in order")
        before = timestamp["batch"]
    if record.status == "completed" and evaluations:
        last = evaluations[-1]["metrics"]
        for name, value in record.metrics.items():
            if name in last and last[name] != value:
                raise ValueError(f"{name} is {value!r} at the end, and {last[name]!r} in the last evaluation")


def _check_metrics(field: str, metrics: Any) -> None:
    _require(isinstance(metrics, dict), field, metrics)
    for name, value in metrics.items():
        if value is not None and not _is_number(value):
            _require(False, f"{field}.{name}", value)


def _require(holds: bool, field: str, value: Any) -> None:
    if not holds:
        shown = repr(value)
        raise ValueError(f"{field} cannot be {shown if len(shown) <= 80 else shown[:77] + '...'}")


def _agree(field: str, recorded: Any, configured: Any) -> None:
    if recorded != configured:
        raise ValueError(f"{field} is {recorded!r} in the record, and {configured!r} in the config beside it")


def _is_number(value: Any) -> bool:
    if type(value) is float:  # nearly always, and there are many
        return math.isfinite(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond any float
        return False


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST
