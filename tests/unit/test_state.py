"""The state of a run for schedules, and invalid states."""

import copy
import pickle
from fractions import Fraction

import numpy as np
import pytest
from cases import each
from refusals import refused
from schedule_helpers import ForeignTime, run

from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp


def test_batch_and_epoch_sizes_may_be_any_kind_of_number():
    state = State("10ep", np.int64(50), 16.0, Fraction(7, 2))
    assert state.max_duration == Time("10ep")
    assert (state.dataloader_len, state.samples_per_batch, state.tokens_per_batch) == (50, 16, Fraction(7, 2))
    assert type(state.dataloader_len) is int


def test_every_argument_is_optional():
    state = State()
    assert (state.max_duration, state.dataloader_len, state.samples_per_batch, state.tokens_per_batch) == (None,) * 4
    assert state.timestamp == Timestamp()
    assert (state.optimizers, State(optimizers=None).optimizers) == ((), ())


def test_state_accepts_the_types_and_names_of_composer():
    one, two = object(), object()
    assert State(optimizers=one).optimizers == (one,)
    assert State(optimizers=[one, two]).optimizers == (one, two)
    state = State(ForeignTime(4, "ep"), ForeignTime(10, "ba"))
    assert (state.max_duration, state.dataloader_len) == (Time("4ep"), 10)
    state.timestamp = state.timestamp.to_next_batch()
    assert state.time is state.timer is state.timestamp


@each(
    "max_duration,batch,rates,share",
    [
        ("8ba", 2, {}, Fraction(1, 4)),
        ("4ep", 10, {"dataloader_len": 10}, Fraction(1, 4)),
        ("4ep", 15, {"dataloader_len": 10}, Fraction(3, 8)),  # within an epoch too
        ("2.5ep", 5, {"dataloader_len": 10}, Fraction(1, 5)),
        ("640sp", 10, {"samples_per_batch": 16}, Fraction(1, 4)),
        ("3000tok", 1, {"tokens_per_batch": 1000}, Fraction(1, 3)),
        ("1m", 30, {"seconds_per_batch": 0.5}, Fraction(1, 4)),
        ("8ba", 12, {}, Fraction(3, 2)),  # a run that was extended
    ],
)
def test_elapsed_duration_is_the_exact_fraction(max_duration, batch, rates, share):
    assert run(batch, max_duration=max_duration, **rates).get_elapsed_duration() == Time(share, "dur")


def test_elapsed_duration_is_none_if_the_length_or_a_rate_is_unknown():
    assert State(timestamp=Timestamp(batch=3)).get_elapsed_duration() is None
    # Without dataloader_len only complete epochs are known.
    assert State("4ep", timestamp=Timestamp(epoch=1, batch=15)).get_elapsed_duration() == Time("0.25dur")


BAD = {
    "max_duration": ["0ba", "1.5dur", "10", 10, "-1ep", ForeignTime(1, "dur")],
    "dataloader_len": [0, 2.5, float("nan"), "many", True, ForeignTime(0, "ba")],
    "samples_per_batch": [0, -1, float("inf"), "x", True],
    "tokens_per_batch": [0, -1, float("inf"), "x", True],
}


@each("field,value", [(field, value) for field, values in BAD.items() for value in values])
def test_invalid_values_are_refused_at_construction_and_assignment(field, value):
    state = State("4ep", 10, 16, 512)
    for act in (lambda: State(**{field: value}), lambda: setattr(state, field, value)):
        with refused(field):
            act()
    assert (state.max_duration, state.dataloader_len, state.samples_per_batch, state.tokens_per_batch) == (
        Time("4ep"), 10, 16, 512
    )  # fmt: skip


def test_a_misspelt_attribute_is_an_error():
    with pytest.raises(AttributeError):
        State().max_durations = "4ep"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_changing_a_copy_does_not_change_the_state(again):
    state = State("4ep", 10, 16, 512, Timestamp(batch=3))
    other = again(state)
    assert repr(other) == repr(state)
    other.max_duration = "5ep"
    other.timestamp = other.timestamp.to_next_batch()
    assert (state.max_duration, state.timestamp.batch) == (Time("4ep"), 3)


def test_repr_shows_what_is_known():
    assert repr(State("4ep", timestamp=Timestamp(batch=3))) == "State(max_duration=4ep, timestamp=Timestamp(batch=3))"
