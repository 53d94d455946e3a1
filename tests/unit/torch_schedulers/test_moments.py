from dataclasses import replace
from fractions import Fraction

from refusals import refused

from ssr_hydra.errors import MismatchError, MissingRateError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp
from ssr_hydra.torch_schedulers.moments import epoch_start, moment


def test_epoch_start_has_the_counters_at_the_start_of_the_epoch():
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


def test_counters_at_a_later_time_need_a_known_rate():
    run = Run.of(State("100ba", dataloader_len=10, samples_per_batch=32))
    later = moment(replace(run, start=Time("5ba")), Time("20ba"))
    assert (later.batches, later.samples, later.epochs) == (25, 800, Fraction(5, 2))
    with refused("milestones", MissingRateError):
        later.tokens  # noqa: B018
    with refused("milestones", MismatchError):
        later.nanoseconds  # noqa: B018
    assert moment(run, Time("3sec")).nanoseconds == 3 * 10**9
