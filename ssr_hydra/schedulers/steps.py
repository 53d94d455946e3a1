"""Schedules with steps, with exponential decay, or with a constant value."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import RangeError
from ssr_hydra.schedulers.arguments import finish, reach, time_of, too_large
from ssr_hydra.schedulers.curves import Curve, Pieces, annealed, joined, linear, pieces_of, stepped, with_pieces
from ssr_hydra.schedulers.protocol import Moment, Scheduler, numbered, repeats
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeLike, as_time

__all__ = [
    "ConstantScheduler",
    "ConstantWithWarmupScheduler",
    "ExponentialScheduler",
    "MultiStepScheduler",
    "MultiStepWithWarmupScheduler",
    "StepScheduler",
]


_pow: Callable[[float, float], float] = operator.pow


def _powers(run: Run, gamma: float, period: Time, field: str, exponent: Callable[[int, int], float]) -> Curve:
    """Return the curve gamma ** exponent(time, period). Time and period are integers in the same unit."""
    clock = run.clock(period.unit, field, period)
    read, factor, (start, end) = clock.read, clock.factor, clock.points
    width = end - start

    def curve(timestamp: Any) -> float:
        try:
            return _pow(gamma, exponent(read(timestamp) * factor - start, width))
        except OverflowError:
            raise too_large(gamma) from None

    return curve


_MOST_STAIRS = 1000


def _stairs(run: Run, gamma: float, period: Time) -> Pieces | None:
    """Return the :data:`Pieces` of gamma ** floor(t / period); None if they are unknown or too many."""
    length = run.length()
    if length is None or run.start.value != 0 or length.unit is not period.unit:
        return None
    count = math.ceil(Fraction(length.value) / Fraction(period.value))
    if count > _MOST_STAIRS:
        return None
    stairs = [(Fraction(period.value) * (k + 1), ("power", gamma, k)) for k in range(count)]
    return period.unit, (*stairs, (math.inf, None))


@dataclass(frozen=True)
class StepScheduler(Scheduler):
    """Multiply alpha by ``gamma`` once per ``step_size``.

    ::

        alpha(t) = gamma ** floor(t / step_size)

    SSR stretches ``step_size``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly, even if the stretched ``step_size``
    is not a whole number of batches.

    Args:
        step_size: Time between decays.
        gamma: Factor of each decay, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> StepScheduler("3ba")(State(max_duration="9ba", timestamp=Timestamp(batch=3)))
        0.1

    Source: MosaicML Composer's ``StepScheduler``; ``torch.optim.lr_scheduler.StepLR``.
    """

    step_size: TimeLike
    gamma: float = 0.1

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:
        return numbered("step", repeats(at("step_size"), Fraction(1), length))

    def curve(self, run: Run) -> Curve:
        period = time_of(self, run, "step_size")
        curve = _powers(run, self.gamma, period, "step_size", lambda count, width: count // width)
        return with_pieces(curve, _stairs(run, self.gamma, period))


@dataclass(frozen=True)
class ExponentialScheduler(Scheduler):
    """Decay continuously, by a factor of ``gamma`` in each ``decay_period``.

    ::

        alpha(t) = gamma ** (t / decay_period)

    SSR stretches ``decay_period``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        gamma: Factor per period, at least 0.
        decay_period: Time in which alpha is multiplied by ``gamma``.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> ExponentialScheduler(0.25, "2ba")(State(max_duration="9ba", timestamp=Timestamp(batch=1)))
        0.5

    Source: MosaicML Composer's ``ExponentialScheduler``; ``torch.optim.lr_scheduler.ExponentialLR``.
    """

    gamma: float
    decay_period: TimeLike = "1ep"

    def curve(self, run: Run) -> Curve:
        period = time_of(self, run, "decay_period")
        return _powers(run, self.gamma, period, "decay_period", lambda count, width: float(count / width))


@dataclass(frozen=True)
class MultiStepScheduler(Scheduler):
    """Multiply alpha by ``gamma`` at each milestone.

    ::

        alpha(t) = gamma ** (number of milestones <= t)

    SSR stretches every milestone: ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Milestones may have different units.

    Args:
        milestones: Times of the decays, in any order. A repeated milestone multiplies alpha twice.
        gamma: Factor of each decay, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> MultiStepScheduler(["0.5dur", "8ba"], gamma=0.5)(State(max_duration="10ba", timestamp=Timestamp(batch=8)))
        0.25

    Source: MosaicML Composer's ``MultiStepScheduler``; ``torch.optim.lr_scheduler.MultiStepLR``.
    """

    milestones: Sequence[TimeLike]
    gamma: float = 0.1

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:  # noqa: ARG002
        return numbered("milestone", sorted(at("milestones", milestone) for milestone in self.milestones))

    def curve(self, run: Run) -> Curve:
        return stepped(run, _milestones(run, self.milestones), _decays(self.gamma, len(self.milestones)))


def _decays(gamma: float, steps: int) -> list[float]:
    """Return gamma ** 0 ... gamma ** steps, or raise an InputError if a power overflows."""
    try:
        return [gamma**k for k in range(steps + 1)]
    except OverflowError:
        rule = f"makes the multiplier larger than any float after {steps} milestones"
        raise RangeError("gamma", gamma, rule, "choose a gamma of at most 1") from None


def _milestones(run: Run, milestones: Sequence[TimeLike]) -> list[tuple[Time, str]]:
    fields = [f"milestones[{i}]" for i in range(len(milestones))]
    return [(run.resolve(as_time(m, field), field), field) for m, field in zip(milestones, fields, strict=True)]


@dataclass(frozen=True)
class MultiStepWithWarmupScheduler(Scheduler):
    """Warm up from 0 to 1, then multiply alpha by ``gamma`` at each milestone.

    ::

        alpha(t) = t / t_warmup                             for t < t_warmup
        alpha(t) = gamma ** (number of milestones <= t)     after the warmup

    A milestone inside the warmup takes effect when the warmup ends. The warmup and the milestones may have different
    units. SSR stretches the milestones. SSR stretches the warmup only if ``scale_warmup`` is true or ``t_warmup`` is in
    ``dur``. In these two cases, ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Otherwise the equation holds only after the
    warmup: for ``t >= max(1, ssr) * t_warmup``.

    Args:
        t_warmup: Length of the warmup, which must end within the run; ``0ba`` for no warmup.
        milestones: Times of the decays, counted from the start of the run.
        gamma: Factor of each decay, at least 0.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = MultiStepWithWarmupScheduler("4ba", ["6ba"])
        >>> [scheduler(State(max_duration="9ba", timestamp=Timestamp(batch=k))) for k in (1, 4, 6)]
        [0.25, 1.0, 0.1]

    Source: MosaicML Composer's ``MultiStepWithWarmupScheduler``.
    """

    t_warmup: TimeLike
    milestones: Sequence[TimeLike]
    gamma: float = 0.1
    scale_warmup: bool = False

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:  # noqa: ARG002
        warmup = at("t_warmup", scale=self.scale_warmup)
        yield "end of warmup", warmup
        yield from numbered("milestone", sorted(max(warmup, at("milestones", time)) for time in self.milestones))

    def curve(self, run: Run) -> Curve:
        warmup = time_of(self, run, "t_warmup", scale=self.scale_warmup)
        finish(run, warmup, "t_warmup", self.t_warmup)
        steps = stepped(run, _milestones(run, self.milestones), _decays(self.gamma, len(self.milestones)))
        if warmup.value == 0:
            return steps
        ramp = annealed(run, linear(1.0, 1.0), warmup, warmup, field="t_warmup")

        def curve(timestamp: Any) -> float:
            alpha = ramp(timestamp)
            return alpha if alpha < 1.0 else steps(timestamp)

        unit_and_pieces = pieces_of(ramp)
        assert unit_and_pieces is not None
        return with_pieces(curve, joined([(unit_and_pieces[1][0][0], unit_and_pieces), (math.inf, pieces_of(steps))]))


@dataclass(frozen=True)
class ConstantScheduler(Scheduler):
    """Multiply the learning rate by ``alpha`` until ``t_max``, then by 1.

    ::

        alpha(t) = alpha if t < t_max else 1

    SSR stretches ``t_max``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        alpha: The multiplier, at least 0.
        t_max: Time until which alpha applies.

    Example:
        >>> from ssr_hydra.state import State
        >>> ConstantScheduler(0.5)(State(max_duration="9ba"))
        0.5

    Source: MosaicML Composer's ``ConstantScheduler``; ``torch.optim.lr_scheduler.ConstantLR``.
    """

    alpha: float = 1.0
    t_max: TimeLike = "1dur"

    def curve(self, run: Run) -> Curve:
        return stepped(run, [(time_of(self, run, "t_max"), "t_max")], (self.alpha, 1.0))


@dataclass(frozen=True)
class ConstantWithWarmupScheduler(Scheduler):
    """Warm up from 0 to ``alpha``, then stay at ``alpha``.

    ::

        alpha(t) = alpha * min(1, t / t_warmup)

    SSR stretches the warmup only if ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In these two cases,
    ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Otherwise the equation holds only after the warmup: for
    ``t >= max(1, ssr) * t_warmup``.

    Args:
        t_warmup: Length of the warmup, which must end within the run; ``0ba`` for no warmup.
        alpha: The multiplier after the warmup, at least 0.
        t_max: End of the schedule; must not be before the end of the run.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> ConstantWithWarmupScheduler("4ba")(State(max_duration="9ba", timestamp=Timestamp(batch=1)))
        0.25

    Source: MosaicML Composer's ``ConstantWithWarmupScheduler``.
    """

    t_warmup: TimeLike
    alpha: float = 1.0
    t_max: TimeLike = "1dur"
    scale_warmup: bool = False

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:  # noqa: ARG002
        yield "end of warmup", at("t_warmup", scale=self.scale_warmup)

    def curve(self, run: Run) -> Curve:
        reach(run, self)
        warmup = time_of(self, run, "t_warmup", scale=self.scale_warmup)
        finish(run, warmup, "t_warmup", self.t_warmup)
        return annealed(run, linear(self.alpha, self.alpha), warmup, warmup, field="t_warmup")
