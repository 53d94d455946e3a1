"""Signals to a process while its jobs run: they are counted and stored, so that no step is interrupted."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from ssr_hydra.trainer.interrupts import STOP_SIGNALS, TerminatedError

__all__ = ["Stops"]

_PAUSE: int | None = getattr(signal, "SIGTSTP", None)


class Stops:
    """Collect stop signals and ctrl-Z instead of acting on them; :meth:`take` returns those that arrived.

    Handlers of other libraries stay. Outside of the main thread, where Python does not allow handlers, nothing changes.

    Attributes:
        first: The first signal that asked to stop, or 0.
        interrupts: How often ctrl-C was pressed.

    Example:
        >>> with Stops() as stops:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stops.take() == [signal.SIGTERM]
        True
    """

    def __init__(self) -> None:
        self.first = 0
        self.interrupts = 0
        self._told: list[int] = []
        self._before: dict[int, Any] = {}
        self._read = self._write = -1

    def __enter__(self) -> Stops:
        if os.name != "nt":  # on systems that cannot wait for a pipe
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        if threading.current_thread() is threading.main_thread():
            for number in (*STOP_SIGNALS, *(() if _PAUSE is None else (_PAUSE,))):
                if self._may_take(number):
                    self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        for file in self.waitables():
            os.close(file)
            os.close(self._write)
        self._read = self._write = -1

    @staticmethod
    def _may_take(number: int) -> bool:
        handler = signal.getsignal(number)
        if number == signal.SIGINT:
            return handler is signal.default_int_handler
        return handler is signal.SIG_DFL or getattr(handler, "_stops_a_job", False)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number != _PAUSE:
            self.first = self.first or number
        self.interrupts += number == signal.SIGINT
        self._told.append(number)
        with suppress(OSError):  # the pipe is full, so a waiting process wakes up anyway
            os.write(self._write, b"!")

    def waitables(self) -> list[int]:
        """Return what becomes readable when there is a signal to take; nothing if that cannot be waited for."""
        return [] if self._read < 0 else [self._read]

    def take(self) -> list[int]:
        """Return the signals since the last call, in order."""
        with suppress(OSError):
            os.read(self._read, 4096)
        told, self._told = self._told, []
        return told

    def pause(self) -> None:
        """Stop this process as ctrl-Z does. Return when it continues."""
        assert _PAUSE is not None
        signal.signal(_PAUSE, signal.SIG_DFL)
        try:
            os.kill(os.getpid(), _PAUSE)
        finally:
            signal.signal(_PAUSE, self._tell)

    def leave(self, after: str) -> None:
        """End with the first signal that asked to stop, if there was one.

        Args:
            after: What was done before, for the message.

        Raises:
            KeyboardInterrupt: The signal is ctrl-C.
            TerminatedError: It is another signal.
        """
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt(f"interrupted{after}")
        if self.first:
            raise TerminatedError(self.first, after)
