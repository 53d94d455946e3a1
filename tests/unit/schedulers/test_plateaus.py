"""Warmup-stable-decay and inverse square root, against their formulas by hand."""

import math

import pytest
from cases import each
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra.errors import ConflictError, MissingRateError, MissingValueError, RangeError
from ssr_hydra.schedulers import InverseSquareRootWithWarmupScheduler as INVERSE
from ssr_hydra.schedulers import WarmupStableDecayScheduler as WSD

DECAYS = {
    "1-sqrt": lambda tau: 1 - math.sqrt(tau),  # Hägele et al. 2024
    "linear": lambda tau: 1 - tau,
    "cosine": lambda tau: (1 + math.cos(math.pi * tau)) / 2,
}


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("alpha_f", [0.0, 0.1])
def test_wsd_matches_its_formula(decay, alpha_f):
    scheduler = WSD("4ba", "8ba", alpha_f=alpha_f, decay=decay)
    expected = [k / 4 for k in range(4)] + [1.0] * 8
    expected += [alpha_f + (1 - alpha_f) * DECAYS[decay](k / 8) for k in range(9)] + [alpha_f]
    assert alphas(scheduler, range(22), max_duration="20ba") == pytest.approx(expected, abs=1e-15)


def wsd(*arguments, **options):
    return WSD(*arguments, decay="linear", **options)


RATES = {"max_duration": "20480tok", "dataloader_len": 10, "samples_per_batch": 32, "tokens_per_batch": 1024}
VALUES = {
    # The decay takes batches 90 to 100. At 92.5, a quarter of it is over: 1 - sqrt(1/4).
    "wsd by default": (WSD("4ba"), (90, 92.5, 100), [1, 0.5, 0], {"max_duration": "100ba"}),
    "wsd, fixed warmup": (
        wsd("4ba", "8ba"), (2, 4, 24, 32, 40), [0.5, 1, 1, 0.5, 0], {"ssr": 2, "max_duration": "20ba"}
    ),
    "wsd, scaled warmup": (
        wsd("4ba", "8ba", scale_warmup=True), (2, 4, 8, 24, 32, 40), [0.25, 0.5, 1, 1, 0.5, 0],
        {"ssr": 2, "max_duration": "20ba"},
    ),
    "wsd in three units": (wsd("64sp", "1ep"), (1, 2, 10, 15, 20), [0.5, 1, 1, 0.5, 0], RATES),
    # At ssr 2, a t_scale of 10 is stretched to 20: at t = 4 + 3 * 20, the multiplier is sqrt(1/4).
    "inverse square root, fixed warmup": (INVERSE("4ba", "10ba"), (2, 64), [0.5, 0.5], {"ssr": 2}),
    "inverse square root, scaled warmup": (
        INVERSE("4ba", "10ba", scale_warmup=True), (4, 68), [0.5, 0.5], {"ssr": 2}
    ),
    # Without t_scale, the warmup is also the scale.
    "fixed scale": (INVERSE("4ba"), (2, 16), [0.5, 0.5], {"ssr": 2}),
    "scaled scale": (INVERSE("4ba", scale_warmup=True), (4, 32), [0.5, 0.5], {"ssr": 2}),
    "cooldown right after the warmup": (
        INVERSE("4ba", t_cooldown="16ba"), (4, 12, 20), [1.0, 0.5, 0.0], {"max_duration": "20ba"}
    ),
    "very short cooldown": (
        INVERSE("1ba", t_cooldown="1ba"), (10**18, 4 * 10**18), [1e-9, 0.0],
        {"max_duration": "4000000000000000000ba"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_schedules_match_values_computed_by_hand(name):
    scheduler, batches, expected, of_run = VALUES[name]
    assert alphas(scheduler, batches, **of_run) == pytest.approx(expected, rel=1e-15)


def test_wsd_does_not_depend_on_the_length_of_the_run_before_the_decay():
    # This makes it possible to branch one long run into several.
    scheduler = WSD("4ba", "0.2dur")
    assert alphas(scheduler, range(16), max_duration="20ba") == alphas(scheduler, range(16), max_duration="2000ba")


def test_inverse_square_root_matches_its_formula():
    # Without a cooldown, the schedule needs no length of the run. min(t / w, sqrt(w / t)): Vaswani et al. 2017 up to
    # their constant; sqrt(s / (s + t - w)): Zhai et al. 2022.
    for scheduler, expected in (
        (INVERSE("4ba"), [min(t / 4, math.sqrt(4 / max(t, 1))) for t in range(50)]),
        (INVERSE("4ba", "10ba"), [min(t / 4, math.sqrt(10 / (6 + t))) for t in range(50)]),
        (INVERSE("0ba", "320sp"), [math.sqrt(10 / (10 + t)) for t in range(50)]),
    ):
        assert alphas(scheduler, range(50), samples_per_batch=32) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("alpha_f", [0.0, 0.2])
def test_inverse_square_root_has_a_linear_cooldown(alpha_f):
    scheduler = INVERSE("4ba", t_cooldown="20ba", alpha_f=alpha_f)
    brink = math.sqrt(4 / 80)
    expected = [math.sqrt(4 / t) for t in range(4, 81)]
    expected += [brink * (1 - k / 20) + alpha_f * k / 20 for k in range(1, 21)] + [alpha_f]
    assert alphas(scheduler, range(4, 102), max_duration="100ba") == pytest.approx(expected, abs=1e-12)


@each(
    "make,field,kind",
    [
        (lambda: WSD("4ba", "21ba", "20ba"), "t_decay", RangeError),
        (lambda: WSD("4ba", "1.1dur", "1dur"), "t_decay", RangeError),
        (lambda: WSD("20ba", t_max="20ba"), "t_warmup", RangeError),
        (lambda: INVERSE("0ba"), "t_scale", MissingValueError),
        (lambda: INVERSE("4ba", "0ba"), "t_scale", RangeError),
        (lambda: INVERSE("4ba", alpha_f=0.1), "alpha_f", ConflictError),
        (lambda: INVERSE("4ba", t_max="9ba"), "t_max", ConflictError),
    ],
)
def test_invalid_arguments_are_refused_at_construction(make, field, kind):
    with refused(field, kind):
        make()


@each(
    "scheduler,field,kind,match",
    [
        (WSD("4ba", "0.9dur"), "t_decay", RangeError, "take 22ba, but the schedule ends at 20ba"),
        (INVERSE("4ba", t_cooldown="17ba"), "t_cooldown", RangeError, "take 21ba, but the schedule ends at 20ba"),
        (WSD("4ba", "1ep"), "t_decay", MissingRateError, "dataloader_len"),
        (INVERSE("4ba", "320sp"), "t_scale", MissingRateError, "samples_per_batch"),
    ],
)
def test_times_that_do_not_fit_the_run_are_refused(scheduler, field, kind, match):
    with refused(field, kind, match=match):
        alphas(scheduler, [0], max_duration="20ba")
