"""The state that a custom function gets: that of the run or, in a phase, that of a run that began with the phase."""

import copy
import pickle
from fractions import Fraction

import pytest
from refusals import refused
from schedule_helpers import alphas

from ssr_hydra.errors import MismatchError, MissingRateError, UnknownNameError
from ssr_hydra.schedulers import ConstantScheduler, LinearScheduler, Phase, SequentialScheduler, bind, step_scheduler
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp

RATES = {"dataloader_len": 4, "samples_per_batch": 32, "tokens_per_batch": 1024}


class Looks:
    """A function that records the states that it gets."""

    def __init__(self):
        self.states = []

    def __call__(self, state, ssr=1.0):
        self.states.append(state)
        return 1.0


def second_phase(look, until="6ba"):
    return SequentialScheduler({"a": Phase(ConstantScheduler(), until), "b": look})


def test_function_gets_the_state_of_the_run_or_a_copy_at_the_requested_time():
    look, state = Looks(), State("4ba", timestamp=Timestamp(batch=1), optimizers=[object()])
    curve = bind(look, state)
    curve(state.timestamp)
    curve(Timestamp(batch=3))
    here, there = look.states
    assert here is state
    assert (there.timestamp.batch, there.max_duration, there.optimizers) == (3, state.max_duration, state.optimizers)
    assert state.timestamp.batch == 1  # the run was not changed


def test_counters_of_a_phase_start_at_zero():
    look = Looks()
    alphas(second_phase(look), [11], max_duration="6ep", seconds_per_batch=2, **RATES)
    (state,) = look.states
    now = state.timestamp
    # This is batch 5 of a phase of 24 - 6 batches. One epoch of 4 batches has ended since the phase began.
    assert (now.batch, now.sample, now.token, now.epoch) == (5, 160, 5120, 1)
    assert [now.get(unit) for unit in ("ba", "sp", "tok", "ep")] == [now.batch, now.sample, now.token, now.epoch]
    assert (state.max_duration, state.get_elapsed_duration()) == (Time("18ba"), Time(Fraction(5, 18), "dur"))
    assert state.time is state.timer is now
    assert (state.dataloader_len, state.samples_per_batch, state.tokens_per_batch) == (4, 32, 1024)
    # Counters within the epoch stay those of the run.
    assert now.batch_in_epoch == 0
    with pytest.raises(AttributeError, match="batchs"):
        _ = now.batchs
    for again in (copy.copy, copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))):
        assert again(state).timestamp.batch == 5
    # In a nested phase too
    look = Looks()
    alphas(second_phase(second_phase(look, "0.25dur")), [13], max_duration="26ba", **RATES)
    (state,) = look.states
    assert (state.timestamp.batch, state.max_duration) == (2, Time("15ba"))


def test_schedulers_called_in_a_function_use_the_time_of_the_phase():
    decay = lambda state, ssr: step_scheduler(state, ssr, step_size="2ba", gamma=0.5)  # noqa: E731
    assert alphas(second_phase(decay), (6, 7, 8, 10), max_duration="24ba") == [1, 1, 0.5, 0.25]
    linear = lambda state: LinearScheduler()(state)  # noqa: E731
    assert alphas(second_phase(linear), (6, 15, 24), max_duration="24ba") == [1, 0.5, 0]
    by_clock = second_phase(lambda state: LinearScheduler()(state), "30s")
    assert alphas(by_clock, (3, 6, 9), max_duration="90s", seconds_per_batch=10) == [1, 0.5, 0]


def test_missing_rate_is_an_error_only_if_a_function_reads_the_counter():
    of_run = {"max_duration": "24ba", "seconds_per_batch": 1}
    assert alphas(second_phase(lambda state: state.timestamp.batch.value), [7], **of_run) == [1]
    with refused("timestamp", MissingRateError, match="samples_per_batch"):
        alphas(second_phase(lambda state: state.timestamp.sample.value), [7], **of_run)
    with refused("timestamp", MismatchError):
        alphas(second_phase(lambda state: state.timestamp.get("sec").value), [7], **of_run)
    for unit in ("parsec", None):
        with refused("unit", UnknownNameError):
            alphas(second_phase(lambda state, unit=unit: state.timestamp.get(unit).value), [7], **of_run)
