"""What stops a run from outside, and how the record of the run says it. Needs no torch."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, ClassVar, NoReturn

__all__ = ["STOP_SIGNALS", "TERMINATIONS", "StopRequest", "TerminatedError", "reason", "status_of", "terminable"]

TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGUSR2", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a run after the current step: a preemption, ``docker stop``, a closed terminal."""

STOP_SIGNALS = (*TERMINATIONS, signal.SIGINT)
"""All signals that stop a run. If several processes receive different ones, the first in this order counts."""

_PREEMPTS = tuple(getattr(signal, name) for name in ("SIGUSR2",) if hasattr(signal, name))
# torchrun sends on the ctrl-C that the terminal has sent to every process already.
_SAME_INTERRUPT_SECONDS = 2.0


class TerminatedError(BaseException):
    """A signal ended the process: SIGTERM (``docker stop``), SIGHUP (a closed terminal) or SIGUSR2 (preemption).

    Like ``KeyboardInterrupt`` it is no ``Exception``, so code that handles failures does not swallow it.

    Args:
        number: Of the signal.
        after: What was done before, for people.
    """

    def __init__(self, number: int = signal.SIGTERM, after: str = "") -> None:
        self.number = int(number)
        super().__init__(f"terminated by {signal.Signals(number).name}{after}")

    @property
    def exit_code(self) -> int:
        """As shells have it: 128 and the signal's number."""
        return 128 + self.number


@contextmanager
def terminable() -> Iterator[None]:
    """Raise :class:`TerminatedError` at the first of :data:`TERMINATIONS`; restore the previous handlers at the end.

    A handler that somebody else has installed is still called, and the default stays outside of the main thread, where
    Python takes no handlers.
    """
    process = os.getpid()
    ours: list[int] = []
    theirs: dict[int, Callable[[int, FrameType | None], object]] = {}

    def hand_back(number: int, frame: FrameType | None) -> None:
        with _told(number):
            theirs[number](number, frame)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != process:  # a forked worker has inherited this handler, and is to end as it would without
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        for each in ours:  # whoever sends it twice must not stop the record from being written
            signal.signal(each, signal.SIG_IGN)
        raise TerminatedError(number)

    stop._stops_a_job = True  # type: ignore[attr-defined]  # so that training may take the signal over for a while
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
    """Within it, a signal to stop is kept until somebody looks: a step ends and a checkpoint is written before.

    Each of :data:`TERMINATIONS` sets :attr:`number`, and so does the first ctrl-C; a second one interrupts at once.
    Under torchrun one that comes within two seconds is still the first: the terminal sends it, and so does torchrun. A
    handler of SIGUSR2 that was there before (a job launcher's, which puts the job back in the queue) is called by
    :meth:`leave`, when the checkpoint is written. A handler of somebody else for the other signals stays, and so does
    everything outside of the main thread, where Python takes no handlers.

    Attributes:
        number: The signal that asks to stop, or 0.

    Example:
        >>> with StopRequest() as stop:
        ...     os.kill(os.getpid(), signal.SIGTERM)
        ...     stop.number == signal.SIGTERM
        True
    """

    # Said by whoever starts processes that are to outlive signals: one that was just forked has this handler yet.
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
        # One that was not installed by Python could not be put back; one that is ignored is so on purpose.
        return handler is signal.SIG_DFL or callable(handler)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        del frame
        if os.getpid() != self._process:  # a forked process has inherited this handler
            if any(outlive() for outlive in self.children_outlive):
                return
            if number != signal.SIGINT:  # ctrl-C reaches it too, but it is this process that ends it
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        if number == signal.SIGINT:
            if self.number and not self._is_the_same():
                raise KeyboardInterrupt
            self._interrupted = self._interrupted or time.monotonic()
        first, self.number = not self.number, self.number or number
        if number == signal.SIGINT and first and self._tell is not None:
            with suppress(RuntimeError):  # the signal came in the middle of a line that was being printed
                self._tell("stopping after this batch, with a checkpoint; ctrl-C again stops at once")

    def _is_the_same(self) -> bool:
        """Whether this is the ctrl-C of before, which arrives twice."""
        is_recent = self._interrupted > 0 and time.monotonic() - self._interrupted < _SAME_INTERRUPT_SECONDS
        return is_recent and "TORCHELASTIC_RUN_ID" in os.environ

    def leave(self, after: str = "") -> NoReturn:
        """End the run for the signal that asked for it.

        Args:
            after: What was done before, for people.

        Raises:
            KeyboardInterrupt: For ctrl-C.
            TerminatedError: For the others.
        """
        number = self.number
        if number == signal.SIGINT:
            raise KeyboardInterrupt(f"interrupted{after}")
        before = self._before.get(number)
        if number in _PREEMPTS and callable(before) and not getattr(before, "_stops_a_job", False):
            with _told(number, after):
                before(number, None)
        raise TerminatedError(number, after)


@contextmanager
def _told(number: int, after: str = "") -> Iterator[None]:
    """A launcher that puts the job back into its queue leaves by SystemExit, which does not say why."""
    try:
        yield
    except SystemExit as leaving:
        leaving._reason = f"{TerminatedError(number, after)}; the job is back in the queue"  # type: ignore[attr-defined]
        raise


def reason(error: BaseException) -> str:
    """Describe an error as ``result.json`` holds it: type and message, or in words what stopped the run.

    Example:
        >>> reason(ZeroDivisionError("in the model")), reason(KeyboardInterrupt())
        ('ZeroDivisionError: in the model', 'KeyboardInterrupt: interrupted')
    """
    if isinstance(error, TerminatedError):
        return str(error)
    if isinstance(error, SystemExit) and (told := getattr(error, "_reason", None)) is not None:
        return str(told)
    if isinstance(error, KeyboardInterrupt):
        return f"KeyboardInterrupt: {str(error) or 'interrupted'}"
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}".rstrip(": ") + notes


def status_of(error: BaseException) -> str:
    """The status of a run that such an error ended: ``stopped`` by a signal, or ``failed``.

    Example:
        >>> status_of(KeyboardInterrupt()), status_of(ZeroDivisionError())
        ('stopped', 'failed')
    """
    is_stop = isinstance(error, (KeyboardInterrupt, TerminatedError)) or hasattr(error, "_reason")
    return "stopped" if is_stop else "failed"
