"""The noise of all cells together, against SciPy, hand calculations and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats
from study_runs import study_of as study_of_cells

from scripts.coverage import DIGITS, SPREADS, SSRS, coverage, decided, draws, study_of
from ssr_hydra.studies import doublings, paired, summary
from ssr_hydra.studies.noise import pooled_noise


def test_the_line_is_that_of_the_gamma_likelihood() -> None:
    rng = np.random.default_rng(0)
    ssrs, df = np.repeat(SSRS, 3), np.resize([1, 2, 4], 15)
    variances = np.exp(-1.0 * np.log(ssrs)) * rng.chisquare(df) / df
    noise = pooled_noise(variances, df, ssrs, np.resize([0, 1, 2], 15))
    assert noise is not None

    def likelihood(line: np.ndarray) -> float:
        log = line[0] + line[1] * np.log(ssrs)
        return float((df / 2 * (log + variances / np.exp(log))).sum())

    best = optimize.minimize(likelihood, [0.0, 0.0], tol=1e-10).x
    true = np.exp(best[1] * np.log(ssrs) / 2)
    assert noise.spreads / noise.spreads[-1] == pytest.approx(true / true[-1], rel=1e-4)


def test_recipes_of_one_ssr_each_have_a_level_and_no_trend() -> None:
    """As in a sweep that zips ssr with another key: the levels of the recipes already are the trend over SSR."""
    ssrs, recipes, df = np.array([0.25, 0.5, 1.0, 2.0]), np.arange(4), np.full(4, 8)
    on_a_line = pooled_noise(ssrs**-2, df, ssrs, recipes)  # the trend explains all of it, so one level is enough
    assert on_a_line is not None
    assert on_a_line.spreads == pytest.approx(1 / ssrs)
    assert on_a_line.features.shape == (4, 2)
    unlike = np.array([1.0, 1e4, 1.0, 1e4])  # no trend explains it, so each recipe keeps its own variance
    apart = pooled_noise(unlike, df, ssrs, recipes)
    assert apart is not None
    assert apart.spreads == pytest.approx(np.sqrt(unlike))


def test_cells_of_one_noise_pool_all_degrees_of_freedom() -> None:
    """At one SSR, without common seeds, the pooled variance is the mean of the variances, with 4 + 4 of them."""
    one, two = [0.10, 0.12, 0.15, 0.11, 0.13], [0.20, 0.23, 0.21, 0.24, 0.20]
    cells = {"a": {1.0: dict(enumerate(one))}, "b": {1.0: dict(enumerate(two, start=5))}}
    table = summary(study_of_cells(cells, "min"))
    pooled = (np.var(one, ddof=1) + np.var(two, ddof=1)) / 2
    half = stats.t.ppf(0.975, 8) * math.sqrt(pooled / 5)
    shift = table["mean"] * (1 - table["mean"])  # an accuracy: t on the logit
    logit = np.log(table["mean"] / (1 - table["mean"]))
    assert table["low"].to_numpy() == pytest.approx(1 / (1 + np.exp(-(logit - half / shift))))
    assert table["high"].to_numpy() == pytest.approx(1 / (1 + np.exp(-(logit + half / shift))))


def test_differences_of_common_seeds_are_those_of_a_two_way_analysis_of_variance() -> None:
    rng = np.random.default_rng(4)
    values = rng.normal(0, 0.02, 5) + rng.normal(0, 0.01, (4, 5)) + 0.5
    study = study_of_cells({name: {1.0: row} for name, row in zip("abcd", values, strict=True)})
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    square = (rest**2).sum() / (4 * 3)
    (row,) = paired(study, "a", "b").itertuples()
    half = stats.t.ppf(0.975, 12) * math.sqrt(square * 2 / 5)
    assert (row.high - row.low) / 2 == pytest.approx(half, rel=1e-3)


def test_a_recipe_of_other_noise_keeps_its_own() -> None:
    rng = np.random.default_rng(2)
    quiet = {ssr: 0.5 + rng.normal(0, 1e-5, 8) for ssr in SSRS}
    loud = {ssr: 0.5 + rng.normal(0, 0.05, 8) for ssr in SSRS}
    made, alone = (
        doublings(study_of_cells({"quiet": quiet, "loud": loud}, noise=noise)) for noise in ("pooled", "cell")
    )
    ratio = (made["high"] - made["low"]) / (alone["high"] - alone["low"])
    assert ratio.between(0.5, 3).all()


def test_a_metric_between_0_and_1_has_intervals_within() -> None:
    table = summary(study_of_cells({"a": {1.0: [0.999, 0.95], 2.0: [0.001, 0.2], 4.0: [1.0, 1.0]}}))
    assert ((table["low"] >= 0) & (table["low"] < table["mean"])).tolist() == [True, True, True]
    assert (table["high"] <= 1).all()


def test_one_run_that_is_far_off_widens_its_own_cell() -> None:
    rng = np.random.default_rng(6)
    cells = {name: {ssr: 0.5 + rng.normal(0, 0.01, 3) for ssr in SSRS} for name in "ab"}
    clean = doublings(study_of_cells(cells))
    cells["a"][1.0] = cells["a"][1.0] + np.array([0.0, 0.0, 1.0])
    made = doublings(study_of_cells(cells))
    ratio = ((made["high"] - made["low"]) / (clean["high"] - clean["low"]))[made["recipe"] == "b"]
    assert ratio.max() < 4


def test_intervals_cover_on_noise_like_that_of_digits() -> None:
    # tests/chaos tries two and five seeds.
    # 200 studies of 15 means, 12 gains and 15 differences that are correlated: give or take 1.5 points.
    found = coverage(3, 200)
    assert all(0.93 <= share <= 0.98 for share in found.values()), found


def test_five_seeds_decide_what_eight_did() -> None:
    """Two recipes of digits-like noise that differ by one standard deviation, each seed of 24 drawn at random."""
    rng = np.random.default_rng(0)
    truth = np.array([DIGITS, np.array(DIGITS) - 1.6 * np.array(SPREADS)])
    values = draws(rng, truth, SPREADS, 24)
    assert decided(values, 5, 60, "pooled") >= decided(values, 8, 60, "cell") - 0.05


def test_one_study_of_the_script_is_one_of_the_package() -> None:
    study = study_of(np.full((2, 5, 3), 0.5))
    assert len(study.frame) == 30
    assert [series.recipe for series in study.series] == ["r0", "r1"]
