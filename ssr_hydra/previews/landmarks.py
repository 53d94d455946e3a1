"""Landmarks of a schedule: exact, named times such as the end of a warmup, a milestone, a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

from ssr_hydra.schedulers import (
    ConstantWithWarmupScheduler,
    CosineAnnealingWarmRestartsScheduler,
    InverseSquareRootWithWarmupScheduler,
    MultiStepScheduler,
    MultiStepWithWarmupScheduler,
    OneCycleScheduler,
    Phase,
    PiecewiseLinearScheduler,
    ProductScheduler,
    Scheduler,
    SequentialScheduler,
    StepScheduler,
    WarmupStableDecayScheduler,
)
from ssr_hydra.schedulers.combinators import phase_ends
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeUnit, as_time, exact

__all__ = ["find", "holds_functions", "needs_only_epochs"]

# A figure cannot show more; beyond this number the curve is sampled.
_MOST_REPEATS = 1000


def find(scheduler: Any, run: Run, unit: TimeUnit, end: Fraction) -> Iterator[tuple[str, Fraction]]:
    """Yield label and time of every landmark between the start and the end of the run, unordered.

    Args:
        scheduler: Any scheduler; functions have no landmarks.
        run: The run that it is bound to.
        unit: The unit of the times returned.
        end: The end of the run in that unit.
    """
    yield from _walk(scheduler, run, unit, end, "")


def _walk(scheduler: Any, run: Run, unit: TimeUnit, end: Fraction, prefix: str) -> Iterator[tuple[str, Fraction]]:
    begin = _value(run.convert(run.start, unit, "until"))
    if isinstance(scheduler, ProductScheduler):
        for name, factor in scheduler.factors.items():
            yield from _walk(factor, run, unit, end, f"{prefix}{name}: ")
    elif isinstance(scheduler, SequentialScheduler):
        phases: dict[str, Phase] = dict(scheduler.phases)  # type: ignore[arg-type]
        start = Time(0, TimeUnit.BATCH)
        for (name, phase), until in zip(phases.items(), phase_ends(run, phases), strict=True):
            first = begin + _value(run.convert(start, unit, "until"))
            last = end if until is None else min(end, begin + _value(run.convert(until, unit, "until")))
            if start.value != 0:  # the first phase begins where the sequence does
                yield f"{prefix}{name}: start", first
            part = run.phase(start, until, scale=phase.scale)
            yield from _walk(phase.scheduler, part, unit, last, f"{prefix}{name}: ")
            start = start if until is None else until
    else:

        def at(name: str, time: Any = None, *, scale: bool = True) -> Fraction:
            stated = as_time(getattr(scheduler, name) if time is None else time, name)
            return _value(run.convert(run.resolve(stated, name, scale=scale), unit, name))

        for label, time in _own(scheduler, at, end - begin):
            if 0 < time < end - begin:
                yield f"{prefix}{label}", begin + time


def _own(scheduler: Any, at: Callable[..., Fraction], length: Fraction) -> Iterator[tuple[str, Fraction]]:
    """Yield the landmarks of one scheduler without parts, counted from its start."""
    if not isinstance(scheduler, Scheduler):
        return
    warmup = Fraction(0)
    if hasattr(scheduler, "t_warmup"):
        warmup = at("t_warmup", scale=scheduler.scale_warmup)  # type: ignore[attr-defined]
        yield "end of warmup", warmup
    if hasattr(scheduler, "t_max") and not isinstance(scheduler, ConstantWithWarmupScheduler):
        yield "t_max", at("t_max")
    if isinstance(scheduler, (MultiStepScheduler, MultiStepWithWarmupScheduler)):
        moments = sorted(max(warmup, at("milestones", milestone)) for milestone in scheduler.milestones)
        yield from _numbered("milestone", moments)
    elif isinstance(scheduler, PiecewiseLinearScheduler):
        yield from _numbered("point", [at("points", time) for time, _ in scheduler.points])  # type: ignore[str-unpack, misc]
    elif isinstance(scheduler, StepScheduler):
        yield from _numbered("step", _repeats(at("step_size"), Fraction(1), length))
    elif isinstance(scheduler, CosineAnnealingWarmRestartsScheduler):
        yield from _numbered("restart", _repeats(at("t_0"), exact(scheduler.t_mult), length))
    elif isinstance(scheduler, OneCycleScheduler):
        yield "peak", at("t_up")
    elif isinstance(scheduler, WarmupStableDecayScheduler):
        yield "start of decay", at("t_max") - at("t_decay")
    elif isinstance(scheduler, InverseSquareRootWithWarmupScheduler) and (cooldown := at("t_cooldown")):
        yield "start of cooldown", at("t_max") - cooldown


def _numbered(label: str, times: list[Fraction]) -> Iterator[tuple[str, Fraction]]:
    for number, time in enumerate(times, 1):
        yield f"{label} {number}", time


def _repeats(period: Fraction, ratio: Fraction, length: Fraction) -> list[Fraction]:
    """Yield the ends of periods within ``length``; each period is ``ratio`` times as long as the one before."""
    times: list[Fraction] = []
    time = period
    while time < length and len(times) < _MOST_REPEATS:
        times.append(time)
        period *= ratio
        time += period
    return times


def _value(time: Time) -> Fraction:
    return Fraction(time.value)


def _times(part: Any) -> Iterator[Time | None]:
    """Yield every time in a scheduler and its parts, and None for each function, whose times are unknown."""
    if isinstance(part, Time):
        yield part
    elif isinstance(part, (Scheduler, Phase)) and is_dataclass(part):
        for item in fields(part):
            yield from _times(getattr(part, item.name))
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _times(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _times(value)
    elif callable(part):
        yield None


def holds_functions(scheduler: Any) -> bool:
    """Return whether it is, or contains, something other than a scheduler of this package."""
    return any(time is None for time in _times(scheduler))


def needs_only_epochs(scheduler: Any) -> bool:
    """Return whether all its times are in epochs or ``dur``: the curve then does not depend on ``dataloader_len``."""
    free = (TimeUnit.EPOCH, TimeUnit.DURATION)
    return all(time is not None and (time.value == 0 or time.unit in free) for time in _times(scheduler))
