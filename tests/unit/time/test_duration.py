"""Exact durations: accepted and refused inputs, and arithmetic without rounding."""

import copy
import operator
import pickle
import random
import time as clock
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from cases import each
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import refused
from schedule_helpers import ForeignTime

from ssr_hydra.errors import FormatError, InputError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.time import Time, TimeUnit, as_time, check_ssr, exact

UNITS = [unit.value for unit in TimeUnit]
LARGEST = 2**63 - 1

fractions = st.fractions(min_value=0, max_value=10**6, max_denominator=10**6)
times = st.builds(Time, fractions, st.sampled_from(UNITS))


# Reading


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5ep", 5, "ep"), ("0ba", 0, "ba"), ("7iter", 7, "iter"), ("3sp", 3, "sp"), ("12tok", 12, "tok"),
        ("0.5ep", Fraction(1, 2), "ep"), ("1.0dur", 1, "dur"), ("0.29dur", Fraction(29, 100), "dur"),
        (".5dur", Fraction(1, 2), "dur"), ("5.ba", 5, "ba"), ("007ba", 7, "ba"),
        ("1e3ba", 1000, "ba"), ("2.5e-1dur", Fraction(1, 4), "dur"), ("1E2sp", 100, "sp"),
        ("1/3dur", Fraction(1, 3), "dur"), ("6/3ep", 2, "ep"),
        ("9007199254740993tok", 2**53 + 1, "tok"),  # the first integer that a float cannot represent
        (f"{LARGEST}tok", LARGEST, "tok"),
        ("90sec", 90, "sec"), ("45s", 45, "sec"), ("90m", 5400, "sec"), ("25h", 90000, "sec"), ("2d", 172800, "sec"),
        ("1h30m", 5400, "sec"), ("1d2h3m4.5s", 86400 + 7200 + 180 + Fraction(9, 2), "sec"), ("0.5h", 1800, "sec"),
    ],
)  # fmt: skip
def test_every_notation_of_a_duration_is_read(text, value, unit):
    time = Time(text)
    assert (time.value, time.unit) == (value, TimeUnit(unit))
    assert type(time.value) is (int if value == int(value) else Fraction)
    assert Time.from_timestring(text) == time == Time(value, unit)


# The bad durations in every experiment, grouped by a word of the matching advice.
BAD = {
    "did you mean '10ba' or '10ep'?": ["10"],
    "did you mean '5ep'?": ["5 epochs", "5 ep", "5e", "5EP"],
    "did you mean '10ba'?": ["10ba\n", "\t10ba", "10BA", "1_0ba", "10 steps"],
    "did you mean '10m'?": ["10min"],
    "did you mean '2h'?": ["2 hours"],
    "a number and a unit": ["", " ", "ep", "+5ep", "१०ep", "٣ba", "５ep", "½dur", "∞ba"],
    "must not be negative": ["-1ep", "-0.1dur"],
    "must be finite": ["nandur", "infdur", "nanep", "-inf ba", "NaNba"],
    "below 2**63": ["1e400ba", f"{LARGEST + 1}tok"],
    "the unit must be one of": [
        "5foo", "5epba", "1/0ep", "1.2.3ep", "1h30", "30m1h", "0x10ba", "1,5ep", "5ep\0", "1e9999ba", "5ep5ep",
        "5EP", "2hours",
    ],
    "without spaces": ["5 EP", "1_0ba"],
    "64 characters": ["1" * 70 + "ba"],
    "36 decimals": ["0." + "0" * 36 + "1dur", "1e-99dur"],
}  # fmt: skip


@each("text,advice", [(text, advice) for advice, texts in BAD.items() for text in texts])
def test_invalid_durations_are_refused_with_field_rule_and_fix(text, advice):
    for read in (lambda: Time(text, field="t_max"), lambda: as_time(text, "t_max")):
        with refused("t_max") as caught:
            read()
        assert caught.value.value == text
        assert advice in str(caught.value)


@each(
    "value,advice",
    [
        (10, "did you mean '10ba' or '10ep'?"), (0.5, "did you mean '0.5ba' or '0.5ep'?"), (-1, "write e.g."),
        (float("nan"), "write e.g."), (float("inf"), "write e.g."), (None, "must be a duration"),
        (True, "must be a duration"), ([5, "ep"], "must be a duration"), (b"5ep", "must be a duration"),
        (np.arange(3), "must be a duration"),
    ],
)  # fmt: skip
def test_number_without_a_unit_is_refused(value, advice):
    for read in (lambda: Time(value, field="t_0"), lambda: as_time(value, "t_0")):
        with refused("t_0", FormatError) as caught:
            read()
        assert advice in str(caught.value)


@each("value,unit", [(float("nan"), "ep"), ("5ep", "ep"), (True, "ba"), (1j, "ba"), (5, "epochs"), (5, [])])
def test_bad_amount_or_unit_is_refused(value, unit):
    with refused("time"):
        Time(value, unit)


@each("value", [5, 5.0, "5", Fraction(5), Decimal(5), np.int64(5), np.float32(5), np.array(5)])
def test_every_kind_of_number_is_read_as_the_same_int(value):
    time = Time(value, "ep")
    assert time.value == 5
    assert type(time.value) is int


def test_float_is_read_as_the_decimal_that_it_prints():
    # 0.29 * 100 in floats is 28.999999999999996; a person means 29.
    assert Time(0.29, "dur") * 100 == Time("29dur")
    assert exact(1.3) == Fraction(13, 10)
    assert exact(np.float64(0.1)) == exact(np.float32(0.1)) == exact(torch.tensor(0.1)) == Fraction(1, 10)
    assert exact(1e22) == 10**22


@each(
    "value",
    [float("nan"), float("-inf"), "", "1_0", " 1", "٣", "1/0", "half", None, [1], True, np.True_, 1j, np.array([1, 2]),
     np.complex128(1j), Decimal("NaN"), Decimal("Infinity"), "9" * 65, b"1", bytearray(b"1")],
)  # fmt: skip
def test_function_exact_refuses_values_that_are_not_finite_numbers(value):
    with refused("gamma", RangeError):
        exact(value, "gamma")


# NumPy prints the float32 0.3 as 0.3. The same number as a float64 is 0.30000001192092896.
@each(
    "value",
    ["0.3", Decimal("0.3"), "3/10", 0.1 + 0.2, 1 - 0.7, np.arange(0.1, 0.41, 0.1)[2], np.float64(3) / 10,
     np.float32(0.3), np.float32(0.1) * 3, np.float16(0.3), float(np.float32(0.3)), np.array(0.3, np.float32),
     torch.tensor(0.3), torch.tensor(0.3).item(), torch.tensor(0.1, dtype=torch.float64) * 3,
     torch.tensor(0.3, dtype=torch.bfloat16), sum([0.001] * 300)],
)  # fmt: skip
def test_ssr_with_a_rounding_error_is_read_as_the_simple_number_that_it_approximates(value):
    assert check_ssr(value) == Fraction(3, 10)


def test_ssr_with_a_rounding_error_may_be_a_simple_fraction():
    # If each ssr were the decimal that Python prints, 2/3 of 3 batches and 10/7 of 7 would take a batch more.
    assert check_ssr(1 - 1 / 3) == check_ssr(2 / 3) == check_ssr(np.float32(2) / np.float32(3)) == Fraction(2, 3)
    assert check_ssr(10 / 7) == Fraction(10, 7)
    for text in ("0.1234567890123", "0.123456789012345", "3.141592653589793", "0.3333", "0.29999999"):
        assert check_ssr(float(text)) == check_ssr(text) == Fraction(text)


@given(st.integers(1, 10**12), st.integers(0, 12))
def test_ssr_of_at_most_12_digits_is_the_decimal_that_it_prints(digits, places):
    ratio = Fraction(digits, 10**places)
    if ratio <= 10**6:
        assert check_ssr(float(ratio)) == ratio
        assert check_ssr(float(ratio) * (1 + 2**-52)) in (ratio, ratio.limit_denominator(100))


@each("value", [0, float("nan"), float("inf"), 1e9, "half", "", "1,5", None, True, [], 10**5000, Fraction(-1, 3)])
def test_invalid_ssr_is_refused(value):
    with refused("ssr", RangeError) as caught:
        check_ssr(value)
    assert caught.value.value is value


@each("name", ["ep", "EPOCH", "epoch", TimeUnit.EPOCH, SimpleNamespace(value="ep")])
def test_unit_may_be_a_value_or_a_name_or_an_enum_of_another_library(name):
    assert TimeUnit(name) is TimeUnit.EPOCH
    assert f"{TimeUnit(name)}" == "ep"


def test_time_has_a_constructor_for_each_unit():
    for unit in TimeUnit:
        assert getattr(Time, f"from_{unit.name.lower()}")(3) == Time(3, unit)


def test_default_unit_of_method_from_input_applies_only_to_plain_numbers():
    assert Time.from_input("5ep") == Time.from_input(Time("5ep")) == Time(5, "ep")
    assert Time.from_input(5, "ba") == Time.from_input(np.int64(5), TimeUnit.BATCH) == Time("5ba")
    assert Time.from_input("5ep", "ba") == Time("5ep")
    assert Time.from_input(ForeignTime(5, "ep"), "ba") == Time("5ep")
    with refused("time", FormatError):
        Time.from_input(5)
    with refused("timestring", WrongTypeError):
        Time.from_timestring(5)


def test_time_of_another_library_is_read():
    assert as_time(ForeignTime(7, "tok"), "t") == Time("7tok")
    assert as_time(ForeignTime(0.29, "dur"), "t").value == Fraction(29, 100)
    with refused("t", UnknownNameError):
        as_time(SimpleNamespace(value=1, unit="parsec"), "t")


# Writing


@given(times)
@example(Time("123456789012345678.123456789012345678901234567890123456ba"))
@example(Time("1/1000000000000000000000000000000000000dur"))
@example(Time(Fraction(1, 2**40), "dur"))
def test_time_string_keeps_every_digit(time):
    again = Time(time.to_timestring())
    assert (again.value, again.unit) == (time.value, time.unit)
    assert str(time) == time.to_timestring()
    assert eval(repr(time)) == time


def test_time_string_is_the_shortest_exact_decimal_or_a_ratio():
    for value, text in ((5, "5ep"), (0.5, "0.5ep"), ("1/3", "1/3ep"), ("-3/4", "-0.75ep"), ("1/80", "0.0125ep")):
        assert Time(value, "ep").to_timestring() == text


# Fuzz


def _check(text):
    """Check that a text is a duration that round-trips, or an error in one line."""
    try:
        time = Time(text, field="t")
        assert Time(time.to_timestring()) == time
        assert 0 <= time.value <= LARGEST
    except InputError as error:
        assert error.field == "t"
        assert len(str(error).splitlines()) == 1


def test_every_random_string_is_read_or_refused_quickly():
    rng = random.Random(20240501)
    words = ["nan", "inf", "epochs", "९", "½", "\u2028", "\0", "1" * 30, "e9"]
    pieces = [*UNITS, *"0123456789", *".eE+-/_dhms \n\t", *words, *(chr(rng.randrange(0xD800)) for _ in range(50))]
    started = clock.process_time()
    for _ in range(4_000):
        _check("".join(rng.choices(pieces, k=rng.randint(0, 9))))
    assert clock.process_time() - started < 10


@pytest.mark.parametrize("text", ["1" * 10**6, "1h" * 10**5, "1e" * 10**5, "9" * 64])
def test_long_strings_are_refused_quickly(text):
    started = clock.process_time()
    with refused("time", FormatError):
        Time(text)
    assert clock.process_time() - started < 0.05


# Arithmetic, against Fraction


@given(fractions, fractions, st.sampled_from(UNITS))
def test_sums_and_differences_equal_those_of_fractions(a, b, unit):
    x, y = Time(a, unit), Time(b, unit)
    assert (x + y, x - y, -x) == (Time(a + b, unit), Time(a - b, unit), Time(-a, unit))
    assert x + b == b + x == x + y  # a bare number has the time's own unit
    assert b - x == y - x
    assert x + str(y) == str(y) + x == x + y


@given(fractions, st.fractions(min_value=Fraction(1, 100), max_value=100), st.sampled_from(UNITS))
def test_product_and_quotient_equal_those_of_fractions(a, k, unit):
    x = Time(a, unit)
    assert x * k == k * x == Time(a * k, unit)
    assert (type((x / k * k).value), float(x), int(x)) == (type(x.value), float(a), int(a))
    assert x / k == Time(a / k, unit)
    assert x / Time(k, unit) == Time(a / k, "dur")  # a fraction of a run
    assert x * Time(k, "dur") == Time(k, "dur") * x == Time(a * k, unit)


OPERATORS = [operator.add, operator.sub, operator.lt, operator.ge, operator.truediv, operator.mul, operator.mod]


@each("act", [*OPERATORS, operator.floordiv])
def test_arithmetic_needs_a_number_or_a_time_in_the_same_unit(act):
    with refused("time"):
        act(Time("1ep"), Time("1ba"))
    for other in (None, object(), [1], True, 1j):
        with pytest.raises(TypeError):
            act(Time("1ep"), other)
        assert Time("1ep") != other


def test_division_by_zero_is_an_error():
    for zero in (0, Time("0ep"), "0ep"):
        with pytest.raises(ZeroDivisionError, match="3ep"):
            Time("3ep") / zero
        for operation in (operator.floordiv, operator.mod):
            with pytest.raises(ZeroDivisionError):
                operation(Time("17ep"), zero)


# Comparison


@given(fractions, st.one_of(fractions, st.floats(0, 10**6), st.integers(0, 10**6)), st.sampled_from(UNITS))
@example(Fraction(1, 10), 0.1, "dur")
def test_times_are_ordered_by_their_exact_numbers(a, b, unit):
    x, number = Time(a, unit), exact(b)
    for y in (Time(b, unit), b):
        assert (x < y, x <= y, x == y, x != y, x >= y, x > y) == (
            a < number, a <= number, a == number, a != number, a >= number, a > number
        )  # fmt: skip


def test_times_in_different_units_are_not_equal():
    assert Time("60s") == Time("1m")
    assert Time("60s") == "1m"
    assert Time("60s") == 60
    assert Time("1ep") != Time("1ba")
    for other in ("1ba", "nonsense", float("nan"), float("inf"), None):
        assert Time("1ep") != other


@given(times)
def test_hash_agrees_with_equality(time):
    assert hash(time) == hash(Time(str(time))) == hash(time.value)
    assert {time: 1}[Time(time.value, time.unit)] == 1


def test_time_is_an_immutable_value():
    time = Time("1/3dur")
    assert copy.copy(time) == copy.deepcopy(time) == pickle.loads(pickle.dumps(time)) == time
    for name in ("value", "unit", "other"):
        with pytest.raises(AttributeError):
            setattr(time, name, 5)
    assert isinstance(Time[int]("5ep"), Time)  # annotations written for Composer's generic Time


def test_floor_division_and_remainder_keep_the_unit():
    # As Composer's: Time // Time is a Time of the same unit.
    assert Time("17ba") // 5 == Time("17ba") // Time("5ba") == Time("17ba") // "5ba" == Time("3ba")
    assert Time("17ba") % 5 == Time("17ba") % Time("5ba") == Time("2ba")
    assert Time("2.5ep") // 1 == Time("2ep")
    assert Time("2.5ep") % 1 == Time("0.5ep")
