"""The formulas that all schedules use: shapes over tau, and a warmup before a shape."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_hydra.schedulers.curves import annealed, cosine, linear, polynomial, rex
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

RUN = Run.of(State("100ba", 10, 32))
floats = st.floats(0, 10)


def ba(value):
    return Time(value, "ba")


def values(curve, *batches):
    return [curve(Timestamp(batch=batch)) for batch in batches]


@given(alpha_i=floats, alpha_f=floats, power=st.floats(0.01, 9))
def test_shapes_reach_both_ends_exactly(alpha_i, alpha_f, power):
    # The end is exact. The start is exact if it is 1; otherwise it is bitwise the float a + (1 - a).
    for shape, start in (
        (linear(alpha_i, alpha_f), alpha_i), (cosine(alpha_i, alpha_f), alpha_i), (cosine(1.0, alpha_f), 1.0),
        (polynomial(power, alpha_f), 1.0), (rex(alpha_f), 1.0),
    ):  # fmt: skip
        assert shape(1.0) == alpha_f
        assert shape(0.0) == (start if start == 1.0 else pytest.approx(start, abs=1e-14))


def test_shape_without_an_end_continues_beyond_tau_one():
    curve = annealed(RUN, lambda tau: 1 / (1 + tau), ba(0), ba(Fraction(1, 10**30)), is_endless=True)
    # This holds even if factor * count is far beyond 64 bits.
    assert values(curve, 0, Fraction(1, 10**30), 2**62) == [1.0, 0.5, pytest.approx(1 / (2**62 * 1e30))]


@given(
    begin=st.fractions(0, 100, max_denominator=99), width=st.fractions(Fraction(1, 99), 100, max_denominator=99),
    share=st.fractions(0, 1),
)  # fmt: skip
def test_tau_is_the_float_nearest_to_the_exact_ratio(begin, width, share):
    # tau is the float nearest to the exact ratio, not the result of float arithmetic. So the equation of SSR is exact.
    taus = []

    def shape(tau):
        taus.append(float(tau))
        return 1.0

    annealed(RUN, shape, ba(begin), ba(begin + width))(Timestamp(batch=begin + share * width))
    assert taus[2:] == ([] if share in (0, 1) else [float(share)])  # the first two are the ends, at binding
