"""Summaries and differences against SciPy's own tests and hand calculations."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from refusals import refused
from scipy import stats
from study_runs import study_of

from ssr_hydra.errors import UnknownNameError
from ssr_hydra.studies import controls, decision_accuracy, doublings, outliers, paired, summary, winners
from ssr_hydra.studies.compare import Place, pooled_control, rivals
from ssr_hydra.studies.intervals import Cell, dunnett

A, B = [0.90, 0.92, 0.95, 0.91], [0.88, 0.91, 0.92, 0.90]


def test_summary_equals_values_computed_by_hand():
    study = replace(study_of({"wsd": {1.0: [0.5, 0.6, 0.7], 0.5: [0.4]}}, noise="cell"), objective="eval/score")
    table = summary(study, price_per_hour=7.2)
    assert table["ssr"].tolist() == [0.5, 1.0]  # sorted
    row = table.iloc[1]
    # Mean 0.6, sd 0.1, t = 4.302653: 0.6 +- 0.248414. Ten seconds at 7.2 an hour cost 0.02.
    assert (row["mean"], row["sd"], row["n"]) == (pytest.approx(0.6), pytest.approx(0.1), 3)
    assert (row["low"], row["high"]) == pytest.approx((0.6 - 0.248414, 0.6 + 0.248414), abs=1e-6)
    assert (row["values"], row["seeds"]) == ((0.5, 0.6, 0.7), (0, 1, 2))
    assert (row["steps"], row["samples"], row["seconds"], row["total_seconds"]) == (100, 1600, 10, 11)
    assert row["cost"] == pytest.approx(0.02)
    assert math.isnan(table.iloc[0]["low"])
    assert math.isnan(table.iloc[0]["high"])


def test_cell_without_a_completed_run_is_a_row_without_a_quality():
    nan = math.nan
    cells = {"lost": {1.0: [nan, nan]}, "a": {1.0: [0.5, nan, 0.7], 2.0: [nan, nan, nan], 4.0: [0.9]}}
    table = summary(study_of(cells), price_per_hour=1.0)
    rows = list(zip(table["recipe"], table["ssr"], table["n"], table["failed"], strict=True))
    assert rows == [("a", 1.0, 2, 1), ("a", 2.0, 0, 3), ("a", 4.0, 1, 0), ("lost", 1.0, 0, 2)]
    lost = table[table["n"] == 0]
    assert lost[["mean", "low", "high", "sd", "steps", "seconds", "cost"]].isna().all(axis=None)
    assert lost["values"].tolist() == lost["seeds"].tolist() == [(), ()]
    assert table["n"].dtype.kind == "i"  # no statistic of the other recipes has changed
    alone = summary(study_of({"a": {1.0: [0.5, nan, 0.7], 4.0: [0.9]}}), price_per_hour=1.0)
    pd.testing.assert_frame_equal(table[table["n"] > 0].reset_index(drop=True), alone)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_paired_differences_equal_those_of_scipy(direction):
    study = study_of({"a": {1.0: A, 4.0: A}, "b": {1.0: B, 2.0: B}}, direction, noise="cell")
    (row,) = paired(study, "a", "b").itertuples()
    true = stats.ttest_rel(A, B).confidence_interval()
    assert (row.ssr, row.n, row.difference) == (1.0, 4, pytest.approx(np.mean(A) - np.mean(B)))
    assert (row.low, row.high) == pytest.approx((true.low, true.high))
    assert row.low > 0
    assert row.better == "undecided"  # 95% exclude 0, 99% do not: p is 0.036
    lower = study_of({"a": {1.0: A}, "b": {1.0: np.array(B) - 0.03}}, direction, noise="cell")
    assert paired(lower, "a", "b")["better"].tolist() == ["a" if direction == "max" else "b"]


@pytest.mark.parametrize("other", [{5: 0.4, 6: 0.3}, {None: 0.4}])
def test_recipes_without_common_seeds_have_no_difference(other):
    (row,) = paired(study_of({"a": {1.0: {0: 0.1, 1: 0.5}}, "b": {1.0: other}}), "a", "b").itertuples()
    assert (row.n, row.better) == (0, "")
    assert math.isnan(row.difference)


def test_error_for_an_unknown_recipe_lists_the_recipes():
    study = study_of({"a": {1.0: A}, ("a", "truncate"): {1.0: B}})
    with refused("b", UnknownNameError, match=r"choose from 'a', \('a', 'truncate'\)"):
        paired(study, "a", "wsd")
    assert len(paired(study, "a", ("a", "truncate"))) == 1


def test_gains_of_measured_doublings_are_paired():
    (row,) = doublings(study_of({"a": {1.0: B, 2.0: A}})).itertuples()
    true = stats.ttest_rel(A, B).confidence_interval()
    assert (row.ssr, row.next_ssr, row.n, row.method, row.interpolated) == (1.0, 2.0, 4, "paired", False)
    assert (row.gain, row.low, row.high) == pytest.approx((np.mean(A) - np.mean(B), true.low, true.high))
    assert row.sd == pytest.approx(np.std(np.array(A) - B, ddof=1))


def test_doubling_to_an_unmeasured_ssr_is_interpolated_from_three_cells():
    one, two, three = np.array(A), np.array(B), np.array([0.97, 0.93, 0.94, 0.99])
    (row,) = doublings(study_of({"a": {1.0: one, 1.5: two, 3.0: three}}, noise="cell")).iloc[:1].itertuples()
    seeds = zip(one, two, three, strict=True)
    gain = np.array([np.polyval(np.polyfit(np.log([1, 1.5, 3]), seed, 2), math.log(2)) - seed[0] for seed in seeds])
    low, high = stats.t.interval(0.95, 3, gain.mean(), stats.sem(gain))
    assert (row.gain, row.low, row.high, row.interpolated) == pytest.approx((gain.mean(), low, high, True))


def test_ssr_whose_double_is_beyond_the_range_has_no_doubling():
    assert doublings(study_of({"a": {1.0: A, 1.9: B}})).empty
    assert doublings(study_of({"a": {0.1: A, 0.2: B}}))["ssr"].tolist() == [0.1]


def test_winner_is_found_at_each_ssr():
    worse = (np.array(B) - 0.03).tolist()
    cells = {"a": {1.0: A, 2.0: worse, 4.0: A}, "b": {1.0: worse, 2.0: A}, "c": {1.0: [0.1] * 4}}
    table = winners(study_of(cells, noise="cell"))
    assert table[["ssr", "best", "second", "decided"]].values.tolist() == [[1.0, "a", "b", True], [2.0, "b", "a", True]]
    true = stats.ttest_rel(A, worse).confidence_interval()
    assert (table["low"][0], table["high"][0]) == pytest.approx((true.low, true.high))


def test_best_recipe_is_decided_only_if_it_beats_every_other_recipe():
    # c is third by its mean, but so noisy that it may be the best.
    worse = np.array(B) - 0.03
    study = study_of({"a": {1.0: A}, "b": {1.0: worse}, "c": {1.0: [0.2, 1.0, 0.4, 1.3]}}, noise="cell")
    (row,) = winners(study).itertuples()
    assert (row.best, row.second, row.low > 0) == ("a", "b", True)
    assert "c" in row.open
    assert not row.decided


def place(name, values):
    values = np.asarray(values, dtype=float)
    return Place(name, 1.0, (Cell(values, np.arange(len(values))),), (1.0,))


def test_rivals_are_excluded_by_simultaneous_intervals():
    one, near = np.array([0.5, 0.6, 0.9, 0.4]), np.array([0.51, 0.55, 0.88, 0.42])
    far = one - np.array([0.013, 0.021, 0.024, 0.029])
    by_recipe = {
        rival.recipe: rival for rival in rivals(place("a", one), [place("far", far), place("near", near)], 0.95)
    }
    interval, alone = (stats.ttest_rel(one, far).confidence_interval(level) for level in (0.95, 0.99))
    assert (by_recipe["far"].low, by_recipe["far"].high) == pytest.approx((interval.low, interval.high))
    gap = one - far
    assert alone.low > 0  # as the only rival, far would be excluded at 99%
    assert gap.mean() / stats.sem(gap) < dunnett(3.0, 2, 0.995)  # as one of two rivals, far is not excluded
    assert [name for name, rival in by_recipe.items() if rival.open] == ["near", "far"]  # the closest first
    # With only far as a rival, no other recipe is open, and the comparison needs no correction.
    (only,) = rivals(place("a", one), [place("far", far)], 0.95)
    assert not only.open


@pytest.mark.parametrize(("recipes", "gap"), [(2, 0.0), (6, 0.7)])
def test_truly_best_recipe_is_chosen_or_stays_a_rival_in_simulation(recipes, gap):
    # Recipe 0 is the best. Count the studies in which it is neither chosen nor open: about 1% of 150.
    rng = np.random.default_rng(5)
    lost = 0
    for _ in range(150):
        values = rng.normal(size=(recipes, 4)) + gap * (np.arange(recipes) == 0)[:, None]
        ranked = sorted((place(str(index), row) for index, row in enumerate(values)), key=lambda item: -item.value)
        open_recipes = {rival.recipe for rival in rivals(ranked[0], ranked[1:], 0.95) if rival.open}
        lost += ranked[0].recipe != "0" and "0" not in open_recipes
    assert lost <= 7


def test_each_control_is_compared_with_the_scaled_run():
    worse = (np.array(B) - 0.03).tolist()
    study = study_of(
        {
            "a": {0.25: A, 0.5: worse, 1.0: A, 2.0: [0.5]},
            ("a", "truncate"): {0.25: worse, 0.5: A, 1.0: A, 2.0: [0.4]},
            ("a", "scale_warmup"): {0.25: [0.89, 0.93, 0.94, 0.92]},
            ("b", "truncate"): {0.25: worse},  # b has no scaled run
        },
        noise="cell",
    )
    table = controls(study)
    verdicts = {(row.control, row.ssr): (row.winner, row.gain) for row in table.itertuples()}
    gain = pytest.approx(np.mean(A) - np.mean(worse))
    assert verdicts["truncate", 0.25] == ("scaling", gain)
    assert verdicts["truncate", 0.5][0] == "control"
    assert verdicts["truncate", 1.0] == ("same", 0.0)
    assert verdicts["truncate", 2.0] == ("", pytest.approx(0.1))  # with one seed there is no winner
    assert verdicts["scale_warmup", 0.25] == ("undecided", pytest.approx(0.0))
    assert len(table) == 5
    row = table[table["control"] == "truncate"].iloc[0]
    true = stats.ttest_rel(A, worse).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((true.low, true.high))


def test_ranking_of_short_runs_is_compared_with_the_ranking_of_the_longest_runs():
    # At SSR 2, a > b > c. At 0.5, c > b > a, which no pair agrees with. At 1, a > c > b: two of three pairs agree. A
    # tie counts half.
    cells = {
        "a": {0.5: [0.1], 1.0: [0.6], 2.0: [0.9], 3.0: [0.1]},
        "b": {0.5: [0.2], 1.0: [0.4], 2.0: [0.8]},
        "c": {0.5: [0.3], 1.0: [0.5], 2.0: [0.7]},
    }
    table = decision_accuracy(study_of(cells))
    assert table["ssr"].tolist() == [0.5, 1.0]
    assert table["agree"].tolist() == pytest.approx([0, 2 / 3])
    assert set(table["reference_ssr"]) == {2.0}
    tied = decision_accuracy(study_of({"a": {1.0: [0.5], 2.0: [0.9]}, "b": {1.0: [0.5], 2.0: [0.8]}}))
    assert tied["agree"].tolist() == [0.5]
    assert decision_accuracy(study_of({"a": {1.0: [0.5]}})).empty


def test_the_pooled_gain_over_a_control_is_the_mean_of_its_comparisons():
    worse = (np.array(B) - 0.03).tolist()
    cells = {"a": {0.5: A, 1.0: A, 2.0: A}, ("a", "truncate"): {0.5: worse, 1.0: B, 2.0: A}}
    estimate = pooled_control(study_of(cells, noise="cell"), "truncate")
    gains = (np.array(A) - worse + np.array(A) - B) / 2  # at SSR 2 both are the same run
    true = stats.ttest_1samp(gains, 0)
    assert estimate is not None
    assert (estimate.value, estimate.p) == (pytest.approx(gains.mean()), pytest.approx(true.pvalue))
    assert pooled_control(study_of({"a": {1.0: A}}), "truncate") is None


@pytest.mark.parametrize("statistic", [winners, controls, doublings])
def test_a_study_without_a_completed_run_has_no_rows(statistic):
    assert statistic(study_of({"a": {1.0: [math.nan]}})).empty


def test_outlier_run_is_found_by_the_median():
    # The median of the cells' standard deviations is 0.01, which one outlier does not change: 0.395 / 0.01 = 39.5.
    cells = {ssr: [0.89, 0.90, 0.91] for ssr in (0.25, 0.5, 1.0, 2.0, 4.0)}
    cells[1.0] = [0.89, 0.90, 0.91, 0.5]
    table = outliers(study_of({"a": cells}))
    assert table[["recipe", "ssr", "seed", "value"]].to_numpy().tolist() == [["a", 1.0, 3, 0.5]]
    assert table["median"].iloc[0] == pytest.approx(0.895)
    assert table["distance"].iloc[0] == pytest.approx(39.5)
    assert outliers(study_of({"a": {1.0: [0.89, 0.90, 0.91], 2.0: [0.8, 0.9]}})).empty
    assert outliers(study_of({"a": {1.0: [0.9], 2.0: [0.1]}})).empty


def test_short_runs_with_larger_noise_are_not_outliers():
    # The standard deviation halves with each doubling of the SSR, from 0.16 to 0.01. A run that is 0.4 from the median
    # is 2.5 standard deviations away at SSR 0.0625. Without the trend, 0.4 would be 10 times the median one, 0.04.
    cells = {ssr: [1 - 0.01 / ssr, 1.0, 1 + 0.01 / ssr] for ssr in (0.0625, 0.125, 0.25, 0.5, 1.0)}
    assert outliers(study_of({"a": cells, "b": {0.0625: [0.6, 0.92, 1.0, 1.08]}})).empty
    far = outliers(study_of({"a": cells | {1.0: [0.99, 1.0, 1.01, 0.8]}}))  # 0.195 from the median: 19.5 times 0.01
    assert far[["ssr", "value"]].to_numpy().tolist() == [[1.0, 0.8]]
    assert far["distance"].iloc[0] == pytest.approx(19.5)
