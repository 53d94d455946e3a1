"""A sampled curve has the schedule's own values, and jumps where the schedule jumps."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_hydra.previews.sampling import Trace, _simplest

END = Fraction(10)


def test_jump_at_an_unknown_time_is_found_exactly():
    at = Fraction(10, 3)
    traced = Trace(lambda x: 1.0 if x < at else 0.25, [Fraction(0), END], is_exact=True)
    assert traced.jumps == [at]
    place = traced.times.index(float(at))
    assert traced.times[place : place + 2] == [float(at)] * 2
    assert traced.alphas[place : place + 2] == [1.0, 0.25]
    assert set(traced.alphas) == {1.0, 0.25}


def test_jump_of_a_float_function_is_found():
    traced = Trace(lambda x: float(int(float(x) * 3)), [Fraction(0), END], is_exact=False)
    assert traced.jumps == [Fraction(k, 3) for k in range(1, 30)]
    assert traced.alphas[-1] == 29.0


def test_curve_ends_with_the_last_value_before_the_end():
    traced = Trace(lambda x: 0.5 if x < END else 1.0, [Fraction(0), END], is_exact=True)
    assert traced.jumps == []
    assert traced.times[-1] == 10.0
    assert set(traced.alphas) == {0.5}


def test_tiny_jump_at_a_known_break_is_drawn():
    breaks = [Fraction(k) for k in range(11)]
    traced = Trace(lambda x: 0.01 ** math.floor(x), breaks, is_exact=True)
    assert traced.jumps == breaks[1:-1]
    assert traced.alphas[-1] == pytest.approx(1e-18)


def test_error_of_the_polygon_is_below_a_4000th_of_the_height():
    def alpha(x):
        return 3.0 * (1.0 - math.sqrt(float(x) / 10))  # very steep at the start

    traced = Trace(alpha, [Fraction(0), END], is_exact=True)
    for (x, a), (y, b) in pairwise(zip(traced.times, traced.alphas, strict=True)):
        middle = (Fraction(x) + Fraction(y)) / 2
        assert abs(alpha(middle) - (a + b) / 2) <= 3.0 / 4000 + 1e-12
    assert len(traced.times) < 600


def test_kink_of_a_curve_becomes_a_vertex_of_the_polygon():
    top = Fraction(1, 7)
    traced = Trace(lambda x: float(min(x / top, (10 - x) / (10 - top))), [Fraction(0), top, END], is_exact=True)
    assert max(traced.alphas) == 1.0
    assert traced.jumps == []


def test_sampling_of_noise_terminates():
    traced = Trace(lambda x: hash(x) % 1000 / 1000, [Fraction(0), END], is_exact=False)
    assert traced.times == sorted(traced.times)


@given(st.fractions(0, 100, max_denominator=500), st.integers(20, 60))
def test_simplest_fraction_in_a_small_interval_is_the_original_time(value, bits):
    around = Fraction(1, 2**bits)
    simplest = _simplest(max(Fraction(0), value - around), value + around)
    assert simplest == value
