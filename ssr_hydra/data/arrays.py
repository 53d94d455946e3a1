"""A data set in memory from files of arrays or tables."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from ssr_hydra.data.describe import describe_tensors
from ssr_hydra.data.splits import check_split, hold_out
from ssr_hydra.data.tables import MISSING, SampleTable, TableReader, is_number
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    MismatchError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.settings.base import count as check_count
from ssr_hydra.settings.base import flag, number, one_of, positive
from ssr_hydra.settings.data import DECIMALS, DTYPES, LAYOUTS, TASKS

_CHUNK = 1024  # number of samples that are processed in float64 together
_FEWEST_STEPS = 100  # float32 must represent at least this many values between a column's minimum and maximum
_NOISE = 1e-12  # a column whose relative spread is below this number is constant


class Arrays(TensorDataset):
    r"""Inputs and targets from an .npz, .npy, .csv or .tsv file, or a folder of .npy files, held in memory.

    An .npz file or a folder has two named arrays, inputs [N, ...] and targets [N] or [N, T]. A .csv, .tsv or .npy file
    has one sample per row. The last column is the target, unless ``targets`` lists other columns.

    With ``eval_path``, the run trains on all samples of ``path`` and evaluates on all samples of ``eval_path``. Without
    ``eval_path``, the run evaluates on a fraction of the samples of ``path``. This split is stratified by class, and
    depends only on ``eval_fraction`` and ``split_seed``. Class numbers and the statistics of ``standardize``
    depend only on the training samples.

    Args:
        path: The file, or the folder of .npy files.
        eval_path: The file of the evaluation samples; None holds out samples of ``path``.
        split: ``"train"`` or ``"eval"``.
        inputs: Names of the input columns. Without a header, the names are ``"0"``, ``"1"`` and so on. None means all
            columns except the targets. For an .npz file or a folder: a list with the name of one array. None means the
            array with the name inputs, x, X, images, features or data.
        targets: Names of the target columns. None means the last column. For an .npz file or a folder: a list with the
            name of one array. None means the array with the name targets, y, Y or labels.
        task: ``"classification"``: each sample has one target, a class number >= 0 or a word. Words are numbered in
            alphabetical order. ``"regression"``: targets [N, T] are float32, or float64 if ``dtype`` is float64.
        header: Whether the first row of a table has the names of the columns. None also means yes, but raises
            an error if the first row looks like data.
        delimiter: The delimiter of a table; None detects commas, semicolons, tabs or vertical bars.
        decimal: The decimal separator of a table, ``"."`` or ``","``.
        na_values: Words for a missing target, in upper or lower case. None means common words, such as NA, NaN, null
            and ?. An empty cell is always missing.
        shape: Shape of one sample, such as [1, 28, 28]; None keeps the shape in the file.
        layout: The axes of image samples in the file, ``"hw"``, ``"hwc"`` or ``"chw"``. The samples are converted to
            [C, H, W]. None keeps the axes.
        dtype: Type of the inputs: ``"float32"``, ``"float64"``, or ``"int64"`` for tokens.
        divide_by: The divisor of the inputs. For example, 255 scales bytes to [0, 1].
        standardize: Whether to subtract the mean and divide by the standard deviation of the training samples. Both
            statistics are per feature, or per channel if ``layout`` is set. A constant feature becomes 0.
        eval_fraction: Fraction of the samples to hold out if there is no ``eval_path``, between 0 and 1.
        split_seed: Seed of the split.

    Raises:
        InputError: A file is missing or cannot be read. A value is missing, not finite or not a class. Too many
            samples of the evaluation file are also in the training file.

    Example:
        >>> import pathlib
        >>> _ = pathlib.Path("flowers.csv").write_text("width,length,kind\n" + "1.0,2.0,rose\n3.0,4.0,lily\n" * 5)
        >>> Arrays("flowers.csv", eval_fraction=0.4)
        Arrays('flowers.csv', split='train': 6 samples of [2], 2 classes)
        >>> Arrays("flowers.csv", "eval", split="eval")
        Traceback (most recent call last):
        ssr_hydra.errors.PathError: eval_path='eval': not found; correct the path (looked for ...
    """

    _test_path: str | None = None

    def __init__(
        self,
        path: str,
        eval_path: str | None = None,
        split: str = "train",
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        task: str = "classification",
        header: bool | None = None,
        delimiter: str | None = None,
        decimal: str = ".",
        na_values: Sequence[str] | None = None,
        shape: Sequence[int] | None = None,
        layout: str | None = None,
        dtype: str = "float32",
        divide_by: float = 1.0,
        standardize: bool = False,
        eval_fraction: float = 0.2,
        split_seed: int = 0,
    ) -> None:
        self._arguments = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        self.path, self.split = path, check_split(split, eval_fraction, split_seed)
        self.part = split
        self.partition = {"path": _absolute_path(path), "eval_path": _absolute_path(eval_path)}
        if eval_path is None:
            self.partition |= {"eval_fraction": eval_fraction, "split_seed": split_seed}
        _check_settings(self._arguments)
        missing = MISSING if na_values is None else {word.lower() for word in na_values}

        def read(name: str, field: str) -> tuple[SampleTable, NDArray[Any]]:
            table = TableReader(name, field, inputs, targets, header, delimiter, decimal).read()
            _check_words(table, missing | {""}, task)
            return table, _inputs(table, shape, layout, dtype)

        table, x = read(path, "path")
        classes = _classes(table) if task == "classification" else None
        y = _targets(table, classes, task)
        if eval_path is None:
            strata = np.zeros(len(y)) if task == "regression" else y
            held_out = hold_out(strata, eval_fraction, split_seed)
            x, y, rest, rest_y = x[~held_out], y[~held_out], x[held_out], y[held_out]
        other_path, field = (eval_path, "eval_path") if self._test_path is None else (self._test_path, "test")
        other = None
        if split == "eval" and other_path is not None:
            other, rest = read(other_path, field)
            if table.columns != other.columns or x.shape[1:] != rest.shape[1:]:
                has, expected = (other.columns, table.columns) if table.columns else (rest.shape[1:], x.shape[1:])
                rule = f"must have the same inputs as {table.path}, {list(expected or ())} (got {list(has or ())})"
                raise MismatchError(field, other.path, rule, "name the columns with inputs=[...]")
            rest_y = _targets(other, classes, task)
            _check_apart(table, other, field)
            if field == "test" and eval_path is not None:
                _check_apart(read(eval_path, "eval_path")[0], other, field)
        scale = _statistics(x, layout) if standardize else _Scale(0.0, divide_by)
        if split == "eval":
            x, y, table = rest, rest_y, table if other is None else other
        self.classes = classes
        self.num_classes = None if task == "regression" else int(y.max()) + 1 if classes is None else len(classes)
        y = y if task == "classification" else _cast(table, y, dtype, _Scale(), "targets", table.target_columns)
        super().__init__(torch.from_numpy(_cast(table, x, dtype, scale, "inputs", table.columns)), torch.from_numpy(y))

    def other(self, path: str) -> Arrays:
        """Return a test set: all samples of the file ``path``, with the scaling and class numbers of this data set.

        Args:
            path: A file with the columns and classes of this data set.

        Raises:
            InputError: The file is invalid, or most of its samples are training or evaluation samples.
        """
        return _OtherFile(path, self._arguments)

    def describe(self) -> dict[str, Any]:
        """Return the path, the split, the number of samples, and a SHA-256 of the tensors."""
        return describe_tensors(f"{self.path} {self.split}", self.tensors)

    def __repr__(self) -> str:
        shape = list(self.tensors[0].shape[1:])
        classes = "" if self.num_classes is None else f", {self.num_classes} classes"
        return f"Arrays({self.path!r}, split={self.split!r}: {len(self)} samples of {shape}{classes})"


class _OtherFile(Arrays):
    """A test set: samples of a file that is neither the training nor the evaluation file."""

    def __init__(self, path: str, arguments: dict[str, Any]) -> None:
        self._test_path = path
        super().__init__(**{**arguments, "split": "eval"})
        self.path, self.split, self.part = path, "test", "test"


def _absolute_path(path: object) -> object:
    """Return the absolute path with links resolved. If the value cannot be a path, return it unchanged."""
    with suppress(ValueError):  # the path has a null byte; the reader refuses this path later
        return os.path.realpath(Path(path).expanduser()) if isinstance(path, str) else path
    return path


def _check_settings(settings: dict[str, Any]) -> None:
    delimiter, decimal, dtype = settings["delimiter"], settings["decimal"], settings["dtype"]
    one_of(settings["task"], "task", TASKS)
    one_of(dtype, "dtype", DTYPES)
    if decimal not in DECIMALS:
        raise UnknownNameError("decimal", decimal, "must be '.' or ','", "use '.'")
    if settings["header"] is not None:
        flag(settings["header"], "header")
    if delimiter is not None and (not isinstance(delimiter, str) or len(delimiter) != 1):
        raise FormatError("delimiter", delimiter, "must be one character, or null", "write e.g. ','")
    if settings["layout"] is not None:
        one_of(settings["layout"], "layout", tuple(LAYOUTS))
    for index, size in enumerate(settings["shape"] or ()):
        check_count(size, f"shape[{index}]")
    positive(number(settings["divide_by"], "divide_by"), "divide_by")
    for field, unused in (("standardize", False), ("divide_by", 1)):
        if dtype == "int64" and settings[field] != unused:
            raise ConflictError(field, settings[field], "cannot be used with dtype=int64", "use dtype=float32")


def _inputs(table: SampleTable, shape: Sequence[int] | None, layout: str | None, dtype: str) -> NDArray[Any]:
    """Check and reshape the inputs. Keep their data type."""
    raw = table.inputs
    if raw.dtype.kind not in "buif":
        rule = f"must be real numbers (in {table.path})"
        raise WrongTypeError("inputs", str(raw.dtype), rule, "choose inputs that are real numbers")
    if dtype == "int64" and raw.dtype.kind == "f":
        _refuse(table, raw, raw != np.floor(raw), "must be an integer", "use dtype=float32")
    elif raw.dtype.kind == "f":
        fix = "correct the value, or choose columns with inputs=[...]"
        _refuse(table, raw, ~np.isfinite(raw), "must be finite", fix)
    if shape is not None:
        numbers = int(np.prod(raw.shape[1:]))
        if int(np.prod(shape)) != numbers:
            rule = f"must have the product {numbers}, the number of values in a sample of {table.path}"
            raise MismatchError("shape", list(shape), rule, "correct the shape")
        raw = raw.reshape(-1, *shape)
    if layout is not None and raw.ndim != LAYOUTS[layout]:
        rule = f"does not fit samples of shape {list(raw.shape[1:])}"
        raise MismatchError("layout", layout, rule, "set shape, or layout=null")
    if layout == "hw":
        return raw[:, np.newaxis]
    return raw.transpose(0, 3, 1, 2) if layout == "hwc" else raw


class _Scale(NamedTuple):
    mean: Any = 0.0
    std: Any = 1.0

    @property
    def is_identity(self) -> bool:
        return np.ndim(self.std) == 0 and (self.mean, self.std) == (0.0, 1.0)


def _cast(
    table: SampleTable, values: NDArray[Any], dtype: str, scale: _Scale, field: str, columns: list[str] | None
) -> NDArray[Any]:
    """Scale the values by ``scale``, and convert them to ``dtype``.

    Refuse values that are too large for ``dtype``, or that become equal in ``dtype``.
    """
    cast = np.empty(values.shape, dtype)
    with np.errstate(over="ignore"):  # overflow is checked below
        for begin in range(0, len(values), _CHUNK):
            part = values[begin : begin + _CHUNK]
            part = part if scale.is_identity else (part.astype(np.float64) - scale.mean) / scale.std
            cast[begin : begin + _CHUNK] = part
    if not np.isfinite(cast).all():
        raise RangeError("dtype", dtype, f"cannot hold the largest numbers of {table.path}", "use dtype=float64")
    if dtype == "float32" and scale.is_identity and values.dtype.itemsize > 2 and values.dtype != np.float32:
        low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
        largest = np.maximum(np.abs(low), np.abs(high))
        span = high - low
        lost = (span > _NOISE * largest) & (span < _FEWEST_STEPS * np.spacing(largest.astype(np.float32)))
        if lost.any():
            place = np.argwhere(lost)[0].tolist()
            where = f"column {columns[place[0]]!r}" if columns is not None else f"{field}{place}"
            rule = f"is too coarse for the small differences between the values of {where} of {table.path}"
            fix = "set standardize=true or" if field == "inputs" else "subtract a constant from the targets, or set"
            raise MismatchError("dtype", dtype, rule, f"{fix} dtype=float64")
    return cast


def _refuse(table: SampleTable, values: NDArray[Any], bad: NDArray[np.bool_], what: str, fix: str) -> None:
    if not bad.any():
        return
    place = np.argwhere(bad)[0]
    if table.columns is not None:
        column = f", column {table.columns[place[1]]!r}"
    else:
        column = f", at [{', '.join(str(k) for k in place[1:])}]" if len(place) > 1 else ""
    raise FormatError("inputs", float(values[tuple(place)]), f"{what} ({table.row(place[0])}{column})", fix)


def _check_words(table: SampleTable, missing: Set[str], task: str) -> None:
    """Refuse missing targets, and class targets that mix numbers and words."""
    if table.targets.dtype.kind != "U":
        return
    for column in range(len(table.target_columns)):
        counts = Counter(table.targets[:, column].tolist())  # in the order of the file
        for word in counts:
            if word.strip().lower() in missing or not word.isprintable():
                what, fix = "must contain only printable characters", "remove the other characters from the value"
                if word.isprintable():
                    what, fix = "is missing", "fill in the value or delete the row"
                    fix += "; if this word is a class, set na_values=[]" if word else ""
                _refuse_target(table, word, column, what, fix)
        n_numbers = sum(count for word, count in counts.items() if is_number(word))
        if task == "classification" and 0 < n_numbers < counts.total():
            most = n_numbers * 2 >= counts.total()
            odd = next(word for word in counts if is_number(word) != most)
            what = f"must be a {'number' if most else 'word'}, like the other targets"
            _refuse_target(table, odd, column, what, "correct this target, or write all targets as words")


def _refuse_target(table: SampleTable, word: str, column: int, what: str, fix: str) -> NoReturn:
    """Raise an error that names the first target equal to ``word``."""
    where = table.target(table.targets[:, column].tolist().index(word), column)
    raise FormatError("targets", word, f"{what} ({where})", fix)


def _classes(table: SampleTable) -> list[str] | None:
    """Return the class names in alphabetical order. Return None if the targets are numbers."""
    if len(table.target_columns) != 1:
        rule = "must be one column for classification"
        raise MismatchError("targets", table.target_columns, rule, "choose one target column, or set task=regression")
    labels = table.targets[:, 0]
    if labels.dtype.kind != "U" or is_number(str(labels[0])):
        return None
    return sorted(set(labels.tolist()))


def _targets(table: SampleTable, classes: list[str] | None, task: str) -> NDArray[Any]:
    """Return class numbers [N], or the targets of a regression [N, T] in float64."""
    raw = table.targets
    if raw.dtype.kind not in "buifU":
        rule = f"must be real numbers or words (in {table.path})"
        raise WrongTypeError("targets", str(raw.dtype), rule, "choose targets that are real numbers or words")
    if classes is not None:
        number = {name: index for index, name in enumerate(classes)}
        words = [str(word) for word in raw[:, 0]]
        for row, word in enumerate(words):
            if word not in number:
                rule = f"in {table.row(row)}, is not a class of the training samples"
                raise UnknownNameError("targets", word, rule, f"the classes are {', '.join(classes[:10])}")
        return np.array([number[word] for word in words], dtype=np.int64)
    values = _finite_targets(table, raw)
    if task == "regression":
        return values
    wrong = (values != np.floor(values)) | (values < 0)
    if wrong.any():
        row = int(np.argmax(wrong[:, 0]))
        rule = f"must be an integer >= 0 ({table.row(row)})"
        raise RangeError("targets", float(values[row, 0]), rule, "number the classes from 0, or set task=regression")
    return values[:, 0].astype(np.int64)


def _finite_targets(table: SampleTable, raw: NDArray[Any]) -> NDArray[np.float64]:
    """Return the targets in float64. Refuse a target that is not a finite number."""
    try:
        values = raw.astype(np.float64)
    except ValueError:
        row, column = next(place for place in np.ndindex(raw.shape) if not is_number(raw[place]))
        rule = f"must be a number ({table.target(row, column)})"
        raise WrongTypeError("targets", str(raw[row, column]), rule, "correct the value") from None
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        rule = f"must be finite ({table.target(row, column)})"
        raise RangeError("targets", float(values[row, column]), rule, "correct the value")
    return values


def _check_apart(table: SampleTable, other: SampleTable, field: str) -> None:
    """Refuse an evaluation or test file ``other`` if too many of its samples are also in the file ``table``.

    A fraction of at most ``max(0.5, 2 * r)`` of the samples of ``other`` may be in ``table`` too. r is the fraction of
    the samples of ``table`` that occur more than once in ``table``. A copy of ``table`` in any order is refused.
    """
    train, evaluation = _hashes(table), _hashes(other)
    counts = Counter(train)
    shared = sum(sample in counts for sample in evaluation)
    twins = sum(counts[sample] > 1 for sample in train) / len(train)
    if counts == Counter(evaluation) or shared / len(evaluation) > max(0.5, 2 * twins):
        kind, fix = ("training", f"use samples that are not in {table.path}, or set eval_on_train")
        if field == "test":
            kind, fix = "training or evaluation", f"use samples that are not in {table.path}"
        rule = f"must not have {kind} samples, but {shared} of its {len(evaluation)} samples are in {table.path}"
        raise ConflictError(field, other.path, rule, fix)


def _hashes(table: SampleTable) -> list[int]:
    """Return a hash of the inputs and targets of each sample."""
    targets = table.targets if table.targets.dtype.kind == "U" else table.targets.astype(np.float64)
    return [
        hash((sample.tobytes(), tuple(target.tolist())))
        for begin in range(0, len(targets), _CHUNK)
        for sample, target in zip(
            np.ascontiguousarray(table.inputs[begin : begin + _CHUNK], dtype=np.float64),
            targets[begin : begin + _CHUNK],
            strict=True,
        )
    ]


def _statistics(x: NDArray[Any], layout: str | None) -> _Scale:
    """Return the mean and standard deviation of each feature or channel. Constant values get the deviation 1."""
    axes = (0,) if layout is None else (0, 2, 3)
    parts = [slice(begin, begin + _CHUNK) for begin in range(0, len(x), _CHUNK)]  # reading by parts needs less memory
    count = x.size / np.prod([size for axis, size in enumerate(x.shape) if axis not in axes])
    mean = sum(x[part].sum(axes, keepdims=True, dtype=np.float64) for part in parts) / count
    variance = sum(((x[part] - mean) ** 2).sum(axes, keepdims=True) for part in parts) / count
    std = np.sqrt(variance)
    return _Scale(mean, np.where(std <= _NOISE * np.abs(mean), 1.0, std))
