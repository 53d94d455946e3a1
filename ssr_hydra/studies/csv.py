"""Read a study from a table of runs that other software has written."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ssr_hydra.errors import ConflictError, FormatError, MismatchError, MissingValueError, PathError, UnknownNameError
from ssr_hydra.metrics import Direction, resolve_direction
from ssr_hydra.settings.base import positive
from ssr_hydra.studies.notes import Note, notes_of_frame
from ssr_hydra.studies.reading import without_duplicates
from ssr_hydra.studies.recipes import unique_labels
from ssr_hydra.studies.study import Problem, Study, as_curves, as_frame
from ssr_hydra.studies.table_cells import as_texts, cell_number, measured_cells, summarized_cells

_WIDE_SSR = "SSR (from the column names)"
_LENGTH = re.compile(r"(?:^-)?[.,]?\d[\d.,]*(?:[eE][+-]?\d+)?\s*%?")
_LENGTH_UNITS = {"epoch", "epochs", "step", "steps", "iteration", "iterations", "token", "tokens", "sample", "samples",
                 "flop", "flops", "hour", "hours", "gpu hours", "days"}  # fmt: skip
_TIMES, _NOISE = ("seconds", "minutes", "hours", "steps"), ("sd", "se")
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

    Rows with the same recipe and ssr are runs with different seeds. If ``seed`` names a column, runs with the same seed
    are paired when recipes or SSRs are compared. If the quality of a run is empty, not finite or ``diverged``, the run
    counts as diverged, without a quality. A row that cannot be read becomes a :class:`Problem` of the study. So does
    the second of two rows with the same recipe, ssr and seed. If rows with the same recipe and ssr differ in any other
    column, this column may distinguish recipes, so you must name it in ``recipe``, ``seed`` or ``pool``.

    Args:
        file: Path of the table, in UTF-8.
        ssr: Name of the column of scale schedule ratios, or, with ``full``, of the column of run lengths in any unit.
            If this name is a unit of length, such as ``epochs``, ``full`` is required. With ``wide``, ``ssr`` must be
            None.
        quality: Name of the column of final metrics.
        seconds: Name of the column of training seconds; None if the table has no training seconds.
        recipe: Name of the column, or columns, that distinguish the compared recipes. None means that there is one
            recipe, which gets the name of the file.
        seed: Name of the column of seeds, which are whole numbers.
        minutes: Name of the column of training minutes, instead of ``seconds``.
        hours: Name of the column of training hours, instead of ``seconds``.
        steps: Name of the column of training steps.
        status: Name of the column of statuses: completed, diverged, failed or stopped.
        n: If each row has the mean of several runs: name of the column with the number of these runs. None means that
            each row is one run.
        sd: Name of the column with the standard deviation of the quality of a row's runs.
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
            can be read; it is unknown whether a higher quality is better; the name of the time column contradicts the
            unit, such as ``seconds='hours'``; a name in ``wide`` does not have exactly one number; ``full`` is missing;
            or rows with the same recipe and ssr differ in a column that no argument names.
        OSError: The file cannot be read.

    Example:
        >>> study = from_csv("resnet50.csv", ssr="ssr", quality="top1", seconds="seconds")  # doctest: +SKIP
    """
    path = Path(file)
    recipes, pool, wide = ([names] if isinstance(names, str) else list(names or ()) for names in (recipe, pool, wide))
    unit, time = _time_column({"seconds": seconds, "minutes": minutes, "hours": hours})
    if (ssr is None) != bool(wide):
        rule = "must be set, because 'wide' is not set" if ssr is None else "cannot be used with 'wide'"
        raise ConflictError(
            "ssr", ssr, rule, "set 'ssr' to the column of SSRs, or 'wide' to the metric columns (one for each SSR)"
        )
    positive(full, "full", "write the length of the full run, e.g. 90")
    if decimal not in (".", ","):
        raise UnknownNameError("decimal", decimal, "must be '.' or ','", "use '.'")
    unit_of_length = _unit_of_length(wide) if ssr is None else ssr
    if full is None and unit_of_length.lower() in _LENGTH_UNITS:
        rule = f"must be a column of SSRs, but its name {unit_of_length} is a unit of run length"
        field, value = ("wide", wide[0]) if ssr is None else ("ssr", ssr)
        raise MismatchError(
            field, value, rule, "to convert lengths to SSRs, set full to the length of the run at SSR 1"
        )
    ssr = _WIDE_SSR if ssr is None else ssr
    noise = "sd" if se is None else "se"
    names = {"ssr": ssr, "quality": quality, unit: time, "steps": steps, "seed": seed, "status": status, "n": n}
    columns = {field: name for field, name in {**names, "sd": sd, "se": se}.items() if name is not None}
    _check_summary(columns)
    named = [*columns.items(), *(("recipe", name) for name in recipes), *(("pool", name) for name in pool)]
    _check_distinct(named)
    in_file = [*wide, *(name for _, name in named if not wide or name not in (ssr, quality))]
    table, problems = _read_table(path, in_file)
    header = list(table)
    if wide:
        _check_header(path, header, [("wide", name) for name in wide])
        header = [*(name for name in header if name not in wide), ssr, quality]
    _check_header(path, header, named)
    if wide:
        table = _melted(table, _lengths(wide, full, decimal), quality)
    texts = {field: table[name].to_numpy(dtype=object) for field, name in columns.items()}
    if decimal == ",":
        numbers = texts.keys() & {"ssr", "quality", "steps", unit, noise}
        texts |= {field: as_texts(text.replace(",", ".") for text in texts[field]) for field in numbers}
    if quality in (sd, se):
        parts = [text.replace("+-", "±").replace("+/-", "±").partition("±")[::2] for text in texts["quality"]]
        texts |= {
            "quality": as_texts(mean.strip() for mean, _ in parts),
            noise: as_texts(s.strip(" %") for _, s in parts),
        }
        quality = quality.partition("±")[0].strip()
    measured, reasons = measured_cells(texts, unit, full)
    summarized = summarized_cells(texts, noise, reasons)
    lines = table.index.tolist()
    problems += [Problem(f"{path}:{lines[row]}", "torn", reason) for row, reason in reasons.items()]
    problems += [
        Problem(f"{path}:{lines[row]}", measured["status"][row], error)
        for row, error in enumerate(measured["error"])
        if error and row not in reasons
    ]
    valid_rows = [row for row in range(len(lines)) if row not in reasons]
    if not valid_rows:
        first = min(problems, key=lambda problem: int(problem.where.rpartition(":")[2]), default=None)
        why = f": {first.where}: {first.reason}" if first is not None else ""
        fix = "correct the cells, or name a different column" if lines else "write a row for each run"
        if decimal == "." and re.search(r"'[-+]?\d*,\d+ ?%?'", why):
            fix = "set decimal to a comma"
        raise FormatError("csv", str(path), f"has no row that can be read{why}", fix)
    rows = pd.DataFrame({**measured, "job": list(map(str, lines))}, dtype=object).iloc[valid_rows]
    table = table.iloc[valid_rows].reset_index(drop=True)
    keys: list[tuple[str, ...]] = [()] * len(table)
    if recipes:
        keys = list(table[recipes].itertuples(index=False, name=None))
    labels = _recipe_names(dict.fromkeys(keys), recipes, path.stem)
    rows = rows.assign(
        study=path.stem, recipe=[labels[key] for key in keys], control="", samples=math.nan, tokens=math.nan,
        total_seconds=rows["seconds"], resumes=0, max_duration="", config_hash=None,
        folder=[f"{path}:{line}" for line in rows["job"]],
    )  # fmt: skip
    frame = as_frame(rows.reset_index(drop=True))
    _check_named(frame, table.drop(columns=list({name for _, name in named})), recipes)
    summaries = {index: summarized[row] for index, row in enumerate(valid_rows) if row in summarized}
    _check_one_row(frame, summaries)
    way = resolve_direction(direction, columns["quality"], "direction")
    # Rows that are means have no seed, so none is dropped as a duplicate, and the indices in ``summaries`` stay valid.
    frame, curves, twice = without_duplicates(frame, as_curves())
    notes = notes_of_frame(frame)
    untimed = frame[frame["quality"].notna() & ~(frame["seconds"] > 0)]
    if time is not None and len(untimed):
        notes.append(Note("no_times", unit, ((str(untimed["job"].iloc[0]), len(untimed)),)))
    return Study(
        frame, curves, quality, way, (*problems, *twice), tuple(notes), sources=(path,), summarized=summaries,
        length=None if full is None else (unit_of_length, float(full)),
    )  # fmt: skip


def _unit_of_length(wide: Sequence[str]) -> str:
    """Return the unit in the names of wide columns: ``epochs`` for ``30 epochs``; empty if the units differ."""
    units = sorted((_LENGTH.sub("", name).strip() for name in wide), key=len)
    same = {unit.lower().removesuffix("s") for unit in units}
    if len(same) > 1 and any(unit.lower() in _LENGTH_UNITS for unit in units):
        rule = f"must all have the same unit (got {' and '.join(repr(unit) for unit in dict.fromkeys(units))})"
        raise MismatchError("wide", ", ".join(wide), rule, "rename the columns")
    return units[-1] if len(same) == 1 else ""


def _lengths(wide: Sequence[str], full: float | None, decimal: str) -> dict[str, str]:
    """Return the number in the name of each wide column, which is an SSR or a length: ``30`` for ``30 epochs``."""
    lengths: dict[str, str] = {}
    columns: dict[float, str] = {}
    for name in wide:
        texts = [text.replace(" ", "") for text in _LENGTH.findall(name)]
        texts = [text.replace(",", ".") for text in texts] if decimal == "," else texts
        value = cell_number(texts[0].removesuffix("%")) if len(texts) == 1 else math.nan
        if not 0 < value < math.inf:
            rule = f"the name must contain exactly one number above 0: an SSR or a length (decimal separator {decimal})"
            raise FormatError("wide", name, rule, "rename the column, e.g. to 0.25 or 30 epochs")
        lengths[name] = texts[0]
        other = columns.setdefault(value / (100 if texts[0].endswith("%") else full or 1), name)
        if other != name:
            raise ConflictError(
                "wide",
                name,
                f"has the same SSR as the column {other!r}",
                "if these columns are seeds, write a row for each seed",
            )
    return lengths


def _melted(table: pd.DataFrame, lengths: Mapping[str, str], quality: str) -> pd.DataFrame:
    """Convert a table that has a column of qualities for each SSR to a table that has a row for each SSR."""
    others = [name for name in table if name not in lengths]
    # pandas refuses a new column with the name of an existing column, and quality may be the name of a wide column.
    rows = table.melt(others, list(lengths), 0, 1, ignore_index=False).sort_index(kind="stable")
    rows.columns = pd.Index([*others, _WIDE_SSR, quality])
    rows[_WIDE_SSR] = rows[_WIDE_SSR].map(lengths)
    return rows[rows[quality] != ""]


def _check_summary(columns: Mapping[str, str]) -> None:
    if "sd" in columns and "se" in columns:
        raise ConflictError("se", columns["se"], "cannot be used with sd", "set only one of sd and se")
    for field in _NOISE:
        if field in columns and "n" not in columns:
            rule = "needs n, the column with the number of runs"
            raise MissingValueError(field, columns[field], rule, "set n to the name of this column")
    if "n" in columns and "seed" in columns:
        rule = "cannot be used with seed, because the mean of several runs has no seed"
        raise ConflictError("n", columns["n"], rule, "remove n or seed")


def _check_distinct(named: Sequence[tuple[str, str]]) -> None:
    """Refuse a column that two arguments name, except run lengths in time, and qualities like ``93.1 ± 0.2``."""
    fields: dict[str, str] = {}
    for field, name in named:
        other = fields.setdefault(name, field)
        if other != field and not (other == "ssr" and field in _TIMES) and not (other == "quality" and field in _NOISE):
            raise ConflictError(field, name, f"is already the column of {other}", "use each column only once")


def _check_one_row(frame: pd.DataFrame, summarized: Mapping[int, Any]) -> None:
    """Refuse two rows of one recipe and SSR if one is a mean of several runs: their noise cannot be combined."""
    for _, rows in frame.groupby(["recipe", "ssr"], sort=False):
        if len(rows) > 1 and any(index in summarized for index in rows.index):
            lines = " and ".join(rows["job"].iloc[:2])
            rule = f"lines {lines} have the same recipe and ssr, and at least one of them is a mean of several runs"
            raise ConflictError("n", None, rule, "write one row with the mean of all runs, or a row for each run")


def _split(line: str, columns: Sequence[str]) -> tuple[str, list[str]]:
    """Return the delimiter with which the header ``line`` has the most names of ``columns``, and all its names."""
    split = [(mark, [name.strip() for name in next(csv.reader([line], delimiter=mark), [])]) for mark in _DELIMITERS]
    return max(split, key=lambda item: (sum(name in item[1] for name in columns), len(item[1]) if not columns else 0))


def _read_table(path: Path, column_names: Sequence[str]) -> tuple[pd.DataFrame, list[Problem]]:
    """Return the texts of the cells, with line numbers as index, and a problem for each row of wrong length."""
    lines: list[int] = []
    rows: list[tuple[str, ...]] = []  # tuples, because Python's garbage collector skips tuples of texts
    problems: list[Problem] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            texts = list(stream)
        is_head = (text.strip(" ,;|\t\r\n") and not _is_comment(text, column_names) for text in texts)
        start = next((place for place, head in enumerate(is_head) if head), None)
        if start is None:
            raise FormatError("csv", str(path), "is empty", "write a header, and a row for each run")
        if texts[start].lstrip().startswith("#"):
            texts[start] = texts[start].lstrip().removeprefix("#")
        delimiter, _ = _split(texts[start], column_names)
        # Replace a comment by an empty line, so that the line numbers are those of the file.
        reader = csv.reader(("\n" if text.startswith("#") else text for text in texts[start:]), delimiter=delimiter)
        header = [name.strip() for name in next(reader)]
        for cells in reader:
            line = reader.line_num + start
            if len(cells) == len(header):
                lines.append(line)
                rows.append(tuple(map(str.strip, cells)))
            elif cells:
                reason = f"{len(cells)} cell{'s' * (len(cells) > 1)}, but the header has {len(header)}"
                problems.append(Problem(f"{path}:{line}", "torn", reason))
    except (csv.Error, UnicodeDecodeError) as error:
        fix = "save the table in this format"
        raise PathError("csv", str(path), f"must be a CSV in UTF-8 ({error})", fix) from None
    return pd.DataFrame(rows, lines, header, dtype=object), problems


def _is_comment(line: str, columns: Sequence[str]) -> bool:
    """Return whether a line before the table is a comment. A line with all ``columns`` is the header."""
    if not line.lstrip().startswith("#"):
        return False
    _, names = _split(line.lstrip().removeprefix("#"), columns)
    return not set(columns) <= set(names)


def _time_column(columns: dict[str, str | None]) -> tuple[str, str | None]:
    """Return the unit and the name of the column of times; "seconds" and None if the table has no times."""
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


def _check_header(path: Path, names: list[str], columns: Iterable[tuple[str, str]]) -> None:
    counts = Counter(names)
    for field, name in columns:
        if counts[name] != 1:
            rule = "is not a column of the CSV" if name not in counts else "is the name of several columns"
            raise UnknownNameError(field, name, rule, f"the columns are {', '.join(names)}")
    if "" in counts:
        where = ", ".join(str(place) for place, name in enumerate(names, start=1) if not name)
        rule = f"every column must have a name (columns without a name: {where} of {len(names)})"
        raise FormatError("csv", str(path), rule, "delete the column, or name it in the header")
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        rule = f"column names must differ (two columns have the name {twice[0]!r})"
        raise FormatError("csv", str(path), rule, "rename or delete one of these columns")


def _recipe_names(keys: Iterable[tuple[str, ...]], columns: list[str], stem: str) -> dict[tuple[str, ...], str]:
    """Return a name for each recipe: its cells, or the pairs ``column=cell`` if two names would be equal."""
    combinations = list(keys)
    names = [" ".join(filter(None, key)) for key in combinations]
    if len(set(names)) < len(names):
        pairs = [zip(columns, key, strict=True) for key in combinations]
        names = [" ".join(f"{column}={cell}" for column, cell in pair if cell) for pair in pairs]
    return dict(zip(combinations, unique_labels([name or stem for name in names]), strict=True))


def _check_named(frame: pd.DataFrame, rest: pd.DataFrame, recipes: list[str]) -> None:
    """Refuse rows of one recipe and SSR that differ in an unnamed column, because it may distinguish recipes."""
    cell = frame.groupby(["recipe", "ssr"], sort=False).ngroup().to_numpy()
    first = np.unique(cell, return_index=True)[1][cell]
    differs = {name: rest[name].to_numpy() != rest[name].to_numpy()[first] for name in rest}
    unlike = [name for name in rest if differs[name].any()]
    if not unlike:
        return
    row = int(np.argmax(differs[unlike[0]]))
    lines = " and ".join(frame["job"].iloc[[first[row], row]])
    columns = ", ".join(map(repr, unlike[:_MOST_NAMED]))
    more = f" and {len(unlike) - _MOST_NAMED} more" if len(unlike) > _MOST_NAMED else ""
    rule = (
        f"lines {lines} have the same recipe and ssr {frame['ssr'].iloc[row]:g}, but differ in columns that are not in "
        f"any option: {columns}{more}"
    )
    fix = (
        "pass each column to an option: recipe if it distinguishes recipes, seed if it has seeds, otherwise pool, "
        "which ignores the column"
    )
    raise ConflictError("recipe", ", ".join(recipes) or None, rule, fix)
