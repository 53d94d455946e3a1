"""Functions that check single values, and a function that creates a setting from a plain mapping."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from ssr_hydra.errors import RangeError, UnknownNameError, WrongTypeError, within
from ssr_hydra.time import as_time

SettingT = TypeVar("SettingT")

PROGRESS = ("auto", "bar", "plain", "none")
"""Ways to show the progress of a run."""


def setting_of(setting: type[SettingT], argument: SettingT | Mapping[str, Any] | None, field: str) -> SettingT:
    """Convert an argument to an object of a setting class.

    Args:
        setting: The class of the setting.
        argument: A setting, which is returned unchanged; a mapping with the setting's values; or None for the default.
        field: The name of the argument, for errors.

    Raises:
        InputError: The mapping has an unknown key or an invalid value, or ``argument`` has a different type.

    Example:
        >>> from ssr_hydra.settings import CheckpointSettings
        >>> setting_of(CheckpointSettings, {"keep": 3}, "checkpoint").keep
        3
    """
    if argument is None:
        return setting()
    if isinstance(argument, setting):
        return argument
    names = [item.name for item in fields(setting)]  # type: ignore[arg-type]
    if not isinstance(argument, Mapping):
        rule = f"must be a {setting.__name__}, or a mapping with any of the keys {', '.join(names)}"
        raise WrongTypeError(field, argument, rule, f"write {{{names[0]!r}: ...}}")
    for key in argument:
        if key not in names:
            raise UnknownNameError(f"{field}.{key}", argument[key], "is unknown", did_you_mean(str(key), names))
    with within(field):
        return setting(**argument)


def keys_of(setting: type, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the items of a config node whose keys are arguments of a setting class."""
    return {item.name: node[item.name] for item in fields(setting)}


def flag(value: Any, field: str) -> bool:
    """Return a value if it is True or False. Raise an InputError for every other value, even for 0 and 1."""
    if not isinstance(value, bool):
        raise WrongTypeError(field, value, "must be true or false", "write true or false")
    return value


def number(value: Any, field: str) -> float:
    """Return a value if it is a number; otherwise raise an InputError. True and False are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongTypeError(field, value, "must be a number", "write e.g. 0.5 or 2")
    return value


def positive(value: Any, field: str, fix: str = "write e.g. 1.0, or leave it out (null)") -> None:
    """Raise an InputError unless a value is None or a finite number above 0."""
    if value is not None and not 0 < number(value, field) < math.inf:
        raise RangeError(field, value, "must be a finite number above 0", fix)


def not_negative(value: Any, field: str) -> float:
    """Return a value if it is a finite number >= 0; otherwise raise an InputError."""
    if not 0 <= number(value, field) < math.inf:
        raise RangeError(field, value, "must be a finite number >= 0", "write e.g. 0.1")
    return float(value)


def fraction(value: Any, field: str, *, zero: bool = False, example: float = 0.2) -> float:
    """Return a value if it is above 0 and below 1; otherwise raise an InputError, whose fix suggests ``example``.

    If ``zero`` is true, 0 is also valid.
    """
    if not (number(value, field) > 0 or (zero and value == 0)) or value >= 1:
        rule = f"must be {'at least' if zero else 'above'} 0 and below 1"
        raise RangeError(field, value, rule, f"write e.g. {example}")
    return float(value)


def count(value: Any, field: str, least: int = 1, most: int | None = None, multiple: int = 1) -> int:
    """Return a value if it is a whole number from ``least`` to ``most`` and a multiple of ``multiple``.

    For any other value, raise an InputError. If ``most`` is None, there is no upper bound.
    """
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        rule = f"must be a whole number {f'of at least {least}' if most is None else f'from {least} to {most}'}"
        raise (RangeError if is_whole else WrongTypeError)(field, value, rule, f"write e.g. {max(least, multiple)}")
    if value % multiple:
        raise RangeError(field, value, f"must be a multiple of {multiple}", f"write e.g. {2 * multiple}")
    return int(value)


def seed_number(value: Any, field: str = "seed") -> int:
    """Return a value if it is a whole number from 0 to 2**63 - 1, a valid seed. Otherwise raise an InputError."""
    return count(value, field, 0, 2**63 - 1)


def one_of(value: Any, field: str, choices: Sequence[str]) -> str:
    """Return a value if it is in ``choices``. Otherwise raise an InputError that lists the choices."""
    if not isinstance(value, str) or value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        fix = f"did you mean {close[0]}?" if close else f"write e.g. {choices[0]}"
        raise UnknownNameError(field, value, f"must be one of {', '.join(choices)}", fix)
    return value


def function(value: Any, field: str) -> None:
    """Raise an InputError unless a value is None or can be called."""
    if value is not None and not callable(value):
        raise WrongTypeError(field, value, "must be a function", f"give a function, or leave out {field}")


def interval(value: Any, field: str) -> None:
    """Raise an InputError unless a value is None or a time above 0."""
    if value is not None and as_time(value, field).value <= 0:
        raise RangeError(field, str(value), "must be above 0", "write e.g. 1ep, 100ba or 10m")


def did_you_mean(key: str, names: Iterable[str]) -> str:
    """Return a fix for an unknown name: suggest the closest known name, or list all known names if none is close.

    Upper case and lower case do not matter: the suggestion for ``SGD`` is ``sgd``.
    """
    by_lower = {name.lower(): name for name in names if name != "_target_"}
    close = difflib.get_close_matches(key.lower(), by_lower, n=1)
    if close:
        return f"did you mean {by_lower[close[0]]}?"
    names = list(by_lower.values())
    if not names:
        return "remove it, because no keys are allowed here"
    return f"write {names[0]}" if len(names) == 1 else f"choose from {', '.join(names)}"
