"""The figure of a preview, with the size and style of figures in papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssr_hydra.drawing import HUES, LINE_WIDTH, check_math, clock_unit, empty_figure, mixed, style
from ssr_hydra.errors import MismatchError, MissingValueError, RangeError, UnknownNameError
from ssr_hydra.previews.schedule_curves import PreviewCurve
from ssr_hydra.time import TimeUnit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

AXES = ("alpha", "lr")
"""The quantities that the vertical axis can show."""

# All in inches.
_HEIGHT = 3.1  # includes _ONE_LINE of the legend
_ONE_LINE = 0.2
_BETWEEN = 0.09  # between the two lines of the legend: schedules and ratios
_ABOVE_AXES = 0.13  # between the axes and the legend
_TITLE = 0.25  # added to the height by a title

_STYLES = ("-", (0, (5, 2)), (0, (1.2, 1.6)))
# Colours for the ratios of one schedule, from dark to light: matplotlib's viridis without its yellow end.
_RAMP = ("#440154", "#3B528B", "#21918C", "#5EC962")
_PALEST = 0.6  # the colour of the lightest ratio is mixed with this fraction of white
_MULTIPLES = ((1e12, 1e12, "trillion "), (1e9, 1e9, "billion "), (1e6, 1e6, "million "), (1e5, 1e3, "thousand "))


def figure(curves: Sequence[PreviewCurve], *, axis: str, normalize: bool = False, title: str | None = None) -> Figure:
    """Draw the curves in one pair of axes, with a legend above the axes; see :meth:`.Preview.figure`."""
    _check(curves, axis, normalize)
    check_math("title", title or "")
    for curve in curves:
        check_math("schedulers", curve.name)
    with style():
        fig = empty_figure(_HEIGHT)
        axes = fig.add_subplot()
        draw(axes, curves, axis=axis, normalize=normalize)
        if title is not None:
            fig.suptitle(title)
        if len(curves) > 1:
            _legend(axes, curves)
        if title is not None:
            fig.set_figheight(fig.get_figheight() + _TITLE)
    return fig


def _check(curves: Sequence[PreviewCurve], axis: str, normalize: bool) -> None:
    if axis not in AXES:
        raise UnknownNameError("axis", axis, f"must be one of {', '.join(AXES)}", "write axis='alpha'")
    for curve in curves:
        if axis == "lr" and curve.lr is None:
            rule = f"needs the learning rate of {curve.name!r}, which is unknown"
            raise MissingValueError("axis", axis, rule, "pass lr, or choose axis='alpha'")
        if not math.isfinite(_height(curve, axis) * max(curve.alphas)):
            rule = f"the values of {curve.name!r} are larger than any float"
            raise RangeError("axis", axis, rule, "choose a smaller lr or gamma")
    units = dict.fromkeys(curve.unit for curve in curves)
    if len(units) > 1 and not normalize:
        rule = f"cannot show runs in {' and '.join(map(str, units))} on one axis"
        raise MismatchError("max_duration", str(curves[-1].max_duration), rule, "set normalize, or use one unit")


def _height(curve: PreviewCurve, axis: str) -> float:
    """Return the value on the vertical axis that corresponds to an alpha of 1."""
    return 1.0 if axis == "alpha" or curve.lr is None else curve.lr


def draw(axes: Axes, curves: Sequence[PreviewCurve], *, axis: str = "alpha", normalize: bool = False) -> None:
    """Draw curves, with a dot at the end of each run, into the caller's axes; see :meth:`.Preview.figure`."""
    from matplotlib.ticker import MaxNLocator

    divisor, time_label = (1.0, "Share of the run") if normalize else _time_axis(curves)
    heights = [_height(curve, axis) for curve in curves]
    unit, value_label = _value_axis(curves, heights, axis)
    _, ratios = _names_and_ratios(curves)
    top, right = 0.0, 0.0
    for curve, (colour, dashes), height in zip(curves, _looks(curves), heights, strict=True):
        scale = float(curve.max_duration) if normalize else divisor
        xs = [time / scale for time in curve.times]
        ys = [alpha * height / unit for alpha in curve.alphas]
        order = 3 + 1 / (1 + float(curve.max_duration))  # draw shorter runs on top
        width = LINE_WIDTH
        if normalize and len(ratios) > 1:  # curves may be equal, so use different widths to show all curves
            width *= 1 + ratios.index(curve.ssr) / (len(ratios) - 1)
        axes.plot(xs, ys, color=colour, linestyle=dashes, linewidth=width, clip_on=False, zorder=order)
        axes.plot(xs[-1], ys[-1], "o", color=colour, markersize=3.6, clip_on=False, zorder=order)
        top, right = max(top, *ys), max(right, xs[-1])
    axes.set_xlim(0, right)
    axes.set_ylim(0, top or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    for side in ("left", "bottom"):
        axes.spines[side].set_position(("outward", 5))
    axes.set_xlabel(time_label)
    axes.set_ylabel(value_label)


def _value_axis(curves: Sequence[PreviewCurve], heights: Sequence[float], axis: str) -> tuple[float, str]:
    name = "Learning rate" if axis == "lr" else r"Multiplier $\alpha$"
    top = max(max(curve.alphas) * height for curve, height in zip(curves, heights, strict=True))
    exponent = math.floor(math.log10(top)) if top > 0 else 0
    if -2 <= exponent <= 3:
        return 1.0, name
    return 10.0**exponent, rf"{name} ($\times 10^{{{exponent}}}$)"


def _time_axis(curves: Sequence[PreviewCurve]) -> tuple[float, str]:
    unit = curves[0].unit
    longest = max(float(curve.max_duration) for curve in curves)
    if unit is TimeUnit.SECOND:
        divisor, name = clock_unit(longest)
    else:
        divisor, multiple = next(((size, word) for least, size, word in _MULTIPLES if longest >= least), (1.0, ""))
        name = f"{multiple}{'batches' if unit is TimeUnit.BATCH else f'{unit.name.lower()}s'}"
    return divisor, f"Training time ({name})"


def _names_and_ratios(curves: Sequence[PreviewCurve]) -> tuple[list[str], list[float]]:
    return list(dict.fromkeys(curve.name for curve in curves)), sorted({curve.ssr for curve in curves})


def _looks(curves: Sequence[PreviewCurve]) -> list[tuple[str, Any]]:
    """Return the colour and line style of each curve. Each schedule has a hue, and each SSR has a lightness."""
    names, ratios = _names_and_ratios(curves)
    looks = []
    for curve in curves:
        hue, dashes = _look_of_schedule(names.index(curve.name))
        looks.append((_colour(None if len(names) == 1 else hue, ratios.index(curve.ssr), len(ratios)), dashes))
    return looks


def _look_of_schedule(place: int) -> tuple[str, Any]:
    return HUES[place % len(HUES)], _STYLES[place // len(HUES) % len(_STYLES)]


def _colour(hue: str | None, rank: int, count: int) -> Any:
    """Return the colour of a curve: a shade of ``hue``, or a colour of ``_RAMP``. Longer runs have darker colours."""
    pale = 0.0 if count == 1 else (count - 1 - rank) / (count - 1)
    if hue is not None:
        return mixed(hue, "white", _PALEST * pale)
    if count == 1:
        return HUES[0]
    place = pale * (len(_RAMP) - 1)
    low = min(int(place), len(_RAMP) - 2)
    return mixed(_RAMP[low], _RAMP[low + 1], place - low)


def _legend(axes: Axes, curves: Sequence[PreviewCurve]) -> None:
    """Draw the legend above the axes: schedules on the left, SSRs on the right, or in two lines if space is short."""
    names, ratios = _names_and_ratios(curves)
    schedules = [(name, *_look_of_schedule(place)) for place, name in enumerate(names)]
    hue = None if len(names) == 1 else "#333333"
    shades = [(f"SSR {ratio:g}", _colour(hue, rank, len(ratios)), "-") for rank, ratio in enumerate(ratios)]
    figure: Any = axes.figure
    figure.draw_without_rendering()  # this call computes the width of the axes
    room = axes.bbox.width
    left, right = (_legend_row(axes, row, room) if len(row) > 1 else None for row in (schedules, shades))
    (width, grown), (right_width, right_height) = _size(left), _size(right)
    between = _BETWEEN * figure.dpi
    if left is not None and right is not None and width + right_width + between > room:
        left.set_bbox_to_anchor((0.0, 1.0), transform=_above(axes, right_height + between))
        grown += right_height + between
    else:
        grown = max(grown, right_height)
        if left is not None and right is not None:
            right.set_loc("lower right")
            right.set_bbox_to_anchor((1.0, 1.0), transform=_above(axes, 0.0))
    figure.set_figheight(_HEIGHT + max(0.0, grown / figure.dpi - _ONE_LINE))


def _legend_row(axes: Axes, entries: Sequence[tuple[str, str, Any]], room: float) -> Legend:
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, linestyle=dashes) for _, colour, dashes in entries]
    for columns in range(min(len(entries), 6), 0, -1):
        legend = Legend(
            axes, handles, [label for label, _, _ in entries], loc="lower left", bbox_to_anchor=(0.0, 1.0),
            bbox_transform=_above(axes, 0.0), borderaxespad=0.0, borderpad=0.0, ncols=columns, frameon=False,
            handlelength=1.5, handletextpad=0.6, columnspacing=1.4,
        )  # fmt: skip
        axes.add_artist(legend)
        legend.set_clip_on(False)  # the layout reserves room outside of the axes only for artists that are not clipped
        if _size(legend)[0] <= room:
            break
        if columns > 1:
            legend.remove()
    return legend


def _above(axes: Axes, height: float) -> Any:
    """Return the axes' transform, shifted up by ``height`` pixels plus a gap."""
    from matplotlib.transforms import ScaledTranslation

    figure: Any = axes.figure
    return axes.transAxes + ScaledTranslation(0, height / figure.dpi + _ABOVE_AXES, figure.dpi_scale_trans)


def _size(legend: Legend | None) -> tuple[float, float]:
    if legend is None:
        return 0.0, 0.0
    box = legend.get_window_extent()
    return box.width, box.height
