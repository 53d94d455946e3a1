"""Convert the cells of a user's table to numbers, and say why a row is invalid."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from ssr_hydra.time import simplest

_MOST_RUNS = 1e9  # maximum number of runs in the mean of one row
_MOST_SEED = 2**63 - 1
_DIVERGED = re.compile(r"|[+-]?(nan|inf|infinity)|n/?a|none|null|-+|diverged", re.IGNORECASE)
_STATUSES = {
    "completed": "completed", "finished": "completed", "diverged": "diverged", "failed": "failed", "crashed": "failed",
    "stopped": "stopped", "killed": "stopped",
}  # fmt: skip
_UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}


def measured_cells(texts: dict[str, Any], unit: str, full: float | None) -> tuple[dict[str, Any], dict[int, str]]:
    """Convert cells to columns of ``Study.frame``. Also return why rows are invalid, as a mapping from row index."""
    count = len(texts["ssr"])
    reasons: dict[int, str] = {}

    def refuse(field: str, rows: Any, rule: str) -> None:
        for row in np.flatnonzero(rows).tolist():
            reasons.setdefault(row, f"{field} is {texts[field][row]!r}{rule}")

    def numbers(field: str) -> Any:
        values = _parsed_numbers(texts.get(field, [""] * count))
        if field in texts:
            refuse(field, np.isnan(values) & (texts[field] != ""), ", not a finite number")
            refuse(field, values < 0, ", and must be at least 0")
        return values

    shares = np.array([text.endswith("%") for text in texts["ssr"]], dtype=bool)
    percentages = [name for name in ("ssr", "quality") if any(text.endswith("%") for text in texts[name])]
    if "quality" in percentages:
        plain = [not text.endswith("%") and not math.isnan(cell_number(text)) for text in texts["quality"]]
        refuse("quality", plain, ", but other rows have percentages")
    texts = texts | {name: as_texts(text.removesuffix("%").strip() for text in texts[name]) for name in percentages}
    ssr = _parsed_numbers(texts["ssr"]) / np.where(shares, 100, full or 1)
    refuse("ssr", np.isnan(ssr), ", not a finite number")
    refuse("ssr", ssr <= 0, ", and must be above 0")
    simple = {value: float(simplest(value)) for value in set(ssr.tolist()) if value > 0}
    quality, status, error = _outcomes(texts, refuse)
    seeds = {text: _seed(text) if text else None for text in set(texts.get("seed", ()))}
    seed = [seeds[text] for text in texts.get("seed", ())]
    refuse("seed", [value == -1 for value in seed], ", and must be a whole number of at least 0")
    columns = {
        "ssr": [simple.get(value, value) for value in ssr.tolist()], "quality": quality, "status": status,
        "error": error, "seconds": numbers(unit) * _UNITS[unit], "steps": numbers("steps"),
        "seed": seed or [None] * count,
    }  # fmt: skip
    return columns, reasons


def _outcomes(texts: dict[str, Any], refuse: Callable[[str, Any, str], None]) -> tuple[Any, list[str], list[str]]:
    """Return the quality, the status and the error of each row. ``refuse`` records the reason of each invalid row."""
    cells = texts["quality"]
    values = _parsed_numbers(cells)
    states = (
        [_STATUSES.get(text.lower(), "") for text in texts["status"]]
        if "status" in texts
        else ["completed"] * len(cells)
    )
    errors = [""] * len(cells)
    refuse("status", [not state for state in states], f", not one of {', '.join(dict.fromkeys(_STATUSES.values()))}")
    completed = np.array([state == "completed" for state in states], dtype=bool)
    for row in np.flatnonzero(~completed).tolist():
        errors[row] = f"status is {texts['status'][row]!r}"
    lost = completed & np.isnan(values)
    for row in np.flatnonzero(lost).tolist():
        states[row], errors[row] = "diverged", f"quality is {cells[row]!r}"
    refuse(
        "quality",
        [is_lost and _DIVERGED.fullmatch(text) is None for is_lost, text in zip(lost, cells, strict=True)],
        ", not a number",
    )
    return np.where(completed, values, math.nan), states, errors


def _parsed_numbers(texts: Sequence[str]) -> Any:
    try:
        values = np.array(texts, dtype=float)
    except ValueError:
        values = np.array([cell_number(text) for text in texts])
    return np.where(np.isfinite(values), values, math.nan)


def as_texts(texts: Iterable[str]) -> Any:
    """Return texts as an array of objects."""
    return np.array(list(texts), dtype=object)


def cell_number(text: str) -> float:
    """Return the number in a cell; NaN if the text is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seed(text: str) -> int:
    """Return the seed in a text such as ``0``, or ``0.0`` (pandas writes it if a cell is empty); -1 if invalid."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return -1
    if not value.is_finite() or not 0 <= value <= _MOST_SEED or value != value.to_integral_value():
        return -1
    return int(value)


def summarized_cells(texts: dict[str, Any], noise: str, reasons: dict[int, str]) -> dict[int, tuple[int, float]]:
    """For each row that averages several runs, return the number of runs and their standard deviation (NaN if unknown).

    The function adds the reason for each invalid row to ``reasons``.
    """
    summaries: dict[int, tuple[int, float]] = {}
    for row, text in enumerate(texts.get("n", ())):
        count, spread_text = cell_number(text), texts[noise][row] if noise in texts else ""
        spread = cell_number(spread_text)
        if not (1 <= count < _MOST_RUNS and count == int(count)):
            reasons.setdefault(row, f"n is {text!r}, and must be a whole number of at least 1")
        elif spread_text and not spread >= 0:
            reasons.setdefault(row, f"{noise} is {spread_text!r}, and must be a number of at least 0")
        elif count > 1:
            summaries[row] = int(count), spread * (math.sqrt(count) if noise == "se" else 1.0)
    return summaries
