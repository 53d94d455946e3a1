"""Read inputs and targets from .npz, .npy, .csv and .tsv files, without unpickling."""

from __future__ import annotations

import csv
import itertools
import re
import zipfile
from array import array
from collections.abc import Sequence
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
    """Inputs [N, ...], targets [N, T] as numbers or words, and names for error messages."""

    path: str
    inputs: NDArray[Any]
    targets: NDArray[Any]
    columns: list[str] | None  # names of the input columns; None if the file has arrays
    target_columns: list[str]
    rows: array[int] | None  # the last line number of each sample; None if the file is not a text file

    def row(self, index: int) -> str:
        """Return the file and the row of a sample for error messages."""
        return f"{self.path}, {f'sample {index}' if self.rows is None else f'row {self.rows[index]}'}"

    def target(self, index: int, column: int) -> str:
        """Return the file, the row and the column of a target for error messages."""
        return f"{self.row(index)}, column {self.target_columns[column]!r}"


def read_table(
    path: object,
    field: str,
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    header: bool | None = None,
    delimiter: str | None = None,
    decimal: str = ".",
) -> SampleTable:
    """Read inputs and targets from a file, or from a folder of .npy files.

    ``field`` is the setting that contains the path, for error messages. :class:`~ssr_hydra.data.Arrays` describes the
    other arguments.

    Raises:
        InputError: The file is missing or cannot be read, or a cell is invalid.
    """
    if not isinstance(path, str) or not path:
        raise PathError(field, path, f"must be the path of a file: {_FORMATS}", "write e.g. samples.npz")
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    try:
        if not file.exists():
            raise PathError(field, path, "not found", f"correct the path (looked for {file.absolute()})")
        if file.is_dir():
            arrays = {part.stem: part for part in sorted(file.glob("*.npy"))}
            return _from_arrays(path, field, arrays, inputs, targets)
        if suffix == ".npz":
            # NumPy leaves a file with a truncated archive open. So open the file here: `with` closes it.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return _from_arrays(path, field, archive, inputs, targets)
        if suffix == ".npy":
            return _from_matrix(path, field, np.load(file, mmap_mode="r", allow_pickle=False), inputs, targets)
        if suffix in (".csv", ".tsv"):
            with file.open(encoding="utf-8-sig", newline="") as text:
                return _from_text(path, field, text, inputs, targets, header, delimiter, decimal)
    except InputError:
        raise
    except UnicodeDecodeError:
        raise PathError(field, path, "must be in UTF-8", "save the file in UTF-8") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, csv.Error) as error:
        reason = " ".join(str(error).split())
        if any(words in reason for words in ("pickle", "Object arrays", "Python objects")):
            rule = "must not be damaged or contain Python objects, which could run code"
            raise UntrustedError(field, path, rule, "save arrays of numbers: numpy.savez(path, x=..., y=...)") from None
        raise PathError(
            field, path, f"cannot be read: {reason or type(error).__name__}", "save the file again"
        ) from None
    raise FormatError(field, path, f"must be {_FORMATS}", "rename or convert the file")


def _from_arrays(
    path: str, field: str, arrays: Any, inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> SampleTable:
    """Read the arrays of an .npz file, or of a folder of .npy files."""

    def get(selection: Sequence[str] | None, usual: Sequence[str], what: str) -> tuple[str, NDArray[Any]]:
        names = list(arrays)
        if selection is not None and len(selection) != 1:
            raise UnknownNameError(
                what, list(selection), "must be the name of one array", f"choose one of {', '.join(names)}"
            )
        chosen = [name for name in (usual if selection is None else selection) if name in names]
        if len(chosen) != 1:
            rule = f"must be the name of an array in {path}, which has {', '.join(names) or 'no arrays'}"
            fix = f"write e.g. {what}=[{names[0] if names else '...'}]"
            raise UnknownNameError(what, None if selection is None else selection[0], rule, fix)
        member = arrays[chosen[0]]
        return chosen[0], np.load(member, allow_pickle=False) if isinstance(member, Path) else member

    _, x = get(inputs, _INPUTS, "inputs")
    name, y = get(targets, _TARGETS, "targets")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        rule = f"must have a target for each input (inputs have the shape {_shape(x)}, and targets {_shape(y)})"
        raise MismatchError(field, path, rule, "save one target for each input")
    if y.ndim > 2:
        raise MismatchError(
            "targets", name, f"must have the shape [N] or [N, T] (has {_shape(y)})", "reshape the targets"
        )
    columns = [name] if y.ndim == 1 or y.shape[1] == 1 else [f"{name}[{number}]" for number in range(y.shape[1])]
    return SampleTable(path, x, y.reshape(len(y), -1), None, columns, None)


def _from_matrix(
    path: str, field: str, matrix: NDArray[Any], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> SampleTable:
    """Choose the inputs and the targets from the columns of one matrix."""
    if matrix.ndim != 2:
        rule = f"must be a matrix of samples and columns in a single .npy (has shape {_shape(matrix)})"
        raise MismatchError(field, path, rule, "save inputs and targets in an .npz")
    names = [str(number) for number in range(matrix.shape[1])]
    ins, outs = _choose(path, names, inputs, targets)
    x, y = np.ascontiguousarray(matrix[:, ins]), np.ascontiguousarray(matrix[:, outs])
    return SampleTable(path, x, y, [names[k] for k in ins], [names[k] for k in outs], None)


def _from_text(
    path: str,
    field: str,
    stream: TextIO,
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    header: bool | None,
    delimiter: str | None,
    decimal: str,
) -> SampleTable:
    delimiter = _delimiter(stream) if delimiter is None else delimiter
    # strict=True refuses an unclosed quote. Otherwise the cell would contain the following rows.
    reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True, strict=True)
    rows = ((reader.line_num, row) for row in reader if len(row) > 1 or "".join(row).strip())
    head = list(itertools.islice(rows, _PEEKED))
    if not head:
        raise FormatError(field, path, "is empty", "write rows of numbers")
    first = [cell.strip() for cell in head[0][1]]
    if header is None:
        _check_header(path, first, [row for _, row in head[1:]], decimal)
    names = [str(number) for number in range(len(first))] if header is False else first
    _check_names(field, path, names, inputs, targets)
    ins, outs = _choose(path, names, inputs, targets)
    numbers, words, lines = array("d"), [], array("q")
    for line, row in itertools.chain(head[header is not False :], rows):
        if len(row) != len(names):
            where = f"row {line} has {len(row)} columns instead of {len(names)}"
            raise FormatError(field, path, where, f"if the delimiter is not {delimiter!r}, set delimiter")
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
            raise FormatError(field, path, where, _fix(row[bad], delimiter, decimal)) from None
        words.append([_with_point(row[k].strip(), decimal) for k in outs])
        lines.append(line)
    if not lines:
        raise FormatError(field, path, "has no rows", "write rows of numbers")
    x = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), len(ins))
    return SampleTable(path, x, np.array(words), [names[k] for k in ins], [names[k] for k in outs], lines)


def _delimiter(stream: TextIO) -> str:
    """Return the delimiter of a table. Return a comma if the table has only one column."""
    sample = stream.read(_SNIFFED)
    stream.seek(0)
    try:
        return csv.Sniffer().sniff(sample, _DELIMITERS).delimiter
    except csv.Error:
        return ","


def _check_header(path: str, first: list[str], body: list[list[str]], decimal: str) -> None:
    """Refuse a first row that may be data, because it has a number in every column of numbers."""
    # The index of each numeric column, and whether the column's first cell is a number.
    above: list[tuple[int, bool]] = []
    for place, cell in enumerate(first):
        below = [row[place] for row in body if len(row) > place and row[place].strip().lower() not in MISSING]
        if cell.lower() not in MISSING and below and all(is_number(other, decimal) for other in below):
            above.append((place, is_number(cell, decimal)))
    if above and all(is_also for _, is_also in above):
        place = above[0][0]
        rule = f"must be set, because row 1, column {place + 1} of {path} is the number {first[place]}"
        raise FormatError("header", None, rule, "set header=false if row 1 is data, or header=true if row 1 has names")


def _check_names(
    field: str, path: str, names: list[str], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> None:
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise FormatError(field, path, f"has two columns {twice!r}", "rename one of the columns, or set header=false")
    for place, name in enumerate(names):
        # A column without a name is probably a mistake, and must not become an input or target.
        if _UNNAMED.fullmatch(name) and (inputs is None or (targets is None and place == len(names) - 1)):
            rule = f"must have a name in row 1, column {place + 1}"
            raise FormatError(field, path, rule, "delete the column, or choose columns with inputs=[...] targets=[...]")


def _cell_number(cell: str, decimal: str) -> float:
    """Return a cell as a number. Raise ValueError for any other text, including ``1_000``, which float() accepts."""
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


def _choose(
    path: str, names: list[str], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[int], list[int]]:
    """Return the indices of the input columns and of the target columns."""

    def places(columns: Sequence[str], what: str) -> list[int]:
        for name in columns:
            if name not in names:
                listing = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
                raise UnknownNameError(what, name, f"is not a column of {path}", f"the columns are {listing}")
        return [names.index(name) for name in columns]

    outs = [len(names) - 1] if targets is None else places(targets, "targets")
    ins = [k for k in range(len(names)) if k not in outs] if inputs is None else places(inputs, "inputs")
    if not ins or not outs:
        raise FormatError(
            "inputs" if not ins else "targets",
            [],
            f"must have at least one column of {path}",
            "choose columns with inputs=[...] targets=[...]",
        )
    if both := set(ins) & set(outs):
        name = names[min(both)]
        raise ConflictError(
            "inputs", name, "cannot be both an input and a target", "remove the column from inputs or targets"
        )
    return ins, outs


def is_number(cell: str, decimal: str = ".") -> bool:
    """Return whether a cell is a number."""
    try:
        _cell_number(cell, decimal)
    except ValueError:
        return False
    return True


def _shape(value: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, value.shape))}]"
