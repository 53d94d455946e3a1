"""Quality against time: the Pareto set, equal quality, equal time, crossings.

Between two measured SSRs, quality is the mean of the two parabolas in log ssr through the nearest three (at an end of
the range the cubic through the nearest four), and log time is linear in log ssr. There are no values outside of the
measured range. Intervals contain the quality's noise over seeds; time is its mean. Intervals of speed-ups also contain
the clock's noise.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, special

from ssr_hydra.errors import InputError
from ssr_hydra.studies.compare import Place, difference, rivals, winners
from ssr_hydra.studies.intervals import (
    VERDICT,
    Band,
    Cell,
    Estimate,
    band,
    check_confidence,
    combine,
    dunnett,
    first_at_least,
)
from ssr_hydra.studies.study import Axis, Series, Study, check_axis, find_series, uncontrolled

__all__ = ["crossings", "pareto", "places_at", "quality_at", "reach", "speedup"]

_GRID = 65  # points of a band between two measured SSRs; its ends are interpolated between them

_WIDEST = 4.0  # larger factor between two measured SSRs: curves are not compared there
_MOST_PAIRED = 20  # recipes that are compared in all pairs


def pareto(
    study: Study,
    axis: Axis = "seconds",
    confidence: float = 0.95,
    price_per_hour: float | None = None,
) -> pd.DataFrame:
    """Return the Pareto set: points that are certainly better than all that take no longer.

    A recipe whose runs diverge more often than others never beats one whose runs do not. Each point is compared with
    all points that take no longer together, at 99%, because the one that looks best of them was selected, and by
    chance one always looks best.

    Args:
        study: The study.
        axis: The price: ``seconds``, ``steps``, ``samples``, ``tokens``, ``cost`` or ``ssr``.
        confidence: Confidence of the intervals.
        price_per_hour: For ``cost``.

    Returns:
        A row per recipe x control x ssr, by ascending x: recipe, control, ssr, n, x, mean, low, high, status
        (``frontier``: better than each that takes no longer; ``dominated``: one of them is better; ``within_noise``:
        not better than one of them beyond noise; ``unreplicated``: behind one of them, without an interval), by_recipe,
        by_control, by_ssr (the best of them; ``""`` and NaN on the frontier), loss (how far it is behind that one; < 0:
        ahead), loss_low, loss_high. Without an interval a point that is ahead is on the frontier.

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
    bests: dict[bool, tuple[float, Series, float, Cell]] = {}  # by whether runs of the recipe diverge more often
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
        if best is None or (own.value == best[3].mean and x == best[0]):  # as good, at the same time
            rows.append([*row, "frontier", "", "", math.nan, math.nan, math.nan, math.nan])
            continue
        loss = combine([best[3], cell], [1.0, -1.0], confidence)
        status = _status(loss, rivals_before)
        if status == "frontier":
            rows.append([*row, status, "", "", math.nan, math.nan, math.nan, math.nan])
        else:
            rows.append([*row, status, best[1].recipe, best[1].control, best[2], loss.value, loss.low, loss.high])
    columns = ["recipe", "control", "ssr", "n", "x", "mean", "low", "high", "status"]
    columns += ["by_recipe", "by_control", "by_ssr", "loss", "loss_low", "loss_high"]
    return pd.DataFrame(rows, columns=columns)


def _status(loss: Estimate, count: int) -> str:
    """Return the status of a point that is behind the best of so many by this much."""
    if not loss.known:
        return "frontier" if loss.value < 0 else "unreplicated"
    half = dunnett(round(loss.df, 1), count, 0.5 + max(VERDICT, loss.confidence) / 2) * loss.error
    return "dominated" if loss.value > half else "frontier" if loss.value < -half else "within_noise"


def quality_at(
    study: Study,
    at: float,
    axis: Axis = "seconds",
    confidence: float = 0.95,
    price_per_hour: float | None = None,
) -> pd.DataFrame:
    """Return quality at an equal budget, interpolated in log ssr between the measured SSRs around it.

    Args:
        study: The study.
        at: The budget, in units of the axis.
        axis: The price.
        confidence: Confidence of the intervals.
        price_per_hour: For ``cost``.

    Returns:
        A row per recipe x control: recipe, control, at, ssr (that takes this budget), quality, low, high, n, status
        (``inside``; ``below`` or ``above`` the measured range, where ssr and quality are NaN), standing (of recipes,
        without controls: ``best`` by its mean, of those whose runs survive; ``open``: it may be as good; ``behind``;
        ``""`` if there is nothing to compare), loss (how far behind the best; > 0), loss_low, loss_high.

    Raises:
        InputError: The study has no numbers for the axis, or the budget is not above 0.
    """
    check_confidence(confidence)
    check_axis(study, axis, price_per_hour)
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 < at < math.inf:
        raise InputError("at", at, "must be a finite number above 0", f"write a number of {axis}")
    rows: list[Any] = []
    found = places_at(study.series, at, axis, price_per_hour)
    standing = _standing(
        [place for place, series in zip(found, study.series, strict=True) if not series.control], confidence
    )
    for place, series in zip(found, study.series, strict=True):
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


def _standing(found: list[Place | str], confidence: float) -> dict[str, tuple[str, float, float, float]]:
    places = sorted((place for place in found if isinstance(place, Place)), key=lambda place: place.rank)
    if len(places) < 2:
        return {}
    made = {places[0].recipe: ("best", math.nan, math.nan, math.nan)}
    for rival in rivals(places[0], places[1:], confidence):
        made[rival.recipe] = ("open" if rival.open else "behind", rival.margin, rival.low, rival.high)
    return made


def places_at(
    found: Iterable[Series], at: float, axis: Axis, price_per_hour: float | None = None
) -> list[Place | Literal["below", "above"]]:
    """Return where each series spends a budget, or whether that is below or above its measured range."""
    made: list[Place | Literal["below", "above"]] = []
    for series in found:
        x = np.log(series.axis(axis, price_per_hour))
        # A mean of equal numbers may differ from them by rounding.
        log = first_at_least(np.log(series.ssr), x, math.log(at) - 1e-12)
        if math.log(at) < x[0] - 1e-12 or math.isnan(log):
            made.append("below" if math.log(at) < x[0] else "above")
            continue
        ssr = min(max(_ssr(series, log), float(series.ssr[0])), float(series.ssr[-1]))
        cells, weights = series.weights(ssr)
        made.append(Place(series.recipe, ssr, tuple(cells), tuple(weights), series.fragile))
    return made


def reach(series: Series, level: Cell | float, confidence: float) -> tuple[float, float, float]:
    """Return the first ssr at which a curve reaches a level, and its interval: where the ends of the curve's band do.

    The band is that of ``curve(ssr) - level``, so it contains the noise of both, and what they have in common by seed:
    the inversion of a t test, like Fieller's interval of a ratio. Between two measured SSRs the noise of their seeds
    may cancel by chance, which makes the band very thin there. So the level is certainly reached only before a
    *measured* SSR at which the lower end is above it.

    Args:
        series: The curve, with a sign such that more is better.
        level: Another cell, or a number with the same sign.
        confidence: Confidence of the interval.

    Returns:
        The ssr, NaN if the mean never reaches the level; the first ssr at which the upper end of the band does, NaN if
        it never does; the last at which the lower end does not, before the first measured SSR at which it does, NaN
        if there is none; both NaN without a band.

    Source: Fieller, 1954, Some problems in interval estimation.
    """
    x, made = _band(series, level, confidence)
    value, upper = (first_at_least(x, y) for y in (made.value, made.high))
    lower = _surely(x, made.low)
    if np.isnan(made.low).any() or math.isnan(upper):  # if a part of the band is missing, its first crossing is unknown
        upper = lower = math.nan
    return _ssr(series, value), _ssr(series, upper), _ssr(series, lower)


def _surely(x: Any, low: Any) -> float:
    """Return where the lower end of a band stays above 0 up to the first measured SSR where it is; NaN if nowhere."""
    if low[0] >= 0:
        return float(x[0])
    for end in range(_GRID - 1, len(x), _GRID):
        if low[end] >= 0:
            below = end - int(np.argmax(low[end::-1] < 0))
            return first_at_least(x[below : end + 1], low[below : end + 1])
    return math.nan


def _ssr(series: Series, log: float) -> float:
    """Return an SSR from its logarithm, a measured one exactly: exp(log(0.1)) is not 0.1."""
    if math.isnan(log):
        return math.nan
    nearest = float(series.ssr[np.argmin(np.abs(np.log(series.ssr) - log))])
    return nearest if math.isclose(math.log(nearest), log, abs_tol=1e-12) else math.exp(log)


def _band(series: Series, minus: Cell | float, confidence: float) -> tuple[Any, Band]:
    """Return log ssr, and the band of a curve minus a level over it."""
    shift = 0.0 if isinstance(minus, Cell) else minus
    parts = []
    xs = []
    logs = np.log(series.ssr)
    ends = range(max(len(series.cells) - 1, 1))
    for index in ends:
        grid = np.linspace(logs[index], logs[index + 1], _GRID) if len(logs) > 1 else logs[:1]
        weights = series.matrix(grid, index) if len(logs) > 1 else np.ones((1, 1))
        used = np.flatnonzero(weights.any(axis=1))
        cells, weights = [series.cells[place] for place in used], weights[used]
        if isinstance(minus, Cell):
            cells, weights = [*cells, minus], np.vstack([weights, np.full(len(grid), -1.0)])
        parts.append(band(cells, weights, confidence))
        xs.append(grid)
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in ("value", "error", "df", "sd")
    }
    low, high = (np.concatenate([getattr(part, name) for part in parts]) - shift for name in ("low", "high"))
    joined["value"] = joined["value"] - shift
    return np.concatenate(xs), Band(**joined, low=low, high=high, n=parts[0].n, method=parts[0].method)


def speedup(
    study: Study,
    reference: str | tuple[str, str],
    axis: Axis = "seconds",
    confidence: float = 0.95,
    price_per_hour: float | None = None,
    ssrs: Collection[float] | None = None,
) -> pd.DataFrame:
    """Return how much sooner others reach the quality of a reference: its time divided by theirs.

    The interval contains the noise of the quality, by :func:`reach`, and if time is on a clock, that of the clock: the
    scatter of log seconds over the seeds, pooled over the study. Both are combined in logarithms by the MOVER rule:
    each side's distances from the estimate add as squares.

    Args:
        study: The study.
        reference: A recipe, or (recipe, control).
        axis: The price.
        confidence: Confidence of the intervals.
        price_per_hour: For ``cost``.
        ssrs: SSRs of the reference; None for all that it has measured.

    Returns:
        A row per other recipe x control and ssr of the reference: recipe, control, ssr, quality (of the reference
        there), reference_x, reached_ssr (the other's first ssr of this quality), x, speedup (``reference_x / x``), low,
        high (0 and inf if the interval leaves the measured range; NaN without one), status (``inside``; ``at_least``:
        the other's smallest ssr is already as good, and the speed-up is at least this one; ``never``: not within its
        measured range, and x and speedup are NaN).

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
                # The mean of a cell between two measured ones has at least as many runs as the smaller one.
                runs = [cell.n, *(each.n for each in series.weights(reached)[0])] if status != "never" else [cell.n]
                low, high = _widened(paid / spent, low, high, clock * math.sqrt(1 / cell.n + 1 / min(runs)))
            quality = study.sign * cell.mean
            row = (series.recipe, series.control, float(ssr), quality, float(paid), reached, spent)
            rows.append((*row, paid / spent, low, high, status))
    columns = ["recipe", "control", "ssr", "quality", "reference_x", "reached_ssr", "x", "speedup", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "status"])


def _clock(study: Study, confidence: float) -> float:
    """Return half the width of the interval of one run's log seconds: t times their scatter within cells, pooled."""
    runs = study.completed
    logs = np.log(runs["seconds"].to_numpy(dtype=float))
    cells = pd.Series(logs).groupby([runs[name].to_numpy() for name in ("recipe", "control", "ssr")])
    free = len(logs) - cells.ngroups
    if free == 0:
        return 0.0
    scatter = math.sqrt(float(((logs - cells.transform("mean")) ** 2).sum()) / free)
    return float(special.stdtrit(free, 0.5 + confidence / 2)) * scatter


def _widened(value: float, low: float, high: float, half: float) -> tuple[float, float]:
    """Combine the interval of a ratio with a second, independent error of its logarithm; open ends stay open."""
    if math.isnan(value):  # never reached: it is only known to be less than this
        return low, high * math.exp(half)
    down = math.hypot(math.log(value / low), half) if low > 0 else math.inf
    up = math.hypot(math.log(high / value), half) if high < math.inf else math.inf
    return value * math.exp(-down), value * math.exp(up)


def crossings(study: Study, confidence: float = 0.95, recipes: Sequence[str] | None = None) -> pd.DataFrame:
    """Return where the curves of two recipes cross, without controls: which is better depends on the budget.

    Their difference is computed at each SSR that one of them has measured, if the other has measured it as well or can
    be interpolated between two SSRs that are at most a factor of 4 apart.

    Args:
        study: The study.
        confidence: Confidence of the intervals.
        recipes: Recipes to compare in pairs; None for all of them, or, of more than 20, those that are best at some
            ssr: other crossings decide nothing.

    Returns:
        A row per crossing: a, b, ssr (both equal, interpolated in log ssr; the middle of a stretch where they are
        equal), low, high (the SSRs around it between which the interval of the difference contains 0, within the range
        that both have measured; NaN without an interval), better_below, better_above, certain (on either side, up to
        the next crossing, there is a measured ssr at which the difference certainly, at 99%, has the right sign).
    """
    check_confidence(confidence)
    if recipes is not None:
        chosen = [find_series(study, recipe, "recipes") for recipe in recipes]
    else:
        chosen = list(uncontrolled(study))
        if len(chosen) > _MOST_PAIRED:
            best = set(winners(study, confidence)["best"])
            chosen = [series for series in chosen if series.recipe in best]
    rows = []
    for one, other in combinations(chosen, 2):
        low, high = max(one.ssr[0], other.ssr[0]), min(one.ssr[-1], other.ssr[-1])
        nodes = np.union1d(one.ssr, other.ssr)
        nodes = nodes[(nodes >= low) & (nodes <= high) & _read(one, nodes) & _read(other, nodes)]
        if len(nodes) < 2 or not _changes(one, other, nodes):
            continue
        rows += _crossings(one, other, nodes, confidence)
    columns = ["a", "b", "ssr", "low", "high", "better_below", "better_above", "certain"]
    return pd.DataFrame(rows, columns=columns).astype({"certain": bool})


def _read(series: Series, nodes: Any) -> Any:
    """Whether a curve can be read at each node: not where its own measured SSRs are far apart."""
    after = np.clip(np.searchsorted(series.ssr, nodes), 1, len(series.ssr) - 1)
    near = series.ssr[after] <= _WIDEST * series.ssr[after - 1] * (1 + 1e-9)
    return near | np.isin(nodes, series.ssr)


def _gap(one: Series, other: Series, log: float) -> float:
    """Return the difference of two curves at a log SSR."""
    at = np.array([log])
    return float(one.curve(at)[0] - other.curve(at)[0])


def _changes(one: Series, other: Series, nodes: Any) -> bool:
    """Whether the sign of the difference changes at all: for most pairs it does not."""
    signs = _signs(one.curve(np.log(nodes)) - other.curve(np.log(nodes)), one, other)
    return len(set(signs[signs != 0])) > 1


def _signs(differences: Any, one: Series, other: Series) -> Any:
    """Return which curve is better; 0 if they are equal up to rounding, because sums depend on their order."""
    largest = max(cell.largest for series in (one, other) for cell in series.cells)
    return np.where(np.abs(differences) <= 1e-12 * largest, 0.0, np.sign(differences))


def _crossings(one: Series, other: Series, nodes: Any, confidence: float) -> list[Any]:
    logs = np.log(nodes)
    found = [_difference(one, other, float(node), confidence) for node in nodes]
    values = np.array([item.value for item in found])
    signs = _signs(values, one, other)
    kept = np.flatnonzero(signs)  # a stretch of equality is between the two that differ
    changes = [(a, b) for a, b in pairwise(kept) if signs[a] != signs[b]]
    rows = []
    stretch = _undecided(one, other, nodes, confidence) if changes else None
    for index, (a, b) in enumerate(changes):
        if b - a > 1:
            at = (logs[a + 1] + logs[b - 1]) / 2
        else:
            at = float(optimize.brentq(lambda log: _gap(one, other, log), logs[a], logs[b], xtol=1e-9))
        start = changes[index - 1][1] if index else 0
        stop = changes[index + 1][0] if index + 1 < len(changes) else len(nodes) - 1
        below = any(item.beyond() == signs[a] for item in found[start : a + 1])
        above = any(item.beyond() == signs[b] for item in found[b : stop + 1])
        low, high = _around(stretch, nodes, at)
        better = (one.recipe, other.recipe) if signs[a] > 0 else (other.recipe, one.recipe)
        rows.append((one.recipe, other.recipe, math.exp(at), low, high, *better, below and above))
    return rows


def _difference(one: Series, other: Series, ssr: float, confidence: float) -> Estimate:
    return difference(*one.weights(ssr), *other.weights(ssr), confidence)


def _undecided(one: Series, other: Series, nodes: Any, confidence: float) -> tuple[Any, Any]:
    """Return a grid of log SSR, and where on it the interval of the difference contains 0."""
    xs, inside = [], []
    cells = [*one.cells, *other.cells]
    for low, high in pairwise(np.log(nodes)):
        grid = np.linspace(low, high, _GRID)
        middle = (low + high) / 2
        after = [int(np.searchsorted(np.log(series.ssr), middle)) - 1 for series in (one, other)]
        weights = np.vstack([one.matrix(grid, after[0]), -other.matrix(grid, after[1])])
        used = np.flatnonzero(weights.any(axis=1))
        found = band([cells[place] for place in used], weights[used], confidence)
        xs.append(grid)
        inside.append((found.low <= 0) & (found.high >= 0))
    return np.concatenate(xs), np.concatenate(inside)


def _around(stretch: Any, nodes: Any, at: float) -> tuple[float, float]:
    """Return the stretch around a crossing on which the interval of the difference contains 0."""
    grid, contains = stretch
    middle = int(np.argmin(np.abs(grid - at)))
    if not contains[middle]:  # there is no interval
        return math.nan, math.nan
    before, after = ~contains[:middle][::-1], ~contains[middle + 1 :]
    left = math.exp(grid[middle - int(np.argmax(before))]) if before.any() else nodes[0]
    right = math.exp(grid[middle + int(np.argmax(after))]) if after.any() else nodes[-1]
    return float(left), float(right)
