"""Means, intervals and differences of the runs of a study.

The verdict of a comparison names the better recipe, or says that the comparison is undecided. Verdicts have a
confidence of 99%, so that at most 5% of them are wrong even if a user looks at a growing study six times. Intervals
have the requested confidence.
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

_FAR, _FEWEST_TO_JUDGE, _FEWEST_FOR_TREND = 8.0, 3, 3


def summary(study: Study, confidence: float = 0.95, price_per_hour: float | None = None) -> pd.DataFrame:
    """Return one row for each recipe, control and ssr, with the mean of its runs and the interval of the mean.

    Args:
        study: The study.
        confidence: Confidence of the intervals.
        price_per_hour: Price of one hour of the machine, in any currency.

    Returns:
        A row per recipe x control x ssr. Recipes without a completed run come last. The columns are:

        - recipe, control, ssr
        - n: the number of runs with a quality; if it is 0, every mean is NaN
        - mean: the mean of these runs; if some rows lack seeds that other rows have, the estimate of
          :func:`ssr_hydra.studies.effects.with_effects`
        - low, high: the ends of the mean's interval; NaN if the noise is unknown
        - sd: the standard deviation of the runs; NaN for one run
        - values, seeds: the qualities and the seeds of the runs, as tuples in the same order
        - failed: the number of runs without a quality
        - steps, samples, tokens, seconds, total_seconds: means over the runs
        - cost: the cost of the mean seconds; NaN without a price
        - survived: the fraction of runs that did not diverge; runs that failed for other reasons do not count
        - mean_all: the mean over all runs, where a diverged run counts as a run with the worst quality of the study

    Raises:
        InputError: The confidence or the price is invalid.

    Example:
        >>> from ssr_hydra.studies import load
        >>> summary(load("studies/digits"))[["recipe", "ssr", "n", "mean", "low", "high"]]  # doctest: +SKIP

    Source: The interval is Student's t interval (Student, 1908, The probable error of a mean).
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
    """Add a row for each combination of recipe, control and ssr that has no quality. Return all rows, sorted."""
    for (recipe, control, ssr), count in failed.items():
        row = {"recipe": recipe, "control": control, "ssr": ssr, "n": 0, "values": (), "seeds": (), "failed": count}
        rows = [*rows, row]
    order = {arm: place for place, arm in enumerate(dict.fromkeys((row["recipe"], row["control"]) for row in rows))}
    return sorted(rows, key=lambda row: (order[row["recipe"], row["control"]], row["ssr"]))


def paired(study: Study, a: str | tuple[str, str], b: str | tuple[str, str], confidence: float = 0.95) -> pd.DataFrame:
    """Return the difference ``a - b`` of two recipes, paired by common seeds, and the t interval of this difference.

    Args:
        study: The study.
        a: A recipe, or (recipe, control).
        b: The other recipe, or (recipe, control).
        confidence: Confidence of the intervals.

    Returns:
        A row for each ssr that both recipes have run, with these columns:

        - ssr
        - n: the number of common seeds
        - difference: a - b, in units of quality; NaN if there are no common seeds
        - low, high: the ends of the interval of the difference
        - better: ``a`` or ``b``; ``undecided`` if the 99% interval includes 0; ``""`` if there is no interval

    Raises:
        InputError: A recipe does not exist.

    Source: Student, 1908, The probable error of a mean.
    """
    check_confidence(confidence)
    first, second = find_series(study, a, "a"), find_series(study, b, "b")
    rows = []
    for ssr, one, other in _shared(first, second):
        have_seeds = one.seeds is not None and other.seeds is not None
        n = len(np.intersect1d(one.seeds, other.seeds, assume_unique=True)) if have_seeds else 0
        if not n:
            rows.append((ssr, 0, math.nan, math.nan, math.nan, ""))
            continue
        estimate = combine([one, other], [1.0, -1.0], confidence)
        low, high = sorted((study.sign * estimate.low, study.sign * estimate.high))
        rows.append((ssr, n, study.sign * estimate.value, low, high, _winner(estimate, "a", "b")))
    return pd.DataFrame(rows, columns=["ssr", "n", "difference", "low", "high", "better"])


def difference(
    cells: Sequence[Cell], weights: Sequence[float], minus: Sequence[Cell], less: Sequence[float], confidence: float
) -> Estimate:
    """Return the weighted sum of ``cells`` minus the weighted sum of ``minus``. A cell may be in both sums."""
    pairs: dict[int, tuple[Cell, float]] = {}
    for group, sign in ((zip(cells, weights, strict=True), 1.0), (zip(minus, less, strict=True), -1.0)):
        for cell, weight in group:
            pairs[id(cell)] = (cell, pairs.get(id(cell), (cell, 0.0))[1] + sign * weight)
    return combine([cell for cell, _ in pairs.values()], [weight for _, weight in pairs.values()], confidence)


def gains(series: Series, confidence: float) -> list[tuple[float, bool, Estimate]]:
    """For each measured ssr, return how much quality doubling it adds, if its double is within the measured range.

    Returns:
        A tuple for each ssr: the ssr, whether the quality at its double is interpolated, and the gain (> 0 if the
        longer run is better).
    """
    rows = []
    for ssr in series.ssr:
        if 2 * ssr > series.ssr[-1] * (1 + 1e-9):
            break
        cells, weights = series.weights(2 * ssr)
        start = series.cells[int(np.searchsorted(series.ssr, ssr))]
        estimate = difference(cells, weights, [start], [1.0], confidence)
        rows.append((float(ssr), len(cells) > 1, estimate))
    return rows


def doublings(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Return the gain of doubling each measured ssr: ``quality(2 ssr) - quality(ssr)``.

    Returns:
        A row per recipe x control x measured ssr, if 2 ssr is within the measured range, with these columns:

        - recipe, control, ssr
        - next_ssr: 2 ssr
        - n: the number of common seeds or of runs; see ``n`` of :class:`ssr_hydra.studies.intervals.Band`
        - gain: > 0 if the longer run is better, also for a metric such as a loss
        - low, high: the ends of the interval of the gain
        - sure_low, sure_high: the ends of the 99% interval, which decides verdicts
        - sd: the standard deviation of a gain that is measured with only one seed
        - method: ``paired``, ``welch``, ``pooled`` or ``none``; see :class:`ssr_hydra.studies.intervals.Band`
        - interpolated: whether the quality at 2 ssr is interpolated
    """
    check_confidence(confidence)
    rows: list[Any] = []
    for series in study.series:
        for ssr, between, gain in gains(series, confidence):
            row = (series.recipe, series.control, ssr, 2 * ssr, *_told(gain), *gain.surely)
            rows.append((*row, gain.sd, gain.method, between))
    columns = ["recipe", "control", "ssr", "next_ssr", "n", "gain", "low", "high"]
    columns += ["sure_low", "sure_high", "sd", "method", "interpolated"]
    return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True)
class Place:
    """A recipe at an SSR, with the cells and weights from which its mean is interpolated (one cell if measured)."""

    recipe: str
    ssr: float
    cells: tuple[Cell, ...]
    weights: tuple[float, ...]
    fragile: bool = False

    @property
    def survived(self) -> float:
        """The fraction of runs that did not diverge, in the cell where this fraction is smallest."""
        return min(cell.survived for cell in self.cells)

    @property
    def rank(self) -> tuple[bool, float]:
        """A sort key that puts the best recipe first, and fragile recipes last."""
        return self.fragile, -self.value

    @property
    def value(self) -> float:
        """The mean, with a sign such that a larger value is better."""
        return sum(weight * cell.mean for cell, weight in zip(self.cells, self.weights, strict=True))


@dataclass(frozen=True)
class Rival:
    """A recipe that is compared with the best recipe at an equal budget.

    Attributes:
        recipe: The name of the rival.
        ssr: The SSR at which the rival uses the same budget as the best recipe.
        margin: The quality of the best recipe minus that of the rival; < 0 if the rival is better.
        low: Lower end of the interval of ``margin``, not adjusted for multiple comparisons; NaN if there is no
            interval.
        high: Upper end of the interval of ``margin``.
        open: Whether the rival may be as good as the best recipe. If False, the rival is worse with 99% confidence.
        batch: The number of additional seeds that would halve the interval of ``margin``; None if ``open`` is False, or
            if the number is unknown.
        n: If the runs of both recipes are paired, the number of common seeds. Otherwise the number of runs of the
            recipe with fewer runs.
        survived: The fraction of the rival's runs that did not diverge. ``margin`` uses only these runs.
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
    """Compare the chosen recipe, which has the best mean at a budget, with the other recipes (its rivals).

    ``Rival.open`` is set by two rules. Rule 1: if each comparison on its own shows with 99% confidence that the chosen
    recipe is better, no rival is open. This rule needs no correction for multiple comparisons, because all comparisons
    must agree.

    Rule 2: otherwise, a rival is open unless it is worse than the chosen recipe with 99% confidence, corrected for the
    number of comparisons. So with 99% confidence, the recipe that is truly best is the chosen recipe or an open rival,
    although the chosen recipe was selected by its mean.

    Returns:
        The rivals, the best first.

    Source: Rule 1: Berger, 1982, Multiparameter hypothesis testing and acceptance sampling. Rule 2: Hsu, 1984,
    Constrained simultaneous confidence intervals for multiple comparisons with the best, with Dunnett's critical value.
    """
    margins = [
        (other, difference(chosen.cells, chosen.weights, other.cells, other.weights, confidence)) for other in others
    ]
    sole = all(margin.beyond() > 0 for _, margin in margins)
    quantile = 0.5 + max(VERDICT, confidence) / 2
    all_rivals = []
    for other, margin in margins:
        together = dunnett(round(margin.df, 1), len(margins), quantile) if margin.known else math.nan
        is_open = not sole and not margin.value > together * margin.error
        batch = next_batch(margin, (margin.high - margin.low) / 4) if is_open else None
        ends = margin.low, margin.high
        all_rivals.append(Rival(other.recipe, other.ssr, margin.value, *ends, is_open, batch, margin.n, other.survived))
    return tuple(sorted(all_rivals, key=lambda rival: rival.margin))


def outliers(study: Study) -> pd.DataFrame:
    """Return runs whose quality is far from the other qualities of the same recipe, control and ssr.

    "Far" means more than 8 typical standard deviations from the median. The typical standard deviation is the median of
    the standard deviations over all recipes, controls and SSRs. With three or more SSRs, it depends on the SSR: it
    follows a trend over log SSR (Theil-Sen), because shorter runs often have more noise.

    Returns:
        A row per run, the farthest first, with the columns below. If a recipe, control and ssr have only one or two
        runs, these runs are not checked, because two runs cannot show which of them is far off.

        - recipe, control, ssr
        - seed: None if it is unknown
        - value: the quality of the run
        - median: the median of the runs with the same recipe, control and ssr
        - distance: the distance from this median, in typical standard deviations
    """
    pairs = [(ssr, cell) for series in study.series for ssr, cell in zip(series.ssr, series.cells, strict=True)]
    measured = [(math.log(ssr), math.log(cell.variance)) for ssr, cell in pairs if cell.n > 1 and cell.variance > 0]
    if not measured:
        measured = [(0.0, math.inf)]
    logs, spreads = np.array(measured).T
    slope = 0.0
    if len(set(logs)) >= _FEWEST_FOR_TREND:
        one, other = np.triu_indices(len(logs), 1)
        apart = logs[one] != logs[other]
        slope = float(np.median((spreads[one] - spreads[other])[apart] / (logs[one] - logs[other])[apart]))
    level = float(np.median(spreads - slope * logs))
    rows: list[Any] = []
    for series in study.series:
        for ssr, cell in zip(series.ssr, series.cells, strict=True):
            if len(cell.values) < _FEWEST_TO_JUDGE:
                continue
            median, typical = float(np.median(cell.values)), math.exp((level + slope * math.log(ssr)) / 2)
            for place in np.flatnonzero(np.abs(cell.values - median) > _FAR * typical):
                seed = None if cell.seeds is None else int(cell.seeds[place])
                value, distance = float(cell.values[place]), abs(float(cell.values[place]) - median) / typical
                row = (series.recipe, series.control, float(ssr), seed, study.sign * value, study.sign * median)
                rows.append((*row, distance))
    columns = ["recipe", "control", "ssr", "seed", "value", "median", "distance"]
    return pd.DataFrame(sorted(rows, key=lambda row: -row[-1]), columns=columns)


def winners(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Return the best recipe at each ssr that two or more recipes have run.

    Recipes are sorted by their means, but fragile recipes come after all recipes that are not fragile. A recipe is
    fragile if its fraction of diverged runs is significantly larger than the smallest such fraction of any recipe.
    Controls are excluded.

    Returns:
        A row per ssr, with these columns:

        - ssr
        - best, second: the best and the second-best recipe
        - margin: how much better the mean of ``best`` is than the mean of ``second``; can be < 0 only if ``second`` is
          fragile
        - n, low, high, method: like these columns of :func:`doublings`, but for ``margin`` instead of ``gain``
        - open: a tuple of the recipes that may be as good as the best recipe
        - decided: whether ``open`` is empty

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
            margin = combine([*best.cells, *others[0].cells], [1.0, -1.0], confidence)
            open_recipes = tuple(rival.recipe for rival in rivals(best, others, confidence) if rival.open)
            rows.append(
                (ssr, best.recipe, others[0].recipe, *_told(margin), margin.method, open_recipes, not open_recipes)
            )
    columns = ["ssr", "best", "second", "n", "margin", "low", "high", "method", "open", "decided"]
    return pd.DataFrame(rows, columns=columns).astype({"decided": bool})


def controls(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Compare the scaled runs of each recipe with its controls, at each ssr that has runs of both.

    The control ``truncate`` runs the schedule of ssr 1 and stops at the same step as the scaled run. The control
    ``scale_warmup`` also scales the warmup.

    Returns:
        A row per recipe x control x ssr, with these columns:

        - recipe, control, ssr
        - gain: how much better the scaled runs are than the control; > 0 means that scaling is better
        - n, low, high, method: like these columns of :func:`doublings`
        - winner: ``scaling``, ``control`` or ``undecided``; ``same`` if every seed has the same quality with scaling
          and in the control; ``""`` if there is no interval
    """
    check_confidence(confidence)
    scaled = {series.recipe: series for series in uncontrolled(study)}
    rows: list[Any] = []
    for series in study.series:
        if not series.control or series.recipe not in scaled:
            continue
        for ssr, one, other in _shared(scaled[series.recipe], series):
            estimate = combine([one, other], [1.0, -1.0], confidence)
            have_seeds = one.seeds is not None and other.seeds is not None
            same = have_seeds and np.array_equal(one.seeds, other.seeds) and np.array_equal(one.values, other.values)
            winner = "same" if same else _winner(estimate, "scaling", "control")
            rows.append((series.recipe, series.control, ssr, *_told(estimate), estimate.method, winner))
    columns = ["recipe", "control", "ssr", "n", "gain", "low", "high", "method", "winner"]
    return pd.DataFrame(rows, columns=columns)


def decision_accuracy(study: Study) -> pd.DataFrame:
    """Return how often shorter runs rank two recipes like the longest runs do. Controls are excluded.

    The longest runs are those at the largest SSR that all recipes have run (``reference_ssr``).

    Returns:
        A row for each ssr below ``reference_ssr`` that all recipes have run. There are no rows if there are fewer than
        two recipes. The columns are:

        - ssr, reference_ssr
        - pairs: the number of pairs of recipes
        - agree: the fraction of pairs that have the same order at both SSRs. A tie counts as one half. A random order
          gives 0.5 on average.
    """
    columns = ["ssr", "reference_ssr", "pairs", "agree"]
    all_series = list(uncontrolled(study))
    if len(all_series) < 2:
        return pd.DataFrame([], columns=columns)
    common = [float(ssr) for ssr in all_series[0].ssr if all((series.ssr == ssr).any() for series in all_series)]
    means = np.array([[series.values[series.ssr == ssr][0] for ssr in common] for series in all_series])
    one, other = np.triu_indices(len(all_series), 1)
    signs = np.sign(means[one] - means[other])
    agree = ((1 + signs * signs[:, -1:]).mean(axis=0) / 2).tolist()
    rows = [(ssr, common[-1], len(one), share) for ssr, share in zip(common, agree, strict=True)]
    return pd.DataFrame(rows[:-1], columns=columns)


def pooled_control(study: Study, control: str, confidence: float = 0.95) -> Estimate | None:
    """Return the mean gain of scaled runs over a control.

    The mean is over all combinations of recipe and SSR that have scaled runs and control runs. It excludes combinations
    whose control runs have the same qualities as the scaled runs.

    Returns:
        The mean gain with its interval; None if there are no such combinations.
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


def _told(estimate: Estimate) -> Sequence[float]:
    return estimate.n, estimate.value, estimate.low, estimate.high


def _winner(estimate: Estimate, first: str, second: str) -> str:
    if not estimate.known:
        return ""
    return {1: first, -1: second, 0: "undecided"}[estimate.beyond()]


def _shared(one: Series, other: Series) -> list[tuple[float, Cell, Cell]]:
    common, left, right = np.intersect1d(one.ssr, other.ssr, assume_unique=True, return_indices=True)
    return [(float(ssr), one.cells[i], other.cells[j]) for ssr, i, j in zip(common, left, right, strict=True)]
