"""Curves: functions from a timestamp of one run to alpha. Several schedules use the formulas of this module."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeUnit

Curve = Callable[[Any], float]
"""The schedule of one run: a function from a timestamp to alpha.

The timestamp must have the same type as the timestamp of the state to which the schedule was bound.
"""

Shape = Callable[[float], float]
"""The shape of a decay: a function from tau to alpha, where tau is the elapsed fraction of the decay, from 0 to 1."""

Pieces = tuple[TimeUnit, tuple[tuple[Fraction | float, Hashable], ...]]
"""The pieces of a curve: the unit of the curve's counter, and a pair (exclusive end, key) for each piece.

A piece is an interval of time. Within the run, two curves are equal where their keys are equal. So this package can
compare two curves without evaluating them.
"""

_NEVER = math.inf  # the end of a schedule that never ends


def with_pieces(curve: Curve, pieces: Pieces | None) -> Curve:
    """Store :data:`Pieces` as an attribute of a curve, and return the curve. If ``pieces`` is None, store nothing."""
    if pieces is not None:
        curve.__dict__["pieces"] = pieces
    return curve


def pieces_of(curve: Curve) -> Pieces | None:
    """Return the :data:`Pieces` of a curve; None if the pieces are unknown."""
    pieces: Pieces | None = getattr(curve, "pieces", None)
    return pieces


def joined(parts: Sequence[tuple[Fraction | float, Pieces | None]]) -> Pieces | None:
    """Join the :data:`Pieces` of curves that follow each other. Return None if the units of the curves differ.

    ``parts`` has a pair for each curve: the time at which the curve ends, and the pieces of the curve.
    """
    units = {None if pieces is None else pieces[0] for _, pieces in parts}
    if len(units) != 1 or None in units:
        return None
    all_pieces: list[tuple[Fraction | float, Hashable]] = []
    begin: Fraction | float = -math.inf
    for end, pieces in parts:
        assert pieces is not None
        all_pieces += [(min(until, end), key) for until, key in pieces[1] if until > begin]
        begin = end
        while len(all_pieces) > 1 and all_pieces[-2][0] >= end:
            all_pieces.pop()
    return parts[0][1][0], tuple(all_pieces)  # type: ignore[index]


def multiplied(factors: Sequence[Pieces | None]) -> Pieces | None:
    """Return the :data:`Pieces` of a product of curves. Return None if the curves have different units."""
    units = {None if pieces is None else pieces[0] for pieces in factors}
    if len(units) != 1 or None in units:
        return None
    ends = sorted({end for pieces in factors for end, _ in pieces[1]})  # type: ignore[index]
    keys = [tuple(next(key for until, key in pieces[1] if until >= end) for pieces in factors) for end in ends]  # type: ignore[index]
    return factors[0][0], tuple(zip(ends, keys, strict=True))  # type: ignore[index]


def linear(alpha_i: float, alpha_f: float) -> Shape:
    """Return the shape alpha_i * (1 - tau) + alpha_f * tau, which is exact at both ends."""
    return lambda tau: alpha_i * (1.0 - tau) + alpha_f * tau


def cosine(alpha_i: float, alpha_f: float) -> Shape:
    """Return the shape alpha_f + (alpha_i - alpha_f) * (1 + cos(pi * tau)) / 2."""
    half, pi, cos = (alpha_i - alpha_f) / 2.0, math.pi, math.cos
    return lambda tau: alpha_f + half * (1.0 + cos(pi * tau))


def polynomial(power: float, alpha_f: float) -> Shape:
    """Return the shape alpha_f + (1 - alpha_f) * (1 - tau) ** power."""
    height = 1.0 - alpha_f
    return lambda tau: alpha_f + height * (1.0 - tau) ** power


def rex(alpha_f: float) -> Shape:
    """Return the shape alpha_f + (1 - alpha_f) * (1 - tau) / (1 - tau / 2)."""
    height = 1.0 - alpha_f
    return lambda tau: alpha_f + height * (1.0 - tau) / (1.0 - tau / 2.0)


def annealed(
    run: Run,
    shape: Shape,
    begin: Time,
    end: Time,
    *,
    warmup: Time | None = None,
    field: str = "t_max",
    is_endless: bool = False,
) -> Curve:
    """Return the curve alpha(t) = warmup(t) * shape(tau(t)).

    ::

        warmup(t) = min(1, t / warmup)
        tau(t)    = (t - begin) / (end - begin), clipped to [0, 1]

    Alpha rises from 0 to shape(0) during the warmup. ``warmup`` is at most ``begin``, which is also its default. The
    times are converted as by :meth:`Run.resolve`. ``field`` is the argument that sets ``end``, for errors. If
    ``is_endless`` is true, tau is not limited to 1.
    """
    clock = run.clock(end.unit, field, begin if warmup is None else warmup, begin, end)
    read, factor = clock.read, clock.factor
    start, ramp_end, first, last = clock.points
    ramp, width = ramp_end - start, last - first
    peak = shape(0.0)
    # If the warmup fills the whole run, the run has no decay and alpha ends at the peak.
    final = shape(1.0) if width else peak
    stop = _NEVER if is_endless else last
    at = [Fraction(point, factor) for point in clock.points]
    pieces = (
        (at[1], ("ramp", peak, at[0], at[1])),
        (at[2], peak),
        (_NEVER if is_endless else at[3], ("shape", shape, at[2], at[3])),
        (_NEVER, final),
    )

    def curve(timestamp: Any) -> float:
        # The most frequent case comes first.
        count = read(timestamp) * factor
        if first < count < stop:
            return shape((count - first) / width)
        if count >= stop:
            return final
        if count >= ramp_end:
            return peak
        return peak * ((count - start) / ramp)

    return with_pieces(curve, (end.unit, pieces))


def stepped(run: Run, milestones: Sequence[tuple[Time, str]], alphas: Sequence[float]) -> Curve:
    """Return the curve ``alphas[k]``, where ``k`` is the number of milestones reached so far.

    A milestone is a pair: its time, and the name of its field for errors. Milestones may have different units.
    """
    by_unit: dict[TimeUnit, list[tuple[Time, str]]] = {}
    for milestone in milestones:
        by_unit.setdefault(milestone[0].unit, []).append(milestone)
    clocks = [run.clock(unit, group[0][1], *(time for time, _ in group)) for unit, group in by_unit.items()]
    readers = [(clock.read, clock.factor, sorted(clock.points[1:])) for clock in clocks]
    if len(readers) == 1:
        ((read, factor, points),) = readers
        ends: list[Fraction | float] = [*(Fraction(point, factor) for point in points), _NEVER]
        return with_pieces(
            lambda timestamp: alphas[bisect_right(points, read(timestamp) * factor)],
            (next(iter(by_unit)), tuple(zip(ends, alphas, strict=True))),
        )

    def curve(timestamp: Any) -> float:
        return alphas[sum(bisect_right(points, read(timestamp) * factor) for read, factor, points in readers)]

    return curve


def piecewise(run: Run, points: Sequence[tuple[Time, float]], make: Callable[[float, float], Shape] = linear) -> Curve:
    """Return a curve through points (time, alpha).

    Between two points, the curve has the shape ``make(alpha of the first point, alpha of the second point)``. Before
    the first point and after the last point, the curve is constant.
    """
    unit = points[-1][0].unit
    clock = run.clock(unit, "points", *(time for time, _ in points))
    read, factor, times = clock.read, clock.factor, clock.points[1:]
    shapes = [make(points[i][1], points[i + 1][1]) for i in range(len(points) - 1)]
    first, last = points[0][1], points[-1][1]

    def curve(timestamp: Any) -> float:
        count = read(timestamp) * factor
        index = bisect_right(times, count) - 1
        if index < 0:
            return first
        if index == len(shapes):
            return last
        begin = times[index]
        return shapes[index](float((count - begin) / (times[index + 1] - begin)))

    at = [Fraction(point, factor) for point in times]
    lines = [
        (until, (make, start, until, points[i][1], points[i + 1][1])) for i, (start, until) in enumerate(pairwise(at))
    ]
    return with_pieces(curve, (unit, ((at[0], first), *lines, (_NEVER, last))))
