"""Adaptive sampling of a schedule: more points where the curve bends, and two points at the same time for a jump."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

__all__ = ["Trace", "trace"]

Alpha = Callable[[Fraction], float]

_PIECES = 256  # the minimum number of intervals of a run
_TOLERANCE = 1 / 4000  # largest error relative to the highest alpha: a third of a pixel in a large picture
_EQUAL = 1e-9  # two values whose relative difference is smaller differ only by rounding
_MOST_CALLS = 20_000
# Distance of the point just before a time, as a fraction of the run. This package's schedulers compare exact numbers,
# so the point can be so close that alpha there equals the limit. A user's function computes with floats, so the
# distance must be larger than the rounding errors.
_JUST_EXACT, _JUST_FLOAT = Fraction(1, 2**200), Fraction(1, 2**40)


@dataclass
class Trace:
    """A schedule as the vertices of a polygonal line.

    Attributes:
        times: Times of the vertices in ascending order. A time at which alpha jumps appears twice.
        alphas: alpha at each of these times.
        jumps: Exact times of the jumps.
    """

    times: list[float] = field(default_factory=list)
    alphas: list[float] = field(default_factory=list)
    jumps: list[Fraction] = field(default_factory=list)


def trace(alpha: Alpha, breaks: Sequence[Fraction], *, is_exact: bool) -> Trace:
    """Sample alpha from the first to the last time in ``breaks``.

    At each break, this function computes alpha just before the break and at the break, so a jump at a break is drawn as
    a vertical line at its exact time. Between two breaks, it halves intervals until the curve is straight in each
    interval. So it also finds a small interval around a jump between two breaks. Within this interval, let f be the
    fraction with the smallest denominator. The jump is placed at f if alpha has one value before f and the other value
    from f on. At the last break, only alpha just before the break is used, because a run has no batch at its end.

    Args:
        alpha: Function from time to alpha.
        breaks: Times in ascending order, such as landmarks. The first and the last are the start and the end.
        is_exact: Whether alpha distinguishes times with any distance, as this package's schedulers do.
    """
    tracer = _Tracer(alpha, breaks, is_exact)
    for begin, end in pairwise(breaks):
        tracer.follow(begin, end)
    return tracer.done


class _Tracer:
    def __init__(self, alpha: Alpha, breaks: Sequence[Fraction], is_exact: bool) -> None:
        self.alpha, self.is_exact = alpha, is_exact
        self.length = breaks[-1] - breaks[0]
        self.just = self.length * (_JUST_EXACT if is_exact else _JUST_FLOAT)
        self.calls = 0
        self.done = Trace()
        probes = [breaks[0] + self.length * k / _PIECES for k in range(_PIECES)]
        self.scale = max(map(abs, map(alpha, [*probes, *breaks[:-1]]))) or 1.0

    def follow(self, begin: Fraction, end: Fraction) -> None:
        count = max(2, math.ceil(_PIECES * (end - begin) / self.length))
        width = end - self.just - begin
        points = [(x := begin + width * k / count, self.alpha(x)) for k in range(count + 1)]
        before = self.done.alphas[-1] if self.done.alphas else points[0][1]
        if not self.done.times or self._differ(before, points[0][1]):
            if self.done.times:
                self.done.jumps.append(begin)
            self._put(begin, points[0][1])
        for (low, a), (high, b) in pairwise(points):
            self._refine(low, a, high, b)
            self._put(end if high == points[-1][0] else high, b)

    def _put(self, x: Fraction, value: float) -> None:
        self.done.times.append(float(x))
        self.done.alphas.append(value)

    def _differ(self, a: float, b: float) -> bool:
        """Return whether alpha jumps from ``a`` to ``b``.

        The difference is relative to the values, so that small late steps of a step schedule are jumps too.
        """
        return abs(a - b) > _EQUAL * (max(abs(a), abs(b)) if self.is_exact else self.scale)

    def _refine(self, low: Fraction, a: float, high: Fraction, b: float) -> None:
        """Insert the vertices that are needed between two vertices."""
        if self.calls >= _MOST_CALLS:
            return
        self.calls += 1
        middle = (low + high) / 2
        m = self.alpha(middle)
        if abs(m - (a + b) / 2) <= _TOLERANCE * self.scale:
            return
        if high - low < self.length * _JUST_FLOAT:
            jump = self._place(low, a, high, b)
            self._put(jump, a)
            self._put(jump, b)
            self.done.jumps.append(jump)
            return
        self._refine(low, a, middle, m)
        self._put(middle, m)
        self._refine(middle, m, high, b)

    def _place(self, low: Fraction, a: float, high: Fraction, b: float) -> Fraction:
        jump = _simplest(low, high)
        if jump == low or self._differ(self.alpha(jump), b) or self._differ(self.alpha((low + jump) / 2), a):
            return high
        return jump


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction with the smallest denominator in [low, high], for 0 <= low <= high (Stern-Brocot tree)."""
    above = math.ceil(low)
    if above <= high:
        return Fraction(above)
    below = math.floor(low)
    return below + 1 / _simplest(1 / (high - below), 1 / (low - below))
