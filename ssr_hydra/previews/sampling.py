"""Sampling of a schedule for a figure: points on a grid, and two points at each time where the schedule may jump."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

_PIECES = 1000  # the minimum number of intervals of a run: an interval is narrower than a drawn line
# Distance of a point "just before" a time, as a fraction of the run. This package's schedulers compare exact numbers,
# so the distance can be tiny. A user's function computes with floats, so the distance must exceed the rounding errors.
_JUST_EXACT, _JUST_FLOAT = Fraction(1, 2**200), Fraction(1, 2**40)


def sampled(
    alpha: Callable[[Fraction], float], breaks: Sequence[Fraction], *, is_exact: bool
) -> list[tuple[float, float]]:
    """Return vertices (time, alpha) of the polygonal line that shows a schedule.

    Each break between the first and the last has two vertices: alpha just before the break, and alpha at the break. So
    a jump at a break is a vertical line. A jump between two breaks is a steep line, at most 1/1000 of the run wide. A
    run has no batch at its end, so the last vertex has alpha just before the end.

    Args:
        alpha: Function from time to alpha.
        breaks: Times in ascending order, such as landmarks. The first and the last are the start and the end.
        is_exact: Whether ``alpha`` computes with exact fractions, as this package's schedulers do, and not with floats.
    """
    length = breaks[-1] - breaks[0]
    just = length * (_JUST_EXACT if is_exact else _JUST_FLOAT)
    vertices = []
    for begin, end in pairwise(breaks):
        count = max(2, math.ceil(_PIECES * (end - begin) / length))
        for k in range(count):
            time = begin + (end - begin) * k / count
            vertices.append((float(time), alpha(time)))
        vertices.append((float(end), alpha(end - just)))
    return vertices
