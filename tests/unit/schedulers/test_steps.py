"""Step, multistep, exponential and constant schedules, against their formulas by hand."""

from __future__ import annotations

from fractions import Fraction

from refusals import refused
from schedule_helpers import alphas, run

from ssr_hydra.errors import RangeError
from ssr_hydra.schedulers import (
    ConstantScheduler,
    ConstantWithWarmupScheduler,
    ExponentialScheduler,
    MultiStepScheduler,
    MultiStepWithWarmupScheduler,
    StepScheduler,
    bind,
)
from ssr_hydra.time import Timestamp


def test_step_scheduler_decays_at_each_multiple_of_its_size() -> None:
    # gamma ** floor(k / 3)
    assert alphas(StepScheduler("3ba", 0.5), range(8)) == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_exponential_scheduler_decays_continuously() -> None:
    # gamma ** (k / 2): the square root of 1/4 is 1/2.
    assert alphas(ExponentialScheduler(0.25, "2ba"), range(5)) == [1.0, 0.5, 0.25, 0.125, 0.0625]
    # The default period is an epoch, here of 4 batches.
    assert alphas(ExponentialScheduler(0.0625), (1, 4), dataloader_len=4) == [0.5, 0.0625]


def test_multiplier_is_zero_after_the_first_step_if_gamma_is_zero() -> None:
    assert alphas(StepScheduler("2ba", 0), range(4)) == [1, 1, 0, 0]
    assert alphas(ExponentialScheduler(0, "2ba"), range(2)) == [1, 0]


def test_overflow_of_a_multiplier_is_an_error() -> None:
    for scheduler in (StepScheduler("1ba", 1e300), ExponentialScheduler(1e300, "1ba"), ExponentialScheduler(10, "1ba")):
        with refused("gamma", RangeError):
            alphas(scheduler, [400])
    with refused("gamma", RangeError):
        alphas(MultiStepScheduler(["1ba", "2ba"], 1e300), [0])


def test_multistep_scheduler_decays_at_every_milestone() -> None:
    assert alphas(MultiStepScheduler(["2ba", "5ba"], 0.5), range(7)) == [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_milestones_may_be_unordered_or_repeated_or_zero() -> None:
    # timm applies both of [4, 2] at step 1; a repeated milestone decays twice, as in torch.
    assert alphas(MultiStepScheduler(["4ba", "2ba"], 0.5), (1, 2, 4)) == [1, 0.5, 0.25]
    assert alphas(MultiStepScheduler(["2ba", "2ba"], 0.5), (1, 2)) == [1, 0.25]
    assert alphas(MultiStepScheduler(["0ba"], 0.5), (0, 9)) == [0.5, 0.5]
    assert alphas(MultiStepWithWarmupScheduler("2ba", []), (0, 1, 9), max_duration="9ba") == [0.0, 0.5, 1.0]


def test_milestones_of_different_units_need_no_rates() -> None:
    # Each is read on the clock of its own unit: 2 batches, 96 samples (batch 3), half the run (batch 5), 4.5 s.
    scheduler = MultiStepScheduler(["2ba", "96sp", "0.5dur", "4.5s"], 0.5)
    values = alphas(scheduler, range(8), max_duration="10ba", samples_per_batch=32, seconds_per_batch=Fraction(3, 4))
    assert values == [1, 1, 0.5, 0.25, 0.25, 0.125, 0.0625, 0.0625]


def test_milestone_inside_the_warmup_takes_effect_after_the_warmup() -> None:
    scheduler = MultiStepWithWarmupScheduler("4ba", ["2ba", "6ba"], 0.5)
    assert alphas(scheduler, range(8)) == [0, 0.25, 0.5, 0.75, 0.5, 0.5, 0.25, 0.25]


def test_multistep_warmup_is_scaled_only_if_scale_warmup_is_set() -> None:
    # ssr 2 moves the milestone from 6 to 12 in either case; the warmup of 4 takes 8 with the flag.
    at = (2, 4, 8, 11, 12)
    assert alphas(MultiStepWithWarmupScheduler("4ba", ["6ba"], 0.5), at, 2) == [0.5, 1, 1, 1, 0.5]
    assert alphas(MultiStepWithWarmupScheduler("4ba", ["6ba"], 0.5, True), at, 2) == [0.25, 0.5, 1, 1, 0.5]


def test_multistep_warmup_needs_no_rate_between_its_milestones_and_the_warmup() -> None:
    # By batch 3 there are 96 samples and 90 s, within the warmup: both act at its end, batch 4.
    scheduler = MultiStepWithWarmupScheduler("4ba", ["96sp", "90s", "6ba"], 0.5)
    state = run(max_duration="10ba")
    curve = bind(scheduler, state)
    values = [curve(Timestamp(batch=k, sample=32 * k, seconds=30 * k)) for k in range(7)]
    assert values == [0, 0.25, 0.5, 0.75, 0.25, 0.25, 0.125]


def test_multistep_uses_counted_samples_and_not_samples_per_batch() -> None:
    # The rate says 32 samples a batch; the batches hold 48. At the milestone of 120 samples the warmup is not over.
    scheduler = MultiStepWithWarmupScheduler("4ba", ["120sp"], 0.1)
    curve = bind(scheduler, run(max_duration="10ba", samples_per_batch=32))
    values = [curve(Timestamp(batch=k, sample=48 * k)) for k in range(6)]
    assert values == [0, 0.25, 0.5, 0.75, 0.1, 0.1]


def test_constant_scheduler_returns_one_after_t_max() -> None:
    # As in Composer, and in torch's ConstantLR.
    assert alphas(ConstantScheduler(0.25, "3ba"), (0, 2, 3, 9)) == [0.25, 0.25, 1.0, 1.0]
    assert alphas(ConstantScheduler(0.25, "3ba"), (5, 6), 2) == [0.25, 1.0]


def test_constant_with_warmup_stays_at_alpha_after_t_max() -> None:
    assert alphas(ConstantWithWarmupScheduler("4ba", 0.5), (0, 1, 4, 10, 99), max_duration="10ba") == [
        0, 0.125, 0.5, 0.5, 0.5
    ]  # fmt: skip


def test_t_max_that_cannot_be_compared_with_the_run_is_accepted() -> None:
    for t_max, max_duration in (("9sec", "10ba"), ("1ep", "99ba"), ("9ba", "1ep"), ("1dur", None), ("9ba", None)):
        assert alphas(ConstantWithWarmupScheduler("2ba", t_max=t_max), (1, 5), max_duration=max_duration) == [0.5, 1.0]
