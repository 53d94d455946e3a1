"""Adaptive sampling of a schedule: more points where the curve bends, and two points at the same time for a jump."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

Alpha = Callable[[Fraction], float]

_PIECES = 256  # the minimum number of intervals of a run
_TOLERANCE = 1 / 4000  # largest error relative to the highest alpha: a third of a pixel in a large picture
_EQUAL = 1e-9  # a smaller relative difference of two values is a rounding error
_MOST_CALLS = 20_000
# Distance of a point "just before" a time, as a fraction of the run. This package's schedulers compare exact numbers,
# so the distance can be tiny. A user's function computes with floats, so the distance must exceed the rounding errors.
_JUST_EXACT, _JUST_FLOAT = Fraction(1, 2**200), Fraction(1, 2**40)


class Trace:
    """A schedule as the vertices of a polygonal line, sampled from the first to the last time in ``breaks``.

    The class computes alpha just before each break and at the break, so the time of a jump at a break is exact. Between
    two breaks, the class halves intervals until the curve is almost straight in each interval. For a jump between two
    breaks, the class stops at a tiny interval around the jump, and tries the fraction with the smallest denominator in
    this interval. If alpha does not jump at this fraction, the class uses the end of the interval. A run has no batch
    at its end, so the last vertex has alpha just before the end.

    Args:
        alpha: Function from time to alpha.
        breaks: Times in ascending order, such as landmarks. The first and the last are the start and the end.
        is_exact: Whether ``alpha`` computes with exact fractions, as this package's schedulers do, and not with floats.

    Attributes:
        times: Times of the vertices in ascending order. A time at which alpha jumps appears twice.
        alphas: alpha at each of these times.
        jumps: Exact times of the jumps.
    """

    def __init__(self, alpha: Alpha, breaks: Sequence[Fraction], *, is_exact: bool) -> None:
        self.times: list[float] = []
        self.alphas: list[float] = []
        self.jumps: list[Fraction] = []
        self._alpha, self._is_exact, self._calls = alpha, is_exact, 0
        self._length = breaks[-1] - breaks[0]
        self._just = self._length * (_JUST_EXACT if is_exact else _JUST_FLOAT)
        probes = [breaks[0] + self._length * k / _PIECES for k in range(_PIECES)]
        self._scale = max(map(abs, map(alpha, [*probes, *breaks[:-1]]))) or 1.0
        for begin, end in pairwise(breaks):
            self._follow(begin, end)

    def _follow(self, begin: Fraction, end: Fraction) -> None:
        count = max(2, math.ceil(_PIECES * (end - begin) / self._length))
        width = end - self._just - begin
        points = [(x := begin + width * k / count, self._alpha(x)) for k in range(count + 1)]
        if not self.times or self._differ(self.alphas[-1], points[0][1]):
            if self.times:
                self.jumps.append(begin)
            self._put(begin, points[0][1])
        for (low, a), (high, b) in pairwise(points):
            self._refine(low, a, high, b)
            self._put(end if high == points[-1][0] else high, b)

    def _put(self, x: Fraction, value: float) -> None:
        self.times.append(float(x))
        self.alphas.append(value)

    def _differ(self, a: float, b: float) -> bool:
        """Return whether alpha jumps from ``a`` to ``b``."""
        # Exact alphas are compared relative to a and b, so even the tiny last steps of a step schedule are jumps.
        return abs(a - b) > _EQUAL * (max(abs(a), abs(b)) if self._is_exact else self._scale)

    def _refine(self, low: Fraction, a: float, high: Fraction, b: float) -> None:
        if self._calls >= _MOST_CALLS:
            return
        self._calls += 1
        middle = (low + high) / 2
        m = self._alpha(middle)
        if abs(m - (a + b) / 2) <= _TOLERANCE * self._scale:
            return
        if high - low < self._length * _JUST_FLOAT:
            jump = self._place(low, a, high, b)
            self._put(jump, a)
            self._put(jump, b)
            self.jumps.append(jump)
            return
        self._refine(low, a, middle, m)
        self._put(middle, m)
        self._refine(middle, m, high, b)

    def _place(self, low: Fraction, a: float, high: Fraction, b: float) -> Fraction:
        jump = _simplest(low, high)
        if jump == low or self._differ(self._alpha(jump), b) or self._differ(self._alpha((low + jump) / 2), a):
            return high
        return jump


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """Return the fraction with the smallest denominator in [low, high], for 0 <= low <= high (Stern-Brocot tree)."""
    above = math.ceil(low)
    if above <= high:
        return Fraction(above)
    below = math.floor(low)
    return below + 1 / _simplest(1 / (high - below), 1 / (low - below))
