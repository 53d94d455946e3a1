"""The clock of schedules in a run that was resumed with another plan: where on which plan they are read.

A schedule is a function of time, so a change of plan needs one decision, which time it is read at. There are two
answers, and both are closed forms of the true time t, with t0 the time of the checkpoint:

    extend    lr(t) = lr_new * alpha_new(t)
    rescale   lr(t) = lr_new * alpha_new(v(t)),    v(t) = v0 + s (t - t0),    s = (N - v0) / (M - t0)

``alpha_new`` is the scheduler as it is configured now; with ``extend`` it is bound to the new length M. With
``rescale`` it stays bound to the length N that the run began with, and is read at a virtual time v that stood at v0
when the checkpoint was written (v0 = t0 where nothing was rescaled before): the rest of the plan, from v0 to N, over
the rest of the run, from t0 to M. Read on the axis of its own plan a schedule cannot jump, whatever units its times
have: where only the length changes, the learning rate is continuous, and a warmup that is over stays over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import Any, NamedTuple

from ssr_hydra.errors import InputError
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, Timestamp, TimeUnit, check_ssr
from ssr_hydra.time.timestamp import COUNTERS, TOTALS, DerivedTimestamp

__all__ = ["TimeMap"]

_COUNTER_OF = {
    TimeUnit.ITERATION: "iteration",
    TimeUnit.EPOCH: "epoch",
    TimeUnit.BATCH: "batch",
    TimeUnit.SAMPLE: "sample",
    TimeUnit.TOKEN: "token",
    TimeUnit.SECOND: "nanoseconds",
}
_COUNTERS = tuple(_COUNTER_OF.values())  # as they are named in checkpoints
_READ = {name: Timestamp.reader(unit) for unit, name in _COUNTER_OF.items()}
_NANOSECONDS = 10**9
_STRETCH_FIX = "use resume.on_change=extend, which follows the new schedule at the true time"


@dataclass(frozen=True)
class _Plan:
    """A length as it is run, the ratio in it, and the rates: all that binding a schedule asks for."""

    max_duration: Time
    ssr: Fraction
    dataloader_len: int | None
    samples_per_batch: int | Fraction | None
    tokens_per_batch: int | Fraction | None

    @classmethod
    def of(cls, state: State, ssr: Fraction) -> _Plan:
        if state.max_duration is None:
            rule = "a run that can be resumed has a length"
            raise InputError("max_duration", None, rule, "write e.g. '10ep' or '1000ba'")
        return cls(state.max_duration, ssr, state.dataloader_len, state.samples_per_batch, state.tokens_per_batch)

    @property
    def counter(self) -> str:
        """The counter that the length is measured by: epochs of a known length are counted in batches."""
        unit = self.max_duration.unit
        return "batch" if unit is TimeUnit.EPOCH and self.dataloader_len is not None else _COUNTER_OF[unit]

    @property
    def end(self) -> Fraction:
        """The length on that counter."""
        value, unit = Fraction(self.max_duration.value), self.max_duration.unit
        if unit is TimeUnit.EPOCH and self.dataloader_len is not None:
            return value * self.dataloader_len
        return value * _NANOSECONDS if unit is TimeUnit.SECOND else value

    def position(self, timestamp: Timestamp) -> Fraction:
        """Where the run stands on that counter.

        Epochs count as many batches as they have now, however many they had: after a change of the batch size the fifth
        epoch still ends at half of ten.
        """
        if self.max_duration.unit is TimeUnit.EPOCH and self.dataloader_len is not None:
            return Fraction(timestamp.epochs * self.dataloader_len + timestamp.batches_in_epoch)
        return Fraction(_READ[self.counter](timestamp))

    def time(self, count: Fraction) -> Time:
        """A count of that counter in the unit of the length, for messages."""
        return Time(count * Fraction(self.max_duration.value) / self.end, self.max_duration.unit)


class _Line(NamedTuple):
    """A counter of the plan as a linear function of a counter of the run: ``offset + slope * source``."""

    source: str
    offset: Fraction
    slope: Fraction

    def at(self, timestamp: Timestamp) -> Fraction:
        return self.offset + self.slope * Fraction(_READ[self.source](timestamp))


def _through(source: str, now: Timestamp, value: Fraction, slope: Fraction) -> _Line:
    """The line that has ``value`` at ``now``."""
    return _Line(source, value - slope * _READ[source](now), slope)


_IDENTITY = {name: _Line(name, Fraction(0), Fraction(1)) for name in _COUNTERS}


class TimeMap:
    """Which plan schedules are bound to, and the time on it for a timestamp of the run.

    In a run that goes as planned both are the run's own. :meth:`extended` and :meth:`rescaled` continue a run, whose
    state stands at the checkpoint, with another plan; a map is part of a checkpoint, so that rescaling twice composes.

    Each counter of the plan is a linear function of one of the run, in exact fractions. The counter that measures the
    plan's length reaches its end exactly when the run reaches its own, also if the unit of the length has changed. The
    others move in proportion: as fast as it does where batches hold what they held, else by the rates.

    Attributes:
        max_duration: Length of the plan that schedules are bound to, ssr included.
        ssr: The ratio that they are bound with.
        is_identity: Whether the plan's time is the run's.

    Example:
        >>> run = State(max_duration="10ep", dataloader_len=100, timestamp=Timestamp(epoch=5, batch=500))
        >>> longer = State(max_duration="20ep", dataloader_len=100, timestamp=run.timestamp)
        >>> time_map = TimeMap.planned(run, ssr=1).rescaled(longer)
        >>> [str(time_map(Timestamp(batch=k)).batch) for k in (500, 1250, 2000)]
        ['500ba', '750ba', '1000ba']
    """

    def __init__(self, plan: _Plan, lines: Mapping[str, _Line]) -> None:
        self._plan = plan
        self._lines = {name: lines[name] for name in _COUNTERS}
        self.is_identity = self._lines == _IDENTITY
        self._functions = _functions(self._lines, plan.dataloader_len)

    @classmethod
    def planned(cls, state: State, ssr: Number) -> TimeMap:
        """The map of a run that goes as planned.

        Args:
            state: The run; its ``max_duration`` carries ssr.
            ssr: The scale schedule ratio.

        Raises:
            InputError: The run has no length, or ssr is not above 0.
        """
        return cls(_Plan.of(state, check_ssr(ssr)), _IDENTITY)

    @property
    def max_duration(self) -> Time:
        """Length of the plan that schedules are bound to, ssr included."""
        return self._plan.max_duration

    @property
    def ssr(self) -> Fraction:
        """The ratio that schedules are bound with."""
        return self._plan.ssr

    def extended(self, state: State, ssr: Number) -> TimeMap:
        """The new plan at the true time: what a run that was planned so from the start would have from here on.

        An earlier rescaling is undone by it. In a run measured in epochs whose length in batches has changed, the true
        time is that of the epochs: schedules read as many batches as a run of such epochs would have.

        Args:
            state: The run with its new length and rates, at the timestamp of the checkpoint.
            ssr: The new ratio.

        Raises:
            InputError: The run is at its new end, or beyond it.
        """
        plan = _Plan.of(state, check_ssr(ssr))
        position = _check_rest(plan, state.timestamp)
        lines = dict(_IDENTITY)
        if plan.counter == "batch":
            lines["batch"] = _through("batch", state.timestamp, position, Fraction(1))
        return TimeMap(plan, lines)

    def rescaled(self, state: State) -> TimeMap:
        """The rest of the plan over the rest of the run.

        ssr is a part of the run's length here: schedules keep the ratio of their plan and are stretched to the new end.

        Args:
            state: The run with its new length and rates, at the timestamp of the checkpoint.

        Raises:
            InputError: The run is at its new end or beyond it; nothing of the plan is left; its length has changed to a
                unit that the run has not counted so far.
        """
        plan, now = _Plan.of(state, self.ssr), state.timestamp
        rest = plan.end - _check_rest(plan, now)
        values = {name: line.at(now) for name, line in self._lines.items()}
        left = self._plan.end - values[self._plan.counter]
        if left <= 0:
            rule = f"the schedule is at its end ({self.max_duration}) already, and nothing of it is left to rescale"
            raise InputError("resume.on_change", "rescale", rule, _STRETCH_FIX)
        mine, theirs = self._plan.counter, plan.counter
        relative = _relative_slopes(self._plan, plan)
        stretch = left / (rest if mine == theirs else rest * _mean_rate(plan, now, mine, theirs)) / relative[mine]
        lines = {name: _through(name, now, value, stretch * relative[name]) for name, value in values.items()}
        if mine != theirs:  # by the run's own measure, so that both ends are one
            lines[mine] = _through(theirs, now, values[mine], left / rest)
        return TimeMap(self._plan, lines)

    def plan(self, state: State) -> State:
        """The state that schedules are bound to: the plan's length and rates, at the plan's time.

        Args:
            state: The run. It is returned itself where it goes as planned.
        """
        if self.is_identity and _Plan.of(state, self.ssr) == self._plan:
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
        """The plan's time at a timestamp of the run; the timestamp itself where they are the same.

        Counters within the epoch other than its batches stay the run's.
        """
        return timestamp if self.is_identity else DerivedTimestamp(timestamp, self._functions)

    def state_dict(self) -> dict[str, Any]:
        """As plain strings and numbers, for a checkpoint."""
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
        """The map that :meth:`state_dict` was called on.

        Raises:
            InputError: It is no such dict.
        """
        try:
            value, unit = state["max_duration"]
            samples, tokens = (None if state[name] is None else _fraction(state[name]) for name in _RATES)
            known = State(Time(_fraction(value), unit), state["dataloader_len"], samples, tokens)
            lines = {
                name: _Line(_known_counter(source), _fraction(offset), _fraction(slope))
                for name, (source, offset, slope) in state["counters"].items()
            }
            return cls(_Plan.of(known, check_ssr(_fraction(state["ssr"]))), lines)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            rule = f"is no time map ({type(error).__name__}: {error})"
            raise InputError("time_map", state, rule, "load what state_dict() gave") from None

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


def _check_rest(plan: _Plan, now: Timestamp) -> Fraction:
    """Where the run stands on the plan's counter; refused where that is its end."""
    position = plan.position(now)
    if position >= plan.end:
        rule = f"the checkpoint stands at {plan.time(position)} already, and the run would end at {plan.max_duration}"
        fix = "give a longer max_duration (or ssr), resume from an earlier checkpoint, or name a new folder"
        raise InputError("max_duration", str(plan.max_duration), rule, fix)
    return position


def _relative_slopes(old: _Plan, new: _Plan) -> dict[str, Fraction]:
    """How fast each counter of the plan moves against its counter in the run, per such motion of batches.

    1 where batches hold what they held. A batch of twice the samples that counts as two has the plan's samples move
    as the run's do, and its batches twice as fast.
    """
    by_rate = [_quotient(getattr(old, name), getattr(new, name)) for name in _RATES]
    sample, token = by_rate
    # Clocks that no rate connects with batches go with what is trained on.
    other = next((rate for rate in by_rate if rate is not None), Fraction(1))
    of_rate = {"sample": other if sample is None else sample, "token": other if token is None else token}
    return {name: Fraction(1) if name == "batch" else of_rate.get(name, other) for name in _COUNTERS}


def _quotient(old: int | Fraction | None, new: int | Fraction | None) -> Fraction | None:
    return None if old is None or new is None else Fraction(old) / Fraction(new)


def _mean_rate(plan: _Plan, now: Timestamp, of: str, per: str) -> Fraction:
    """How many of one counter the run has had per count of another: no fixed rate need connect the two."""
    counts = [_READ[name](now) for name in (of, per)]
    if not all(counts):
        missing = (of, per)[counts.index(0)]
        rule = f"the unit of the length has changed, and the run has counted no {missing} by which the two are compared"
        raise InputError("max_duration", str(plan.max_duration), rule, f"keep the unit, or {_STRETCH_FIX}")
    return Fraction(*counts)


def _fraction(text: Any) -> Fraction:
    if not isinstance(text, str) or re.fullmatch(r"-?\d+(/\d+)?", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is no fraction")
    return Fraction(text)


def _known_counter(name: Any) -> str:
    if name not in _COUNTERS:
        raise ValueError(f"{name!r} is no counter")
    return str(name)


_Count = Callable[[Timestamp], int]


def _compiled(line: _Line) -> _Count:
    """Return the line as a function in integers: (offset + slope * source) / denominator."""
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
    if dataloader_len is not None:  # whole epochs by the batches of the plan, as a run of that plan would have finished
        functions["epochs"] = lambda true: batches(true) // dataloader_len
        functions["batches_in_epoch"] = lambda true: batches(true) % dataloader_len
    return functions
