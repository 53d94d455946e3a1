"""Two ways to start the process of a job: as a fork of a server that has imported torch, or as a new Python process."""

from __future__ import annotations

import atexit
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from ssr_hydra.errors import RunError
from ssr_hydra.sweeps.launchers.child import spawned
from ssr_hydra.sweeps.launchers.server import ENDED, MESSAGE, PRELOADED, REFUSED, STARTED, serve

_POLL_SECONDS = 0.2


class ProcessEnd(NamedTuple):
    """How the process of a job ended."""

    serial: int  # the number of the job
    code: int | None  # the exit code, or the negative number of the signal that killed the process; None if unknown
    peak: int | None = None  # the peak memory of the process in bytes; None if unknown


class LostServerError(RunError):
    """Raised if the fork server has ended."""


def make_starter(variables: Mapping[str, str]) -> ForkServer | Spawner:
    """Return the fork server with these environment variables, or a :class:`Spawner` on macOS and Windows.

    On macOS the system libraries do not work after a fork. Windows has no fork.
    """
    forks = hasattr(os, "fork") and hasattr(socket, "send_fds") and sys.platform != "darwin"
    return ForkServer.shared(variables) if forks else Spawner()


def import_path() -> list[str]:
    """Return ``sys.path`` with absolute paths, so that a process can use them in any working directory."""
    return [str(Path(part).absolute()) for part in sys.path if isinstance(part, str)]


class ForkServer:
    """Start a fork server at the first job, and use this server for all jobs. Restart the server if it was killed.

    ``variables`` are environment variables of the server, in addition to the variables of this process. The server
    imports ``modules`` before the first job.

    Attributes:
        polls: True while jobs of a killed server run. :meth:`waitables` does not show the end of these jobs, so the
            caller must call :meth:`ended` often.
    """

    _shared: ForkServer | None = None

    def __init__(self, variables: Mapping[str, str], modules: Sequence[str] = PRELOADED) -> None:
        self.variables, self.modules = dict(variables), tuple(modules)
        self.polls = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = os.getpid()
        self._ended: list[ProcessEnd] = []
        self._pids: dict[int, int] = {}  # a mapping from serial number to pid
        self._orphans: dict[int, int] = {}  # like _pids, but for processes of a killed server

    @classmethod
    def shared(cls, variables: Mapping[str, str]) -> ForkServer:
        """Return the fork server of this process. If ``variables`` have changed, replace the server by a new server."""
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
        code += "import os; os._exit(0)"  # skip the interpreter's cleanup, in which some libraries print messages
        # A new session detaches the server from the terminal. So a job gets a signal of the terminal only once, from
        # the sweep.
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
        """End the server. Running jobs continue."""
        if self._owner != os.getpid():
            return
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()  # a server that is still importing does not notice the closed socket
            self._process.wait()
            self._process = None

    def start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        """Start the process of job number ``serial``. Return its pid, and the connection for its order and answer.

        ``out`` and ``err`` are file descriptors for the output of the process. ``is_stopped`` returns whether the sweep
        was stopped.

        Raises:
            RunError: The process cannot be started, or the sweep was stopped.
        """
        try:
            return self._start(serial, out, err, is_stopped)
        except LostServerError:  # the server may have been killed earlier, so start a new server
            return self._start(serial, out, err, is_stopped)

    def _start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        server = self._begin()
        ours, theirs = socket.socketpair()
        # If this method fails and closes the connection, the process ends, even if its start was never reported.
        connection = Connection(ours.detach())
        try:
            with theirs:
                socket.send_fds(server, [struct.pack("<q", serial)], [theirs.fileno(), out, err])
            while True:
                while not select.select([server], [], [], _POLL_SECONDS)[0]:
                    if is_stopped():
                        raise RunError("the job was not started, because the sweep was stopped")
                    self._wake()
                kind, number, pid = self._next(server)
                if kind == REFUSED:
                    raise RunError(f"the process of the job cannot be started: {os.strerror(pid)}")
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
        """Read the next message. Return its kind, serial number, and pid or errno.

        If the message reports the end of a process, also store it for :meth:`ended`.
        """
        try:
            data = server.recv(MESSAGE.size)
        except ConnectionError:
            data = b""
        if len(data) < MESSAGE.size:
            raise self._lose()
        kind, serial, pid, code, peak = MESSAGE.unpack(data)
        if kind == ENDED:
            self._pids.pop(serial, None)
            self._ended.append(ProcessEnd(serial, code, peak))
        return kind, serial, pid

    def _wake(self) -> None:
        """Let the server continue if it was stopped by SIGSTOP. Otherwise the sweep would wait for it forever."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def _lose(self) -> LostServerError:
        """Discard a dead server, but keep the pids of its jobs. Return an error that says how the server ended."""
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
        """Return objects for ``multiprocessing.connection.wait``. An object becomes readable when a process ends."""
        return [] if self._socket is None else [self._socket]

    def ended(self) -> list[ProcessEnd]:
        """Return the processes that have ended since the last call."""
        self._wake()
        while self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            with suppress(LostServerError):
                self._next(self._socket)
        for serial, pid in list(self._orphans.items()):
            if not _lives(pid):
                del self._orphans[serial]
                self._ended.append(ProcessEnd(serial, None))
        self.polls = bool(self._orphans)
        ended, self._ended = self._ended, []
        return ended


def _lives(pid: int) -> bool:
    with suppress(OSError):
        if os.waitpid(pid, os.WNOHANG)[0]:  # in a container, this process may have adopted the job's process
            return False
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


class Spawner:
    """Start each job in a new Python interpreter, which imports torch again. The class has ForkServer's methods."""

    polls = False

    def __init__(self) -> None:
        self._processes: dict[int, Any] = {}

    def start(self, serial: int, out: int, err: int, is_stopped: Callable[[], bool]) -> tuple[int, Connection]:
        """See :class:`ForkServer`. The job shares the output of this process, so ``out`` and ``err`` have no effect."""
        del out, err, is_stopped
        ours, theirs = Pipe()
        process = get_context("spawn").Process(target=spawned, args=(theirs,))
        process.start()
        theirs.close()
        self._processes[serial] = process
        return int(process.pid or 0), ours

    def waitables(self) -> list[Any]:
        return [process.sentinel for process in self._processes.values()]

    def ended(self) -> list[ProcessEnd]:
        over = [serial for serial, process in self._processes.items() if process.exitcode is not None]
        ends = []
        for serial in over:
            process = self._processes.pop(serial)
            ends.append(ProcessEnd(serial, process.exitcode))
            process.close()
        return ends


def signal_name(number: int) -> str:
    """Return the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
