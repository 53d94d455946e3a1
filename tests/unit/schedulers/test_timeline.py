"""Timestamps between batches, and counters that nobody can know."""

from fractions import Fraction

import pytest
from refusals import refused

from ssr_hydra.errors import MissingRateError, UnsupportedError
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.time import Time, TimeUnit


def test_counters_are_computed_from_the_time_axis_with_the_rates():
    moment = Timeline(TimeUnit.TOKEN, Fraction(10), Fraction(16), Fraction(512)).at(Fraction(512 * 25 + 256))
    assert moment.token == Time("13056tok")
    assert moment.batch == Time("25.5ba")
    assert moment.sample == Time("408sp")
    assert moment.get("ep") == Time("2ep")
    assert moment.batch_in_epoch == Time("5.5ba")


@pytest.mark.parametrize(
    ("unit", "read", "missing"),
    [("ep", "ba", "dataloader_len"), ("ba", "sp", "samples_per_batch"), ("tok", "ep", "dataloader_len")],
)
def test_reading_a_counter_without_its_rate_is_an_error(unit, read, missing):
    moment = Timeline(TimeUnit(unit)).at(Fraction(3))
    with pytest.raises(MissingRateError, match=missing):
        moment.get(read)


def test_seconds_are_known_only_in_a_run_measured_in_seconds():
    assert Timeline(TimeUnit.SECOND).at(Fraction(3, 2)).get("sec") == Time("1.5sec")
    with refused("timestamp.nanoseconds", UnsupportedError):
        Timeline(TimeUnit.BATCH).at(Fraction(3)).get("sec")
