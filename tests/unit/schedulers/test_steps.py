"""Step, multistep, exponential and constant schedules, against their formulas by hand."""

from fractions import Fraction

import pytest
from refusals import refused
from schedule_helpers import alphas, run

from ssr_hydra import schedulers as s
from ssr_hydra.errors import RangeError
from ssr_hydra.schedulers import bind
from ssr_hydra.time import Timestamp

RAMP = [0, 0.25, 0.5, 0.75]
VALUES = {
    "step": (s.StepScheduler("3ba", 0.5), range(8), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25], {}),
    "step with gamma 0": (s.StepScheduler("2ba", 0), range(4), [1, 1, 0, 0], {}),
    "exponential": (s.ExponentialScheduler(0.25, "2ba"), range(5), [1.0, 0.5, 0.25, 0.125, 0.0625], {}),
    "exponential per epoch by default": (s.ExponentialScheduler(0.0625), (1, 4), [0.5, 0.0625], {"dataloader_len": 4}),
    "exponential with gamma 0": (s.ExponentialScheduler(0, "2ba"), range(2), [1, 0], {}),
    "milestones in any order": (s.MultiStepScheduler(["5ba", "2ba"], 0.5), range(6), [1, 1, *[0.5] * 3, 0.25], {}),
    "repeated milestone": (s.MultiStepScheduler(["2ba", "2ba"], 0.5), (1, 2), [1, 0.25], {}),
    "milestone 0": (s.MultiStepScheduler(["0ba"], 0.5), (0, 9), [0.5, 0.5], {}),
    # Each milestone is read on the clock of its unit: 2 batches, 96 samples (batch 3), half the run (batch 5), 4.5 s.
    "milestones of four units": (
        s.MultiStepScheduler(["2ba", "96sp", "0.5dur", "4.5s"], 0.5), range(7), [1, 1, 0.5, 0.25, 0.25, 0.125, 2**-4],
        {"max_duration": "10ba", "samples_per_batch": 32, "seconds_per_batch": Fraction(3, 4)},
    ),
    "warmup without milestones": (s.MultiStepWithWarmupScheduler("2ba", []), (0, 1, 9), [0, 0.5, 1], {}),
    "milestone inside the warmup": (
        s.MultiStepWithWarmupScheduler("4ba", ["2ba", "6ba"], 0.5), range(8), [*RAMP, 0.5, 0.5, 0.25, 0.25], {}
    ),
    "fixed warmup": (s.MultiStepWithWarmupScheduler("4ba", ["6ba"], 0.5), (2, 4, 11, 12), [0.5, 1, 1, 0.5], {"ssr": 2}),
    "scaled warmup": (
        s.MultiStepWithWarmupScheduler("4ba", ["6ba"], 0.5, True), (2, 4, 8, 11, 12), [0.25, 0.5, 1, 1, 0.5], {"ssr": 2}
    ),
    "constant until t_max": (s.ConstantScheduler(0.25, "3ba"), (0, 5, 6, 9), [0.25, 0.25, 1, 1], {"ssr": 2}),
    "constant with warmup after t_max": (
        s.ConstantWithWarmupScheduler("4ba", 0.5), (0, 1, 4, 10, 99), [0, 0.125, *[0.5] * 3], {"max_duration": "10ba"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_step_schedules_match_values_computed_by_hand(name):
    scheduler, batches, expected, of_run = VALUES[name]
    assert alphas(scheduler, batches, **of_run) == expected


def test_overflow_of_a_multiplier_is_an_error():
    for scheduler in (
        s.StepScheduler("1ba", 1e300),
        s.ExponentialScheduler(10, "1ba"),
        s.MultiStepScheduler(["1ba"] * 2, 1e300),
    ):
        with refused("gamma", RangeError):
            alphas(scheduler, [400])


def test_multistep_uses_counted_samples_and_needs_no_rates():
    # At batch 3 there are 144 samples and 90 s, within the warmup: both milestones take effect at its end, batch 4. The
    # rate says 32 samples per batch, but the batches hold 48.
    scheduler = s.MultiStepWithWarmupScheduler("4ba", ["120sp", "90s", "6ba"], 0.5)
    for rates in ({}, {"samples_per_batch": 32}):
        curve = bind(scheduler, run(max_duration="10ba", **rates))
        values = [curve(Timestamp(batch=k, sample=48 * k, seconds=30 * k)) for k in range(7)]
        assert values == [*RAMP, 0.25, 0.25, 0.125]


def test_t_max_that_cannot_be_compared_with_the_run_is_accepted():
    for t_max, max_duration in (("9sec", "10ba"), ("1ep", "99ba"), ("9ba", "1ep"), ("1dur", None), ("9ba", None)):
        assert alphas(s.ConstantWithWarmupScheduler("2ba", t_max=t_max), (1, 5), max_duration=max_duration) == [
            0.5,
            1.0,
        ]
