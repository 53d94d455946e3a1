"""A run as one schedule sees it: every time resolved to an exact number on one of the run's clocks.

The units in which a run counts by itself are its clocks: batches, samples, tokens, seconds and iterations. Epochs are
read on the batch clock, because whole epochs are too coarse for a stretched schedule, and ``dur`` on the clock of
``max_duration``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import attrgetter
from typing import Any

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit, check_ssr

__all__ = ["RATES", "Clock", "Run"]

_NANOSECONDS = 10**9
_SLOTS = {
    TimeUnit.ITERATION: "_iteration",
    TimeUnit.BATCH: "_batch",
    TimeUnit.SAMPLE: "_sample",
    TimeUnit.TOKEN: "_token",
    TimeUnit.SECOND: "_nanoseconds",
}
RATES = {
    TimeUnit.EPOCH: "dataloader_len",
    TimeUnit.SAMPLE: "samples_per_batch",
    TimeUnit.TOKEN: "tokens_per_batch",
}
"""The rate that connects a unit to batches."""
_EXAMPLES = {"dataloader_len": "len(loader)"}

_ZERO = Time(0, TimeUnit.BATCH)


@dataclass(frozen=True)
class Clock:
    """A counter of the run and, in its integers, the times that a curve compares it with.

    With ``count = read(timestamp) * factor``, a time ``points[i]`` of the schedule is reached when
    ``count >= points[i]``. Everything is an int, so comparisons are exact, and a quotient of two of them is the
    correctly rounded float of the exact ratio: this is why alpha_ssr(t) equals alpha(t / ssr) to the last bit.
    """

    read: Callable[[Any], int]
    factor: int
    points: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """What is needed to resolve a schedule's times.

    Args:
        ssr: The scale schedule ratio.
        max_duration: Length as it is run, already scaled; None where it is open.
        dataloader_len: Batches per epoch.
        samples_per_batch: Samples per batch.
        tokens_per_batch: Tokens per batch.
        state: The state that it was made from; functions of the user are called with it.
        start: Where this run begins on the counters of the state; not zero within a phase of a sequence.
        whole: The run that this is a phase of; None if it is the whole run.
        open_because: Why ``max_duration`` is not known, where it could not be computed.
    """

    ssr: Fraction
    max_duration: Time | None
    dataloader_len: Fraction | None
    samples_per_batch: Fraction | None
    tokens_per_batch: Fraction | None
    state: Any
    start: Time = _ZERO
    whole: Run | None = None
    open_because: InputError | None = None

    @classmethod
    def of(cls, state: Any, ssr: Any = 1.0) -> Run:
        """The run of a state: ours, or any object with ``timestamp``, ``max_duration`` and ``dataloader_len``."""
        known = state
        if not isinstance(state, State):
            # Ours has checked its length and rates already; another library's has not.
            known = State(*(getattr(state, name, None) for name in ("max_duration", *RATES.values())))
        rates = {name: None if (rate := getattr(known, name)) is None else Fraction(rate) for name in RATES.values()}
        return cls(
            ssr=check_ssr(ssr),
            max_duration=known.max_duration,
            dataloader_len=rates["dataloader_len"],
            samples_per_batch=rates["samples_per_batch"],
            tokens_per_batch=rates["tokens_per_batch"],
            state=state,
        )

    @property
    def is_native(self) -> bool:
        """Whether timestamps have our integer slots; another library's are read through ``get(unit)``."""
        return isinstance(self.state.timestamp, Timestamp)

    def resolve(self, time: Time, field: str, *, scale: bool = True) -> Time:
        """A time of the schedule on a clock of the run, measured from this run's start.

        A share of the run (``dur``) follows ``max_duration``, which carries ssr already; any other time is multiplied
        by ssr if ``scale``; epochs become batches.

        Raises:
            MissingRateError: If the length of the run or ``dataloader_len`` is needed and not known.
        """
        if time.unit is TimeUnit.DURATION:
            if self.max_duration is None:
                if time.value == 0:
                    return _ZERO
                raise self._open(time, field)
            return self._share(time, field)
        elif scale:
            time = time * self.ssr
        if time.unit is TimeUnit.EPOCH:
            return self.convert(time, TimeUnit.BATCH, field)
        return time

    def length(self) -> Time | None:
        """The run's end on one of its clocks; None where it is open, or in epochs of unknown length."""
        try:
            return None if self.max_duration is None else self.resolve(self.max_duration, "max_duration", scale=False)
        except InputError:
            return None

    @property
    def at_ssr(self) -> str:
        """The ratio of the whole run for an error: ``" at ssr 0.5"``, or nothing at ssr 1."""
        ssr = self.ssr if self.whole is None else self.whole.ssr
        return "" if ssr == 1 else f" at ssr {float(ssr):g}"

    def _share(self, time: Time, field: str) -> Time:
        """A share of the run on a clock of it."""
        assert self.max_duration is not None
        share = self.max_duration * time.value
        if share.unit is not TimeUnit.EPOCH:
            return share
        try:
            return self.convert(share, TimeUnit.BATCH, field)
        except MissingRateError as error:  # about a time that nobody has written
            rule = f"is a share of max_duration, which is {self.max_duration}, and {error.rule}"
            fix = error.fix.replace("the time", "max_duration")
            raise MissingRateError(field, str(time), rule, fix) from None

    def _open(self, time: Time, field: str) -> InputError:
        if (why := self.open_because) is not None:
            return type(why)(field, str(time), f"the length of this phase is not known: {why.rule}", why.fix)
        rule = "a share of the run needs the run's length, and max_duration is not known"
        return MissingRateError(field, str(time), rule, "set max_duration, or give the time in another unit")

    def _per_batch(self, unit: TimeUnit, time: Time, other: TimeUnit, field: str) -> Fraction:
        """How many of ``unit`` one batch holds."""
        if unit is TimeUnit.BATCH:
            return Fraction(1)
        if unit not in RATES:
            rule = f"{unit.value} cannot be converted to or from {other.value}: no fixed rate connects them"
            raise InputError(field, str(time), rule, "give both times in one unit, or as a share of the run (dur)")
        rate: Fraction | None = getattr(self, RATES[unit])
        if rate is None:
            rule = f"converting {time.unit.value} to {other.value} needs {RATES[unit]}, which is not known"
            fix = f"pass {RATES[unit]}={_EXAMPLES.get(RATES[unit], '...')}, or give the time in {other.value}"
            raise MissingRateError(field, str(time), rule, fix)
        return 1 / rate if unit is TimeUnit.EPOCH else rate

    def convert(self, time: Time, unit: TimeUnit, field: str) -> Time:
        """The same moment in another unit by the rates of the run.

        Raises:
            MissingRateError: If the rate that connects the two is not known; InputError if none can.
        """
        if time.unit is unit or time.value == 0:
            return Time(time.value, unit)
        batches = time.value / self._per_batch(time.unit, time, unit, field)
        return Time(batches * self._per_batch(unit, time, unit, field), unit)

    def is_before(self, first: Time, second: Time) -> bool | None:
        """Whether one resolved time lies before another; None where no rate makes them comparable."""
        try:
            return self.convert(first, second.unit, "time") < second
        except InputError:
            return None

    def clock(self, unit: TimeUnit, field: str, *points: Time) -> Clock:
        """The counter of ``unit`` with resolved times in its integers; points[0] is this run's start.

        Raises:
            InputError: If a point cannot be converted to ``unit``.
        """
        try:
            start = self.convert(self.start, unit, field).value
        except InputError as error:
            rule = f"this phase begins at {self.start}, and {error.rule}"
            raise type(error)(field, str(points[-1]), rule, error.fix) from None
        steps = [Fraction(0), *(Fraction(self.convert(point, unit, field).value) for point in points)]
        scale = _NANOSECONDS if unit is TimeUnit.SECOND else 1
        absolute = [(start + step) * scale for step in steps]
        factor = math.lcm(*(point.denominator for point in absolute))
        return Clock(self._reader_from(unit, absolute[0]), factor, tuple(int(point * factor) for point in absolute))

    def _reader_from(self, unit: TimeUnit, start: Fraction) -> Callable[[Any], int]:
        """:meth:`reader`, but never before ``start``.

        A phase may begin by one counter and be timed by another, and rates are true on average only (the last batch
        of an epoch is often smaller): without this the second counter could put the phase's first batches before it.
        """
        read = self.reader(unit)
        if start == 0:
            return read
        floor: Any = start.numerator if start.denominator == 1 else start
        return lambda timestamp: max(read(timestamp), floor)

    def reader(self, unit: TimeUnit) -> Callable[[Any], int]:
        """A function that reads the counter of ``unit`` off a timestamp; seconds as nanoseconds."""
        if self.is_native:
            read: Callable[[Any], int] = attrgetter(_SLOTS[unit])
            return read
        name = unit.value  # a plain string is what other libraries' get() understands
        if unit is TimeUnit.SECOND:
            return lambda timestamp: round(timestamp.get(name).value * _NANOSECONDS)

        def read_foreign(timestamp: Any) -> int:
            value: int = timestamp.get(name).value
            return value

        return read_foreign

    def phase(self, start: Time, end: Time | None, *, scale: bool) -> Run:
        """The run as seen by a part of it from ``start`` to ``end``, both resolved: time begins at ``start``.

        ``dur`` is then a share of the part. With ``scale`` off the part is run at ssr 1.
        """
        # Zero has every unit: a phase that begins with its sequence asks for no rate.
        begin = self.convert(self.start, start.unit, "until") + start if start.value != 0 else self.start
        length, why = None, None
        try:
            until = self.resolve(Time(1, TimeUnit.DURATION), "until") if end is None else end
            unit = until.unit if start.value == 0 else start.unit
            length = self.convert(until, unit, "until") - self.convert(start, unit, "until")
        except InputError as error:
            why = error if self.open_because is None else self.open_because
        return replace(
            self,
            ssr=self.ssr if scale else Fraction(1),
            max_duration=length,
            start=begin,
            whole=self if self.whole is None else self.whole,
            open_because=why,
        )
