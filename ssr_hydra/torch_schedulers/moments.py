"""Timestamps that schedulers need: the start of an epoch, and the last step of a phase."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, Timestamp, TimeUnit

__all__ = ["EpochRun", "epoch_start", "moment"]

_NANOSECONDS = 10**9
_WITHIN = {
    "_batch": "_batch_in_epoch",
    "_sample": "_sample_in_epoch",
    "_token": "_token_in_epoch",
    "_nanoseconds": "_epoch_nanoseconds",
}
_ZERO = ("_batch_in_epoch", "_sample_in_epoch", "_token_in_epoch", "_epoch_nanoseconds", "_batch_nanoseconds")
_UNITS = {
    "_batch": TimeUnit.BATCH,
    "_epoch": TimeUnit.EPOCH,
    "_sample": TimeUnit.SAMPLE,
    "_token": TimeUnit.TOKEN,
    "_nanoseconds": TimeUnit.SECOND,
    "_iteration": TimeUnit.ITERATION,
}


def epoch_start(timestamp: Timestamp) -> Timestamp:
    """Return the timestamp at which the epoch of ``timestamp`` started. It depends only on ``timestamp``.

    Example:
        >>> epoch_start(Timestamp(epoch=2, batch=25, batch_in_epoch=5)).batch
        Time('20ba')
    """
    if timestamp._batch_in_epoch == 0:
        return timestamp
    if type(timestamp) is Timestamp:
        counts = {total: getattr(timestamp, total) - getattr(timestamp, within) for total, within in _WITHIN.items()}
        return timestamp._replace(**counts, **dict.fromkeys(_ZERO, 0))
    start: _EpochStart = object.__new__(_EpochStart)
    start._at = timestamp
    return start


class _EpochStart(Timestamp):
    """The start of the epoch of a timestamp whose counters are not all known. A counter is computed when read."""

    __slots__ = ("_at",)

    _at: Timestamp

    def __getattr__(self, name: str) -> int:
        if name not in Timestamp.__slots__:
            raise AttributeError(name)
        if name in _ZERO:
            return 0
        total: int = getattr(self._at, name)
        return total - getattr(self._at, _WITHIN[name]) if name in _WITHIN else total


class _Moment(Timestamp):
    """A timestamp whose counters follow from one time by the run's rates. Reading an unknown counter is an error."""

    __slots__ = ("_run", "_time")

    _run: Run
    _time: Time

    def __getattr__(self, name: str) -> int:
        if name not in _UNITS:
            raise AttributeError(name)
        unit = _UNITS[name]
        count = self._run.convert(self._run.start, unit, "milestones") + self._run.convert(
            self._time, unit, "milestones"
        )
        value: Any = count.value * _NANOSECONDS if unit is TimeUnit.SECOND else count.value
        setattr(self, name, value)
        return value  # type: ignore[no-any-return] # a fraction where it is one, as timestamps have them


def moment(run: Run, time: Time) -> Timestamp:
    """Return the timestamp at a resolved time from the start of a run or phase, by the rates of the run."""
    new: _Moment = object.__new__(_Moment)
    new._run, new._time = run, time
    return new


class EpochRun(Run):
    """A run that is read only between epochs. If the length of epochs is unknown, epochs are a clock as well."""

    @classmethod
    def of_run(cls, run: Run) -> Run:
        """Return the run itself if ``dataloader_len`` is known."""
        if run.dataloader_len is not None:
            return run
        return cls(**{item.name: getattr(run, item.name) for item in fields(run)})

    def resolve(self, time: Time, field: str, *, scale: bool = True) -> Time:
        if time.unit is TimeUnit.DURATION and self.max_duration is not None:
            time, scale = self.max_duration * time.value, False
        if time.unit is TimeUnit.EPOCH:
            return time * self.ssr if scale else time
        return super().resolve(time, field, scale=scale)

    def reader(self, unit: TimeUnit) -> Callable[[Any], int]:
        if unit is TimeUnit.EPOCH:
            read: Callable[[Any], int] = attrgetter("_epoch")
            return read
        return super().reader(unit)
