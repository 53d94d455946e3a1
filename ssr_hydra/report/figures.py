"""The figures of a report for print. The same records always give files with the same bytes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssr_hydra.drawing import HUES, empty_figure, mixed, style
from ssr_hydra.report.content import Content
from ssr_hydra.report.drawn_curves import Curve
from ssr_hydra.report.figure_axes import (
    GREY,
    SHARED,
    draw_level,
    log_axis,
    nudge,
    positions,
    printable,
    separate_ticks,
    set_limits,
    time_axis,
)
from ssr_hydra.report.page_data import MOST_RUNS
from ssr_hydra.report.words import certainty
from ssr_hydra.studies.notes import arm
from ssr_hydra.studies.study import CONTROLS, spread_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

NAMES = ("frontier", "doublings", "tolerances", "learning_curves", "learning_rates")
"""The names of all figures that a report can have."""

_HEIGHT = 3.6  # inches
_MARKERS = ("o", "s", "D", "^", "v", "P", "h")
_DASHES: dict[str, Any] = dict(zip(CONTROLS, ("-", (0, (4, 2)), (0, (6, 1.5, 1, 1.5)), (0, (1.5, 1.5))), strict=True))
_UNDECIDED: Any = (0, (1.6, 1.0))  # dash pattern for a choice that is not decided
_MOST_NAMES = 16
_PALEST = 0.35
_BAND = 0.15  # opacity of the band around a mean
# The mark of a mean hides a run at nearly the same time. If the relative difference is below _AS_LONG, the mark of the
# run moves to the right by _SHIFT inches.
_AS_LONG, _SHIFT = 0.004, 0.075
# Arguments of nudge() for marks without lines, and for marks that a line connects.
_DODGE = {"each": 0.03, "over_all": 0.1}
_LINE_DODGE = {"each": 0.06, "over_all": 0.24}
_AIR = 1.35  # a vertical SSR axis extends beyond the smallest and the largest SSR by this factor
_MOST_SHADES = 6
_MOST_TOGETHER = 4  # maximum number of recipes whose curves are drawn in the same axes
_MOST_MULTIPLES, _COLUMNS, _MULTIPLE = 12, 3, 1.7  # small multiples: maximum number, columns, row height in inches
_TINT = 0.6  # fraction of white in the mark of an undecided point


def figures(content: Content) -> dict[str, Figure]:
    """Return a mapping from name to figure, for each figure of ``NAMES`` that has something to show."""
    return {name: draw(content, name) for name in drawable(content)}


def drawable(content: Content) -> list[str]:
    """Return the names of the figures that have something to show."""
    steps, curves = len(content.steps) > 1, (bool(each.drawn) for each in (content.learning, content.rates))
    return list(compress(NAMES, (True, not content.doublings.empty, steps, *curves)))


def draw(content: Content, name: str) -> Figure:
    """Return one figure of :func:`drawable`."""
    _load_fonts()
    if name == "learning_curves":
        return _curve_figure(content, content.learning.drawn, printable(content.objective))
    if name == "learning_rates":
        return _curve_figure(content, content.rates.drawn, "Learning rate", content.rates.every)
    return _figure({"frontier": _frontier, "doublings": _doublings, "tolerances": _tolerances}[name], content)


def _load_fonts() -> None:
    """Load matplotlib's fonts without the message that matplotlib logs when it is first used on a machine."""
    log = logging.getLogger("matplotlib.font_manager")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        import matplotlib.font_manager  # noqa: F401
    finally:
        log.setLevel(before)


def _figure(draw: Callable[[Axes, Content], list[Line2D]], content: Content) -> Figure:
    with style():
        figure = empty_figure(_HEIGHT)
        axes = figure.add_subplot()
        _legend(figure, content, draw(axes, content))
    return figure


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


def _legend(figure: Figure, content: Content, others: Sequence[Line2D]) -> None:
    """Draw a legend with the recipes, if there are several, and with the entries ``others``."""
    from matplotlib.lines import Line2D

    looks = _looks(content)
    pairs = list(looks)[:_MOST_NAMES] if len(looks) > 1 else []
    handles = [Line2D([], [], **looks[at], markersize=4, linewidth=1.4, label=printable(arm(*at))) for at in pairs]
    if pairs and len(looks) > len(pairs):
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(looks) - len(pairs)} more"))
    _draw_legend(figure, [*handles, *others])


def _draw_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Draw the legend above the axes, where it covers no marks, and make the figure higher by the legend's height."""
    if not handles:
        return
    names = [str(each.get_label()) for each in handles]
    longest = max(map(len, names))
    columns = max(1, min(4, len(names), int(88 / (longest + 8))))
    legend = figure.legend(handles, names, loc="outside upper left", ncols=columns, frameon=False, borderpad=0.2)
    canvas: Any = figure.canvas
    grown = legend.get_window_extent(canvas.get_renderer()).height / figure.dpi
    figure.set_figheight(figure.get_figheight() + grown - 0.2)


def _frontier(axes: Axes, content: Content) -> list[Line2D]:
    """Draw quality against the axis of equal budgets, with different marks for points on and off the frontier."""
    table, axis = content.summary[content.summary["n"] > 0], content.equal
    divisor = time_axis(axes, axis, table[axis])
    runs = _beside_means(content, table)
    dots = dict(iter(runs.groupby(["recipe", "control"], sort=False)))
    tables = dict(iter(table.groupby(["recipe", "control"], sort=False)))
    looks, places = _looks(content), positions(table[axis])
    for place, (pair, look) in enumerate(looks.items()):
        moved = nudge(places, place, len(looks), **_LINE_DODGE) if axis in SHARED else 1.0
        if pair in dots:
            _dots(axes, dots[pair], axis, divisor / moved, look["color"])
        rows = tables[pair].sort_values(axis)
        x, y = rows[axis].to_numpy() / divisor * moved, rows["mean"].to_numpy()
        axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], linewidth=1.4, zorder=3)
        _intervals(axes, x, y, rows, look["color"], zorder=3)
        states = np.array([_state(content.status.get((*pair, ssr), "")) for ssr in rows["ssr"]])
        for state in sorted(set(states.tolist())):
            chosen = states == state
            axes.plot(
                x[chosen], y[chosen], look["marker"], color=look["color"], markersize=4.6, zorder=4,
                markerfacecolor=_face(look["color"], state), markeredgewidth=1.1,
            )  # fmt: skip
    log_axis(axes, axis, places)
    if axis == "ssr":
        axes.set_xlabel(printable(content.ssr_label))
    levels = [] if content.options.target is None else [content.options.target]
    set_limits(axes, [*table["mean"], *runs["quality"], *levels], [*table["low"], *table["high"]])
    for target in levels:
        draw_level(axes, target, f"target\n{target:.6g}")
    axes.set_ylabel(printable(content.objective))
    return _state_key(set(content.status.values()))


def _intervals(axes: Axes, x: Any, y: Any, rows: pd.DataFrame, colour: str, **options: Any) -> None:
    at = rows["low"].notna().to_numpy()
    ends = np.array([y - rows["low"].to_numpy(), rows["high"].to_numpy() - y])[:, at]
    axes.errorbar(x[at], y[at], ends, fmt="none", ecolor=colour, elinewidth=1, capsize=2, capthick=1, **options)


def _state(status: str) -> int:
    """Return 0 for a point on the frontier, 2 for a dominated point, 1 for an undecided point."""
    return {"frontier": 0, "dominated": 2}.get(status, 1)


def _face(colour: str, state: int) -> Any:
    return mixed(colour, "white", (0.0, _TINT, 1.0)[state])


def _state_key(states: set[str]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    middle = "no better within noise" if "within_noise" in states else "dominated by the mean"
    names = ["on the frontier", middle, "dominated"]
    return [
        Line2D(
            [], [], color=GREY, marker="o", markersize=4.6, linestyle="none", label=names[state],
            markerfacecolor=_face(GREY, state), markeredgewidth=1.1,
        )
        for state in sorted(set(map(_state, states)))
    ]  # fmt: skip


def _beside_means(content: Content, table: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of each recipe, control and SSR that has several runs. ``mean`` is their mean on the x axis."""
    keys, axis = ["recipe", "control", "ssr"], content.equal
    runs = content.study.completed
    runs = runs[~runs.index.isin(content.study.summarized)]
    runs = runs.iloc[spread_out(len(runs), MOST_RUNS)]
    means = table[keys].assign(mean=table[axis], n=table["n"])
    runs = runs.merge(means, on=keys)
    return runs[runs["n"] > 1]


def _dots(axes: Axes, runs: pd.DataFrame, axis: str, divisor: float, colour: str) -> None:
    """Draw each run at its position. If the mark of the mean would hide a run, move the run to the side."""
    from matplotlib.transforms import ScaledTranslation

    beside = (runs[axis] / runs["mean"] - 1).abs() < _AS_LONG
    look: dict[str, Any] = {"color": colour, "alpha": 0.45, "markersize": 4, "markeredgewidth": 0, "zorder": 2}
    moved = axes.transData + ScaledTranslation(_SHIFT, 0, axes.figure.dpi_scale_trans)
    axes.plot(runs[~beside][axis] / divisor, runs[~beside]["quality"], ".", **look)
    axes.plot(runs[beside][axis] / divisor, runs[beside]["quality"], ".", transform=moved, **look)


def _doublings(axes: Axes, content: Content) -> list[Line2D]:
    looks, frame = _looks(content), content.doublings
    rows_of_arm = dict(iter(frame.groupby(["recipe", "control"], sort=False)))
    pairs = [pair for pair in looks if pair in rows_of_arm]
    ratios = sorted(frame["ssr"].unique().tolist())
    for place, pair in enumerate(pairs):
        rows, look = rows_of_arm[pair], looks[pair]
        x = rows["ssr"].to_numpy() * nudge(ratios, place, len(pairs), **_DODGE)
        y = rows["gain"].to_numpy()
        face = "white" if pair[1] else look["color"]
        _intervals(axes, x, y, rows, look["color"])
        axes.plot(x, y, look["marker"], color=look["color"], markerfacecolor=face, markersize=4.6, markeredgewidth=1.1)
    axes.axhline(0, color="#999999", linewidth=0.7, zorder=1)
    levels = [0.0] if content.tolerance is None else [0.0, content.tolerance]
    if content.tolerance is not None:
        draw_level(axes, content.tolerance, "tolerance")
    log_axis(axes, "ssr", ratios)
    set_limits(axes, [*frame["gain"], *levels], [*frame["low"], *frame["high"]])
    axes.set_xlabel("From SSR to its double")
    axes.set_ylabel(f"Gain in {printable(content.objective)}")
    return []


def _tolerances(axes: Axes, content: Content) -> list[Line2D]:
    """Draw the recommended SSR against the tolerance. A solid line means that the choice is decided."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ends = [end for step in content.steps for end in (step.above, step.below) if 0 < end < math.inf]
    least, most = min(ends) / 2, max(ends) * 2
    looks = _looks(content)
    ratios = sorted({step.choice.ssr for step in content.steps})
    styles: dict[bool, tuple[Any, str]] = {True: ("-", "decided"), False: (_UNDECIDED, "undecided, or noise unknown")}
    for step in content.steps:
        choice, look = step.choice, looks[step.choice.recipe, ""]
        x = [max(step.above, least), min(step.below, most)]
        axes.plot(
            x, [choice.ssr] * 2, color=look["color"], linewidth=2.4, solid_capstyle="butt", dash_capstyle="butt",
            linestyle=styles[certainty(choice) == "decided"][0],
        )  # fmt: skip
        axes.plot(math.sqrt(x[0] * x[1]), choice.ssr, look["marker"], color=look["color"], markersize=4.6)
        if choice.recommendation.ssr is None:
            axes.annotate(
                "or longer", (x[0], choice.ssr), xytext=(2, 4), textcoords="offset points", ha="left", fontsize=8
            )
    axes.set_xscale("log")
    axes.set_xlim(least, most)
    log_axis(axes, "ssr", ratios, vertical=True)
    axes.set_xlabel(f"Gain in {printable(content.objective)} that a doubling must have")
    axes.set_ylabel("SSR to run")
    if content.tolerance is not None:
        axes.axvline(content.tolerance, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_ylim(ratios[0] / _AIR, ratios[-1] * _AIR)
    ticks = separate_ticks([least, *sorted(set(ends)), most], "{:.3g}".format)[1:-1]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    certain = {certainty(step.choice) == "decided" for step in content.steps}
    return [
        Line2D([], [], color=GREY, linewidth=2.4, linestyle=styles[sure][0], label=styles[sure][1])
        for sure in sorted(certain, reverse=True)
    ]


def _curve_figure(content: Content, curves: Sequence[Curve], label: str, every: int | None = None) -> Figure:
    """Draw curves against steps if possible. If there are many recipes, draw each recipe in its own axes."""
    recipes = list(dict.fromkeys(curve.recipe for curve in curves))
    if len(recipes) <= _MOST_TOGETHER:
        return _figure(lambda axes, content: _lines(axes, content, curves, curves, label, every), content)
    first_recipes = recipes[:_MOST_MULTIPLES]
    rows = math.ceil(len(first_recipes) / _COLUMNS)
    with style():
        figure = empty_figure(_MULTIPLE * rows + 0.6)
        grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
        key: list[Line2D] = []
        for place, (axes, recipe) in enumerate(zip(grid.flat, first_recipes, strict=False)):
            own = [curve for curve in curves if curve.recipe == recipe]
            key = _lines(axes, content, own, curves, label if place % _COLUMNS == 0 else "", every)
            axes.set_title(printable(recipe), fontsize=9, loc="left")
            if place + _COLUMNS < len(first_recipes):
                axes.set_xlabel("")
            else:
                axes.tick_params(labelbottom=True)
        for axes in list(grid.flat)[len(first_recipes) :]:
            axes.set_axis_off()
        if len(recipes) > len(first_recipes):
            figure.supxlabel(f"{len(recipes) - len(first_recipes)} more recipes are not drawn", fontsize=8)
        _draw_legend(figure, [*_control_key(curves), *key])
    return figure


def _control_key(curves: Sequence[Curve]) -> list[Line2D]:
    from matplotlib.lines import Line2D

    controls = [control for control in CONTROLS if any(curve.control == control for curve in curves)]
    if len(controls) < 2:
        return []
    return [
        Line2D([], [], color=GREY, linestyle=_DASHES[control], linewidth=1.4, label=control or "scaled")
        for control in controls
    ]


def _lines(
    axes: Axes, content: Content, curves: Sequence[Curve], every_curve: Sequence[Curve], label: str, every: int | None
) -> list[Line2D]:
    """Draw curves with their bands; shorter runs have paler colours. Return legend entries that explain the colours."""
    from matplotlib.lines import Line2D

    axis = content.counted[0]
    divisor = time_axis(axes, axis, [value for curve in every_curve for value in curve.places[axis][-1:]])
    ratios = sorted({curve.ssr for curve in every_curve})
    shades = {ssr: _PALEST + (1 - _PALEST) * rank / max(1, len(ratios) - 1) for rank, ssr in enumerate(ratios)}
    shades[ratios[-1]] = 1.0
    looks = _looks(content)
    for curve in curves:
        look = looks[curve.recipe, curve.control]
        x = np.array(curve.places[axis]) / divisor
        line: dict[str, Any] = {"linestyle": look["linestyle"], "linewidth": 1.1}
        if curve.dots:
            line = {"linestyle": "none", "marker": ".", "markersize": 2.5, "markeredgewidth": 0}
        elif len(curve.values) == 1:
            line |= {"marker": look["marker"], "markersize": 4.0}
        axes.plot(x, curve.values, color=look["color"], alpha=shades[curve.ssr], **line)
        if curve.low and np.isfinite(curve.low).any():
            band = _BAND * shades[curve.ssr]
            axes.fill_between(x, curve.low, curve.high, color=look["color"], alpha=band, linewidth=0)
    axes.set_xlim(left=0)
    axes.set_ylabel(label)
    if any(curve.dots for curve in curves) or label == "Learning rate":
        axes.set_ylim(bottom=0)
    if every is not None:
        axes.set_xlabel(f"{axes.get_xlabel()}; dots: logged every {every:,} steps")
    if len(ratios) < 2:
        return []
    legend_ssrs = [ratios[place] for place in spread_out(len(ratios), _MOST_SHADES)]
    return [Line2D([], [], color="black", alpha=shades[ssr], linewidth=2, label=f"SSR {ssr:g}") for ssr in legend_ssrs]
