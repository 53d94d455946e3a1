"""Recommendations for a published table and for artificial studies, compared with hand calculations."""

import math
from functools import partial

import numpy as np
import pytest
from checkout import REPO
from refusals import refused
from scipy import optimize, stats
from study_runs import study_of

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.report import Options
from ssr_hydra.studies import doublings, from_csv, recommend

TABLE = REPO / "docs/data/resnet50_imagenet.csv"
SPREAD = np.array([-1.0, 0.0, 1.0]) * 1e-3
ONE, GAIN = np.array([0.80, 0.81, 0.80, 0.81]), np.array([0.010, 0.030, 0.025, 0.003])


@pytest.fixture(scope="module")
def resnet():
    return from_csv(TABLE, "ssr", "top1", "seconds")


def test_quality_at_the_double_of_an_ssr_is_interpolated_by_polynomials(resnet):
    table = dict(zip(resnet.frame["ssr"], resnet.frame["quality"], strict=True))

    def through(at, *ssrs):
        coefficients = np.polyfit(np.log(ssrs), [table[ssr] for ssr in ssrs], len(ssrs) - 1)
        return float(np.polyval(coefficients, math.log(at)))

    gains = doublings(resnet).set_index("ssr")["gain"]
    assert gains[0.1] == pytest.approx(through(0.2, 0.1, 0.25, 0.5, 1) - table[0.1])
    both = (through(2.5, 1.5, 2, 4) + through(2.5, 2, 4, 5.69)) / 2
    assert gains[1.25] == pytest.approx(both - table[1.25])


def test_the_answer_is_a_step_function_of_the_tolerance(resnet):
    (advice,) = recommend(resnet)
    assert [step.ssr for step in advice.steps] == [0.1, 0.25, 0.5, 1.0, 1.25]
    assert [step.above for step in advice.steps] == pytest.approx([6.6453, 2.64, 1.16, 0.25, 0.0], abs=1e-3)
    assert [step.below for step in advice.steps] == pytest.approx([math.inf, 6.6453, 2.64, 1.16, 0.25], abs=1e-3)
    assert all(math.isnan(step.sure_above) for step in advice.steps)  # one seed
    assert (advice.tolerance, advice.ssr) == (None, 1.25)
    for step in advice.steps:  # every tolerance selects one of the steps
        assert recommend(resnet, step.above + 0.01)[0].ssr == step.ssr


def test_each_choice_states_the_tolerances_at_which_it_is_certain():
    gain, last = np.array([0.10, 0.12, 0.11, 0.13]), np.array([0.010, 0.012, 0.009, 0.011])
    (advice,) = recommend(study_of({"a": {1.0: ONE, 2.0: ONE + gain, 4.0: ONE + gain + last}}, noise="cell"))
    ends = [stats.t.interval(0.99, 3, item.mean(), stats.sem(item)) for item in (gain, last)]
    first, second, longer = advice.steps
    assert (first.ssr, first.sure_above, first.sure_below) == (1.0, pytest.approx(ends[0][1]), math.inf)
    assert (second.ssr, second.sure_above, second.sure_below) == (
        2.0,
        *(pytest.approx(x) for x in (ends[1][1], ends[0][0])),
    )
    assert (longer.ssr, longer.above, longer.sure_below) == (None, 0.0, pytest.approx(ends[1][0]))


def test_fall_of_quality_beyond_its_peak_is_reported(resnet):
    (advice,) = recommend(resnet)
    assert (advice.peak, advice.fall) == (1.5, pytest.approx(76.32 - 77.08))
    rising = recommend(study_of({"a": {1.0: [0.5, 0.6], 2.0: [0.7, 0.8]}}))[0]
    assert (rising.peak, math.isnan(rising.fall)) == (2.0, True)


def test_target_is_reached_where_the_interpolated_curve_of_the_resnet_table_is_77(resnet):
    # At this SSR, the mean of the parabolas through (.5, 1, 1.25) and (1, 1.25, 1.5) is 77.
    table = dict(zip(resnet.frame["ssr"], resnet.frame["quality"], strict=True))
    fits = [np.polyfit(np.log(ssrs), [table[ssr] for ssr in ssrs], 2) for ssrs in ((0.5, 1.0, 1.25), (1.0, 1.25, 1.5))]
    at = optimize.brentq(lambda log: np.mean([np.polyval(fit, log) for fit in fits]) - 77, 0, math.log(1.25))
    (advice,) = recommend(resnet, 0.5, target=77.0)
    assert advice.target_ssr == pytest.approx(math.exp(at), rel=1e-4)
    assert advice.target_status == "inside"


def test_target_that_no_ssr_reaches_has_no_forecast_without_a_valid_fit(resnet):
    (advice,) = recommend(resnet, 0.5, target=78.0)
    assert (advice.target_ssr, advice.target_status) == (None, "above")
    assert advice.forecasts == ()


def test_target_beyond_the_range_is_forecast_by_a_fit_that_passed_its_back_test():
    rng = np.random.default_rng(0)
    ssrs = 2.0 ** np.arange(-3, 3)
    study = study_of({"a": {float(s): 0.9 - 0.1 * s**-0.7 + 0.1 * rng.permutation(SPREAD) for s in ssrs}})
    (advice,) = recommend(study, 0.005, target=0.868)
    # 0.9 - 0.1 s^-0.7 = 0.868 at s = 0.32^(-1/0.7).
    at = 0.32 ** (-1 / 0.7)
    assert (advice.target_ssr, advice.target_status) == (None, "above")
    assert dict(advice.forecasts)["power"] == pytest.approx(at, rel=0.05)
    (far,) = recommend(study, 0.005, target=0.89)
    assert dict(far.forecasts)["power"] is None


def test_undecided_answer_states_how_many_more_seeds_are_needed():
    (advice,) = recommend(study_of({"a": {1.0: ONE, 2.0: ONE + GAIN}}, noise="cell"), 0.02)
    low, high = stats.t.interval(0.95, 3, GAIN.mean(), stats.sem(GAIN))
    assert (advice.ssr, advice.verdict) == (1.0, "close")
    assert (advice.gain, advice.low, advice.high) == pytest.approx((GAIN.mean(), low, high))
    # Half the interval is t sd / sqrt(n). It equals the tolerance 0.02 if n is (t sd / 0.02)^2.
    needed = math.ceil((stats.t.ppf(0.975, 3) * GAIN.std(ddof=1) / 0.02) ** 2)
    assert advice.batch is not None
    assert (advice.batch.half, advice.batch.more) == (0.02, max(needed - 4, 0))
    assert advice.batch.least <= advice.batch.more <= advice.batch.most
    # The number does not depend on the gain: with a larger gain, it is the same.
    (other,) = recommend(study_of({"a": {1.0: ONE, 2.0: ONE + GAIN + 0.004}}, noise="cell"), 0.02)
    assert other.batch == advice.batch


def test_recommendation_supports_metrics_that_are_minimized():
    cells = {0.5: [3.0, 3.01], 1.0: [2.5, 2.52], 2.0: [2.49, 2.515]}
    (advice,) = recommend(study_of({"a": cells}, "min"), 0.1, target=2.75)
    assert advice.ssr == 1.0
    assert advice.gain == pytest.approx(0.0075)
    curve = np.polyfit([-1.0, 0.0, 1.0], [3.005, 2.51, 2.5025], 2)  # over log2(ssr)
    at = optimize.brentq(lambda log: np.polyval(curve, log) - 2.75, -1, 0)
    assert advice.target_ssr == pytest.approx(2**at, rel=1e-4)


def test_interval_of_a_target_ends_where_the_result_of_the_t_test_changes():
    rng = np.random.default_rng(1)
    one, two = rng.normal(0.5, 0.02, 5), rng.normal(0.9, 0.02, 5)
    (advice,) = recommend(study_of({"a": {1.0: one, 2.0: two}}, noise="cell"), 0.1, target=0.7)

    def end(share, side):
        return float(stats.ttest_1samp((1 - share) * one + share * two - 0.7, 0).confidence_interval(0.95)[side])

    low, high = (2 ** float(optimize.brentq(end, 0, 1, args=(side,))) for side in (1, 0))
    assert (advice.target_low, advice.target_high) == pytest.approx((low, high), rel=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("tolerance", 0, RangeError), ("tolerance", math.inf, RangeError), ("tolerance", "1", WrongTypeError),
        ("target", math.nan, RangeError), ("target", True, WrongTypeError), ("confidence", 0, RangeError),
    ],
)  # fmt: skip
def test_invalid_values_are_refused(field, value, kind):
    for function in (Options, partial(recommend, study_of({"a": {1.0: [0.5]}}))):
        with refused(field, kind):
            function(**{field: value})


SMALL = {0.5: 0.80 + SPREAD, 1.0: 0.88 - SPREAD, 2.0: 0.92 + SPREAD[[1, 0, 2]], 4.0: 0.925 - SPREAD}
FLAT = {0.5: 0.7 + SPREAD, 1.0: 0.8 - SPREAD, 2.0: 0.801 + 2 * SPREAD, 4.0: 0.801 - SPREAD}
NOISY = {0.5: 0.80 + 20 * SPREAD, 1.0: 0.83 + SPREAD, 2.0: 0.831 + SPREAD[[1, 0, 2]]}


@pytest.mark.parametrize(
    ("cells", "noise", "ssr", "verdict"),
    [
        (SMALL, "pooled", 2.0, "decided"),
        (NOISY, "pooled", 1.0, "close"),  # the gain at a smaller SSR is undecided
        ({1.0: [0.5]}, "pooled", None, "outside"),
        ({1.0: 0.5 + SPREAD, 2.0: 0.6 + 2 * SPREAD, 4.0: 0.7 - SPREAD}, "pooled", None, "outside"),
        (FLAT | {2.0: [0.8]}, "cell", 1.0, "unreplicated"),
        (FLAT | {1.0: [0.8]}, "cell", 1.0, "unreplicated"),
        ({1.0: [0.5, 0.6, 0.7], 2.0: [0.51, 0.61, 0.71]}, "cell", 1.0, "unreplicated"),  # equal gains have no noise
        # The gain from 0.25 to 0.5 is 0.2, ten times the tolerance. In a pooled study, it has an interval.
        ({0.25: [0.5], 0.5: ONE - 0.1 + np.arange(4) * 1e-3, 1.0: ONE, 2.0: ONE + GAIN}, "pooled", 1.0, "close"),
    ],
)
def test_verdict_depends_on_the_intervals_of_all_gains_up_to_the_recommended_ssr(cells, noise, ssr, verdict):
    (advice,) = recommend(study_of({"a": cells}, noise=noise), 0.02, target=0.4)
    assert (advice.ssr, advice.verdict, advice.target_status) == (ssr, verdict, "below")
    assert math.isnan(advice.low) == (verdict == "unreplicated" or len(cells) == 1)
    assert (advice.batch is not None) == (verdict == "close")
