"""Two ways to start the process of a job: forked from a server that has imported torch, or a new interpreter."""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil

from ssr_hydra.errors import RunError
from ssr_hydra.launchers.child import spawned
from ssr_hydra.launchers.server import ENDED, MESSAGE, PRELOADED, REFUSED, STARTED, serve

__all__ = ["Ended", "ForkServer", "Spawner", "Starter", "import_path", "make_starter", "signal_name"]


_POLL_SECONDS = 0.2


class Ended(NamedTuple):
    """The end of a process.

    Args:
        serial: As given when it was started.
        code: Its exit code, the negative number of a signal, or None where nobody saw it.
        peak: The most memory that it held, in bytes, where the system tells.
    """

    serial: int
    code: int | None
    peak: int | None = None


class LostServerError(RunError):
    """The server has ended, killed most likely."""


class Starter(Protocol):
    """Starts processes and tells of their ends."""

    polls: bool

    def start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        """Start a process that runs a job.

        Args:
            serial: Number of the job.
            out: Descriptor for its standard output.
            err: Descriptor for its standard error.
            is_stopped: Whether to give up waiting for the process.

        Returns:
            Its pid, and the connection for its order and answer.

        Raises:
            RunError: It cannot be started.
        """

    def waitables(self) -> list[Any]:
        """What becomes readable when a process has ended."""

    def ended(self) -> list[Ended]:
        """The processes that have ended since the last time."""


def make_starter(variables: Mapping[str, str]) -> Starter:
    """The way of this system. Frameworks of macOS do not survive a fork, and Windows has none.

    Args:
        variables: How many threads libraries take that are loaded before a job's own variables are there.
    """
    forks = hasattr(os, "fork") and hasattr(socket, "send_fds") and sys.platform != "darwin"
    return ForkServer.shared(variables) if forks else Spawner()


def import_path() -> list[str]:
    """``sys.path`` for another process, whose working directory may be another."""
    return [str(Path(part).absolute()) for part in sys.path if isinstance(part, str)]


class ForkServer:
    """The server, seen from the process that uses it; begun when the first job is started, and again when it is lost.

    Args:
        variables: Environment variables besides the process's own.
        modules: What it imports before the first job.
        patience: Seconds after which a server that a signal stopped (SIGSTOP) is killed, and begun again.

    Attributes:
        polls: Whether to call :meth:`ended` often, because no process reports the end of a lost server's children.
    """

    _shared: ForkServer | None = None

    def __init__(self, variables: Mapping[str, str], modules: Sequence[str] = PRELOADED, patience: float = 5.0) -> None:
        self.variables, self.modules, self.patience = dict(variables), tuple(modules), patience
        self.polls = False
        self._looked, self._stopped_for = time.monotonic(), 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = os.getpid()
        self._ended: list[Ended] = []
        self._pids: dict[int, int] = {}
        self._orphans: dict[int, int] = {}  # of a server before

    @classmethod
    def shared(cls, variables: Mapping[str, str]) -> ForkServer:
        """The one of this process: sweep after sweep can use it, as long as the variables are the same.

        Args:
            variables: As for the class.
        """
        if cls._shared is None or cls._shared.variables != variables or cls._shared._owner != os.getpid():
            if cls._shared is not None:
                cls._shared.close()
            cls._shared = cls(variables)
            atexit.register(cls._shared.close)
        return cls._shared

    def _begin(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"import sys; sys.path[:] = {import_path()!r}; "
        code += f"from {serve.__module__} import serve; serve({theirs.fileno()}, {self.modules!r}); "
        code += "import os; os._exit(0)"  # some libraries have much to say when an interpreter is taken apart
        # Away from the terminal: what is typed there reaches the jobs through the sweep alone, and once.
        self._process = subprocess.Popen(
            [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code],  # type: ignore[attr-defined]
            stdin=subprocess.DEVNULL,
            env={**os.environ, **self.variables},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()
        self._socket = ours
        return ours

    def close(self) -> None:
        """End the server; the processes that it has started go on."""
        if self._owner != os.getpid():
            return
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()  # it may be importing yet
            self._process.wait()
            self._process = None

    def start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        """See :class:`Starter`."""
        try:
            return self._start(serial, out, err, is_stopped)
        except LostServerError:  # killed before this, perhaps
            return self._start(serial, out, err, is_stopped)

    def _start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        server = self._begin()
        ours, theirs = socket.socketpair()
        connection = Connection(ours.detach())  # if this is closed, a process that nobody knows of ends by itself
        try:
            with theirs:
                socket.send_fds(server, [struct.pack("<q", serial)], [theirs.fileno(), out, err])
            while True:
                while not select.select([server], [], [], _POLL_SECONDS)[0]:
                    self._check_server()
                    if is_stopped():
                        raise RunError("it was not started, since the sweep was stopped")
                kind, number, pid = self._next(server)
                if kind == REFUSED:
                    raise RunError(f"no process can be started for it: {os.strerror(pid)}")
                if kind == STARTED:
                    assert number == serial
                    self._pids[serial] = pid
                    return pid, connection
        except (OSError, RunError) as error:
            connection.close()
            if isinstance(error, RunError):
                raise
            raise self._lose() from None

    def _next(self, server: socket.socket) -> tuple[bytes, int, int]:
        """The next message: kind, serial number, pid or error; the end of a process is kept."""
        try:
            data = server.recv(MESSAGE.size)
        except ConnectionError:
            data = b""
        if len(data) < MESSAGE.size:
            raise self._lose()
        kind, serial, pid, code, peak = MESSAGE.unpack(data)
        if kind == ENDED:
            self._pids.pop(serial, None)
            self._ended.append(Ended(serial, code, peak))
        return kind, serial, pid

    def _check_server(self) -> None:
        """Kill the server if a signal has stopped it for too long: it would start nothing and report no end.

        Raises:
            LostServerError: It was killed.
        """
        now = time.monotonic()
        # If this process was stopped too, the clock went on.
        spent, self._looked = min(now - self._looked, 1.0), now
        if self._process is None or _status(self._process.pid) != psutil.STATUS_STOPPED:
            self._stopped_for = 0.0
            return
        self._stopped_for += spent
        if self._stopped_for > self.patience:
            self._process.kill()
            raise self._lose()

    def _lose(self) -> LostServerError:
        """Forget a server that has ended, and keep its children to look for their ends."""
        assert self._process is not None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._orphans.update(self._pids)
        self._pids.clear()
        self.polls = bool(self._orphans)
        code = self._process.wait()
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        return LostServerError(f"the process that starts the jobs {how}")

    def waitables(self) -> list[Any]:
        """See :class:`Starter`."""
        return [] if self._socket is None else [self._socket]

    def ended(self) -> list[Ended]:
        """See :class:`Starter`."""
        with suppress(LostServerError):
            self._check_server()
        while self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            with suppress(LostServerError):
                self._next(self._socket)
        for serial, pid in list(self._orphans.items()):
            if not _lives(pid):
                del self._orphans[serial]
                self._ended.append(Ended(serial, None))
        self.polls = bool(self._orphans)
        ended, self._ended = self._ended, []
        return ended


def _lives(pid: int) -> bool:
    with suppress(OSError):
        if os.waitpid(pid, os.WNOHANG)[0]:  # this process adopts them where it is a container's first
            return False
    return _status(pid) not in (None, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)  # where nobody waits, zombies stay


def _status(pid: int) -> str | None:
    """What a process is doing, as psutil names it; None if there is none."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None


class Spawner:
    """Starts each job in a new interpreter, which imports everything anew."""

    polls = False

    def __init__(self) -> None:
        self._processes: dict[int, Any] = {}

    def start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        """See :class:`Starter`; output goes where this process's goes."""
        del out, err, is_stopped
        ours, theirs = Pipe()
        process = get_context("spawn").Process(target=spawned, args=(theirs,))
        process.start()
        theirs.close()
        self._processes[serial] = process
        return int(process.pid or 0), ours

    def waitables(self) -> list[Any]:
        """See :class:`Starter`."""
        return [process.sentinel for process in self._processes.values()]

    def ended(self) -> list[Ended]:
        """See :class:`Starter`."""
        over = [serial for serial, process in self._processes.items() if process.exitcode is not None]
        found = []
        for serial in over:
            process = self._processes.pop(serial)
            found.append(Ended(serial, process.exitcode))
            process.close()
        return found


def signal_name(number: int) -> str:
    """The name of a signal.

    Args:
        number: Its number.

    Example:
        >>> signal_name(9)
        'SIGKILL'
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
