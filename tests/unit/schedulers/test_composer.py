"""The values of MosaicML Composer 0.32.1 where it satisfies its own equation, and the right values elsewhere."""

from __future__ import annotations

import json
import time
from fractions import Fraction
from typing import Any

import pytest
from checkout import SUPPORT
from refusals import refused
from schedule_helpers import alphas, run

from ssr_hydra import schedulers
from ssr_hydra.errors import MissingRateError, RangeError
from ssr_hydra.schedulers import (
    ConstantWithWarmupScheduler,
    CosineAnnealingWarmRestartsScheduler,
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    LinearWithWarmupScheduler,
    MultiStepScheduler,
    PolynomialWithWarmupScheduler,
    StepScheduler,
)
from ssr_hydra.time import Time, check_ssr

CASES: list[dict[str, Any]] = json.loads((SUPPORT / "reference" / "composer_alphas.json").read_text(encoding="utf-8"))[
    "cases"
]


def test_file_of_composer_reference_values_is_complete() -> None:
    assert (len(CASES), sum(len(case["alphas"]) for case in CASES)) == (400, 4656)
    assert len({case["scheduler"] for case in CASES}) == 13
    (case,) = [case for case in CASES if _warmup_outlasts_the_run(case)]
    assert (case["kwargs"]["t_warmup"], case["max_duration"], case["ssr"]) == ("92tok", "320tok", 0.25)


@pytest.mark.parametrize("name", sorted({case["scheduler"] for case in CASES}))
def test_scheduler_has_the_values_that_composer_computes(name: str) -> None:
    for case in CASES:
        if case["scheduler"] != name:
            continue
        rates = {key: case[key] for key in ("dataloader_len", "samples_per_batch", "tokens_per_batch")}
        scheduler = getattr(schedulers, name)(**case["kwargs"])
        batches, expected = zip(*case["alphas"], strict=True)
        if _warmup_outlasts_the_run(case):
            # Composer accepts this run, and the peak is never reached.
            with refused("t_warmup", RangeError, match="at ssr 0.25"):
                alphas(scheduler, batches, case["ssr"], max_duration=case["max_duration"], **rates)
            continue
        values = alphas(scheduler, batches, case["ssr"], max_duration=case["max_duration"], **rates)
        assert values == pytest.approx(expected, rel=0, abs=1e-9), case
        # In Composer the caller scales max_duration, and so does this test.
        assert run(0, case["ssr"], max_duration=case["max_duration"], **rates).max_duration == Time(
            case["scaled_max_duration"]
        )


def _warmup_outlasts_the_run(case: dict[str, Any]) -> bool:
    """Return whether a fixed warmup is longer than the scaled run; both then have the same unit."""
    warmup, length = Time(case["kwargs"].get("t_warmup", "0dur")), Time(case["scaled_max_duration"])
    return warmup.unit is length.unit and not case["kwargs"].get("scale_warmup") and warmup > length


# Composer's violations of its equation, by their effect. "There" means in Composer.


def test_batch_k_uses_alpha_at_timestamp_k() -> None:
    # There the scheduler steps before the clock: 1, 1, .875, ..., .25, and a warmup of 2ba trains two batches at 0.
    assert alphas(LinearScheduler(), range(8), max_duration="8ba") == [1 - k / 8 for k in range(8)]
    assert alphas(LinearWithWarmupScheduler("2ba"), range(3), max_duration="6ba") == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    "make",
    [LinearWithWarmupScheduler, CosineAnnealingWithWarmupScheduler, PolynomialWithWarmupScheduler,
     ConstantWithWarmupScheduler],
)  # fmt: skip
def test_option_scale_warmup_scales_the_end_of_the_warmup(make: Any) -> None:
    scheduler = make(t_warmup="10ba", scale_warmup=True)
    # ssr 2: the ramp takes 20 batches. There alpha(9) = .45 and alpha(10) = 1.
    assert alphas(scheduler, (9, 10, 19, 20), 2, max_duration="100ba") == pytest.approx([0.45, 0.5, 0.95, 1.0])
    # ssr .5: the ramp takes 5 batches, and then the decay begins. There the multiplier stays 1 from 5 to 10.
    (half, full, after) = alphas(scheduler, (2.5, 5, 10), 0.5, max_duration="100ba")
    assert (half, full) == (0.5, 1.0)
    assert after == alphas(scheduler, [20], max_duration="100ba")[0]  # the law, at t / ssr = 20


def test_t_max_is_compared_with_the_exactly_scaled_end_of_the_run() -> None:
    # 15 epochs of 3 batches, times 1.4, are 63 batches for both. There the error is that t_max < max_duration.
    of_run = {"ssr": 1.4, "max_duration": "15ep", "dataloader_len": 3}
    for t_max in ("15ep", "45ba", "1dur", "15.01ep"):
        assert alphas(LinearWithWarmupScheduler("1ba", t_max=t_max), [63], **of_run)[0] == pytest.approx(0, abs=1e-3)
    for t_max in ("14.99ep", "44ba"):
        with refused("t_max", RangeError):
            alphas(LinearWithWarmupScheduler("1ba", t_max=t_max), [0], **of_run)


def test_scaled_times_are_not_truncated() -> None:
    # Linear over 10ba * .35 = 3.5 batches: 1 - 3 / 3.5 = 1/7. There 0.
    assert alphas(LinearScheduler(t_max="10ba"), [3], 0.35) == [pytest.approx(1 / 7, abs=1e-15)]
    # A decay every 1.5 batches: 4 by batch 6. There 6, so 1e-6.
    assert alphas(StepScheduler("3ba"), [6], 0.5) == [pytest.approx(1e-4)]
    # 0.29 * 100 in floats is 28.999999999999996, and there batch 28.
    assert alphas(MultiStepScheduler(["0.29dur"]), (28, 29), max_duration="100ba") == [1.0, 0.1]
    # A decay every half batch. There a division by zero.
    assert alphas(StepScheduler("1ba", 0.5), range(4), 0.5) == [1.0, 0.25, 0.0625, 0.015625]


def _restarts(t: Fraction, t_0: Fraction, t_mult: Fraction) -> Fraction:
    """Return the elapsed fraction of the cycle, by adding up the cycles in exact numbers."""
    begin, width = Fraction(0), t_0
    while t >= begin + width:
        begin, width = begin + width, width * t_mult
    return (t - begin) / width


@pytest.mark.parametrize("t_mult", [1.0, 1.5, 2.0, 1.1])
@pytest.mark.parametrize("ssr", [1.0, 0.5, 0.35])
def test_cycles_of_warm_restarts_are_not_rounded(t_mult: float, ssr: float) -> None:
    # There every cycle is truncated: t_0 = 3ba, t_mult = 1.5, ssr .5 is constant at 1.
    from math import cos, pi

    scheduler = CosineAnnealingWarmRestartsScheduler("3ba", t_mult)
    exact_mult, sigma = Fraction(str(t_mult)), check_ssr(ssr)
    batches = [Fraction(k, 2) for k in range(80)]
    expected = [(1 + cos(pi * float(_restarts(t, 3 * sigma, exact_mult)))) / 2 for t in batches]
    assert alphas(scheduler, batches, ssr) == pytest.approx(expected, abs=1e-12)


def test_time_to_compute_warm_restarts_does_not_depend_on_the_number_of_cycles() -> None:
    started = time.process_time()
    for scheduler in (
        CosineAnnealingWarmRestartsScheduler("1e-30ba"),
        CosineAnnealingWarmRestartsScheduler("1e-30ba", 2),
        CosineAnnealingWarmRestartsScheduler("1ba", 1.0001),
    ):
        (alpha,) = alphas(scheduler, [2**62])
        assert 0.0 <= alpha <= 1.0
    assert time.process_time() - started < 0.5


def test_a_shorter_run_ends_where_its_schedule_ends() -> None:
    # 5ep * .5 is 2.5 epochs of 10 batches. There the run stops at epoch 2, with a learning rate above 0.
    for scheduler in (LinearScheduler(), LinearScheduler(t_max="5ep"), LinearScheduler(t_max="50ba")):
        values = alphas(scheduler, (0, 20, 24, 25), 0.5, max_duration="5ep", dataloader_len=10)
        assert values == pytest.approx([1.0, 0.2, 0.04, 0.0])
        assert values[-1] == 0.0
    # 1ep * .5 is half an epoch. There it is an error.
    assert alphas(LinearScheduler(), (0, 4, 5), 0.5, max_duration="1ep", dataloader_len=10)[2] == 0.0


def test_warmup_in_another_unit_is_converted_or_the_missing_rate_is_named() -> None:
    scheduler = LinearWithWarmupScheduler("500ba", t_max="1dur")  # there this is always an error
    of_run = {"max_duration": "2048000tok", "tokens_per_batch": 1024}  # 2000 batches
    assert alphas(scheduler, (250, 500, 1250, 2000), **of_run) == [0.5, 1.0, 0.5, 0.0]
    with refused("t_warmup", MissingRateError, match="tokens_per_batch"):
        alphas(scheduler, [0], max_duration="2048000tok")
