"""Signals that stop a run, and the text about them in the run's record. This module does not import torch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

if TYPE_CHECKING:
    from ssr_hydra.trainer.processes import Processes

TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGUSR2", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a run after a step: SIGUSR2 (preemption), SIGTERM (``docker stop``), SIGHUP (closed terminal)."""

STOP_SIGNALS = (*TERMINATIONS, signal.SIGINT)
"""All signals that stop a run. If processes receive different signals, the first one in this order counts."""

_PREEMPTS = tuple(getattr(signal, name) for name in ("SIGUSR2",) if hasattr(signal, name))
# A process gets one ctrl-C twice under torchrun: from the terminal and, within this time, from torchrun.
_SAME_INTERRUPT_SECONDS = 2.0


class TerminatedError(BaseException):
    """A signal ended the process: SIGTERM (``docker stop``), SIGHUP (a closed terminal) or SIGUSR2 (preemption).

    Like ``KeyboardInterrupt``, it is not an ``Exception``, so ``except Exception`` does not catch it. ``after`` is text
    for the end of the message, such as ``", with a checkpoint at batch 5"``.
    """

    def __init__(self, number: int = signal.SIGTERM, after: str = "") -> None:
        self.number = int(number)
        super().__init__(f"terminated by {signal.Signals(number).name}{after}")

    @property
    def exit_code(self) -> int:
        """The exit code that shells use for this signal: 128 plus the signal's number."""
        return 128 + self.number


@contextmanager
def terminable() -> Iterator[None]:
    """In the ``with`` block, raise :class:`TerminatedError` at the first signal of :data:`TERMINATIONS`.

    If a library has already installed a handler for a signal, that signal calls the handler instead. In a thread other
    than the main thread, the block changes nothing, because Python does not allow new handlers there.
    """
    process = os.getpid()
    ours: list[int] = []
    theirs: dict[int, Callable[[int, FrameType | None], object]] = {}

    def hand_back(number: int, frame: FrameType | None) -> None:
        with _explained_exit(number):
            theirs[number](number, frame)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:  # a forked worker has inherited this handler; the default action must end the worker
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in ours:  # a second signal must not prevent the record from being written
            signal.signal(each, signal.SIG_IGN)
        raise TerminatedError(number)

    stop._stops_a_job = True  # type: ignore[attr-defined]  # training may replace this handler
    if threading.current_thread() is threading.main_thread():
        ours = [number for number in TERMINATIONS if signal.getsignal(number) is signal.SIG_DFL]
        for number in _PREEMPTS:
            handler = signal.getsignal(number)
            if not isinstance(handler, int) and handler is not None and not getattr(handler, "_stops_a_job", False):
                theirs[number] = handler
    for number in ours:
        signal.signal(number, stop)
    for number in theirs:
        signal.signal(number, hand_back)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        for number, handler in theirs.items():
            signal.signal(number, handler)


class StopRequest:
    """In the ``with`` block, store a stop signal, so that the run can finish its step, write a checkpoint and stop.

    The first signal (ctrl-C or one of :data:`TERMINATIONS`) sets :attr:`number`. A ctrl-C after it raises
    ``KeyboardInterrupt`` immediately. Torchrun repeats the ctrl-C of the terminal within two seconds: the block
    ignores this repetition.

    If a job launcher has installed a handler for SIGUSR2 that requeues the job, :meth:`leave` calls this handler.
    For all other signals, the block keeps a handler that a user has installed. In a thread other than the main
    thread, the block changes nothing, because Python does not allow new handlers there.

    Attributes:
        number: The number of the stored signal, or 0.

    Example:
        >>> with StopRequest() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stop.number == signal.SIGTERM
        True
    """

    # Functions that return whether a forked child process must ignore stop signals now. A child calls them when it gets
    # a signal, because it has the signal handlers of its parent until it installs its own handlers.
    children_outlive: ClassVar[list[Callable[[], bool]]] = []

    def __init__(self, tell: Callable[[str], object] | None = None) -> None:
        self.number = 0
        self._tell = tell
        self._before: dict[int, Any] = {}
        self._interrupted = 0.0
        self._process = os.getpid()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._process = os.getpid()
        for number in STOP_SIGNALS:
            if self._may_take(number):
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._asked:
                signal.signal(number, handler)
        self._before.clear()

    @staticmethod
    def _may_take(number: int) -> bool:
        handler = signal.getsignal(number)
        if number == signal.SIGINT:
            return handler is signal.default_int_handler
        if number not in _PREEMPTS:  # `nohup` ignores SIGHUP on purpose
            return handler is signal.SIG_DFL or getattr(handler, "_stops_a_job", False)
        # The handler is None if Python did not install it: then Python could not restore it. The handler is SIG_IGN if
        # the user ignores the signal on purpose.
        return handler is signal.SIG_DFL or callable(handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != self._process:  # a forked process has inherited this handler
            if any(outlive() for outlive in self.children_outlive):
                return
            if number != signal.SIGINT:  # ctrl-C reaches parent and child, and the parent ends the child
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            if self.number and not self._is_the_same():
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or time.monotonic()
        first, self.number = not self.number, self.number or number
        if number == signal.SIGINT and first and self._tell is not None:
            with suppress(RuntimeError):  # the signal came while a line was being printed
                self._tell("stopping after this batch, with a checkpoint; ctrl-C again stops immediately")

    def _is_the_same(self) -> bool:
        """Return whether this ctrl-C is torchrun's repetition of the previous ctrl-C."""
        is_recent = self._interrupted > 0 and time.monotonic() - self._interrupted < _SAME_INTERRUPT_SECONDS
        return is_recent and "TORCHELASTIC_RUN_ID" in os.environ

    def leave(self, after: str = "") -> NoReturn:
        """Raise the exception for the stored signal: ``KeyboardInterrupt`` for ctrl-C, else :class:`TerminatedError`.

        ``after`` is text for the end of the message, such as ``", with a checkpoint at batch 5"``.
        """
        number = self.number
        if number == signal.SIGINT:
            raise KeyboardInterrupt(f"interrupted{after}")
        before = self._before.get(number)
        if number in _PREEMPTS and callable(before) and not getattr(before, "_stops_a_job", False):
            with _explained_exit(number, after):
                before(number, None)
        raise TerminatedError(number, after)


class AgreedStop:
    """A signal of one process that stops all processes at the same batch boundary."""

    def __init__(self, request: StopRequest, processes: Processes) -> None:
        self.number = 0
        self._request, self._processes = request, processes

    def agree(self, nanoseconds: int) -> int:
        """Send a stop signal of any process to all processes. Return rank 0's ``nanoseconds`` in every process."""
        own_signal = self._request.number
        mine = (nanoseconds if self._processes.is_main else 0, *(own_signal == number for number in STOP_SIGNALS))
        nanoseconds, *counts = self._processes.sum(mine)
        self.number = next((number for number, count in zip(STOP_SIGNALS, counts, strict=True) if count), 0)
        return nanoseconds

    def leave(self, after: str = "") -> NoReturn:
        """End the run with the signal that all processes agreed on."""
        self._request.number = self.number
        self._request.leave(after)


@contextmanager
def _explained_exit(number: int, after: str = "") -> Iterator[None]:
    """If a launcher's signal handler raises ``SystemExit`` in the ``with`` block, store the reason of the stop."""
    try:
        yield
    except SystemExit as leaving:
        leaving._reason = f"{TerminatedError(number, after)}; the job is back in the queue"  # type: ignore[attr-defined]
        raise


def reason(error: BaseException) -> str:
    """Return the text for an error in ``result.json``: type and message, or the signal that stopped the run.

    Example:
        >>> reason(ZeroDivisionError("in the model")), reason(KeyboardInterrupt())
        ('ZeroDivisionError: in the model', 'KeyboardInterrupt: interrupted')
    """
    if isinstance(error, TerminatedError):
        return str(error)
    if isinstance(error, SystemExit) and (stored := getattr(error, "_reason", None)) is not None:
        return str(stored)
    if isinstance(error, KeyboardInterrupt):
        return f"KeyboardInterrupt: {str(error) or 'interrupted'}"
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}".rstrip(": ") + notes


def status_of(error: BaseException) -> str:
    """Return the status of a run that this error ended: ``stopped`` if a signal raised the error, else ``failed``."""
    is_stop = isinstance(error, (KeyboardInterrupt, TerminatedError)) or hasattr(error, "_reason")
    return "stopped" if is_stop else "failed"
