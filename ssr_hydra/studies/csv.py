"""Read a study from a table of runs that other software has written."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ssr_hydra.errors import ConflictError, FormatError, MismatchError, MissingValueError, PathError, UnknownNameError
from ssr_hydra.metrics import Direction, resolve_direction
from ssr_hydra.settings.base import one_of, positive
from ssr_hydra.studies.notes import Note, notes_of_frame
from ssr_hydra.studies.reading import without_duplicates
from ssr_hydra.studies.recipes import unique_labels
from ssr_hydra.studies.study import Problem, Study, as_curves, as_frame
from ssr_hydra.studies.table_cells import cell_number, measured_cells, summarized_cells

_WIDE_SSR = "SSR by the name of the column"
_LENGTH = re.compile(r"(?:^-)?[.,]?\d[\d.,]*(?:[eE][+-]?\d+)?\s*%?")
_MOST_NAMED = 8  # the maximum number of columns in one error message
_UNIT_NAMES = {"h": "hours", "hr": "hours", "hrs": "hours", "hour": "hours", "hours": "hours",
               "min": "minutes", "mins": "minutes", "minute": "minutes", "minutes": "minutes",
               "s": "seconds", "sec": "seconds", "secs": "seconds", "second": "seconds", "seconds": "seconds",
               "ms": "milliseconds", "milliseconds": "milliseconds", "day": "days", "days": "days"}  # fmt: skip
_DELIMITERS = (",", ";", "\t", "|")


def from_csv(
    file: str | Path,
    ssr: str | None,
    quality: str,
    seconds: str | None = None,
    recipe: str | Sequence[str] | None = None,
    seed: str | None = None,
    *,
    minutes: str | None = None,
    hours: str | None = None,
    steps: str | None = None,
    status: str | None = None,
    n: str | None = None,
    sd: str | None = None,
    se: str | None = None,
    pool: str | Sequence[str] = (),
    wide: str | Sequence[str] = (),
    full: float | None = None,
    decimal: Literal[".", ","] = ".",
    direction: Direction | None = None,
) -> Study:
    """Read a study from a table with a header and a row for each run.

    Cells are separated by commas, semicolons, tabs or bars. Lines that start with ``#`` are comments. Numbers may be
    percentages: an SSR of ``25%`` is read as 0.25, and a quality of ``93.1%`` as 93.1.

    A row may be the mean of several runs. Then ``n`` names the column of the number of runs, and ``sd`` or ``se`` names
    the column of their noise. If the qualities look like ``93.1 ± 0.2``, pass the name of their column twice: as
    ``quality``, and as ``sd`` or ``se``. Use ``sd`` if the number after ± is a standard deviation, and ``se`` if it is
    a standard error.

    Rows with the same recipe and ssr are runs with different seeds. Runs of different recipes or SSRs are paired only
    if ``seed`` names a column. If the quality of a run is empty, not finite or ``diverged``, the run counts as
    diverged, without a quality. A row that cannot be read is a :class:`Problem` of the study. A second run with the
    same seed is also a problem. If rows with the same recipe and ssr differ in any other column, this column may
    distinguish recipes, so you must name it in ``recipe``, ``seed`` or ``pool``.

    Args:
        file: Path of the table, in UTF-8.
        ssr: Name of the column of scale schedule ratios. If you give ``full``, this is the column of lengths, in any
            unit. If you give ``wide``, this must be None. If the name of the column is a unit of length, such as
            ``epochs``, ``full`` is required.
        quality: Name of the column of final metrics.
        seconds: Name of the column of training seconds; None if the table has no training seconds.
        recipe: Name of the column, or columns, that distinguish the compared recipes. None means that there is one
            recipe, which gets the name of the file.
        seed: Name of the column of seeds, which are whole numbers.
        minutes: Name of the column of training minutes, instead of ``seconds``.
        hours: Name of the column of training hours, instead of ``seconds``.
        steps: Name of the column of training steps.
        status: Name of the column of statuses: completed, diverged, failed or stopped.
        n: Name of the column with the number of runs whose mean is the row's quality. None means that each row is one
            run.
        sd: Name of the column with the standard deviation of each row's runs.
        se: Name of the column with the standard error of each row's mean, instead of ``sd``.
        pool: Names of columns that do not distinguish recipes, such as the machine of a run or another metric.
        wide: For a table that has a column of qualities for each SSR: the names of these columns, such as
            ``["0.25", "0.5", "1"]``, or ``["30 epochs", "90 epochs"]`` with ``full=90``. Each name must
            contain exactly one number. Then ``quality`` is the name of the metric. An empty cell means that there was
            no run.
        full: The length of the run with SSR 1, in the unit of the ``ssr`` column, such as epochs, tokens or FLOPs.
        decimal: The decimal separator. Use ``,`` for numbers like ``0,25``, if commas do not separate the cells.
        direction: Whether ``max`` or ``min`` is better; None means that the metric's name decides.

    Raises:
        InputError: A column does not exist, has the same name as another column, or is named by two arguments; no row
            can be read; the direction is unknown; the name of the time column has a different unit than its argument; a
            name in ``wide`` does not have one number; ``full`` is missing; or rows with the same recipe and ssr differ
            in a column that no argument names.
        OSError: The file cannot be read.

    Example:
        >>> study = from_csv("resnet50.csv", ssr="ssr", quality="top1", seconds="seconds")  # doctest: +SKIP
    """
    path = Path(file)
    recipes, pool, wide = ([names] if isinstance(names, str) else list(names or ()) for names in (recipe, pool, wide))
    unit, time = _time_column({"seconds": seconds, "minutes": minutes, "hours": hours})
    if (ssr is None) != bool(wide):
        rule = "must be set, because 'wide' is not set" if ssr is None else "cannot be used with 'wide'"
        raise ConflictError("ssr", ssr, rule, "set 'ssr' to the column of SSRs, or 'wide' to the columns of qualities")
    positive(full, "full", "write the length of the full run, e.g. 90")
    one_of(decimal, "decimal", (".", ","))
    unit_of_length = _unit_of_length(wide) if ssr is None else ssr
    if full is None and unit_of_length.lower() in _LENGTH_UNITS:
        rule = f"must be a column of SSRs, but its name {unit_of_length} is a unit of length"
        raise MismatchError(
            "ssr" if ssr else "wide", ssr or wide[0], rule, "set full to the length of the run at SSR 1"
        )
    ssr = _WIDE_SSR if ssr is None else ssr
    names_by_field = {"ssr": ssr, "quality": quality, unit: time, "steps": steps, "seed": seed, "status": status}
    noise = "sd" if se is None else "se"
    names_by_field |= {"n": n, noise: se if sd is None else sd}
    _check_summary(n, sd, se, seed)
    columns = [(field, name) for field, name in names_by_field.items() if name is not None]
    named = [*columns, *(("recipe", name) for name in recipes), *(("pool", name) for name in pool)]
    _check_distinct(named)
    own = [name for _, name in named if not wide or name not in (ssr, quality)]
    header, lines, cells, problems = _read_table(path, [*own, *wide])
    if wide:
        places = _column_indices(path, header, [("wide", name) for name in wide])
        header, lines, cells = _melted(header, lines, cells, places, _lengths(wide, full, decimal), quality)
    places = _column_indices(path, header, named)
    texts = {field: cells[places[name]] for field, name in columns}
    for field in ("ssr", "quality", unit, "steps", noise):
        if decimal == "," and field in texts:
            texts[field] = [text.replace(",", ".") for text in texts[field]]
    if quality in (sd, se):
        parts = [text.replace("+-", "±").replace("+/-", "±").partition("±")[::2] for text in texts["quality"]]
        texts |= {"quality": [mean.strip() for mean, _ in parts], noise: [spread.strip(" %") for _, spread in parts]}
    measured, reasons = measured_cells(texts, unit, full)
    summarized = summarized_cells(texts, noise, reasons)
    problems += [Problem(f"{path}:{lines[row]}", "torn", reason) for row, reason in reasons.items()]
    problems += [
        Problem(f"{path}:{lines[row]}", measured["status"][row], error)
        for row, error in enumerate(measured["error"])
        if error and row not in reasons
    ]
    valid_rows = [row for row in range(len(lines)) if row not in reasons]

    def of_kept(values: Sequence[Any]) -> Sequence[Any]:
        return [values[row] for row in valid_rows] if reasons else values

    if not valid_rows:
        first = min(problems, key=lambda problem: int(problem.where.rpartition(":")[2]), default=None)
        why = f": {first.where}: {first.reason}" if first is not None else ""
        fix = "correct the cells, or name a different column" if lines else "write a row for each run"
        if decimal == "." and re.search(r"'[-+]?\d*,\d+ ?%?'", why):
            fix = "set decimal to a comma"
        raise FormatError("csv", str(path), f"has no row that can be read{why}", fix)
    keys = list(zip(*(cells[places[name]] for name in recipes), strict=True)) if recipes else [()] * len(lines)
    labels = _recipe_names(dict.fromkeys(of_kept(keys)), recipes, path.stem)
    rows: dict[str, Any] = {name: [value] * len(valid_rows) for name, value in _CONSTANT.items()}
    rows |= {name: of_kept(values) for name, values in measured.items()}
    rows |= {"recipe": [labels[key] for key in of_kept(keys)], "total_seconds": rows["seconds"]}
    rows |= {"study": [path.stem] * len(valid_rows), "job": [str(line) for line in of_kept(lines)]}
    rows["folder"] = [f"{path}:{job}" for job in rows["job"]]
    frame = as_frame(rows)
    used_columns = {places[name] for _, name in named}
    rest = {name: cells[place] for place, name in enumerate(header) if place not in used_columns}
    _check_named(frame, {name: of_kept(values) for name, values in rest.items()}, recipes)
    kept_summaries = {row: summarized[line] for row, line in enumerate(valid_rows) if line in summarized}
    _check_one_row(frame, kept_summaries)
    way = resolve_direction(direction, quality, "direction")
    lines_of = {str(lines[row]): summary for row, summary in summarized.items()}
    frame, curves, twice = without_duplicates(frame, as_curves())
    summaries = {index: lines_of[job] for index, job in frame["job"].items() if job in lines_of}
    notes = [*notes_of_frame(frame), *_without_time(frame, unit if time is not None else None)]
    return Study(
        frame, curves, quality.partition("±")[0].strip() if quality in (sd, se) else quality, way, (*problems, *twice),
        tuple(notes), sources=(path,), summarized=summaries,
        length=None if full is None else (unit_of_length, float(full)),
    )  # fmt: skip


_CONSTANT = {
    "control": "", "samples": math.nan, "tokens": math.nan, "resumes": 0,
    "max_duration": "", "config_hash": None,
}  # fmt: skip
_Columns = list[list[str]]
_TIMES, _NOISE = ("seconds", "minutes", "hours", "steps"), ("sd", "se")
_LENGTH_UNITS = {"epoch", "epochs", "step", "steps", "iteration", "iterations", "token", "tokens", "sample", "samples",
                 "flop", "flops", "hour", "hours", "gpu hours", "days"}  # fmt: skip


def _unit_of_length(wide: Sequence[str]) -> str:
    """Return the unit in the names of wide columns: ``epochs`` for ``30 epochs``; empty if the units differ."""
    units = sorted((_LENGTH.sub("", name).strip() for name in wide), key=len)
    same = {unit.lower().removesuffix("s") for unit in units}
    if len(same) > 1 and any(unit.lower() in _LENGTH_UNITS for unit in units):
        rule = f"must all have the same unit (got {' and '.join(repr(unit) for unit in dict.fromkeys(units))})"
        raise MismatchError("wide", ", ".join(wide), rule, "rename the columns")
    return units[-1] if len(same) == 1 else ""


def _lengths(wide: Sequence[str], full: float | None, decimal: str) -> dict[str, str]:
    """Return the SSR or length in the name of each wide column, as the text of a number: ``30`` for ``30 epochs``."""
    lengths: dict[str, str] = {}
    columns: dict[float, str] = {}
    for name in wide:
        texts = [text.replace(" ", "") for text in _LENGTH.findall(name)]
        texts = [text.replace(",", ".") for text in texts] if decimal == "," else texts
        value = cell_number(texts[0].removesuffix("%")) if len(texts) == 1 else math.nan
        if not 0 < value < math.inf:
            rule = f"its name must contain one number above 0: the SSR or the length (decimal separator {decimal})"
            raise FormatError("wide", name, rule, "rename the column, e.g. to 0.25 or 30 epochs")
        lengths[name] = texts[0]
        other = columns.setdefault(value / (100 if texts[0].endswith("%") else full or 1), name)
        if other != name:
            raise ConflictError("wide", name, f"has the same SSR as {other}", "write each seed as a row")
    return lengths


def _melted(
    header: list[str],
    lines: list[int],
    cells: _Columns,
    places: Mapping[str, int],
    lengths: Mapping[str, str],
    quality: str,
) -> tuple[list[str], list[int], _Columns]:
    """Convert a table that has a column of qualities for each SSR to a table that has a row for each SSR."""
    other_columns = [place for place, name in enumerate(header) if name not in lengths]
    rows = [(row, name) for row in range(len(lines)) for name in lengths if cells[places[name]][row]]
    columns = [[cells[place][row] for row, _ in rows] for place in other_columns]
    columns += [[lengths[name] for _, name in rows], [cells[places[name]][row] for row, name in rows]]
    return [*(header[place] for place in other_columns), _WIDE_SSR, quality], [lines[row] for row, _ in rows], columns


def _check_summary(n: str | None, sd: str | None, se: str | None, seed: str | None) -> None:
    if sd is not None and se is not None:
        raise ConflictError("se", se, "cannot be used with sd", "set only one of sd and se")
    if n is None and (sd is not None or se is not None):
        field, value = ("sd", sd) if se is None else ("se", se)
        raise MissingValueError(
            field, value, "needs n, the column with the number of runs", "set n to the name of this column"
        )
    if n is not None and seed is not None:
        rule = "cannot be used with seed, because the mean of several runs has no seed"
        raise ConflictError("n", n, rule, "remove n or seed")


def _check_distinct(named: Sequence[tuple[str, str]]) -> None:
    """Raise an InputError if two arguments name the same column.

    Two cases are allowed: a column of lengths that are also times, and a column of qualities like ``93.1 ± 0.2``.
    """
    fields: dict[str, str] = {}
    for field, name in named:
        other = fields.setdefault(name, field)
        if other != field and not (other == "ssr" and field in _TIMES) and not (other == "quality" and field in _NOISE):
            raise ConflictError(field, name, f"cannot also be the column of {other}", "use each column only once")


def _check_one_row(frame: pd.DataFrame, summarized: Mapping[int, Any]) -> None:
    """Raise an InputError if a mean of several runs has the same recipe and SSR as a different row.

    The noise of a mean cannot be combined with the noise of other rows.
    """
    for _, rows in frame.groupby(["recipe", "ssr"], sort=False):
        if len(rows) > 1 and any(index in summarized for index in rows.index):
            lines = " and ".join(rows["job"].iloc[:2])
            rule = f"lines {lines} have the same recipe and ssr, and at least one of them is a mean of several runs"
            raise ConflictError("n", None, rule, "write one row with the mean of all runs, or a row for each run")


def _without_time(frame: pd.DataFrame, unit: str | None) -> list[Note]:
    """Return a note if the table has times, but some rows with a quality have no time."""
    rows = frame[frame["quality"].notna() & ~(frame["seconds"] > 0)]
    if unit is None or rows.empty:
        return []
    return [Note("no_times", unit, ((str(rows["job"].iloc[0]), len(rows)),))]


def _split(line: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """Return the delimiter that finds the most of ``columns`` in the header, and the names that it finds there."""
    split = [(mark, [name.strip() for name in next(csv.reader([line], delimiter=mark), [])]) for mark in _DELIMITERS]
    return max(split, key=lambda item: (sum(name in item[1] for name in columns), len(item[1]) if not columns else 0))


def _read_table(path: Path, column_names: Sequence[str]) -> tuple[list[str], list[int], _Columns, list[Problem]]:
    """Read a table.

    Returns:
        The column names; the line numbers of complete rows; the cells of each column, without surrounding spaces; and a
        problem for each row with a wrong number of cells.
    """
    lines: list[int] = []
    problems: list[Problem] = []
    with path.open(encoding="utf-8-sig", newline="") as stream:
        try:
            first, before = "", 0  # the current line, and the number of lines before it
            while not first.strip(" ,;|\t\r\n") or _is_comment(first, column_names):
                before += bool(first)
                if not (first := stream.readline()):
                    raise FormatError("csv", str(path), "is empty", "write a header, and a row for each run")
            first = first.lstrip().removeprefix("#") if first.lstrip().startswith("#") else first
            delimiter, _ = _split(first, column_names)
            # Replace a comment by an empty line, so that line numbers stay those of the file.
            rest = ("\n" if line.startswith("#") else line for line in chain([first], stream))
            reader = csv.reader(rest, delimiter=delimiter)
            header = next(reader)
            columns: _Columns = [[] for _ in header]
            for cells in reader:
                line = reader.line_num + before
                if len(cells) == len(header):
                    lines.append(line)
                    for column, text in zip(columns, cells, strict=True):
                        column.append(text.strip())
                elif cells:
                    reason = f"{len(cells)} cell{'s' * (len(cells) > 1)}, but the header has {len(header)}"
                    problems.append(Problem(f"{path}:{line}", "torn", reason))
        except (csv.Error, UnicodeDecodeError) as error:
            raise PathError(
                "csv", str(path), f"must be a CSV in UTF-8 ({error})", "save the table in this format"
            ) from None
    return [name.strip() for name in header], lines, columns, problems


def _is_comment(line: str, columns: Sequence[str]) -> bool:
    """Return whether a line before the table is a comment. A line with all ``columns`` is the header."""
    if not line.lstrip().startswith("#"):
        return False
    _, names = _split(line.lstrip().removeprefix("#"), columns)
    return not set(columns) <= set(names)


def _time_column(columns: dict[str, str | None]) -> tuple[str, str | None]:
    """Return the unit of times and the name of their column; "seconds" and None if the table has no times."""
    times = [(unit, name) for unit, name in columns.items() if name is not None]
    if not times:
        return "seconds", None
    if len(times) > 1:
        (unit, name), (first, _) = times[1], times[0]
        raise ConflictError(unit, name, f"cannot be used with {first}", "choose only one column of times")
    (unit, name) = times[0]
    says = {_UNIT_NAMES[word] for word in re.split(r"[^a-z]+", name.lower()) if word in _UNIT_NAMES}
    if len(says) == 1 and unit not in says:
        (other,) = says
        fix = f"pass the column as {other}" if other in columns else f"convert the column to {unit}"
        rule = f"must be a column of {unit}, but its name says {other}"
        raise MismatchError(unit, name, rule, f"{fix}, or rename the column")
    return unit, name


def _column_indices(path: Path, names: list[str], columns: list[tuple[str, str]]) -> dict[str, int]:
    counts = Counter(names)
    for field, name in columns:
        if counts[name] != 1:
            rule = "is not a column of the CSV" if name not in counts else "must be the name of only one column"
            raise UnknownNameError(field, name, rule, f"the columns are {', '.join(names)}")
    if "" in counts:
        where = ", ".join(str(place) for place, name in enumerate(names, start=1) if not name)
        rule = f"every column must have a name (no name: column {where} of {len(names)})"
        raise FormatError("csv", str(path), rule, "delete the column, or name it in the header")
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        rule = f"column names must differ (two columns have the name {twice[0]!r})"
        raise FormatError("csv", str(path), rule, "rename or delete one of these columns")
    return {name: place for place, name in enumerate(names)}


def _recipe_names(keys: Iterable[tuple[str, ...]], columns: list[str], stem: str) -> dict[tuple[str, ...], str]:
    """Return a recipe name for each combination of cells: the cells, or ``column=cell`` if two names would be equal."""
    combinations = list(keys)
    names = [" ".join(filter(None, key)) for key in combinations]
    if len(set(names)) < len(names):
        names = [
            " ".join(f"{column}={cell}" for column, cell in zip(columns, key, strict=True) if cell)
            for key in combinations
        ]
    return dict(zip(combinations, unique_labels([name or stem for name in names]), strict=True))


def _check_named(frame: pd.DataFrame, rest: Mapping[str, Sequence[str]], recipes: list[str]) -> None:
    """Raise an InputError if rows with the same recipe and SSR differ in a column that is not in any option.

    Rows with the same recipe and SSR count as seeds of one recipe, but the column may distinguish recipes.
    """
    cell = frame.groupby(["recipe", "ssr"], sort=False).ngroup().to_numpy()
    first = np.unique(cell, return_index=True)[1][cell]
    unlike: dict[str, int] = {}
    for name, values in rest.items():
        codes = pd.factorize(np.array(values, dtype=object))[0]
        differs = codes != codes[first]
        if differs.any():
            unlike[name] = int(np.argmax(differs))
    if not unlike:
        return
    row = next(iter(unlike.values()))
    lines = " and ".join(frame["job"].iloc[[first[row], row]])
    rule = (
        f"lines {lines} have the same recipe and ssr {frame['ssr'].iloc[row]:g}, but differ in columns that are not in "
        f"any option: {_column_names(list(unlike))}"
    )
    fix = "pass each column to an option: recipe if it distinguishes recipes, seed if it has seeds, otherwise pool"
    raise ConflictError("recipe", ", ".join(recipes) or None, rule, fix)


def _column_names(names: list[str]) -> str:
    text = ", ".join(map(repr, names[:_MOST_NAMED]))
    return text + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
