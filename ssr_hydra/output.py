"""Standard output that may break without ending the work: ``| head``, a full disk, a closed or an ASCII terminal."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

__all__ = ["safe_output"]


class _Output:
    """A stream that goes silent when it cannot be written to.

    Args:
        stream: The stream.

    Attributes:
        failure: Why it cannot be written to; None while it can, and where the reader has merely seen enough.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._is_silent = False
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, with backslashes for characters that the stream cannot encode."""
        try:
            self._try(lambda: self._stream.write(text))
        except UnicodeEncodeError as error:
            shown = text.encode(error.encoding, "backslashreplace").decode(error.encoding)
            self._try(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        self._try(self._stream.flush)

    def _try(self, act: Callable[[], object]) -> None:
        if self._is_silent:
            return
        try:
            act()
        except UnicodeEncodeError:
            raise
        except (OSError, ValueError) as error:  # a ValueError is a stream that was closed
            self._is_silent = True
            if isinstance(error, OSError) and error.errno != errno.EPIPE:
                self.failure = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def safe_output() -> Iterator[None]:
    """Give up output that cannot be written, without a word, in the block and when Python ends.

    Standard descriptors that are closed (``>&-``, cron) are opened on the null device: the next file that is opened
    would take their numbers, and what is printed would go into it. Python's ``logging`` prints a traceback for a line
    that it cannot write, which is turned off.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # it takes the lowest number that is free
        os.set_inheritable(number, True)
    os.close(number)
    before = logging.raiseExceptions, sys.stdout, sys.stderr
    logging.raiseExceptions = False
    outputs = [_opened(stream, number) for stream, number in ((sys.stdout, 1), (sys.stderr, 2))]
    sys.stdout, sys.stderr = (_Output(stream) for stream in outputs)
    try:
        yield
    finally:
        logging.raiseExceptions, sys.stdout, sys.stderr = before
        for stream in outputs:
            _settle(stream)


def _opened(stream: TextIO | None, number: int) -> TextIO:
    """A stream of Python's; it makes none of a descriptor that was closed when it started."""
    if stream is None:
        return os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    with suppress(AttributeError, OSError, ValueError):  # it was replaced, by a notebook for one
        stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream


def _settle(stream: TextIO) -> None:
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):  # a stream without a descriptor has nothing to be flushed at exit
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
