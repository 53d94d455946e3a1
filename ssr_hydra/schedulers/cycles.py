"""Schedules that increase and decrease: warm restarts, one cycle, and straight lines through a list of points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.schedulers.arguments import as_duration, check_fit, ends_after_t_max, finish, multiplier, put, time_of
from ssr_hydra.schedulers.curves import Curve, Shape, cosine, linear, piecewise
from ssr_hydra.schedulers.protocol import Moment, Scheduler, numbered, repeats
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import one_of
from ssr_hydra.time import Time, TimeLike, exact

__all__ = ["CosineAnnealingWarmRestartsScheduler", "OneCycleScheduler", "PiecewiseLinearScheduler"]

_SHAPES: dict[str, Callable[[float, float], Shape]] = {"cosine": cosine, "linear": linear}
# With a t_mult such as 1.0001, the exact bounds of a cycle need very many bits. Above this number of bits, use floats.
_MOST_BITS = 1 << 14
_LARGEST_GROWTH = 1e300


@dataclass(frozen=True)
class CosineAnnealingWarmRestartsScheduler(Scheduler):
    """Repeat half a cosine. Each cycle is ``t_mult`` times as long as the previous cycle.

    ::

        cycle n lasts t_0 * t_mult ** n
        cycle n begins at t_0 * (t_mult ** n - 1) / (t_mult - 1), or at n * t_0 for t_mult = 1
        alpha(t) = alpha_f + (1 - alpha_f) * (1 + cos(pi * tau)) / 2,    tau = elapsed fraction of the cycle

    SSR stretches ``t_0``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        t_0: Length of the first cycle.
        t_mult: Length of a cycle divided by the length of the previous cycle, at least 1.
        alpha_f: Multiplier at the end of a cycle, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = CosineAnnealingWarmRestartsScheduler("2ba", t_mult=2)
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (0, 1, 2, 4)]
        [1.0, 0.5, 1.0, 0.5]

    Source: MosaicML Composer's ``CosineAnnealingWarmRestartsScheduler``; Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """

    t_0: TimeLike
    t_mult: float = 1.0
    alpha_f: float = 0.0

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:
        return numbered("restart", repeats(at("t_0"), exact(self.t_mult), length))

    def curve(self, run: Run) -> Curve:
        first = time_of(self, run, "t_0")
        clock = run.clock(first.unit, "t_0", first)
        read, factor, (start, end) = clock.read, clock.factor, clock.points
        cycles = Cycles(end - start, exact(self.t_mult, "t_mult"))
        shape = cosine(1.0, self.alpha_f)
        return lambda timestamp: shape(cycles.tau(read(timestamp) * factor - start))


class Cycles:
    """A sequence of cycles. Each cycle is ``ratio`` times as long as the previous cycle.

    ``width`` is the length of the first cycle, multiplied by the ``factor`` of the run's :class:`Counter`.
    """

    def __init__(self, width: int, ratio: Fraction) -> None:
        self._width, self._ratio = width, ratio
        self._bits = max(ratio.numerator.bit_length(), ratio.denominator.bit_length())
        self._log_ratio = math.log1p(float(ratio - 1))  # log1p keeps the digits of a ratio such as 1.000001
        # Cache of the latest cycle: a factor, and the start and end of the cycle, both multiplied by the factor.
        self._bounds = (1, 0, width)

    def tau(self, count: int) -> float:
        """Return the elapsed fraction of the current cycle. ``count`` is the time since the first cycle started."""
        if self._ratio == 1:
            return float(count % self._width / self._width)
        factor, begin, end = self._bounds
        if not begin <= count * factor < end:
            index = self._index(count)
            if index * self._bits > _MOST_BITS:
                return self._tau_in_floats(count, index)
            while not begin <= count * factor < end:
                # Near a boundary, rounding of the logarithm may change the index by one.
                factor, begin, end = self._exact_bounds(index)
                index += 1 if count * factor >= end else -1
            self._bounds = (factor, begin, end)
        return float((count * factor - begin) / (end - begin))

    def _index(self, count: int) -> int:
        # Without this limit, a huge ratio makes growth infinite. The limit may make the index wrong: tau() corrects it.
        growth = min(float(count / self._width) * float(self._ratio - 1), _LARGEST_GROWTH)
        return max(0, math.floor(math.log1p(growth) / self._log_ratio))

    def _exact_bounds(self, index: int) -> tuple[int, int, int]:
        grown = self._ratio**index
        begin = self._width * (grown - 1) / (self._ratio - 1)
        end = begin + self._width * grown
        factor = math.lcm(begin.denominator, end.denominator)
        return factor, int(begin * factor), int(end * factor)

    def _tau_in_floats(self, count: int, index: int) -> float:
        log_grown = index * self._log_ratio
        begin = math.expm1(log_grown) / float(self._ratio - 1)
        return min(1.0, max(0.0, (float(count / self._width) - begin) / math.exp(log_grown)))


@dataclass(frozen=True)
class OneCycleScheduler(Scheduler):
    """Increase once from a small multiplier to 1, then decrease to almost 0.

    ::

        alpha(t) = alpha_i + (1 - alpha_i) * s(t / t_up)                 for t < t_up
        alpha(t) = 1 + (alpha_f - 1) * s((t - t_up) / (t_max - t_up))    until t_max, then alpha_f
        s(tau)   = (1 - cos(pi * tau)) / 2 for "cosine", tau for "linear"

    At the peak, alpha is 1. SSR stretches the increase and the decrease:
    ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        t_up: Length of the increase, which must end before ``t_max`` and within the run.
        t_max: End of the decrease, counted from the start of the run.
        alpha_i: Multiplier at the start (torch: ``1 / div_factor``).
        alpha_f: Multiplier at the end (torch: ``1 / (div_factor * final_div_factor)``).
        anneal: ``"cosine"`` or ``"linear"``.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = OneCycleScheduler("2ba", alpha_i=0.0, alpha_f=0.0, anneal="linear")
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (0, 1, 2, 4)]
        [0.0, 0.5, 1.0, 0.5]

    Source: Smith and Topin 2018, "Super-Convergence" (arXiv 1708.07120); defaults of
    ``torch.optim.lr_scheduler.OneCycleLR``.
    """

    t_up: TimeLike = "0.3dur"
    t_max: TimeLike = "1dur"
    alpha_i: float = 0.04
    alpha_f: float = 4e-6
    anneal: Annotated[str, tuple(_SHAPES)] = "cosine"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fit(self, "t_up")
        one_of(self.anneal, "anneal", tuple(_SHAPES))

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:
        yield from super().landmarks(at, length)
        yield "peak", at("t_up")

    def curve(self, run: Run) -> Curve:
        end = time_of(self, run, "t_max")
        top = run.convert(time_of(self, run, "t_up"), end.unit, "t_up")
        if top >= end:
            raise ends_after_t_max(run, top, end, "t_up", self.t_up)
        finish(run, top, "t_up", self.t_up)
        points = [(Time(0, end.unit), self.alpha_i), (top, 1.0), (end, self.alpha_f)]
        return piecewise(run, points, _SHAPES[self.anneal])


@dataclass(frozen=True)
class PiecewiseLinearScheduler(Scheduler):
    """Interpolate linearly between points (time, alpha). Alpha is constant before the first and after the last point.

    ::

        alpha(t) = a_k * (1 - tau) + a_{k+1} * tau,    tau = (t - t_k) / (t_{k+1} - t_k)    for t_k <= t < t_{k+1}

    SSR stretches every time: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        points: A list of at least one pair (time, alpha), in order of time. Python code may pass a mapping from time to
            alpha instead.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = PiecewiseLinearScheduler([("0ba", 0.0), ("2ba", 1.0), ("1dur", 0.5)])
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (1, 2, 4, 9)]
        [0.5, 1.0, 0.75, 0.5]

    Source: fvcore's ``CompositeParamScheduler`` and optax's ``piecewise_interpolate_schedule``, which use fixed step
    counts.
    """

    points: Sequence[tuple[TimeLike, float]] | Mapping[TimeLike, float]

    def __post_init__(self) -> None:
        pairs: Any = list(self.points.items()) if isinstance(self.points, Mapping) else self.points
        fix = "write e.g. [[0ba, 0.0], [0.1dur, 1.0], [1dur, 0.0]]"
        if isinstance(pairs, str) or not isinstance(pairs, Sequence) or not pairs:
            raise WrongTypeError(
                "points", self.points, "must be a list of pairs (time, alpha), where alpha is the multiplier", fix
            )
        checked: list[tuple[Time, float]] = []
        for i, pair in enumerate(pairs):
            field = f"points[{i}]"
            if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
                raise WrongTypeError(field, pair, "must be a pair (time, alpha), where alpha is the multiplier", fix)
            time = as_duration(pair[0], field, above_zero=False)
            if checked and checked[-1][0].unit is time.unit and time <= checked[-1][0]:
                raise RangeError(field, str(time), f"must be after the previous time ({checked[-1][0]})", fix)
            checked.append((time, multiplier(pair[1], field)))
        put(self, points=tuple(checked))

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:  # noqa: ARG002
        return numbered("point", [at("points", time) for time, _ in self.points])  # type: ignore[str-unpack, misc]

    def curve(self, run: Run) -> Curve:
        pairs: Any = self.points
        points = [(run.resolve(time, f"points[{i}]"), alpha) for i, (time, alpha) in enumerate(pairs)]
        for i, ((earlier, _), (later, _)) in enumerate(pairwise(points), 1):
            if run.is_before(earlier, later) is False:
                previous = run.convert(earlier, later.unit, "points")
                rule = f"must be after the previous point (the points are at {previous} and {later}{run.at_ssr})"
                raise RangeError(f"points[{i}]", str(pairs[i][0]), rule, "reorder the points, or correct their times")
        return piecewise(run, points)
