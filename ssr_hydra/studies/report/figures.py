"""The figures of a report as a paper prints them: the same records, the same bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssr_hydra.drawing import HUES, style
from ssr_hydra.studies.report.content import Content, arm
from ssr_hydra.studies.report.curves import Curve, spread_out
from ssr_hydra.studies.report.payload import MOST_RUNS
from ssr_hydra.studies.report.words import visible
from ssr_hydra.studies.study import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NAMES", "figures", "printable"]

NAMES = ("frontier", "doublings", "learning_curves", "learning_rates")
"""Figures that there may be."""

_WIDTH, _HEIGHT = 6.3, 3.6  # inches: the text width of an article
_MARKERS = ("o", "s", "D", "^", "v")
_DASHES: dict[str, Any] = dict(zip(CONTROLS, ("-", (0, (4, 2)), (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1.5))), strict=True))
_LONGEST = 40
_MOST_NAMES = 16
_PALEST = 0.35
_BESIDE, _AS_LONG = 0.075, 0.004  # inches; and how close to its mean a run has to be
_DODGE, _DODGES = 0.03, 0.1  # between two recipes, and over all: shares of the distance between neighbouring SSRs
_STRETCH, _MARGIN = 0.25, 0.06  # of what the points take: for the ends of intervals, and around all
_LABELS = {
    "ssr": "Scale schedule ratio (SSR)",
    "steps": "Optimizer steps",
    "samples": "Samples",
    "tokens": "Tokens",
    "cost": "Cost of a run",
}
_CLOCK = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))


def figures(content: Content) -> dict[str, Figure]:
    """The frontier, the gain per doubling, learning curves and learning rates; those that have something to show."""
    made = {"frontier": _figure(_frontier, content)}
    if not content.doublings.empty:
        made["doublings"] = _figure(_doublings, content)
    if content.learning.drawn:
        made["learning_curves"] = _figure(_learning, content)
    if content.rates.drawn:
        made["learning_rates"] = _figure(_rates, content)
    return made


@cache
def _known() -> frozenset[int]:
    from matplotlib import font_manager

    with style():
        return frozenset(font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap())


def printable(text: str) -> str:
    r"""A name that matplotlib draws as it is: no math, no letter that its font lacks, and not longer than a legend.

    Example:
        >>> print(printable("$x$"))
        \$x\$
    """
    text = visible(text)
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 10]}...{text[-7:]}"
    return "".join(char if ord(char) in _known() else "?" for char in text).replace("$", r"\$")


def _figure(draw: Callable[[Axes, Content], None], content: Content) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style():
        made = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
        FigureCanvasAgg(made)
        axes = made.add_subplot()
        draw(axes, content)
        _legend(made, content)
    return made


def _looks(content: Content) -> dict[tuple[str, str], dict[str, Any]]:
    places = {recipe: place for place, recipe in enumerate(content.study.recipes)}
    return {
        pair: {
            "color": HUES[places[pair[0]] % len(HUES)],
            "marker": _MARKERS[places[pair[0]] % len(_MARKERS)],
            "linestyle": _DASHES[pair[1]],
        }
        for pair in content.arms
    }


def _legend(made: Figure, content: Content) -> None:
    """Above the axes, where it covers nothing; the figure grows by its height."""
    from matplotlib.lines import Line2D

    looks = _looks(content)
    if len(looks) < 2:
        return
    shown = list(looks)[:_MOST_NAMES]
    handles = [Line2D([], [], **looks[pair], markersize=4, linewidth=1.4) for pair in shown]
    names = [printable(arm(*pair)) for pair in shown]
    if len(looks) > len(shown):
        handles.append(Line2D([], [], linestyle="none"))
        names.append(f"and {len(looks) - len(shown)} more")
    longest = max(map(len, names))
    columns = max(1, min(4, len(names), int(88 / (longest + 8))))
    legend = made.legend(handles, names, loc="outside upper left", ncols=columns, frameon=False, borderpad=0.2)
    canvas: Any = made.canvas
    grown = legend.get_window_extent(canvas.get_renderer()).height / made.dpi
    made.set_figheight(_HEIGHT + grown - 0.2)


def _frontier(axes: Axes, content: Content) -> None:
    table, axis = content.summary[content.summary["n"] > 0], content.axis
    divisor = _time_axis(axes, axis, table[axis])
    status = {(row.recipe, row.control, row.ssr): row.status for row in _rows(content.pareto)}
    runs = _beside_means(content, table)
    dots = dict(iter(runs.groupby(["recipe", "control"], sort=False)))
    tables = dict(iter(table.groupby(["recipe", "control"], sort=False)))
    for pair, look in _looks(content).items():
        if pair in dots:
            _dots(axes, dots[pair], axis, divisor, look["color"])
        rows = tables[pair].sort_values(axis)
        x, y = rows[axis].to_numpy() / divisor, rows["mean"].to_numpy()
        axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], linewidth=1.4, zorder=3)
        known = rows["low"].notna().to_numpy()
        ends = np.array([y - rows["low"].to_numpy(), rows["high"].to_numpy() - y])[:, known]
        axes.errorbar(
            x[known], y[known], ends, fmt="none", ecolor=look["color"], elinewidth=1, capsize=2, capthick=1, zorder=3
        )
        on = np.array([status.get((*pair, ssr)) == "frontier" for ssr in rows["ssr"]], dtype=bool)
        for chosen, face in ((on, look["color"]), (~on, "white")):
            axes.plot(
                x[chosen], y[chosen], look["marker"], color=look["color"], markersize=4.6, zorder=4,
                markerfacecolor=face, markeredgewidth=1.1,
            )  # fmt: skip
    _log(axes, axis, table["ssr"].unique())
    levels = [] if content.options.target is None else [content.options.target]
    _limit(axes, [*table["mean"], *runs["quality"], *levels], [*table["low"], *table["high"]])
    if content.options.target is not None:
        axes.axhline(content.options.target, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_ylabel(printable(content.study.objective))


def _beside_means(content: Content, table: pd.DataFrame) -> pd.DataFrame:
    """Runs of cells that have several, each with the mean of its cell."""
    keys, axis = ["recipe", "control", "ssr"], content.axis
    runs = content.study.completed
    runs = runs.iloc[spread_out(len(runs), MOST_RUNS)]
    means = table[keys].assign(mean=table[axis], n=table["n"])
    runs = runs.merge(means, on=keys)
    return runs[runs["n"] > 1]


def _dots(axes: Axes, runs: pd.DataFrame, axis: str, divisor: float, colour: str) -> None:
    """Each run where it is, but those that took as long as their mean beside it, where its mark does not hide them."""
    from matplotlib.transforms import ScaledTranslation

    beside = (runs[axis] / runs["mean"] - 1).abs() < _AS_LONG
    look: dict[str, Any] = {"color": colour, "alpha": 0.45, "markersize": 4, "markeredgewidth": 0, "zorder": 2}
    moved = axes.transData + ScaledTranslation(_BESIDE, 0, axes.figure.dpi_scale_trans)
    axes.plot(runs[~beside][axis] / divisor, runs[~beside]["quality"], ".", **look)
    axes.plot(runs[beside][axis] / divisor, runs[beside]["quality"], ".", transform=moved, **look)


def _doublings(axes: Axes, content: Content) -> None:
    looks = _looks(content)
    frame = content.doublings
    drawn = [pair for pair in looks if ((frame["recipe"] == pair[0]) & (frame["control"] == pair[1])).any()]
    ratios = np.sort(frame["ssr"].unique())
    gap = float(np.diff(np.log2(ratios)).min(initial=1.0))
    for place, pair in enumerate(drawn):
        rows = frame[(frame["recipe"] == pair[0]) & (frame["control"] == pair[1])]
        nudge = 2 ** (gap * min(_DODGE, _DODGES / len(drawn)) * (place - (len(drawn) - 1) / 2))
        x, y = rows["ssr"].to_numpy() * nudge, rows["gain"].to_numpy()
        known = rows["low"].notna().to_numpy()
        ends = np.array([y - rows["low"].to_numpy(), rows["high"].to_numpy() - y])[:, known]
        look = looks[pair]
        face = "white" if pair[1] else look["color"]
        axes.errorbar(x[known], y[known], ends, fmt="none", ecolor=look["color"], elinewidth=1, capsize=2, capthick=1)
        axes.plot(x, y, look["marker"], color=look["color"], markerfacecolor=face, markersize=4.6, markeredgewidth=1.1)
    axes.axhline(0, color="#999999", linewidth=0.7, zorder=1)
    axes.axhline(content.tolerance, color="#555555", linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.annotate(
        "tolerance", (0.005, content.tolerance), xycoords=("axes fraction", "data"), ha="left", va="bottom", fontsize=8
    )
    _log(axes, "ssr", ratios)
    _limit(axes, [*frame["gain"], 0.0, content.tolerance], [*frame["low"], *frame["high"]])
    axes.set_xlabel("From SSR to its double")
    axes.set_ylabel(f"Gain in {printable(content.study.objective)}")


def _learning(axes: Axes, content: Content) -> None:
    _lines(axes, content, content.learning.drawn)
    axes.set_ylabel(printable(content.study.objective))


def _rates(axes: Axes, content: Content) -> None:
    _lines(axes, content, content.rates.drawn)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("Learning rate")


def _lines(axes: Axes, content: Content, curves: Sequence[Curve]) -> None:
    """Each curve against steps, or what there is; shorter runs are paler."""
    axis = content.counted[0]
    divisor = _time_axis(axes, axis, [value for curve in curves for value in curve.places[axis][-1:]])
    ratios = sorted({curve.ssr for curve in curves})
    looks = _looks(content)
    for curve in curves:
        look = looks[curve.recipe, curve.control]
        rank = ratios.index(curve.ssr) / (len(ratios) - 1) if len(ratios) > 1 else 1.0
        axes.plot(
            np.array(curve.places[axis]) / divisor, curve.values, color=look["color"], linestyle=look["linestyle"],
            alpha=_PALEST + (1 - _PALEST) * rank, linewidth=1.1,
        )  # fmt: skip
    axes.set_xlim(left=0)


def _time_axis(axes: Axes, axis: str, values: Iterable[float]) -> float:
    """Label the axis; what to divide its values by."""
    if axis != "seconds":
        axes.set_xlabel(_LABELS[axis])
        return 1.0
    longest = max((value for value in values if math.isfinite(value)), default=0.0)
    divisor, unit = next(((size, name) for least, size, name in _CLOCK if longest >= least), (1.0, "seconds"))
    axes.set_xlabel(f"Training time ({unit})")
    return divisor


def _limit(axes: Axes, values: Iterable[float], ends: Iterable[float]) -> None:
    """A vertical axis of the points; of intervals that dwarf them it shows a part, and they run out of it."""
    points = [value for value in values if math.isfinite(value)]
    low, high = min(points), max(points)
    room = _STRETCH * (high - low) if high > low else math.inf
    shown = [min(high + room, max(low - room, end)) for end in ends if math.isfinite(end)]
    low, high = min([low, *shown]), max([high, *shown])
    if high > low:
        axes.set_ylim(low - _MARGIN * (high - low), high + _MARGIN * (high - low))


def _log(axes: Axes, axis: str, ratios: Iterable[float]) -> None:
    """A logarithmic axis with plain numbers: at the ratios that were run, or at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    if axis == "ssr":
        places = sorted(ratios)
        axes.xaxis.set_major_locator(FixedLocator([places[place] for place in spread_out(len(places), 9)]))
        axes.xaxis.set_minor_locator(FixedLocator(places))  # a tick at each, a number where there is room
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1e4 else f"{value:g}"))


def _rows(frame: Any) -> Iterable[Any]:
    found: Iterable[Any] = frame.itertuples(index=False)
    return found
