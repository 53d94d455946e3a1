"""Weighted sums of means against SciPy's own tests, hand calculations, and simulation."""

import math

import numpy as np
import pytest
from refusals import refused
from scipy import stats

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.studies.intervals import Cell, band, check_confidence, combine, dunnett, first_at_least, next_batch

RNG = np.random.default_rng


def cell(values, seeds=None):
    values = np.asarray(values, dtype=float)
    return Cell(values, np.asarray(seeds) if seeds is not None else None)


def numbered(values):
    return cell(values, range(len(np.asarray(values))))


A, B = [3.1, 5.4, 4.4, 4.0], [1.0, 2.2, 3.9, 2.5]


def test_interval_of_a_mean_equals_the_value_computed_by_hand():
    # Mean 2, sd 1, and the 97.5% quantile of t with 2 degrees of freedom is 4.302653 in any table.
    estimate = combine([cell([1.0, 2.0, 3.0])], [1.0], 0.95)
    assert estimate.value == 2.0
    assert estimate.sd == 1.0
    assert estimate.high - 2.0 == pytest.approx(4.302653 / math.sqrt(3), abs=1e-6)
    assert (estimate.n, estimate.df) == (3, 2)


@pytest.mark.parametrize("confidence", [0.5, 0.999])
@pytest.mark.parametrize(
    ("cells", "true", "method"),
    [
        ([cell(A)], stats.ttest_1samp(A, 0), "welch"),
        ([numbered(A), numbered(B)], stats.ttest_rel(A, B), "paired"),
        ([cell(A), cell([*B, 9.0])], stats.ttest_ind(A, [*B, 9], equal_var=False), "welch"),
    ],
    ids=["mean", "paired", "independent"],
)
def test_intervals_equal_those_of_scipy(cells, true, method, confidence):
    estimate, interval = combine(cells, [1.0, -1.0][: len(cells)], confidence), true.confidence_interval(confidence)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert estimate.value / estimate.error == pytest.approx(true.statistic)
    assert (estimate.method, estimate.df) == (method, pytest.approx(true.df))


def test_seeds_are_paired_by_their_numbers_and_not_by_their_positions():
    estimate = combine([cell([1.0, 2.0, 3.0], [1, 2, 3]), cell([2.5, 4.0, 9.0], [2, 3, 4])], [1.0, -1.0], 0.95)
    assert (estimate.method, estimate.n, estimate.value) == ("paired", 2, -0.75)  # seed 2: -0.5, seed 3: -1


@pytest.mark.parametrize(
    ("one", "other"),
    [([0, 1, 2], None), ([0, 1, 2], [2, 3, 4]), ([0, 1, 2], [7, 8, 9]), ([0, 1, 2, 3, 4], [3, 4, 5, 6, 7])],
    ids=["no seeds", "one in common", "none", "less than half"],
)
def test_too_few_common_seeds_are_not_paired(one, other):
    values = RNG(0).normal(size=10)
    cells = [cell(values[: len(one)], one), cell(values[5 : 5 + len(other or one)], other)]
    assert combine(cells, [1.0, -1.0], 0.95).method == "welch"


@pytest.mark.parametrize(
    "cells",
    [[cell([1.0])], [cell([1.0]), cell(A)], [numbered([2.0, 2.0, 2.0])], [numbered([0.1 + 0.2, 0.3, 0.3])]],
    ids=["one run", "one run and a cell", "equal runs", "only a rounding error"],
)
def test_unknown_noise_gives_no_interval(cells):
    estimate = combine(cells, [1.0] * len(cells), 0.95)
    assert (math.isnan(estimate.low), math.isnan(estimate.high), estimate.known) == (True, True, False)
    assert (estimate.beyond(), estimate.method) == (0, "none")


def test_a_cell_of_weight_zero_adds_no_noise():
    both = combine([cell(A), cell([5.0])], [1.0, 0.0], 0.95)
    alone = combine([cell(A)], [1.0], 0.95)
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high))


def test_band_equals_the_interval_at_each_point():
    weights = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    for cells in ([numbered(A), numbered(B)], [cell(A), cell(B)]):
        intervals = band(cells, weights, 0.9)
        for column in range(3):
            one = combine(cells, list(weights[:, column]), 0.9)
            assert (intervals.low[column], intervals.high[column]) == pytest.approx((one.low, one.high))


# Dunnett's tables of 1955, one-sided.
@pytest.mark.parametrize(
    ("df", "count", "quantile", "critical"),
    [(10, 2, 0.95, 2.15), (20, 3, 0.95, 2.19), (1e9, 4, 0.95, 2.16), (20, 3, 0.99, 2.97), (20, 1, 0.95, 1.725)],
)
def test_critical_value_of_dunnett_equals_the_published_tables(df, count, quantile, critical):
    assert dunnett(df, count, quantile) == pytest.approx(critical, abs=0.006)


@pytest.mark.parametrize("more", [0, 7])
def test_estimated_number_of_additional_seeds_makes_the_interval_narrow_enough(more):
    estimate = combine([numbered(RNG(0).normal(size=5))], [1.0], 0.95)
    half = stats.t.ppf(0.975, 4) * estimate.sd / math.sqrt(5 + more)
    batch = next_batch(estimate, half)
    assert batch is not None
    assert batch.more == more
    # With 4 degrees of freedom, these factors are the 80% interval of the standard deviation.
    low, high = (math.sqrt(4 / stats.chi2.ppf(share, 4)) for share in (0.9, 0.1))
    assert (batch.least, batch.most) == (
        max(0, math.ceil((5 + more) * low**2) - 5), math.ceil((5 + more) * high**2) - 5,
    )  # fmt: skip


def test_upper_bound_of_additional_seeds_has_no_limit():
    estimate = combine([cell([1.0, 2.0])], [1.0], 0.95)  # one degree of freedom
    batch = next_batch(estimate, estimate.error * 12.706 * (2 / 9_000) ** 0.5)
    assert batch is not None
    assert batch.more == pytest.approx(9_000, rel=0.01)
    assert batch.most == pytest.approx(9_000 / stats.chi2.ppf(0.1, 1), rel=0.01)  # 570,000


def test_number_of_additional_seeds_is_none_if_unknown_or_above_10000():
    estimate = combine([numbered(A)], [1.0], 0.95)
    assert next_batch(estimate, estimate.error / 1e4) is None
    assert next_batch(combine([cell([1.0])], [1.0], 0.95), 0.1) is None
    assert next_batch(estimate, 0.0) is None


def test_verdicts_use_intervals_of_99_percent():
    values = np.array([0.1, 0.2, 0.3, 0.25])
    low, high = stats.t.interval(0.99, 3, values.mean(), stats.sem(values))
    estimate = combine([cell(values)], [1.0], 0.95)
    assert estimate.surely == pytest.approx((low, high))
    assert [estimate.beyond(level) for level in (low - 1e-6, low + 1e-6, high - 1e-6, high + 1e-6)] == [1, 0, 0, -1]
    assert combine([cell([1.0])], [1.0], 0.95).beyond() == 0
    wide = combine([cell(values)], [1.0], 0.999)
    assert wide.surely == pytest.approx((wide.low, wide.high))


def test_first_point_where_a_curve_reaches_a_level_is_found():
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 2.0, 1.0, 4.0])
    assert first_at_least(x, y, 1.5) == 0.75
    assert first_at_least(x, y, 3.0) == pytest.approx(2 + 2 / 3)
    assert first_at_least(x, y, 0.0) == 0.0
    assert math.isnan(first_at_least(x, y, 4.1))


@pytest.mark.parametrize(
    ("value", "kind"), [(0, RangeError), (1, RangeError), (math.nan, RangeError), (True, WrongTypeError)]
)
def test_invalid_confidence_is_refused(value, kind):
    with refused("confidence", kind):
        check_confidence(value)
