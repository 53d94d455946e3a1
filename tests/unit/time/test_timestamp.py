"""The counters of a run: exact sums for any batches, and a round trip through a checkpoint."""

import copy
import json
import operator
import pickle
import re
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused
from schedule_helpers import ForeignTime

import ssr_hydra
from ssr_hydra.errors import FormatError, UnknownNameError
from ssr_hydra.time import Time, Timestamp, TimeUnit
from ssr_hydra.time.derived import DerivedTimestamp
from ssr_hydra.time.timestamp import COUNTERS

NAMES = [
    "iteration", "epoch", "batch", "sample", "token", "epoch_in_iteration", "token_in_iteration", "batch_in_epoch",
    "sample_in_epoch", "token_in_epoch", "seconds", "iteration_seconds", "epoch_seconds", "batch_seconds",
]  # fmt: skip
FULL = Timestamp(**{name: i + 1 for i, name in enumerate(NAMES)})


def test_every_counter_has_its_name_and_place_and_unit():
    units = ["iter", "ep", "ba", "sp", "tok", "ep", "tok", "ba", "sp", "tok", "sec", "sec", "sec", "sec"]
    for i, (name, unit) in enumerate(zip(NAMES, units, strict=True)):
        assert getattr(FULL, name) == Time(i + 1, unit)
    assert Timestamp(*range(1, 15)) == FULL
    assert repr(Timestamp(batch=3, seconds=0.5)) == "Timestamp(batch=3, seconds=1/2)"
    assert eval(repr(FULL)) == FULL


@pytest.mark.parametrize(
    ("unit", "name"),
    [("iter", "iteration"), ("ep", "epoch"), ("ba", "batch"), ("sp", "sample"), ("tok", "token"), ("sec", "seconds")],
)
def test_method_get_returns_the_total_in_a_unit(unit, name):
    assert FULL.get(unit) == FULL.get(TimeUnit(unit)) == getattr(FULL, name)
    seconds = 10**9 if unit == "sec" else 1  # the reader returns nanoseconds
    assert Timestamp.reader(TimeUnit(unit))(FULL) == getattr(FULL, name).value * seconds


@each("unit", ["dur", "epochs", None, 5, []])
def test_method_get_refuses_units_that_are_not_counted(unit):
    with refused("unit", UnknownNameError):
        FULL.get(unit)


batches = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 10**12), st.integers(0, 10**6), st.booleans()), max_size=20
)


@given(batches)
def test_total_counters_are_sums_over_batches_and_epochs(steps):
    now = Timestamp()
    in_epoch = []
    for samples, tokens, milliseconds, ends_epoch in steps:
        now = now.to_next_batch(samples, tokens, milliseconds / 1000)
        in_epoch.append((samples, tokens, milliseconds))
        if ends_epoch:
            now, in_epoch = now.to_next_epoch(), []
    total = [sum(column) for column in zip(*steps, strict=True)] or [0, 0, 0, 0]
    here = [sum(column) for column in zip(*in_epoch, strict=True)] or [0, 0, 0]
    assert (now.batch, now.sample, now.token, now.epoch) == (len(steps), total[0], total[1], total[3])
    assert now.seconds.value == Fraction(total[2], 1000)  # nanoseconds do not drift; a sum of floats would
    assert (now.batch_in_epoch, now.sample_in_epoch, now.token_in_epoch) == (len(in_epoch), here[0], here[1])
    assert now.epoch_seconds.value == Fraction(here[2], 1000)
    assert (now.token_in_iteration, now.iteration_seconds, now.epoch_in_iteration) == (
        now.token, now.seconds, now.epoch
    )  # fmt: skip


def test_new_iteration_resets_only_counters_of_the_iteration():
    now = Timestamp().to_next_batch(4, 8, 2.0).to_next_epoch(1.0).to_next_iteration(0.5)
    assert now == Timestamp(iteration=1, epoch=1, batch=1, sample=4, token=8, seconds=3.5)
    assert now.to_next_iteration() == now.copy(iteration=2)
    assert Timestamp().to_next_epoch() == Timestamp(epoch=1, epoch_in_iteration=1)


def test_time_between_batches_counts_for_the_run_but_not_for_the_batch():
    assert Timestamp().to_next_batch(3, 4, None) == Timestamp().to_next_batch(3, 4)  # not measured, like Composer
    assert Timestamp().to_next_epoch(None).to_next_iteration(None) == Timestamp().to_next_epoch().to_next_iteration()
    now = Timestamp().to_next_batch(duration=2).to_next_epoch(duration=timedelta(seconds=1))
    assert (now.seconds, now.iteration_seconds, now.epoch_seconds, now.batch_seconds) == (3, 3, 0, 0)


@each("duration", [1.5, Fraction(3, 2), timedelta(seconds=1.5), Time("1.5s"), np.float64(1.5)])
def test_durations_of_every_kind_keep_their_nanoseconds(duration):
    for now in (Timestamp().to_next_batch(duration=duration), Timestamp(seconds=duration).copy(batch=1)):
        assert now.seconds == Fraction(3, 2)
        assert now.total_wct == timedelta(seconds=1.5)
    step = Timestamp().to_next_batch(duration=duration)
    assert step.iteration_wct == step.epoch_wct == step.batch_wct == timedelta(seconds=1.5)


@each(
    "make,field,value",
    [
        (Timestamp, "batch", -1), (Timestamp, "epoch", float("nan")), (Timestamp, "sample", True),
        (Timestamp, "batch", Time("3ep")), (Timestamp, "batch", SimpleNamespace(value=3, unit="parsec")),
        (Timestamp, "batch", timedelta(1)), (Timestamp, "seconds", timedelta(seconds=-1)),
        (FULL.to_next_batch, "samples", -1), (FULL.to_next_batch, "tokens", -1), (FULL.to_next_batch, "duration", -1.0),
        (FULL.to_next_batch, "duration", float("nan")), (FULL.to_next_batch, "duration", "soon"),
        (FULL.to_next_epoch, "duration", -1), (FULL.to_next_iteration, "duration", timedelta(-1)),
        (FULL.copy, "batch", -1), (FULL.copy, "batches", 1),
    ],
)  # fmt: skip
def test_error_for_an_invalid_counter_names_the_counter(make, field, value):
    with refused(field):
        make(**{field: value})


def test_counters_may_be_numbers_or_times_of_any_library():
    now = Timestamp(token=np.int64(2**62)).to_next_batch(tokens=np.int64(2**62)).to_next_batch(tokens=2**62)
    assert (now.token, type(now.token.value)) == (3 * 2**62, int)
    assert Timestamp(batch=ForeignTime(3, "ba"), epoch=Time("2ep")) == Timestamp(batch=3, epoch=2)
    assert Timestamp(batch=Fraction(7, 3)).to_next_batch().batch.value == Fraction(10, 3)


def test_method_copy_changes_only_the_given_counters():
    changed = FULL.copy(batch=99, seconds=timedelta(minutes=1))
    assert (changed.batch, changed.seconds) == (99, 60)
    assert changed.copy(batch=3, seconds=11) == FULL


counts = st.one_of(st.integers(0, 2**63), st.fractions(min_value=0, max_value=10**9, max_denominator=10**6))


@given(st.lists(counts, min_size=14, max_size=14))
def test_state_dict_survives_json(values):
    before = Timestamp(*values)
    state = json.loads(json.dumps(before.state_dict()))
    assert Timestamp.from_state_dict(state) == before
    after = Timestamp()
    after.load_state_dict(state)
    assert after == before
    assert hash(after) == hash(before)


@each(
    "change,field",
    [({"batch": -1}, "batch"), ({"batch": "x"}, "batch"), ({"batch": None}, "batch"), ({"steps": 1}, "timestamp"),
     (None, "timestamp"), (5, "timestamp")],
)  # fmt: skip
def test_loading_an_invalid_state_changes_nothing(change, field):
    state = {**FULL.state_dict(), **change} if isinstance(change, dict) else change
    now = Timestamp(batch=7)
    with refused(field):
        now.load_state_dict(state)
    assert now == Timestamp(batch=7)


def test_timestamp_is_an_immutable_value():
    assert copy.copy(FULL) == copy.deepcopy(FULL) == pickle.loads(pickle.dumps(FULL)) == FULL
    assert FULL.copy(batch_seconds=0) != FULL
    assert FULL != 3
    for name in ("batch", "total_wct", "other"):
        with pytest.raises(AttributeError):
            setattr(FULL, name, 1)


# Comparison, as with Composer's


def test_comparison_of_a_timestamp_with_a_time_uses_the_unit_of_the_time():
    now = Timestamp(epoch=3, batch=30, sample=960, token=9600, seconds=1.5)
    for same in ("3ep", Time("30ba"), "960sp", Time(9600, "tok"), "1.5sec", ForeignTime(30, "ba")):
        assert (now == same, now <= same, now >= same, now < same, now > same) == (True, True, True, False, False)
    assert Time("29ba") < now < "31ba"
    for other in ("31ba", "no time", 30, "0.5dur"):  # a number has no unit
        assert now != other


def test_timestamp_cannot_be_compared_with_units_without_a_counter():
    with refused("time", FormatError):
        assert Timestamp() < "no time"
    with refused("unit", UnknownNameError):
        assert Timestamp() < "0.5dur"
    for other in (3, Timestamp()):
        with pytest.raises(TypeError):
            assert Timestamp() < other


# Raw counters, and timestamps that compute them


def test_raw_counters_are_plain_numbers_and_cannot_be_changed():
    # FULL counts 1, 2, ... 14 in the order of NAMES; the last four are seconds, raw in nanoseconds.
    assert [getattr(FULL, name) for name in COUNTERS] == [*range(1, 11), *(n * 10**9 for n in range(11, 15))]
    assert type(FULL.batches) is int
    for name in COUNTERS:
        with pytest.raises(AttributeError):
            setattr(FULL, name, 1)


def test_computed_counter_is_evaluated_only_when_it_is_read():
    reads = []
    functions = {name: lambda full, name=name: reads.append(name) or 2 * getattr(full, name) for name in COUNTERS}
    doubled = DerivedTimestamp(FULL, functions)
    assert (doubled.batch, doubled.get("sec"), doubled.tokens_in_epoch) == (6, 22, 20)
    assert reads == ["batches", "nanoseconds", "tokens_in_epoch"]
    assert doubled < "7ba"
    assert doubled == Timestamp(*(2 * n for n in range(1, 15)))
    assert doubled.to_next_batch(1) == Timestamp(*(2 * n for n in range(1, 15))).to_next_batch(1)
    assert type(doubled.copy(batch=1)) is Timestamp


def test_computed_timestamp_has_only_counters_that_have_a_function():
    derived = DerivedTimestamp(3, {"batches": operator.pos})
    assert copy.deepcopy(derived).batch == pickle.loads(pickle.dumps(derived)).batch == 3
    with pytest.raises(AttributeError, match="tokens"):
        _ = derived.token


def test_only_the_timestamp_module_uses_private_slots():
    package = Path(ssr_hydra.__file__).parent
    slot = re.compile(rf"(?<!\bself)\.({'|'.join(Timestamp.__slots__)})\b")
    paths = [path for path in package.rglob("*.py") if path.name != "timestamp.py"]
    assert {path.name: slot.findall(path.read_text()) for path in paths if slot.search(path.read_text())} == {}
