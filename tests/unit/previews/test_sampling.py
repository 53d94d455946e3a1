"""A sampled curve has the schedule's own values, and jumps where the schedule jumps."""

import math
from fractions import Fraction
from itertools import pairwise

import pytest

from ssr_hydra.previews.sampling import sampled

END = Fraction(10)


def test_jump_at_a_break_is_a_vertical_line():
    breaks = [Fraction(k) for k in range(11)]
    vertices = sampled(lambda x: 0.01 ** math.floor(x), breaks, is_exact=True)
    times = [time for time, _ in vertices]
    assert times == sorted(times)
    for k in range(1, 10):
        assert [alpha for time, alpha in vertices if time == k] == [0.01 ** (k - 1), 0.01**k]
    assert {alpha for _, alpha in vertices} == {0.01**k for k in range(10)}


@pytest.mark.parametrize("is_exact", [True, False])
def test_curve_ends_with_the_last_value_before_the_end(is_exact):
    def alpha(x):
        return float(math.floor(x * 3) if is_exact else int(float(x) * 3))  # the float of a time is rounded

    vertices = sampled(alpha, [Fraction(0), END], is_exact=is_exact)
    assert vertices[0] == (0.0, 0.0)
    assert vertices[-1] == (10.0, 29.0)


def test_jump_between_two_breaks_is_at_most_a_1000th_of_the_run_wide():
    vertices = sampled(lambda x: float(x * 3 // 1), [Fraction(0), Fraction(1, 7), END], is_exact=True)
    wide = [(x, y) for (x, a), (y, b) in pairwise(vertices) if a != b]
    assert len(wide) == 29
    for k, (x, y) in enumerate(wide, 1):
        assert x <= k / 3 <= y <= x + 0.01 + 1e-12


def test_kink_at_a_break_becomes_a_vertex_of_the_polygon():
    top = Fraction(1, 7)
    vertices = sampled(lambda x: float(min(x / top, (10 - x) / (10 - top))), [Fraction(0), top, END], is_exact=True)
    assert max(vertices, key=lambda vertex: vertex[1]) == (float(top), 1.0)
    assert len([time for time, _ in vertices if time <= top]) > 10
