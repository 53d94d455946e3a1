from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit
from ssr_hydra.torch_schedulers.moments import EpochRun, epoch_start, moment


def test_start_of_an_epoch_equals_the_runs_timestamp_there() -> None:
    then = timestamp = Timestamp()
    for number in range(11):
        if number % 4 == 0 and number:
            timestamp = then = timestamp.to_next_epoch()
        timestamp = timestamp.to_next_batch(samples=3, tokens=number, duration=0.25)
        start = epoch_start(timestamp)
        assert [start.get(unit) for unit in "iter ep ba sp tok sec".split()] == [
            then.get(unit) for unit in "iter ep ba sp tok sec".split()
        ]
        assert (start.batch_in_epoch, start.sample_in_epoch, start.epoch_seconds) == (0, 0, 0)
    assert epoch_start(then) is then


def test_a_timestamp_that_does_not_know_everything_knows_its_epochs_start() -> None:
    now = Timeline(TimeUnit.EPOCH, dataloader_len=Fraction(10)).at(Fraction(5, 2))
    start = epoch_start(now)
    assert (start.batches, start.epochs, start.batches_in_epoch) == (20, 2, 0)
    with pytest.raises(InputError, match="tok"):
        start.tokens  # noqa: B018


def test_a_moment_has_the_counters_that_rates_give() -> None:
    run = Run.of(State("100ba", dataloader_len=10, samples_per_batch=32))
    later = moment(replace(run, start=Time("5ba")), Time("20ba"))
    assert (later.batches, later.samples, later.epochs) == (25, 800, Fraction(5, 2))
    with pytest.raises(MissingRateError, match="tokens_per_batch"):
        later.tokens  # noqa: B018
    with pytest.raises(InputError, match="no fixed rate"):
        later.nanoseconds  # noqa: B018
    assert moment(run, Time("3sec")).nanoseconds == 3 * 10**9


def test_epochs_are_a_clock_where_their_length_is_unknown() -> None:
    known = Run.of(State("4ep", dataloader_len=10), 0.5)
    assert EpochRun.of_run(known) is known
    run = EpochRun.of_run(Run.of(State("4ep"), 0.5))
    assert [str(run.resolve(Time(time), "t")) for time in ("3ep", "0.5dur", "7ba")] == ["1.5ep", "2ep", "3.5ba"]
    assert run.reader(TimeUnit.EPOCH)(Timestamp(epoch=3)) == 3
    with pytest.raises(MissingRateError, match="max_duration"):
        EpochRun.of_run(Run.of(State())).resolve(Time("0.5dur"), "t")
