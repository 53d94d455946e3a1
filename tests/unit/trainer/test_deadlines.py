import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp
from ssr_hydra.trainer.deadlines import Deadline, scaled


def due(time, repeats=False, **state):
    return Deadline(time, State(**{"max_duration": "10ep", **state}), "eval_interval", repeats=repeats)


def test_interval_of_half_an_epoch_of_seven_batches_is_due_after_the_fourth_batch():
    deadline = due("0.5ep", dataloader_len=7)
    assert not deadline.reached(Timestamp(batch=3, batch_in_epoch=3))
    assert deadline.reached(Timestamp(batch=4, batch_in_epoch=4))


@pytest.mark.parametrize(
    ("time", "before", "at"),
    [
        ("3ba", {"batch": 2}, {"batch": 3}),
        ("2.5ba", {"batch": 2}, {"batch": 3}),
        ("100sp", {"sample": 99}, {"sample": 100}),
        ("9007199254740993tok", {"token": 9007199254740992}, {"token": 9007199254740993}),
        ("1m", {"seconds": 59.999999}, {"seconds": 60}),
        ("2iter", {"iteration": 1}, {"iteration": 2}),
        ("2ep", {"epoch": 1, "batch": 99}, {"epoch": 2}),  # no dataloader_len
    ],
)
def test_interval_in_every_unit_is_exact(time, before, at):
    assert not due(time).reached(Timestamp(**before))
    assert due(time).reached(Timestamp(**at))


def test_interval_in_dur_is_a_fraction_of_the_scaled_run():
    assert due("0.29dur", max_duration="100ba").count == 29


@given(
    st.fractions(min_value=Fraction(1, 50), max_value=50),
    st.integers(1, 30),
    st.lists(st.integers(1, 100), min_size=1, max_size=30),
)
def test_interval_is_due_if_at_least_one_multiple_was_passed(interval, length, jumps):
    deadline = Deadline(Time(interval, "ep"), State(max_duration="10ep", dataloader_len=length), "log", repeats=True)
    batch = 0
    for jump in jumps:
        before, batch = batch, batch + jump
        passed = math.floor(batch / (interval * length)) > math.floor(before / (interval * length))
        timestamp = Timestamp(epoch=batch // length, batch=batch, batch_in_epoch=batch % length)
        assert deadline.reached(timestamp) == passed
        if passed:
            deadline.renew(timestamp)


@pytest.mark.parametrize("length", [75, 38, 150])
def test_run_ends_at_the_same_epoch_after_a_change_of_the_batch_size(length):
    """The run has trained 5 epochs of 75 batches. The 10th epoch ends after 5 epochs of the new length."""
    end, log = due("10ep", dataloader_len=length), due("0.5ep", repeats=True, dataloader_len=length)
    here = Timestamp(epoch=5, batch=375)
    log.renew(here)
    assert not end.reached(here)
    assert end.share(here) == 0.5
    half, last = math.ceil(length / 2), 5 * length
    assert not log.reached(here.copy(batch=375 + half - 1, batch_in_epoch=half - 1))
    assert log.reached(here.copy(batch=375 + half, batch_in_epoch=half))
    assert log.batch == 375 + half
    assert not end.reached(Timestamp(epoch=9, batch=375 + last - 1, batch_in_epoch=length - 1))
    assert end.reached(Timestamp(epoch=10, batch=375 + last))
    assert end.batch == 375 + last
    assert end.steps(State(max_duration="10ep", dataloader_len=length)) == 375 + last


def test_number_of_steps_is_known_if_the_rates_are_known():
    state = State(max_duration="100sp", samples_per_batch=16, dataloader_len=7)
    assert Deadline("100sp", state, "x").steps(state) == 7
    assert Deadline("2ep", state, "x").steps(state) == 14
    assert Deadline("9tok", state, "x").steps(state) is None
    assert Deadline("9sec", state, "x").steps(state) is None


def test_completed_fraction_increases_to_one():
    deadline = due("8ba")
    assert [deadline.share(Timestamp(batch=k)) for k in (0, 2, 8, 9)] == [0.0, 0.25, 1.0, 1.0]


def test_scaled_time_is_an_exact_fraction():
    assert scaled("1ep", Fraction(1, 3)) == Time("1/3ep")


@pytest.mark.parametrize(
    ("time", "state", "error"),
    [
        ("0.5ep", {}, MissingRateError),
        ("0.5iter", {}, InputError),
        ("0ba", {}, InputError),
        ("10", {}, InputError),
        (10, {}, InputError),
        ("1dur", {"max_duration": None}, InputError),
        ("-1ep", {}, InputError),
    ],
)
def test_invalid_times_are_refused_by_name(time, state, error):
    with pytest.raises(error) as caught:
        due(time, **state)
    assert caught.value.field == "eval_interval"
