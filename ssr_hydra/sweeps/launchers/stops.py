"""Store the signals that arrive while jobs run. The sweep's process handles them when it calls :meth:`Stops.take`."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from ssr_hydra.trainer.interrupts import STOP_SIGNALS, TerminatedError

_PAUSE: int | None = getattr(signal, "SIGTSTP", None)


class Stops:
    """In the ``with`` block, stop signals and ctrl-Z have no effect: this class stores them until :meth:`take`.

    Signal handlers of other libraries stay in place. Outside of the main thread, this class stores no signals, because
    Python does not allow signal handlers there.

    Attributes:
        first: The number of the first stop signal; 0 if no stop signal has arrived.
        interrupts: The number of times that ctrl-C was pressed.
        waitable: A socket that is readable after a signal.
    """

    def __init__(self) -> None:
        self.first = 0
        self.interrupts = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stops:
        self.waitable, self._write = socket.socketpair()
        self.waitable.setblocking(False)
        self._write.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            for number in (*STOP_SIGNALS, *(() if _PAUSE is None else (_PAUSE,))):
                if self._may_take(number):
                    self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
        self.waitable.close()
        self._write.close()

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
        with suppress(OSError):  # if the socket is full, the waiting process wakes up anyway
            self._write.send(bytes([number]))

    def take(self) -> list[int]:
        """Return the numbers of the signals that have arrived since the last call, in order."""
        with suppress(BlockingIOError):
            return list(self.waitable.recv(4096))
        return []

    def pause(self) -> None:
        """Stop this process as ctrl-Z does. Return when the user continues it."""
        assert _PAUSE is not None
        signal.signal(_PAUSE, signal.SIG_DFL)
        try:
            os.kill(os.getpid(), _PAUSE)
        finally:
            signal.signal(_PAUSE, self._tell)

    def leave(self, after: str) -> None:
        """Raise KeyboardInterrupt or TerminatedError if a stop signal has arrived. Append ``after`` to the message."""
        if self.first == signal.SIGINT:
            raise KeyboardInterrupt(f"interrupted{after}")
        if self.first:
            raise TerminatedError(self.first, after)
