"""Read inputs and targets from .npz, .npy, .csv and .tsv files, without unpickling."""

from __future__ import annotations

import csv
import itertools
import re
import zipfile
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MismatchError,
    PathError,
    UnknownNameError,
    UntrustedError,
)

MISSING = frozenset(
    ("", "#n/a", "#n/a n/a", "#na", "-nan", "<na>", "n/a", "na", "nan", "none", "null", "missing", "?", "-", "--", ".")
)
"""Common words for a missing value in lower case, from pandas and the data sets of UCI."""

_INPUTS = ("inputs", "x", "X", "images", "features", "data")
_TARGETS = ("targets", "y", "Y", "labels")
_FORMATS = ".npz, .npy, .csv or .tsv, or a folder of .npy files"
_DELIMITERS = ",;\t|"
_SNIFFED = 8192  # number of characters that are read to detect the delimiter
_PEEKED = 50  # number of rows that are read to detect a header
_UNNAMED = re.compile(r"|Unnamed: \d+")  # an empty name, or pandas' name of an unnamed column


class SampleTable(NamedTuple):
    """The samples of a file: inputs [N, ...], targets [N, T] (numbers or words), and names for error messages."""

    path: str
    inputs: NDArray[Any]
    targets: NDArray[Any]
    columns: list[str] | None  # names of the input columns; None if the file has arrays
    target_columns: list[str]
    rows: array[int] | None  # the last line of each sample in a text file; None for other files

    def row(self, index: int) -> str:
        """Return the file and the row of a sample for error messages."""
        return f"{self.path}, {f'sample {index}' if self.rows is None else f'row {self.rows[index]}'}"

    def target(self, index: int, column: int) -> str:
        """Return the file, the row and the column of a target for error messages."""
        return f"{self.row(index)}, column {self.target_columns[column]!r}"


@dataclass(frozen=True)
class TableReader:
    """Reader of inputs and targets from a file, or from a folder of .npy files.

    ``field`` is the setting that contains the path, for error messages. :class:`~ssr_hydra.data.Arrays` describes the
    other arguments.
    """

    path: str
    field: str
    inputs: Sequence[str] | None
    targets: Sequence[str] | None
    header: bool | None
    delimiter: str | None
    decimal: str

    def read(self) -> SampleTable:
        """Read the file. Raise an InputError for a missing, unreadable or invalid file."""
        path, field = self.path, self.field
        if not isinstance(path, str) or not path:
            raise PathError(field, path, f"must be the path of a file: {_FORMATS}", "write e.g. samples.npz")
        file = Path(path).expanduser()
        suffix = file.suffix.lower()
        try:
            if not file.exists():
                raise PathError(field, path, "not found", f"correct the path (looked for {file.absolute()})")
            if file.is_dir():
                return self._from_arrays({part.stem: part for part in sorted(file.glob("*.npy"))})
            if suffix == ".npz":
                # np.load() does not close a truncated archive. So open the file in this `with` statement.
                with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                    return self._from_arrays(archive)
            if suffix == ".npy":
                return self._from_matrix(np.load(file, mmap_mode="r", allow_pickle=False))
            if suffix in (".csv", ".tsv"):
                with file.open(encoding="utf-8-sig", newline="") as text:
                    return self._from_text(text)
        except InputError:
            raise
        except UnicodeDecodeError:
            raise PathError(field, path, "must be in UTF-8", "save the file in UTF-8") from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            if any(words in reason for words in ("pickle", "Object arrays", "Python objects")):
                rule = "must not be damaged or contain Python objects, which could run code"
                fix = "save arrays of numbers: numpy.savez(path, x=..., y=...)"
                raise UntrustedError(field, path, rule, fix) from None
            raise PathError(field, path, f"cannot be read: {reason}", "save the file again") from None
        raise FormatError(field, path, f"must be {_FORMATS}", "rename or convert the file")

    def _from_arrays(self, arrays: Any) -> SampleTable:
        names = list(arrays)

        def get(selection: Sequence[str] | None, usual: Sequence[str], what: str) -> tuple[str, NDArray[Any]]:
            chosen = [name for name in (usual if selection is None else selection) if name in names]
            if len(chosen) != 1 or len(selection or chosen) != 1:
                rule = f"must name exactly one array of {self.path} (it has {', '.join(names) or 'no arrays'})"
                fix = f"write e.g. {what}=[{names[0] if names else '...'}]"
                raise UnknownNameError(what, None if selection is None else list(selection), rule, fix)
            member = arrays[chosen[0]]
            return chosen[0], np.load(member, allow_pickle=False) if isinstance(member, Path) else member

        _, x = get(self.inputs, _INPUTS, "inputs")
        name, y = get(self.targets, _TARGETS, "targets")
        if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
            rule = f"must have a target for each input (inputs have the shape {_shape(x)}, and targets {_shape(y)})"
            raise MismatchError(self.field, self.path, rule, "save one target for each input")
        if y.ndim > 2:
            rule = f"must have the shape [N] or [N, T] (has {_shape(y)})"
            raise MismatchError("targets", name, rule, "reshape the targets")
        columns = [name] if y.ndim == 1 or y.shape[1] == 1 else [f"{name}[{number}]" for number in range(y.shape[1])]
        return SampleTable(self.path, x, y.reshape(len(y), -1), None, columns, None)

    def _from_matrix(self, matrix: NDArray[Any]) -> SampleTable:
        if matrix.ndim != 2:
            rule = f"must be a matrix of samples and columns in a single .npy (has shape {_shape(matrix)})"
            raise MismatchError(self.field, self.path, rule, "save inputs and targets in an .npz")
        names = [str(number) for number in range(matrix.shape[1])]
        ins, outs = self._choose(names)
        x, y = np.ascontiguousarray(matrix[:, ins]), np.ascontiguousarray(matrix[:, outs])
        return SampleTable(self.path, x, y, [names[k] for k in ins], [names[k] for k in outs], None)

    def _from_text(self, stream: TextIO) -> SampleTable:
        decimal, delimiter = self.decimal, self.delimiter or _delimiter(stream)
        # Without strict=True, a cell with an unclosed quote would contain the following rows.
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
        rows = ((reader.line_num, row) for row in reader if len(row) > 1 or "".join(row).strip())
        head = list(itertools.islice(rows, _PEEKED))
        if not head:
            raise self._format_error("is empty", "write rows of numbers")
        first = [cell.strip() for cell in head[0][1]]
        if self.header is None:
            self._check_header(first, [row for _, row in head[1:]])
        names = [str(number) for number in range(len(first))] if self.header is False else first
        self._check_names(names)
        ins, outs = self._choose(names)
        numbers, words, lines = array("d"), [], array("q")
        for line, row in itertools.chain(head[self.header is not False :], rows):
            if len(row) != len(names):
                where = f"row {line} has {len(row)} columns instead of {len(names)}"
                raise self._format_error(where, f"if the delimiter is not {delimiter!r}, set delimiter")
            cells = [row[k] for k in ins]
            try:
                if decimal == "." and "_" not in "".join(cells):
                    numbers.extend(map(float, cells))
                else:
                    numbers.extend([_cell_number(cell, decimal) for cell in cells])
            except ValueError:
                bad = next(k for k in ins if not is_number(row[k], decimal))
                what = "is empty" if not row[bad].strip() else f"must be a number (is {row[bad]!r})"
                where = f"row {line}, column {names[bad]!r} {what}"
                raise self._format_error(where, _fix(row[bad], delimiter, decimal)) from None
            words.append([_with_point(row[k].strip(), decimal) for k in outs])
            lines.append(line)
        if not lines:
            raise self._format_error("has no rows", "write rows of numbers")
        x = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), len(ins))
        return SampleTable(self.path, x, np.array(words), [names[k] for k in ins], [names[k] for k in outs], lines)

    def _format_error(self, rule: str, fix: str) -> FormatError:
        return FormatError(self.field, self.path, rule, fix)

    def _check_header(self, first: list[str], body: list[list[str]]) -> None:
        """Refuse a first row that may be data: it has a number in each column whose other cells are all numbers."""
        numeric = []
        for place, cell in enumerate(first):
            below = [row[place] for row in body if len(row) > place and row[place].strip().lower() not in MISSING]
            if cell.lower() not in MISSING and below and all(is_number(other, self.decimal) for other in below):
                numeric.append(place)
        if numeric and all(is_number(first[place], self.decimal) for place in numeric):
            rule = (
                f"must be set, because row 1, column {numeric[0] + 1} of {self.path} is the number {first[numeric[0]]}"
            )
            fix = "set header=false if row 1 is data, or header=true if row 1 has names"
            raise FormatError("header", None, rule, fix)

    def _check_names(self, names: list[str]) -> None:
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice is not None:
            raise self._format_error(f"has two columns {twice!r}", "rename one of the columns, or set header=false")
        for place, name in enumerate(names):
            # A column without a name is probably a mistake, so refuse it as a default input or target.
            is_default = self.inputs is None or (self.targets is None and place == len(names) - 1)
            if is_default and _UNNAMED.fullmatch(name):
                fix = "delete the column, or choose columns with inputs=[...] targets=[...]"
                raise self._format_error(f"must have a name in row 1, column {place + 1}", fix)

    def _choose(self, names: list[str]) -> tuple[list[int], list[int]]:
        """Return the indices of the input columns and of the target columns."""

        def places(columns: Sequence[str], what: str) -> list[int]:
            for name in columns:
                if name not in names:
                    listing = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
                    raise UnknownNameError(what, name, f"is not a column of {self.path}", f"the columns are {listing}")
            return [names.index(name) for name in columns]

        outs = [len(names) - 1] if self.targets is None else places(self.targets, "targets")
        rest = [k for k in range(len(names)) if k not in outs]
        ins = rest if self.inputs is None else places(self.inputs, "inputs")
        if not ins or not outs:
            rule = f"must have at least one column of {self.path}"
            field = "targets" if ins else "inputs"
            raise FormatError(field, [], rule, "choose columns with inputs=[...] targets=[...]")
        if both := set(ins) & set(outs):
            rule = "cannot be both an input and a target"
            raise ConflictError("inputs", names[min(both)], rule, "remove the column from inputs or targets")
        return ins, outs


def _delimiter(stream: TextIO) -> str:
    """Return the delimiter of a table. Return a comma if the table has only one column."""
    sample = stream.read(_SNIFFED)
    stream.seek(0)
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:
        return ","


def _cell_number(cell: str, decimal: str) -> float:
    """Convert a cell to a number. Raise ValueError for a word, and for ``1_000``, which float() accepts."""
    if "_" in cell or (decimal == "," and "." in cell):
        raise ValueError(cell)
    return float(cell.replace(",", ".") if decimal == "," else cell)


def _with_point(cell: str, decimal: str) -> str:
    """Replace the decimal comma of a number by a point. Return a word unchanged."""
    return cell.replace(",", ".") if decimal == "," and is_number(cell, decimal) else cell


def _fix(cell: str, delimiter: str, decimal: str) -> str:
    if decimal == "." and re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell):
        return "set decimal=',' if this is a decimal comma"
    other = next((mark for mark in _DELIMITERS if mark != delimiter and mark in cell), None)
    if other is not None:
        return f"set delimiter={other!r} if this character separates columns"
    return "correct the value, or choose columns with inputs=[...]"


def is_number(cell: str, decimal: str = ".") -> bool:
    """Return whether a cell is a number."""
    try:
        _cell_number(cell, decimal)
    except ValueError:
        return False
    return True


def _shape(value: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, value.shape))}]"
