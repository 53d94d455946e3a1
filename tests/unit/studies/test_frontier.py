"""The Pareto set, equal quality, equal time and crossings, against hand calculations and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from checkout import REPO
from refusals import refused
from scipy import optimize, stats
from study_runs import study_of

from ssr_hydra.errors import MissingValueError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.studies import crossings, from_csv, pareto, quality_at, speedup
from ssr_hydra.studies.frontier import reach
from ssr_hydra.studies.intervals import Cell
from ssr_hydra.studies.study import Series

TABLE = REPO / "docs/data/resnet50_imagenet.csv"
NOISE = np.array([-0.01, 0.0, 0.01])


def shifted(**recipes):
    """Return three seeds around each value, with independent noise."""
    rng = np.random.default_rng(3)
    return study_of(
        {name: {ssr: value + rng.permutation(NOISE) for ssr, value in cells.items()} for name, cells in recipes.items()}
    )


def test_pareto_set_equals_the_set_found_by_hand():
    table = pareto(shifted(a={0.5: 0.5, 1.0: 0.8, 2.0: 0.79, 4.0: 0.6}, b={1.0: 0.6, 4.0: 0.9}))
    points = {(row.recipe, row.ssr): (row.status, row.by_recipe, row.by_ssr) for row in table.itertuples()}
    assert {key for key, (status, *_) in points.items() if status == "frontier"} == {("a", 0.5), ("a", 1.0), ("b", 4.0)}
    assert table[table["status"] == "frontier"][["by_ssr", "loss", "loss_low"]].isna().all(axis=None)
    assert points["b", 1.0] == ("dominated", "a", 1.0)
    assert points["a", 2.0] == ("within_noise", "a", 1.0)
    assert points["a", 4.0] == ("dominated", "b", 4.0)  # the same time, and worse
    assert table["x"].tolist() == sorted(table["x"])
    row = table[(table["recipe"] == "a") & (table["ssr"] == 2.0)].iloc[0]
    assert row["loss"] == pytest.approx(0.01)
    assert row["loss_low"] < 0 < row["loss_high"]
    # A longer run is on the frontier only if it is certainly better.
    better = pareto(shifted(a={1.0: 0.5, 2.0: 0.505}), "ssr").iloc[1]
    assert (better["status"], better["loss"]) == ("within_noise", pytest.approx(-0.005))


def test_pareto_set_equals_a_comparison_of_all_pairs():
    rng = np.random.default_rng(0)
    cells = {f"r{i}": {float(s): rng.normal(0.5, 0.1, 1) for s in rng.uniform(0.1, 4, 6)} for i in range(8)}
    study = study_of(cells)
    points = [(10 * s, np.mean(v)) for qualities in cells.values() for s, v in qualities.items()]
    free = sum(not any(x <= a and y > b for x, y in points) for a, b in points)
    table = pareto(study)
    assert (table["status"] == "frontier").sum() == free
    assert len(table) == len(points)


def test_point_is_compared_with_all_points_that_do_not_take_longer_at_once():
    # Five recipes at one SSR: the last is behind the best by t = 3.9 standard errors. With 8 degrees of freedom, this
    # is outside the 99% interval of one difference (3.36), but inside that of four at once (Dunnett: about 4).
    rng = np.random.default_rng(1)
    seeds = np.array([-1.0, 0.0, 1.0]) * 0.01
    cells = {f"r{i}": {1.0: 0.9 - 0.001 * i + rng.permutation(seeds)} for i in range(4)}
    study = study_of({**cells, "last": {1.0: 0.868 + rng.permutation(seeds)}})
    row = pareto(study, "ssr").iloc[-1]
    low, high = sorted((row["loss_low"], row["loss_high"]))
    assert (row["recipe"], row["by_recipe"]) == ("last", "r0")
    assert low > 0 < high
    alone = pareto(study_of({"r0": cells["r0"], "last": {1.0: 0.7 + rng.permutation(seeds)}}), "ssr").iloc[-1]
    assert (row["status"], alone["status"]) == ("within_noise", "dominated")


@pytest.mark.parametrize(
    ("options", "field", "kind"),
    [
        ({"axis": "hours"}, "axis", UnknownNameError), ({"axis": "cost"}, "price_per_hour", MissingValueError),
        ({"price_per_hour": -1.0}, "price_per_hour", RangeError), ({"axis": "tokens"}, "axis", MissingValueError),
        ({"at": 0}, "at", RangeError), ({"at": math.inf}, "at", RangeError), ({"at": True}, "at", WrongTypeError),
    ],
)  # fmt: skip
def test_invalid_budget_or_axis_is_refused(options, field, kind):
    with refused(field, kind):
        quality_at(study_of({"a": {1.0: [0.5]}}), **{"at": 10.0, **options})


def test_quality_at_an_equal_budget_is_interpolated_separately_for_each_seed():
    one, two = np.array([0.5, 0.54, 0.55]), np.array([0.7, 0.71, 0.78])
    cells = {"a": {1.0: one, 4.0: two}, "b": {4.0: one}, "c": {0.5: one}}
    table = quality_at(replace(study_of(cells, noise="cell"), objective="eval/score"), 20.0)
    values = (one + two) / 2  # twenty seconds are ssr 2, halfway from 1 to 4
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    a, b, c = table.itertuples()
    assert (a.ssr, a.quality, a.low, a.high) == pytest.approx((2.0, values.mean(), low, high))
    assert (a.status, b.status, c.status) == ("inside", "below", "above")
    assert math.isnan(b.quality)
    assert math.isnan(c.quality)


def test_best_recipe_is_found_at_an_equal_budget():
    one, two = np.array([0.5, 0.54, 0.55]), np.array([0.7, 0.71, 0.78])
    near, far = {1.0: one - [-0.01, 0.02, 0.0], 4.0: two}, {1.0: one - [0.2, 0.21, 0.2], 4.0: two - [0.2, 0.2, 0.21]}
    cells = {"a": {1.0: one, 4.0: two}, "near": near, "far": far, ("a", "truncate"): {1.0: two, 4.0: two}}
    study = study_of(cells, noise="cell")
    table = quality_at(study, 20.0)
    assert table["standing"].tolist() == ["best", "", "open", "behind"]  # a control is not a recipe
    gone = (one - far[1.0] + two - far[4.0]) / 2  # twenty seconds are ssr 2, halfway from 1 to 4
    low, high = stats.t.interval(0.95, 2, gone.mean(), stats.sem(gone))
    row = table.iloc[3]
    assert (row["loss"], row["loss_low"], row["loss_high"]) == pytest.approx((gone.mean(), low, high))
    assert quality_at(study_of({"a": {1.0: [0.5]}, "b": {4.0: [0.5]}}), 10.0)["standing"].tolist() == ["", ""]


def test_speedup_equals_the_value_computed_by_hand():
    # b reaches 0.75, a's quality at ssr 4, halfway between ssr 1 and 4 in log ssr: at 2, in half the time.
    study = study_of({"a": {0.5: [0.4], 4.0: [0.75], 8.0: [0.95]}, "b": {1.0: [0.6], 4.0: [0.9]}})
    below, inside, never = speedup(study, "a").itertuples()
    assert (inside.ssr, inside.quality, inside.reached_ssr) == pytest.approx((4.0, 0.75, 2.0))
    assert (inside.reference_x, inside.x, inside.speedup) == pytest.approx((40.0, 20.0, 2.0))
    assert (inside.status, below.status, never.status) == ("inside", "at_least", "never")
    assert below.speedup == pytest.approx(0.5)  # the shortest run of b takes twice as long as that of a
    assert math.isnan(never.speedup)
    assert all(math.isnan(row.low) for row in (below, inside, never))  # one seed


def test_target_is_reached_where_the_curve_first_crosses_it():
    study = study_of({"a": {1.0: [0.7]}, "b": {1.0: [0.5], 2.0: [0.9], 4.0: [0.6]}})
    (row,) = speedup(study, "a").itertuples()
    roots = np.roots(np.polyfit([0.0, 1.0, 2.0], [0.5, 0.9, 0.6], 2) - [0, 0, 0.7])  # over log2(ssr)
    assert row.reached_ssr == pytest.approx(2 ** min(roots), rel=1e-4)


def test_interval_of_a_speedup_ends_where_the_result_of_the_paired_t_test_changes():
    rng = np.random.default_rng(5)
    level, low, high = rng.normal(0.75, 0.02, 6), rng.normal(0.6, 0.02, 6), rng.normal(0.9, 0.02, 6)
    study = study_of({"a": {4.0: level}, "b": {1.0: low, 4.0: high}}, noise="cell")
    (row,) = speedup(study, "a").itertuples()

    def turns(side):
        def end(share):
            interval = stats.ttest_rel((1 - share) * low + share * high, level).confidence_interval(0.95)
            return float(interval[side])

        return 40.0 / (10.0 * 4.0 ** float(optimize.brentq(end, 0, 1)))

    assert (row.low, row.high) == pytest.approx((turns(0), turns(1)), rel=1e-5)
    assert row.low < row.speedup < row.high


def test_interval_beyond_the_measured_range_ends_at_zero_and_infinity():
    rng = np.random.default_rng(5)
    study = study_of(
        {"a": {1.0: rng.normal(0.7, 0.2, 4)}, "b": {1.0: rng.normal(0.69, 0.2, 4), 2.0: rng.normal(0.75, 0.2, 4)}}
    )
    (row,) = speedup(study, "a").itertuples()
    assert (row.low, row.high) == (0.0, math.inf)


def test_narrow_band_between_measured_ssrs_does_not_make_a_crossing_certain():
    # The two seeds deviate from 0.5 and 0.6 in opposite directions, so halfway between the SSRs their noise cancels to
    # the last bit. At ssr 2, the level 0.52 is within the noise: df = 1, t = 12.7, sd = 0.0283, half an interval 0.25.
    cells = tuple(Cell(mean + shift * np.array([0.02, -0.02]), np.arange(2)) for mean, shift in ((0.5, 1), (0.6, -1)))
    series = Series("b", "", np.array([1.0, 2.0]), cells, {})
    reached, _, last = reach(series, 0.52, 0.95)
    assert reached == pytest.approx(2**0.2)
    assert math.isnan(last)


def test_mixup_and_baseline_cross_where_their_qualities_are_equal():
    # Published for MixUp: below the baseline at 0.355 (the amount is unknown; here 0.3), equal at 0.5, 1.6 above at 3.
    base = from_csv(TABLE, "ssr", "top1", "seconds")
    at = lambda s: float(np.interp(math.log(s), np.log(base.frame["ssr"]), base.frame["quality"]))  # noqa: E731
    values = dict(zip(base.frame["ssr"], base.frame["quality"], strict=True))
    study = study_of({"baseline": values, "mixup": {0.355: at(0.355) - 0.3, 0.5: 75.66, 3.0: at(3.0) + 1.6}})
    (row,) = crossings(study).itertuples()
    assert (row.a, row.b, row.ssr) == ("baseline", "mixup", pytest.approx(0.5))
    assert (row.better_below, row.better_above, row.certain) == ("baseline", "mixup", False)  # one seed


def test_crossing_has_an_interval():
    # a - b is +0.2 at ssr 1 and -0.1 at 8: linear in log ssr it is 0 at two thirds, ssr 4.
    rng = np.random.default_rng(2)
    one, other = {s: 0.5 + rng.permutation(NOISE) for s in (1.0, 8.0)}, {1.0: 0.3 + NOISE, 8.0: 0.6 + NOISE}
    (row,) = crossings(study_of({"a": one, "b": other}, noise="cell")).itertuples()
    assert row.ssr == pytest.approx(4.0)
    assert (row.better_below, row.better_above, row.certain) == ("a", "b", False)  # 95% exclude 0, 99% do not
    assert 1 < row.low < 4 < row.high <= 8
    # At each end of the interval, the t test of the interpolated differences changes its result, up to a grid step.
    for end in (row.low, row.high):
        share = math.log(end) / math.log(8)
        difference = (1 - share) * (one[1.0] - other[1.0]) + share * (one[8.0] - other[8.0])
        low, high = stats.t.interval(0.95, 2, difference.mean(), stats.sem(difference))
        assert low == pytest.approx(0, abs=0.006) or high == pytest.approx(0, abs=0.006)


def test_curves_without_a_crossing_or_overlap_have_no_row():
    assert crossings(shifted(a={1.0: 0.5, 2.0: 0.6}, b={1.0: 0.4, 2.0: 0.5})).empty
    assert crossings(shifted(a={1.0: 0.5, 2.0: 0.6}, b={4.0: 0.4, 8.0: 0.9})).empty
    assert crossings(study_of({"a": {1.0: [0.5], 2.0: [0.6]}, "b": {1.0: [0.5], 2.0: [0.7]}})).empty  # the curves touch


def test_both_crossings_of_two_curves_are_found():
    # a - b is 0.1 - 0.2 (log2(ssr) - 1)^2: 0 at log2(ssr) = 1 - sqrt(0.5) and 1 + sqrt(0.5).
    table = crossings(shifted(a={1.0: 0.5, 2.0: 0.7, 4.0: 0.5}, b={1.0: 0.6, 2.0: 0.6, 4.0: 0.6}))
    assert table["ssr"].tolist() == pytest.approx([2 ** (1 - 0.5**0.5), 2 ** (1 + 0.5**0.5)])
    assert table["better_above"].tolist() == ["a", "b"]


def test_crossings_in_large_studies_compare_only_recipes_that_are_best_somewhere():
    rest = {f"r{i}": {1.0: [0.1 + i / 1000], 2.0: [0.2 - i / 1000]} for i in range(30)}
    study = study_of({"a": {1.0: [0.9], 2.0: [0.5]}, "b": {1.0: [0.5], 2.0: [0.9]}, **rest})
    table = crossings(study)
    assert table[["a", "b"]].values.tolist() == [["a", "b"]]
    with refused("recipes", UnknownNameError):
        crossings(study, recipes=["x"])


def test_rounding_errors_are_not_a_crossing():
    up, down = [0.1, 0.2, 0.3], [0.3, 0.2, 0.1]
    assert np.mean(up) != np.mean(down)  # they differ in the last bit
    at = (up, down) if np.mean(up) > np.mean(down) else (down, up)
    other = [dict(zip((5, 6, 7), values, strict=True)) for values in ([0.3, 0.4, 0.5], at[1])]  # no common seeds
    study = study_of({"a": {1.0: [0.1, 0.2, 0.1], 2.0: at[0]}, "b": {1.0: other[0], 2.0: other[1]}})
    assert crossings(study).empty
