"""Means, intervals and differences of the runs of a study.

Intervals are Student's t. Runs of the same seed are paired where at least two seeds are common, and at least half of
each cell's; else Welch's t. Each interval is for itself: of twenty at 95%, one is expected to miss. Only who is named
as the possible best of several recipes is told for all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ssr_hydra.studies.intervals import Cell, Estimate, check_confidence, combine, seeds_needed
from ssr_hydra.studies.study import Series, Study, check_axis, find_series, uncontrolled

__all__ = ["Place", "Rival", "controls", "doublings", "gains", "paired", "rivals", "summary", "winners"]


def summary(study: Study, confidence: float = 0.95, price_per_hour: float | None = None) -> pd.DataFrame:
    """The runs of each recipe, control and ssr in one row: ``mean +- t * error``, the error being ``sd / sqrt(n)``.

    Args:
        study: The study.
        confidence: Of the intervals.
        price_per_hour: Of the machine, in any currency.

    Returns:
        A row per recipe x control x ssr, in this order: recipe, control, ssr, n, mean (of the runs, or where cells have
        different seeds as :func:`ssr_hydra.studies.effects.with_effects` estimates it), low, high (NaN with one run, or
        where all runs have the same value), sd, values and seeds (tuples, in the same order), failed (runs that have no
        quality), steps, samples, tokens, seconds, total_seconds (means), cost (of the mean seconds; NaN without a
        price), survived (the fraction of runs that did not diverge; runs that failed otherwise do not count), mean_all
        (the mean with each diverged run counted as the worst quality that the study measured). Where no run has a
        quality, n is 0 and every mean is NaN; recipes of which no run has one come last.

    Raises:
        InputError: A confidence or a price that cannot be meant.

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
                    "error": cell.error,
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
    whole = _with_lost(rows, failed)
    made = pd.DataFrame(whole, columns=columns)
    mean, sd, n = (made[name].to_numpy(dtype=float) for name in ("mean", "sd", "n"))
    error = np.array([row.get("error", math.nan) for row in whole], dtype=float)
    known = sd > 1e-12 * np.abs(mean)
    half = special.stdtrit(np.maximum(n - 1, 1), 0.5 + confidence / 2) * error
    made["low"], made["high"] = np.where(known, mean - half, math.nan), np.where(known, mean + half, math.nan)
    return made


def _with_lost(rows: list[dict[str, Any]], failed: dict[Any, int]) -> list[dict[str, Any]]:
    """The rows, and one for each recipe, control and ssr all of whose runs have no quality, where it belongs."""
    rows = list(rows)
    for (recipe, control, ssr), count in failed.items():
        row: dict[str, Any] = dict.fromkeys(
            ["mean", "sd", "steps", "samples", "tokens", "seconds", "total_seconds", "cost", "survived", "mean_all"],
            math.nan,
        )
        row |= {"recipe": recipe, "control": control, "ssr": ssr, "n": 0, "values": (), "seeds": (), "failed": count}
        rows.append(row)
    order = {arm: place for place, arm in enumerate(dict.fromkeys((row["recipe"], row["control"]) for row in rows))}
    return sorted(rows, key=lambda row: (order[row["recipe"], row["control"]], row["ssr"]))


def paired(study: Study, a: str | tuple[str, str], b: str | tuple[str, str], confidence: float = 0.95) -> pd.DataFrame:
    """Differences of two recipes, paired by the seeds that both have run, with the t interval of ``a - b``.

    Args:
        study: The study.
        a: A recipe, or (recipe, control).
        b: Another.
        confidence: Of the intervals.

    Returns:
        A row per ssr that both have: ssr, n (common seeds), difference (a - b in units of quality), low, high, better
        (``a``, ``b``, ``undecided`` where the interval contains 0, ``""`` where there is none).

    Raises:
        InputError: No such recipe.

    Source: Student, 1908, whose own data were such pairs.
    """
    check_confidence(confidence)
    first, second = find_series(study, a, "a"), find_series(study, b, "b")
    rows = []
    for ssr, one, other in _shared(first, second):
        if one.seeds is None or other.seeds is None:
            common = np.zeros(0, dtype=int)
        else:
            common = np.intersect1d(one.seeds, other.seeds, assume_unique=True)
        if not len(common):
            rows.append((ssr, 0, math.nan, math.nan, math.nan, ""))
            continue
        if one.influence is not None and other.influence is not None:
            found = combine([one, other], [1.0, -1.0], confidence)
        else:
            values = one.values[np.isin(one.seeds, common)] - other.values[np.isin(other.seeds, common)]
            found = combine([Cell(values, common)], [1.0], confidence)
        low, high = sorted((study.sign * found.low, study.sign * found.high))
        rows.append((ssr, len(common), study.sign * found.value, low, high, _winner(found, "a", "b")))
    return pd.DataFrame(rows, columns=["ssr", "n", "difference", "low", "high", "better"])


def gains(series: Series, confidence: float) -> list[tuple[float, bool, Estimate]]:
    """What twice the ssr gains, for each measured one whose double lies within the measured range.

    Returns:
        The ssr, whether the quality at its double is interpolated, and the gain, positive where it is better.
    """
    made = []
    for ssr in series.ssr:
        if 2 * ssr > series.ssr[-1] * (1 + 1e-9):
            break
        cells, weights = series.weights(2 * ssr)
        start = series.cells[int(np.searchsorted(series.ssr, ssr))]
        # Between an ssr and its double no other may lie: then the double itself is interpolated from that very cell.
        if cells[0] is start:
            found = combine(cells, [weights[0] - 1.0, *weights[1:]], confidence)
        else:
            found = combine([*cells, start], [*weights, -1.0], confidence)
        made.append((float(ssr), len(cells) > 1, found))
    return made


def doublings(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """What the next doubling gains: ``quality(2 ssr) - quality(ssr)``, linear in log ssr between measured ones.

    Args:
        study: The study.
        confidence: Of the intervals.

    Returns:
        A row per recipe x control x measured ssr whose double lies in the measured range: recipe, control, ssr,
        next_ssr, n, gain (> 0 is better, whatever the direction), low, high, sd (of one seed's gain), method
        (``paired``, ``welch``, ``none``), interpolated (2 ssr was not measured itself).
    """
    check_confidence(confidence)
    rows = [
        (series.recipe, series.control, ssr, 2 * ssr, *_told(found), found.sd, found.method, interpolated)
        for series in study.series
        for ssr, interpolated, found in gains(series, confidence)
    ]
    columns = ["recipe", "control", "ssr", "next_ssr", "n", "gain", "low", "high", "sd", "method", "interpolated"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Place:
    """A recipe at an SSR, which may lie between two that it has measured: a weighted sum of cells."""

    recipe: str
    ssr: float
    cells: tuple[Cell, ...]
    weights: tuple[float, ...]
    fragile: bool = False

    @property
    def survived(self) -> float:
        """The fraction of runs that did not diverge, of the cell where it is smallest."""
        return min(cell.survived for cell in self.cells)

    @property
    def rank(self) -> tuple[bool, float]:
        """What places are ranked by, the best first: recipes whose runs survive, then the mean."""
        return self.fragile, -self.value

    @property
    def value(self) -> float:
        """The mean, turned so that more is better."""
        return sum(weight * cell.mean for cell, weight in zip(self.cells, self.weights, strict=True))


@dataclass(frozen=True)
class Rival:
    """Another recipe at the same budget.

    Attributes:
        recipe: Its name.
        ssr: What it takes the same time at.
        margin: How far it is behind; < 0: it is better.
        low: Interval of the margin, for itself; NaN where there is none.
        high: Likewise.
        open: It may be as good: among all rivals at once, the noise does not exclude it.
        more_seeds: Seeds beyond those there are with which the two would be told apart with a power of 80%, if the
            margin is what it seems; None if they are already, or it cannot be told.
        n: Seeds, of the one that has fewer: what the noise is known from.
        survived: The fraction of its runs that did not diverge; ``margin`` is of these.
    """

    recipe: str
    ssr: float
    margin: float
    low: float
    high: float
    open: bool
    more_seeds: int | None
    n: int = 0
    survived: float = 1.0


def rivals(chosen: Place, others: Sequence[Place], confidence: float) -> tuple[Rival, ...]:
    """One recipe against all others at a budget, the closest first.

    If it is better than each of them beyond the interval of that difference, none is open: for that claim all have to
    be excluded, so it needs no correction. Else those remain open that an interval does not exclude which holds for all
    rivals at once, ``1 - (1 - confidence) / rivals`` each: whichever recipe is truly the best, it is among them and the
    chosen one in at least ``confidence`` of all studies, though the chosen one was picked because it looked best.

    Source: Berger, 1982, Multiparameter hypothesis testing and acceptance sampling, for the former; Hsu, 1984,
    Constrained simultaneous confidence intervals for multiple comparisons with the best, for the latter.
    """
    found = []
    for other in others:
        weights = [*chosen.weights, *(-weight for weight in other.weights)]
        found.append((other, combine([*chosen.cells, *other.cells], weights, confidence)))
    sole = all(margin.low > 0 for _, margin in found)
    made = []
    for other, margin in found:
        together = special.stdtrit(margin.df, 1 - (1 - confidence) / 2 / len(found))
        held = not sole and not margin.value - together * margin.error > 0
        needed = seeds_needed(margin.value, margin.sd, confidence) if held and margin.known else None
        more = None if needed is None else max(1, needed - margin.n)
        ends = margin.low, margin.high
        made.append(Rival(other.recipe, other.ssr, margin.value, *ends, held, more, margin.n, other.survived))
    return tuple(sorted(made, key=lambda rival: rival.margin))


def winners(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """The best recipe at each ssr that two or more have run: those whose runs survive first, then by the mean.

    Controls are left out.

    Args:
        study: The study.
        confidence: Of the interval of the margin, and of that the best is ``best`` or among ``open``.

    Returns:
        A row per ssr: ssr, best, second, n, margin (> 0, unless the second's runs diverge more often), low, high,
        method, open (a tuple of those that may be as good), decided (there are none: best is better than each other).

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
    """Scaling against its controls, at each ssr that both have run.

    ``truncate`` runs the schedule of ssr 1 and stops at the same step; ``scale_warmup`` scales the warmup as well.

    Args:
        study: The study.
        confidence: Of the intervals.

    Returns:
        A row per recipe x control x ssr: recipe, control, ssr, n, gain (scaled over control, > 0: scaling is better),
        low, high, method, winner (``scaling``, ``control``, ``undecided``, ``same`` where every seed has the same value
        in both, ``""`` where there is no interval).
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


def _told(found: Estimate) -> Sequence[float]:
    return found.n, found.value, found.low, found.high


def _winner(found: Estimate, first: str, second: str) -> str:
    if not found.known:
        return ""
    return first if found.low > 0 else second if found.high < 0 else "undecided"


def _shared(one: Series, other: Series) -> list[tuple[float, Cell, Cell]]:
    common, left, right = np.intersect1d(one.ssr, other.ssr, assume_unique=True, return_indices=True)
    return [(float(ssr), one.cells[i], other.cells[j]) for ssr, i, j in zip(common, left, right, strict=True)]
