"""Adaptive sampling of a schedule: vertices are dense where it bends, and come in pairs where it jumps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

__all__ = ["Trace", "trace"]

Alpha = Callable[[Fraction], float]

_PIECES = 256  # the least number of pieces of a run
_TOLERANCE = 1 / 4000  # of the highest alpha: a third of a pixel in a large picture
_EQUAL = 1e-9  # relative: two values closer than this differ only by rounding
_MOST_CALLS = 20_000
# Distance of the point just before a time. This package's schedulers compare exact numbers, so the point can be
# arbitrarily close, and its float is that of the limit. A user's function computes with floats and needs a distance.
_JUST_EXACT, _JUST_FLOAT = Fraction(1, 2**200), Fraction(1, 2**40)


@dataclass
class Trace:
    """A schedule as vertices of a polygonal line.

    Attributes:
        times: Times in ascending order; a time appears twice where alpha jumps.
        alphas: alpha at those times.
        jumps: Exact times of the jumps.
    """

    times: list[float] = field(default_factory=list)
    alphas: list[float] = field(default_factory=list)
    jumps: list[Fraction] = field(default_factory=list)


def trace(alpha: Alpha, breaks: Sequence[Fraction], *, is_exact: bool) -> Trace:
    """Sample alpha from the first to the last of ``breaks``.

    At a break, the function takes the value before it and the value at it, so a jump there is vertical at its exact
    time. Between breaks it halves intervals until the curve is straight in each. This also encloses a jump that is not
    a break; the jump is placed at the simplest fraction of the interval if alpha has one value before that fraction and
    the other from it on. At the last break only the value before it counts, because a run has no batch at its end.

    Args:
        alpha: Function from time to alpha.
        breaks: Times in ascending order; the first and the last are the ends.
        is_exact: Whether alpha distinguishes times however close they are, as this package's schedulers do.
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
        """Return whether alpha jumps from a to b; relative, so that the tenth step of a schedule counts too."""
        return abs(a - b) > _EQUAL * (max(abs(a), abs(b)) if self.is_exact else self.scale)

    def _refine(self, low: Fraction, a: float, high: Fraction, b: float) -> None:
        """Insert the vertices that are needed strictly between two vertices."""
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
    """Return the fraction with the smallest denominator in [low, high], both at least 0, by the Stern-Brocot tree."""
    above = math.ceil(low)
    if above <= high:
        return Fraction(above)
    below = math.floor(low)
    return below + 1 / _simplest(1 / (high - below), 1 / (low - below))
