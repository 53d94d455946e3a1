"""Check that a record is consistent, and decide whether a higher or a lower metric is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssr_hydra.errors import MissingValueError
from ssr_hydra.metrics import DIRECTIONS, Direction, resolve_direction
from ssr_hydra.records import RunResult, check_evaluations, is_count, is_number
from ssr_hydra.time import simplest

_CONTROLS = (None, "truncate")


def direction_of(metric: str, direction: str | None, modes: set[str]) -> Direction:
    """Return ``max`` if a higher value of a metric is better, and ``min`` if a lower value is better.

    Args:
        metric: The name of the metric, such as ``eval/accuracy``, ``val_ppl`` or ``error rate``.
        direction: The user's choice. If None, ``modes`` decides. If ``modes`` is empty too, the metric's name decides.
        modes: The ``checkpoint.mode`` of the runs that keep their best checkpoint by this metric.

    Raises:
        InputError: The configs contradict each other, or neither the configs nor the name give a direction.

    Example:
        >>> direction_of("eval/bits_per_byte", None, set())
        'min'
    """
    if direction is None and len(modes) > 1:
        rule = "must be given, because some runs have checkpoint.mode=max and other runs checkpoint.mode=min"
        raise MissingValueError("direction", None, rule, "choose max or min, or load the runs separately")
    configured = next((mode for mode in DIRECTIONS if modes == {mode}), None)
    return resolve_direction(direction or configured, metric, "direction")


def check_record(record: RunResult, config: Mapping[str, Any]) -> None:
    """Refuse a record that contradicts itself, or the config of its run.

    Args:
        record: The record from a ``result.json``, whose fields are already checked.
        config: ``ssr``, ``seed`` and ``control`` in the config of the same run.

    Raises:
        ValueError: The record is refused. The message is the reason, as one line.
    """
    if record.control not in _CONTROLS:
        raise ValueError(f"control cannot be {record.control!r}")
    check_evaluations(record.evaluations)
    _check_evaluations(record)
    for name, value in config.items():
        if name == "ssr" and is_number(value):
            _agree(name, float(simplest(float(record.ssr))), float(simplest(float(value))))
        elif name == "seed" and is_count(value):
            _agree(name, record.seed, value)
        elif name == "control":
            _agree(name, record.control, value)


def _check_evaluations(record: RunResult) -> None:
    before = 0
    for evaluation in record.evaluations:
        batch = evaluation["timestamp"]["batch"]
        if not before <= batch <= record.steps:
            raise ValueError(f"the step of an evaluation must be from {before} to {record.steps} (got {batch})")
        before = batch
    if record.status == "completed" and record.evaluations:
        last = record.evaluations[-1]["metrics"]
        for name, value in record.metrics.items():
            if name in last and last[name] != value:
                raise ValueError(f"{name} is {value!r} at the end, and {last[name]!r} in the last evaluation")


def _agree(field: str, recorded: Any, configured: Any) -> None:
    if recorded != configured:
        raise ValueError(f"{field} is {recorded!r} in the record, and {configured!r} in its config.yaml")
