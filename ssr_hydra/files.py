"""Atomic writes, file locks, checks of folder names, and write errors that name the file."""

from __future__ import annotations

import errno
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ssr_hydra.errors import PathError, RunError, WrongTypeError

_LONGEST_NAME = 255  # maximum bytes in the name of a folder or file on common file systems
_LONGEST_PATH = 3_500  # maximum bytes of a folder's path; Linux allows 4,095, and the run's files inside need the rest


class WriteError(RunError, OSError):
    """A file cannot be written, for example because the disk is full. The message has the file's path and size."""


def check_path(path: str | Path, field: str) -> Path:
    """Check that a path is valid on this file system, and return it as a Path. The file need not exist."""
    if not isinstance(path, (str, os.PathLike)):
        raise WrongTypeError(field, path, "must be a string or a Path", "write e.g. 'outputs/run'")
    if path == "":
        raise PathError(field, path, "must not be empty", "write . for the current folder")
    try:
        os.lstat(path)
    except ValueError:  # the path contains NUL or a character that the file system cannot encode
        rule = "must have only characters that the file system supports, and no NUL"
        raise PathError(field, str(path), rule, "use a different name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PathError(field, str(path), "is longer than the file system allows", "shorten it") from None
    return Path(path)


def check_folder_name(
    folder: str, field: str, typed: str | None, base: str = "the folder in which the run starts"
) -> None:
    """Check a setting that names a folder. Only the command line may name a folder outside of the base folder.

    ``folder`` is the value of the setting ``field`` after references such as ``${key}`` are resolved. ``typed`` is the
    value on the command line before that; None if the command line does not set ``field``. ``base`` describes the base
    folder in messages.
    """
    if not folder.strip():
        rule = "must not be empty, because the run's files must not mix with files of the working directory"
        raise PathError(field, folder, rule, f"remove {field}, or set it to a folder")
    check_length(folder, field)
    if "${" in folder:
        raise PathError(field, folder, "must not contain ${ after its references are resolved", "choose another name")
    parts = re.split(r"[\\/]", folder)
    if typed is None:
        if Path(folder).is_absolute() or ".." in parts or folder.startswith("~") or ":" in parts[0]:
            rule = f"must be below {base}"
            raise PathError(field, folder, rule, f"to allow it, write {field}=... on the command line")
        return
    # If the command line refers to a value of a config file (${key}), this value must not lead outside of base.
    absolute = Path(folder).is_absolute() and not re.match(r"""["']?(/|\$\{(hydra\.|[^{}]*:))""", typed)
    if "${" in typed and (absolute or parts.count("..") > re.split(r"[\\/]", typed).count("..")):
        rule = f"must be below {base}, but the references in {typed} lead outside"
        raise PathError(field, folder, rule, "write the folder without a reference")


def check_length(path: str, field: str) -> None:
    """Check that a path has no NUL character, and that the path and the names in it are not too long."""
    if "\0" in path:
        raise PathError(field, path, "must not contain a NUL character", "remove the NUL character")
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise PathError(field, path, f"must have at most {_LONGEST_PATH:,} bytes", "shorten it")
    longest = max(len(os.fsencode(part)) for part in re.split(r"[\\/]" if os.name == "nt" else "/", path))
    if longest > _LONGEST_NAME:
        rule = f"each name in the path must have at most {_LONGEST_NAME} bytes (the longest has {longest:,})"
        raise PathError(field, path, rule, "shorten this name")


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Raise a ValueError for a pipe or a device, which could block or never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file. Raise a ValueError if the file is not regular or has more than ``most`` bytes."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    return content


def create(path: Path) -> int:
    """Create a file for appending and reading, and return its descriptor. Remove an existing file or link first."""
    with suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write a file atomically, by renaming a temporary file. With ``sync``, the file survives a power failure.

    Raises:
        WriteError: The file cannot be written. In this case, an existing file at ``path`` does not change.
    """
    content = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(create(temporary), "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise write_error(error, path, len(content)) from error
    finally:
        temporary.unlink(missing_ok=True)  # after an error, the temporary file still exists


def write_error(error: OSError, path: Path, size: int) -> WriteError:
    """Return a WriteError that names the path and the size of a file that cannot be written."""
    return WriteError(error.errno, f"cannot write {size} bytes: {error.strerror or error}", str(path))


def sync_folder(folder: Path) -> None:
    """Make renames of files in a folder durable, so that they survive a power failure."""
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flock(descriptor: int) -> bool | None:
    """Lock a file until it is closed or this process dies. Return whether this call locked the file.

    Return False if another process holds the lock, and None if the operating system or the file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def try_lock(descriptor: int) -> bool:
    """Lock a file as :func:`flock` does. Return False only if another process holds the lock."""
    return flock(descriptor) is not False
