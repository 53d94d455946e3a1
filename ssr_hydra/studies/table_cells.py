"""Convert the cells of a user's table to numbers, and say why a row is invalid."""

from __future__ import annotations

import math
import re
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


def measured_cells(
    texts: dict[str, list[str]], unit: str, full: float | None
) -> tuple[dict[str, list[Any]], dict[int, str]]:
    """Return the values of each column of a study, and a mapping from the index of each invalid row to the reason."""
    count = len(texts["ssr"])
    reasons: dict[int, str] = {}

    def numbers(field: str, least: float, optional: bool) -> list[float]:
        cells = texts.get(field)
        if cells is None:
            return [math.nan] * count
        values = _parsed_numbers(cells)
        for row in np.flatnonzero(~(values >= least)).tolist():  # also true for NaN
            if math.isnan(values[row]):
                if cells[row] or not optional:
                    reasons.setdefault(row, f"{field} is {cells[row]!r}, not a finite number")
            else:
                reasons.setdefault(row, f"{field} is {cells[row]!r}, and must be at least 0")
        return list(values.tolist())

    shares = [text.endswith("%") for text in texts["ssr"]]
    if any(shares):
        texts = texts | {"ssr": [text.removesuffix("%").strip() for text in texts["ssr"]]}
    columns: dict[str, list[Any]] = {"ssr": numbers("ssr", -math.inf, False)}
    units = [100 if share else full or 1 for share in shares]
    columns["ssr"] = [value / unit for value, unit in zip(columns["ssr"], units, strict=True)]
    if any(text.endswith("%") for text in texts["quality"]):
        for row, text in enumerate(texts["quality"]):
            if not math.isnan(cell_number(text)):
                reasons.setdefault(row, f"quality is {text!r}, but other rows have percentages")
        texts = texts | {"quality": [text.removesuffix("%").strip() for text in texts["quality"]]}
    for row, value in enumerate(columns["ssr"]):
        if value <= 0:
            reasons.setdefault(row, f"ssr is {texts['ssr'][row]!r}, and must be above 0")
    simple = {value: float(simplest(value)) for value in set(columns["ssr"]) if value > 0}
    columns["ssr"] = [simple.get(value, value) for value in columns["ssr"]]
    columns["quality"], columns["status"], columns["error"] = _outcomes(texts, reasons)
    columns["seconds"] = [value * _UNITS[unit] for value in numbers(unit, 0, True)]
    columns["steps"] = numbers("steps", 0, True)
    seeds = texts.get("seed", [""] * count)
    seeds_by_text = {text: _seed(text) if text else None for text in set(seeds)}
    columns["seed"] = [seeds_by_text[text] for text in seeds]
    for row, seed in enumerate(columns["seed"]):
        if seed == -1:
            reasons.setdefault(row, f"seed is {texts['seed'][row]!r}, and must be a whole number of at least 0")
    return columns, reasons


def _outcomes(texts: dict[str, list[str]], reasons: dict[int, str]) -> tuple[list[float], list[str], list[str]]:
    """Return the quality, the status and the error of each row. ``reasons`` gets an entry for each invalid row."""
    cells = texts["quality"]
    values = _parsed_numbers(cells).tolist()
    states = ["completed"] * len(cells)
    errors = [""] * len(cells)
    ends = texts.get("status")
    statuses = {} if ends is None else {text: _STATUSES.get(text.lower()) for text in set(ends)}
    for row in range(len(cells)) if ends is not None else np.flatnonzero(np.isnan(values)).tolist():
        state = statuses[ends[row]] if ends is not None else None
        if ends is not None and state is None:
            reasons.setdefault(
                row, f"status is {ends[row]!r}, not one of {', '.join(dict.fromkeys(_STATUSES.values()))}"
            )
        elif state in (None, "completed") and math.isnan(values[row]):
            if _DIVERGED.fullmatch(cells[row]) is None:
                reasons.setdefault(row, f"quality is {cells[row]!r}, not a number")
            states[row], errors[row] = "diverged", f"quality is {cells[row]!r}"
        elif state not in (None, "completed"):
            values[row], states[row], errors[row] = math.nan, str(state), f"status is {ends[row]!r}" if ends else ""
    return values, states, errors


def _parsed_numbers(texts: list[str]) -> Any:
    try:
        values = np.array(texts, dtype=float)
    except ValueError:
        values = np.array([cell_number(text) for text in texts])
    return np.where(np.isfinite(values), values, math.nan)


def cell_number(text: str) -> float:
    """Return the number in a cell; NaN if the text is not a number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seed(text: str) -> int:
    """Convert a text to a seed; return -1 if the text is not a seed.

    The text may also be a decimal, such as ``0.0``: if the column has gaps, pandas writes a seed in this form.
    """
    try:
        value = Decimal(text)
    except InvalidOperation:
        return -1
    if not value.is_finite() or not 0 <= value <= _MOST_SEED or value != value.to_integral_value():
        return -1
    return int(value)


def summarized_cells(texts: dict[str, list[str]], noise: str, reasons: dict[int, str]) -> dict[int, tuple[int, float]]:
    """Return the number of runs and the standard deviation of their quality, for each row that averages several runs.

    The standard deviation is NaN if the table has no standard deviation for the row. ``reasons`` gets an entry for each
    invalid row.
    """
    summaries: dict[int, tuple[int, float]] = {}
    for row, text in enumerate(texts.get("n", ())):
        count = cell_number(text)
        spread = cell_number(texts[noise][row]) if noise in texts and texts[noise][row] else math.nan
        if not (1 <= count < _MOST_RUNS and count == int(count)):
            reasons.setdefault(row, f"n is {text!r}, and must be a whole number of at least 1")
        elif spread < 0 or (noise in texts and texts[noise][row] and math.isnan(spread)):
            reasons.setdefault(row, f"{noise} is {texts[noise][row]!r}, and must be a number of at least 0")
        elif count > 1:
            summaries[row] = int(count), spread * (math.sqrt(count) if noise == "se" else 1.0)
    return summaries
