"""Means, intervals and differences of the runs of a study.

The verdict of a comparison (which is better, and whether it is decided) is at 99%, so that over several looks at a
growing study at most one in twenty is wrong. Shown intervals have the requested confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.studies.intervals import VERDICT, Batch, Cell, Estimate, check_confidence, combine, dunnett, next_batch
from ssr_hydra.studies.study import Series, Study, check_axis, find_series, uncontrolled

__all__ = [
    "Place",
    "Rival",
    "controls",
    "decision_accuracy",
    "difference",
    "doublings",
    "gains",
    "outliers",
    "paired",
    "pooled_control",
    "rivals",
    "summary",
    "winners",
]

_FAR, _FEWEST_TO_JUDGE = 8.0, 3


def summary(study: Study, confidence: float = 0.95, price_per_hour: float | None = None) -> pd.DataFrame:
    """Return the runs of each recipe, control and ssr in one row, with the interval of their mean.

    Args:
        study: The study.
        confidence: Confidence of the intervals.
        price_per_hour: Price of the machine, in any currency.

    Returns:
        A row per recipe x control x ssr, in this order: recipe, control, ssr, n, mean (of the runs; if cells have
        different seeds, as :func:`ssr_hydra.studies.effects.with_effects` estimates it), low, high (NaN if the noise is
        unknown), sd, values and seeds (tuples, in the same order), failed (runs without a quality), steps, samples,
        tokens, seconds, total_seconds (means), cost (of the mean seconds; NaN without a price), survived (the fraction
        of runs that did not diverge; runs that failed otherwise do not count), mean_all (the mean with each diverged
        run counted as the worst quality in the study). If no run has a quality, n is 0 and every mean is NaN; recipes
        without any quality come last.

    Raises:
        InputError: The confidence or the price is invalid.

    Example:
        >>> from ssr_hydra.studies import load
        >>> summary(load("studies/digits"))[["recipe", "ssr", "n", "mean", "low", "high"]]  # doctest: +SKIP

    Source: Student, 1908; SciPy's ``stdtrit`` gives the quantiles.
    """
    check_confidence(confidence)
    if price_per_hour is not None:
        check_axis(study, "ssr", price_per_hour)
    failed = study.frame[study.frame["quality"].isna()].groupby(["recipe", "control", "ssr"]).size().to_dict()
    worst = study.completed["quality"].min() if study.direction == "max" else study.completed["quality"].max()
    rows = []
    for series in study.series:
        cost = series.axis("cost", price_per_hour)
        for index, (ssr, cell) in enumerate(zip(series.ssr, series.cells, strict=True)):
            rows.append(
                {
                    "recipe": series.recipe,
                    "control": series.control,
                    "ssr": float(ssr),
                    "n": cell.n,
                    "mean": study.sign * cell.mean,
                    "sd": math.sqrt(cell.variance),
                    **dict(zip(("low", "high"), study.interval(combine([cell], [1.0], confidence)), strict=True)),
                    "values": tuple((study.sign * cell.values).tolist()),
                    "seeds": () if cell.seeds is None else tuple(cell.seeds.tolist()),
                    "failed": failed.pop((series.recipe, series.control, float(ssr)), 0),
                    **{name: float(values[index]) for name, values in series.means.items()},
                    "cost": float(cost[index]),
                    "survived": cell.survived,
                    "mean_all": cell.survived * study.sign * cell.mean + (1 - cell.survived) * worst,
                }
            )
    columns = ["recipe", "control", "ssr", "n", "mean", "low", "high", "sd", "values", "seeds", "failed"]
    columns += ["steps", "samples", "tokens", "seconds", "total_seconds", "cost", "survived", "mean_all"]
    return pd.DataFrame(_with_lost(rows, failed), columns=columns)


def _with_lost(rows: list[dict[str, Any]], failed: dict[Any, int]) -> list[dict[str, Any]]:
    """Return the rows, with one for each recipe, control and ssr whose runs all have no quality."""
    rows = list(rows)
    for (recipe, control, ssr), count in failed.items():
        row: dict[str, Any] = dict.fromkeys(
            [
                "mean",
                "low",
                "high",
                "sd",
                "steps",
                "samples",
                "tokens",
                "seconds",
                "total_seconds",
                "cost",
                "survived",
                "mean_all",
            ],
            math.nan,
        )
        row |= {"recipe": recipe, "control": control, "ssr": ssr, "n": 0, "values": (), "seeds": (), "failed": count}
        rows.append(row)
    order = {arm: place for place, arm in enumerate(dict.fromkeys((row["recipe"], row["control"]) for row in rows))}
    return sorted(rows, key=lambda row: (order[row["recipe"], row["control"]], row["ssr"]))


def paired(study: Study, a: str | tuple[str, str], b: str | tuple[str, str], confidence: float = 0.95) -> pd.DataFrame:
    """Return differences of two recipes, paired by common seeds, with the t interval of ``a - b``.

    Args:
        study: The study.
        a: A recipe, or (recipe, control).
        b: Another recipe, or (recipe, control).
        confidence: Confidence of the intervals.

    Returns:
        A row per ssr that both have: ssr, n (common seeds), difference (a - b in units of quality), low, high, better
        (``a``, ``b``, ``undecided`` if 0 is not excluded at 99%, ``""`` without an interval). Without common seeds n is
        0, and there is no pair.

    Raises:
        InputError: A recipe does not exist.

    Source: Student, 1908, whose own data were such pairs.
    """
    check_confidence(confidence)
    first, second = find_series(study, a, "a"), find_series(study, b, "b")
    rows = []
    for ssr, one, other in _shared(first, second):
        known = one.seeds is not None and other.seeds is not None
        n = len(np.intersect1d(one.seeds, other.seeds, assume_unique=True)) if known else 0
        if not n:
            rows.append((ssr, 0, math.nan, math.nan, math.nan, ""))
            continue
        found = combine([one, other], [1.0, -1.0], confidence)
        low, high = sorted((study.sign * found.low, study.sign * found.high))
        rows.append((ssr, n, study.sign * found.value, low, high, _winner(found, "a", "b")))
    return pd.DataFrame(rows, columns=["ssr", "n", "difference", "low", "high", "better"])


def difference(
    cells: Sequence[Cell], weights: Sequence[float], minus: Sequence[Cell], less: Sequence[float], confidence: float
) -> Estimate:
    """Return the first weighted sum of cells minus the second one; both may contain the same cell."""
    pairs: dict[int, tuple[Cell, float]] = {}
    for group, sign in ((zip(cells, weights, strict=True), 1.0), (zip(minus, less, strict=True), -1.0)):
        for cell, weight in group:
            pairs[id(cell)] = (cell, pairs.get(id(cell), (cell, 0.0))[1] + sign * weight)
    return combine([cell for cell, _ in pairs.values()], [weight for _, weight in pairs.values()], confidence)


def gains(series: Series, confidence: float) -> list[tuple[float, bool, Estimate]]:
    """Return the gain of doubling the ssr, for each measured one whose double is within the measured range.

    Returns:
        The ssr, whether the quality at its double is interpolated, and the gain, positive if it is better.
    """
    made = []
    for ssr in series.ssr:
        if 2 * ssr > series.ssr[-1] * (1 + 1e-9):
            break
        cells, weights = series.weights(2 * ssr)
        start = series.cells[int(np.searchsorted(series.ssr, ssr))]
        found = difference(cells, weights, [start], [1.0], confidence)
        made.append((float(ssr), len(cells) > 1, found))
    return made


def doublings(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Return the gain of the next doubling: ``quality(2 ssr) - quality(ssr)``.

    Args:
        study: The study.
        confidence: Confidence of the intervals.

    Returns:
        A row per recipe x control x measured ssr whose double is in the measured range: recipe, control, ssr,
        next_ssr, n, gain (> 0 is better, for both directions), low, high, sure_low, sure_high (the interval of
        verdicts, at 99%), sd (of one seed's gain), method (``paired``, ``welch``, ``pooled``, ``none``), interpolated
        (2 ssr itself was not measured).
    """
    check_confidence(confidence)
    rows = [
        (
            series.recipe,
            series.control,
            ssr,
            2 * ssr,
            *_told(found),
            *found.surely,
            found.sd,
            found.method,
            between,
        )
        for series in study.series
        for ssr, between, found in gains(series, confidence)
    ]
    columns = ["recipe", "control", "ssr", "next_ssr", "n", "gain", "low", "high"]
    columns += ["sure_low", "sure_high", "sd", "method", "interpolated"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Place:
    """A recipe at an SSR, possibly between two measured ones: a weighted sum of cells."""

    recipe: str
    ssr: float
    cells: tuple[Cell, ...]
    weights: tuple[float, ...]
    fragile: bool = False

    @property
    def survived(self) -> float:
        """Return the fraction of runs that did not diverge, of the cell where it is smallest."""
        return min(cell.survived for cell in self.cells)

    @property
    def rank(self) -> tuple[bool, float]:
        """Return the rank of a place, the best first: recipes whose runs survive, then the mean."""
        return self.fragile, -self.value

    @property
    def value(self) -> float:
        """Return the mean with a sign such that more is better."""
        return sum(weight * cell.mean for cell, weight in zip(self.cells, self.weights, strict=True))


@dataclass(frozen=True)
class Rival:
    """Another recipe at the same budget.

    Attributes:
        recipe: Its name.
        ssr: The SSR at which it takes the same time.
        margin: How much it is worse; < 0 if it is better.
        low: Lower end of the margin's interval, without adjustment; NaN without one.
        high: Upper end of the margin's interval.
        open: Whether it may be as good: at 99% for all rivals together, the noise does not exclude it.
        batch: How many more seeds would halve the interval; None if it is not open, or the number is unknown.
        n: Seeds of the one that has fewer.
        survived: The fraction of its runs that did not diverge. ``margin`` excludes those that diverged.
    """

    recipe: str
    ssr: float
    margin: float
    low: float
    high: float
    open: bool
    batch: Batch | None = None
    n: int = 0
    survived: float = 1.0


def rivals(chosen: Place, others: Sequence[Place], confidence: float) -> tuple[Rival, ...]:
    """Compare one recipe with all others at a budget, the closest first.

    If it is certainly better than each of them, none is open. That claim needs no correction, because all must be
    excluded. Otherwise those remain open that 99% for all rivals together do not exclude: the truly best recipe is
    among them and the chosen one, although the chosen one was selected because it looked best.

    Source: Berger, 1982, Multiparameter hypothesis testing and acceptance sampling, for the former; Hsu, 1984,
    Constrained simultaneous confidence intervals for multiple comparisons with the best, with Dunnett's critical value,
    for the latter.
    """
    found = [
        (other, difference(chosen.cells, chosen.weights, other.cells, other.weights, confidence)) for other in others
    ]
    sole = all(margin.beyond() > 0 for _, margin in found)
    quantile = 0.5 + max(VERDICT, confidence) / 2
    made = []
    for other, margin in found:
        together = dunnett(round(margin.df, 1), len(found), quantile) if margin.known else math.nan
        held = not sole and not margin.value > together * margin.error
        batch = next_batch(margin, (margin.high - margin.low) / 4) if held else None
        ends = margin.low, margin.high
        made.append(Rival(other.recipe, other.ssr, margin.value, *ends, held, batch, margin.n, other.survived))
    return tuple(sorted(made, key=lambda rival: rival.margin))


def outliers(study: Study) -> pd.DataFrame:
    """Return runs that are far from the others of their cell: more than 8 typical standard deviations of the study.

    Args:
        study: The study.

    Returns:
        A row per run, the farthest first: recipe, control, ssr, seed (None if unknown), value, median (of its cell's
        runs), distance (from the median, in typical standard deviations: the median over cells). Cells of fewer than
        three runs cannot show which run is far off.
    """
    spreads = [cell.variance for series in study.series for cell in series.cells if cell.n > 1 and cell.variance > 0]
    rows: list[Any] = []
    typical = math.sqrt(float(np.median(spreads))) if spreads else math.inf
    for series in study.series:
        for ssr, cell in zip(series.ssr, series.cells, strict=True):
            if len(cell.values) < _FEWEST_TO_JUDGE:
                continue
            median = float(np.median(cell.values))
            for place in np.flatnonzero(np.abs(cell.values - median) > _FAR * typical):
                seed = None if cell.seeds is None else int(cell.seeds[place])
                value, distance = float(cell.values[place]), abs(float(cell.values[place]) - median) / typical
                row = (series.recipe, series.control, float(ssr), seed, study.sign * value, study.sign * median)
                rows.append((*row, distance))
    columns = ["recipe", "control", "ssr", "seed", "value", "median", "distance"]
    return pd.DataFrame(sorted(rows, key=lambda row: -row[-1]), columns=columns)


def winners(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Return the best recipe at each ssr that two or more have run: those whose runs survive first, then by the mean.

    Controls are excluded.

    Args:
        study: The study.
        confidence: Confidence of the margin's interval.

    Returns:
        A row per ssr: ssr, best, second, n, margin (> 0, unless the second's runs diverge more often), low, high,
        method, open (a tuple of those that may be as good), decided (whether there are none).

    Example:
        >>> winners(load("studies/digits"))[["ssr", "best", "open", "decided"]]  # doctest: +SKIP
    """
    check_confidence(confidence)
    at: dict[float, list[Place]] = {}
    for series in uncontrolled(study):
        for ssr, cell in zip(series.ssr, series.cells, strict=True):
            at.setdefault(float(ssr), []).append(Place(series.recipe, float(ssr), (cell,), (1.0,), series.fragile))
    rows: list[Any] = []
    for ssr in sorted(at):
        best, *others = sorted(at[ssr], key=lambda place: place.rank)
        if others:
            found = combine([*best.cells, *others[0].cells], [1.0, -1.0], confidence)
            held = tuple(rival.recipe for rival in rivals(best, others, confidence) if rival.open)
            rows.append((ssr, best.recipe, others[0].recipe, *_told(found), found.method, held, not held))
    columns = ["ssr", "best", "second", "n", "margin", "low", "high", "method", "open", "decided"]
    return pd.DataFrame(rows, columns=columns).astype({"decided": bool})


def controls(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Compare scaling with its controls, at each ssr that both have run.

    ``truncate`` runs the schedule of ssr 1 and stops at the same step; ``scale_warmup`` scales the warmup as well.

    Args:
        study: The study.
        confidence: Confidence of the intervals.

    Returns:
        A row per recipe x control x ssr: recipe, control, ssr, n, gain (scaled minus control, > 0: scaling is better),
        low, high, method, winner (``scaling``, ``control``, ``undecided``, ``same`` if every seed has the same value
        in both, ``""`` without an interval).
    """
    check_confidence(confidence)
    scaled = {series.recipe: series for series in uncontrolled(study)}
    rows: list[Any] = []
    for series in study.series:
        if not series.control or series.recipe not in scaled:
            continue
        for ssr, one, other in _shared(scaled[series.recipe], series):
            found = combine([one, other], [1.0, -1.0], confidence)
            same = one.seeds is not None and np.array_equal(one.seeds, other.seeds if other.seeds is not None else [])
            same = bool(same and np.array_equal(one.values, other.values))
            winner = "same" if same else _winner(found, "scaling", "control")
            rows.append((series.recipe, series.control, ssr, *_told(found), found.method, winner))
    columns = ["recipe", "control", "ssr", "n", "gain", "low", "high", "method", "winner"]
    return pd.DataFrame(rows, columns=columns)


def decision_accuracy(study: Study) -> pd.DataFrame:
    """Return how well short runs rank the recipes, compared with the longest SSR that all recipes have run.

    Args:
        study: The study. Controls are excluded.

    Returns:
        A row per shorter ssr that all recipes have run: ssr, reference_ssr (the longest), pairs (of recipes), agree
        (fraction of the pairs that are in the same order, ties counting half; 0.5 is a coin). Empty with fewer than
        two recipes.
    """
    columns = ["ssr", "reference_ssr", "pairs", "agree"]
    found = list(uncontrolled(study))
    if len(found) < 2:
        return pd.DataFrame([], columns=columns)
    common = [float(ssr) for ssr in found[0].ssr if all((series.ssr == ssr).any() for series in found)]
    means = np.array([[series.values[series.ssr == ssr][0] for ssr in common] for series in found])
    one, other = np.triu_indices(len(found), 1)
    signs = np.sign(means[one] - means[other])
    return pd.DataFrame(
        [
            (ssr, common[-1], len(one), float((1 + (signs[:, at] * signs[:, -1])).mean() / 2))
            for at, ssr in enumerate(common[:-1])
        ],
        columns=columns,
    )


def pooled_control(study: Study, control: str, confidence: float = 0.95) -> Estimate | None:
    """Return the mean gain of scaling over a control, over all recipes and SSRs at which the two runs differ.

    Returns:
        None if no recipe has run both.
    """
    scaled = {series.recipe: series for series in uncontrolled(study)}
    pairs = [
        (one, other)
        for series in study.series
        if series.control == control and series.recipe in scaled
        for _, one, other in _shared(scaled[series.recipe], series)
        if not np.array_equal(one.values, other.values)
    ]
    if not pairs:
        return None
    share = 1 / len(pairs)
    scaled_cells, controlled = zip(*pairs, strict=True)
    return difference(scaled_cells, [share] * len(pairs), controlled, [share] * len(pairs), confidence)


def _told(found: Estimate) -> Sequence[float]:
    return found.n, found.value, found.low, found.high


def _winner(found: Estimate, first: str, second: str) -> str:
    if not found.known:
        return ""
    return {1: first, -1: second, 0: "undecided"}[found.beyond()]


def _shared(one: Series, other: Series) -> list[tuple[float, Cell, Cell]]:
    common, left, right = np.intersect1d(one.ssr, other.ssr, assume_unique=True, return_indices=True)
    return [(float(ssr), one.cells[i], other.cells[j]) for ssr, i, j in zip(common, left, right, strict=True)]
