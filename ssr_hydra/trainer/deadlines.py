"""The times at which a run evaluates, logs, saves and ends. All comparisons of times are exact."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from ssr_hydra.errors import MissingRateError, MissingValueError, RangeError, WrongTypeError
from ssr_hydra.state import State
from ssr_hydra.time import Time, TimeLike, Timestamp, TimeUnit, as_time
from ssr_hydra.time.timestamp import NANOSECONDS


class Deadline:
    """The next time of an event that happens once, or at every multiple of an interval.

    The event is due at the first batch boundary at or after its time. If the loader's length is known, epochs are
    counted in batches: with seven batches per epoch, an event at ``0.5ep`` is due after the fourth batch. If the number
    of batches per epoch changes at a resume, each finished epoch counts as the new number of batches. So a run of whole
    epochs still ends at the end of an epoch.

    Args:
        time: The time of the event, or the interval between events. It is not multiplied by ssr. ``dur`` is a fraction
            of ``state.max_duration``.
        state: State of the run, with ``max_duration`` and ``dataloader_len``.
        field: Name of the argument, for errors.
        repeats: Whether ``time`` is an interval.

    Raises:
        MissingRateError: ``time`` is a fraction of an epoch, and the loader has no length.
        InputError: ``time`` is not a time above 0, is a fraction of an iteration, or is in ``dur`` although the run has
            no ``max_duration``.
    """

    __slots__ = ("_epoch_length", "_interval", "_read", "_shift", "_unit", "count", "field", "time")

    def __init__(self, time: TimeLike, state: State, field: str, *, repeats: bool = False) -> None:
        self.time = moment = as_time(time, field)
        if moment.value <= 0:
            raise RangeError(field, str(moment), "must be above 0", "use a time such as 1ep or 100ba")
        if moment.unit is TimeUnit.DURATION:
            if state.max_duration is None:
                rule = "is a fraction of the run, so max_duration must be set"
                raise MissingValueError(field, str(moment), rule, "give max_duration, or use another unit")
            moment = state.max_duration * moment.value
        unit, value = moment.unit, Fraction(moment.value)
        self._epoch_length = state.dataloader_len if unit is TimeUnit.EPOCH else None
        # The number of trained batches, minus (epochs * current batches per epoch + batches in this epoch). This is 0
        # unless a resumed run has a different number of batches per epoch.
        self._shift = 0
        if self._epoch_length is not None:
            unit, value = TimeUnit.BATCH, value * self._epoch_length
        if unit is TimeUnit.EPOCH and value.denominator != 1:
            rule = "is a fraction of an epoch, but len(train_dataloader) is not known"
            fix = "use batches, or a time that is a whole number of epochs in this run"
            raise MissingRateError(field, str(moment), rule, fix)
        if unit is TimeUnit.ITERATION and value.denominator != 1:
            raise WrongTypeError(field, str(moment), "must be a whole number of iterations", "use another unit")
        if unit is TimeUnit.SECOND:
            value *= NANOSECONDS
        self._unit, self.field = unit, field
        self._read = Timestamp.reader(unit)
        self._interval = value if repeats else None
        self.count = math.ceil(value)

    def _now(self, timestamp: Timestamp) -> int:
        if self._epoch_length is None:
            return self._read(timestamp)
        now = timestamp.epochs * self._epoch_length + timestamp.batches_in_epoch
        self._shift = timestamp.batches - now
        return now

    def reached(self, timestamp: Timestamp) -> bool:
        """Return whether the event is due at this batch boundary."""
        return self._now(timestamp) >= self.count

    @property
    def batch(self) -> int:
        """The number of batches after which the event is due, or 0 if that number is unknown."""
        return self.count + self._shift if self._unit is TimeUnit.BATCH else 0

    @property
    def nanoseconds(self) -> int | None:
        """The training time in nanoseconds at which the event is due; None if the deadline is not in seconds."""
        return self.count if self._unit is TimeUnit.SECOND else None

    def renew(self, timestamp: Timestamp) -> None:
        """Set the due time to the first multiple of the interval after this timestamp."""
        assert self._interval is not None
        n_intervals = math.floor(self._now(timestamp) / self._interval)
        self.count = math.ceil(self._interval * (n_intervals + 1))

    def share(self, timestamp: Timestamp) -> float:
        """Return the progress towards the event: 0 at the start of the run, 1 when the event is due."""
        return min(1.0, self._now(timestamp) / self.count)

    def steps(self, state: State) -> int | None:
        """Return after how many batches the event is due, from the state's rates; None if unknown."""
        rates = {TimeUnit.BATCH: 1, TimeUnit.SAMPLE: state.samples_per_batch, TimeUnit.TOKEN: state.tokens_per_batch}
        rate = rates.get(self._unit)
        return None if rate is None else math.ceil(self.count / rate) + self._shift


def scaled(max_duration: TimeLike, ssr: Fraction) -> Time:
    """Return the length of the run, ``max_duration * ssr``, exactly."""
    time = as_time(max_duration, "max_duration")
    return Time(time.value * ssr, time.unit)


@dataclass
class Deadlines:
    """The deadlines of the events of a run. An event whose deadline is None is never due."""

    end: Deadline
    evaluation: Deadline | None
    log: Deadline | None
    iteration: Deadline | None = None
    checkpoint: Deadline | None = None
    saves: list[int] = field(default_factory=list)  # ascending numbers of batches after which to write a checkpoint

    def all(self) -> list[Deadline]:
        """Return all deadlines that are not None."""
        dues = (self.end, self.evaluation, self.log, self.iteration, self.checkpoint)
        return [due for due in dues if due is not None]

    def next_batch(self) -> float:
        """Return the batch at which the first deadline not in seconds is due; 0 if unknown, infinity if none exists."""
        return min((*(due.batch for due in self.all() if due.nanoseconds is None), *self.saves[:1]), default=math.inf)

    def saves_at(self, batch: int) -> bool:
        """Return whether ``saves`` lists ``batch``. Remove ``batch`` and all earlier batches from ``saves``."""
        is_due = batch in self.saves
        self.saves = [later for later in self.saves if later > batch]
        return is_due

    def next_time(self) -> float:
        """Return the training time, in nanoseconds, of the earliest deadline in seconds; infinity if there is none."""
        return min((due.nanoseconds for due in self.all() if due.nanoseconds is not None), default=math.inf)

    def continued(self, timestamp: Timestamp) -> None:
        """Move each repeated deadline to its first due time after the timestamp from which the run resumes."""
        for due in self.all()[1:]:
            due.renew(timestamp)


def make_deadlines(
    state: State,
    eval_interval: TimeLike | None,
    log_interval: TimeLike | None,
    iteration_length: TimeLike | None,
    checkpoint_interval: TimeLike | None,
) -> Deadlines:
    """Return the deadlines of a run with length ``state.max_duration``. An interval of None has no deadline."""

    def deadline(time: TimeLike, field: str, *, repeats: bool) -> Deadline:
        due = Deadline(time, state, field, repeats=repeats)
        if due.time.unit is TimeUnit.ITERATION and iteration_length is None:
            rule = "is in iterations, so iteration_length must be set"
            raise MissingValueError(field, str(time), rule, "set counts.iteration_length, or use another unit")
        return due

    def every(interval: TimeLike | None, field: str) -> Deadline | None:
        return None if interval is None else deadline(interval, field, repeats=True)

    assert state.max_duration is not None
    return Deadlines(
        end=deadline(state.max_duration, "max_duration", repeats=False),
        evaluation=every(eval_interval, "eval_interval"),
        log=every(log_interval, "log_interval"),
        iteration=every(iteration_length, "counts.iteration_length"),
        checkpoint=every(checkpoint_interval, "checkpoint.interval"),
    )
