"""Convert the times of a schedule to exact counter values of a run, such as 1500 batches.

The counters are batches, samples, tokens, seconds and iterations. Times in epochs are converted to batches, because
whole epochs are too coarse for a stretched schedule. Times in ``dur`` are converted to the unit of ``max_duration``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import InputError, MismatchError, MissingRateError, WrongTypeError
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit, check_ssr
from ssr_hydra.time.timestamp import NANOSECONDS

RATES = {
    TimeUnit.EPOCH: "dataloader_len",
    TimeUnit.SAMPLE: "samples_per_batch",
    TimeUnit.TOKEN: "tokens_per_batch",
}
"""A mapping from unit to the name of the rate that converts between this unit and batches."""

_ZERO = Time(0, TimeUnit.BATCH)


@dataclass(frozen=True)
class Counter:
    """A counter of the run, and times of a schedule (``points``). ``factor`` makes the times integers.

    The run has reached ``points[i]`` when ``read(timestamp) * factor >= points[i]``. Both sides are integers, so the
    comparison is exact. A quotient of integers is rounded only once, so alpha_ssr(t) is bitwise equal to
    alpha(t / ssr).
    """

    read: Callable[[Any], int]
    factor: int
    points: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """A run, or a phase of a run, with the values (such as ssr and rates) that convert the times of a schedule.

    Args:
        max_duration: The actual length of the run, already multiplied by ssr; None if unknown.
        state: The state from which this run was created. User functions get this state.
        start: The time at which a phase starts, counted from the start of the whole run; 0 for a whole run.
        whole: The whole run if this object is a phase; None if this object is the whole run.
        open_because: If the length of a phase cannot be computed, the error that explains why.
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
        """Create a run from a state of this package, or from another library's state with the same attributes."""
        own_state = state
        timestamp = getattr(state, "timestamp", None)
        if not hasattr(timestamp, "get"):
            fix = "pass a state, e.g. State('1000ba', timestamp=Timestamp(batch=100))"
            raise WrongTypeError("state.timestamp", timestamp, "must be a Timestamp", fix)
        if not isinstance(state, State):
            # A State of this package checks its length and rates. Another library's state may not check them.
            own_state = State(*(getattr(state, name, None) for name in ("max_duration", *RATES.values())))
        rates: dict[str, Any] = {name: getattr(own_state, name) for name in RATES.values()}
        rates = {name: None if rate is None else Fraction(rate) for name, rate in rates.items()}
        return cls(check_ssr(ssr), own_state.max_duration, state=state, **rates)

    @property
    def is_native(self) -> bool:
        """True if timestamps have this package's type, False if they have the type of another library."""
        return isinstance(self.state.timestamp, Timestamp)

    def resolve(self, time: Time, field: str, *, scale: bool = True) -> Time:
        """Convert a time of the schedule to the unit of a counter of the run, such as batches.

        A time in ``dur`` becomes a fraction of ``max_duration``, which is already multiplied by ssr. Any other time is
        multiplied by ssr if ``scale`` is true. Epochs are converted to batches.
        """
        if time.unit is TimeUnit.DURATION:
            if self.max_duration is not None:
                return self._share(time, self.max_duration, field)
            if time.value == 0:
                return _ZERO
            raise self._open(time, field)
        if scale:
            time = time * self.ssr
        return self.convert(time, TimeUnit.BATCH, field) if time.unit is TimeUnit.EPOCH else time

    def length(self) -> Time | None:
        """Return the run's length; None if it is unknown, or if it is in epochs and ``dataloader_len`` is unknown."""
        try:
            return None if self.max_duration is None else self.resolve(self.max_duration, "max_duration", scale=False)
        except InputError:
            return None

    @property
    def at_ssr(self) -> str:
        """The SSR of the whole run for an error message: ``" at ssr 0.5"``, or an empty string at ssr 1."""
        ssr = self.ssr if self.whole is None else self.whole.ssr
        return "" if ssr == 1 else f" at ssr {float(ssr):g}"

    def _share(self, time: Time, max_duration: Time, field: str) -> Time:
        """Convert a time in ``dur``, a fraction of the run, to the unit of one of the run's counters."""
        share = max_duration * time.value
        if share.unit is not TimeUnit.EPOCH:
            return share
        try:
            return self.convert(share, TimeUnit.BATCH, field)
        except MissingRateError as error:
            # This error shows the computed time ``share``. Raise an error that shows the user's time instead.
            rule = f"is a fraction of max_duration ({max_duration}), and {error.rule}"
            fix = error.fix.replace("the time", "max_duration")
            raise MissingRateError(field, str(time), rule, fix) from None

    def _open(self, time: Time, field: str) -> InputError:
        if (why := self.open_because) is not None:
            return type(why)(field, str(time), f"the length of this phase is unknown: {why.rule}", why.fix)
        rule = "a fraction of the run needs the run's length, but max_duration is unknown"
        return MissingRateError(field, str(time), rule, "set max_duration, or write the time in another unit")

    def _per_batch(self, unit: TimeUnit, time: Time, other: TimeUnit, field: str) -> Fraction:
        """Return the length of one batch in ``unit``. The other arguments are only for the error message."""
        if unit is TimeUnit.BATCH:
            return Fraction(1)
        if unit not in RATES:
            rule = f"{time.unit.value} cannot be converted to {other.value}"
            raise MismatchError(
                field, str(time), rule, "write all times in one unit, or use fractions of the run (dur)"
            )
        rate: Fraction | None = getattr(self, RATES[unit])
        if rate is None:
            rule = f"converting {time.unit.value} to {other.value} needs {RATES[unit]}, which is unknown"
            example = "len(loader)" if unit is TimeUnit.EPOCH else "..."
            fix = f"pass {RATES[unit]}={example}, or write the time in {other.value}"
            raise MissingRateError(field, str(time), rule, fix)
        return 1 / rate if unit is TimeUnit.EPOCH else rate

    def convert(self, time: Time, unit: TimeUnit, field: str) -> Time:
        """Convert a time to a different unit with the rates of the run. Raise an InputError if a rate is unknown."""
        if time.unit is unit or time.value == 0:
            return Time(time.value, unit)
        batches = time.value / self._per_batch(time.unit, time, unit, field)
        return Time(batches * self._per_batch(unit, time, unit, field), unit)

    def is_before(self, first: Time, second: Time) -> bool | None:
        """Return whether ``first`` is before ``second``. Return None if they cannot be compared."""
        try:
            return self.convert(first, second.unit, "time") < second
        except InputError:
            return None

    def clock(self, unit: TimeUnit, field: str, *points: Time) -> Counter:
        """Return the counter for ``unit``. Its ``points`` are the start of this run, followed by the given times."""
        try:
            start = self.convert(self.start, unit, field).value
        except InputError as error:
            rule = f"this phase starts at {self.start}, and {error.rule}"
            raise type(error)(field, str(points[-1]), rule, error.fix) from None
        steps = [Fraction(0), *(Fraction(self.convert(point, unit, field).value) for point in points)]
        scale = NANOSECONDS if unit is TimeUnit.SECOND else 1
        absolute = [(start + step) * scale for step in steps]
        factor = math.lcm(*(point.denominator for point in absolute))
        return Counter(self._reader_from(unit, absolute[0]), factor, tuple(int(point * factor) for point in absolute))

    def _reader_from(self, unit: TimeUnit, start: Fraction) -> Callable[[Any], int]:
        """Return a :meth:`reader` that returns at least ``start``.

        If ``start`` was computed with ``samples_per_batch``, it is inexact, because the last batch of an epoch is often
        smaller. So the counter may still be below ``start`` in the first batches of a phase.
        """
        read = self.reader(unit)
        if start == 0:
            return read
        floor: Any = start.numerator if start.denominator == 1 else start
        return lambda timestamp: max(read(timestamp), floor)

    def reader(self, unit: TimeUnit) -> Callable[[Any], int]:
        """Return a function that reads the counter of ``unit`` from a timestamp. Seconds become nanoseconds."""
        if self.is_native:
            return Timestamp.reader(unit)
        name = unit.value  # get() of other libraries accepts a plain string
        if unit is TimeUnit.SECOND:
            return lambda timestamp: round(timestamp.get(name).value * NANOSECONDS)
        return lambda timestamp: timestamp.get(name).value

    def phase(self, start: Time, end: Time | None, *, scale: bool) -> Run:
        """Return the phase of the run from ``start`` to ``end``, as a separate run whose time starts at 0.

        In the returned run, ``dur`` is a fraction of the phase. ``start`` and ``end`` are converted as by
        :meth:`resolve`. If ``end`` is None, the phase ends when this run ends. If ``scale`` is false, the returned run
        has the SSR 1, so SSR does not stretch the times within the phase.
        """
        # A start of 0 needs no conversion, so it needs no ``dataloader_len`` or ``samples_per_batch``.
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
