"""Two ways to start the process of a job: forked from a server that has imported torch, or a new interpreter."""

from __future__ import annotations

import atexit
import errno
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ssr_hydra.errors import RunError
from ssr_hydra.launchers.child import spawned
from ssr_hydra.launchers.server import ENDED, MESSAGE, PRELOADED, REFUSED, STARTED, serve

__all__ = ["Ended", "ForkServer", "Spawner", "Starter", "import_path", "make_starter", "signal_name"]


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

    def start(self, serial: int, out: int, err: int) -> tuple[int, Connection]:
        """Start a process that runs a job; its pid, and the connection for its order and answer."""

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

    Attributes:
        polls: Whether :meth:`ended` has to be asked now and then: of a lost server's children nobody tells.
    """

    _shared: ForkServer | None = None

    def __init__(self, variables: Mapping[str, str], modules: Sequence[str] = PRELOADED) -> None:
        self.variables, self.modules = dict(variables), tuple(modules)
        self.polls = False
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

    def start(self, serial: int, out: int, err: int) -> tuple[int, Connection]:
        """See :class:`Starter`.

        Raises:
            RunError: There cannot be one more process, or no server.
        """
        try:
            return self._start(serial, out, err)
        except LostServerError:  # killed before this, perhaps
            return self._start(serial, out, err)

    def _start(self, serial: int, out: int, err: int) -> tuple[int, Connection]:
        server = self._begin()
        ours, theirs = socket.socketpair()
        connection = Connection(ours.detach())  # if this is closed, a process that nobody knows of ends by itself
        try:
            with theirs:
                socket.send_fds(server, [struct.pack("<q", serial)], [theirs.fileno(), out, err])
            while True:
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

    def _lose(self) -> LostServerError:
        """The server has ended: it is to be begun again, and its children are to be looked after."""
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
    with suppress(OSError):  # where nobody waits for it, an ended process is there for ever
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


class Spawner:
    """Starts each job in a new interpreter, which imports everything anew."""

    polls = False

    def __init__(self) -> None:
        self._processes: dict[int, Any] = {}

    def start(self, serial: int, out: int, err: int) -> tuple[int, Connection]:
        """See :class:`Starter`; output goes where this process's goes."""
        del out, err
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
