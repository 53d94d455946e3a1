"""The two files of a checkpoint: ``state.pt`` with plain tensors, and ``checkpoint.json`` with its checksum.

``checkpoint.json`` contains the size and SHA-256 of ``state.pt``, and a digest of its own content. So the reader
detects any altered bit before it uses the content. ``torch.load`` alone reads most damaged files without an error.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ssr_hydra.errors import RunError, WrongTypeError
from ssr_hydra.files import create, open_regular, read_bounded, write_atomically, write_error

STATE, INDEX = "state.pt", "checkpoint.json"
_FORMAT = 1
_CHUNK = 2**20
_MOST_INDEX = 2**26  # bytes
_MOST_LEVELS = 100
_OTHERWISE = "resume from another checkpoint, or start in a new folder"


class CheckpointError(RunError):
    """A checkpoint cannot be used: the file at ``path`` is truncated, altered, or not plain data."""

    def __init__(self, path: Path, what: str, fix: str = _OTHERWISE) -> None:
        self.path, self.what, self.fix = path, " ".join(what.split()), fix
        super().__init__(f"{path}: {self.what}; {fix}")

    def __reduce__(self) -> tuple[type[CheckpointError], tuple[Path, str, str]]:
        return type(self), (self.path, self.what, self.fix)


@dataclass(frozen=True)
class Index:
    """The content of ``checkpoint.json``. ``size`` and ``sha256`` are the size in bytes and hash of ``state.pt``."""

    number: int  # the latest save into a folder has the highest number
    size: int
    sha256: str
    timestamp: dict[str, Any]
    description: dict[str, Any]
    metric: float | None  # decides which checkpoint is best; None if it is unknown or not finite

    @property
    def batch(self) -> int:
        """Number of batches that were trained before the checkpoint."""
        return int(self.timestamp["batch"])

    def write(self, folder: Path) -> None:
        """Write and sync ``folder/checkpoint.json``, and sync the folder."""
        write_atomically(folder / INDEX, _encode(self._content()))

    def _content(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "number": self.number,
            "state": {"size": self.size, "sha256": self.sha256},
            "timestamp": self.timestamp,
            "description": self.description,
            "metric": self.metric,
        }

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Read and verify ``folder/checkpoint.json``.

        Raises:
            CheckpointError: The file is missing, truncated, altered, or has a different format version.
        """
        path = folder / INDEX
        try:
            text = read_bounded(path, _MOST_INDEX)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise CheckpointError(path, f"it cannot be read ({reason or error})") from None
        try:
            content = json.loads(text)
            del content["digest"]
            is_whole = _encode(content) == text
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            is_whole = False
        if not is_whole:  # _encode computes the digest, so an altered file differs from its result
            raise CheckpointError(path, "it is truncated or altered: its content does not match its digest")
        if content.get("format") != _FORMAT:
            what = f"it has format {content.get('format')!r}, but this release reads {_FORMAT}"
            raise CheckpointError(path, what, "read it with the release that wrote it")
        try:
            state = content.pop("state")
            del content["format"]
            index = cls(size=state["size"], sha256=state["sha256"], **content)
            if not all(type(count) is int for count in (index.number, index.size, index.timestamp["batch"])):
                raise TypeError("a count is not an integer")
            if not isinstance(index.description, dict) or not isinstance(index.sha256, str):
                raise TypeError("its description or its SHA-256 is of another type")
            if index.metric is not None and type(index.metric) not in (int, float):
                raise TypeError("its metric is not a number")
            return index
        except (KeyError, TypeError) as error:
            raise CheckpointError(path, f"it is not a checkpoint's index ({error})") from None


def _encode(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of ``checkpoint.json``: the content and the digest of the content."""
    body = json.dumps(content, allow_nan=False, separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    return json.dumps({**content, "digest": digest}, indent=1, allow_nan=False).encode() + b"\n"


def plain_json(value: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Convert a mapping to JSON and back. Refuse values that JSON does not have, and values that would change."""
    try:
        read = json.loads(json.dumps(value, allow_nan=False))
        if not isinstance(value, Mapping) or read != _without_tuples(value):
            raise ValueError("the value is not a dict, or a key of a dict is not a string")
    except (TypeError, ValueError, RecursionError) as error:
        rule = f"must be plain dicts, lists, strings and finite numbers ({error})"
        raise WrongTypeError(field, value, rule, "convert the value to plain data first") from None
    return dict(read)


def _without_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_tuples(item) for key, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, (list, tuple)) else value


def check_state(value: Any, field: str = "state") -> None:
    """Check that ``torch.load(weights_only=True)`` can read a state. Call this function before the state is written.

    Example:
        >>> check_state({"model": {"weight": [1.0, 2.0]}, "callbacks": {"ema": {1, 2}}})
        Traceback (most recent call last):
            ...
        ssr_hydra.errors.WrongTypeError: state.callbacks.ema='set': must be a tensor, ...
    """
    import torch

    # Do not use isinstance(): pickle stores an instance of a subclass, such as NumPy's float64, by the subclass's name.
    kind = type(value)
    if kind in (bool, int, float, str, type(None), torch.Tensor, torch.nn.Parameter):
        return
    if kind in (dict, OrderedDict):
        for key, item in value.items():
            if type(key) not in (str, int):
                rule = "the keys of a checkpoint's dicts must be strings or integers"
                raise WrongTypeError(field, key, rule, "use a string as the key")
            check_state(item, f"{field}.{key}")
    elif kind in (list, tuple):
        for number, item in enumerate(value):
            check_state(item, f"{field}[{number}]")
    else:
        rule = "must be a tensor, number, string, list or dict, so that reading it cannot run code"
        raise WrongTypeError(field, kind.__name__, rule, "convert it to plain data in state_dict()")


class _HashingFile:
    """A file for ``torch.save`` that computes the hash of its content.

    After a write error, ``torch.save`` would raise a different error, about an unexpected file position. So this class
    stores the first write error in ``error``, and then only counts bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.size += (size := memoryview(data).nbytes)
        if self.error is None:
            self._hash.update(data)
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Do nothing, because the caller flushes and syncs the file at the end."""

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def write_state(state: Mapping[str, Any], folder: Path) -> tuple[int, str]:
    """Write and sync ``folder/state.pt``, and return its size and SHA-256."""
    import torch

    path = folder / STATE
    out = None
    try:
        file = os.fdopen(create(path), "wb", buffering=_CHUNK)
        try:
            out = _HashingFile(file)
            torch.save(state, out)  # type: ignore[arg-type]
            if out.error is not None:
                raise out.error
            file.flush()
            os.fsync(file.fileno())
        finally:
            with suppress(OSError):  # on a full disk, close() fails too, and would hide a KeyboardInterrupt
                file.close()
    except OSError as error:
        raise write_error(error, path, 0 if out is None else out.size) from error
    return out.size, out.hexdigest()


def read_state(folder: Path, index: Index) -> dict[str, Any]:
    """Verify ``folder/state.pt``, and load it to the CPU.

    Raises:
        CheckpointError: The file is missing, truncated, altered, or contains more than plain data.
    """
    import torch

    path = folder / STATE
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != index.size:
                raise CheckpointError(path, f"it is truncated: {size} bytes of {index.size}")
            if _sha256(file) != index.sha256:
                raise CheckpointError(path, "it was altered or damaged: its SHA-256 is not the recorded one")
            # Read the open file, which was hashed, because a different file may now be at its path.
            file.seek(0)
            try:
                _check_archive(file, size)
                file.seek(0)
                state = torch.load(file, map_location="cpu", weights_only=True)
            except (OSError, MemoryError):
                raise
            except Exception as error:  # any error of unpickling
                what = str(error).split("\n", 1)[0].split(". ", 1)[0] or type(error).__name__
                raise CheckpointError(path, f"it has more than plain data, so it is not read ({what})") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise CheckpointError(path, f"it cannot be read ({reason or error})") from None
    if not isinstance(state, dict):
        raise CheckpointError(path, f"it must contain a dict, not a {type(state).__name__}")
    return state


_ZIP = b"PK\x03\x04"


class _Outline(pickle.Unpickler):
    """An unpickler that reads a checkpoint's pickle without its tensors. It imports, calls and allocates nothing."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module == "torch._utils" and name.startswith("_rebuild_")) or (module, name) in _OF_SPARSE:
            return _no_tensor
        if module in ("torch", "torch.storage"):
            return name  # a string instead of the dtype: the pickle cannot call a string
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")

    def persistent_load(self, _: Any) -> None:
        """Return None instead of a tensor's storage."""


_OF_SPARSE = (("torch", "Size"), ("torch.serialization", "_get_layout"))


def _no_tensor(*_: Any) -> None:
    return None


def _check_archive(file: BinaryIO, size: int) -> None:
    """Raise an error if the file would unpack to more than ``size`` bytes. Call this before torch reads the file."""
    if file.read(len(_ZIP)) != _ZIP:  # torch would try to read this file in an older format
        raise ValueError("it is not a zip archive")
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        total = sum(member.file_size for member in members)
        if total > size or any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError(f"its {size:,} bytes would unpack to {total:,}")
        pickles = [member for member in members if member.filename.endswith("data.pkl")]
        outline = [_outline(archive.read(member)) for member in pickles]
    # A pickle stores a repeated object only once. So a small file could describe a structure too large to traverse.
    left, n_items = [(value, 0) for value in outline], 0
    while left:
        value, level = left.pop()
        items = _items(value)
        n_items += len(items)
        if n_items > size or level > _MOST_LEVELS:
            raise ValueError("it is nested too deeply")
        left += [(item, level + 1) for item in items]


def _outline(data: bytes) -> Any:
    """Check the sizes in a pickle, then read the pickle without its tensors.

    A damaged pickle may contain huge sizes. Without the check, the pickle module would allocate that much memory.
    """
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):  # genops refuses wrong lengths
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # valid numbers are 0, 1, 2, ...
            raise ValueError(f"its object {count:,} has the number {argument:,}")
    return _Outline(io.BytesIO(data)).load()


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return (*value.keys(), *value.values())
    return value if isinstance(value, (list, tuple)) else ()


def _sha256(file: BinaryIO) -> str:
    hashed, chunk = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    while size := file.readinto(chunk):  # type: ignore[attr-defined]
        hashed.update(chunk[:size])
    return hashed.hexdigest()
