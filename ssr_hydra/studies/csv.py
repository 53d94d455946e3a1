"""A table of runs from elsewhere -> a study."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssr_hydra.errors import InputError
from ssr_hydra.studies.checks import direction_of
from ssr_hydra.studies.reading import as_frame, without_duplicates
from ssr_hydra.studies.study import COLUMNS, Direction, Problem, Study

__all__ = ["from_csv"]

_MOST_SEED = 2**63 - 1
_UNITS = {"seconds": 1.0, "minutes": 60.0, "hours": 3600.0}
_UNIT_NAMES = {"h": "hours", "hr": "hours", "hrs": "hours", "hour": "hours", "hours": "hours",
               "min": "minutes", "mins": "minutes", "minute": "minutes", "minutes": "minutes"}  # fmt: skip
_DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def from_csv(
    file: str | Path,
    ssr: str,
    quality: str,
    seconds: str | None = None,
    recipe: str | Sequence[str] | None = None,
    seed: str | None = None,
    *,
    minutes: str | None = None,
    hours: str | None = None,
    steps: str | None = None,
    pool: Sequence[str] = (),
    direction: Direction | None = None,
) -> Study:
    """Read a CSV with a header and a row for each run.

    Rows with the same recipe and ssr are its seeds. They are paired with those of other cells only where a column says
    which is which. A row that cannot be read is a :class:`Problem`, and so is a seed that stands there twice. A column
    of names by which such rows differ, SSR after SSR, is most likely what is compared: it has to be named, as a recipe
    or to be pooled.

    Args:
        file: UTF-8, comma-separated.
        ssr: Name of the column of scale schedule ratios.
        quality: Of the final metric.
        seconds: Of the seconds of training; None if there is none.
        recipe: Of what is compared, one column or several; None is one recipe, called like the file.
        seed: Of the seeds, whole numbers.
        minutes: Of the minutes of training, instead of seconds.
        hours: Likewise.
        steps: Of the steps of training.
        pool: Columns of names that make no other recipe: the machine that a run was on, say.
        direction: Whether ``max`` or ``min`` is better; None knows it of metrics that go by a common name.

    Raises:
        InputError: No such column, no row that can be read, nothing says whether more is better, times whose name says
            another unit, or recipes that would be taken for seeds.
        OSError: It cannot be read.

    Example:
        >>> study = from_csv("resnet50.csv", ssr="ssr", quality="top1", seconds="seconds")  # doctest: +SKIP
    """
    path = Path(file)
    recipes = [recipe] if isinstance(recipe, str) else list(recipe or ())
    unit, time = _time({"seconds": seconds, "minutes": minutes, "hours": hours})
    wanted = {"ssr": ssr, "quality": quality, unit: time, "steps": steps, "seed": seed}
    columns = [(field, name) for field, name in wanted.items() if name is not None]
    named = [*columns, *(("recipe", name) for name in recipes), *(("pool", name) for name in pool)]
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    rest: dict[str, list[str]] = {}
    problems: list[Problem] = []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream)
        try:
            header = next((cells for cells in reader if any(map(str.strip, cells))), None)
            if header is None:
                raise InputError("csv", str(path), "is empty", "give it a header, and a row for each run")
            places = _places(header, named)
            taken = {places[name] for _, name in named}
            rest = {name.strip(): [] for place, name in enumerate(header) if place not in taken}
            for cells in reader:
                if not cells:
                    continue
                where = f"{path}:{reader.line_num}"
                try:
                    if len(cells) != len(header):
                        raise ValueError(f"{len(cells)} cells where the header has {len(header)}")
                    row = _row({field: cells[places[name]].strip() for field, name in columns}, unit)
                except ValueError as error:
                    problems.append(Problem(where, "torn", str(error)))
                    continue
                called = " ".join(filter(None, (cells[places[name]].strip() for name in recipes)))
                row |= {"recipe": _printable(called) or path.stem}
                row |= {"study": path.stem, "job": str(reader.line_num), "folder": where}
                for place, name in enumerate(header):
                    if place not in taken:
                        rest[name.strip()].append(cells[place].strip())
                for name in COLUMNS:
                    rows[name].append(row[name])
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError("csv", str(path), f"is not a CSV in UTF-8 ({error})", "save it as one") from None
    if not rows["ssr"]:
        why = f": {problems[0].where}: {problems[0].reason}" if problems else ""
        raise InputError("csv", str(path), f"has no row that can be read{why}", "give ssr and quality as numbers")
    _check_pooled(pd.DataFrame(rest), pd.DataFrame(rows)[["recipe", "ssr"]], recipes)
    way = direction_of(quality, direction, set())
    curves = pd.DataFrame({name: [] for name in ("run", "steps", "samples", "tokens", "seconds", "value")}, dtype=float)
    frame, curves, twice = without_duplicates(as_frame(rows), curves.astype({"run": int}))
    return Study(frame, curves, quality, way, (*problems, *twice), sources=(path,))


def _time(given: dict[str, str | None]) -> tuple[str, str | None]:
    """The unit of the times and their column."""
    times = [(unit, name) for unit, name in given.items() if name is not None]
    if not times:
        return "seconds", None
    if len(times) > 1:
        (unit, name), (first, _) = times[1], times[0]
        raise InputError(unit, name, f"the times are in {first} already", "name one column of times")
    (unit, name) = times[0]
    says = {_UNIT_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _UNIT_NAMES}
    if len(says) == 1 and unit not in says:
        (other,) = says
        raise InputError(unit, name, f"the column's name says {other}", f"name it as {other}, or call it otherwise")
    return unit, name


def _places(header: list[str], columns: list[tuple[str, str]]) -> dict[str, int]:
    names = [name.strip() for name in header]
    counts = Counter(names)
    for delimiter, called in _DELIMITERS.items():
        if len(names) == 1 < len(columns) and delimiter in names[0]:
            field, name = columns[0]
            rule = f"the CSV has no such column; it seems to be separated by {called}"
            raise InputError(field, name, rule, "save it separated by commas")
    for field, name in columns:
        if counts[name] != 1:
            rule = "the CSV has no such column" if name not in counts else "the CSV has two columns of this name"
            raise InputError(field, name, rule, f"there are {', '.join(names)}")
    return {name: names.index(name) for _, name in columns}


def _check_pooled(rest: pd.DataFrame, cells: pd.DataFrame, recipes: list[str]) -> None:
    """Whether rows that would be the seeds of one recipe are told apart by names that come again at other SSRs."""
    for name in rest.columns:
        values = rest[name]
        if pd.to_numeric(values, errors="coerce").notna().any():  # seeds, sizes, measurements
            continue
        among = values.groupby([cells["recipe"], cells["ssr"]]).transform("nunique")
        again = cells["ssr"].groupby(values).nunique()
        if among.max() > 1 and again.min() > 1:
            at = cells["ssr"][among.idxmax()]
            rule = f"the rows of one recipe at ssr {at:g} differ by the column {name!r}, and would be its seeds"
            named = ", ".join(map(repr, [*recipes, name]))
            fix = f"name what is compared (recipe: {named}), or pool {name!r} if it makes no other recipe"
            raise InputError("recipe", ", ".join(recipes) or None, rule, fix)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _row(cells: dict[str, str], unit: str) -> dict[str, Any]:
    ssr, quality = _number(cells, "ssr"), _number(cells, "quality")
    time = _number(cells, unit) if cells.get(unit) else math.nan
    if ssr <= 0:
        raise ValueError(f"ssr is {cells['ssr']!r}, and has to be above 0")
    if time < 0:
        raise ValueError(f"{unit} are {cells[unit]!r}")
    seconds = time * _UNITS[unit]
    steps = _number(cells, "steps") if cells.get("steps") else math.nan
    if steps < 0:
        raise ValueError(f"steps are {cells['steps']!r}")
    seed = None
    if cells.get("seed"):
        try:
            seed = int(cells["seed"])
        except ValueError:
            seed = -1
        if not 0 <= seed <= _MOST_SEED:
            raise ValueError(f"seed is {cells['seed']!r}, and has to be a whole number of at least 0")
    return {
        "control": "",
        "ssr": ssr,
        "seed": seed,
        "status": "completed",
        "error": "",
        "quality": quality,
        "steps": steps,
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
