"""Schedules as plain functions of the step."""

import numpy as np
import pytest
from cases import each
from refusals import refused

from ssr_hydra.errors import MissingRateError, RangeError, UnsupportedError
from ssr_hydra.schedulers import CosineAnnealingScheduler, LinearWithWarmupScheduler, StepScheduler, as_function, bind
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@each("ssr", [0.5, 1, 1.5])
def test_every_scheduler_has_the_values_of_its_bound_curve(row, ssr):
    scheduler = row.scheduler(**{**row.presets, **row.example})
    # 20 epochs of 10 batches at ssr 1; at batch k the run is in epoch k // 10.
    curve = bind(scheduler, State(f"{20 * ssr}ep", dataloader_len=10), ssr)
    alpha = as_function(scheduler, "20ep", ssr=ssr, dataloader_len=10)
    steps = range(0, int(200 * ssr) + 1, 5)
    assert [alpha(k) for k in steps] == [curve(Timestamp(batch=k, epoch=k // 10)) for k in steps]


def test_samples_and_tokens_are_computed_from_the_step():
    # A warmup of 64 samples is 4 steps of 16; 1,000 tokens are 10 steps of 100, so step 7 is half of the decay.
    arguments = {"samples_per_batch": 16, "tokens_per_batch": 100}
    alpha = as_function(LinearWithWarmupScheduler("64sp", t_max="1000tok"), "1000tok", **arguments)
    assert [alpha(k) for k in (0, 2, 4, 7, 10)] == [0.0, 0.5, 1.0, 0.5, 0.0]


def test_a_function_of_the_state_reads_the_counters_of_the_step():
    def seen(state, ssr):
        return float(100 * state.timestamp.epoch.value + state.timestamp.batch_in_epoch.value) * ssr

    assert as_function(seen, "9ep", ssr=2, dataloader_len=4)(9) == 2 * (100 * 2 + 1)


def test_step_may_be_an_integer_of_any_library():
    alpha = as_function(CosineAnnealingScheduler(), "14ba")
    for step in (7, np.int64(7), np.array(7)):
        assert alpha(step) == pytest.approx(0.5, abs=1e-15)
    for step in (-1, 1.0, "1", None, Timestamp(batch=1)):
        with refused("step"):
            alpha(step)


def test_schedule_that_needs_more_than_the_step_is_refused():
    with refused("timestamp.nanoseconds", UnsupportedError):
        as_function(StepScheduler("3s"), "10ba")
    with refused("step_size", MissingRateError):
        as_function(StepScheduler("3ep"), "10ba")
    with refused("ssr", RangeError):
        as_function(CosineAnnealingScheduler(), "10ba", ssr=0)
