"""Student's t for weighted sums of the means of cells, and for bands of them.

A cell is the runs of one recipe at one SSR. A mean, a difference of two, a gain per doubling, a value interpolated
between two SSRs and the error of a prediction are all weighted sums of cells' means: ``sum_i w_i mean(cell_i)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import special

from ssr_hydra.errors import InputError

__all__ = [
    "VERDICT",
    "Band",
    "Cell",
    "Estimate",
    "Method",
    "check_confidence",
    "combine",
    "first_at_least",
    "rough_guess",
    "seeds_needed",
]

Method = Literal["paired", "welch", "none"]
_Array = Any  # numpy.ndarray, whose parameters say nothing here

# Values that differ by rounding alone do not differ.
_ROUNDING = 1e-12
VERDICT = 0.99
"""Confidence of what decides: over six looks at a study that grows, at most 5% of verdicts are wrong."""
POWER = 0.8
"""Of the test for which seeds are counted."""
_MOST_SEEDS = 10_000
_ROUGH = 4  # with fewer seeds the noise is not known to a factor of two, so neither are the seeds that it takes


@dataclass(frozen=True)
class Cell:
    """The values of one recipe at one SSR.

    Attributes:
        values: One for each run.
        seeds: Their seeds, ascending; None if the runs have none, or not each its own.
        diverged: How many runs more diverged, and have no value.
        adjusted: The estimate of the mean where cells of the study have different seeds; None: that of the values.
        influence: What each seed of the study contributes to the error of that estimate; None if unknown.
    """

    values: _Array
    seeds: _Array
    diverged: int = 0
    adjusted: float | None = None
    influence: _Array = None

    @property
    def survived(self) -> float:
        """The fraction of the runs that did not diverge."""
        return self.n / (self.n + self.diverged)

    @property
    def n(self) -> int:
        """How many runs."""
        return len(self.values)

    @cached_property
    def mean(self) -> float:
        """The estimate of the mean."""
        return float(self.values.mean()) if self.adjusted is None else self.adjusted

    @cached_property
    def error(self) -> float:
        """The standard error of the mean; NaN of one run."""
        if self.influence is None or self.n == 1:
            return math.sqrt(self.variance / self.n)
        return float(np.linalg.norm(self.influence))

    @cached_property
    def variance(self) -> float:
        """Of the values; NaN of one."""
        return float(self.values.var(ddof=1)) if self.n > 1 else math.nan

    @cached_property
    def largest(self) -> float:
        """The largest absolute value."""
        return float(np.abs(self.values).max())


@dataclass(frozen=True)
class Band:
    """Weighted sums of cells' means, one for each column of weights.

    Attributes:
        value: The sums.
        error: Their standard errors; NaN where noise cannot be told.
        low: Lower ends of their intervals; NaN likewise.
        high: Upper ends.
        df: Degrees of freedom of each.
        n: Seeds that are common to all cells where paired, else the runs of the smallest cell.
        sd: Standard deviation of the sum made of one run of each cell.
        method: ``paired``: over the sums of each common seed. ``welch``: cells are independent. ``none``: no intervals.
    """

    value: _Array
    error: _Array
    low: _Array
    high: _Array
    df: _Array
    n: int
    sd: _Array
    method: Method


@dataclass(frozen=True)
class Estimate:
    """One weighted sum: see :class:`Band`."""

    value: float
    error: float
    low: float
    high: float
    df: float
    n: int
    sd: float
    method: Method

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def check_confidence(confidence: float) -> float:
    """A level of confidence.

    Raises:
        InputError: Not between 0 and 1.
    """
    if isinstance(confidence, bool) or not isinstance(confidence, (int, float)) or not 0 < confidence < 1:
        raise InputError("confidence", confidence, "must lie between 0 and 1", "write e.g. 0.95")
    return float(confidence)


def combine(cells: Sequence[Cell], weights: Sequence[float], confidence: float) -> Estimate:
    """The weighted sum of cells' means with its interval: :func:`band` with one column of weights.

    Example:
        >>> import numpy as np
        >>> new, old = Cell(np.array([3.0, 5.0, 4.0]), np.arange(3)), Cell(np.array([1.0, 2.0, 3.0]), np.arange(3))
        >>> gain = combine([new, old], [1, -1], 0.95)  # of the seeds 2, 3, 1
        >>> gain.method, gain.value, round(gain.low, 3), round(gain.high, 3)
        ('paired', 2.0, -0.484, 4.484)
    """
    made = band(cells, np.array(weights, dtype=float)[:, None], confidence)
    value, error, low, high, df, sd = (
        float(item[0]) for item in (made.value, made.error, made.low, made.high, made.df, made.sd)
    )
    return Estimate(value, error, low, high, df, made.n, sd, made.method)


def band(cells: Sequence[Cell], weights: _Array, confidence: float) -> Band:
    """Weighted sums of cells' means with Student's t intervals.

    Runs of the same seed are paired where at least two seeds are common to all cells, and at least half of each cell's:
    the sum is then made seed by seed, and its mean is over the common seeds. Cells of a study whose seeds differ have
    estimates of their own (:func:`ssr_hydra.studies.effects.with_effects`): the sum is of these, and its error is made
    seed by seed as well. Else cells are independent: Welch's standard error ``sqrt(sum_i w_i^2 s_i^2 / n_i)`` with the
    degrees of freedom of Satterthwaite. There is no interval if a cell has one run, nor if the runs of different seeds
    do not differ: they cannot tell the noise.

    Args:
        cells: What is added up.
        weights: A row for each cell, a column for each sum.
        confidence: Of the intervals.
    """
    method: Method
    by_seed = all(cell.influence is not None for cell in cells)
    common = None if by_seed else _common(cells)
    quantile = 0.5 + confidence / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        if by_seed:
            counts = np.array([cell.n for cell in cells])
            n = int(counts.min())
            value = weights.T @ np.array([cell.mean for cell in cells])
            error = np.linalg.norm(np.stack([cell.influence for cell in cells]).T @ weights, axis=0)
            error = np.where((weights[counts == 1] != 0).any(axis=0), math.nan, error)
            sd = error * math.sqrt(n)
            df, method = _freedom(cells, weights)
        elif common is not None:
            every = [cell.n == len(common) for cell in cells]  # then no seed is left out
            values = np.stack(
                [
                    cell.values if whole else cell.values[np.isin(cell.seeds, common)]
                    for cell, whole in zip(cells, every, strict=True)
                ]
            )
            n = values.shape[1]
            means = values.mean(axis=1)
            value = (weights.T @ values).mean(axis=1)
            # The norm of each sum's deviations, by a factor as small as the cells are few: with 10,000 seeds it pays.
            factor = np.linalg.qr((values - means[:, None]).T, mode="r")
            sd = np.linalg.norm(factor @ weights, axis=0) / math.sqrt(n - 1)
            error, df = sd / math.sqrt(n), np.full(len(value), n - 1.0)
            method = "paired"
        else:
            counts = np.array([cell.n for cell in cells])
            means = np.array([cell.mean for cell in cells])
            variances = np.array([cell.variance for cell in cells])
            n = int(counts.min())
            value = weights.T @ means
            parts = np.where(weights == 0, 0.0, weights**2 * variances[:, None])
            sd = np.sqrt(parts.sum(axis=0))
            errors = np.array([cell.error for cell in cells])
            parts = np.where(weights == 0, 0.0, weights**2 * errors[:, None] ** 2)
            error = np.sqrt(parts.sum(axis=0))
            df = parts.sum(axis=0) ** 2 / (parts**2 / np.maximum(counts - 1, 1)[:, None]).sum(axis=0)
            method = "welch"
        scale = max(cell.largest for cell in cells)
        known = sd > _ROUNDING * scale
        error = np.where(known, error, math.nan)
        half = special.stdtrit(df, quantile) * error
    if not known.any():
        method = "none"
    return Band(value, error, value - half, value + half, df, n, sd, method)


def _freedom(cells: Sequence[Cell], weights: _Array) -> tuple[_Array, Method]:
    """Degrees of freedom of sums whose errors are made seed by seed: of Satterthwaite, with a seed for a cluster.

    Each cell's runs contribute alike. Of cells of the same n seeds that is n - 1; of two cells of n seeds each that
    share none, 2 n - 2.
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
    if len(cells) == 1:  # nothing to pair: the t interval of a mean, whether the runs have seeds or not
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
    """The first x at which a piecewise linear y reaches a level; NaN if it never does.

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


def rough_guess(n: int) -> str:
    """A sentence about a number of seeds that so few tell of; nothing where they are enough.

    Args:
        n: Seeds that the noise is known from.

    Example:
        >>> rough_guess(2), rough_guess(4)
        (' From 2 seeds that is a rough guess.', '')
    """
    return f" From {n} seeds that is a rough guess." if 0 < n < _ROUGH else ""


def seeds_needed(effect: float, sd: float, confidence: float, power: float = POWER) -> int | None:
    """Seeds with which a two-sided t test tells an effect from 0 with a power.

    ``power(n) = P(|T| > t)`` for T of the noncentral t distribution with n - 1 degrees of freedom and noncentrality
    ``effect / sd * sqrt(n)``, and t the test's critical value.

    Args:
        effect: The true mean.
        sd: Standard deviation of one seed's value.
        confidence: 1 - the test's level.
        power: How often the test has to see it.

    Returns:
        The smallest number of seeds, 2 or more; None if 10,000 do not suffice, or the noise is not known.

    Example:
        >>> seeds_needed(1.0, 1.0, 0.95)
        10

    Source: Cohen, 1988, Statistical Power Analysis for the Behavioral Sciences.
    """
    if not sd > 0 or effect == 0 or math.isnan(effect):
        return None

    def seen(n: int) -> float:
        t = special.stdtrit(n - 1, 0.5 + confidence / 2)
        # Of the other tail not even the test's level is in it.
        return 1 - float(special.nctdtr(n - 1, abs(effect) / sd * math.sqrt(n), t))

    # Power grows with n. The normal distribution's answer is a little too small: begin there, and bracket.
    normal = special.ndtri(0.5 + confidence / 2) + special.ndtri(power)
    guess = (normal * sd / abs(effect)) ** 2
    if guess > _MOST_SEEDS:
        return None
    n = max(2, math.floor(guess) - 1)
    while n > 2 and seen(n - 1) >= power:
        n -= 1
    while seen(n) < power:
        n += 1
    return n if n <= _MOST_SEEDS else None
