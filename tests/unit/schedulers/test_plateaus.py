"""Warmup-stable-decay and inverse square root, against their formulas by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra.errors import ConflictError, MissingRateError, MissingValueError, RangeError
from ssr_hydra.schedulers import InverseSquareRootWithWarmupScheduler, WarmupStableDecayScheduler

DECAYS: dict[str, Any] = {
    "1-sqrt": lambda tau: 1 - math.sqrt(tau),  # Hägele et al. 2024
    "linear": lambda tau: 1 - tau,
    "cosine": lambda tau: (1 + math.cos(math.pi * tau)) / 2,
}


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("alpha_f", [0.0, 0.1])
def test_wsd_matches_its_formula(decay: str, alpha_f: float) -> None:
    scheduler = WarmupStableDecayScheduler("4ba", "8ba", alpha_f=alpha_f, decay=decay)
    expected = [k / 4 for k in range(4)] + [1.0] * 8
    expected += [alpha_f + (1 - alpha_f) * DECAYS[decay](k / 8) for k in range(9)] + [alpha_f]
    assert alphas(scheduler, range(22), max_duration="20ba") == pytest.approx(expected, abs=1e-15)


def test_wsd_by_default_decays_over_the_last_tenth() -> None:
    # The decay takes batches 90 to 100. At 92.5, a quarter of it is over: 1 - sqrt(1/4).
    assert alphas(WarmupStableDecayScheduler("4ba"), (90, 92.5, 100), max_duration="100ba") == [1.0, 0.5, 0.0]


def test_wsd_warmup_is_scaled_only_if_scale_warmup_is_set() -> None:
    at = (2, 4, 8, 24, 32, 40)
    fixed = WarmupStableDecayScheduler("4ba", "8ba", decay="linear")
    assert alphas(fixed, at, 2, max_duration="20ba") == [0.5, 1, 1, 1, 0.5, 0]
    scaled = WarmupStableDecayScheduler("4ba", "8ba", decay="linear", scale_warmup=True)
    assert alphas(scaled, at, 2, max_duration="20ba") == [0.25, 0.5, 1, 1, 0.5, 0]


def test_wsd_does_not_depend_on_the_length_of_the_run_before_the_decay() -> None:
    # This makes it possible to branch one long run into several.
    scheduler = WarmupStableDecayScheduler("4ba", "0.2dur")
    assert alphas(scheduler, range(16), max_duration="20ba") == alphas(scheduler, range(16), max_duration="2000ba")


def test_wsd_times_may_have_different_units() -> None:
    scheduler = WarmupStableDecayScheduler("64sp", "1ep", decay="linear")
    values = alphas(
        scheduler, (1, 2, 10, 15, 20), max_duration="20480tok",
        dataloader_len=10, samples_per_batch=32, tokens_per_batch=1024,
    )  # fmt: skip
    assert values == [0.5, 1, 1, 0.5, 0]
    with refused("t_decay", MissingRateError, match="dataloader_len"):
        alphas(scheduler, [0], max_duration="20480tok", samples_per_batch=32, tokens_per_batch=1024)


def test_wsd_refuses_parts_that_do_not_fit() -> None:
    for t_decay, t_max in (("21ba", "20ba"), ("1.1dur", "1dur")):
        with refused("t_decay", RangeError):
            WarmupStableDecayScheduler("4ba", t_decay, t_max)
    with refused("t_warmup", RangeError):
        WarmupStableDecayScheduler("20ba", t_max="20ba")
    with refused("t_decay", RangeError):
        alphas(WarmupStableDecayScheduler("4ba", "0.9dur"), [0], max_duration="20ba")
    with refused("t_warmup", RangeError):
        alphas(WarmupStableDecayScheduler("4ba"), [0], 0.1, max_duration="20ba")


def test_inverse_square_root_is_the_transformer_schedule() -> None:
    # min(t / w, sqrt(w / t)): Vaswani et al. 2017 up to their constant.
    expected = [min(t / 4, math.sqrt(4 / t)) for t in range(1, 100)]
    values = alphas(InverseSquareRootWithWarmupScheduler("4ba"), range(1, 100))  # of an open run: it has no end
    assert values == pytest.approx(expected, abs=1e-15)


def test_inverse_square_root_accepts_a_time_scale() -> None:
    # sqrt(s / (s + t - w)): Zhai et al. 2022.
    expected = [t / 4 for t in range(4)] + [math.sqrt(10 / (10 + t - 4)) for t in range(4, 50)]
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba", "10ba"), range(50)) == pytest.approx(expected, abs=1e-15)
    without = InverseSquareRootWithWarmupScheduler("0ba", "320sp")
    values = alphas(without, range(50), samples_per_batch=32)
    assert values == pytest.approx([math.sqrt(10 / (10 + t)) for t in range(50)], abs=1e-15)


@pytest.mark.parametrize("alpha_f", [0.0, 0.2])
def test_inverse_square_root_has_a_linear_cooldown(alpha_f: float) -> None:
    scheduler = InverseSquareRootWithWarmupScheduler("4ba", t_cooldown="20ba", alpha_f=alpha_f)
    brink = math.sqrt(4 / 80)
    expected = [math.sqrt(4 / t) for t in range(4, 81)]
    expected += [brink * (1 - k / 20) + alpha_f * k / 20 for k in range(1, 21)] + [alpha_f]
    assert alphas(scheduler, range(4, 102), max_duration="100ba") == pytest.approx(expected, abs=1e-12)


def test_inverse_square_root_warmup_is_scaled_only_if_scale_warmup_is_set() -> None:
    # ssr 2, w = 4, s = 10: s is stretched to 20, so at t = 4 + 3 * 20 the multiplier is sqrt(1/4).
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba", "10ba"), (2, 64), 2) == [0.5, 0.5]
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba", "10ba", scale_warmup=True), (4, 68), 2) == [0.5, 0.5]
    # Here the warmup is also the scale. If it is fixed, every ssr has the same curve; if it is scaled, the law holds.
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba"), (2, 16), 2) == [0.5, 0.5]
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba", scale_warmup=True), (4, 32), 2) == [0.5, 0.5]


def test_inverse_square_root_cooldown_may_start_at_the_end_of_warmup_or_be_very_short() -> None:
    assert alphas(InverseSquareRootWithWarmupScheduler("4ba", t_cooldown="16ba"), (4, 12, 20), max_duration="20ba") == [
        1.0, 0.5, 0.0
    ]  # fmt: skip
    end = 9 * 10**18
    short = InverseSquareRootWithWarmupScheduler("1ba", t_cooldown="1ba")
    assert alphas(short, (end // 4, end), max_duration=f"{end}ba") == [pytest.approx((end / 4) ** -0.5), 0.0]


def test_inverse_square_root_refuses_invalid_arguments() -> None:
    with refused("t_scale", MissingValueError):
        InverseSquareRootWithWarmupScheduler("0ba")
    with refused("alpha_f", ConflictError):
        InverseSquareRootWithWarmupScheduler("4ba", alpha_f=0.1)
    with refused("t_max", ConflictError):
        InverseSquareRootWithWarmupScheduler("4ba", t_max="9ba")
    with refused("t_scale", RangeError):
        InverseSquareRootWithWarmupScheduler("4ba", "0ba")
    with refused("t_cooldown", RangeError, match="take 21ba, but the schedule ends at 20ba"):
        alphas(InverseSquareRootWithWarmupScheduler("4ba", t_cooldown="17ba"), [0], max_duration="20ba")
    with refused("t_scale", MissingRateError, match="samples_per_batch"):
        alphas(InverseSquareRootWithWarmupScheduler("4ba", "320sp"), [0], max_duration="20ba")
