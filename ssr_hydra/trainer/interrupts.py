"""What stops a run from outside, and how the record of the run says it. Needs no torch."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["TerminatedError", "reason", "terminable"]


class TerminatedError(BaseException):
    """The process was told to end by SIGTERM: ``docker stop``, a scheduler's time limit, a shutdown.

    Like ``KeyboardInterrupt`` it is no ``Exception``, so code that handles failures does not swallow it.
    """

    def __init__(self) -> None:
        super().__init__("terminated by SIGTERM")


@contextmanager
def terminable() -> Iterator[None]:
    """Within it, SIGTERM raises :class:`TerminatedError` once; afterwards it does what it did before.

    A handler that somebody else has installed stays, and so does the default outside of the main thread, where Python
    takes no handlers.
    """
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not ours:
        yield
        return
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:  # a forked worker has inherited this handler, and is to end as it would without
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, signal.SIG_IGN)  # whoever sends it twice must not stop the record from being written
        raise TerminatedError

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def reason(error: BaseException) -> str:
    """An error as ``result.json`` holds it: type and message, an interrupt and a termination in words.

    Example:
        >>> reason(ZeroDivisionError("in the model")), reason(KeyboardInterrupt())
        ('ZeroDivisionError: in the model', 'KeyboardInterrupt: interrupted')
    """
    if isinstance(error, TerminatedError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "KeyboardInterrupt: interrupted"
    return f"{type(error).__name__}: {error}".rstrip(": ")
