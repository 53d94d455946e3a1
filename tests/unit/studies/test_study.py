"""The frame of a study as cells."""

import math
from dataclasses import replace

import numpy as np
import pytest
from refusals import refused
from study_runs import study_of

from ssr_hydra.errors import MissingValueError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.studies.intervals import combine
from ssr_hydra.studies.study import check_axis, find_series


def test_values_of_a_cell_are_sorted_by_seed_and_negated_if_lower_is_better():
    study = study_of(
        {"b": {2.0: {3: 0.3, 1: 0.1}, 0.5: [0.7]}, "a": {1.0: [0.9]}, ("b", "truncate"): {1.0: [0.2]}}, "min"
    )
    assert [(series.recipe, series.control) for series in study.series] == [("b", ""), ("b", "truncate"), ("a", "")]
    series = study.series[0]
    assert series.ssr.tolist() == [0.5, 2.0]
    assert [cell.values.tolist() for cell in series.cells] == [[-0.7], [-0.1, -0.3]]
    assert series.cells[1].seeds is not None
    assert series.cells[1].seeds.tolist() == [1, 3]
    assert series.means["seconds"].tolist() == [5.0, 20.0]
    assert series.axis("cost", 36.0).tolist() == pytest.approx([0.05, 0.2])
    assert study.recipes == ("b", "a")


def test_cell_that_has_a_run_without_a_seed_is_not_paired():
    (series,) = study_of({"a": {1.0: {0: 0.5, None: 0.6}}}).series
    assert series.cells[0].seeds is None


def test_interpolation_between_measured_ssrs_has_the_right_weights():
    (series,) = study_of({"a": {1.0: [0.5], 4.0: [0.6], 8.0: [0.7], 16.0: [0.6]}}).series
    cells, weights = series.weights(2.0)
    # Lagrange's weights at log2 = 1 for the nodes 0, 2, 3, 4: 6/24, 6/4, -3/3, 2/8.
    assert (cells, weights) == (list(series.cells), pytest.approx([1 / 4, 3 / 2, -1, 1 / 4]))
    cells, weights = series.weights(2**2.5)
    # At 2.5, the weights for the nodes 0, 2, 3 are -1/24, 5/8, 5/12, and those for the nodes 2, 3, 4 are 3/8, 3/4,
    # -1/8. The result is their mean.
    assert weights == pytest.approx([-1 / 48, 1 / 2, 7 / 12, -1 / 16])
    (two,) = study_of({"a": {1.0: [0.5], 4.0: [0.6]}}).series
    assert two.weights(2.0)[1] == pytest.approx([0.5, 0.5])
    assert series.curve(np.log([1.0, 2.0, 8.0])) == pytest.approx([0.5, 0.475, 0.7])  # 0.5 / 4 + 0.9 - 0.7 + 0.6 / 4
    (three,) = study_of({"a": {1.0: [0.5], 4.0: [0.6], 8.0: [0.7]}}).series
    assert three.weights(2.0)[1] == pytest.approx([1 / 3, 1, -1 / 3])
    cells, weights = series.weights(4.0 * (1 + 1e-12))  # rounding does not count as distance
    assert (cells[0] is series.cells[1], weights) == (True, [1.0])


def test_totals_count_failed_runs_too():
    totals = study_of({"a": {1.0: [0.5, math.nan]}}).totals(36.0)
    assert list(totals) == ["runs", "completed", "failed", "train_seconds", "total_seconds", "cost"]
    assert list(totals.values()) == pytest.approx([2, 1, 1, 20.0, 22.0, 0.22])
    assert math.isnan(study_of({"a": {1.0: [0.5]}}).totals()["cost"])


def test_invalid_axes_and_prices_and_names_are_refused():
    study = study_of({"a": {1.0: [0.5]}})
    check_axis(study, "seconds")
    with refused("axis", MissingValueError):
        check_axis(study, "tokens")
    for price, kind in ((-1, RangeError), (math.inf, RangeError), ("2", WrongTypeError)):
        with refused("price_per_hour", kind):
            check_axis(study, "cost", price)
    with refused("recipe", UnknownNameError, match="choose from 'a'"):
        find_series(study, "b", "recipe")


@pytest.mark.parametrize(
    ("objective", "direction", "values", "least", "most"),
    [
        ("eval/accuracy", "max", [0.90, 0.99], 0, 1),  # two seeds: half a t interval is 12.7 standard errors, 0.57
        ("eval/top1", "max", [75.0, 80.0], 0, 100),
        ("eval/loss", "min", [0.10, 0.20], 0, math.inf),
        ("eval/log_likelihood", "max", [-0.1, 0.2], -math.inf, math.inf),
    ],
)
def test_intervals_of_means_stay_within_the_bounds_of_the_metric(objective, direction, values, least, most):
    study = replace(study_of({"a": {1.0: values}}, direction), objective=objective)
    mean = combine(study.series[0].cells[:1], [1.0], 0.95)
    low, high = study.interval(mean)
    assert least < low < float(np.mean(values)) < high < most
    if objective == "eval/accuracy":  # by the delta method: logit(0.945) = 2.844, and 12.706 * 0.045 / (0.945 * 0.055)
        logit, half = math.log(0.945 / 0.055), 12.7062 * 0.045 / (0.945 * 0.055)
        assert (low, high) == pytest.approx([1 / (1 + math.exp(-logit - side * half)) for side in (-1, 1)], rel=1e-4)
    if most == -least:
        assert (low, high) == (mean.low, mean.high)
