"""The noise of all cells together, against SciPy, hand calculations and simulation."""

import math

import numpy as np
import pytest
from scipy import optimize, stats
from study_runs import study_of as study_of_cells

from scripts.coverage import SSRS, coverage, decisions, digits_rows, resampled
from ssr_hydra.studies import doublings, paired, summary
from ssr_hydra.studies.intervals import combine
from ssr_hydra.studies.noise import moderation, pooled_noise


def test_fitted_line_maximizes_the_gamma_likelihood():
    rng = np.random.default_rng(0)
    ssrs, df = np.repeat(SSRS, 3), np.resize([1, 2, 4], 15)
    variances = np.exp(-1.0 * np.log(ssrs)) * rng.chisquare(df) / df
    noise = pooled_noise(variances, df, ssrs, np.resize([0, 1, 2], 15))
    assert noise is not None

    def likelihood(line):
        log = line[0] + line[1] * np.log(ssrs)
        return float((df / 2 * (log + variances / np.exp(log))).sum())

    best = optimize.minimize(likelihood, [0.0, 0.0], tol=1e-10).x
    true = np.exp(best[1] * np.log(ssrs) / 2)
    assert noise.spreads / noise.spreads[-1] == pytest.approx(true / true[-1], rel=1e-4)


@pytest.mark.parametrize(
    ("df", "scatter", "prior"),
    # Euler's constant g: digamma(1) = -g, digamma(1/2) = -g - 2 log 2, trigamma(1) = pi^2/6, trigamma(1/2) = pi^2/2.
    # So log(variance) - digamma(df/2) + log(df/2) is log(variance) + g for df 2, log(variance) + g + log 2 for df 1.
    # The scatter is the mean trigamma(df/2) plus trigamma(prior/2).
    [
        ([2, 2], math.pi**2 / 6 + math.pi**2 / 6, 2),
        ([1, 1], math.pi**2 / 2 + math.pi**2 / 2, 1),
        ([1, 2], math.pi**2 / 3 + math.pi**2 / 6, 2),
        ([1, 2], 0.0, math.inf),
        ([2, 2], 1e3, 0.5),  # the fewest degrees of freedom
    ],
)
def test_scatter_of_the_variances_sets_degrees_of_freedom_and_level(df, scatter, prior):
    df, level, apart = np.array(df), 3.0, math.sqrt(scatter / 2)
    variances = level * np.exp([apart, -apart]) * np.exp(-np.euler_gamma) / np.where(df == 1, 2, 1)
    assert moderation(variances, df, 1) == pytest.approx((prior, 1.0 if math.isinf(prior) else level))
    if not math.isinf(prior):  # the mean of the log variances is the level of the cells, not the mean variance
        noise = pooled_noise(variances, df, np.ones(2), np.zeros(2))
        assert noise is not None
        assert noise.spreads**2 == pytest.approx([level, level])


def test_recipes_with_one_ssr_each_share_a_noise_trend_or_have_own_noise_levels():
    # A sweep that zips ssr with a different key makes such a study.
    ssrs, recipes, df = np.array([0.25, 0.5, 1.0, 2.0]), np.arange(4), np.full(4, 8)
    on_a_line = pooled_noise(ssrs**-2, df, ssrs, recipes)  # the trend explains all variances
    assert on_a_line is not None
    assert on_a_line.spreads == pytest.approx(1 / ssrs)
    assert on_a_line.features.shape == (4, 2)
    unlike = np.array([1.0, 1e4, 1.0, 1e4])  # no trend explains these variances
    apart = pooled_noise(unlike, df, ssrs, recipes)
    assert apart is not None
    assert apart.spreads == pytest.approx(np.sqrt(unlike))


def test_cells_with_equal_noise_pool_all_degrees_of_freedom():
    """At one SSR without common seeds, the pooled variance is the mean of both, with 4 + 4 degrees of freedom."""
    one, two = [0.10, 0.12, 0.15, 0.11, 0.13], [0.20, 0.23, 0.21, 0.24, 0.20]
    cells = {"a": {1.0: dict(enumerate(one))}, "b": {1.0: dict(enumerate(two, start=5))}}
    table = summary(study_of_cells(cells, "min"))
    pooled = (np.var(one, ddof=1) + np.var(two, ddof=1)) / 2
    half = stats.t.ppf(0.975, 8) * math.sqrt(pooled / 5)
    shift = table["mean"] * (1 - table["mean"])  # the interval of an accuracy is Student's t on its logit
    logit = np.log(table["mean"] / (1 - table["mean"]))
    assert table["low"].to_numpy() == pytest.approx(1 / (1 + np.exp(-(logit - half / shift))))
    assert table["high"].to_numpy() == pytest.approx(1 / (1 + np.exp(-(logit + half / shift))))


def test_differences_of_common_seeds_equal_a_two_way_analysis_of_variance():
    rng = np.random.default_rng(4)
    values = rng.normal(0, 0.02, 5) + rng.normal(0, 0.01, (4, 5)) + 0.5
    study = study_of_cells({name: {1.0: row} for name, row in zip("abcd", values, strict=True)})
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    square = (rest**2).sum() / (4 * 3)
    (row,) = paired(study, "a", "b").itertuples()
    half = stats.t.ppf(0.975, 12) * math.sqrt(square * 2 / 5)
    assert (row.high - row.low) / 2 == pytest.approx(half, rel=1e-3)


def test_recipe_with_different_noise_is_not_pooled():
    rng = np.random.default_rng(2)
    quiet = {ssr: 0.5 + rng.normal(0, 1e-5, 8) for ssr in SSRS}
    loud = {ssr: 0.5 + rng.normal(0, 0.05, 8) for ssr in SSRS}
    pooled, alone = (
        doublings(study_of_cells({"quiet": quiet, "loud": loud}, noise=noise)) for noise in ("pooled", "cell")
    )
    ratio = (pooled["high"] - pooled["low"]) / (alone["high"] - alone["low"])
    assert ratio.between(0.5, 3).all()


def test_outlier_run_widens_intervals_of_other_recipes_less_than_fourfold():
    rng = np.random.default_rng(6)
    cells = {name: {ssr: 0.5 + rng.normal(0, 0.01, 3) for ssr in SSRS} for name in "ab"}
    clean = doublings(study_of_cells(cells))
    cells["a"][1.0] = cells["a"][1.0] + np.array([0.0, 0.0, 1.0])
    gains = doublings(study_of_cells(cells))
    ratio = ((gains["high"] - gains["low"]) / (clean["high"] - clean["low"]))[gains["recipe"] == "b"]
    assert ratio.max() < 4


def test_intervals_have_their_stated_coverage_for_digits_like_noise():
    # 40 studies, each with 15 means, 12 gains and 15 differences. tests/chaos uses more studies.
    shares = coverage(3, 40)
    assert all(0.92 <= share <= 0.99 for share in shares.values()), shares


def test_five_pooled_seeds_decide_as_much_as_eight_unpooled_seeds():
    """8 seeds with the plain t of each cell decide 14 of 46 differences. 5 pooled seeds decide 14.2 on average.

    There are 56 subsets of 5 seeds; this test uses a sample of them. No subset decides the opposite of all 8 seeds.
    """
    rows = digits_rows()
    assert rows.shape == (4, 5, 8)
    whole = decisions(rows, "cell")
    assert (sum(map(abs, whole.values())), len(whole)) == (14, 46)
    subsets = resampled(rows, 5, "pooled", most=6)
    assert np.mean([sum(map(abs, verdicts.values())) for verdicts in subsets]) >= 13
    assert all(verdicts[key] * side >= 0 for verdicts in subsets for key, side in whole.items())
    plain = resampled(rows, 5, "cell", most=6)
    assert np.mean([sum(map(abs, verdicts.values())) for verdicts in plain]) < 11


def test_degrees_of_freedom_of_a_mean_follow_the_rule_of_satterthwaite():
    """With equal seeds at one SSR, a mean has the variance ``((k - 1) rest + seeds) / (k n)`` of a two-way analysis.

    ``rest`` and ``seeds`` are the mean squares of the residuals, with (k - 1)(n - 1) degrees of freedom, and of the
    seeds, with n - 1. Satterthwaite's rule gives the degrees of freedom of their weighted sum.
    """
    rng = np.random.default_rng(1)
    k, n = 4, 5
    values = rng.normal(0, 0.01, n) + rng.normal(0, 0.01, (k, n)) + 5
    study = study_of_cells({name: {1.0: row} for name, row in zip("abcd", values, strict=True)})
    noise = study.series[0].cells[0].noise
    assert noise is not None
    assert math.isinf(noise.prior)
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    rest = (residuals**2).sum() / ((k - 1) * (n - 1))
    seeds = k * values.mean(axis=0).var(ddof=1)
    whole = (k - 1) * rest + seeds
    df = whole**2 / (((k - 1) * rest) ** 2 / ((k - 1) * (n - 1)) + seeds**2 / (n - 1))
    estimate = combine([study.series[0].cells[0]], [1.0], 0.95)
    assert estimate.error == pytest.approx(math.sqrt(whole / (k * n)))
    assert estimate.df == pytest.approx(df)


def test_noise_that_is_a_parabola_over_log_ssr_is_fitted_by_a_parabola():
    logs = np.log(np.array(SSRS))
    variances = np.exp(-1.0 + 0.2 * logs + 0.9 * logs**2)
    noise = pooled_noise(variances, np.full(5, 7), SSRS, np.zeros(5))
    assert noise is not None
    assert noise.spreads**2 == pytest.approx(variances, rel=1e-6)
    further = pooled_noise(np.append(variances, math.nan), np.array([7] * 5 + [0]), (*SSRS, 64.0), np.zeros(6))
    assert further is not None
    assert further.spreads[5] == pytest.approx(further.spreads[4])  # the fitted parabola is not extrapolated
