"""Student's t intervals of weighted sums of cells' means. Variances use the noise of the whole study.

A cell is the set of runs of one recipe at one SSR. Every result of a study is a weighted sum of cells' means,
``sum_i w_i mean(cell_i)``: a mean, a difference of two means, a gain per doubling, a value that is interpolated between
two SSRs, and the error of a prediction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from scipy import optimize, special

from ssr_hydra.errors import RangeError
from ssr_hydra.settings.base import number, positive
from ssr_hydra.studies.noise import Noise

Method = Literal["paired", "welch", "pooled", "none"]
_Array = Any  # numpy.ndarray, whose type parameters give no information here
_ROUNDING = 1e-12  # values that differ by less than this fraction count as equal
VERDICT = 0.99
"""Confidence of verdicts. If a user looks six times at a growing study, at most 5% of verdicts are wrong."""
_MOST_SEEDS = 10_000
_RANGE = 0.8  # confidence of the interval for a planned number of seeds


@dataclass(frozen=True)
class Cell:
    """The runs of one recipe at one SSR, each with one value.

    Attributes:
        values: The value of each run, such as its quality.
        seeds: The seeds of the runs, ascending; None if a run has no seed, or two runs have the same seed.
        diverged: The number of runs that diverged and have no value.
        adjusted: The mean that :func:`ssr_hydra.studies.effects.with_effects` estimates if some cells lack seeds that
            other cells have. None means that the mean of ``values`` is used.
        influence: One number for each seed of the study: how much the seed contributes to the standard error of
            ``adjusted``. None if ``adjusted`` is None.
        summarized: If ``values`` has only the mean of several runs: the number of runs and their standard deviation
            (NaN if unknown). Otherwise None.
        noise: The noise of the whole study. None means that only the noise of the cell's own runs is used.
        place: Index of the cell in ``noise``.
    """

    values: _Array
    seeds: _Array
    diverged: int = 0
    adjusted: float | None = None
    influence: _Array = None
    summarized: tuple[int, float] | None = None
    noise: Noise | None = None
    place: int = 0

    @property
    def survived(self) -> float:
        """The fraction of the runs that did not diverge."""
        return self.n / (self.n + self.diverged)

    @property
    def n(self) -> int:
        """The number of runs."""
        return len(self.values) if self.summarized is None else self.summarized[0]

    @cached_property
    def mean(self) -> float:
        """``adjusted``, or the mean of ``values``."""
        return float(self.values.mean()) if self.adjusted is None else self.adjusted

    @cached_property
    def error(self) -> float:
        """The standard error of the mean, from the cell's own runs; NaN for one run."""
        if self.influence is None or self.n == 1:
            return math.sqrt(self.variance / self.n)
        return float(np.linalg.norm(self.influence))

    @cached_property
    def variance(self) -> float:
        """The variance of the values; NaN for one value."""
        if self.summarized is not None:
            return self.summarized[1] ** 2 if self.n > 1 else math.nan
        return float(self.values.var(ddof=1)) if self.n > 1 else math.nan

    @cached_property
    def largest(self) -> float:
        """The largest absolute value."""
        return float(np.abs(self.values).max())


@dataclass(frozen=True)
class Band:
    """Weighted sums of cells' means, with intervals: one sum for each column of weights.

    Attributes:
        value: The sums.
        error: The standard errors of the sums; NaN if the noise is unknown.
        low: Lower ends of the intervals of the sums; NaN if the noise is unknown.
        high: Upper ends of the intervals.
        df: Degrees of freedom of each error.
        n: If :func:`band` computes one sum for each common seed, the number of these seeds. Otherwise the number of
            runs of the cell with the fewest runs.
        sd: The standard deviation that each sum would have if every cell had only one run.
        method: How the errors are computed. ``paired``: runs with the same seed are paired. ``welch``: the cells are
            independent. ``pooled``: only from the noise of other cells. ``none``: there are no intervals.
        confidence: Confidence of the intervals.
    """

    value: _Array
    error: _Array
    low: _Array
    high: _Array
    df: _Array
    n: int
    sd: _Array
    method: Method
    confidence: float = 0.95


class Estimate(Band):
    """One weighted sum of cells' means. It has the attributes of :class:`Band`, as numbers instead of arrays."""

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def surely(self) -> tuple[float, float]:
        """The interval that decides verdicts. Its confidence is 99%, or ``confidence`` if higher; NaN if unknown."""
        half = float(special.stdtrit(self.df, 0.5 + max(VERDICT, self.confidence) / 2)) * self.error
        return (self.value - half, self.value + half) if self.known else (math.nan, math.nan)

    @property
    def p(self) -> float:
        """The two-sided p-value of the hypothesis that the sum is 0; NaN if there is no interval."""
        return 2 * float(special.stdtr(self.df, -abs(self.value / self.error))) if self.known else math.nan

    def beyond(self, level: float = 0.0) -> int:
        """Return 1 if the interval :attr:`surely` is above a level, -1 if it is below the level, else 0."""
        low, high = self.surely
        return int(low > level) - int(high < level)


def check_confidence(confidence: float) -> None:
    """Raise an InputError unless a confidence is above 0 and below 1."""
    if not 0 < number(confidence, "confidence") < 1:
        raise RangeError("confidence", confidence, "must be above 0 and below 1", "write e.g. 0.95")


def check_tolerance(tolerance: float | None) -> None:
    """Raise an InputError unless a tolerance is None or a finite number above 0."""
    positive(tolerance, "tolerance", "write e.g. 0.005 for an accuracy")


def check_target(target: float | None) -> None:
    """Raise an InputError unless a quality to reach is None or a finite number."""
    if target is not None and not math.isfinite(number(target, "target")):
        raise RangeError("target", target, "must be a finite number", "write e.g. 0.95")


def combine(cells: Sequence[Cell], weights: Sequence[float], confidence: float) -> Estimate:
    """Return a weighted sum of cells' means with its interval: :func:`band` with one column of weights.

    Example:
        >>> import numpy as np
        >>> new, old = Cell(np.array([3.0, 5.0, 4.0]), np.arange(3)), Cell(np.array([1.0, 2.0, 3.0]), np.arange(3))
        >>> gain = combine([new, old], [1, -1], 0.95)  # the seeds are 2, 3, 1
        >>> gain.method, gain.value, round(gain.low, 3), round(gain.high, 3)
        ('paired', 2.0, -0.484, 4.484)
    """
    sums = band(cells, np.array(weights, dtype=float)[:, None], confidence)
    value, error, low, high, df, sd = (
        float(item[0]) for item in (sums.value, sums.error, sums.low, sums.high, sums.df, sums.sd)
    )
    return Estimate(value, error, low, high, df, sums.n, sd, sums.method, confidence)


def band(cells: Sequence[Cell], weights: _Array, confidence: float) -> Band:
    """Return weighted sums of cells' means with Student's t intervals.

    The variance of a sum is computed from the cells' own runs, in one of three ways:

    - If the cells have ``influence``, the sum uses their ``adjusted`` means, and its error is computed from the
      contribution of each seed.
    - If all cells have at least two seeds in common, and these are at least half of each cell's seeds, runs with the
      same seed are paired: the weighted sum is computed for each common seed. The value is the mean of these sums, and
      its error is computed from their scatter.
    - Otherwise the cells are independent. The error is Welch's standard error ``sqrt(sum_i w_i^2 s_i^2 / n_i)``, with
      the degrees of freedom of Satterthwaite.

    If the cells have ``noise``, the variance from their own runs is averaged with the variance that the model of the
    noise predicts (:class:`ssr_hydra.studies.noise.Noise`). So a cell with one run has an interval if other cells of
    the study have several runs. If the noise is unknown, for example because no cell has several runs, there is no
    interval.

    Args:
        cells: The cells to add up.
        weights: A row for each cell, a column for each sum.
        confidence: Confidence of the intervals.
    """
    method: Method
    by_seed = all(cell.influence is not None for cell in cells)
    common = None if by_seed else _common(cells)
    quantile = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        if common is not None:
            values = np.stack(
                [cell.values if cell.n == len(common) else cell.values[np.isin(cell.seeds, common)] for cell in cells]
            )
            n = values.shape[1]
            means = values.mean(axis=1)
            value = (weights.T @ values).mean(axis=1)
            # The matrix R of a QR decomposition gives the norm of the deviations of each sum. This is fast even for
            # 10,000 seeds.
            factor = np.linalg.qr((values - means[:, None]).T, mode="r")
            sd = np.linalg.norm(factor @ weights, axis=0) / math.sqrt(n - 1)
            error, df = sd / math.sqrt(n), np.full(len(value), n - 1.0)
            method = "paired"
        else:
            counts = np.array([cell.n for cell in cells])
            n = int(counts.min())
            value = weights.T @ np.array([cell.mean for cell in cells])
        if by_seed:
            error = np.linalg.norm(np.stack([cell.influence for cell in cells]).T @ weights, axis=0)
            error = np.where((weights[counts == 1] != 0).any(axis=0), math.nan, error)
            sd = error * math.sqrt(n)
            df, method = _freedom(cells, weights)
        elif common is None:
            variances, errors = np.array([[cell.variance, cell.error] for cell in cells]).T
            parts, error_parts = (
                np.where(weights == 0, 0.0, weights**2 * squares[:, None]) for squares in (variances, errors**2)
            )
            sd, error = np.sqrt(parts.sum(axis=0)), np.sqrt(error_parts.sum(axis=0))
            df = error_parts.sum(axis=0) ** 2 / (error_parts**2 / np.maximum(counts - 1, 1)[:, None]).sum(axis=0)
            method = "welch"
        if (noise := cells[0].noise) is not None:
            is_measured = np.isfinite(error)
            method = method if is_measured.any() else "pooled"
            expected, free = noise.expected([cell.place for cell in cells], weights)
            # df is 0 / 0 if the runs do not differ.
            own = np.where(is_measured, np.where(np.isfinite(df), df, n - 1.0), 0.0)
            prior, scale = noise.priors(weights)
            error = np.sqrt((np.where(is_measured, own * error**2, 0.0) + prior * scale * expected) / (own + prior))
            df = np.maximum(np.minimum(own + prior, free), own)
            sd = error * math.sqrt(n)
        has_noise = sd > _ROUNDING * max(cell.largest for cell in cells)
        error = np.where(has_noise, error, math.nan)
        half = special.stdtrit(df, quantile) * error
    if not has_noise.any():
        method = "none"
    return Band(value, error, value - half, value + half, df, n, sd, method, confidence)


@lru_cache(maxsize=4096)
def dunnett(df: float, count: int, quantile: float) -> float:
    """Return the one-sided critical value for comparing one value with ``count`` other values at the same time.

    The critical value assumes that all values have equal standard errors.

    Args:
        df: Degrees of freedom of the errors.
        count: The number of other values.
        quantile: The confidence of all comparisons together: the probability that no comparison is significant if all
            values are truly equal.

    Example:
        >>> round(dunnett(20.0, 3, 0.95), 2), round(dunnett(20.0, 1, 0.95), 3)
        (2.19, 1.725)

    Source: Dunnett, 1955, A multiple comparison procedure for comparing several treatments with a control.
    """
    if count <= 1 or not df > 0:
        return float(special.stdtrit(df, quantile))
    z, z_weights = np.polynomial.hermite_e.hermegauss(48)
    u, u_weights = np.polynomial.legendre.leggauss(64)
    df = min(df, 1e4)
    scales = np.sqrt(2 * special.gammaincinv(df / 2, (u + 1) / 2) / df)

    def excess(critical: float) -> float:
        below = special.ndtr(math.sqrt(2) * critical * scales[:, None] + z) ** count
        return float(u_weights / 2 @ below @ (z_weights / math.sqrt(2 * math.pi))) - quantile

    single = float(special.stdtrit(df, quantile))
    most = float(special.stdtrit(df, 1 - (1 - quantile) / count))  # Bonferroni's critical value is never smaller
    if excess(most) <= 0:
        return most
    return float(optimize.brentq(excess, single, most, xtol=1e-6))


def _freedom(cells: Sequence[Cell], weights: _Array) -> tuple[_Array, Method]:
    """Return the degrees of freedom of weighted sums, and the method (``paired`` or ``welch``).

    The degrees of freedom come from Satterthwaite's method, where runs with the same seed form a cluster. They are
    n - 1 for cells with the same n seeds. For two cells with n seeds each, no common seed, and equal noise and weights,
    they are 2 n - 2.
    """
    every, rows = np.unique(np.concatenate([cell.seeds for cell in cells]), return_inverse=True)
    counts = [cell.n for cell in cells]
    sizes = np.sqrt([cell.variance if cell.n > 1 else math.nan for cell in cells]) / counts
    parts = np.zeros((len(every), weights.shape[1]))
    each = np.where(weights == 0, 0.0, np.abs(weights) * sizes[:, None])
    columns = np.repeat(np.arange(len(cells)), counts)
    np.add.at(parts, rows, each[columns])
    free = (parts**2).sum(axis=0) ** 2 / (parts**4).sum(axis=0)
    shares_seeds = len(every) < len(rows)
    used = (weights != 0).sum(axis=0)
    return np.maximum(free - (1 if shares_seeds else used), 1.0), "paired" if shares_seeds else "welch"


def _common(cells: Sequence[Cell]) -> _Array | None:
    if len(cells) == 1:
        return None
    seeds = [cell.seeds for cell in cells]
    if any(item is None for item in seeds):
        return None
    common = seeds[0]
    for item in seeds[1:]:
        if common is not item and not np.array_equal(common, item):
            common = np.intersect1d(common, item, assume_unique=True)
    return common if len(common) >= 2 and all(2 * len(common) >= cell.n for cell in cells) else None


def first_at_least(x: _Array, y: _Array, level: float = 0.0) -> float:
    """Return the first x at which the piecewise linear function y(x) reaches a level; NaN if it never does.

    Example:
        >>> import numpy as np
        >>> first_at_least(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0, 4.0]), 1.5)
        0.75
    """
    reached = np.flatnonzero(y >= level)
    if len(reached) == 0:
        return math.nan
    index = int(reached[0])
    if index == 0 or math.isnan(y[index - 1]):
        return float(x[index])
    share = (level - y[index - 1]) / (y[index] - y[index - 1])
    return float(x[index - 1] + share * (x[index] - x[index - 1]))


@dataclass(frozen=True)
class Batch:
    """How many more seeds make an interval as narrow as requested.

    Attributes:
        half: The requested half-width of the interval.
        more: The number of additional seeds for each cell.
        least: Lower end of the 80% interval of ``more``. The number ``more`` is uncertain because the noise is an
            estimate.
        most: Upper end of the interval of ``more``.
    """

    half: float
    more: int
    least: int
    most: int


def next_batch(estimate: Estimate, half: float) -> Batch | None:
    """Return the number of additional seeds that reduces the half-width of an interval to ``half``.

    Return None if the interval is unknown, or if more than 10,000 seeds are necessary. The number depends only on the
    noise, not on the estimated value. Run all additional seeds before you look at the result again: if you stop as soon
    as a gain is decided, intervals are wrong too often.

    Example:
        >>> next_batch(Estimate(0.3, 0.5, -0.7, 1.3, 20.0, 4, 1.0, "paired"), 0.5)
        Batch(half=0.5, more=14, least=9, most=24)
    """
    if not estimate.known or not half > 0:
        return None
    # With more seeds, the quantile is at most this large, so the resulting number of seeds is never too small.
    quantile = float(special.stdtrit(estimate.df, 0.5 + estimate.confidence / 2))
    scales = [1.0, *(math.sqrt(estimate.df / special.chdtri(estimate.df, 0.5 + side * _RANGE / 2)) for side in (-1, 1))]
    counts = [math.ceil((quantile * estimate.sd * scale / half) ** 2 - 1e-9) for scale in scales]
    if counts[0] > _MOST_SEEDS:
        return None
    more = [max(0, count - estimate.n) for count in counts]
    return Batch(half, more[0], min(more), max(more))
