"""Linear, cosine, polynomial and REX, with and without warmup, against their formulas by hand."""

import math
from itertools import product

import pytest
from cases import each
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra import schedulers as s
from ssr_hydra.errors import MismatchError, MissingRateError, RangeError
from ssr_hydra.time import Time

WITH_WARMUP = [
    s.LinearWithWarmupScheduler,
    s.CosineAnnealingWithWarmupScheduler,
    s.PolynomialWithWarmupScheduler,
]

# Shapes from 1 to 0, as their papers write them, with z = 1 - tau.
SHAPES = {
    "linear": lambda z: z,
    "cosine": lambda z: (1 - math.cos(math.pi * z)) / 2,
    "cubic": lambda z: z**3,
    "root": math.sqrt,
    "rex": lambda z: z / (0.5 + 0.5 * z),  # Chen et al. 2021: (1 - tau) / (1/2 + (1 - tau)/2)
}


@pytest.mark.parametrize("alpha_f", [0.0, 0.1, 1.0, 2.5])
def test_shapes_match_their_formulas_with_and_without_warmup(alpha_f):
    for name, warmup, scheduler in (
        ("linear", 0, s.LinearScheduler(alpha_f=alpha_f)),
        ("cosine", 0, s.CosineAnnealingScheduler(alpha_f=alpha_f)),
        ("cubic", 0, s.PolynomialScheduler(3, alpha_f=alpha_f)),
        ("root", 0, s.PolynomialScheduler(0.5, alpha_f=alpha_f)),
        ("rex", 0, s.RexScheduler(alpha_f=alpha_f)),
        ("linear", 4, s.LinearWithWarmupScheduler("4ba", alpha_f=alpha_f)),
        ("cosine", 4, s.CosineAnnealingWithWarmupScheduler("4ba", alpha_f=alpha_f)),
        ("cubic", 4, s.PolynomialWithWarmupScheduler("4ba", 3, alpha_f=alpha_f)),
    ):
        expected = [k / 4 for k in range(warmup)]
        expected += [alpha_f + (1 - alpha_f) * SHAPES[name](1 - k / 16) for k in range(17)] + [alpha_f]
        values = alphas(scheduler, range(warmup + 18), max_duration=f"{warmup + 16}ba")
        assert values == pytest.approx(expected, abs=1e-15), name


def test_linear_interpolates_between_any_two_multipliers():
    assert alphas(s.LinearScheduler(0.5, 2.5, "4ba"), range(6)) == [0.5, 1.0, 1.5, 2.0, 2.5, 2.5]
    assert alphas(s.LinearWithWarmupScheduler("2ba", 0.5, 2.5, "6ba"), range(6)) == [0, 0.25, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("make", WITH_WARMUP)
def test_length_of_the_warmup_is_exact(make):
    for zero in ("0ba", "0ep", "0dur", "0sec"):  # zero needs no rate
        assert alphas(make(zero), [0], max_duration="6ba") == [1.0]
    for scale_warmup in (False, True):  # 0.1dur of the 80 batches that are run
        assert alphas(make("0.1dur", scale_warmup=scale_warmup), (1, 4, 8), 4, max_duration="20ba") == [0.125, 0.5, 1.0]
    # If the warmup is as long as the run, alpha ends at the peak.
    assert alphas(make("10ba"), (5, 10, 11), 0.5, max_duration="20ba") == [0.5, 1.0, 1.0]
    for t_warmup, t_max in (("20ba", "20ba"), ("1.5dur", "1dur")):
        with refused("t_warmup", RangeError):
            make(t_warmup, t_max=t_max)


@pytest.mark.parametrize("make", [s.LinearScheduler, s.CosineAnnealingScheduler, s.RexScheduler])
def test_schedule_without_warmup_may_end_before_the_run(make):
    assert alphas(make(t_max="5ba", alpha_f=0.5), (5, 9), max_duration="20ba") == [0.5, 0.5]


RATES = {"dataloader_len": 10, "samples_per_batch": 32, "tokens_per_batch": 1024}


@each("t_warmup,max_duration", product(["5ba", "0.5ep", "160sp", "5120tok", "0.1dur"], ["50ba", "5ep", "51200tok"]))
def test_times_in_batches_and_samples_and_tokens_and_epochs_can_be_mixed(t_warmup, max_duration):
    # Every spelling means 5 of 50 batches.
    scheduler = s.LinearWithWarmupScheduler(t_warmup)
    assert alphas(scheduler, (0, 4, 5, 27.5, 50), max_duration=max_duration, **RATES) == [0, 0.8, 1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("t_warmup", "max_duration", "missing"),
    [
        ("500ba", "5000tok", "tokens_per_batch"), ("500tok", "5000sp", "tokens_per_batch"),
        ("500sp", "5000ba", "samples_per_batch"), ("1ep", "5000ba", "dataloader_len"),
    ],
)  # fmt: skip
def test_error_names_the_missing_rate(t_warmup, max_duration, missing):
    with refused("t_warmup", MissingRateError, match=f"needs {missing}, .* pass {missing}=") as caught:
        alphas(s.LinearWithWarmupScheduler(t_warmup), [0], max_duration=max_duration)
    assert isinstance(caught.value, RuntimeError)  # as in Composer, so that existing handlers work


def test_seconds_can_be_used_like_other_units():
    # 90 minutes at 2 s a batch; a warmup of 1m30s is 45 batches.
    scheduler = s.LinearWithWarmupScheduler("1m30s")
    assert alphas(scheduler, (9, 45, 1372.5, 2700), max_duration="90m", seconds_per_batch=2) == [0.2, 1.0, 0.5, 0.0]
    # ssr .5: 45 minutes.
    assert alphas(s.LinearScheduler(), (675, 1350), 0.5, max_duration="90m", seconds_per_batch=2) == [0.5, 0.0]


@pytest.mark.parametrize(
    ("t_warmup", "max_duration", "to"), [("500ba", "90m", "sec"), ("90sec", "5ba", "ba"), ("1iter", "5ba", "ba")]
)
def test_units_without_a_rate_between_them_are_refused(t_warmup, max_duration, to):
    with refused("t_warmup", MismatchError, match=f"{Time(t_warmup).unit} cannot be converted to {to}"):
        alphas(s.LinearWithWarmupScheduler(t_warmup), [0], max_duration=max_duration, **RATES)
