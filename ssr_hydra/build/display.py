"""Standard output that may break: ``| head``, a full disk, a closed terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

__all__ = ["breakable"]


@contextmanager
def breakable() -> Iterator[None]:
    """Within it, and when Python ends, an output that cannot be written to is given up without a word.

    Python's ``logging`` prints a traceback for a line that it cannot write, and the interpreter another when it
    flushes at its end.
    """
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before
        _settle(sys.stdout)
        _settle(sys.stderr)


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # a stream without a descriptor has nothing to be flushed at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
