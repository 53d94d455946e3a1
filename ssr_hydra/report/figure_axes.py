"""The axes of the figures for print: scales, ticks, limits, and names that matplotlib can draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ssr_hydra.drawing import clock_unit, style
from ssr_hydra.errors import visible
from ssr_hydra.studies.study import Axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#555555"
SHARED: tuple[Axis, ...] = ("ssr", "steps")
"""Axes on which all recipes have the same positions."""

_LONGEST = 40  # maximum length of a name, in characters
_MOST_PLACES = 40  # with more positions than this, an axis has ticks at round numbers instead of the positions
_TICK_WIDTH, _CHAR_WIDTH, _TICK_GAP = 5.0 * 72, 5.8, 6.0  # in points: axis width, digit width, gap between two numbers
_STRETCH, _MARGIN = 0.25, 0.06  # fractions of the range of the values: most space for ends of intervals; margin
_LABELS = {
    "ssr": "Scale schedule ratio (SSR)",
    "steps": "Optimizer steps",
    "samples": "Samples",
    "tokens": "Tokens",
    "cost": "Cost of a run",
}


@cache
def _drawable_characters() -> frozenset[int]:
    from matplotlib import font_manager

    with style():
        return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def printable(text: str) -> str:
    r"""Return a name that matplotlib can draw: math is escaped, missing characters are replaced, long names are cut.

    Example:
        >>> print(printable("$x$"))
        \$x\$
    """
    text = visible(text)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 10]}...{text[-7:]}"
    return "".join(char if ord(char) in _drawable_characters() else "?" for char in text).replace("$", r"\$")


def positions(values: Iterable[float]) -> list[float]:
    """Return the distinct positions, ascending. Positions that differ by less than one percent count as equal."""
    distinct: list[float] = []
    for value in sorted(value for value in values if math.isfinite(value) and value > 0):
        if not distinct or value > 1.01 * distinct[-1]:
            distinct.append(float(value))
    return distinct


def nudge(places: Sequence[float], place: int, count: int, each: float, over_all: float) -> float:
    """Return a factor for the positions of one recipe, so that recipes at the same position are drawn side by side.

    ``place`` is the index of the recipe, and ``count`` the number of recipes. ``each`` is the distance between the
    marks of two recipes, and ``over_all`` is the largest distance between the first and the last mark. Both are
    fractions of the smallest distance between two of ``places`` on the logarithmic axis.
    """
    gap = float(np.diff(np.log2(places)).min(initial=1.0))
    return float(2 ** (gap * min(each, over_all / count) * (place - (count - 1) / 2)))


def draw_level(axes: Axes, at: float, text: str) -> None:
    """Draw a dashed horizontal line, with its name outside of the axes, so that no curve crosses the name."""
    axes.axhline(at, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        text, (1.0, at), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", ha="left",
        va="center", fontsize=8, annotation_clip=False,
    )  # fmt: skip


def time_axis(axes: Axes, axis: str, values: Iterable[float]) -> float:
    """Label a time axis with its unit. Return the divisor that converts the values to this unit."""
    if axis != "seconds":
        axes.set_xlabel(_LABELS[axis])
        return 1.0
    divisor, unit = clock_unit(max((value for value in values if math.isfinite(value)), default=0.0))
    axes.set_xlabel(f"Training time ({unit})")
    return divisor


def set_limits(axes: Axes, values: Iterable[float], ends: Iterable[float]) -> None:
    """Set the range of the vertical axis so that all ``values`` are visible. Very long intervals are cut off."""
    points = [value for value in values if math.isfinite(value)]
    low, high = min(points), max(points)
    room = _STRETCH * (high - low) if high > low else math.inf
    limits = [min(high + room, max(low - room, end)) for end in ends if math.isfinite(end)]
    low, high = min([low, *limits]), max([high, *limits])
    if high > low:
        axes.set_ylim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))


def log_axis(axes: Axes, axis: str, places: Sequence[float], vertical: bool = False) -> None:
    """Make an axis logarithmic. Ticks are at ``places`` on a short axis of SSRs or steps, else at round numbers."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    (axes.set_yscale if vertical else axes.set_xscale)("log")
    scale = axes.yaxis if vertical else axes.xaxis
    if axis in SHARED and len(places) <= _MOST_PLACES:
        scale.set_major_locator(FixedLocator(separate_ticks(places)))
        # Each position gets a tick; a position with enough space also gets a number.
        scale.set_minor_locator(FixedLocator(places))
    else:
        narrow = len(places) > 1 and places[-1] < 10 * places[0]
        scale.set_major_locator(LogLocator(subs=(1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if narrow else (1.0, 2.0, 5.0)))
    scale.set_minor_formatter(NullFormatter())
    scale.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1e4 else f"{value:g}"


def separate_ticks(places: Sequence[float], text: Callable[[float], str] = _tick) -> list[float]:
    """Return the first position, the last, and those between them whose tick labels do not overlap on a log axis."""
    if len(places) < 2:
        return list(places)
    span = math.log(places[-1] / places[0])

    def clear(a: float, b: float) -> bool:
        room = math.log(b / a) / span * _TICK_WIDTH
        return room >= (len(text(a)) + len(text(b))) / 2 * _CHAR_WIDTH + _TICK_GAP

    ticks = [places[0]]
    for place in places[1:-1]:
        if clear(ticks[-1], place) and clear(place, places[-1]):
            ticks.append(place)
    return [*ticks, places[-1]]
