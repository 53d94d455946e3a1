"""Times resolved against a run: exact integers on one clock."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from schedule_helpers import ForeignState, ForeignTimestamp

from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit

RUN = Run.of(State("5ep", 10, Fraction(33, 2), 1000), "0.35")
COUNTED = ["ba", "ep", "sp", "tok"]


@given(st.fractions(0, 10**6, max_denominator=10**4), st.sampled_from(COUNTED), st.sampled_from(COUNTED))
def test_conversion_by_rates_is_exact_in_both_directions(value, unit, other):
    per_batch = {"ba": Fraction(1), "ep": Fraction(1, 10), "sp": Fraction(33, 2), "tok": Fraction(1000)}
    there = RUN.convert(Time(value, unit), TimeUnit(other), "t")
    assert there == Time(value / per_batch[unit] * per_batch[other], other)
    assert RUN.convert(there, TimeUnit(unit), "t") == Time(value, unit)


@given(
    st.lists(st.fractions(0, 1000, max_denominator=50), min_size=1, max_size=4),
    st.fractions(0, 1000, max_denominator=50),
)
def test_schedule_times_are_compared_as_integers(points, now):
    clock = Run.of(State()).clock(TimeUnit.BATCH, "t", *(Time(point, "ba") for point in points))
    assert all(type(point) is int for point in (*clock.points, clock.factor))
    count = clock.read(Timestamp(batch=now)) * clock.factor
    assert [count >= point for point in clock.points] == [True, *(now >= point for point in points)]


def test_clock_of_seconds_counts_nanoseconds():
    clock = Run.of(State()).clock(TimeUnit.SECOND, "t", Time("1/3sec"))
    # A third of a second is not a whole number of nanoseconds, so the clock ticks in thirds of nanoseconds.
    assert (clock.factor, clock.points) == (3, (0, 10**9))
    assert clock.read(Timestamp(seconds=0.5)) == 5 * 10**8


def test_timestamps_of_other_libraries_are_read_by_their_method_get():
    foreign = ForeignState("3ep", ForeignTimestamp(7, 4, 32, 1024), 4)
    run = Run.of(foreign)
    assert (run.is_native, run.dataloader_len, run.samples_per_batch) == (False, 4, None)
    read = {unit.value: run.reader(unit)(foreign.timestamp) for unit in TimeUnit if unit.value not in ("ep", "dur")}
    assert read == {"iter": 0, "ba": 7, "sp": 224, "tok": 7168, "sec": 3_500_000_000}


# Phases


def test_phase_is_a_run_with_a_later_start_and_its_own_length():
    phase = RUN.phase(Time("12ba"), Time("32ba"), scale=True)
    assert (phase.start, phase.max_duration, phase.ssr) == (Time("12ba"), Time("20ba"), RUN.ssr)
    inner = phase.phase(Time("5ba"), None, scale=False)
    assert (inner.start, inner.max_duration, inner.ssr) == (Time("17ba"), Time("15ba"), 1)
    assert inner.clock(TimeUnit.TOKEN, "t", Time("3ba")).points == (17_000, 20_000)
    # The clock never shows a time before the start, although the counter may be below it.
    clock = RUN.phase(Time("10ba"), None, scale=True).clock(TimeUnit.SAMPLE, "t", Time("33sp"))
    assert clock.points == (165, 198)
    assert [clock.read(Timestamp(sample=n)) * clock.factor for n in (0, 164, 165, 166)] == [165, 165, 165, 166]
