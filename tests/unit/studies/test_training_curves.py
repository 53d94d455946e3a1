"""Learning curves and learning rates of a study."""

import json
import math

import pytest
from refusals import refused
from scipy import stats
from study_runs import METRIC, config, record, write_run

from ssr_hydra.errors import MissingValueError, RangeError, UnknownNameError
from ssr_hydra.studies import learning_curves, load, lr_curves, mean_curves


@pytest.fixture
def study(tmp_path):
    for job, (ssr, seed, quality) in enumerate([(1.0, 0, 0.9), (1.0, 1, 0.8), (0.5, 0, 0.7)]):
        folder = write_run(tmp_path / str(job), record(ssr, seed, quality), config(ssr, seed))
        steps = range(10, round(100 * ssr) + 1, 10)
        rows = [{"batch": b, "sample": 16 * b, "token": 0, "train_seconds": b / 10, "lr": 1 / b} for b in steps]
        lines = [json.dumps({"event": "train", **row}) for row in rows]
        lines.insert(3, json.dumps({"event": "eval", "batch": 30, METRIC: 0.5}))
        # The run was killed while it wrote the last line.
        (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"event":"tr')
    write_run(tmp_path / "9", record(1.0, 2, 0.9, status="failed", error="no"), config(1.0, 2))
    return load(tmp_path)


@pytest.mark.parametrize(
    ("axis", "x"),
    [
        ("steps", [50, 100, 50, 100, 25, 50]),
        ("samples", [800, 1600, 800, 1600, 400, 800]),
        ("seconds", [5, 10, 5, 10, 2.5, 5]),
        ("cost", [0.01, 0.02, 0.01, 0.02, 0.005, 0.01]),
        ("ssr", [0.5, 1, 0.5, 1, 0.5, 1]),
    ],
)
def test_learning_curves_have_the_chosen_axis(study, axis, x):
    curves = learning_curves(study, axis, price_per_hour=7.2)
    assert curves["x"].tolist() == pytest.approx(x)
    assert curves["value"].tolist() == [0.5, 0.9, 0.5, 0.8, 0.5, 0.7]
    assert curves["run"].tolist() == [0, 0, 1, 1, 2, 2]  # the failed run is left out
    assert curves["seed"].tolist() == [0, 0, 1, 1, 0, 0]
    assert curves["ssr"].tolist() == [1, 1, 1, 1, 0.5, 0.5]


def test_mean_curves_average_over_seeds(study):
    curves = mean_curves(study, "seconds")
    assert curves[["ssr", "x", "n"]].values.tolist() == [[1, 5, 2], [1, 10, 2], [0.5, 2.5, 1], [0.5, 5, 1]]
    assert curves["mean"].tolist() == pytest.approx([0.5, 0.85, 0.5, 0.7])
    true = stats.ttest_1samp([0.9, 0.8], 0).confidence_interval()
    assert (curves["low"][1], curves["high"][1]) == pytest.approx((true.low, true.high))
    assert curves["low"][[0, 2, 3]].isna().all()


def test_learning_rates_are_read_for_each_run(study):
    curves = lr_curves(study)
    assert set(curves["run"]) == {0, 2}
    first = curves[curves["run"] == 0]
    assert first["x"].tolist() == list(range(10, 101, 10))
    assert first["lr"].tolist() == pytest.approx([1 / b for b in range(10, 101, 10)])
    assert lr_curves(study, "ssr").groupby("run")["x"].max().tolist() == [1.0, 1.0]


def test_long_curves_get_fewer_points_and_keep_their_ends(study):
    curves = lr_curves(study, most_points=3)
    assert curves[curves["run"] == 0]["x"].tolist() == [10, 50, 100]


def test_run_without_its_metrics_file_has_no_learning_rates(study):
    for path in study.sources[0].glob("*/metrics.jsonl"):
        path.unlink()
    curves = lr_curves(study)
    assert curves.empty
    assert list(curves.columns) == ["recipe", "control", "ssr", "run", "x", "lr"]


def test_a_value_that_is_not_finite_is_a_gap(tmp_path):
    result = record(1.0, 0, 0.9)
    result.evaluations[0]["metrics"][METRIC] = None
    write_run(tmp_path / "0", result, config())
    values = learning_curves(load(tmp_path))["value"].tolist()
    assert math.isnan(values[0])
    assert values[1] == 0.9


def test_unknown_axis_is_refused(study):
    for function in (learning_curves, mean_curves, lr_curves):
        with refused("axis", UnknownNameError):
            function(study, axis="x")
        with refused("price_per_hour", MissingValueError):
            function(study, axis="cost")
    with refused("most_points", RangeError):
        lr_curves(study, most_points=1)
