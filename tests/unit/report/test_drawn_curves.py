"""Selection of the curves and points to draw."""

import pytest
from report_study import write_run
from scipy import stats

from ssr_hydra.report import drawn_curves
from ssr_hydra.report.drawn_curves import learning, rates
from ssr_hydra.studies import load


def test_each_cell_is_drawn_as_the_mean_curve_with_a_band(content):
    assert len(content.learning.drawn) == 24
    assert (content.learning.left_out, content.rates.left_out) == (0, 0)
    assert len(content.rates.drawn) == 24
    curve = content.learning.drawn[0]
    rows = content.study.completed
    rows = rows[(rows["recipe"] == curve.recipe) & (rows["ssr"] == curve.ssr) & (rows["control"] == curve.control)]
    assert curve.values[-1] == pytest.approx(rows["quality"].mean())
    half = stats.t.ppf(0.975, len(rows) - 1) * rows["quality"].sem()
    assert (curve.low[-1], curve.high[-1]) == pytest.approx((curve.values[-1] - half, curve.values[-1] + half))
    assert curve.places["steps"][-1] == 150
    rate = next(
        each for each in content.rates.drawn if (each.recipe, each.control, each.ssr) == ("wsd", "truncate", 0.5)
    )
    assert rate.values[-1] == pytest.approx(0.05)  # half of 0.1, because the cosine is truncated at its half
    assert rate.places["steps"][-1] == 600


def test_curves_that_are_not_drawn_are_counted(content, monkeypatch):
    monkeypatch.setattr(drawn_curves, "MOST_CURVES", 5)
    curves = learning(content.study, content.counted)
    assert (len(curves.drawn), curves.left_out) == (5, 19)
    assert (len(rates(content.study, content.counted).drawn), rates(content.study, content.counted).left_out) == (5, 19)


def test_band_of_an_accuracy_stays_between_0_and_1(tmp_path):
    for seed, quality in enumerate((0.5, 0.99)):  # half of the t interval is 3.1
        write_run(tmp_path / f"s/{seed}", seed=seed, quality=quality)
    (curve,) = learning(load(tmp_path / "s"), ["steps"]).drawn
    assert (curve.low[-1], curve.high[-1]) == (0.0, 1.0)


def test_mean_curve_has_only_steps_that_every_seed_evaluated(tmp_path):
    write_run(tmp_path / "s/0", seed=0, evaluations=8)
    write_run(tmp_path / "s/1", seed=1, evaluations=4)
    (curve,) = learning(load(tmp_path / "s"), ["steps"]).drawn
    assert curve.places["steps"] == [300, 600, 900, 1200]


def test_long_curves_keep_their_first_and_last_points(tmp_path):
    write_run(tmp_path / "s/0", evaluations=1000, rates=False)
    study = load(tmp_path / "s")
    (curve,) = learning(study, ["steps", "seconds"]).drawn
    assert len(curve.values) == len(curve.places["steps"]) == len(curve.places["seconds"]) == drawn_curves.MOST_POINTS
    assert (curve.places["steps"][0], curve.places["steps"][-1]) == (1, 1200)
    assert rates(study, ["steps"]).drawn == []
