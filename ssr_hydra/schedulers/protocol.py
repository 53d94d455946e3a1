"""What a scheduler is, and how any of them is bound to a run."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from ssr_hydra.errors import InputError, callable_name
from ssr_hydra.schedulers.curves import Curve
from ssr_hydra.schedulers.opaque import Opaque
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.view import view
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, TimeLike, as_time

__all__ = ["ComposerScheduler", "Scheduler", "SchedulerLike", "bind", "bind_to", "check_scheduler", "convert_time"]


@runtime_checkable
class ComposerScheduler(Protocol):
    """A stateless schedule: a function of the run's state that returns alpha, a multiplier of the learning rate.

    The learning rate is ``lr(t) = lr_initial * alpha(t)``; several schedules multiply. With a scale schedule ratio,
    ``alpha_ssr(t) = alpha(t / ssr)``. A plain function ``f(state)`` or ``f(state, ssr)`` is a scheduler as well.
    """

    def __call__(self, state: State, ssr: float = 1.0) -> float:
        """The multiplier alpha at ``state.timestamp``."""
        ...


SchedulerLike = ComposerScheduler | Callable[[Any], float] | Callable[[Any, float], float]
"""A scheduler object, or a function of ``(state)`` or ``(state, ssr)``."""


_TORCHS = ("ssr_hydra.torch_schedulers.", "torch.optim.lr_scheduler")


def check_scheduler(part: object, field: str = "scheduler") -> None:
    """Refuse what cannot be called with a state; a class is the likeliest slip."""
    if type(part).__module__.startswith(_TORCHS):
        rule = "must be a scheduler of this package or a function of (state, ssr): torch's are no parts of ours"
        fix = "list both, which multiplies them: scheduler: [{...}, {...}] in a YAML file, Trainer(schedulers=[...])"
        raise InputError(field, type(part).__name__, rule, fix)
    if not callable(part) or isinstance(part, type):
        rule = "must be a scheduler or a function of (state) or (state, ssr)"
        raise InputError(field, part, rule, "pass e.g. LinearScheduler()")


class Scheduler(metaclass=Opaque):
    """Base of this package's schedulers: what they share is that they become a curve once a run is known."""

    @abstractmethod
    def curve(self, run: Run) -> Curve:
        """The schedule resolved against ``run``."""

    def bind(self, state: Any, ssr: Number = 1.0) -> Curve:
        """Resolve against a state's ``max_duration`` and rates: a function of timestamps that costs little to call.

        Raises:
            InputError: If a time cannot be resolved, ssr is not above 0, or the times do not fit together.
        """
        return self.curve(Run.of(state, ssr))

    def __call__(self, state: Any, ssr: Number = 1.0) -> float:
        """alpha at ``state.timestamp``; raises what :meth:`bind` raises."""
        return self.bind(state, ssr)(state.timestamp)


def bind(scheduler: SchedulerLike, state: Any, ssr: Number = 1.0) -> Curve:
    """Resolve any scheduler against a run.

    Reads the state's ``max_duration`` and rates once; a function of the user is called with a state at each time.

    Args:
        scheduler: One of this package's, or a function of ``(state)`` or ``(state, ssr)``.
        state: The run; ``max_duration`` already carries ssr.
        ssr: The scale schedule ratio.

    Returns:
        A function of a timestamp that gives alpha.

    Raises:
        InputError: If a time cannot be resolved, ssr is not above 0, or ``f(state)`` is to be scaled.

    Example:
        >>> from ssr_hydra.schedulers import LinearScheduler
        >>> from ssr_hydra.state import State
        >>> from ssr_hydra.time import Timestamp
        >>> curve = bind(LinearScheduler(), State(max_duration="5ba"), ssr=0.5)
        >>> [curve(Timestamp(batch=k)) for k in range(6)]
        [1.0, 0.8, 0.6, 0.4, 0.19999999999999996, 0.0]
    """
    return bind_to(scheduler, Run.of(state, ssr))


def bind_to(scheduler: SchedulerLike, run: Run) -> Curve:
    """:func:`bind` for a run that is resolved already, as combinators need it for their parts."""
    if isinstance(scheduler, Scheduler):
        return scheduler.curve(run)
    return _function_curve(scheduler, run)


def _function_curve(function: Callable[..., float], run: Run) -> Curve:
    name = callable_name(function)
    how = _how_to_pass_ssr(function, name)
    if how is None and run.ssr != 1:
        rule = "a function of the state alone cannot be scaled"
        raise InputError("ssr", float(run.ssr), rule, f"give {name} a second argument ssr, or run it at ssr 1")
    ssr = float(run.ssr)

    def curve(timestamp: Any) -> float:
        state = view(run, timestamp)
        try:
            if how is None:
                returned = function(state)
            else:
                returned = function(state, ssr=ssr) if how == "keyword" else function(state, ssr)
        except Exception as error:  # which stays what it is, and says where it is from
            note = f"raised by the scheduler {name}"
            notes: list[str] = getattr(error, "__notes__", [])
            if note not in notes:
                error.__dict__["__notes__"] = [*notes, note]  # as add_note of Python 3.11 does
            raise
        try:
            alpha = float(returned)
        except (TypeError, ValueError, OverflowError):
            alpha = math.nan
        if not 0.0 <= alpha < math.inf:
            raise InputError(name, returned, "a scheduler must return a finite multiplier >= 0", "check its formula")
        return alpha

    return curve


def _how_to_pass_ssr(function: Any, name: str) -> str | None:
    """``"keyword"``, ``"positional"``, or None where the function knows no ssr."""
    check_scheduler(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # built in C without a signature: it cannot know ssr
        return None
    if any(p.name == "ssr" and p.kind is not p.POSITIONAL_ONLY for p in parameters):
        return "keyword"
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return "positional"
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if not positional:
        rule = "a scheduler is a function of (state) or (state, ssr)"
        raise InputError("scheduler", name, rule, "give it the argument state")
    # A second argument with a default and another name is an option of the function's own.
    is_second_ssr = len(positional) > 1 and (
        positional[1].name == "ssr" or positional[1].default is inspect.Parameter.empty
    )
    return "positional" if is_second_ssr else None


def convert_time(time: TimeLike, state: Any, ssr: Number = 1.0) -> Time:
    """A time as an absolute moment of the run, as schedules read it.

    ``dur`` becomes that share of ``state.max_duration`` (which carries ssr already); other units are multiplied by
    ssr; epochs become batches. Nothing is rounded.

    Args:
        time: A Time or a time string.
        state: The run, with ``max_duration`` and ``dataloader_len`` as far as they are needed.
        ssr: The scale schedule ratio.

    Raises:
        MissingRateError: If ``max_duration`` or ``dataloader_len`` is needed and not known.
        InputError: For a time or ssr that is none.

    Example:
        >>> from ssr_hydra.state import State
        >>> convert_time("0.29dur", State(max_duration="100ba"))
        Time('29ba')
        >>> convert_time("3ep", State(max_duration="5ep", dataloader_len=10), ssr=0.5)
        Time('15ba')
    """
    return Run.of(state, ssr).resolve(as_time(time, "time"), "time")


_convert_time = convert_time
"""Composer's name of :func:`convert_time`."""
