"""Base classes of the torch schedulers in this package.

A pace is the length of a scheduler's step: a batch or an epoch. A course computes the learning rates of a scheduler for
all param groups at any time of one run.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Annotated, Any

from ssr_hydra.errors import InputError, MismatchError, RangeError, WrongTypeError
from ssr_hydra.schedulers.arguments import put
from ssr_hydra.schedulers.curves import Curve
from ssr_hydra.schedulers.opaque import Opaque
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import one_of
from ssr_hydra.time import Number, Time, TimeLike, TimeUnit, as_time, exact
from ssr_hydra.torch_schedulers.moments import EpochRun, epoch_start

BATCH, EPOCH = "batch", "epoch"

Duration = int | TimeLike
"""A number of steps of the scheduler, or a time such as ``"30ep"`` or ``"0.5dur"``."""

PerGroup = float | Sequence[float]
"""One number for all param groups, or a list with one number for each group."""


def steps(value: Any, name: str, *, above_zero: bool = True) -> Any:
    """Read a duration as a Time or a number of steps. Check that it is above 0, or >= 0 if ``above_zero`` is false."""
    if type(value).__module__.startswith("omegaconf."):  # the value is an element of Hydra's list[int | str]
        text = str(value)
        value = int(text) if text.isdecimal() else text
    is_time = isinstance(value, (str, Time)) or (hasattr(value, "unit") and hasattr(value, "value"))
    amount: Any = as_time(value, name) if is_time else exact(value, name)
    if amount < 0 or (above_zero and amount == 0):
        rule = f"must be {'above' if above_zero else 'at least'} 0"
        raise RangeError(name, str(value) if is_time else value, rule, "write e.g. 30, '30ep' or '0.5dur'")
    return amount if isinstance(amount, Time) or amount.denominator != 1 else int(amount)


def finite(value: Any, name: str, *, least: float = 0.0, most: float = math.inf, above: bool = False) -> float:
    """Check that a value is a finite number from ``least`` to ``most``. Return it as a float.

    If ``above`` is true, the number must be greater than ``least``.
    """
    limits = f"{'above' if above else 'of at least'} {least:g}" + (f" and at most {most:g}" if most < math.inf else "")
    try:
        number = float(exact(value, name))
    except (InputError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not least <= number <= most or number == math.inf or (above and number == least):
        raise RangeError(name, value, f"must be a finite number {limits}", "write e.g. 0.1 or 1")
    return number


def listed(value: Any, name: str, what: str, example: str) -> list[Any]:
    """Check that a value is a list or tuple. Return it as a list.

    In the error, ``what`` names the elements, and ``example`` is a valid list.
    """
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise WrongTypeError(name, value, f"must be a list of {what}", f"write e.g. {example}")
    return list(value)


def amounts(value: Any, name: str, **limits: Any) -> Any:
    """Check a number, or a list with one number for each param group. Return a float or a tuple of floats."""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        if not value:
            fix = "write a list of numbers, or one number without a list"
            raise MismatchError(name, list(value), "must have one number per param group", fix)
        return tuple(finite(part, f"{name}[{i}]", **limits) for i, part in enumerate(value))
    return finite(value, name, **limits)


def per_group(value: Any, count: int, name: str) -> list[Any]:
    """Return ``value`` as a list for ``count`` param groups. A single value applies to every group."""
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        rule = f"must have one value per param group ({count}), but has {len(value)}"
        fix = "write a list with one value per group, or one value without a list"
        raise MismatchError(name, [getattr(part, "__name__", part) for part in value], rule, fix)
    return list(value)


def ends_in_first_epoch(state: Any) -> bool:
    """Return whether a run ends within its first epoch. Return False if the length in batches is unknown.

    In a run that ends within its first epoch, a scheduler that steps once per epoch never changes the learning rate.

    Example:
        >>> from ssr_hydra import State
        >>> [ends_in_first_epoch(State(length, dataloader_len=75)) for length in ("1ep", "75ba", "76ba", "9s")]
        [True, True, False, False]
    """
    run = Run.of(state)
    end = run.length()
    if end is None or run.dataloader_len is None:
        return False
    try:
        return bool(run.convert(end, TimeUnit.BATCH, "max_duration").value <= run.dataloader_len)
    except InputError:
        return False


class Steps:
    """A run, or a phase of a run, that is measured in the steps of one scheduler. SSR stretches the steps."""

    def __init__(self, run: Run, unit: TimeUnit) -> None:
        self.run, self.unit = run, unit
        self.one = self.time(Fraction(1), "pace")

    @classmethod
    def at(cls, run: Run, pace: str) -> "Steps":
        return cls(run, TimeUnit.BATCH) if pace == BATCH else cls(EpochRun.of_run(run), TimeUnit.EPOCH)

    def time(self, amount: Any, name: str) -> Time:
        """Return a duration, stretched by SSR, as a time from the start of the run."""
        return self.run.resolve(amount if isinstance(amount, Time) else Time(amount, self.unit), name)

    def whole(self, time: Time, name: str) -> Fraction:
        """Return how many steps ``time`` contains. The number may be a fraction."""
        return Fraction(self.run.convert(time, self.one.unit, name).value) / Fraction(self.one.value)

    def count(self) -> Callable[[Any], int | float]:
        """Return a function from a timestamp to the number of steps since the start.

        The number of steps is an int if it is whole, otherwise the nearest float.
        """
        clock = self.run.clock(self.one.unit, "pace", self.one)
        read, factor, (start, end) = clock.read, clock.factor, clock.points
        width = end - start

        def count(timestamp: Any) -> int | float:
            passed = read(timestamp) * factor - start
            whole, rest = divmod(passed, width)
            return int(whole) if rest == 0 else float(passed / width)

        return count

    def share(self, time: Time, name: str) -> Curve:
        """Return a function from a timestamp to the elapsed fraction of ``time``. The fraction may be above 1."""
        clock = self.run.clock(time.unit, name, time)
        read, factor, (start, end) = clock.read, clock.factor, clock.points
        width = end - start
        return lambda timestamp: float((read(timestamp) * factor - start) / width)

    def phase(self, start: Time, end: Time | None) -> "Steps":
        return Steps(self.run.phase(start, end, scale=True), self.unit)


class Course(ABC):
    """The learning rates of a torch scheduler in one run, for every param group at any timestamp.

    Some courses also compute the momentum.
    """

    chains = False
    """True if torch's class computes a new rate from the current rate, False if from the initial rate."""

    has_momenta = False
    """True if the scheduler also sets the momentum."""

    @abstractmethod
    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        """Return the learning rate of each param group at a timestamp. ``bases`` are the groups' initial rates."""

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        """Return, for each of ``count`` groups, the rate at ``after`` divided by the rate at ``before``.

        Only courses with a true :attr:`chains` need this method. A subclass overrides it if a rate may be 0 or
        underflow.
        """
        ones = [1.0] * count
        pairs = zip(self.rates(before, ones), self.rates(after, ones), strict=True)
        # In torch, a rate of 0 stays 0 until a different scheduler sets the rate.
        return [second / first if first != 0.0 else 1.0 for first, second in pairs]

    def momenta(self, timestamp: Any, count: int) -> list[float]:
        """Return the momentum (or the first beta) of each of ``count`` groups. Requires :attr:`has_momenta`."""
        raise NotImplementedError


class Factor(Course):
    """A course that multiplies the initial rate: ``lr = base * extra * factor(t)``.

    ``extra`` is the factor of the repeated first steps (see ``again`` in :meth:`TorchScheduler.course`).
    ``growth(before, after)`` returns ``factor(after) / factor(before)``. If ``growth`` is None, the class divides.
    """

    chains = True

    def __init__(self, factor: Curve, extra: float = 1.0, growth: Callable[[Any, Any], float] | None = None) -> None:
        self._factor, self._extra, self._growth = factor, extra, growth

    def growth(self, before: Any, after: Any, count: int) -> list[float]:
        if self._growth is None:
            return super().growth(before, after, count)
        return [self._growth(before, after)] * count

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        factor = self._extra * self._factor(timestamp)
        return [base * factor for base in bases]


class _OnEpochs(Course):
    """A course with constant rates in each epoch: the rates of an inner course at the start of the epoch."""

    def __init__(self, course: Course) -> None:
        self._course, self.chains, self.has_momenta = course, course.chains, course.has_momenta

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        return self._course.rates(epoch_start(timestamp), bases)

    def momenta(self, timestamp: Any, count: int) -> list[float]:
        return self._course.momenta(epoch_start(timestamp), count)


@dataclass(frozen=True)
class TorchScheduler(metaclass=Opaque):
    """Base class of the torch schedulers: torch's arguments without the optimizer, and a pace.

    A scheduler raises an InputError if an argument is out of range. Numbers must be finite, and learning rates at
    least 0. A time or number of steps must be above 0; only milestones, ``patience`` and ``cooldown`` may be 0.

    Args:
        pace: The length of one step of the scheduler, ``"epoch"`` or ``"batch"``. The learning rate changes only at
            steps. None means the pace that the trainer's ``use_stepwise_scheduler`` sets. If ``use_stepwise_scheduler``
            is None too, a step is a batch for CyclicLR and OneCycleLR, and an epoch for all other schedulers, as in
            torch's documentation.
    """

    # No `from __future__ import annotations` here: the annotation would be evaluated in the modules of subclasses.
    pace: Annotated[str | None, (EPOCH, BATCH)] = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.pace is not None:
            put(self, pace=one_of(self.pace, "pace", (EPOCH, BATCH)))

    @property
    def natural_pace(self) -> str:
        """The pace if neither the user nor the trainer sets a pace."""
        return EPOCH

    def pace_in(self, use_stepwise_scheduler: bool | None) -> str:
        """Return the pace for a value of the trainer's ``use_stepwise_scheduler``."""
        if self.pace is not None:
            return self.pace
        if use_stepwise_scheduler is None:
            return self.natural_pace
        return BATCH if use_stepwise_scheduler else EPOCH

    def check_moves(self, state: Any, use_stepwise_scheduler: bool | None, fix: str) -> None:
        """Refuse a scheduler that never steps: the default pace is an epoch, and the run ends within its first epoch.

        ``fix`` is the last part of the error message, which says how to set a pace.
        """
        chosen = self.pace is not None or use_stepwise_scheduler is not None
        if not chosen and self.natural_pace == EPOCH and ends_in_first_epoch(state):
            rule = "must be set, because the default is one step per epoch, and the run ends within its first epoch"
            raise RangeError("pace", None, rule, fix)

    @abstractmethod
    def course(self, steps: Steps, again: int = 0) -> Course:
        """Return the course of this scheduler in a run that is measured in ``steps``.

        ``again`` is how often torch repeats the first step of this scheduler: once for each SequentialLR whose first
        scheduler is a sequence or a chain that contains this scheduler.
        """

    def course_in(self, run: Run, pace: str) -> Course:
        """Return the course in a run. Its rates are correct only at timestamps where a step of length ``pace`` ends."""
        return self.course(Steps.at(run, pace))

    def bind(self, state: Any, ssr: Number = 1.0, use_stepwise_scheduler: bool | None = None) -> Course:
        """Return the course of this scheduler in the run of ``state``. Its rates are correct at any timestamp.

        Raises:
            InputError: A time cannot be converted, or ssr is not above 0.
        """
        pace = self.pace_in(use_stepwise_scheduler)
        course = self.course_in(Run.of(state, ssr), pace)
        return course if pace == BATCH else _OnEpochs(course)
