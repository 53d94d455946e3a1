"""Data sets of bytes: the source code of Python's standard library as windows or as documents."""

from __future__ import annotations

import functools
import platform
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset, TensorDataset

from ssr_hydra.data.describe import digest
from ssr_hydra.data.splits import check_split, hold_out
from ssr_hydra.errors import PathError, RangeError
from ssr_hydra.settings.base import count as check_count

_FEWEST = 100  # minimum number of source files; a standard library in a zip file has fewer
_File = tuple[str, bytes]  # name and text
IGNORED = -100
"""The label of bytes that the loss ignores. It is the default ``ignore_index`` of torch's losses."""


class ByteWindows(TensorDataset):
    """A text cut into windows of ``length`` bytes. The target of each byte is the next byte.

    Window i has the bytes [i * length, (i + 1) * length) of the text. Its targets are the bytes one position later.
    Bytes at the end of the text are dropped if they do not fill a whole window and its targets.

    Args:
        text: The text.
        length: Bytes per window.
        limit: The maximum number of windows, evenly spaced in the text; None keeps all windows.

    Raises:
        InputError: ``length`` or ``limit`` is below 1, or the text is too short for one window.

    Example:
        >>> windows = ByteWindows(b"to be or not to be", length=4)
        >>> len(windows), [bytes(part.tolist()) for part in windows[1]]
        (4, [b'e or', b' or '])
    """

    def __init__(self, text: bytes, length: int = 64, limit: int | None = None) -> None:
        count = (len(text) - 1) // check_count(length, "length")
        if count < 1:
            rule = f"must be less than the length of the text ({len(text)} bytes)"
            raise RangeError("length", length, rule, "use a smaller length, or a longer text")
        numbers = torch.frombuffer(bytearray(text), dtype=torch.uint8)[: count * length + 1].to(torch.int64)
        # Inputs and targets are views of the same memory.
        inputs, targets = numbers[:-1].view(count, length), numbers[1:].view(count, length)
        if limit is not None and check_count(limit, "limit") < count:
            chosen = torch.arange(limit) * count // limit
            inputs, targets = inputs[chosen], targets[chosen]
        self.length = length
        super().__init__(inputs, targets)


class StdlibBytes(ByteWindows):
    """The source code of Python's standard library as windows of bytes. By default, a tenth of the files is held out.

    The text consists of the top-level modules that are one file and do not depend on the build of Python: 166 files
    and 4.6 MB in CPython 3.11. The text depends on the version of Python, so :meth:`describe` returns the version and a
    SHA-256. The split depends on ``eval_fraction``, ``split_seed`` and the number of files.

    Args:
        split: ``"train"`` or ``"eval"``.
        length: Bytes per window.
        eval_fraction: Fraction of the files to hold out, between 0 and 1.
        split_seed: Seed of the split.
        limit: The maximum number of windows, evenly spaced in the text; None keeps all windows.

    Raises:
        InputError: The split is unknown, the fraction leaves a split empty, or this Python has no source files.

    Example:
        >>> train = StdlibBytes("train", length=64)
        >>> [part.shape for part in train[0]], train.tensors[0].dtype
        ([torch.Size([64]), torch.Size([64])], torch.int64)
    """

    def __init__(
        self,
        split: str = "train",
        length: int = 64,
        eval_fraction: float = 0.1,
        split_seed: int = 0,
        limit: int | None = None,
    ) -> None:
        self.part = self.split = split
        self.partition = {"eval_fraction": eval_fraction, "split_seed": split_seed}
        self._files = _files(split, eval_fraction, split_seed)
        super().__init__(b"".join(text for _, text in self._files), length, limit)

    def describe(self) -> dict[str, Any]:
        """Return the version of Python, and the SHA-256 and size of the files in this split."""
        return {**_describe("stdlib_bytes", self.split, self._files), "length": self.length, "samples": len(self)}

    def __repr__(self) -> str:
        size = sum(len(text) for _, text in self._files)
        return f"StdlibBytes({self.split!r}: {len(self)} windows of {self.length} bytes from {size} bytes)"


class StdlibDocuments(Dataset[Mapping[str, Tensor]]):
    """Python's standard library as documents. A document ends at a blank line, or after ``max_length`` bytes.

    A batch is a mapping of three tensors [N, L], where L is the length of the longest document in the batch. Shorter
    documents are padded at the end. ``input_ids`` are the bytes. ``attention_mask`` is 1 for text and 0 for padding.
    ``labels`` equal ``input_ids``, but with -100 for padding; the model must shift the labels by one.

    Args:
        split: ``"train"`` or ``"eval"``.
        max_length: The maximum number of bytes in a document, 2 or more.
        eval_fraction: Fraction of the files to hold out, between 0 and 1.
        split_seed: Seed of the split.
        limit: The maximum number of documents, evenly spaced in the text; None keeps all documents.

    Raises:
        InputError: The split is unknown, the fraction leaves a split empty, ``max_length`` or ``limit`` is too small,
            or this Python has no source files.

    Example:
        >>> documents = StdlibDocuments("train", max_length=128)
        >>> batch = documents.collate_fn([documents[0], documents[1]])
        >>> list(batch), batch["labels"].shape == batch["input_ids"].shape
        (['input_ids', 'attention_mask', 'labels'], True)
    """

    def __init__(
        self,
        split: str = "train",
        max_length: int = 256,
        eval_fraction: float = 0.1,
        split_seed: int = 0,
        limit: int | None = None,
    ) -> None:
        self.part = self.split = split
        self.partition = {"eval_fraction": eval_fraction, "split_seed": split_seed}
        self.max_length = check_count(max_length, "max_length", least=2)
        self._files = _files(split, eval_fraction, split_seed)
        parts = [part.strip(b"\n") + b"\n" for _, text in self._files for part in text.split(b"\n\n")]
        pieces = [part[begin : begin + max_length] for part in parts for begin in range(0, len(part), max_length)]
        documents = [piece for piece in pieces if len(piece) > 1]  # a document of one byte has no target
        if limit is not None and check_count(limit, "limit") < len(documents):
            documents = [documents[index * len(documents) // limit] for index in range(limit)]
        self._text = torch.frombuffer(bytearray(b"".join(documents)), dtype=torch.uint8)
        self._ends = np.cumsum([len(document) for document in documents]).tolist()

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        end = self._ends[index]  # for an index that is too large, this line raises the IndexError that ends a for loop
        begin = self._ends[index - 1] if index % len(self) else 0
        return {"input_ids": self._text[begin:end].to(torch.int64)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Return several documents. With this method, a loader seeds once per batch instead of once per document."""
        return [self[index] for index in indices]

    @staticmethod
    def collate_fn(samples: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Collate documents into a batch. Pad them to the length of the longest document."""
        documents = [sample["input_ids"] for sample in samples]
        masks = [torch.ones_like(document) for document in documents]
        return {
            "input_ids": pad_sequence(documents, batch_first=True),
            "attention_mask": pad_sequence(masks, batch_first=True),
            "labels": pad_sequence(documents, batch_first=True, padding_value=IGNORED),
        }

    def describe(self) -> dict[str, Any]:
        """Return the version of Python, and the SHA-256 and size of the files in this split."""
        described = _describe("stdlib_documents", self.split, self._files)
        return {**described, "max_length": self.max_length, "samples": len(self)}

    def __repr__(self) -> str:
        return f"StdlibDocuments({self.split!r}: {len(self)} documents of up to {self.max_length} bytes)"


def _files(split: str, fraction: float, seed: int) -> list[_File]:
    """Return the files of one split, sorted by name."""
    check_split(split, fraction, seed)
    files = _read_sources(sysconfig.get_path("stdlib"))
    held_out = hold_out(np.zeros(len(files), dtype=np.int64), fraction, seed)
    return [file for file, is_held_out in zip(files, held_out, strict=True) if is_held_out == (split == "eval")]


@functools.cache
def _read_sources(folder: str) -> tuple[_File, ...]:
    """Return the name and the text of each top-level module that is one file. Line ends are those of Unix."""
    paths = {name: Path(folder) / f"{name}.py" for name in sorted(sys.stdlib_module_names)}
    # A module without a .py file is a package, is built in, or belongs to a different operating system.
    sources = [(name, path.read_bytes().replace(b"\r\n", b"\n")) for name, path in paths.items() if path.is_file()]
    if len(sources) < _FEWEST:
        rule = f"must have Python's source files, but only {len(sources)} can be read"
        raise PathError("stdlib", folder, rule, "use a Python that has its source files, or use your own data")
    return tuple(sources)


def _describe(name: str, split: str, files: Sequence[_File]) -> dict[str, Any]:
    return {
        "name": f"{name} {split}",
        "version": f"{platform.python_implementation()} {platform.python_version()}",
        "sha256": digest(text for _, text in files),
        "files": len(files),
        "bytes": sum(len(text) for _, text in files),
    }
