"""Checks of single values, and settings from plain mappings."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from ssr_hydra.errors import InputError
from ssr_hydra.time import as_time

__all__ = [
    "count",
    "did_you_mean",
    "flag",
    "fraction",
    "function",
    "interval",
    "keys_of",
    "not_negative",
    "number",
    "one_of",
    "positive",
    "seed_number",
    "setting_of",
]

SettingT = TypeVar("SettingT")


def setting_of(setting: type[SettingT], given: SettingT | Mapping[str, Any] | None, field: str) -> SettingT:
    """Return the setting that an argument means: itself, one made of a mapping, or the default for None.

    Args:
        setting: The class of the setting.
        given: The argument.
        field: The name of the argument, for errors.

    Raises:
        InputError: The mapping has an unknown key or an invalid value, or the argument is not a mapping.

    Example:
        >>> from ssr_hydra.settings import CheckpointSettings
        >>> setting_of(CheckpointSettings, {"keep": 3}, "checkpoint").keep
        3
    """
    if given is None:
        return setting()
    if isinstance(given, setting):
        return given
    names = [item.name for item in fields(setting)]  # type: ignore[arg-type]
    if not isinstance(given, Mapping):
        rule = f"must be a {setting.__name__}, or a mapping of {', '.join(names)}"
        raise InputError(field, given, rule, f"write {{{names[0]!r}: ...}}")
    for key in given:
        if key not in names:
            raise InputError(f"{field}.{key}", given[key], "is unknown", did_you_mean(str(key), names))
    try:
        return setting(**given)
    except InputError as error:
        raise error.within(field) from None


def keys_of(setting: type, node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a node that are arguments of a setting."""
    return {item.name: node[item.name] for item in fields(setting)}


def flag(value: Any, field: str) -> bool:
    """Return True or False; 0 and 1 are refused."""
    if not isinstance(value, bool):
        raise InputError(field, value, "must be true or false", "write true or false")
    return value


def number(value: Any, field: str) -> float:
    """Return a number; true and false are not numbers."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputError(field, value, "must be a number", "write e.g. 0.5 or 2")
    return value


def positive(value: Any, field: str) -> None:
    """Refuse a value that is not a finite number above 0; None is allowed."""
    if value is not None and not 0 < number(value, field) < math.inf:
        raise InputError(field, value, "must be a finite number above 0", "write e.g. 1.0, or leave it out (null)")


def not_negative(value: Any, field: str) -> float:
    """Return a finite number >= 0."""
    if not 0 <= number(value, field) < math.inf:
        raise InputError(field, value, "must be a finite number >= 0", "write e.g. 0.1")
    return float(value)


def fraction(value: Any, field: str, *, zero: bool = False) -> float:
    """Return a number between 0 and 1, both excluded; 0 is allowed if ``zero``."""
    if not (number(value, field) > 0 or (zero and value == 0)) or value >= 1:
        rule = f"must be {'at least' if zero else 'above'} 0 and below 1"
        raise InputError(field, value, rule, "write e.g. 0.2")
    return float(value)


def count(value: Any, field: str, least: int = 1, most: int | None = None, multiple: int = 1) -> int:
    """Return a whole number within bounds, and a multiple of another."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        rule = f"must be a whole number {f'of at least {least}' if most is None else f'from {least} to {most}'}"
        raise InputError(field, value, rule, f"write e.g. {max(least, multiple)}")
    if value % multiple:
        raise InputError(field, value, f"must be a multiple of {multiple}", f"write e.g. {2 * multiple}")
    return value


def seed_number(value: Any, field: str = "seed") -> int:
    """Return a seed, which fits every random generator here."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(field, value, "must be a whole number from 0 to 2**63 - 1", "write e.g. 0")
    return value


def one_of(value: Any, field: str, choices: Sequence[str]) -> str:
    """Return one of a few words. If it is another, the fix is the closest word, or the first."""
    if not isinstance(value, str) or value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        fix = f"did you mean {close[0]}?" if close else f"write e.g. {choices[0]}"
        raise InputError(field, value, f"must be one of {', '.join(choices)}", fix)
    return value


def function(value: Any, field: str) -> None:
    """Refuse a value that cannot be called; None is allowed."""
    if value is not None and not callable(value):
        raise InputError(field, value, "must be a function", "give a function, or leave it out")


def interval(value: Any, field: str) -> None:
    """Refuse a value that is not a time above 0; None is allowed."""
    if value is not None and as_time(value, field).value <= 0:
        raise InputError(field, str(value), "must be above 0", "write e.g. 1ep, 100ba or 10m")


def did_you_mean(key: str, names: Iterable[str]) -> str:
    """Return the fix for an unknown name: the closest one, or all of them."""
    names = [name for name in names if name != "_target_"]
    close = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
