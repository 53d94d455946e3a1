"""Checks of the arguments of callbacks, for construction and for composition; imports no torch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from ssr_hydra.errors import InputError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeUnit, as_time

__all__ = ["WANDB_MODES", "check_ema", "check_profiler", "check_wandb", "in_batches"]

WANDB_MODES = ("online", "offline")

# Each profiled batch takes memory until it is written.
_MOST_PROFILED = 1000
_PROFILER = {
    "wait": (0, 10**9),
    "warmup": (1, _MOST_PROFILED),
    "active": (1, _MOST_PROFILED),
    "repeat": (1, _MOST_PROFILED),
    "rows": (1, _MOST_PROFILED),
}


def check_ema(decay: Any = None, half_life: Any = None, interval: Any = 1, **switches: Any) -> Time | None:
    """Check ``decay`` and ``half_life``; return the half-life, if there is one.

    Raises:
        InputError: A value out of range; both a decay and a half-life; a half-life that no rate turns into batches.
    """
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise InputError(name, value, "must be true or false", "write true or false")
    if decay is not None and half_life is not None:
        raise InputError("half_life", half_life, "cannot be used with decay", "remove one of them")
    if decay is not None and (isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1):
        raise InputError("decay", decay, "must be at least 0 and below 1", "try 0.999")
    if isinstance(interval, bool) or not isinstance(interval, int) or interval < 1:
        raise InputError("interval", interval, "must be a whole number of batches, at least 1", "write e.g. 1")
    if half_life is None:
        return None
    time = as_time(half_life, "half_life")
    if time.value <= 0:
        raise InputError("half_life", str(time), "must be above 0", "try 0.05dur")
    if time.unit in (TimeUnit.SECOND, TimeUnit.ITERATION):
        raise InputError("half_life", str(time), "cannot be converted to batches", "give it in ba, ep, sp, tok or dur")
    return time


def in_batches(half_life: Time, state: Any) -> Fraction:
    """Convert a half-life to batches. ``dur`` is a fraction of the scaled run; SSR scales nothing else.

    Raises:
        InputError: The run lacks the rate for the conversion.
    """
    run = Run.of(state)
    try:
        return Fraction(run.convert(run.resolve(half_life, "", scale=False), TimeUnit.BATCH, "half_life").value)
    except InputError as error:
        rule = f"cannot be converted to batches of this run: {error.rule}"
        raise type(error)("half_life", str(half_life), rule, "give it in ba, or a decay") from None


def check_profiler(**arguments: Any) -> None:
    """Check the arguments of the profiler.

    Raises:
        InputError: A number out of range, or a switch that is not a boolean.
    """
    for name, value in arguments.items():
        if name not in _PROFILER:
            if not isinstance(value, bool):
                raise InputError(name, value, "must be true or false", "write true or false")
            continue
        least, most = _PROFILER[name]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise InputError(name, value, f"must be a whole number from {least} to {most}", f"write e.g. {least + 1}")


def check_wandb(mode: Any = None, **names: Any) -> None:
    """Check the settings of Weights & Biases.

    Raises:
        InputError: A mode other than online or offline; a project or group without a name.
    """
    if mode is not None and mode not in WANDB_MODES:
        raise InputError("mode", mode, f"must be {' or '.join(WANDB_MODES)}", "or leave it out")
    for field, name in names.items():
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise InputError(field, name, "must be a name", "write e.g. digits")
