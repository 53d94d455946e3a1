"""Checks of a scheduler's arguments, and checks that its times fit into the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Any

from ssr_hydra.errors import InputError, MissingRateError, RangeError, WrongTypeError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import flag
from ssr_hydra.time import Time, TimeLike, TimeUnit, as_time, exact


def put(scheduler: object, **values: object) -> None:
    """Store checked values in a frozen dataclass. Call this function from ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(scheduler, name, value)


def as_duration(value: Any, field: str, *, above_zero: bool = True) -> Time:
    """Read a duration and check that it is above 0. If ``above_zero`` is false, 0 is allowed too."""
    time = as_time(value, field)
    if time.value < 0 or (above_zero and time.value == 0):
        rule = f"must be {'above' if above_zero else 'at least'} 0"
        raise RangeError(field, str(time), rule, "write e.g. '10ba', '5ep' or '0.5dur'")
    return time


def durations(values: Any, field: str) -> tuple[Time, ...]:
    """Read a list of milestones in any order, and check that each milestone is >= 0."""
    fix = "write a list such as ['5ep', '10ep']"
    if isinstance(values, (str, bytes, Time)) or not isinstance(values, Sequence):
        raise WrongTypeError(field, values, "must be a list of durations", fix)
    return tuple(as_duration(value, f"{field}[{i}]", above_zero=False) for i, value in enumerate(values))


def multiplier(value: Any, field: str, rule: str = "must be a finite number >= 0", least: float = 0.0) -> float:
    """Return a number argument of a scheduler as a float. Check that the number is finite and at least ``least``.

    ``rule`` is the part of the error message that says which numbers are valid.
    """
    fix = "write e.g. 1 or 2" if least else "write e.g. 0.1 or 1"
    try:
        if isinstance(value, str):
            raise ValueError
        number = float(exact(value, field))
    except (ValueError, OverflowError):
        raise WrongTypeError(field, value, rule, fix) from None
    if number < least:
        raise RangeError(field, value, rule, fix)
    return number


_CHECKS: dict[str, Callable[[Any, str], object]] = {
    **dict.fromkeys(("alpha", "alpha_i", "alpha_f", "gamma"), multiplier),
    "power": partial(multiplier, rule="must be a finite number above 0", least=math.ulp(0.0)),
    "t_mult": partial(multiplier, rule="must be a finite number of at least 1", least=1.0),
    **dict.fromkeys(("t_max", "t_decay", "t_up", "t_0", "t_scale", "step_size", "decay_period"), as_duration),
    **dict.fromkeys(("t_warmup", "t_cooldown"), partial(as_duration, above_zero=False)),
    "milestones": durations,
    "scale_warmup": flag,
}


def check_arguments(scheduler: Any) -> None:
    """Check each argument of the scheduler whose name is in ``_CHECKS``. Store the checked values.

    An argument with the default None may be None.
    """
    for item in fields(scheduler):
        value = getattr(scheduler, item.name)
        if item.name in _CHECKS and not (value is None and item.default is None):
            put(scheduler, **{item.name: _CHECKS[item.name](value, item.name)})


def time_of(scheduler: Any, run: Run, name: str, *, scale: bool = True) -> Time:
    """Convert the scheduler's argument ``name`` with :meth:`Run.resolve`. SSR stretches it if ``scale`` is true."""
    return run.resolve(as_time(getattr(scheduler, name), name), name, scale=scale)


def too_large(gamma: float) -> InputError:
    """Return the error for a power of ``gamma`` that is larger than any float."""
    rule = "makes the multiplier of this run larger than any float"
    return RangeError("gamma", gamma, rule, "choose a gamma of at most 1, or a longer period")


def check_fit(scheduler: Any, first: str) -> None:
    """Raise an InputError if the argument ``first`` is not below ``t_max``.

    This function compares only times in the same unit. :meth:`Scheduler.bind` compares times in different units.
    """
    time, t_max = getattr(scheduler, first), scheduler.t_max
    if time.unit is t_max.unit and time >= t_max:
        raise RangeError(first, str(time), f"must be below t_max ({t_max})", f"shorten {first} or lengthen t_max")


def reach(run: Run, scheduler: Any) -> None:
    """Raise an InputError if a schedule with a warmup ends before the run ends. Composer also refuses such a schedule.

    Do nothing if the run's length is unknown, or if ``t_max`` and the length cannot be compared.
    """
    end = stated = scheduler.t_max
    length: Time | None = Time(1, TimeUnit.DURATION)
    if end.unit is not TimeUnit.DURATION:
        length = run.length()
        with suppress(MissingRateError):
            end = run.resolve(end, "t_max")
    if length is not None and run.is_before(end, length):
        rule = f"must not be before the end of the run (t_max is {end}, but the run ends at {length}{run.at_ssr})"
        raise RangeError("t_max", str(stated), rule, "write '1dur' for the whole run, or use a sequence of schedules")


def _shorten(field: str) -> str:
    return f"shorten {field}, {'' if field == 't_up' else 'set scale_warmup, '}or use a fraction of the run (0.05dur)"


def ends_after_t_max(run: Run, warmup: Time, end: Time, field: str, stated: TimeLike) -> InputError:
    """Return the error for a warmup that ends after ``t_max``. ``end`` is ``t_max``, converted for the run."""
    rule = f"must end before t_max (ends at {warmup}, but t_max is {end}{run.at_ssr})"
    return RangeError(field, str(stated), rule, _shorten(field))


def finish(run: Run, warmup: Time, field: str, stated: TimeLike) -> None:
    """Raise an InputError if the run, or the phase of a sequence, ends before the warmup ends.

    Do nothing if the length of the run or phase is unknown or cannot be compared with the warmup. ``field`` is the
    name of the argument that sets the warmup. ``stated`` is the value that the user wrote.
    """
    limits = [("run" if run.whole is None else "phase", warmup, run.length())]
    if run.whole is not None:
        # The last phase of a sequence may end after the end of the run, so check the length of the run too.
        with suppress(InputError):  # without dataloader_len, for example, the start may not be convertible
            limits.append(("run", run.convert(run.start, warmup.unit, field) + warmup, run.whole.length()))
    for name, end, length in limits:
        if length is not None and run.is_before(length, end):
            rule = f"must end within the {name} (ends at {end}, but the {name} ends at {length}{run.at_ssr})"
            raise RangeError(field, str(stated), rule, _shorten(field))
