"""The counters of a run: epochs, batches, samples, tokens and seconds of training so far."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import total_ordering
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

from ssr_hydra.errors import InputError, MismatchError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.time.duration import Time, TimeUnit, as_time
from ssr_hydra.time.numbers import Number, exact

NANOSECONDS = 10**9
"""Nanoseconds in a second."""

# A mapping from the public name of each counter to its slot, its name as a plain number, and its unit.
# Seconds are stored as whole nanoseconds, because sums of floats would drift.
_COUNTERS: dict[str, tuple[str, str, TimeUnit]] = {
    "iteration": ("_iteration", "iterations", TimeUnit.ITERATION),
    "epoch": ("_epoch", "epochs", TimeUnit.EPOCH),
    "batch": ("_batch", "batches", TimeUnit.BATCH),
    "sample": ("_sample", "samples", TimeUnit.SAMPLE),
    "token": ("_token", "tokens", TimeUnit.TOKEN),
    "epoch_in_iteration": ("_epoch_in_iteration", "epochs_in_iteration", TimeUnit.EPOCH),
    "token_in_iteration": ("_token_in_iteration", "tokens_in_iteration", TimeUnit.TOKEN),
    "batch_in_epoch": ("_batch_in_epoch", "batches_in_epoch", TimeUnit.BATCH),
    "sample_in_epoch": ("_sample_in_epoch", "samples_in_epoch", TimeUnit.SAMPLE),
    "token_in_epoch": ("_token_in_epoch", "tokens_in_epoch", TimeUnit.TOKEN),
    "seconds": ("_nanoseconds", "nanoseconds", TimeUnit.SECOND),
    "iteration_seconds": ("_iteration_nanoseconds", "iteration_nanoseconds", TimeUnit.SECOND),
    "epoch_seconds": ("_epoch_nanoseconds", "epoch_nanoseconds", TimeUnit.SECOND),
    "batch_seconds": ("_batch_nanoseconds", "batch_nanoseconds", TimeUnit.SECOND),
}
_SLOTS = tuple(slot for slot, _, _ in _COUNTERS.values())
COUNTERS = {raw: name for name, (_, raw, _) in _COUNTERS.items()}
"""A mapping from the raw name to the public name of each counter. Raw times are nanoseconds, as plain numbers."""

TOTALS: dict[TimeUnit, str] = {
    TimeUnit.ITERATION: "iterations",
    TimeUnit.EPOCH: "epochs",
    TimeUnit.BATCH: "batches",
    TimeUnit.SAMPLE: "samples",
    TimeUnit.TOKEN: "tokens",
    TimeUnit.SECOND: "nanoseconds",
}
"""A mapping from unit to the name of the raw counter that counts this unit from the start of the run."""

SLOT_OF = {raw: slot for slot, raw, _ in _COUNTERS.values()}
"""A mapping from the raw name of a counter to the slot that stores the counter."""

_slots_of: Callable[[Any], tuple[Any, ...]] = attrgetter(*_SLOTS)


def _count(value: Any, field: str, unit: TimeUnit) -> int:
    """Convert a number, a Time in ``unit`` or a timedelta to a counter value >= 0. Seconds become nanoseconds."""
    amount = value
    if isinstance(value, datetime.timedelta) and unit is TimeUnit.SECOND:
        amount = Fraction((value.days * 86400 + value.seconds) * 10**6 + value.microseconds, 10**6)
    elif hasattr(value, "unit"):
        time = as_time(value, field)
        if time.unit is not unit:
            fix = f"pass a number, or change the unit to {unit.value}"
            raise MismatchError(field, str(value), f"must have the unit {unit.value}", fix)
        amount = time.value
    number: Any = amount if type(amount) is int else exact(amount, field)
    if number < 0:
        raise RangeError(field, value, "must be >= 0", "count from 0")
    if unit is TimeUnit.SECOND:
        number = round(number * NANOSECONDS)
    # The declared type is int, although the value may be a fraction: only plots and tests pass fractions.
    counted: int = number.numerator if number.denominator == 1 else number
    return counted


def _as_time(value: int, unit: TimeUnit) -> Time:
    return Time(Fraction(value, NANOSECONDS), unit) if unit is TimeUnit.SECOND else Time._of(value, unit)


def _as_operand(other: object) -> Time | None:
    """Return ``other`` as a :class:`Time`. Return None if it is neither a time nor a string."""
    is_time = isinstance(other, (str, Time)) or (hasattr(other, "unit") and hasattr(other, "value"))
    return as_time(other, "time") if is_time else None


# For type checkers, `name = property(...)` has the type Any. So these functions declare the type of the property's
# value as their return type.
def _counter(slot: str, unit: TimeUnit, doc: str) -> Time:
    """Return a read-only attribute that reads a slot as a :class:`Time`."""
    return property(lambda timestamp: _as_time(getattr(timestamp, slot), unit), doc=doc)  # type: ignore[return-value]


def _wall_clock(slot: str, doc: str) -> datetime.timedelta:
    """Return a read-only attribute that reads a slot of nanoseconds as a ``timedelta``."""
    return property(  # type: ignore[return-value]
        lambda timestamp: datetime.timedelta(microseconds=getattr(timestamp, slot) / 1000), doc=doc
    )


def _raw(slot: str, doc: str) -> int:
    """Return a read-only attribute for a slot. ``attrgetter`` is fast, because it calls no Python function."""
    return property(attrgetter(slot), doc=doc)  # type: ignore[return-value]


@total_ordering
class Timestamp:
    """The counters of a run at one moment. A timestamp is immutable; each batch creates a new timestamp.

    A counter is a :class:`Time`, which can be compared with a number: ``timestamp.epoch < 10``. A timestamp can be
    compared with a time or a time string: ``timestamp < "10ep"`` compares the counter of epochs. A counter may be a
    fraction, because figures and tests also evaluate schedules between batches.

    The attributes with plural names (``timestamp.batches``, ``timestamp.epochs_in_iteration``,
    ``timestamp.nanoseconds``) return these counters as plain numbers.

    Args:
        iteration: Finished iterations (groups of epochs).
        epoch: Finished epochs.
        batch: Finished batches (optimizer steps).
        sample: Samples trained on so far.
        token: Tokens trained on so far.
        epoch_in_iteration: Finished epochs of this iteration.
        token_in_iteration: Tokens of this iteration so far.
        batch_in_epoch: Finished batches of this epoch.
        sample_in_epoch: Samples of this epoch so far.
        token_in_epoch: Tokens of this epoch so far.
        seconds: Seconds of training as a number or a ``timedelta``, rounded to nanoseconds.
        iteration_seconds: Seconds of this iteration.
        epoch_seconds: Seconds of this epoch.
        batch_seconds: Seconds of the last batch.

    Raises:
        InputError: A counter is negative, or a Time does not have the unit of its counter.

    Example:
        >>> timestamp = Timestamp().to_next_batch(samples=16, tokens=512).to_next_epoch()
        >>> timestamp.epoch == 1, timestamp.get("tok"), timestamp.batch_in_epoch.value
        (True, Time('512tok'), 0)
    """

    __slots__ = _SLOTS

    _iteration: int
    _epoch: int
    _batch: int
    _sample: int
    _token: int
    _epoch_in_iteration: int
    _token_in_iteration: int
    _batch_in_epoch: int
    _sample_in_epoch: int
    _token_in_epoch: int
    _nanoseconds: int
    _iteration_nanoseconds: int
    _epoch_nanoseconds: int
    _batch_nanoseconds: int

    def __init__(
        self,
        iteration: Time | Number = 0,
        epoch: Time | Number = 0,
        batch: Time | Number = 0,
        sample: Time | Number = 0,
        token: Time | Number = 0,
        epoch_in_iteration: Time | Number = 0,
        token_in_iteration: Time | Number = 0,
        batch_in_epoch: Time | Number = 0,
        sample_in_epoch: Time | Number = 0,
        token_in_epoch: Time | Number = 0,
        seconds: Time | Number | datetime.timedelta = 0,
        iteration_seconds: Time | Number | datetime.timedelta = 0,
        epoch_seconds: Time | Number | datetime.timedelta = 0,
        batch_seconds: Time | Number | datetime.timedelta = 0,
    ) -> None:
        arguments = locals()
        for name, (slot, _, unit) in _COUNTERS.items():
            setattr(self, slot, _count(arguments[name], name, unit))

    iteration: Final = _counter("_iteration", TimeUnit.ITERATION, "Iterations finished.")
    epoch: Final = _counter("_epoch", TimeUnit.EPOCH, "Epochs finished.")
    batch: Final = _counter("_batch", TimeUnit.BATCH, "Batches finished.")
    sample: Final = _counter("_sample", TimeUnit.SAMPLE, "Samples seen.")
    token: Final = _counter("_token", TimeUnit.TOKEN, "Tokens seen.")
    epoch_in_iteration: Final = _counter("_epoch_in_iteration", TimeUnit.EPOCH, "Epochs finished in this iteration.")
    token_in_iteration: Final = _counter("_token_in_iteration", TimeUnit.TOKEN, "Tokens seen in this iteration.")
    batch_in_epoch: Final = _counter("_batch_in_epoch", TimeUnit.BATCH, "Batches finished in this epoch.")
    sample_in_epoch: Final = _counter("_sample_in_epoch", TimeUnit.SAMPLE, "Samples seen in this epoch.")
    token_in_epoch: Final = _counter("_token_in_epoch", TimeUnit.TOKEN, "Tokens seen in this epoch.")
    seconds: Final = _counter("_nanoseconds", TimeUnit.SECOND, "Seconds of training.")
    iteration_seconds: Final = _counter("_iteration_nanoseconds", TimeUnit.SECOND, "Seconds of this iteration.")
    epoch_seconds: Final = _counter("_epoch_nanoseconds", TimeUnit.SECOND, "Seconds of this epoch.")
    batch_seconds: Final = _counter("_batch_nanoseconds", TimeUnit.SECOND, "Seconds of the last batch.")
    total_wct: Final = _wall_clock("_nanoseconds", "Composer's name for the seconds of training.")
    iteration_wct: Final = _wall_clock("_iteration_nanoseconds", "Composer's name for the seconds of this iteration.")
    epoch_wct: Final = _wall_clock("_epoch_nanoseconds", "Composer's name for the seconds of this epoch.")
    batch_wct: Final = _wall_clock("_batch_nanoseconds", "Composer's name for the seconds of the last batch.")

    iterations: Final = _raw("_iteration", "Iterations finished, as a number.")
    epochs: Final = _raw("_epoch", "Epochs finished, as a number.")
    if TYPE_CHECKING:

        @property
        def batches(self) -> int: ...

    else:  # not Final for type checkers, because a derived timestamp can assign to batches
        batches = _raw("_batch", "Batches finished, as a number.")
    samples: Final = _raw("_sample", "Samples seen, as a number.")
    tokens: Final = _raw("_token", "Tokens seen, as a number.")
    epochs_in_iteration: Final = _raw("_epoch_in_iteration", "Epochs finished in this iteration, as a number.")
    tokens_in_iteration: Final = _raw("_token_in_iteration", "Tokens seen in this iteration, as a number.")
    batches_in_epoch: Final = _raw("_batch_in_epoch", "Batches finished in this epoch, as a number.")
    samples_in_epoch: Final = _raw("_sample_in_epoch", "Samples seen in this epoch, as a number.")
    tokens_in_epoch: Final = _raw("_token_in_epoch", "Tokens seen in this epoch, as a number.")
    nanoseconds: Final = _raw("_nanoseconds", "Nanoseconds of training.")
    iteration_nanoseconds: Final = _raw("_iteration_nanoseconds", "Nanoseconds of this iteration.")
    epoch_nanoseconds: Final = _raw("_epoch_nanoseconds", "Nanoseconds of this epoch.")
    batch_nanoseconds: Final = _raw("_batch_nanoseconds", "Nanoseconds of the last batch.")

    @staticmethod
    def reader(unit: TimeUnit) -> Callable[[Timestamp], int]:
        """Return a fast function that reads the time since the start of the run, as a number in ``unit``.

        For seconds, the number is in nanoseconds.
        """
        return attrgetter(SLOT_OF[TOTALS[unit]])

    def get(self, unit: TimeUnit | str) -> Time:
        """Return the time since the start of the run in ``unit``.

        Raises:
            InputError: ``unit`` is unknown, or it is ``dur``: a timestamp does not know the length of the run. Use
                :class:`~ssr_hydra.State` for ``dur``.
        """
        try:
            unit = TimeUnit(unit)
            name = TOTALS[unit]
        except (ValueError, KeyError):
            rule = f"must be one of {', '.join(unit.value for unit in TOTALS)}"
            raise UnknownNameError("unit", str(unit), rule, "for dur, use State.get_elapsed_duration()") from None
        return _as_time(getattr(self, name), unit)

    def to_next_batch(
        self, samples: Any = 0, tokens: Any = 0, duration: datetime.timedelta | Number | None = 0
    ) -> Timestamp:
        """Return the timestamp after one more batch.

        Args:
            samples: Samples of the batch.
            tokens: Tokens of the batch.
            duration: Duration of the batch in seconds or as a ``timedelta``; None if it was not measured.

        Raises:
            InputError: An argument is negative.
        """
        # Every training step calls this method, so it sets the slots without a loop and checks integers first.
        if type(samples) is not int or samples < 0:
            samples = _count(samples, "samples", TimeUnit.SAMPLE)
        if type(tokens) is not int or tokens < 0:
            tokens = _count(tokens, "tokens", TimeUnit.TOKEN)
        if type(duration) is float and 0.0 <= duration < 1e9:
            nanoseconds = round(duration * 1e9)
        else:
            nanoseconds = 0 if duration is None or duration == 0 else _count(duration, "duration", TimeUnit.SECOND)
        new: Timestamp = object.__new__(Timestamp)
        new._iteration = self._iteration
        new._epoch = self._epoch
        new._batch = self._batch + 1
        new._sample = self._sample + samples
        new._token = self._token + tokens
        new._epoch_in_iteration = self._epoch_in_iteration
        new._token_in_iteration = self._token_in_iteration + tokens
        new._batch_in_epoch = self._batch_in_epoch + 1
        new._sample_in_epoch = self._sample_in_epoch + samples
        new._token_in_epoch = self._token_in_epoch + tokens
        new._nanoseconds = self._nanoseconds + nanoseconds
        new._iteration_nanoseconds = self._iteration_nanoseconds + nanoseconds
        new._epoch_nanoseconds = self._epoch_nanoseconds + nanoseconds
        new._batch_nanoseconds = nanoseconds
        return new

    def to_next_epoch(self, duration: datetime.timedelta | Number | None = 0) -> Timestamp:
        """Return the timestamp at the start of the next epoch.

        Args:
            duration: Time since the last batch, in seconds or as a ``timedelta``; None if it was not measured.
        """
        nanoseconds = 0 if duration is None else _count(duration, "duration", TimeUnit.SECOND)
        return self._replace(
            _epoch=self._epoch + 1,
            _epoch_in_iteration=self._epoch_in_iteration + 1,
            _batch_in_epoch=0,
            _sample_in_epoch=0,
            _token_in_epoch=0,
            _nanoseconds=self._nanoseconds + nanoseconds,
            _iteration_nanoseconds=self._iteration_nanoseconds + nanoseconds,
            _epoch_nanoseconds=0,
            _batch_nanoseconds=0,
        )

    def to_next_iteration(self, duration: datetime.timedelta | Number | None = 0) -> Timestamp:
        """Return the timestamp at the start of the next iteration.

        Args:
            duration: Time since the last batch, in seconds or as a ``timedelta``; None if it was not measured.
        """
        nanoseconds = 0 if duration is None else _count(duration, "duration", TimeUnit.SECOND)
        return self._replace(
            _iteration=self._iteration + 1,
            _epoch_in_iteration=0,
            _token_in_iteration=0,
            _nanoseconds=self._nanoseconds + nanoseconds,
            _iteration_nanoseconds=0,
            _epoch_nanoseconds=0,
            _batch_nanoseconds=0,
        )

    def copy(self, **changes: Time | Number | datetime.timedelta) -> Timestamp:
        """Return a copy with new values for some counters. The argument names are the public names of these counters.

        Raises:
            InputError: A name is not a counter, or the constructor refuses a value.
        """
        values: dict[str, int] = {}
        for name, value in changes.items():
            if name not in _COUNTERS:
                raise UnknownNameError(
                    name, value, "is not a counter of a timestamp", f"use one of {', '.join(_COUNTERS)}"
                )
            slot, _, unit = _COUNTERS[name]
            values[slot] = _count(value, name, unit)
        return self._replace(**values)

    def _replace(self, **slots: int) -> Timestamp:
        new: Timestamp = object.__new__(Timestamp)
        for slot in _SLOTS:
            setattr(new, slot, slots[slot] if slot in slots else getattr(self, slot))
        return new

    def state_dict(self) -> dict[str, int | str]:
        """Return the counters for a checkpoint. A fraction is a string ``"a/b"``. Times are in nanoseconds."""
        values = zip(_SLOTS, _slots_of(self), strict=True)
        return {slot[1:]: value if isinstance(value, int) else str(value) for slot, value in values}

    def load_state_dict(self, state: Mapping[str, int | str]) -> None:
        """Set the counters to the values that :meth:`state_dict` returned.

        This method changes the timestamp in place, as Composer's method does. All other methods create a new timestamp.

        Raises:
            InputError: A counter is missing, unknown or negative. No counter changes in this case.
        """
        names = [slot[1:] for slot in _SLOTS]
        if not isinstance(state, Mapping):
            raise WrongTypeError("timestamp", state, "must be a mapping", "load a result of Timestamp.state_dict()")
        if set(state) != set(names):
            odd = sorted(map(str, set(state) ^ set(names)))
            rule = "has missing or unknown counters"
            raise MismatchError("timestamp", odd, rule, "load a result of Timestamp.state_dict()")
        # In a state dict, seconds are already in nanoseconds. So read all counters as plain numbers.
        values = {f"_{name}": _count(exact(state[name], name), name, TimeUnit.BATCH) for name in names}
        for slot, value in values.items():
            setattr(self, slot, value)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, int | str]) -> Timestamp:
        """Create a timestamp from the result of :meth:`state_dict`. Raise the errors of :meth:`load_state_dict`."""
        new = cls()
        new.load_state_dict(state)
        return new

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Timestamp):
            return _slots_of(self) == _slots_of(other)
        try:
            time = _as_operand(other)
            return NotImplemented if time is None else self.get(time.unit) == time
        except InputError:  # ``other`` is a string that is not a time, or a time in dur
            return False

    def __hash__(self) -> int:
        return hash(_slots_of(self))

    def __lt__(self, other: object) -> bool:
        time = _as_operand(other)
        return NotImplemented if time is None else self.get(time.unit) < time

    def __repr__(self) -> str:
        parts = (f"{name}={value}" for name in _COUNTERS if (value := getattr(self, name)._value))
        return f"Timestamp({', '.join(parts)})"
