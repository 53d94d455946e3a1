"""Warm restarts, one cycle and points in time, against their formulas by hand."""

import math
import time
from fractions import Fraction

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra.errors import RangeError
from ssr_hydra.schedulers import (
    CosineAnnealingWarmRestartsScheduler,
    OneCycleScheduler,
    PiecewiseLinearScheduler,
    bind,
)
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

# Warm restarts


@given(
    cycle=st.integers(0, 40),
    t_mult=st.sampled_from([1.0, 1.1, 1.5, 2.0, 3.7]),
    t_0=st.fractions(Fraction(1, 7), 50, max_denominator=20),
)
def test_every_cycle_starts_at_one_exactly_and_ends_at_alpha_f(cycle, t_mult, t_0):
    ratio = Fraction(str(t_mult))
    begin = sum((t_0 * ratio**k for k in range(cycle)), Fraction(0))
    curve = bind(CosineAnnealingWarmRestartsScheduler(Time(t_0, "ba"), t_mult, 0.25), State())
    width = t_0 * ratio**cycle
    # The order of these lines matters: bounds that are cached for one time must not change the next value.
    assert curve(Timestamp(batch=begin)) == 1.0
    assert curve(Timestamp(batch=begin + width / 2)) == pytest.approx(0.625, abs=1e-15)
    assert curve(Timestamp(batch=begin + width * (1 - Fraction(1, 10**9)))) == pytest.approx(0.25, abs=1e-12)
    if cycle:
        assert curve(Timestamp(batch=begin - Fraction(1, 10**9))) < 0.2500001


def test_cycles_may_grow_very_slowly_or_very_fast():
    # Compare 2000 cycles with t_mult = 1 + 1e-6 with exact sums. Above about 2**14 bits, the schedule uses floats.
    ratio, t = Fraction("1.000001"), 2000
    begins = (ratio**t - 1) / (ratio - 1)
    curve = bind(CosineAnnealingWarmRestartsScheduler("1ba", 1.000001), State())
    assert curve(Timestamp(batch=begins + ratio**t / 2)) == pytest.approx(0.5, abs=1e-6)
    # The second cycle of 1e308 batches has hardly begun.
    assert alphas(CosineAnnealingWarmRestartsScheduler("1ba", 1e308), [0.5, 1, 50]) == [pytest.approx(0.5), 1.0, 1.0]


def test_time_to_compute_warm_restarts_does_not_depend_on_the_number_of_cycles():
    started = time.process_time()
    for t_0, t_mult in (("1e-30ba", 1), ("1e-30ba", 2), ("1ba", 1.0001)):
        (alpha,) = alphas(CosineAnnealingWarmRestartsScheduler(t_0, t_mult), [2**62])
        assert 0.0 <= alpha <= 1.0
    assert time.process_time() - started < 0.5


# One cycle and points


def test_one_cycle_matches_its_formula():
    # Up over 4 batches from alpha_i to 1, down over 8 to alpha_f: (1 - cos) / 2 between the ends.
    a, f = 0.04, 4e-6
    up = [a + (1 - a) * (1 - math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    down = [f + (1 - f) * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(9)]
    values = alphas(OneCycleScheduler("4ba"), range(14), max_duration="12ba")
    assert values == pytest.approx([*up, *down, f], abs=1e-15)


LINEAR = OneCycleScheduler(alpha_i=0.0, alpha_f=0.5, anneal="linear")  # t_up = 0.3dur, which is 6 of 20 batches
POINTS = PiecewiseLinearScheduler([("2ba", 0.5), ("4ba", 1.0), ("1dur", 0.0)])
IN_UNITS = PiecewiseLinearScheduler([("32sp", 0.0), ("1ep", 1.0), ("1dur", 0.0)])
RATES = {"max_duration": "320sp", "dataloader_len": 5, "samples_per_batch": 32}


@each(
    "scheduler,batches,expected,of_run",
    [
        (LINEAR, (0, 3, 6, 13, 20, 21), [0.0, 0.5, 1.0, 0.75, 0.5, 0.5], {"max_duration": "20ba"}),
        (LINEAR, (0, 6, 12, 26, 40), [0.0, 0.5, 1.0, 0.75, 0.5], {"max_duration": "20ba", "ssr": 2}),
        (POINTS, (0, 2, 3, 4, 6, 8, 9), [0.5, 0.5, 0.75, 1.0, 0.5, 0.0, 0.0], {"max_duration": "8ba"}),
        (POINTS, (4, 6, 8, 12), [0.5, 0.75, 1.0, 0.5], {"max_duration": "8ba", "ssr": 2}),
        (IN_UNITS, (1, 3, 5, 7.5, 10), [0, 0.5, 1, 0.5, 0], RATES),
        (PiecewiseLinearScheduler([["0ba", 0], ["4ba", 1]]), [1], [0.25], {}),  # as in YAML
        (PiecewiseLinearScheduler({"0ba": 0.0, "4ba": 1.0}), [1], [0.25], {}),
        (PiecewiseLinearScheduler([("4ba", 0.3)]), (0, 4, 9), [0.3, 0.3, 0.3], {}),
    ],
)
def test_piecewise_linear_schedules_match_values_computed_by_hand(scheduler, batches, expected, of_run):
    assert alphas(scheduler, batches, **of_run) == expected


@each(
    "make,field",
    [
        (lambda: OneCycleScheduler(t_up="1dur"), "t_up"),
        (lambda: OneCycleScheduler("9ba", "5ba"), "t_up"),
        (lambda: OneCycleScheduler(anneal="exp"), "anneal"),
        *(
            (lambda points=points: PiecewiseLinearScheduler(points), field)
            for points, field in [
                ([], "points"), ("0ba", "points"), (["0ba"], "points[0]"), ([("0ba", 1, 2)], "points[0]"),
                ([("0ba", 1), ("x", 0)], "points[1]"), ([("0ba", 1), ("5ba", -1)], "points[1]"),
                ([("5ba", 1), ("5ba", 0)], "points[1]"), ([("5ba", 1), ("3ba", 0)], "points[1]"),
            ]
        ),
    ],
)  # fmt: skip
def test_invalid_arguments_are_refused(make, field):
    with refused(field):
        make()


def test_binding_a_piecewise_schedule_refuses_points_in_the_wrong_order():
    # 1ep of 5 batches is before 6ba: the order depends on the run.
    with refused("points[1]", RangeError, match=r"='1ep': .* at 6ba and 5ba"):
        alphas(PiecewiseLinearScheduler([("6ba", 1.0), ("1ep", 0.0)]), [0], dataloader_len=5)
