"""Files that are there whole or not at all, and what is said where one cannot be written."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ssr_hydra.errors import InputError, RunError

__all__ = [
    "WriteError",
    "check_path",
    "create",
    "flock",
    "open_regular",
    "read_bounded",
    "sync_folder",
    "try_lock",
    "write_atomically",
    "write_error",
]


class WriteError(RunError, OSError):
    """A file cannot be written: the disk is full, say. The message names path and bytes."""


def check_path(path: str | Path, field: str) -> Path:
    """Return a path that the file system can hold, whether anything is there or not.

    Raises:
        InputError: It has a NUL or another character that no name can have, or it is too long.
    """
    try:
        os.lstat(path)
    except ValueError:  # UnicodeEncodeError is one
        rule = "must be a path without NUL and of characters that the file system knows"
        raise InputError(field, str(path), rule, "write another name") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(field, str(path), "is longer than the file system allows", "write a shorter one") from None
    return Path(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file to read it; a pipe or a device would block the reader or never end.

    Raises:
        ValueError: It is not a regular file.
        OSError: It is missing or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file of at most ``most`` bytes.

    Raises:
        ValueError: It is not a regular file, or it is larger.
        OSError: It is missing or cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path.name} has more than {most:,} bytes")
    return content


def create(path: Path) -> int:
    """Open a new file to append to and to read, in place of whatever has its name: a link is not followed.

    Returns:
        Its descriptor.

    Raises:
        OSError: It cannot be created.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def write_atomically(path: Path, content: str | bytes, *, sync: bool = True) -> None:
    """Write a file whole or not at all: a temporary file beside it, synced, renamed, and the folder synced.

    Args:
        path: The file.
        content: Of it.
        sync: Whether it has to survive a power failure; false is for what is written again within seconds.

    Raises:
        WriteError: It cannot be written; the message names path and bytes, and what was there before is untouched.
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
        temporary.unlink(missing_ok=True)  # there only if something went wrong


def write_error(error: OSError, path: Path, size: int) -> WriteError:
    """The error that says which file could not be written, and how large it was to be."""
    return WriteError(error.errno, f"cannot write {size} bytes: {error.strerror or error}", str(path))


def sync_folder(folder: Path) -> None:
    """Make what was renamed in a folder durable."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is as durable as it gets
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flock(descriptor: int) -> bool | None:
    """Lock a file until it is closed or its process dies.

    Returns:
        False if another process holds the lock; None where the system or the file system has no such locks.
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
    """Lock a file until it is closed or its process dies; False only if another process is known to hold the lock."""
    return flock(descriptor) is not False
