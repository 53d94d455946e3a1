"""Recommendations against hand calculations on a published table, and on made studies."""

from __future__ import annotations

import math

import numpy as np
import pytest
from checkout import REPO
from scipy import optimize, stats
from study_runs import study_of

from ssr_hydra.errors import InputError
from ssr_hydra.studies import Study, from_csv, recommend

TABLE = REPO / "docs/data/resnet50_imagenet.csv"
SPREAD = np.array([-1.0, 0.0, 1.0]) * 1e-3


@pytest.fixture(scope="module")
def resnet() -> Study:
    return from_csv(TABLE, "ssr", "top1", "seconds")


# Gains of doublings, by hand: from .1 to .2 (interpolated: 64.99 + .7565 * 8.03 = 71.06) 6.07; .25 to .5 2.64;
# .5 to 1 1.16; 1 to 2 .25; 1.25 to 2.5 (77.07 - .3219 * .4 = 76.94) -.13; 1.5 to 3 -.24; 2 to 4 -.40.
@pytest.mark.parametrize(
    ("tolerance", "ssr", "gain"),
    [(7.0, 0.1, 6.074), (3.0, 0.25, 2.64), (2.0, 0.5, 1.16), (0.5, 1.0, 0.25), (0.1, 1.25, -0.1288)],
)
def test_resnets_table(resnet: Study, tolerance: float, ssr: float, gain: float) -> None:
    (found,) = recommend(resnet, tolerance)
    assert (found.ssr, found.gain) == (ssr, pytest.approx(gain, abs=1e-3))
    assert found.verdict == "unreplicated"
    assert found.more_seeds is None
    assert math.isnan(found.low)
    assert f"run ssr {ssr:g}" in found.words[0]
    assert "3 seeds" in " ".join(found.words)


def test_resnets_target_by_hand(resnet: Study) -> None:
    # 77.00 lies 0.18 of 0.25 of the way from ssr 1 (76.82) to 1.25 (77.07): 1.25^0.72.
    (found,) = recommend(resnet, 0.5, target=77.0)
    assert found.target_ssr == pytest.approx(1.25**0.72)
    assert found.target_status == "inside"
    assert "about ssr 1.17, inside of the measured range" in found.words[-1]


def test_a_target_that_no_ssr_reaches_and_no_fit_that_may_be_asked(resnet: Study) -> None:
    (found,) = recommend(resnet, 0.5, target=78.0)
    assert (found.target_ssr, found.target_status) == (None, "above")
    assert found.words[-2:] == (
        "resnet50_imagenet does not reach 78 at any measured SSR (measured from 0.1 to 5.69).",
        "No fit has held its back-test, so nothing is said of larger ones.",
    )


def test_a_target_that_the_smallest_reaches(resnet: Study) -> None:
    (found,) = recommend(resnet, 0.5, target=60.0)
    assert (found.target_ssr, found.target_status) == (0.1, "below")


def test_a_target_beyond_the_range_by_a_fit_that_held() -> None:
    rng = np.random.default_rng(0)
    ssrs = 2.0 ** np.arange(-3, 3)
    study = study_of({"a": {float(s): 0.9 - 0.1 * s**-0.7 + 0.1 * rng.permutation(SPREAD) for s in ssrs}})
    (found,) = recommend(study, 0.005, target=0.868)
    # 0.9 - 0.1 s^-0.7 = 0.868 at s = 0.32^(-1/0.7).
    at = 0.32 ** (-1 / 0.7)
    assert (found.target_ssr, found.target_status) == (None, "above")
    (sentence,) = [word for word in found.words if word.startswith("The power law")]
    number = float(sentence.split("about ")[1].split(":")[0])
    assert number == pytest.approx(at, rel=0.05)
    (far,) = recommend(study, 0.005, target=0.89)
    assert "does not reach it up to twice that far either" in " ".join(far.words)


def test_a_clear_case_is_decided() -> None:
    rng = np.random.default_rng(0)
    means = {0.5: 0.80, 1.0: 0.88, 2.0: 0.92, 4.0: 0.925}
    (found,) = recommend(study_of({"a": {s: m + rng.permutation(SPREAD) for s, m in means.items()}}), 0.02)
    assert (found.ssr, found.verdict, found.more_seeds) == (2.0, "decided", None)
    assert found.low < 0.005 < found.high < 0.02


def test_a_close_call_and_the_seeds_that_would_decide_it() -> None:
    one = np.array([0.80, 0.81, 0.80, 0.81])
    gain = np.array([0.010, 0.030, 0.025, 0.003])
    (found,) = recommend(study_of({"a": {1.0: one, 2.0: one + gain}}), 0.02)
    low, high = stats.t.interval(0.95, 3, gain.mean(), stats.sem(gain))
    assert (found.ssr, found.verdict) == (1.0, "close")
    assert (found.gain, found.low, found.high) == pytest.approx((gain.mean(), low, high))

    def power(n: int) -> float:
        shift = (0.02 - gain.mean()) / gain.std(ddof=1) * math.sqrt(n)
        return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, shift))

    needed = next(n for n in range(2, 1000) if power(n) >= 0.8)
    assert found.more_seeds == needed - 4
    assert f"{needed - 4} more seeds at each SSR" in " ".join(found.words)


def test_a_smaller_doubling_that_is_not_clear_is_a_close_call_too() -> None:
    rng = np.random.default_rng(0)
    cells = {0.5: 0.80 + np.array([0.02, -0.02, 0.0]), 1.0: 0.83 + SPREAD, 2.0: 0.831 + rng.permutation(SPREAD)}
    (found,) = recommend(study_of({"a": cells}), 0.02)
    assert (found.ssr, found.verdict) == (1.0, "close")


def test_every_doubling_gains_more() -> None:
    (found,) = recommend(study_of({"a": {1.0: 0.5 + SPREAD, 2.0: 0.6 + 2 * SPREAD, 4.0: 0.7 - SPREAD}}), 0.02)
    assert (found.ssr, found.verdict) == (None, "outside")
    assert found.gain == pytest.approx(0.1)
    assert "above the measured range: run ssr 8" in found.words[0]


def test_nothing_to_weigh() -> None:
    (found,) = recommend(study_of({"a": {1.0: [0.5]}}), 0.02, target=0.4)
    assert (found.ssr, found.verdict, found.target_status) == (None, "outside", "below")
    assert math.isnan(found.gain)
    assert "nothing to weigh" in found.words[0]


def test_the_smallest_may_be_too_large_and_a_later_doubling_may_gain_more() -> None:
    (found,) = recommend(study_of({"a": {1.0: [0.5], 2.0: [0.5], 4.0: [0.6], 8.0: [0.4]}}), 0.02)
    assert found.ssr == 1.0
    assert "a smaller one may do as well" in found.words[1]
    assert "from ssr 2 to 4" in found.words[2]


def test_where_more_time_makes_it_worse() -> None:
    (found,) = recommend(study_of({"a": {1.0: 0.6 + SPREAD, 2.0: 0.5 - SPREAD}}), 0.02)
    assert "more time makes it worse" in " ".join(found.words)


def test_less_may_be_better() -> None:
    cells = {0.5: [3.0, 3.01], 1.0: [2.5, 2.52], 2.0: [2.49, 2.515]}
    (found,) = recommend(study_of({"a": cells}, "min"), 0.1, target=2.75)
    assert found.ssr == 1.0
    assert found.gain == pytest.approx(0.0075)
    assert found.target_ssr == pytest.approx(0.5 * 2 ** ((3.005 - 2.75) / (3.005 - 2.51)))


def test_the_interval_of_a_target_is_where_the_t_test_turns() -> None:
    rng = np.random.default_rng(1)
    one, two = rng.normal(0.5, 0.02, 5), rng.normal(0.9, 0.02, 5)
    (found,) = recommend(study_of({"a": {1.0: one, 2.0: two}}), 0.1, target=0.7)

    def end(share: float, side: int) -> float:
        return float(stats.ttest_1samp((1 - share) * one + share * two - 0.7, 0).confidence_interval(0.95)[side])

    low, high = (2 ** float(optimize.brentq(end, 0, 1, args=(side,))) for side in (1, 0))
    assert (found.target_low, found.target_high) == pytest.approx((low, high), rel=1e-4)


def test_one_for_each_recipe_and_none_for_controls() -> None:
    cells = {1.0: [0.5], 2.0: [0.6]}
    made = recommend(study_of({"b": cells, ("b", "truncate"): cells, "a": cells}), 0.01)
    assert [found.recipe for found in made] == ["b", "a"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"tolerance": 0}, "tolerance"),
        ({"tolerance": -0.1}, "tolerance"),
        ({"tolerance": math.inf}, "tolerance"),
        ({"tolerance": "1"}, "tolerance"),
        ({"tolerance": 0.1, "target": math.nan}, "target"),
        ({"tolerance": 0.1, "target": True}, "target"),
        ({"tolerance": 0.1, "confidence": 0}, "confidence"),
    ],
)
def test_what_cannot_be_meant(given: dict[str, object], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}="):
        recommend(study_of({"a": {1.0: [0.5]}}), **given)  # type: ignore[arg-type]


def test_seeds_that_do_not_differ_measure_no_noise() -> None:
    (found,) = recommend(study_of({"a": {1.0: [0.5, 0.6, 0.7], 2.0: [0.51, 0.61, 0.71]}}), 0.1)
    assert found.verdict == "unreplicated"
    assert "All seeds give the very same gain" in found.words[-1]


def test_an_interval_that_leaves_the_range_is_not_said_to_lie_inside() -> None:
    # Ends of 0.90 with a noise as large as the gains: the mean reaches 0.88 inside, the lower end of no SSR does.
    cells = {0.5: [0.80, 0.81, 0.79], 1.0: [0.82, 0.98, 0.87], 2.0: [0.80, 0.97, 0.93]}
    (found,) = recommend(study_of({"a": cells}), 0.005, target=0.88)
    assert found.target_status == "inside"
    assert found.words[-1].endswith(" to beyond the measured range).")
    assert "inside" not in found.words[-1]


def test_one_point_of_a_single_seed_leaves_the_others_their_intervals() -> None:
    one = np.array([0.80, 0.81, 0.80, 0.81])
    gain = np.array([0.010, 0.030, 0.025, 0.003])
    whole = {0.5: one - 0.1 + np.arange(4) * 1e-3, 1.0: one, 2.0: one + gain}
    (known,) = recommend(study_of({"a": whole}), 0.02)
    (found,) = recommend(study_of({"a": {0.25: [0.5], **whole}}), 0.02)  # from .25 to .5 it gains .2, ten tolerances
    assert (found.ssr, found.verdict, found.more_seeds) == (1.0, "close", known.more_seeds)
    assert known.more_seeds is not None
    assert "There are no intervals" not in " ".join(found.words)
    assert found.words[-1] == (
        "SSR 0.25 has one seed, so how much of the gain from 0.25 to 0.5 is noise, nobody knows: run 3 seeds or more "
        "there."
    )


def test_a_decision_that_rests_on_a_mean_as_well_says_so() -> None:
    rng = np.random.default_rng(0)
    means = {0.5: 0.80, 1.0: 0.88, 2.0: 0.92, 4.0: 0.925}
    cells = {s: m + rng.permutation(SPREAD) for s, m in means.items()} | {0.5: [0.8]}
    (found,) = recommend(study_of({"a": cells}), 0.02)
    assert (found.ssr, found.verdict) == (2.0, "decided")
    assert "this and of every smaller doubling that has one exclude" in found.words[-2]
    assert found.words[-1].startswith("SSR 0.5 has one seed")


@pytest.mark.parametrize(("thin", "gains"), [(2.0, "1 to 2"), (1.0, "0.5 to 1 and 1 to 2")])
def test_where_the_gain_itself_has_no_interval_nothing_is_decided(thin: float, gains: str) -> None:
    cells: dict[float, object] = {0.5: 0.7 + SPREAD, 1.0: 0.8 - SPREAD, 2.0: 0.801 + 2 * SPREAD, 4.0: 0.801 - SPREAD}
    (found,) = recommend(study_of({"a": cells | {thin: [0.8]}}), 0.02)
    assert (found.ssr, found.verdict, found.more_seeds) == (1.0, "unreplicated", None)
    assert math.isnan(found.low)
    assert found.words[-1].startswith(f"SSR {thin:g} has one seed, so how much of the gain from {gains} is noise")


def test_the_very_same_gain_is_said_of_its_doubling_alone() -> None:
    start = 0.5 + np.array([0.0, 0.1, 0.2])
    cells = {1.0: start, 2.0: start + 0.25, 4.0: start + 0.25 + SPREAD}  # +0.25 of every seed, then noise around 0
    (found,) = recommend(study_of({"a": cells}), 0.1)
    assert (found.ssr, found.verdict) == (2.0, "decided")
    assert found.words[-1].startswith("All seeds give the very same gain from ssr 1 to 2, which measures no noise")
