"""Reading inputs and targets from .npz, .npy and .csv files; nothing in them is ever unpickled."""

from __future__ import annotations

import csv
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssr_hydra.errors import InputError

__all__ = ["Table", "is_number", "read_table"]

_INPUTS = ("inputs", "x", "X", "images", "features", "data")
_TARGETS = ("targets", "y", "Y", "labels")
_FORMATS = ".npz, .npy or .csv, or a folder of .npy files"


class Table(NamedTuple):
    """What a file holds: inputs [N, ...], targets [N, T] of numbers or words, and names for messages."""

    path: str
    inputs: NDArray[Any]
    targets: NDArray[Any]
    columns: list[str] | None  # of the inputs, where they have names
    target_columns: list[str]
    rows: array[int] | None  # in which line of its file each sample ends, where it has lines

    def row(self, index: int) -> str:
        """Where a sample stands, for messages."""
        return f"{self.path}, {f'sample {index}' if self.rows is None else f'row {self.rows[index]}'}"


def read_table(
    path: object,
    field: str,
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    header: bool,
    delimiter: str,
) -> Table:
    """Inputs and targets of a file, or of a folder of .npy files.

    Args:
        path: Of the file.
        field: What the path is called, for messages.
        inputs: Names of the input columns; or of the one array, in a file of arrays.
        targets: Names of the target columns; or of the one array.
        header: Whether a .csv begins with the names of its columns.
        delimiter: What separates them.

    Raises:
        InputError: A file that is not there or cannot be read, with the row and column at fault.
    """
    if not isinstance(path, str) or not path:
        raise InputError(field, path, f"the path of a file: {_FORMATS}", "e.g. samples.npz")
    file = Path(path).expanduser()
    suffix = file.suffix.lower()
    try:
        if not file.exists():
            raise InputError(field, path, "there is no such file", f"looked for {file.absolute()}")
        if file.is_dir():
            found = {part.stem: part for part in sorted(file.glob("*.npy"))}
            return _from_arrays(path, field, found, inputs, targets)
        if suffix == ".npz":
            # Opened here, because NumPy leaves a file open whose archive is torn.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                return _from_arrays(path, field, archive, inputs, targets)
        if suffix == ".npy":
            return _from_matrix(path, field, np.load(file, mmap_mode="r", allow_pickle=False), inputs, targets)
        if suffix == ".csv":
            return _from_csv(path, field, file, inputs, targets, header, delimiter)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, UnicodeDecodeError, csv.Error) as error:
        reason = " ".join(str(error).split())
        if "pickle" in reason or "Object arrays" in reason:
            rule = "holds Python objects, which could run code and are never read, or is damaged"
            raise InputError(field, path, rule, "save arrays of numbers: numpy.savez(path, x=..., y=...)") from None
        raise InputError(field, path, f"cannot be read: {reason or type(error).__name__}", _FORMATS) from None
    raise InputError(field, path, f"is no file of a known kind, {_FORMATS}", "rename or convert it")


def _from_arrays(
    path: str, field: str, arrays: Any, inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> Table:
    """Of arrays by name: the members of an .npz, the files of a folder."""

    def get(wanted: Sequence[str] | None, usual: Sequence[str], what: str) -> tuple[str, NDArray[Any]]:
        names = list(arrays)
        if wanted is not None and len(wanted) != 1:
            raise InputError(what, list(wanted), "one array holds them all", f"name one of {', '.join(names)}")
        chosen = [name for name in (usual if wanted is None else wanted) if name in names]
        if len(chosen) != 1:
            rule = f"{path} has {', '.join(names) or 'no arrays'}"
            fix = f"name one: {what}=[{names[0] if names else '...'}]"
            raise InputError(what, None if wanted is None else wanted[0], rule, fix)
        member = arrays[chosen[0]]
        return chosen[0], np.load(member, allow_pickle=False) if isinstance(member, Path) else member

    _, x = get(inputs, _INPUTS, "inputs")
    name, y = get(targets, _TARGETS, "targets")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        sizes = f"{_shape(x)} inputs and {_shape(y)} targets"
        raise InputError(field, path, f"holds {sizes}", "as many of one as of the other are needed")
    if y.ndim > 2:
        raise InputError("targets", name, f"is shaped {_shape(y)}", "targets are shaped [N] or [N, T]")
    columns = [name] if y.ndim == 1 or y.shape[1] == 1 else [f"{name}[{number}]" for number in range(y.shape[1])]
    return Table(path, x, y.reshape(len(y), -1), None, columns, None)


def _from_matrix(
    path: str, field: str, matrix: NDArray[Any], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> Table:
    """Of the columns of one matrix."""
    if matrix.ndim != 2:
        rule = f"a single .npy is a table of samples and columns, and this is shaped {_shape(matrix)}"
        raise InputError(field, path, rule, "put inputs and targets into an .npz")
    names = [str(number) for number in range(matrix.shape[1])]
    ins, outs = _choose(path, names, inputs, targets)
    x, y = np.ascontiguousarray(matrix[:, ins]), np.ascontiguousarray(matrix[:, outs])
    return Table(path, x, y, [names[k] for k in ins], [names[k] for k in outs], None)


def _from_csv(
    path: str,
    field: str,
    file: Path,
    inputs: Sequence[str] | None,
    targets: Sequence[str] | None,
    header: bool,
    delimiter: str,
) -> Table:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter)
        first = next(rows, None)
        if first is None:
            raise InputError(field, path, "is empty", "give rows of numbers")
        if header and all(is_number(cell) for cell in first):
            rule = "its first row is numbers, and should be the names of the columns"
            raise InputError("header", True, f"{path}: {rule}", "set header=false")
        names = [cell.strip() for cell in first] if header else [str(number) for number in range(len(first))]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(field, path, f"has two columns {twice!r}", "rename one, or set header=false")
        ins, outs = _choose(path, names, inputs, targets)
        plain = ins == list(range(ins[0], ins[-1] + 1))
        numbers, words, lines = array("d"), [], array("q")
        for row in rows if header else _chain(first, rows):
            if not row:
                continue  # an empty line, at the end for one
            if len(row) != len(names):
                where = f"row {rows.line_num} has {len(row)} columns instead of {len(names)}"
                raise InputError(field, path, where, f"is {delimiter!r} its delimiter?")
            try:
                numbers.extend(map(float, row[ins[0] : ins[-1] + 1] if plain else [row[k] for k in ins]))
            except ValueError:
                bad = next(k for k in ins if not is_number(row[k]))
                what = "is empty" if not row[bad].strip() else f"holds {row[bad]!r}, which is no number"
                where = f"row {rows.line_num}, column {names[bad]!r} {what}"
                raise InputError(field, path, where, "correct it, or choose columns with inputs=[...]") from None
            words.append([row[k].strip() for k in outs])
            lines.append(rows.line_num)
    if not lines:
        raise InputError(field, path, "has no rows", "give rows of numbers")
    x = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), len(ins))
    return Table(path, x, np.array(words), [names[k] for k in ins], [names[k] for k in outs], lines)


def _chain(first: list[str], rows: Any) -> Any:
    yield first
    yield from rows


def _choose(
    path: str, names: list[str], inputs: Sequence[str] | None, targets: Sequence[str] | None
) -> tuple[list[int], list[int]]:
    """Which columns are inputs and which targets; by default the last is the target, and the rest are inputs."""

    def places(wanted: Sequence[str], what: str) -> list[int]:
        for name in wanted:
            if name not in names:
                shown = ", ".join(names[:20]) + (" ..." if len(names) > 20 else "")
                raise InputError(what, name, f"is no column of {path}", f"there are {shown}")
        return [names.index(name) for name in wanted]

    outs = [len(names) - 1] if targets is None else places(targets, "targets")
    ins = [k for k in range(len(names)) if k not in outs] if inputs is None else places(inputs, "inputs")
    if not ins or not outs:
        raise InputError("inputs" if not ins else "targets", [], f"{path} leaves no column for it", "choose others")
    if both := set(ins) & set(outs):
        name = names[min(both)]
        raise InputError("inputs", name, "is a target too, so there would be nothing to learn", "take it out of one")
    return ins, outs


def is_number(cell: str) -> bool:
    """Whether a cell reads as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _shape(value: NDArray[Any]) -> str:
    return f"[{', '.join(map(str, value.shape))}]"
