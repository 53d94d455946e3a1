"""Compute the learning rate of a run at every step from the schedule in its config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ssr_hydra.errors import InputError
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.schedulers import Phase, ProductScheduler
from ssr_hydra.schedulers.protocol import bind_to
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.state import State
from ssr_hydra.studies.recipes import ConfigReader
from ssr_hydra.studies.study import spread_out
from ssr_hydra.time import TimeUnit, as_time

# The classes that a config may name. The report creates no other class, because a config must not run code.
_KINDS: list[Any] = [*(row.scheduler for row in ROWS), Phase]
_CLASSES = {f"ssr_hydra.schedulers.{kind.__name__}": kind for kind in _KINDS}
_MOST_COMPARED = 50
_PIECES = 257
_STRAIGHT = 1 / 2000  # largest error of linear interpolation, as a fraction of the learning rate in the config
_EQUAL = 1e-6  # relative tolerance, because with some precisions the logged rate is a float32


def scheduled_rates(
    reader: ConfigReader, folder: Path, logged: Mapping[str, Any]
) -> tuple[list[float], list[float]] | None:
    """Return a list of steps and a list of the learning rates at these steps. Between them, the rate is almost linear.

    Return None if the config has no ``optimizer.lr``, no scheduler, several named schedulers, or a scheduler that is
    not part of this package. Also return None if the rates in ``logged`` contradict the schedule, for example after a
    resume with ``resume.on_change=rescale``.
    """
    try:
        if (config := reader.read(folder)) is None:
            return None
        record = RunResult.load(folder / RESULT)
        scheduler = build_scheduler(config.get("scheduler"))
        lr = config.get("optimizer.lr")
        if scheduler is None or isinstance(lr, bool) or not isinstance(lr, (int, float)):
            return None
        size = config.get("trainer.samples_per_batch")
        rates = {
            "dataloader_len": record.data.get("batches"),
            "samples_per_batch": config.get("data.batch_size") if size is None else size,
            "tokens_per_batch": config.get("trainer.tokens_per_batch"),
        }
        ssr = 1 if record.control == "truncate" else record.ssr
        alpha = _by_batch(scheduler, record.max_duration, ssr, rates)
        if not _equals(alpha, float(lr), logged):
            return None
        places = _bends(alpha, record.steps)
        values = [float(lr) * alpha(place) for place in places]
    except (OSError, InputError, ValueError, TypeError, RecursionError, ArithmeticError):
        return None
    return [*map(float, places), float(record.steps)], [*values, values[-1]]


def _by_batch(scheduler: Any, max_duration: str, ssr: Any, rates: Mapping[str, Any]) -> Callable[[int], float]:
    """Return a function that maps the index of a batch to the schedule's multiplier of the learning rate."""
    run = Run.of(State(max_duration=as_time(max_duration, "max_duration") * ssr, **rates), ssr)
    timeline = Timeline(TimeUnit.BATCH, run.dataloader_len, run.samples_per_batch, run.tokens_per_batch)
    run.state.timestamp = timeline.at(Fraction(0))
    curve = bind_to(scheduler, run)
    return cache(lambda batch: curve(timeline.at(Fraction(batch))))


def _bends(alpha: Callable[[int], float], steps: int) -> list[int]:
    """Return the indices of the first batch, the last, and batches between which the multiplier is almost linear."""
    places = [round(place) for place in np.linspace(0, steps - 1, min(steps, _PIECES))]
    waiting = list(pairwise(places))
    exact = set(places)
    while waiting:
        start, end = waiting.pop()
        middle = (start + end) // 2
        chord = alpha(start) + (alpha(end) - alpha(start)) * (middle - start) / (end - start)
        if start < middle and abs(alpha(middle) - chord) > _STRAIGHT:
            exact.add(middle)
            waiting += [(start, middle), (middle, end)]
    indices = [0]
    every = sorted(exact)
    for place in range(1, len(every) - 1):
        start, inner, end = indices[-1], range(indices[-1] + 1, place + 1), place + 1
        slope = (alpha(every[end]) - alpha(every[start])) / (every[end] - every[start])
        line = [alpha(every[start]) + slope * (every[each] - every[start]) for each in inner]
        if any(abs(alpha(every[each]) - value) > _STRAIGHT for each, value in zip(inner, line, strict=True)):
            indices.append(place)
    return [every[place] for place in dict.fromkeys([*indices, len(every) - 1])]


def build_scheduler(node: Any) -> Any:
    """Return the scheduler that a config node describes; None if the scheduler is not one of this package."""
    if isinstance(node, list):
        parts = [build_scheduler(part) for part in node]
        if not parts or None in parts:
            return None
        return parts[0] if len(parts) == 1 else ProductScheduler({str(place): part for place, part in enumerate(parts)})
    if not isinstance(node, Mapping) or (kind := _CLASSES.get(str(node.get("_target_")))) is None:
        return None
    arguments = {str(name): _argument(value) for name, value in node.items() if not str(name).startswith("_")}
    return kind(**arguments)


def _argument(value: Any) -> Any:
    if isinstance(value, Mapping):
        if "_target_" in value:
            part = build_scheduler(value)
            if part is None:
                raise ValueError("a scheduler that is not of this package")
            return part
        return {str(name): _argument(item) for name, item in value.items()}
    return [_argument(item) for item in value] if isinstance(value, list) else value


def _equals(alpha: Callable[[int], float], lr: float, logged: Mapping[str, Any]) -> bool:
    """Return whether the logged rates equal the scheduled rates. The rate logged at step n is that of batch n - 1."""
    return all(
        abs(lr * alpha(round(logged["steps"][place]) - 1) - logged["lr"][place]) <= _EQUAL * abs(lr)
        for place in spread_out(len(logged["lr"]), _MOST_COMPARED)
    )
