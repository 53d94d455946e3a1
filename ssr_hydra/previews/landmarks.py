"""Landmarks of a schedule. A landmark is an exact time with a name, such as a restart or the end of a warmup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

from ssr_hydra.schedulers import Phase, ProductScheduler, Scheduler, SequentialScheduler
from ssr_hydra.schedulers.combinators import phase_ends
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeUnit, as_time


def find(scheduler: Any, run: Run, unit: TimeUnit, end: Fraction, prefix: str = "") -> Iterator[tuple[str, Fraction]]:
    """Yield the label and the time of every landmark between the start of the run and ``end``, in no fixed order.

    ``end`` and the times of the landmarks are in ``unit``. Each label starts with ``prefix``. A scheduler that is a
    function has no landmarks.
    """
    begin = _value(run.convert(run.start, unit, "until"))
    if isinstance(scheduler, ProductScheduler):
        for name, factor in scheduler.factors.items():
            yield from find(factor, run, unit, end, f"{prefix}{name}: ")
    elif isinstance(scheduler, SequentialScheduler):
        phases: dict[str, Phase] = dict(scheduler.phases)  # type: ignore[arg-type]
        start = Time(0, TimeUnit.BATCH)
        for (name, phase), until in zip(phases.items(), phase_ends(run, phases), strict=True):
            first = begin + _value(run.convert(start, unit, "until"))
            last = end if until is None else min(end, begin + _value(run.convert(until, unit, "until")))
            if start.value != 0:  # the start of the first phase is not a landmark
                yield f"{prefix}{name}: start", first
            part = run.phase(start, until, scale=phase.scale)
            yield from find(phase.scheduler, part, unit, last, f"{prefix}{name}: ")
            start = start if until is None else until
    else:

        def at(name: str, time: Any = None, *, scale: bool = True) -> Fraction:
            stated = as_time(getattr(scheduler, name) if time is None else time, name)
            return _value(run.convert(run.resolve(stated, name, scale=scale), unit, name))

        landmarks = scheduler.landmarks(at, end - begin) if isinstance(scheduler, Scheduler) else ()
        for label, time in landmarks:
            if 0 < time < end - begin:
                yield f"{prefix}{label}", begin + time


def _value(time: Time) -> Fraction:
    return Fraction(time.value)


def _times(part: Any) -> Iterator[Time | None]:
    """Yield every time argument of a scheduler and of its inner schedulers. For each function, yield None."""
    if isinstance(part, Time):
        yield part
    elif isinstance(part, (Scheduler, Phase)) and is_dataclass(part):
        for item in fields(part):
            yield from _times(getattr(part, item.name))
    elif isinstance(part, (Mapping, list, tuple)):
        for value in part.values() if isinstance(part, Mapping) else part:
            yield from _times(value)
    elif callable(part):
        yield None


def holds_functions(scheduler: Any) -> bool:
    """Return whether a scheduler is or contains a function."""
    return any(time is None for time in _times(scheduler))


def needs_only_epochs(scheduler: Any) -> bool:
    """Return whether ``dataloader_len`` has no effect: no functions, and times only in epochs or ``dur``, or 0."""
    free = (TimeUnit.EPOCH, TimeUnit.DURATION)
    return all(time is not None and (time.value == 0 or time.unit in free) for time in _times(scheduler))
