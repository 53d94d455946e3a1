"""Functions that read amounts of time, rates and the scale schedule ratio as exact numbers."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import RangeError

Number = int | float | Fraction
"""A number that is read exactly. A float is read as the decimal that Python prints."""

LONGEST_STRING = 64
DECIMAL = r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?"
RATIO = r"\d+/0*[1-9]\d*"
_LARGEST_SSR = 10**6


def exact(number: Any, field: str = "number") -> Fraction:
    """Read a number as an exact rational. A float is read as the decimal that Python prints: ``1.3`` is 13/10.

    Args:
        number: An int, float, ``Fraction``, ``Decimal`` or a string such as ``"0.3"`` or ``"1/3"``.
        field: Field name for the error.

    Raises:
        InputError: ``number`` is not a finite number.

    Example:
        >>> exact(1.3)
        Fraction(13, 10)
    """
    if type(number) is int:
        return Fraction(number)
    try:
        if isinstance(number, (bool, bytes, bytearray)) or (isinstance(number, str) and not _is_plain_number(number)):
            raise ValueError  # refuse bytes, spaces and underscores, which float() would accept
        if isinstance(number, float):
            # Use float.__repr__, because NumPy's float64 is a subclass of float whose repr is "np.float64(...)".
            return Fraction(float.__repr__(number))
        if isinstance(number, (int, str, Fraction, Decimal)):
            return Fraction(number)
        if hasattr(number, "item"):  # the number is a scalar of NumPy or torch
            value, bits = number.item(), _bits(number)
            return exact(value, field) if bits is None else _shortest(value, bits)
        if hasattr(number, "__index__"):
            return Fraction(number.__index__())
        return exact(float(number), field)
    except (TypeError, ValueError, OverflowError, RuntimeError, ZeroDivisionError):
        raise RangeError(field, number, "must be a finite number", "write e.g. 2 or 0.5") from None


def _bits(number: Any) -> int | None:
    """Return the number of significant bits of a float32, float16 or bfloat16 scalar; None for other types."""
    bits = {"float32": 24, "float16": 11, "bfloat16": 8}
    return bits.get(str(getattr(number, "dtype", "")).rpartition(".")[2])


def _shortest(value: float, bits: int) -> Fraction:
    """Return the shortest decimal that rounds to ``value`` in a float format with ``bits`` significant bits."""
    stored, half_step = Fraction(value), Fraction(2) ** (math.frexp(value)[1] - bits - 1)
    shortened = (Fraction(f"{value:.{digits}g}") for digits in range(1, 17))
    return next((decimal for decimal in shortened if abs(decimal - stored) <= half_step), stored)


def _is_plain_number(text: str) -> bool:
    """Return whether a string is a short number. Unlike Fraction, refuse spaces and underscores."""
    return len(text) <= LONGEST_STRING and re.fullmatch(rf"-?(?:{DECIMAL}|{RATIO})", text, re.ASCII) is not None


def simplest(ratio: float) -> Fraction:
    """Return a float as an exact number, without rounding errors of arithmetic: 1/3 for ``1 / 3``.

    A float that Python prints with at most 12 digits is returned as printed. A longer float is probably a result of
    arithmetic. The function then returns the nearby fraction with a denominator of at most 100, else the nearby decimal
    with 12 digits, else the float as printed. "Nearby" means within the rounding error of a few operations.

    Args:
        ratio: A finite number above 0.

    Example:
        >>> simplest(0.1 + 0.2), simplest(1 - 1 / 3), simplest(0.1234567890123)
        (Fraction(3, 10), Fraction(2, 3), Fraction(1234567890123, 10000000000000))
    """
    text = float.__repr__(ratio)
    decimal = float(f"{ratio:.12g}")
    if len(text) <= 13 or decimal == ratio:
        return Fraction(text)
    printed, error = Fraction(text), ratio / 2**46
    if Fraction(ratio).numerator.bit_length() <= 24:  # the value fits into a float32
        printed, error, decimal = _shortest(ratio, 24), ratio / 2**22, float(f"{ratio:.6g}")
    for denominator in range(1, 101):
        numerator = round(ratio * denominator)
        if abs(numerator / denominator - ratio) <= error:
            return Fraction(numerator, denominator)
    return Fraction(float.__repr__(decimal)) if abs(decimal - ratio) <= error else printed


def check_ssr(ssr: Number | str) -> Fraction:
    """Return the scale schedule ratio as an exact rational.

    Args:
        ssr: A positive number of at most 1e6. A float is read as the decimal that Python prints, or as the simple
            number that it equals within rounding error.

    Raises:
        InputError: ``ssr`` is not a number, is not above 0, or is above 1e6.

    Example:
        >>> check_ssr(0.3), check_ssr(0.1 + 0.2)
        (Fraction(3, 10), Fraction(3, 10))
    """
    sigma = exact(ssr, "ssr")
    ratio = ssr.item() if hasattr(ssr, "item") else ssr
    if isinstance(ratio, float) and sigma > 0 and _bits(ssr) in (None, 24):
        sigma = simplest(ratio)
    if not 0 < sigma <= _LARGEST_SSR:
        rule = f"the scale schedule ratio must be above 0 and at most {_LARGEST_SSR}"
        raise RangeError("ssr", ssr, rule, "write e.g. 0.5 for half the length, or 2 for twice the length")
    return sigma
