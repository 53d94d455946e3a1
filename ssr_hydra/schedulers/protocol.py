"""The scheduler protocol, and :func:`bind`, which converts any scheduler to a curve for a run.

Binding a scheduler to a run converts the scheduler's times into exact values of the run's counters, such as batches.
The conversion uses the run's length, its SSR, ``dataloader_len``, ``samples_per_batch`` and ``tokens_per_batch``. The
result is a curve: a fast function from a timestamp to alpha, the multiplier of the learning rate.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any, Protocol, runtime_checkable

from ssr_hydra.errors import SCHEDULER_NOTE, RangeError, UnsupportedError, WrongTypeError, callable_name
from ssr_hydra.schedulers.arguments import check_arguments
from ssr_hydra.schedulers.curves import Curve
from ssr_hydra.schedulers.opaque import Opaque
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.view import view
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, TimeLike, as_time


@runtime_checkable
class ComposerScheduler(Protocol):
    """A schedule: a function from the run's state to alpha, a multiplier of the learning rate.

    The learning rate is ``lr(t) = lr_initial * alpha(t)``. If there are several schedules, their alphas are multiplied.
    With a scale schedule ratio, ``alpha_ssr(t) = alpha(t / ssr)``. A plain function ``f(state)`` or ``f(state, ssr)``
    is a scheduler as well.
    """

    def __call__(self, state: State, ssr: float = 1.0) -> float:
        """Return the multiplier alpha at ``state.timestamp``."""
        ...


SchedulerLike = ComposerScheduler | Callable[[Any], float] | Callable[[Any, float], float]
"""A scheduler object, or a function of ``(state)`` or ``(state, ssr)``."""


_TORCHS = ("ssr_hydra.torch_schedulers.", "torch.optim.lr_scheduler")


def check_scheduler(part: object, field: str = "scheduler") -> None:
    """Raise an InputError if a value is neither a function nor a scheduler of this package."""
    if type(part).__module__.startswith(_TORCHS):
        rule = "must be a scheduler of this package or a function of (state, ssr), not a torch scheduler"
        fix = (
            "to multiply both schedulers, write scheduler: [{...}, {...}] in a YAML file, or Trainer(schedulers=[...])"
        )
        raise WrongTypeError(field, type(part).__name__, rule, fix)
    if not callable(part) or isinstance(part, type):
        rule = "must be a scheduler or a function of (state) or (state, ssr)"
        raise WrongTypeError(field, part, rule, "pass e.g. LinearScheduler()")


class Moment(Protocol):
    """Type of the function that converts a time argument of a scheduler to a position on the x axis of a preview."""

    def __call__(self, name: str, time: TimeLike | None = None, *, scale: bool = True) -> Fraction:
        """Return the x value of the argument ``name``. SSR stretches the time if ``scale`` is true.

        If the argument is a list of times, such as milestones, ``time`` is the item to convert.
        """
        ...


# A figure cannot show more marks than this.
_MOST_REPEATS = 1000


def numbered(label: str, times: Iterable[Fraction]) -> Iterator[tuple[str, Fraction]]:
    """Yield a pair (label, time) for each time. The labels are ``label 1``, ``label 2`` and so on."""
    for number, time in enumerate(times, 1):
        yield f"{label} {number}", time


def repeats(period: Fraction, ratio: Fraction, length: Fraction) -> Iterator[Fraction]:
    """Yield the end of each period before ``length``. Each period is ``ratio`` times as long as the previous period."""
    time = period
    for _ in range(_MOST_REPEATS):
        if time >= length:
            return
        yield time
        period *= ratio
        time += period


class Scheduler(metaclass=Opaque):
    """Base class of this package's schedulers. :meth:`bind` converts a scheduler to a curve for one run.

    The constructor checks the arguments, and :meth:`bind` checks that the times fit into the run. Both raise an
    InputError. Arguments must be finite. Warmups, cooldowns, milestones and points must be >= 0. Every other time must
    be above 0.
    """

    def __post_init__(self) -> None:
        check_arguments(self)

    @abstractmethod
    def curve(self, run: Run) -> Curve:
        """Convert the schedule's times for ``run``, and return alpha as a function of the timestamp."""

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:  # noqa: ARG002
        """Yield the label and the time of each point that a preview marks, such as the end of the warmup.

        The times count from the start of the run. ``length`` is the length of the run in the same unit.
        """
        if hasattr(self, "t_warmup"):
            yield "end of warmup", at("t_warmup", scale=self.scale_warmup)  # type: ignore[attr-defined]
        if hasattr(self, "t_max"):
            yield "t_max", at("t_max")

    def bind(self, state: Any, ssr: Number = 1.0) -> Curve:
        """Convert the schedule's times with ``max_duration``, ``dataloader_len`` and the other rates of ``state``.

        Return the curve: a fast function from a timestamp to alpha.

        Raises:
            InputError: A time cannot be converted, ssr is not above 0, or times are in the wrong order, such as a
                warmup that ends after ``t_max``.
        """
        return self.curve(Run.of(state, ssr))

    def __call__(self, state: Any, ssr: Number = 1.0) -> float:
        """Return alpha at ``state.timestamp``. The errors are those of :meth:`bind`."""
        return self.bind(state, ssr)(state.timestamp)


def bind(scheduler: SchedulerLike, state: Any, ssr: Number = 1.0) -> Curve:
    """Convert the times of any scheduler for a run, and return its curve: a function from a timestamp to alpha.

    This function reads ``max_duration`` and the rates of ``state`` (such as ``dataloader_len``) once. If ``scheduler``
    is a user's function, the curve passes it a state with the timestamp.

    Args:
        scheduler: A scheduler of this package, or a function of ``(state)`` or ``(state, ssr)``.
        state: The state of the run. Its ``max_duration`` is already multiplied by ssr.
        ssr: The scale schedule ratio.

    Returns:
        A function from a timestamp to alpha.

    Raises:
        InputError: A time cannot be converted, for example epochs without ``dataloader_len``; ssr is not above 0; or
            ssr is not 1, but the scheduler is a function ``f(state)``, which does not take ssr.

    Example:
        >>> from ssr_hydra import LinearScheduler, State, Timestamp
        >>> curve = bind(LinearScheduler(), State(max_duration="5ba"), ssr=0.5)
        >>> [curve(Timestamp(batch=k)) for k in range(6)]
        [1.0, 0.8, 0.6, 0.4, 0.19999999999999996, 0.0]
    """
    return bind_to(scheduler, Run.of(state, ssr))


def bind_to(scheduler: SchedulerLike, run: Run) -> Curve:
    """Return the curve of any scheduler for a :class:`Run`, which is a whole run or a phase of a run."""
    if isinstance(scheduler, Scheduler):
        return scheduler.curve(run)
    return _function_curve(scheduler, run)


def _function_curve(function: Callable[..., float], run: Run) -> Curve:
    name = callable_name(function)
    how = _how_to_pass_ssr(function, name)
    if how is None and run.ssr != 1:
        rule = f"cannot stretch {name}, which has no argument ssr"
        fix = "add a second argument ssr to the function, or run at ssr 1"
        raise UnsupportedError("ssr", float(run.ssr), rule, fix)
    arguments = (float(run.ssr),) if how == "positional" else ()
    keywords = {"ssr": float(run.ssr)} if how == "keyword" else {}

    def curve(timestamp: Any) -> float:
        state = view(run, timestamp)
        try:
            returned = function(state, *arguments, **keywords)
        except Exception as error:  # add a note that names the scheduler, and raise the user's error
            note = f"{SCHEDULER_NOTE}{name}"
            notes: list[str] = getattr(error, "__notes__", [])
            if note not in notes:
                error.__dict__["__notes__"] = [*notes, note]  # add_note() needs Python 3.11
            raise
        try:
            alpha = float(returned)
        except (TypeError, ValueError, OverflowError):
            alpha = math.nan
        if not 0.0 <= alpha < math.inf:
            raise RangeError(name, returned, "a scheduler must return a finite multiplier >= 0", "check its formula")
        return alpha

    return curve


def _how_to_pass_ssr(function: Any, name: str) -> str | None:
    """Return how a function takes ssr: ``"keyword"`` or ``"positional"``; None if it does not take ssr."""
    check_scheduler(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a C function without a signature does not take ssr
        return None
    if any(p.name == "ssr" and p.kind is not p.POSITIONAL_ONLY for p in parameters):
        return "keyword"
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return "positional"
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional:
        rule = "must be a function of (state) or (state, ssr)"
        raise WrongTypeError("scheduler", name, rule, "add the argument state")
    # If the second argument has a default and is not named ssr, it is an option of the function.
    is_second_ssr = len(positional) > 1 and (
        positional[1].name == "ssr" or positional[1].default is inspect.Parameter.empty
    )
    return "positional" if is_second_ssr else None


def convert_time(time: TimeLike, state: Any, ssr: Number = 1.0) -> Time:
    """Convert a time in a schedule's arguments to a time since the start of the run.

    A time in ``dur`` is a fraction of ``state.max_duration``, which is already multiplied by ssr. A time in any other
    unit is multiplied by ssr. Epochs are converted to batches. Nothing is rounded.

    Args:
        time: A Time or a time string.
        state: The state of the run, with ``max_duration`` and ``dataloader_len`` if the conversion needs them.
        ssr: The scale schedule ratio.

    Raises:
        MissingRateError: ``max_duration`` or ``dataloader_len`` is needed, but unknown.
        InputError: ``time`` or ``ssr`` is invalid.

    Example:
        >>> from ssr_hydra.state import State
        >>> convert_time("0.29dur", State(max_duration="100ba"))
        Time('29ba')
        >>> convert_time("3ep", State(max_duration="5ep", dataloader_len=10), ssr=0.5)
        Time('15ba')
    """
    return Run.of(state, ssr).resolve(as_time(time, "time"), "time")


_convert_time = convert_time
"""Composer's name for :func:`convert_time`."""
