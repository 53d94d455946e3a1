"""The multipliers of a run's schedules at each step, and the first step at which two runs differ in a multiplier."""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NoReturn

from ssr_hydra.schedulers.curves import Curve, pieces_of
from ssr_hydra.time import Time, Timestamp, TimeUnit
from ssr_hydra.time.derived import SteppedTimestamp
from ssr_hydra.time.timestamp import COUNTERS
from ssr_hydra.torch_schedulers.moments import epoch_start

_FIRST_BLOCK, _LARGEST_BLOCK = 8, 4096
_NAMES = {"nanoseconds": "seconds"}


class UnknownCounterError(Exception):
    """Raised if a schedule, or the length of a run, depends on a counter that is unknown before training.

    The message is the name of the counter.
    """


@dataclass(frozen=True)
class Calendar:
    """The counters of a run (batches, samples, tokens, epochs) after each step, computed without reading the data.

    Example:
        >>> calendar = Calendar(batch_size=16, batches=75, samples=1198)
        >>> calendar.count(TimeUnit.SAMPLE, 75), calendar.first(TimeUnit.SAMPLE, 1199)
        (1198, 76)
    """

    batch_size: int  # the largest number of samples in a batch
    batches: int | None = None  # batches per epoch; None if unknown
    samples: int | None = None  # samples per epoch; None if unknown
    tokens: int | None = None  # tokens per sample; None if unknown
    is_counted: bool = True  # False if a user's function returns the number of samples in a batch

    def is_exact(self, unit: TimeUnit) -> bool:
        """Return whether the exact value of a counter is known. If not, :meth:`most` may return an upper bound."""
        if unit in (TimeUnit.SAMPLE, TimeUnit.TOKEN):
            return self.is_counted and self.batches is not None and self.samples is not None
        return unit is TimeUnit.BATCH or (unit is TimeUnit.EPOCH and self.batches is not None)

    def most(self, unit: TimeUnit, step: int) -> int:
        """Return the largest possible value of a counter after ``step`` batches."""
        if unit is TimeUnit.TOKEN and self.tokens is not None:
            return self.tokens * self.most(TimeUnit.SAMPLE, step)
        if unit is TimeUnit.SAMPLE and self.is_counted and not self.is_exact(unit):
            return self.batch_size * step
        return self.count(unit, step)

    def count(self, unit: TimeUnit, step: int) -> int:
        """Return the value of a counter after ``step`` batches."""
        if unit is TimeUnit.BATCH:
            return step
        if unit is TimeUnit.EPOCH and self.batches is not None:
            return step // self.batches
        if unit is TimeUnit.TOKEN and self.tokens is not None:
            return self.tokens * self.count(TimeUnit.SAMPLE, step)
        if unit is TimeUnit.SAMPLE and self.is_counted and self.batches is not None and self.samples is not None:
            epochs, rest = divmod(step, self.batches)
            return epochs * self.samples + min(rest * self.batch_size, self.samples)
        raise UnknownCounterError({"sp": "samples", "tok": "tokens", "sec": "seconds", "ep": "epochs"}.get(unit, unit))

    def first(self, unit: TimeUnit, count: Fraction | float) -> int | float:
        """Return the first step at which the largest possible value of a counter is at least ``count``."""
        if count == math.inf:
            return math.inf
        if unit is TimeUnit.BATCH:
            return max(0, math.ceil(count))
        low, high = 0, 1
        while self.most(unit, high) < count:
            low, high = high, high * 2
        return bisect_right(range(high), False, low, high, key=lambda step: self.most(unit, step) >= count)

    def steps(self, length: Time) -> int:
        """Return the number of steps of a run with a given length; a lower bound if the exact number is unknown."""
        if length.unit is TimeUnit.EPOCH:
            if self.batches is None:
                raise UnknownCounterError("epochs")
            return math.ceil(length.value * self.batches)
        return int(self.first(length.unit, Fraction(length.value)))

    def timestamps(self, begin: int, end: int) -> Iterator[Timestamp]:
        """Yield the timestamp of each step. Every step yields the same object, with new values.

        If the caller reads a counter that is unknown, the timestamp raises an :class:`UnknownCounterError`.
        """
        moment = _Moment(self, begin)
        timestamp = SteppedTimestamp(moment, _COUNTS)
        for step in range(begin, end):
            moment.step = timestamp.batches = step
            yield timestamp


@dataclass
class _Moment:
    calendar: Calendar
    step: int

    def count(self, unit: TimeUnit) -> int:
        return self.calendar.count(unit, self.step)

    def batches_in_epoch(self) -> int:
        if self.calendar.batches is None:
            raise UnknownCounterError("epochs")
        return self.step % self.calendar.batches

    def samples_in_epoch(self) -> int:
        before = self.calendar.count(TimeUnit.SAMPLE, self.step - self.batches_in_epoch())
        return self.count(TimeUnit.SAMPLE) - before


def _unknown(name: str) -> Callable[[_Moment], NoReturn]:
    def count(moment: _Moment) -> NoReturn:  # noqa: ARG001
        raise UnknownCounterError(_NAMES.get(name, name))

    return count


_COUNTS: Mapping[str, Callable[[_Moment], int]] = {
    **{name: _unknown(name) for name in COUNTERS},
    "epochs": lambda moment: moment.count(TimeUnit.EPOCH),
    "samples": lambda moment: moment.count(TimeUnit.SAMPLE),
    "tokens": lambda moment: moment.count(TimeUnit.TOKEN),
    "batches_in_epoch": _Moment.batches_in_epoch,
    "samples_in_epoch": _Moment.samples_in_epoch,
}


class Track:
    """The multipliers of one schedule at each step of a run.

    With ``by_epoch``, the multiplier changes only at the start of an epoch. If ``is_exact`` is False, :meth:`values`
    cannot compute the multipliers. Tracks are then compared by :meth:`piece`.
    """

    def __init__(self, curve: Curve, calendar: Calendar, *, by_epoch: bool = False) -> None:
        self._curve, self._calendar, self._by_epoch = curve, calendar, by_epoch
        self._stops: list[int | float] = []
        self._keys: list[Hashable] = []
        pieces = None if by_epoch else pieces_of(curve)
        self.is_exact = True
        if pieces is not None:
            unit, parts = pieces
            self.is_exact = calendar.is_exact(unit)
            self._stops = [calendar.first(unit, end) for end, _ in parts]
            self._keys = [key for _, key in parts]

    def piece(self, step: int) -> tuple[Hashable, int | float]:
        """Return a key for the piece (such as warmup) to which a step belongs, and the step at which the piece ends.

        If the keys of two schedules at a step are equal and not None, their multipliers at this step are equal. The key
        is None if the pieces are unknown.
        """
        if not self._stops:
            return None, math.inf
        index = bisect_right(self._stops, step)
        return self._keys[index], self._stops[index]

    def values(self, begin: int, end: int) -> array[float]:
        """Return the multipliers of the steps from ``begin`` to ``end`` (exclusive)."""
        timestamps = self._calendar.timestamps(begin, end)
        return array("d", map(self._curve, map(epoch_start, timestamps) if self._by_epoch else timestamps))


@dataclass(frozen=True)
class Sequences:
    """The number of steps of a run, and the multipliers of each schedule at these steps."""

    steps: int
    tracks: Mapping[str, Track] = field(default_factory=dict)  # keys: paths of schedules, such as ``scheduler``

    def at(self, begin: int, end: int) -> tuple[Any, ...]:
        """Return a key for the steps from ``begin`` to ``end`` (exclusive). Equal keys mean equal multipliers."""
        try:
            return tuple(
                track.values(begin, end).tobytes()
                if track.is_exact
                else tuple(track.piece(step)[0] for step in range(begin, end))
                for track in self.tracks.values()
            )
        except UnknownCounterError:
            return (object(),)  # a unique key, which equals no other key


@dataclass(frozen=True)
class Candidate:
    """The properties of a job that decide whether it can share steps with other jobs."""

    fields: Mapping[str, str]  # jobs can share steps only if these values (as text) are equal
    sequences: Sequences | None  # None if the number of steps is unknown; has no tracks if the job shares no steps
    refused: str | None = None  # the reason why the job cannot share steps
    hint: str = ""  # a text about a setting that prevents sharing, if there is such a setting

    @property
    def group(self) -> str | None:
        """The key of a group: two jobs can share steps only if their keys are equal. None: this job shares no steps."""
        return None if self.refused is not None else json.dumps(sorted(self.fields.items()))


def first_difference(one: Sequences, other: Sequences, begin: int, end: int) -> int:
    """Return the first step at which the multipliers of two runs differ; ``end`` if there is no difference."""
    for name, track in one.tracks.items():
        end = _first_of(track, other.tracks[name], begin, end)
    return end


def _first_of(one: Track, other: Track, begin: int, end: int) -> int:
    step, size = begin, _FIRST_BLOCK
    while step < end:
        (key, stop), (other_key, other_stop) = one.piece(step), other.piece(step)
        until = min(stop, other_stop, end)
        if key is not None and key == other_key:
            step = int(until)
            continue
        if not (one.is_exact and other.is_exact):
            return step  # the keys of the pieces differ, so the multipliers may differ
        until = int(min(until, step + size))
        try:
            mine, theirs = one.values(step, until), other.values(step, until)
        except UnknownCounterError:  # a counter is unknown at one of these steps
            if until == step + 1:
                return step
            size = (until - step) // 2
            continue
        if mine != theirs:
            return step + next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
        step, size = until, min(2 * size, _LARGEST_BLOCK)
    return end
