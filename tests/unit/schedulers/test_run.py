"""Times resolved against a run: exact integers on one clock, and errors that name the missing rate."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_helpers import ForeignState, ForeignTimestamp, refused

from ssr_hydra.errors import MissingRateError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit

RUN = Run.of(State("5ep", 10, Fraction(33, 2), 1000), "0.35")
COUNTED = ["ba", "ep", "sp", "tok"]


def test_reads_length_rates_and_ssr_exactly() -> None:
    assert (RUN.ssr, RUN.max_duration, RUN.dataloader_len, RUN.samples_per_batch, RUN.tokens_per_batch) == (
        Fraction(7, 20), Time("5ep"), 10, Fraction(33, 2), 1000
    )  # fmt: skip


@given(st.fractions(0, 10**6, max_denominator=10**4), st.sampled_from(COUNTED), st.sampled_from(COUNTED))
def test_conversion_is_by_the_rates_and_comes_back_exactly(value: Fraction, unit: str, other: str) -> None:
    per_batch = {"ba": Fraction(1), "ep": Fraction(1, 10), "sp": Fraction(33, 2), "tok": Fraction(1000)}
    there = RUN.convert(Time(value, unit), TimeUnit(other), "t")
    assert there == Time(value / per_batch[unit] * per_batch[other], other)
    assert RUN.convert(there, TimeUnit(unit), "t") == Time(value, unit)


def test_zero_has_every_unit() -> None:
    bare = Run.of(State())
    for unit in TimeUnit:
        for other in TimeUnit:
            assert bare.convert(Time(0, unit), other, "t") == Time(0, other)
    assert bare.resolve(Time("0dur"), "t").value == 0


@pytest.mark.parametrize(
    ("time", "unit", "rate"),
    [("1ep", "ba", "dataloader_len"), ("1ba", "sp", "samples_per_batch"), ("1tok", "ba", "tokens_per_batch"),
     ("1ba", "ep", "dataloader_len"), ("1sp", "tok", "samples_per_batch")],
)  # fmt: skip
def test_a_missing_rate_is_named_with_field_and_fix(time: str, unit: str, rate: str) -> None:
    words = f"t_0='{time}'.*needs {rate}.*pass {rate}=.*, or give the time in {unit}"
    with refused("t_0", MissingRateError, match=words):
        Run.of(State()).convert(Time(time), TimeUnit(unit), "t_0")


def test_error_for_a_fraction_of_epochs_of_unknown_length_names_max_duration() -> None:
    # The user did not write a t_max of 2.5ep: it is half of the given 5ep.
    words = "is a fraction of max_duration, which is 5ep, .*pass dataloader_len=len.*, or give max_duration in ba"
    with refused("t_max", MissingRateError, match=words):
        Run.of(State("5ep")).resolve(Time("0.5dur"), "t_max")


@pytest.mark.parametrize(
    ("time", "unit"), [("1sec", "ba"), ("1ba", "sec"), ("1iter", "ba"), ("1ep", "iter"), ("1ba", "dur")]
)
def test_units_without_a_connecting_rate_are_refused(time: str, unit: str) -> None:
    with refused("t_0", match="no fixed rate"):
        RUN.convert(Time(time), TimeUnit(unit), "t_0")


@pytest.mark.parametrize(
    ("time", "scale", "expected"),
    [("10ba", True, "3.5ba"), ("10ba", False, "10ba"), ("2ep", True, "7ba"), ("2ep", False, "20ba"),
     ("0.5dur", True, "25ba"), ("0.5dur", False, "25ba"), ("7tok", True, "2.45tok"), ("1m", True, "21sec")],
)  # fmt: skip
def test_resolve_scales_all_but_dur_and_turns_epochs_into_batches(time: str, scale: bool, expected: str) -> None:
    assert RUN.resolve(Time(time), "t", scale=scale) == Time(expected)


def test_times_are_ordered_if_rates_allow_it() -> None:
    assert RUN.is_before(Time("9ba"), Time("1ep")) is True
    assert RUN.is_before(Time("10ba"), Time("1ep")) is False
    assert RUN.is_before(Time("10ba"), Time("1sec")) is None
    assert Run.of(State()).is_before(Time("1ba"), Time("1sp")) is None


def test_length_is_none_if_unknown() -> None:
    assert RUN.length() == Time("50ba")
    assert Run.of(State("90m")).length() == Time("90m")
    assert Run.of(State()).length() is Run.of(State("5ep")).length() is None


@given(
    st.lists(st.fractions(0, 1000, max_denominator=50), min_size=1, max_size=4),
    st.fractions(0, 1000, max_denominator=50),
)
def test_a_clock_compares_exactly_in_integers(points: list[Fraction], now: Fraction) -> None:
    clock = Run.of(State()).clock(TimeUnit.BATCH, "t", *(Time(point, "ba") for point in points))
    assert all(type(point) is int for point in (*clock.points, clock.factor))
    count = clock.read(Timestamp(batch=now)) * clock.factor
    assert [count >= point for point in clock.points] == [True, *(now >= point for point in points)]


def test_the_second_clock_counts_nanoseconds() -> None:
    clock = Run.of(State()).clock(TimeUnit.SECOND, "t", Time("1/3sec"))
    # A third of a second is not a whole number of nanoseconds, so the clock ticks in thirds of nanoseconds.
    assert (clock.factor, clock.points) == (3, (0, 10**9))
    assert clock.read(Timestamp(seconds=0.5)) == 5 * 10**8


def test_foreign_timestamps_are_read_through_get() -> None:
    foreign: Any = ForeignState("3ep", ForeignTimestamp(7, 4, 32, 1024), 4)
    run = Run.of(foreign)
    assert (run.is_native, run.dataloader_len, run.samples_per_batch) == (False, 4, None)
    read = {unit.value: run.reader(unit)(foreign.timestamp) for unit in TimeUnit if unit.value not in ("ep", "dur")}
    assert read == {"iter": 0, "ba": 7, "sp": 224, "tok": 7168, "sec": 3_500_000_000}


# Phases


def test_a_phase_is_a_run_from_its_start() -> None:
    phase = RUN.phase(Time("12ba"), Time("32ba"), scale=True)
    assert (phase.start, phase.max_duration, phase.ssr) == (Time("12ba"), Time("20ba"), RUN.ssr)
    inner = phase.phase(Time("5ba"), None, scale=False)
    assert (inner.start, inner.max_duration, inner.ssr) == (Time("17ba"), Time("15ba"), 1)
    clock = inner.clock(TimeUnit.TOKEN, "t", Time("3ba"))
    assert clock.points == (17_000, 20_000)


def test_a_clock_of_a_phase_never_shows_less_than_its_start() -> None:
    clock = RUN.phase(Time("10ba"), None, scale=True).clock(TimeUnit.SAMPLE, "t", Time("33sp"))
    assert clock.points == (165, 198)
    assert [clock.read(Timestamp(sample=n)) * clock.factor for n in (0, 164, 165, 166)] == [165, 165, 165, 166]


def test_error_of_a_phase_of_unknown_length_says_why() -> None:
    open_run = Run.of(State())
    with refused("t_max", MissingRateError, match="length of this phase is not known: .*max_duration"):
        open_run.phase(Time("5ba"), None, scale=True).resolve(Time("1dur"), "t_max")
    by_clock = Run.of(State("90m")).phase(Time("5ba"), None, scale=True)
    with refused("t_max", match="length of this phase is not known: .*no fixed rate"):
        by_clock.resolve(Time("1dur"), "t_max")
    # Given its end, it is known again, however it began.
    assert by_clock.phase(Time("5ba"), Time("9ba"), scale=True).resolve(Time("1dur"), "t_max") == Time("4ba")


def test_error_of_a_clock_that_cannot_show_the_start_names_both_units() -> None:
    phase = Run.of(State("100ba")).phase(Time("5ba"), None, scale=True)
    with refused("step_size", MissingRateError, match="this phase starts at 5ba, and .*samples_per_batch"):
        phase.clock(TimeUnit.SAMPLE, "step_size", Time("32sp"))
