"""The equation of the scale schedule ratio, bitwise, and properties that all schedules have."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_helpers import EXAMPLES
from schedule_strategies import SIMPLE, World, cases, multipliers, shares, sigmas, worlds

from ssr_hydra import schedulers as s
from ssr_hydra.time import Time, check_ssr

several_shares = st.lists(shares, min_size=1, max_size=5)


def check_law(world, scheduler, sigma, at):
    """alpha_sigma(t) == alpha(t / sigma), in floats without any tolerance."""
    for share in at:
        time = world.on_grain(share * world.length, sigma)
        stretched = time * check_ssr(sigma)
        assert world.alpha(scheduler, stretched, sigma) == world.alpha(scheduler, time)


def test_ssr_equation_is_tested_for_every_scheduler():
    assert {*SIMPLE, "ProductScheduler", "SequentialScheduler"} == {*EXAMPLES, "a function"}


@pytest.mark.parametrize("kind", SIMPLE)
@given(data=st.data(), sigma=sigmas, at=several_shares)
def test_ssr_stretches_time_exactly(kind, data, sigma, at):
    check_law(*data.draw(cases(kind)), sigma, at)


@pytest.mark.parametrize("kind", ["product", "sequence"])
@given(data=st.data(), sigma=sigmas, at=several_shares)
def test_ssr_stretches_nested_schedules_exactly(kind, data, sigma, at):
    check_law(*data.draw(cases(kind, depth=2)), sigma, at)


# A fixed warmup: the part of the law that the docstrings claim


@st.composite
def fixed_warmups(draw):
    """Draw a run in batches, a warmup that fits into it at either ssr, and an ssr."""
    length = draw(st.fractions(20, 300, max_denominator=9))
    sigma = draw(st.fractions(Fraction(1, 2), 8, max_denominator=50))
    return World({"ba": Fraction(1)}, None, length, "ba"), length * draw(st.fractions(0, Fraction(1, 5))), sigma


@given(case=fixed_warmups(), tau=st.fractions(0, 1, max_denominator=60), alpha_f=multipliers)
def test_unscaled_warmup_does_not_change_the_decay_as_a_function_of_tau(case, tau, alpha_f):
    world, warmup, sigma = case
    t_warmup = Time(warmup, "ba")
    for scheduler in (
        s.LinearWithWarmupScheduler(t_warmup, 1.0, alpha_f),
        s.CosineAnnealingWithWarmupScheduler(t_warmup, alpha_f=alpha_f),
        s.PolynomialWithWarmupScheduler(t_warmup, 3.0, alpha_f=alpha_f),
    ):
        at_one = world.alpha(scheduler, warmup + tau * (world.length - warmup))
        assert world.alpha(scheduler, warmup + tau * (world.length * sigma - warmup), sigma) == at_one
        if warmup:  # the ramp is the same at every ssr
            assert world.alpha(scheduler, tau * warmup, sigma) == float(tau)


@given(case=fixed_warmups(), share=shares)
def test_ssr_equation_holds_after_an_unscaled_warmup(case, share):
    world, warmup, sigma = case
    t_warmup = Time(warmup, "ba")
    stretched = max(1, sigma) * warmup + share * world.length * sigma
    for scheduler in (
        s.ConstantWithWarmupScheduler(t_warmup, 0.7),
        s.MultiStepWithWarmupScheduler(t_warmup, ["0.05dur", Time(world.length * Fraction(2, 3), "ba")], 0.5),
        s.WarmupStableDecayScheduler(t_warmup, "0.2dur", alpha_f=0.1),
    ):
        assert world.alpha(scheduler, stretched, sigma) == world.alpha(scheduler, stretched / sigma)


@given(case=fixed_warmups(), share=shares)
def test_inverse_square_root_with_an_unscaled_warmup_does_not_depend_on_ssr(case, share):
    world, warmup, sigma = case
    scheduler = s.InverseSquareRootWithWarmupScheduler(Time(warmup + 1, "ba"))
    assert world.alpha(scheduler, share * world.length, sigma) == world.alpha(scheduler, share * world.length)


# Ends and bounds


@given(world=worlds(), data=st.data(), alpha_f=multipliers, peak=multipliers)
def test_schedule_equals_alpha_f_after_its_end(world, data, alpha_f, peak):
    candidate = world.on_grain(world.length * data.draw(st.fractions(1, Fraction(6, 5), max_denominator=60)))
    end = max(world.length, candidate)  # a rounded time may be before the end, where warmups are refused
    unit = data.draw(st.sampled_from(sorted(world.per_batch)))
    t_max = Time(end * world.per_batch[unit], unit)
    for scheduler in (
        s.LinearScheduler(peak, alpha_f, t_max),
        s.CosineAnnealingScheduler(t_max, alpha_f),
        s.PolynomialScheduler(0.3, t_max, alpha_f),
        s.RexScheduler(t_max, alpha_f),
        s.LinearWithWarmupScheduler("0.1dur", peak, alpha_f, t_max),
        s.CosineAnnealingWithWarmupScheduler("0.1dur", t_max, alpha_f),
        s.PolynomialWithWarmupScheduler("0.1dur", 2.0, t_max, alpha_f),
        *(s.WarmupStableDecayScheduler("0.1dur", "0.3dur", t_max, alpha_f, d) for d in ("1-sqrt", "linear", "cosine")),
        s.InverseSquareRootWithWarmupScheduler("0.1dur", None, "0.3dur", t_max, alpha_f),
        *(s.OneCycleScheduler("0.3dur", t_max, 0.1, alpha_f, anneal) for anneal in ("cosine", "linear")),
        s.PiecewiseLinearScheduler([("0.5dur", peak), (t_max, alpha_f)]),
    ):
        if world.on_grain(end) == end:
            assert world.alpha(scheduler, end) == alpha_f
        assert world.alpha(scheduler, end * 2) == alpha_f


RANGES = {
    "LinearScheduler": lambda of: (of.alpha_i, of.alpha_f),
    **dict.fromkeys(["CosineAnnealingScheduler", "PolynomialScheduler", "RexScheduler"], lambda of: (1, of.alpha_f)),
    "ConstantWithWarmupScheduler": lambda of: (0, of.alpha),
    "LinearWithWarmupScheduler": lambda of: (0, of.alpha_i, of.alpha_f),
    "CosineAnnealingWithWarmupScheduler": lambda of: (0, 1, of.alpha_f),
    "PolynomialWithWarmupScheduler": lambda of: (0, 1, of.alpha_f),
    "MultiStepWithWarmupScheduler": lambda of: (0, 1, of.gamma ** len(of.milestones)),
    "WarmupStableDecayScheduler": lambda of: (0, 1, of.alpha_f),
    "InverseSquareRootWithWarmupScheduler": lambda of: (0, 1, of.alpha_f),
    "CosineAnnealingWarmRestartsScheduler": lambda of: (1, of.alpha_f),
    "OneCycleScheduler": lambda of: (of.alpha_i, 1, of.alpha_f),
    "PiecewiseLinearScheduler": lambda of: [alpha for _, alpha in of.points],
}


@pytest.mark.parametrize("kind", RANGES)
@given(data=st.data(), at=several_shares)
def test_alpha_stays_within_the_range_of_its_schedule(kind, data, at):
    world, scheduler = data.draw(cases(kind))
    marks = RANGES[kind](scheduler)
    for share in at:
        assert min(marks) - 1e-15 <= world.alpha(scheduler, world.on_grain(share * world.length)) <= max(marks) + 1e-15


@given(case=cases(depth=2), at=several_shares)
def test_alpha_is_a_finite_float_of_at_least_zero(case, at):
    world, scheduler = case
    for share in at:
        alpha = world.alpha(scheduler, world.on_grain(share * world.length))
        assert type(alpha) is float
        assert 0.0 <= alpha < float("inf")
