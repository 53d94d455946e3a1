"""Format numbers for people, in the same way for the page, the tables and the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.drawing import clock_unit

NONE = "\N{EN DASH}"
"""The text for a missing number."""

FIT_NAMES = {"power": "power law", "quadratic": "quadratic"}
"""Names of the kinds of fits."""

NAMES_OF_EQUAL = {"steps": "steps", "ssr": "SSR", "seconds": "seconds"}
"""Names of the axes on which budgets can be equal."""

_SMALL = 1e-4  # qualities below this may need significant digits instead of decimals
_UNITS = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}


def number(value: float, digits: int = 4) -> str:
    """Format a number with ``digits`` significant digits. Whole numbers keep all their digits.

    Example:
        >>> number(0.123456), number(1234567.0), number(3.0), number(2e-7), number(2230.0, 3)
        ('0.1235', '1,234,567', '3', '2e-07', '2,230')
    """
    if not math.isfinite(value):
        return NONE
    if 10**digits <= abs(value) < 1e15:
        return f"{round(value):,}"
    return f"{value:.{digits}g}"


def exact(value: float) -> str:
    """Format a number with as few digits as possible without losing precision; NaN becomes an empty text.

    Files that programs read use this format.

    Example:
        >>> exact(0.1), exact(4.0), exact(float("nan"))
        ('0.1', '4', '')
    """
    if not math.isfinite(value):
        return ""
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def plain(value: Any, digits: int = 17) -> Any:
    """Return a value as JSON can hold it. Floats keep ``digits`` digits; a float that is not finite becomes None.

    Example:
        >>> plain({1: (0.123456, float("nan"))}, digits=3)
        {'1': [0.123, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, digits) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if value is None or value is pd.NA:
        return None
    return value if isinstance(value, (int, str)) else str(value)


def fixed(value: float, decimals: int) -> str:
    """Format a number with ``decimals`` decimals; a dash if it is not finite.

    A number of 1e7 or more gets four significant digits instead. If ``decimals`` is above 9, every number gets four
    significant digits.

    Example:
        >>> fixed(0.96321, 3), fixed(-0.0, 2)
        ('0.963', '0.00')
    """
    if not math.isfinite(value):
        return NONE
    if abs(value) >= 1e7 or decimals > 9:
        return number(value)
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def signed(value: float, decimals: int) -> str:
    """Format a difference, with a plus or minus sign.

    Example:
        >>> signed(0.012, 3), signed(-0.5, 1)
        ('+0.012', '-0.5')
    """
    text = fixed(value, decimals)
    return text if text == NONE or text.startswith("-") else f"+{text}"


def interval(low: float, high: float, decimals: int) -> str:
    """Format both ends of an interval; a dash if there is no interval.

    Example:
        >>> interval(0.5, 0.75, 2), interval(1.2, float("inf"), 1)
        ('[0.50, 0.75]', '[1.2, ∞]')
    """
    if math.isnan(low) or math.isnan(high):
        return NONE
    ends = [("-∞" if end < 0 else "∞") if math.isinf(end) else fixed(end, decimals) for end in (low, high)]
    return f"[{ends[0]}, {ends[1]}]"


def listed(texts: Sequence[str]) -> str:
    """Join texts with commas and an "and".

    Example:
        >>> listed(["a", "b", "c"]), listed(["a"])
        ('a, b and c', 'a')
    """
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def percent(share: float) -> str:
    """Format a fraction as a percentage without unnecessary digits.

    Example:
        >>> percent(0.95), percent(0.999)
        ('95 %', '99.9 %')
    """
    return f"{100 * share:.6g} %"


def duration(seconds: float) -> str:
    """Format seconds in the largest unit in which the number is at least 2.

    Example:
        >>> duration(3.14159), duration(600), duration(24588)
        ('3.14 s', '10 min', '6.83 h')
    """
    if not math.isfinite(seconds):
        return NONE
    size, unit = clock_unit(seconds)
    return f"{number(seconds / size, 3)} {_UNITS[unit]}"


def decimals_for(values: Iterable[float], spreads: Iterable[float]) -> int:
    """Return the number of decimals that shows two significant digits of the spread over seeds.

    Without a spread, return the number of decimals that shows four significant digits of the values.

    Args:
        values: Qualities.
        spreads: Standard deviations. Values that are zero or NaN are ignored.

    Example:
        >>> decimals_for([0.961, 0.972], [0.0042, 0.0051]), decimals_for([77.07, 64.99], [])
        (4, 2)
    """
    positive_spreads = sorted(spread for spread in spreads if math.isfinite(spread) and spread > 0)
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if positive_spreads:
        place = 1 - math.floor(math.log10(positive_spreads[len(positive_spreads) // 2]))
    else:
        place = 3 - math.floor(math.log10(largest)) if largest > 0 else 4
    most = 10 if largest < _SMALL else 9  # with 10 decimals, fixed() uses significant digits
    return min(max(place, 0), most)
