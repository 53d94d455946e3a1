"""The time map of a run that resumes with a changed plan. It computes the time at which schedules are evaluated.

A plan is the length of a run, its SSR, and its rates (batches per epoch, samples and tokens per batch). A schedule is a
function of time. After a change of the plan, ``resume.on_change`` selects the time at which schedules are evaluated. t
is the current time of the run, and t0 is the time of the checkpoint:

    extend    lr(t) = lr_new * alpha_new(t)
    rescale   lr(t) = lr_new * alpha_new(v(t)),    v(t) = v0 + s (t - t0),    s = (N - v0) / (M - t0)

``alpha_new`` is the scheduler of the new config. M is the new length of the run, and N is the length of the old plan.
With ``extend``, ``0.5dur`` is half of M. With ``rescale``, ``0.5dur`` is half of N, and alpha is evaluated at a virtual
time v. At the checkpoint, v is v0, which is t0 if the run was not rescaled before. The rest of the old plan, from v0 to
N, is stretched over the rest of the run, from t0 to M. So if only the length changes, the learning rate does not jump
at the checkpoint, and a finished warmup is not repeated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple

from ssr_hydra.errors import MismatchError, MissingValueError, RangeError, WrongTypeError
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, Timestamp, TimeUnit, check_ssr
from ssr_hydra.time.derived import DerivedTimestamp
from ssr_hydra.time.timestamp import COUNTERS, NANOSECONDS, TOTALS

_COUNTER_OF = {
    TimeUnit.ITERATION: "iteration",
    TimeUnit.EPOCH: "epoch",
    TimeUnit.BATCH: "batch",
    TimeUnit.SAMPLE: "sample",
    TimeUnit.TOKEN: "token",
    TimeUnit.SECOND: "nanoseconds",
}
_COUNTERS = tuple(_COUNTER_OF.values())  # checkpoints contain these names, so do not change them
_READ = {name: Timestamp.reader(unit) for unit, name in _COUNTER_OF.items()}
_STRETCH_FIX = "use resume.on_change=extend, which switches to the new schedule at the checkpoint"


@dataclass(frozen=True)
class _PlannedRun:
    """The plan that schedules follow: a length (already multiplied by SSR), the SSR, and rates (batches per epoch)."""

    max_duration: Time
    ssr: Fraction
    dataloader_len: int | None
    samples_per_batch: int | Fraction | None
    tokens_per_batch: int | Fraction | None

    @classmethod
    def of(cls, state: State, ssr: Fraction) -> _PlannedRun:
        if state.max_duration is None:
            rule = "must be set to resume a run"
            raise MissingValueError("max_duration", None, rule, "use a time such as 10ep or 1000ba")
        return cls(state.max_duration, ssr, state.dataloader_len, state.samples_per_batch, state.tokens_per_batch)

    @property
    def epoch_len(self) -> int | None:
        """Batches per epoch, if this number is known and the plan's length is in epochs; else None."""
        return self.dataloader_len if self.max_duration.unit is TimeUnit.EPOCH else None

    @property
    def counter(self) -> str:
        """Name of the counter that measures the plan's length; ``batch`` if :attr:`epoch_len` is not None."""
        return _COUNTER_OF[self.max_duration.unit] if self.epoch_len is None else "batch"

    @property
    def end(self) -> Fraction:
        """The length of the plan, in units of :attr:`counter`."""
        if self.max_duration.unit is TimeUnit.SECOND:
            return Fraction(self.max_duration.value) * NANOSECONDS
        return Fraction(self.max_duration.value) * (1 if self.epoch_len is None else self.epoch_len)

    def position(self, now: Timestamp) -> Fraction:
        """Return the run's progress in units of :attr:`counter`. Raise an InputError if the plan has ended.

        If the plan counts epochs in batches, each finished epoch counts as :attr:`epoch_len` batches, even if that
        epoch had a different number of batches. So the end of epoch 5 of 10 is always half of the run.
        """
        epoch_len = self.epoch_len
        counted = _READ[self.counter](now) if epoch_len is None else now.epochs * epoch_len + now.batches_in_epoch
        position = Fraction(counted)
        if position >= self.end:
            here = Time(position / self.end * Fraction(self.max_duration.value), self.max_duration.unit)
            rule = f"must be longer than the run so far: the checkpoint is at {here}"
            fix = "give a longer max_duration or a larger ssr, resume from an earlier checkpoint, or use a new folder"
            raise RangeError("max_duration", str(self.max_duration), rule, fix)
        return position


class _Line(NamedTuple):
    """The function ``offset + slope * source`` from a counter of the run's time to a counter of the plan's time."""

    source: str
    offset: Fraction
    slope: Fraction

    def at(self, timestamp: Timestamp) -> Fraction:
        return self.offset + self.slope * Fraction(_READ[self.source](timestamp))


def _through(source: str, now: Timestamp, value: Fraction, slope: Fraction) -> _Line:
    """Return the line with this slope that has the value ``value`` at the time ``now``."""
    return _Line(source, value - slope * _READ[source](now), slope)


_IDENTITY = {name: _Line(name, Fraction(0), Fraction(1)) for name in _COUNTERS}


class TimeMap:
    """The plan (length, SSR, rates) that schedules follow, and a function from the run's time to the plan's time.

    If the plan has not changed, the plan's time equals the run's time. :meth:`extended` and :meth:`rescaled` return the
    map with which a run resumes. A checkpoint contains the map of its run, so a run can be rescaled several times.

    Each counter of the plan's time is a linear function of a counter of the run's time, in exact fractions. The plan's
    time reaches the plan's length exactly when the run ends.

    Attributes:
        max_duration: Length of the plan, already multiplied by ssr.
        ssr: The scale schedule ratio of the plan.
        is_identity: Whether the plan's time equals the run's time.

    Example:
        >>> run = State(max_duration="10ep", dataloader_len=100, timestamp=Timestamp(epoch=5, batch=500))
        >>> longer = State(max_duration="20ep", dataloader_len=100, timestamp=run.timestamp)
        >>> time_map = TimeMap.planned(run, ssr=1).rescaled(longer)
        >>> [str(time_map(Timestamp(batch=k)).batch) for k in (500, 1250, 2000)]
        ['500ba', '750ba', '1000ba']
    """

    def __init__(self, plan: _PlannedRun, lines: Mapping[str, _Line]) -> None:
        self._plan = plan
        self._lines = {name: lines[name] for name in _COUNTERS}
        self.is_identity = self._lines == _IDENTITY
        self._functions = _functions(self._lines, plan.dataloader_len)

    @classmethod
    def planned(cls, state: State, ssr: Number) -> TimeMap:
        """Return the map of a run with an unchanged plan: the plan's time equals the run's time.

        Args:
            state: The state of the run. Its ``max_duration`` is already multiplied by ssr.
            ssr: The scale schedule ratio.

        Raises:
            InputError: The run has no length, or ssr is not above 0.
        """
        return cls(_PlannedRun.of(state, check_ssr(ssr)), _IDENTITY)

    @property
    def max_duration(self) -> Time:
        """Length of the plan, already multiplied by ssr."""
        return self._plan.max_duration

    @property
    def ssr(self) -> Fraction:
        """The scale schedule ratio of the plan."""
        return self._plan.ssr

    def extended(self, state: State, ssr: Number) -> TimeMap:
        """Return the map for ``extend``: schedules behave as if the run had used the new plan from its start.

        The new map ignores an earlier ``rescale``. If the length is in epochs and the number of batches per epoch has
        changed, each finished epoch counts as the new number of batches.

        Args:
            state: The state of the run with its new length and rates, at the timestamp of the checkpoint.
            ssr: The new scale schedule ratio.

        Raises:
            InputError: The run is already at or after its new end.
        """
        plan = _PlannedRun.of(state, check_ssr(ssr))
        position = plan.position(state.timestamp)
        lines = dict(_IDENTITY)
        if plan.counter == "batch":
            lines["batch"] = _through("batch", state.timestamp, position, Fraction(1))
        return TimeMap(plan, lines)

    def rescaled(self, state: State) -> TimeMap:
        """Return the map for ``rescale``: the map stretches the rest of the old plan over the rest of the run.

        The plan keeps its ssr. A new ssr changes only the length of the run.

        Args:
            state: The state of the run with its new length and rates, at the timestamp of the checkpoint.

        Raises:
            InputError: The run is already at or after its new end, the old plan has no time left, or the new length has
                a different unit and cannot be converted, because the run's counter of the old or new unit (such as
                tokens) is 0.
        """
        plan, now = _PlannedRun.of(state, self.ssr), state.timestamp
        rest = plan.end - plan.position(now)
        values = {name: line.at(now) for name, line in self._lines.items()}
        left = self._plan.end - values[self._plan.counter]
        if left <= 0:
            rule = f"has nothing left to rescale, because the schedule is at its end ({self.max_duration})"
            raise RangeError("resume.on_change", "rescale", rule, _STRETCH_FIX)
        mine, theirs = self._plan.counter, plan.counter
        relative = _relative_slopes(self._plan, plan)
        stretch = left / (rest if mine == theirs else rest * _mean_rate(plan, now, mine, theirs)) / relative[mine]
        lines = {name: _through(name, now, value, stretch * relative[name]) for name, value in values.items()}
        # Compute this counter from the counter of the new length. So schedule and run end together, even if the old and
        # the new length have different units.
        lines[mine] = _through(theirs, now, values[mine], left / rest)
        return TimeMap(self._plan, lines)

    def plan(self, state: State) -> State:
        """Return the state to pass to schedules: it has the plan's length, rates and time.

        If the plan has not changed, return ``state`` itself.
        """
        if self.is_identity and _PlannedRun.of(state, self.ssr) == self._plan:
            return state
        plan = self._plan
        return State(
            max_duration=plan.max_duration,
            dataloader_len=plan.dataloader_len,
            samples_per_batch=plan.samples_per_batch,
            tokens_per_batch=plan.tokens_per_batch,
            timestamp=self(state.timestamp),
            optimizers=state.optimizers,
        )

    def __call__(self, timestamp: Timestamp) -> Timestamp:
        """Convert a timestamp of the run to the plan's time. If both times are equal, return ``timestamp`` itself.

        If the plan's number of batches per epoch is known, ``batches_in_epoch`` is computed from the plan's time. The
        other counters of the current epoch, such as its samples, have the run's values.
        """
        return timestamp if self.is_identity else DerivedTimestamp(timestamp, self._functions)

    def state_dict(self) -> dict[str, Any]:
        """Return the map as strings and numbers, for a checkpoint."""
        plan = self._plan
        return {
            "max_duration": [str(plan.max_duration.value), plan.max_duration.unit.value],
            "ssr": str(plan.ssr),
            "dataloader_len": plan.dataloader_len,
            "samples_per_batch": None if plan.samples_per_batch is None else str(plan.samples_per_batch),
            "tokens_per_batch": None if plan.tokens_per_batch is None else str(plan.tokens_per_batch),
            "counters": {name: [line.source, str(line.offset), str(line.slope)] for name, line in self._lines.items()},
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> TimeMap:
        """Create a map from the result of :meth:`state_dict`.

        Raises:
            InputError: The dict is invalid.
        """
        try:
            value, unit = state["max_duration"]
            samples, tokens = (None if state[name] is None else _fraction(state[name]) for name in _RATES)
            run_state = State(Time(_fraction(value), unit), state["dataloader_len"], samples, tokens)
            lines = {
                name: _Line(source, _fraction(offset), _fraction(slope))
                for name, (source, offset, slope) in state["counters"].items()
            }
            return cls(_PlannedRun.of(run_state, check_ssr(_fraction(state["ssr"]))), lines)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            rule = f"must be the state of a TimeMap ({type(error).__name__}: {error})"
            raise WrongTypeError("time_map", state, rule, "load a result of TimeMap.state_dict()") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TimeMap):
            return NotImplemented
        return (self._plan, self._lines) == (other._plan, other._lines)

    def __hash__(self) -> int:
        return hash((self._plan, tuple(self._lines.values())))

    def __repr__(self) -> str:
        lines = (
            f"{name} = {line.offset} + {line.slope} {line.source}"
            for name, line in self._lines.items()
            if line != _IDENTITY[name]
        )
        return f"TimeMap({', '.join((str(self.max_duration), f'ssr {self.ssr}', *lines))})"


_RATES = ("samples_per_batch", "tokens_per_batch")


def _relative_slopes(old: _PlannedRun, new: _PlannedRun) -> dict[str, Fraction]:
    """Return for each counter the ratio of its slope to the slope of the batch counter.

    If the batch size is unchanged, all ratios are 1. If a new batch has twice as many samples as an old batch, the
    ratio for samples is 1/2.
    """
    pairs = ((getattr(old, name), getattr(new, name)) for name in _RATES)
    sample, token = (None if None in pair else Fraction(pair[0]) / Fraction(pair[1]) for pair in pairs)
    # The ratio for seconds, epochs and iterations is the ratio for samples; if unknown, the ratio for tokens; else 1.
    other = next((rate for rate in (sample, token) if rate is not None), Fraction(1))
    return {**dict.fromkeys(_COUNTERS, other), "batch": Fraction(1), "token": other if token is None else token}


def _mean_rate(plan: _PlannedRun, now: Timestamp, of: str, per: str) -> Fraction:
    """Return the counter ``of`` divided by the counter ``per``. This mean rate of the run so far converts units."""
    counts = [_READ[name](now) for name in (of, per)]
    if not all(counts):
        missing = (of, per)[counts.index(0)]
        rule = f"must keep its unit: the time cannot be converted, because the counter {missing} of the checkpoint is 0"
        raise MismatchError("max_duration", str(plan.max_duration), rule, f"keep the unit, or {_STRETCH_FIX}")
    return Fraction(*counts)


def _fraction(text: Any) -> Fraction:
    if not isinstance(text, str) or re.fullmatch(r"-?\d+(/\d+)?", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is not a fraction")
    return Fraction(text)


_Count = Callable[[Timestamp], int]


def _compiled(line: _Line) -> _Count:
    """Return a line as a function that computes with integers: (offset + slope * source) / denominator."""
    read, denominator = _READ[line.source], math.lcm(line.offset.denominator, line.slope.denominator)
    offset, slope = int(line.offset * denominator), int(line.slope * denominator)

    def count(true: Timestamp) -> Any:
        value = offset + slope * read(true)
        if denominator == 1:
            return value
        whole, part = divmod(value, denominator)
        return Fraction(value, denominator) if part else whole

    return count


def _functions(lines: Mapping[str, _Line], dataloader_len: int | None) -> dict[str, _Count]:
    """Return the counters of the plan's time as functions of the run's timestamp."""
    counts = {TOTALS[unit]: _compiled(lines[name]) for unit, name in _COUNTER_OF.items()}
    batches, nanoseconds = counts["batches"], counts["nanoseconds"]
    functions: dict[str, _Count] = {name: attrgetter(name) for name in COUNTERS} | counts
    functions["nanoseconds"] = lambda true: math.floor(nanoseconds(true))
    if dataloader_len is not None:
        # Compute epochs from the plan's number of batches, as in a run that had this plan from its start.
        functions["epochs"] = lambda true: batches(true) // dataloader_len
        functions["batches_in_epoch"] = lambda true: batches(true) % dataloader_len
    return functions
