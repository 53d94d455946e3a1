"""Schedules made of other schedules: a product of named factors, and a sequence of named phases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ssr_hydra.errors import MismatchError, MissingValueError, RangeError, WrongTypeError, within
from ssr_hydra.schedulers.arguments import as_duration, put
from ssr_hydra.schedulers.curves import Curve, joined, multiplied, pieces_of, with_pieces
from ssr_hydra.schedulers.opaque import Opaque
from ssr_hydra.schedulers.protocol import Scheduler, SchedulerLike, bind_to, check_scheduler
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import flag
from ssr_hydra.time import Time, TimeLike, TimeUnit, as_time

__all__ = ["Phase", "ProductScheduler", "SequentialScheduler"]


def product(curves: list[Curve]) -> Curve:
    """Return the product of curves. If there is only one curve, return that curve."""
    if len(curves) == 1:
        return curves[0]

    def curve(timestamp: Any) -> float:
        alpha = 1.0
        for factor in curves:
            alpha *= factor(timestamp)
        return alpha

    return with_pieces(curve, multiplied([pieces_of(factor) for factor in curves]))


def _checked_parts(value: Any, field: str) -> dict[str, Any]:
    """Return a mapping from name to factor or phase as a dict. Check that it is not empty."""
    fix = f"write {field}: {{<name>: <scheduler>}}"
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise WrongTypeError(field, value, "must be a mapping from name to scheduler", fix)
    if not value:
        raise MissingValueError(field, dict(value), "must not be empty", fix)
    return dict(value)


def _bind_part(field: str, scheduler: SchedulerLike, run: Run) -> Curve:
    with within(field):
        return bind_to(scheduler, run)


@dataclass(frozen=True)
class ProductScheduler(Scheduler):
    """Multiply several schedules.

    ::

        alpha(t) = product of alpha_i(t) over the factors

    SSR applies to every factor. So if every factor satisfies ``alpha_ssr(t) = alpha(t / ssr)``, the product satisfies
    it too.

    Args:
        factors: A mapping from name to scheduler.

    Raises:
        InputError: There are no factors, or a factor is not a scheduler.

    Example:
        >>> from ssr_hydra import ConstantScheduler, LinearScheduler, State, Timestamp
        >>> scheduler = ProductScheduler({"half": ConstantScheduler(0.5), "decay": LinearScheduler()})
        >>> scheduler(State(max_duration="8ba", timestamp=Timestamp(batch=4)))
        0.25

    Source: Composer's documentation ("if you have multiple schedulers, their multipliers multiply").
    """

    factors: Mapping[str, SchedulerLike]

    def __post_init__(self) -> None:
        factors = _checked_parts(self.factors, "factors")
        for name, factor in factors.items():
            check_scheduler(factor, f"factors.{name}")
        put(self, factors=factors)

    def curve(self, run: Run) -> Curve:
        return product([_bind_part(f"factors.{name}", factor, run) for name, factor in self.factors.items()])


@dataclass(frozen=True)
class Phase(metaclass=Opaque):
    """A phase of a :class:`SequentialScheduler`: a schedule, and the time at which the phase ends.

    Args:
        scheduler: The schedule of the phase. It treats the phase as a separate run: time starts at 0, and ``dur`` is a
            fraction of the phase.
        until: The end of the phase, counted from the start of the sequence. Only the last phase may omit ``until``.
            Without ``until``, the phase ends when the run ends.
        scale: Whether SSR stretches the phase and its schedule; usually false for a warmup. An ``until`` in ``dur`` is
            always a fraction of the run, so ``scale`` does not change it.

    Raises:
        InputError: ``scheduler`` is not a scheduler, or ``until`` is not above 0.

    Example:
        >>> from ssr_hydra.schedulers import LinearScheduler
        >>> Phase(LinearScheduler(0.0, 1.0), until="500ba", scale=False).until
        Time('500ba')

    Source: optax's ``join_schedules``, which joins schedules at fixed steps and has no names and no SSR.
    """

    scheduler: SchedulerLike
    until: TimeLike | None = None
    scale: bool = True

    def __post_init__(self) -> None:
        check_scheduler(self.scheduler)
        flag(self.scale, "scale")
        put(self, until=None if self.until is None else as_duration(self.until, "until"))


def _phase(value: Any, field: str) -> Phase:
    """Create a phase from a Phase, from a mapping or config with the arguments of a phase, or from a scheduler."""
    if isinstance(value, Phase):
        return value
    if is_dataclass(value) and {item.name for item in fields(value)} == {item.name for item in fields(Phase)}:
        value = {item.name: getattr(value, item.name) for item in fields(value)}
    with within(field):
        if isinstance(value, Mapping):
            if "scheduler" not in value or set(value) - {"scheduler", "until", "scale"}:
                rule = "must have the key 'scheduler', and may have the keys 'until' and 'scale'"
                raise MissingValueError("keys", sorted(map(str, value)), rule, "write {scheduler: ..., until: 500ba}")
            return Phase(**value)
        return Phase(value)


@dataclass(frozen=True)
class SequentialScheduler(Scheduler):
    """Run one schedule after another.

    ::

        alpha(t) = alpha_k(t - start_k)    for start_k <= t < end_k,    start_{k+1} = end_k
        end_k = ssr * until_k                                           if scale (the default)
        end_k = start_k + (until_k - until_{k-1})                       if not scale
        end_k = until_k * length of the run                             if until_k is in dur, scaled or not

    The schedule of a phase treats the phase as a separate run: time starts at 0, ``dur`` is a fraction of the phase,
    and ssr is 1 if the phase is not scaled. ``alpha_ssr(t) = alpha(t / ssr)`` holds exactly if every phase is scaled.
    Otherwise, the equation holds only before the first phase that is not scaled.

    Args:
        phases: A mapping from name to :class:`Phase`, in order of time. A phase may also be a mapping of its arguments,
            and the last phase may be a scheduler alone.

    Raises:
        InputError: There are no phases; a phase before the last has no ``until``; the values of ``until`` do not
            increase; or a phase with ``scale=False`` has an ``until`` that is not in ``dur``, but the phase before it
            ends in ``dur``. :meth:`bind` raises an InputError if the run ends before the last phase starts, or if
            values of ``until`` in different units do not increase.

    Example:
        >>> from ssr_hydra import ConstantScheduler, LinearScheduler, State, Timestamp
        >>> scheduler = SequentialScheduler({
        ...     "warmup": Phase(LinearScheduler(0.0, 1.0), until="2ba", scale=False),
        ...     "decay": Phase(LinearScheduler()),
        ... })
        >>> state = State(max_duration="6ba")
        >>> [scheduler.bind(state, ssr=0.5)(Timestamp(batch=k)) for k in (1, 2, 4, 6)]
        [0.5, 1.0, 0.5, 0.0]

    Source: ``torch.optim.lr_scheduler.SequentialLR`` and optax's ``join_schedules``, which use fixed step counts.
    """

    phases: Mapping[str, Phase | SchedulerLike | Mapping[str, Any]]

    def __post_init__(self) -> None:
        phases = {name: _phase(part, f"phases.{name}") for name, part in _checked_parts(self.phases, "phases").items()}
        for name, phase in list(phases.items())[:-1]:
            if phase.until is None:
                rule = "must be set in every phase except the last"
                raise MissingValueError(f"phases.{name}.until", None, rule, "write e.g. until: 500ba")
        ends = [(name, as_time(phase.until, "until")) for name, phase in phases.items() if phase.until is not None]
        for (before, first), (name, second) in pairwise(ends):
            if first.unit is second.unit and second <= first:
                rule = (
                    f"counts from the start of the sequence, so it must be after the end of phase {before!r} ({first})"
                )
                raise RangeError(f"phases.{name}.until", str(second), rule, "reorder the phases, or increase 'until'")
            if not phases[name].scale and first.unit is TimeUnit.DURATION and second.unit is not TimeUnit.DURATION:
                rule = f"must have the unit of {first} (end of phase {before!r}), because SSR does not scale this phase"
                fix = f"write the end of this phase in dur, or the end of phase {before!r} in {second.unit.value}"
                raise MismatchError(f"phases.{name}.until", str(second), rule, fix)
        put(self, phases=phases)

    def curve(self, run: Run) -> Curve:
        phases: dict[str, Phase] = dict(self.phases)  # type: ignore[arg-type]
        ends = phase_ends(run, phases)
        segments: list[tuple[Any, int, int, Curve]] = []
        start = Time(0, TimeUnit.BATCH)
        for (name, phase), end in zip(phases.items(), ends, strict=True):
            with within(f"phases.{name}"):
                part = _bind_part("scheduler", phase.scheduler, run.phase(start, end, scale=phase.scale))
            if end is not None:
                clock = run.clock(end.unit, f"phases.{name}.until", end)
                segments.append((clock.read, clock.factor, clock.points[1], part))
                start = end
        # After its end, the last phase continues, because no other phase follows.
        last = part
        if len(ends) == len(segments):
            segments.pop()

        def curve(timestamp: Any) -> float:
            for read, factor, stop, part in segments:
                if read(timestamp) * factor < stop:
                    return part(timestamp)
            return last(timestamp)

        units = {time.unit for time in ends if time is not None}
        if len(units) > 1:  # :data:`Pieces` must have a single unit
            return curve
        stops = [(Fraction(stop, factor), pieces_of(part)) for _, factor, stop, part in segments]
        return with_pieces(curve, joined([*stops, (math.inf, pieces_of(last))]))


def phase_ends(run: Run, phases: Mapping[str, Phase]) -> list[Time | None]:
    """Return the end of each phase, counted from the start of the run; None for a last phase without an end.

    Raise an InputError if the ends do not increase or are not within the run. Skip ends that cannot be compared.
    """
    ends: list[Time | None] = []
    start, stated_start = Time(0, TimeUnit.BATCH), Time(0, TimeUnit.BATCH)
    for i, (name, phase) in enumerate(phases.items()):
        if phase.until is None:
            ends.append(None)
            continue
        field, stated = f"phases.{name}.until", as_time(phase.until, "until")
        end = run.resolve(stated, field)
        if not phase.scale and stated.unit is not TimeUnit.DURATION:
            # The phase keeps its length, counted from the actual end of the previous phase.
            begin = run.resolve(stated_start, field, scale=False)
            unscaled = run.resolve(stated, field, scale=False)
            end = run.convert(start, unscaled.unit, field) + unscaled - run.convert(begin, unscaled.unit, field)
        if run.is_before(start, end) is False:
            rule = f"must be after the start of the phase (the phase starts at {start} and ends at {end})"
            raise RangeError(field, str(stated), rule, "increase 'until' or ssr, or use fractions of the run (dur)")
        length = run.length()
        if i + 1 < len(phases) and length is not None and run.is_before(end, length) is False:
            ends_at = f"this phase ends at {end}, and the run ends at {length}{run.at_ssr}"
            rule = f"must be before the end of the run, because another phase follows ({ends_at})"
            raise RangeError(field, str(stated), rule, "decrease 'until', lengthen the run, or increase ssr")
        ends.append(end)
        start, stated_start = end, stated
    return ends
