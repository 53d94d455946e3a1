"""A table of runs from elsewhere -> a study."""

from __future__ import annotations

import csv
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from ssr_hydra.errors import InputError
from ssr_hydra.studies.checks import direction_of
from ssr_hydra.studies.reading import as_frame, without_duplicates
from ssr_hydra.studies.study import COLUMNS, Direction, Problem, Study

__all__ = ["from_csv"]

_MOST_SEED = 2**63 - 1
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def from_csv(
    file: str | Path,
    ssr: str,
    quality: str,
    seconds: str | None = None,
    recipe: str | None = None,
    seed: str | None = None,
    *,
    direction: Direction | None = None,
) -> Study:
    """Read a CSV with a header and a row for each run.

    Rows with the same recipe and ssr are its seeds. They are paired with those of other cells only where a column says
    which is which. A row that cannot be read is a :class:`Problem`, and so is a seed that stands there twice.

    Args:
        file: UTF-8, comma-separated.
        ssr: Name of the column of scale schedule ratios.
        quality: Of the final metric.
        seconds: Of the seconds of training; None if there is none.
        recipe: Of what is compared; None is one recipe, called like the file.
        seed: Of the seeds, whole numbers.
        direction: Whether ``max`` or ``min`` is better; None knows it of metrics that go by a common name.

    Raises:
        InputError: No such column, no row that can be read, or nothing says whether more is better.
        OSError: It cannot be read.

    Example:
        >>> study = from_csv("resnet50.csv", ssr="ssr", quality="top1", seconds="seconds")  # doctest: +SKIP
    """
    path = Path(file)
    wanted = {"ssr": ssr, "quality": quality, "seconds": seconds, "recipe": recipe, "seed": seed}
    columns = {field: name for field, name in wanted.items() if name is not None}
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    problems: list[Problem] = []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        try:
            header = next((cells for cells in reader if any(map(str.strip, cells))), None)
            if header is None:
                raise InputError("csv", str(path), "is empty", "give it a header, and a row for each run")
            places = _places(header, columns)
            for cells in reader:
                if not cells:
                    continue
                where = f"{path}:{reader.line_num}"
                try:
                    if len(cells) != len(header):
                        raise ValueError(f"{len(cells)} cells where the header has {len(header)}")
                    row = _row({field: cells[place].strip() for field, place in places.items()}, path.stem)
                except ValueError as error:
                    problems.append(Problem(where, "torn", str(error)))
                    continue
                row |= {"study": path.stem, "job": str(reader.line_num), "folder": where}
                for name in COLUMNS:
                    rows[name].append(row[name])
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError("csv", str(path), f"is not a CSV in UTF-8 ({error})", "save it as one") from None
    if not rows["ssr"]:
        why = f": {problems[0].where}: {problems[0].reason}" if problems else ""
        raise InputError("csv", str(path), f"has no row that can be read{why}", "give ssr and quality as numbers")
    way = direction_of(quality, direction, set())
    curves = pd.DataFrame({name: [] for name in ("run", "steps", "samples", "tokens", "seconds", "value")}, dtype=float)
    frame, curves, twice = without_duplicates(as_frame(rows), curves.astype({"run": int}))
    return Study(frame, curves, quality, way, (*problems, *twice), sources=(path,))


def _places(header: list[str], columns: dict[str, str]) -> dict[str, int]:
    names = [name.strip() for name in header]
    counts = Counter(names)
    for delimiter, called in _DELIMITERS.items():
        if len(names) == 1 < len(columns) and delimiter in names[0]:
            field, name = next(iter(columns.items()))
            rule = f"the CSV has no such column; it seems to be separated by {called}"
            raise InputError(field, name, rule, "save it separated by commas")
    for field, name in columns.items():
        if counts[name] != 1:
            rule = "the CSV has no such column" if name not in counts else "the CSV has two columns of this name"
            raise InputError(field, name, rule, f"there are {', '.join(names)}")
    return {field: names.index(name) for field, name in columns.items()}


def _row(cells: dict[str, str], name: str) -> dict[str, Any]:
    ssr, quality = _number(cells, "ssr"), _number(cells, "quality")
    seconds = _number(cells, "seconds") if cells.get("seconds") else math.nan
    if ssr <= 0:
        raise ValueError(f"ssr is {cells['ssr']!r}, and has to be above 0")
    if seconds < 0:
        raise ValueError(f"seconds are {cells['seconds']!r}")
    seed = None
    if cells.get("seed"):
        try:
            seed = int(cells["seed"])
        except ValueError:
            seed = -1
        if not 0 <= seed <= _MOST_SEED:
            raise ValueError(f"seed is {cells['seed']!r}, and has to be a whole number of at least 0")
    recipe = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in cells.get("recipe", name))
    return {
        "recipe": recipe or name,
        "control": "",
        "ssr": ssr,
        "seed": seed,
        "status": "completed",
        "error": "",
        "quality": quality,
        "steps": math.nan,
        "samples": math.nan,
        "tokens": math.nan,
        "seconds": seconds,
        "total_seconds": seconds,
        "resumes": 0,
        "max_duration": "",
        "config_hash": None,
    }


def _number(cells: dict[str, str], field: str) -> float:
    try:
        value = float(cells[field])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{field} is {cells[field]!r}, not a finite number")
    return value
