"""Anybody's arrays and tables as a data set in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import TensorDataset

from ssr_hydra.data.describe import describe_tensors
from ssr_hydra.data.seeding import check_count, check_seed
from ssr_hydra.data.splits import check_share, check_split, hold_out
from ssr_hydra.data.tables import Table, is_number, read_table
from ssr_hydra.errors import InputError

__all__ = ["Arrays"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64, "int64": torch.int64}
_LAYOUTS = {"hw": 3, "hwc": 4, "chw": 4}


class Arrays(TensorDataset):
    r"""Inputs and targets from an .npz, an .npy or a .csv file, or a folder of .npy files, held in memory.

    An .npz (or a folder) holds two arrays by name, inputs [N, ...] and targets [N] or [N, T]. A .csv, or an .npy that
    is a matrix, has a sample in each row; the last column is the target, unless others are named.

    Evaluation is on a file of its own, or on a share of the samples that is held out. Which ones depends on
    ``eval_fraction`` and ``split_seed`` alone, never on the run's seed; classes are split in the same proportion. What
    is learned from the data before training, the means of ``standardize`` and the numbers of named classes, is learned
    from the training samples and applied to both splits.

    Args:
        path: The file.
        eval_path: The file of the evaluation samples; None holds some of ``path`` out.
        split: ``"train"`` or ``"eval"``.
        inputs: Input columns by name (without a header by number, from ``"0"``); None is all but the targets. Of a file
            of arrays, the name of the one array; None finds inputs, x, X, images, features or data.
        targets: Target columns, or the one array; None is the last column, or targets, y, Y or labels.
        task: ``"classification"``: one target, a class number from 0, or words, which are numbered in their order.
            ``"regression"``: float32 targets [N, T].
        header: Whether a .csv begins with the names of its columns.
        delimiter: What separates its columns.
        shape: Shape of one sample, such as [1, 28, 28]; None leaves it as it is.
        layout: What the axes of image samples are, ``"hw"``, ``"hwc"`` or ``"chw"``, to make them [C, H, W]; None
            leaves them as they are.
        dtype: Of the inputs: ``"float32"``, ``"float64"``, or ``"int64"`` for tokens.
        divide_by: Divides the inputs: 255 takes bytes to [0, 1].
        standardize: Subtract the mean and divide by the standard deviation of the training samples: of each feature, or
            of each channel where there is a layout. A feature that is the same everywhere becomes 0.
        eval_fraction: Share of the samples held out, between 0 and 1, where there is no ``eval_path``.
        split_seed: Which split of that size.

    Raises:
        InputError: A file that is not there or cannot be read; values that are no finite numbers, no classes, or do not
            fit together; with their row and column.

    Example:
        >>> import pathlib
        >>> _ = pathlib.Path("flowers.csv").write_text("width,length,kind\n" + "1.0,2.0,rose\n3.0,4.0,lily\n" * 5)
        >>> Arrays("flowers.csv", eval_fraction=0.4)
        Arrays('flowers.csv', split='train': 6 samples of [2], 2 classes)
        >>> Arrays("flowers.csv", "eval", split="eval")
        Traceback (most recent call last):
        ssr_hydra.errors.InputError: eval_path='eval': there is no such file; looked for ...
    """

    def __init__(
        self,
        path: str,
        eval_path: str | None = None,
        split: str = "train",
        inputs: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        task: str = "classification",
        header: bool = True,
        delimiter: str = ",",
        shape: Sequence[int] | None = None,
        layout: str | None = None,
        dtype: str = "float32",
        divide_by: float = 1.0,
        standardize: bool = False,
        eval_fraction: float = 0.2,
        split_seed: int = 0,
    ) -> None:
        self.path, self.split = path, check_split(split)
        check_share(eval_fraction)
        check_seed(split_seed, "split_seed")
        _check_settings(task, delimiter, shape, layout, dtype, divide_by, standardize)

        def read(name: object, field: str) -> tuple[Table, Tensor]:
            table = read_table(name, field, inputs, targets, header, delimiter)
            return table, _inputs(table, shape, layout, _DTYPES[dtype], divide_by)

        table, x = read(path, "path")
        classes = _classes(table) if task == "classification" else None
        y = _targets(table, classes, task)
        if eval_path is None:
            strata = np.zeros(len(y)) if task == "regression" else y.numpy()
            held_out = torch.from_numpy(hold_out(strata, eval_fraction, split_seed))
            x, y, rest, rest_y = x[~held_out], y[~held_out], x[held_out], y[held_out]
        elif split == "eval":
            other, rest = read(eval_path, "eval_path")
            _check_alike(table, other, x, rest)
            rest_y = _targets(other, classes, task)
        if standardize:
            mean, std = _statistics(x, layout)
        if split == "eval":
            x, y = rest, rest_y
        if standardize:
            x = (x - mean.to(x.dtype)) / std.to(x.dtype)
        self.classes = classes
        self.num_classes = None if task == "regression" else int(y.max()) + 1 if classes is None else len(classes)
        super().__init__(x.contiguous(), y.contiguous())

    def describe(self) -> dict[str, Any]:
        """Name, number of samples, and a SHA-256 of the tensors as they are trained on."""
        return describe_tensors(f"{self.path} {self.split}", self.tensors)

    def __repr__(self) -> str:
        shape = list(self.tensors[0].shape[1:])
        classes = "" if self.num_classes is None else f", {self.num_classes} classes"
        return f"Arrays({self.path!r}, split={self.split!r}: {len(self)} samples of {shape}{classes})"


def _check_settings(
    task: object, delimiter: object, shape: Any, layout: object, dtype: object, divide_by: object, standardize: bool
) -> None:
    if task not in ("classification", "regression"):
        raise InputError("task", task, "must be 'classification' or 'regression'", "choose one")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        raise InputError("delimiter", delimiter, "must be one character", "e.g. ','")
    if dtype not in _DTYPES:
        raise InputError("dtype", dtype, f"must be one of {', '.join(_DTYPES)}", "use float32")
    if layout is not None and layout not in _LAYOUTS:
        raise InputError("layout", layout, f"must be one of {', '.join(_LAYOUTS)}, or null", "use chw")
    for index, size in enumerate(shape or ()):
        check_count(size, f"shape[{index}]", example=28)
    if isinstance(divide_by, bool) or not isinstance(divide_by, (int, float)) or not 0 < divide_by < float("inf"):
        raise InputError("divide_by", divide_by, "must be a finite number above 0", "use 255 for bytes")
    if dtype == "int64" and (standardize or divide_by != 1):
        field, value = ("standardize", True) if standardize else ("divide_by", divide_by)
        raise InputError(field, value, "whole numbers cannot be scaled", "use dtype=float32")


def _inputs(table: Table, shape: Sequence[int] | None, layout: str | None, dtype: torch.dtype, divide_by: float) -> Any:
    raw = table.inputs
    if raw.dtype.kind not in "buif":
        raise InputError("inputs", str(raw.dtype), f"{table.path} holds no numbers there", "choose other columns")
    if dtype == torch.int64 and raw.dtype.kind == "f":
        _refuse(table, raw, raw != np.floor(raw), "is no whole number", "use dtype=float32")
    elif raw.dtype.kind == "f":
        _refuse(table, raw, ~np.isfinite(raw), "is not finite", "correct it, or choose columns with inputs=[...]")
    with np.errstate(over="ignore"):  # seen right after
        x = torch.from_numpy(np.array(raw, dtype=str(dtype).removeprefix("torch.")))
    if not torch.isfinite(x).all():
        raise InputError("dtype", "float32", f"{table.path} holds numbers too large for it", "use dtype=float64")
    if divide_by != 1:
        x /= divide_by
    if shape is not None:
        if int(np.prod(shape)) != x[0].numel():
            rule = f"a sample of {table.path} has {x[0].numel()} numbers"
            raise InputError("shape", list(shape), rule, "give a shape of as many")
        x = x.reshape(-1, *shape)
    if layout is not None and x.ndim != _LAYOUTS[layout]:
        raise InputError(
            "layout", layout, f"the samples are shaped {list(x.shape[1:])}", "give their shape, or no layout"
        )
    if layout == "hw":
        return x.unsqueeze(1)
    return x.permute(0, 3, 1, 2) if layout == "hwc" else x


def _refuse(table: Table, values: NDArray[Any], bad: NDArray[np.bool_], what: str, fix: str) -> None:
    if not bad.any():
        return
    place = np.argwhere(bad)[0]
    if table.columns is not None:
        column = f", column {table.columns[place[1]]!r}"
    else:
        column = f", at [{', '.join(str(k) for k in place[1:])}]" if len(place) > 1 else ""
    raise InputError("inputs", float(values[tuple(place)]), f"{what} ({table.row(place[0])}{column})", fix)


def _classes(table: Table) -> list[str] | None:
    """The names of the classes, where they are words; None where they are numbers."""
    if len(table.target_columns) != 1:
        rule = "a classification has one target"
        raise InputError("targets", table.target_columns, rule, "name one, or set task=regression")
    labels = table.targets[:, 0]
    if labels.dtype.kind != "U":
        return None
    try:
        labels.astype(np.float64)
    except ValueError:
        return sorted(set(labels.tolist()))
    return None


def _targets(table: Table, classes: list[str] | None, task: str) -> Tensor:
    raw = table.targets
    if raw.dtype.kind not in "buifU":
        raise InputError(
            "targets", str(raw.dtype), f"{table.path} holds neither numbers nor words there", "choose others"
        )
    if classes is not None:
        number = {name: index for index, name in enumerate(classes)}
        words = [str(word) for word in raw[:, 0]]
        for row, word in enumerate(words):
            if word not in number:
                rule = f"is no class of the training samples ({table.row(row)})"
                raise InputError("targets", word, rule, f"they are {', '.join(classes[:10])}")
        return torch.tensor([number[word] for word in words], dtype=torch.int64)
    values = _numbers(table, raw)
    if task == "regression":
        return torch.from_numpy(values.astype(np.float32))
    wrong = (values != np.floor(values)) | (values < 0)
    if wrong.any():
        row = int(np.argmax(wrong[:, 0]))
        rule = f"a class is a whole number from 0 ({table.row(row)})"
        raise InputError("targets", float(values[row, 0]), rule, "number the classes from 0, or set task=regression")
    return torch.from_numpy(values[:, 0].astype(np.int64))


def _numbers(table: Table, raw: NDArray[Any]) -> NDArray[np.float64]:
    """The targets as finite numbers."""
    try:
        values = raw.astype(np.float64)
    except ValueError:
        row, column = next(place for place in np.ndindex(raw.shape) if not is_number(raw[place]))
        where = f"{table.row(row)}, column {table.target_columns[column]!r}"
        raise InputError("targets", str(raw[row, column]), f"is no number ({where})", "correct it") from None
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        where = f"{table.row(row)}, column {table.target_columns[column]!r}"
        raise InputError("targets", float(values[row, column]), f"is not finite ({where})", "correct it")
    return values


def _check_alike(table: Table, other: Table, x: Tensor, other_x: Tensor) -> None:
    if table.columns != other.columns or x.shape[1:] != other_x.shape[1:]:
        has, wanted = (other.columns, table.columns) if table.columns else (other_x.shape[1:], x.shape[1:])
        rule = f"its inputs are {list(has or ())}, those of {table.path} {list(wanted or ())}"
        raise InputError("eval_path", other.path, rule, "name the columns with inputs=[...]")


def _statistics(x: Tensor, layout: str | None) -> tuple[Tensor, Tensor]:
    axes = [0] if layout is None else [0, 2, 3]
    mean = x.mean(axes, keepdim=True, dtype=torch.float64)
    variance = torch.zeros_like(mean)
    for part in torch.split(x, 1024):  # in parts, so that the whole never lies in memory in float64
        variance += ((part.to(torch.float64) - mean) ** 2).sum(axes, keepdim=True)
    std = (variance / (x.numel() / mean.numel())).sqrt()
    return mean, torch.where(std == 0, 1.0, std)
