"""Quality against time: the Pareto set, and comparisons at equal quality or equal time.

Between two measured SSRs, quality is interpolated by :meth:`ssr_hydra.studies.study.Series.weights`, and log time is
linear in log ssr. Nothing is extrapolated beyond the measured range. Intervals contain the noise of the quality over
seeds. Intervals of speed-ups also contain the noise of the training times.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from ssr_hydra.settings.base import positive
from ssr_hydra.studies.compare import Place, rivals
from ssr_hydra.studies.intervals import (
    VERDICT,
    Cell,
    Estimate,
    band,
    check_confidence,
    combine,
    dunnett,
    first_at_least,
)
from ssr_hydra.studies.study import Axis, Series, Study, check_axis, find_series

_GRID = 65  # number of points of a band between two measured SSRs; results are interpolated between these points


def pareto(
    study: Study, axis: Axis = "seconds", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """Return all points, and whether each point is on the frontier of quality against time (the Pareto set).

    A point is a recipe (or a control of a recipe) at an SSR. It is on the frontier if it is better than each of its
    rivals: the other points that take the same or less time. Each point is compared with its best rival. The best of
    many means is often too good by chance, so this comparison is corrected for the number of rivals: the 99% confidence
    holds for all rivals together. A recipe is fragile if its fraction of diverged runs is significantly larger than the
    smallest such fraction of any recipe. A point of a fragile recipe is a rival only of points of fragile recipes.

    Args:
        study: The study.
        axis: The axis of time or cost: ``seconds``, ``steps``, ``samples``, ``tokens``, ``cost`` or ``ssr``.
        confidence: Confidence of the intervals.
        price_per_hour: The price of an hour, for the axis ``cost``.

    Returns:
        A row per recipe x control x ssr, by ascending x, with these columns:

        - recipe, control, ssr, n
        - x: the position on the axis
        - mean, low, high: the mean quality and the ends of its interval
        - status: ``frontier`` (better than all rivals with 99% confidence), ``dominated`` (worse than the best rival
          with 99% confidence), or ``within_noise`` (undecided). If the noise is unknown: ``frontier`` if the mean is
          better than the means of all rivals, otherwise ``unreplicated``.
        - by_recipe, by_control, by_ssr: the best rival; ``""`` and NaN for a point on the frontier
        - loss: how much better the mean of the best rival is than the mean of the row's point (< 0 if the row's point
          is better); NaN for a point on the frontier
        - loss_low, loss_high: the ends of the interval of the loss

    Raises:
        InputError: The study has no numbers for the axis.

    Source: Dunnett, 1955, for the critical value.
    """
    check_confidence(confidence)
    check_axis(study, axis, price_per_hour)
    points = [
        (float(x), series, float(ssr), cell)
        for series in study.series
        for x, ssr, cell in zip(series.axis(axis, price_per_hour), series.ssr, series.cells, strict=True)
    ]
    points.sort(key=lambda point: (point[0], -point[3].mean))
    rows = []
    bests: dict[bool, tuple[float, Series, float, Cell]] = {}  # the key is True for fragile recipes
    counts = {False: 0, True: 0}
    for point in points:
        x, series, ssr, cell = point
        own = combine([cell], [1.0], confidence)
        row = [series.recipe, series.control, ssr, cell.n, x, study.sign * own.value, *study.interval(own)]
        rivals_before = sum(count for fragile, count in counts.items() if fragile <= series.fragile)
        counts[series.fragile] += 1
        better = [item for fragile, item in bests.items() if fragile <= series.fragile]
        best = max(better, key=lambda item: item[3].mean, default=None)
        if series.fragile not in bests or own.value > bests[series.fragile][3].mean:
            bests[series.fragile] = point
        row += ["frontier", "", "", *[math.nan] * 4]
        # If a point has the same quality and the same time as the best earlier point, both points are on the frontier.
        if best is not None and (own.value != best[3].mean or x != best[0]):
            loss = combine([best[3], cell], [1.0, -1.0], confidence)
            status = _frontier_status(loss, rivals_before)
            if status != "frontier":
                row[8:] = [status, best[1].recipe, best[1].control, best[2], loss.value, loss.low, loss.high]
        rows.append(row)
    columns = ["recipe", "control", "ssr", "n", "x", "mean", "low", "high", "status"]
    columns += ["by_recipe", "by_control", "by_ssr", "loss", "loss_low", "loss_high"]
    return pd.DataFrame(rows, columns=columns)


def _frontier_status(loss: Estimate, count: int) -> str:
    """Return the status of a point with ``count`` rivals. ``loss`` is the best rival's advantage over the point."""
    if not loss.known:
        return "frontier" if loss.value < 0 else "unreplicated"
    half = dunnett(round(loss.df, 1), count, 0.5 + max(VERDICT, loss.confidence) / 2) * loss.error
    return "dominated" if loss.value > half else "frontier" if loss.value < -half else "within_noise"


def quality_at(
    study: Study, at: float, axis: Axis = "seconds", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """Return the quality of each recipe at the same budget, interpolated in log ssr between measured SSRs.

    Args:
        study: The study.
        at: The budget, in units of the axis.
        axis: The axis of time or cost.
        confidence: Confidence of the intervals.
        price_per_hour: The price of an hour, for the axis ``cost``.

    Returns:
        A row per recipe x control, with these columns:

        - recipe, control
        - at: the budget
        - ssr: the SSR that takes this budget
        - quality, low, high, n: the quality at this SSR, the ends of its interval, and the number of runs
        - status: ``inside``; ``below`` or ``above`` if the budget is outside of the measured range (then ssr and
          quality are NaN)
        - standing: ``best`` (the best recipe, as in :func:`ssr_hydra.studies.winners`), ``open`` (it may be as good as
          the best recipe), or ``behind`` (it is worse); ``""`` for a control, or if there is nothing to compare
        - loss, loss_low, loss_high: how much better the best mean is than the row's mean, and the ends of the interval

    Raises:
        InputError: The study has no numbers for the axis, or the budget is not above 0.
    """
    check_confidence(confidence)
    check_axis(study, axis, price_per_hour)
    positive(at, "at", f"write a number of {axis}")
    rows: list[Any] = []
    places = places_at(study.series, at, axis, price_per_hour)
    standing = _standing(
        [place for place, series in zip(places, study.series, strict=True) if not series.control], confidence
    )
    for place, series in zip(places, study.series, strict=True):
        if isinstance(place, str):
            rows.append((series.recipe, series.control, at, *[math.nan] * 4, 0, place, *_NOTHING))
            continue
        value = combine(place.cells, place.weights, confidence)
        ends = study.interval(value)
        row = (series.recipe, series.control, at, place.ssr, study.sign * value.value, *ends, value.n, "inside")
        rows.append((*row, *(_NOTHING if series.control else standing.get(series.recipe, _NOTHING))))
    columns = ["recipe", "control", "at", "ssr", "quality", "low", "high", "n", "status"]
    return pd.DataFrame(rows, columns=[*columns, "standing", "loss", "loss_low", "loss_high"])


_NOTHING = ("", math.nan, math.nan, math.nan)


def _standing(outcomes: list[Place | str], confidence: float) -> dict[str, tuple[str, float, float, float]]:
    places = sorted((place for place in outcomes if isinstance(place, Place)), key=lambda place: place.rank)
    if len(places) < 2:
        return {}
    standings = {places[0].recipe: ("best", math.nan, math.nan, math.nan)}
    for rival in rivals(places[0], places[1:], confidence):
        standings[rival.recipe] = ("open" if rival.open else "behind", rival.margin, rival.low, rival.high)
    return standings


def places_at(
    all_series: Iterable[Series], at: float, axis: Axis, price_per_hour: float | None = None
) -> list[Place | Literal["below", "above"]]:
    """For each series, return the SSR at which a run uses the whole budget, with the cells that give its quality.

    If the budget is outside the measured range of a series, the result for this series is ``below`` or ``above``.
    """
    places: list[Place | Literal["below", "above"]] = []
    for series in all_series:
        x = np.log(series.axis(axis, price_per_hour))
        # A mean of equal numbers may differ from these numbers by rounding, so allow a difference of 1e-12.
        log = first_at_least(np.log(series.ssr), x, math.log(at) - 1e-12)
        if math.log(at) < x[0] - 1e-12 or math.isnan(log):
            places.append("below" if math.log(at) < x[0] else "above")
            continue
        ssr = min(max(_ssr(series, log), float(series.ssr[0])), float(series.ssr[-1]))
        cells, weights = series.weights(ssr)
        places.append(Place(series.recipe, ssr, tuple(cells), tuple(weights), series.fragile))
    return places


def reach(series: Series, level: Cell | float, confidence: float) -> tuple[float, float, float]:
    """Return the first ssr at which a recipe reaches a quality (the level), and the interval of this ssr.

    At each SSR, ``curve(ssr) - level`` has an interval. The intervals of all SSRs form a band. The lower end of the
    result is the SSR at which the top of the band reaches 0; the upper end is the SSR at which the bottom reaches 0.
    The band contains the noise of the curve and of the level, and the correlation of runs with equal seeds. This
    method inverts a t test, as Fieller's interval of a ratio does. Between two measured SSRs, the errors of both means
    may cancel by chance, which makes the band too narrow. So the bottom must still be at least 0 at the next *measured*
    SSR. Otherwise it is not certain that the recipe reaches the level there.

    Returns:
        The first SSR at which the mean reaches the level; the lower and the upper end of its interval. An SSR is NaN if
        the level is not reached in the measured range. Both ends are NaN if the noise is unknown.

    Source: Fieller, 1954, Some problems in interval estimation.
    """
    x, means, low, high = _band(series, level, confidence)
    value, upper = (first_at_least(x, y) for y in (means, high))
    lower = _surely(x, low)
    if np.isnan(low).any() or math.isnan(upper):  # without the whole band, the ends are unknown
        upper = lower = math.nan
    return _ssr(series, value), _ssr(series, upper), _ssr(series, lower)


def _surely(x: Any, low: Any) -> float:
    """Return the last x at which ``low`` rises to 0 before the first measured SSR with ``low`` >= 0; NaN if none."""
    if low[0] >= 0:
        return float(x[0])
    for end in range(_GRID - 1, len(x), _GRID):
        if low[end] >= 0:
            below = end - int(np.argmax(low[end::-1] < 0))
            return first_at_least(x[below : end + 1], low[below : end + 1])
    return math.nan


def _ssr(series: Series, log: float) -> float:
    """Return an SSR from its logarithm. If it is a measured SSR, avoid rounding errors: exp(log(0.1)) is not 0.1."""
    if math.isnan(log):
        return math.nan
    nearest = float(series.ssr[np.argmin(np.abs(np.log(series.ssr) - log))])
    return nearest if math.isclose(math.log(nearest), log, abs_tol=1e-12) else math.exp(log)


def _band(series: Series, minus: Cell | float, confidence: float) -> Any:
    """Return log SSRs on a grid, and ``curve - minus`` at each of them, with the ends of its interval."""
    shift = 0.0 if isinstance(minus, Cell) else minus
    parts = []
    logs = np.log(series.ssr)
    for index in range(max(len(logs) - 1, 1)):
        grid = np.linspace(logs[index], logs[index + 1], _GRID) if len(logs) > 1 else logs
        weights = series.matrix(grid, index)
        used = np.flatnonzero(weights.any(axis=1))
        cells, weights = [series.cells[place] for place in used], weights[used]
        if isinstance(minus, Cell):
            cells, weights = [*cells, minus], np.vstack([weights, np.full(len(grid), -1.0)])
        estimate = band(cells, weights, confidence)
        parts.append([grid, estimate.value - shift, estimate.low - shift, estimate.high - shift])
    return np.concatenate(parts, axis=1)


def speedup(
    study: Study,
    reference: str | tuple[str, str],
    axis: Axis = "seconds",
    confidence: float = 0.95,
    price_per_hour: float | None = None,
    ssrs: Collection[float] | None = None,
) -> pd.DataFrame:
    """Return how many times faster than a reference each other recipe reaches the quality of the reference.

    The interval of a speed-up contains the noise of the quality: its ends are computed from the interval of the SSR
    that :func:`reach` returns. If the axis is ``seconds`` or ``cost``, the interval also contains the noise of the
    clock: the scatter of log seconds over the seeds, pooled over the study. The MOVER rule combines both kinds of noise
    on a log scale: the distance of each end from the estimate is the root of the sum of both squared distances.

    Args:
        study: The study.
        reference: A recipe, or (recipe, control).
        axis: The axis of time or cost.
        confidence: Confidence of the intervals.
        price_per_hour: The price of an hour, for the axis ``cost``.
        ssrs: The SSRs of the reference; None means all its measured SSRs.

    Returns:
        A row for each other recipe x control and each ssr of the reference, with these columns:

        - recipe, control
        - ssr, quality, reference_x: an ssr of the reference, and the quality and the time of the reference at this ssr
        - reached_ssr, x: the first ssr at which the other recipe has this quality, and the time of the other recipe
        - speedup: ``reference_x / x``
        - low, high: the ends of the interval; 0 or infinity for an end outside of the measured range; NaN if there is
          no interval
        - status: ``inside``; ``at_least`` (the smallest ssr of the other recipe already has this quality, so the
          speed-up is at least this number); or ``never`` (the other recipe does not reach this quality in its measured
          range, and x and speedup are NaN)

    Raises:
        InputError: The reference does not exist, or the study has no numbers for the axis.

    Source: Zou and Donner, 2008, Construction of confidence limits about effect measures (MOVER).
    """
    check_confidence(confidence)
    check_axis(study, axis, price_per_hour)
    clock = _clock(study, confidence) if axis in ("seconds", "cost") else 0.0
    base = find_series(study, reference, "reference")
    rows: list[Any] = []
    for series in study.series:
        if series is base:
            continue
        logs, x = np.log(series.ssr), np.log(series.axis(axis, price_per_hour))

        def taken(ssr: float, logs: Any = logs, x: Any = x) -> float:
            return float(np.exp(np.interp(math.log(ssr), logs, x)))

        for ssr, paid, cell in zip(base.ssr, base.axis(axis, price_per_hour), base.cells, strict=True):
            if ssrs is not None and ssr not in ssrs:
                continue
            reached, first, last = reach(series, cell, confidence)
            status = "never" if math.isnan(reached) else "inside" if reached > series.ssr[0] else "at_least"
            spent = math.nan if status == "never" else taken(reached)
            low = high = math.nan
            if not math.isnan(first):
                high = math.inf if first <= series.ssr[0] else paid / taken(first)
                low = 0.0 if math.isnan(last) else paid / taken(last)
                # For a mean that is interpolated between two cells, use the number of runs of the cell with fewer runs.
                runs = [cell.n, *(each.n for each in series.weights(reached)[0])] if status != "never" else [cell.n]
                low, high = _widened(paid / spent, low, high, clock * math.sqrt(1 / cell.n + 1 / min(runs)))
            quality = study.sign * cell.mean
            row = (series.recipe, series.control, float(ssr), quality, float(paid), reached, spent)
            rows.append((*row, paid / spent, low, high, status))
    columns = ["recipe", "control", "ssr", "quality", "reference_x", "reached_ssr", "x", "speedup", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "status"])


def _clock(study: Study, confidence: float) -> float:
    """Return the half-width of the t interval of one run's log seconds; 0 if its noise is unknown."""
    runs = study.completed
    logs = np.log(runs["seconds"].to_numpy(dtype=float))
    cells = pd.Series(logs).groupby([runs[name].to_numpy() for name in ("recipe", "control", "ssr")])
    free = len(logs) - cells.ngroups
    if free == 0:
        return 0.0
    scatter = math.sqrt(float(((logs - cells.transform("mean")) ** 2).sum()) / free)
    return float(special.stdtrit(free, 0.5 + confidence / 2)) * scatter


def _widened(value: float, low: float, high: float, half: float) -> tuple[float, float]:
    """Widen the interval of a ratio by the error ``half`` of its logarithm. An end that is 0 or infinite stays."""
    if math.isnan(value):  # the mean never reaches the quality, so only the upper end of the speed-up is known
        return low, high * math.exp(half)
    down = math.hypot(math.log(value / low), half) if low > 0 else math.inf
    up = math.hypot(math.log(high / value), half) if high < math.inf else math.inf
    return value * math.exp(-down), value * math.exp(up)
