"""Find the SSRs at which the curves of two recipes cross, so that the better recipe changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from ssr_hydra.studies.compare import difference, winners
from ssr_hydra.studies.intervals import band, check_confidence
from ssr_hydra.studies.study import Series, Study, find_series, uncontrolled

_GRID = 65  # number of points of a band between two SSRs
_WIDEST = 4.0  # maximum ratio of neighbouring SSRs between which curves are compared
_MOST_PAIRED = 20  # if there are more recipes than this, only recipes that are best at an SSR are compared


def crossings(study: Study, confidence: float = 0.95, recipes: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the SSRs at which the curves of two recipes cross. The better recipe then depends on the budget.

    Controls are excluded. Two recipes are compared at each SSR that at least one of them has run. The quality of the
    other recipe at this SSR is interpolated, but only between measured SSRs that are at most a factor of 4 apart.

    Args:
        study: The study.
        confidence: Confidence of the intervals.
        recipes: The recipes to compare in pairs. None means all recipes; if there are more than 20, only the recipes
            that are the best at some ssr.

    Returns:
        A row per crossing, with these columns:

        - a, b: the recipes
        - ssr: the SSR at which both recipes have equal quality, interpolated in log ssr; if there are several such
          SSRs, their middle
        - low, high: the range of SSRs around the crossing in which the difference of both recipes may be 0 (its
          interval contains 0); NaN if there is no interval
        - better_below, better_above: the better recipe on each side of the crossing
        - certain: whether both sides are certain: with 99% confidence, ``better_below`` is better at a measured ssr
          between the previous crossing and this one, and ``better_above`` at one between this crossing and the next
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
        nodes = nodes[(nodes >= low) & (nodes <= high) & _is_known(one, nodes) & _is_known(other, nodes)]
        if len(nodes) < 2 or not _changes(one, other, nodes):
            continue
        rows += _crossings(one, other, nodes, confidence)
    columns = ["a", "b", "ssr", "low", "high", "better_below", "better_above", "certain"]
    return pd.DataFrame(rows, columns=columns).astype({"certain": bool})


def _is_known(series: Series, nodes: Any) -> Any:
    """Return whether each SSR of ``nodes`` was measured, or is between measured SSRs with a ratio <= ``_WIDEST``."""
    after = np.clip(np.searchsorted(series.ssr, nodes), 1, len(series.ssr) - 1)
    near = series.ssr[after] <= _WIDEST * series.ssr[after - 1] * (1 + 1e-9)
    return near | np.isin(nodes, series.ssr)


def _changes(one: Series, other: Series, nodes: Any) -> bool:
    """Return whether the difference of two curves changes its sign at the SSRs ``nodes``: a fast first check."""
    signs = _signs(one.curve(np.log(nodes)) - other.curve(np.log(nodes)), one, other)
    return len(set(signs[signs != 0])) > 1


def _signs(differences: Any, one: Series, other: Series) -> Any:
    """Return the signs of differences of two curves; 0 for a difference that may be only a rounding error."""
    largest = max(cell.largest for series in (one, other) for cell in series.cells)
    return np.where(np.abs(differences) <= 1e-12 * largest, 0.0, np.sign(differences))


def _crossings(one: Series, other: Series, nodes: Any, confidence: float) -> list[Any]:
    def gap(log: float) -> float:
        return float((one.curve(np.array([log])) - other.curve(np.array([log])))[0])

    logs = np.log(nodes)
    differences = [difference(*one.weights(ssr), *other.weights(ssr), confidence) for ssr in nodes.tolist()]
    values = np.array([item.value for item in differences])
    signs = _signs(values, one, other)
    nonzero = np.flatnonzero(signs)  # the indices of the SSRs at which the curves differ
    changes = [(a, b) for a, b in pairwise(nonzero) if signs[a] != signs[b]]
    rows = []
    stretch = _undecided(one, other, nodes, confidence) if changes else None
    for index, (a, b) in enumerate(changes):
        at = (logs[a + 1] + logs[b - 1]) / 2 if b - a > 1 else optimize.brentq(gap, logs[a], logs[b], xtol=1e-9)
        start = changes[index - 1][1] if index else 0
        stop = changes[index + 1][0] if index + 1 < len(changes) else len(nodes) - 1
        below = any(item.beyond() == signs[a] for item in differences[start : a + 1])
        above = any(item.beyond() == signs[b] for item in differences[b : stop + 1])
        low, high = _around(stretch, nodes, at)
        better = (one.recipe, other.recipe) if signs[a] > 0 else (other.recipe, one.recipe)
        rows.append((one.recipe, other.recipe, math.exp(at), low, high, *better, below and above))
    return rows


def _undecided(one: Series, other: Series, nodes: Any, confidence: float) -> tuple[Any, Any]:
    """Return a grid of log SSRs, and whether the interval of the difference contains 0 at each SSR of the grid."""
    xs, inside = [], []
    cells = [*one.cells, *other.cells]
    for low, high in pairwise(np.log(nodes)):
        grid = np.linspace(low, high, _GRID)
        middle = (low + high) / 2
        after = [int(np.searchsorted(np.log(series.ssr), middle)) - 1 for series in (one, other)]
        weights = np.vstack([one.matrix(grid, after[0]), -other.matrix(grid, after[1])])
        used = np.flatnonzero(weights.any(axis=1))
        differences = band([cells[place] for place in used], weights[used], confidence)
        xs.append(grid)
        inside.append((differences.low <= 0) & (differences.high >= 0))
    return np.concatenate(xs), np.concatenate(inside)


def _around(stretch: Any, nodes: Any, at: float) -> tuple[float, float]:
    """Return the ends of the range of SSRs around a crossing in which the interval of the difference contains 0."""
    grid, contains = stretch
    middle = int(np.argmin(np.abs(grid - at)))
    if not contains[middle]:
        return math.nan, math.nan
    before, after = ~contains[:middle][::-1], ~contains[middle + 1 :]
    left = math.exp(grid[middle - int(np.argmax(before))]) if before.any() else nodes[0]
    right = math.exp(grid[middle + int(np.argmax(after))]) if after.any() else nodes[-1]
    return float(left), float(right)
