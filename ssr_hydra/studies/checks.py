"""Whether a record can be believed, and which way its objective goes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, get_args

from ssr_hydra.errors import InputError
from ssr_hydra.records import RunResult
from ssr_hydra.studies.study import Direction

__all__ = ["check_record", "direction_of"]

_LARGEST = 2**63 - 1
_CLOCKS = ("batch", "sample", "token")
_CONTROLS = (None, "truncate")

_LESS_IS_BETTER = (
    "loss", "error", "err", "perplexity", "ppl", "bits_per_byte", "bits_per_character", "bpb", "bpc", "nll",
    "cross_entropy", "mse", "rmse", "mae", "wer", "cer", "fid",
)  # fmt: skip
_MORE_IS_BETTER = (
    "accuracy", "acc", "top1", "top5", "top_1", "top_5", "f1", "auc", "auroc", "precision", "recall", "r2", "map",
    "miou", "iou", "bleu", "rouge", "psnr", "ssim", "reward", "score",
)  # fmt: skip
# What turns the word behind it round: neg_rmse, 1 - accuracy.
_TURNS = re.compile(r"_(neg|negative|minus|inverse|inv)_|^_1_")


def direction_of(metric: str, given: str | None, modes: set[str]) -> Direction:
    """Whether more or less of a metric is better.

    Args:
        metric: Such as ``eval/accuracy``; a word of its last part tells, ``val_ppl`` and ``error rate`` as well.
        given: What the person says; None leaves it to the rest.
        modes: What the runs' configs say.

    Raises:
        InputError: The configs contradict each other, or nobody says it and the name does not.

    Example:
        >>> direction_of("eval/bits_per_byte", None, set())
        'min'
    """
    known: tuple[Direction, ...] = get_args(Direction)
    if given is not None and given not in known:
        raise InputError("direction", given, "max or min", "max where more is better")
    if given is None and len(modes) > 1:
        rule = "some of the runs hold more for better, some less"
        raise InputError("direction", None, rule, "say max or min, or load them apart")
    for direction in known:
        if given == direction or (given is None and modes == {direction}):
            return direction
    split = re.sub(r"(?<=[a-z]{2})(?=[A-Z])", "_", metric.rpartition("/")[2])  # valLoss, not mAP
    name = re.sub(r"[^a-z0-9]+", "_", f"_{split}_".lower())
    for words, direction in ((_LESS_IS_BETTER, known[1]), (_MORE_IS_BETTER, known[0])):
        if any(f"_{word}_" in name for word in words) and not _TURNS.search(name):
            return direction
    rule = f"nothing says whether more {metric} is better, or less"
    raise InputError("direction", None, rule, "say max or min")


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
            _agree(name, float(record.ssr), float(value))
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
