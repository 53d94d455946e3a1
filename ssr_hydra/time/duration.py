"""Exact durations with a unit, read from strings such as ``"10ep"`` or ``"0.29dur"``.

Amounts are rational numbers, so a time in a YAML file loses no digit: ``0.29dur`` of 100 batches is batch 29, not
28.999999999999996. A float is read as the shortest decimal that Python prints for it. The classes and methods have the
same names as in MosaicML Composer's ``composer.core.time``.
"""

from __future__ import annotations

import re
from enum import Enum
from fractions import Fraction
from functools import total_ordering
from typing import TYPE_CHECKING, Any, Generic

from ssr_hydra.errors import FormatError, InputError, MismatchError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.time.numbers import DECIMAL, LONGEST_STRING, RATIO, Number, exact

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    _Value = TypeVar("_Value", covariant=True, default=Any)
else:
    from typing import TypeVar

    _Value = TypeVar("_Value")


# The largest duration. Every framework counts with 64 bits, so a longer duration (1e400ba) is a mistake.
_LARGEST = 2**63 - 1
_MOST_DECIMALS = 36
_FINEST = 10**_MOST_DECIMALS


class TimeUnit(str, Enum):
    """The units of training time. As in Composer, an iteration is a group of epochs, not a batch."""

    ITERATION = "iter"
    EPOCH = "ep"
    BATCH = "ba"
    SAMPLE = "sp"
    TOKEN = "tok"
    DURATION = "dur"
    SECOND = "sec"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> TimeUnit | None:
        """Return the unit with this value or name, in upper or lower case. Accept a unit of another library too."""
        inner = getattr(value, "value", value)
        if isinstance(inner, str):
            for unit in cls:
                if inner.lower() in (unit.value, unit.name.lower()):
                    return unit
        return None


_UNITS = "|".join(unit.value for unit in TimeUnit)
_WITH_UNIT = re.compile(rf"({DECIMAL}|{RATIO})({_UNITS})", re.ASCII)
_CLOCK = re.compile(rf"(?=.)(?:({DECIMAL})d)?(?:({DECIMAL})h)?(?:({DECIMAL})m)?(?:({DECIMAL})s)?", re.ASCII)
PATTERN = f"^(?:{_WITH_UNIT.pattern}|{_CLOCK.pattern})$"
"""Regular expression that matches a duration, in Python and in JavaScript."""

_CLOCK_SECONDS = (86400, 3600, 60, 1)
_WORDS = {
    "iteration": "iter", "iterations": "iter", "epoch": "ep", "epochs": "ep", "e": "ep", "eps": "ep",
    "batch": "ba", "batches": "ba", "b": "ba", "step": "ba", "steps": "ba", "it": "ba", "its": "ba",
    "sample": "sp", "samples": "sp", "token": "tok", "tokens": "tok", "toks": "tok", "duration": "dur",
    "second": "sec", "seconds": "sec", "secs": "sec", "min": "m", "mins": "m", "minutes": "m", "hour": "h",
    "hours": "h", "hr": "h", "hrs": "h",
}  # fmt: skip


def _shrink(value: Fraction) -> int | Fraction:
    return value.numerator if value.denominator == 1 else value


def _parse(text: str, field: str) -> tuple[int | Fraction, TimeUnit]:
    """Return the amount and unit of a time string, or raise an InputError that names ``field``."""
    if len(text) > LONGEST_STRING:
        raise FormatError(field, text, f"a duration has at most {LONGEST_STRING} characters", "write e.g. '10ep'")
    if match := _WITH_UNIT.fullmatch(text):
        amount, unit = Fraction(match[1]), TimeUnit(match[2])
    elif match := _CLOCK.fullmatch(text):
        amount = sum(
            (Fraction(part) * seconds for part, seconds in zip(match.groups(), _CLOCK_SECONDS, strict=True) if part),
            Fraction(0),
        )
        unit = TimeUnit.SECOND
    else:
        raise FormatError(field, text, *_explain(text))
    if amount > _LARGEST:
        raise RangeError(field, text, "a duration must be below 2**63", "write a smaller number")
    if amount.denominator > _FINEST:
        raise FormatError(field, text, f"a duration has at most {_MOST_DECIMALS} decimals", "write fewer digits")
    return _shrink(amount), unit


def _explain(text: str) -> tuple[str, str]:
    """Return the rule and the fix for a string that is not a duration."""
    example = "write e.g. '10ba', '5ep' or '0.5dur'"
    squeezed = re.sub(r"[\s_]+", "", text).lower()
    if not squeezed:
        return "a duration is a number and a unit", example
    if re.match(r"[+-]?(nan|inf)", squeezed):
        return "a duration must be finite", example
    if squeezed[0] == "-":
        return "must not be negative", example
    number = re.match(DECIMAL, squeezed, re.ASCII)
    if number is None:
        return f"a duration is a number and a unit (one of {_UNITS.replace('|', ', ')})", example
    amount, word = number[0], squeezed[number.end() :]
    if not word:
        return "a duration needs a unit", f"did you mean '{amount}ba' or '{amount}ep'?"
    rule = f"the unit must be one of {_UNITS.replace('|', ', ')} (or d, h, m, s)"
    guess = amount + _WORDS.get(word, word)
    if not (_WITH_UNIT.fullmatch(guess) or _CLOCK.fullmatch(guess)):
        return rule, example
    if len(squeezed) < len(text):
        rule = "a duration is a number and a unit without spaces or underscores"
    return rule, f"did you mean '{guess}'?"


@total_ordering
class Time(Generic[_Value]):
    """An exact amount of training time with its unit.

    ``Time("5ep")``, ``Time(5, "ep")`` and ``Time(5, TimeUnit.EPOCH)`` are equal. ``value`` is an int if the amount is
    whole, else a ``Fraction``. Arithmetic and comparison need equal units. A plain number gets the unit of the other
    operand. The class accepts a type parameter, such as ``Time[int]``, as Composer's class does.

    Args:
        value: The amount. If ``unit`` is None, a time string such as ``"5ep"``.
        unit: A :class:`TimeUnit`, or its string such as ``"ep"``.
        field: Name of the argument for error messages.

    Raises:
        InputError: A string is not a duration, a number is not finite, a unit is unknown, or two operands have
            different units.

    Example:
        >>> Time("0.29dur") * 100
        Time('29dur')
        >>> Time("1h30m") == Time(5400, "sec")
        True
        >>> Time("3ba") / Time("12ba")
        Time('0.25dur')
    """

    __slots__ = ("_unit", "_value")

    _unit: TimeUnit
    _value: int | Fraction

    def __init__(self, value: Number | str, unit: TimeUnit | str | None = None, *, field: str = "time") -> None:
        if unit is None:
            if not isinstance(value, str):
                raise _unitless(value, field)
            self._value, self._unit = _parse(value, field)
            return
        try:
            self._unit = TimeUnit(unit)
        except ValueError:
            raise UnknownNameError(
                field, unit, f"the unit must be one of {_UNITS.replace('|', ', ')}", "write e.g. 'ep'"
            ) from None
        self._value = value if type(value) is int else _shrink(exact(value, field))

    @classmethod
    def _of(cls, value: int | Fraction, unit: TimeUnit) -> Time:
        """Create a time without checks, from exact values."""
        time = object.__new__(cls)
        time._value, time._unit = value, unit
        return time

    @property
    def value(self) -> int | Fraction:
        """The amount: an int if it is whole, else a ``Fraction``."""
        return self._value

    @property
    def unit(self) -> TimeUnit:
        """The unit of the amount."""
        return self._unit

    @classmethod
    def from_timestring(cls, timestring: str) -> Time:
        """Parse ``"10ep"``, ``"0.5dur"``, ``"1/3dur"``, ``"90m"`` or ``"1h30m"``."""
        if not isinstance(timestring, str):
            raise WrongTypeError("timestring", timestring, "must be a string", "write e.g. '10ep'")
        return cls(timestring)

    @classmethod
    def from_input(cls, i: TimeLike | int | float, default_int_unit: TimeUnit | str | None = None) -> Time:
        """Read a Time, a time string or a number. A number gets the unit ``default_int_unit``."""
        if default_int_unit is None or isinstance(i, (str, Time)) or hasattr(i, "unit"):
            return as_time(i, "time")
        return cls(i, default_int_unit)

    @classmethod
    def from_iteration(cls, iteration: int) -> Time:
        """Return a time of ``iteration`` iterations."""
        return cls(iteration, TimeUnit.ITERATION)

    @classmethod
    def from_epoch(cls, epoch: Number) -> Time:
        """Return a time of ``epoch`` epochs."""
        return cls(epoch, TimeUnit.EPOCH)

    @classmethod
    def from_batch(cls, batch: Number) -> Time:
        """Return a time of ``batch`` batches."""
        return cls(batch, TimeUnit.BATCH)

    @classmethod
    def from_sample(cls, sample: Number) -> Time:
        """Return a time of ``sample`` samples."""
        return cls(sample, TimeUnit.SAMPLE)

    @classmethod
    def from_token(cls, token: Number) -> Time:
        """Return a time of ``token`` tokens."""
        return cls(token, TimeUnit.TOKEN)

    @classmethod
    def from_duration(cls, duration: Number) -> Time:
        """Return a time of ``duration`` runs: ``from_duration(0.5)`` is half of a run."""
        return cls(duration, TimeUnit.DURATION)

    @classmethod
    def from_second(cls, second: Number) -> Time:
        """Return a time of ``second`` seconds."""
        return cls(second, TimeUnit.SECOND)

    def to_timestring(self) -> str:
        """Return an exact string for :meth:`from_timestring`: a finite decimal if possible, else a ratio a/b."""
        return f"{self._value if isinstance(self._value, int) else _decimal(self._value)}{self._unit.value}"

    def __str__(self) -> str:
        return self.to_timestring()

    def __repr__(self) -> str:
        return f"Time({self.to_timestring()!r})"

    def _amount(self, other: object) -> int | Fraction | None:
        """Return the amount of ``other``: a number, or a time in the unit of this time. Return None for other types."""
        if isinstance(other, str):
            other = Time(other)
        if isinstance(other, Time):
            if other._unit is not self._unit:
                rule = f"cannot be combined or compared with {self}, because the units differ"
                raise MismatchError("time", str(other), rule, "convert one of the two times with convert_time")
            return other._value
        if isinstance(other, (int, float, Fraction)) and not isinstance(other, bool):
            return _shrink(exact(other))
        return None

    def _make(self, value: int | Fraction) -> Time:
        return Time._of(_shrink(Fraction(value)), self._unit)

    def __eq__(self, other: object) -> bool:
        try:
            amount = self._amount(other)
        except InputError:  # the other value has a different unit, or is not a time
            return False
        return NotImplemented if amount is None else self._value == amount

    def __hash__(self) -> int:
        # A time equals the plain number of its amount, so both must have the same hash.
        return hash(self._value)

    def __lt__(self, other: object) -> bool:
        amount = self._amount(other)
        return NotImplemented if amount is None else self._value < amount

    def __add__(self, other: object) -> Time:
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(self._value + amount)

    __radd__ = __add__

    def __sub__(self, other: object) -> Time:
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(self._value - amount)

    def __rsub__(self, other: object) -> Time:
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(amount - self._value)

    def __neg__(self) -> Time:
        return self._make(-self._value)

    def __mul__(self, other: object) -> Time:
        """Multiply by a number or by a fraction of a run: ``Time(.5, "dur") * Time(10, "ep")`` is 5 epochs."""
        if isinstance(other, str):
            other = Time(other)
        if isinstance(other, Time):
            if other._unit is TimeUnit.DURATION:
                return self._make(self._value * other._value)
            if self._unit is TimeUnit.DURATION:
                return other * self
            rule = f"cannot be multiplied by {self}, because one factor must be a number or a time in dur"
            raise WrongTypeError("time", str(other), rule, "use a plain number as one factor")
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(self._value * amount)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Time:
        """Divide by a number to get a time, or by a time in the same unit to get a ratio in ``dur``."""
        share = isinstance(other, (Time, str))
        amount = self._amount(other)
        if amount is None:
            return NotImplemented
        if amount == 0:
            raise ZeroDivisionError(f"{self} divided by zero")
        quotient = _shrink(Fraction(self._value) / amount)
        return Time._of(quotient, TimeUnit.DURATION if share else self._unit)

    def __floordiv__(self, other: object) -> Time:
        """Divide by a time or a number and round down. The result has the unit of this time."""
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(self._value // amount)

    def __mod__(self, other: object) -> Time:
        """Return the remainder of ``self // other``, in the unit of this time."""
        amount = self._amount(other)
        return NotImplemented if amount is None else self._make(self._value % amount)

    def __float__(self) -> float:
        return float(self._value)

    def __int__(self) -> int:
        return int(self._value)


def _decimal(value: Fraction) -> str:
    """Return a rational as its shortest exact decimal, or as a/b if the decimal is infinite or too long."""
    twos, rest = 0, value.denominator
    while rest % 2 == 0:
        twos, rest = twos + 1, rest // 2
    fives = 0
    while rest % 5 == 0:
        fives, rest = fives + 1, rest // 5
    places = max(twos, fives)
    if rest != 1 or places > _MOST_DECIMALS:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


TimeLike = Time | str
"""A :class:`Time` or a time string."""


def as_time(time: Any, field: str) -> Time:
    """Read a Time, a time string, or another library's time (anything with ``.value`` and ``.unit``).

    Args:
        time: The value to read.
        field: Name of the argument for the error.

    Raises:
        InputError: ``time`` is not a time. A plain number is an error, because it has no unit.

    Example:
        >>> as_time("90m", "max_duration")
        Time('5400sec')
    """
    if isinstance(time, Time):
        return time
    if isinstance(time, str):
        return Time(time, field=field)
    unit = getattr(time, "unit", None)
    if unit is not None and hasattr(time, "value"):
        return Time(time.value, unit, field=field)
    raise _unitless(time, field)


def _unitless(value: object, field: str) -> InputError:
    """Return the error for a value that is not a time, or is a number without a unit."""
    if not isinstance(value, (int, float, Fraction)) or isinstance(value, bool):
        return FormatError(field, value, "must be a duration such as '10ep'", "write a number and a unit")
    meant = 0 <= value <= _LARGEST  # also False for NaN
    fix = f"did you mean '{value}ba' or '{value}ep'?" if meant else "write e.g. '10ba' or '5ep'"
    return FormatError(field, value, "a duration needs a unit", fix)
