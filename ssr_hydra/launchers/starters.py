"""Two ways to start the process of a job: forked from a server that has imported torch, or a new interpreter.

The server is a process of its own, started once. It imports what is slow to import, and has no CUDA context, thread or
lock of the sweep's process, so a job starts in a fraction of the time that imports take. multiprocessing has such a
server too; but that one dies of a SIGTERM to all processes of a scheduler's step, before the jobs have stopped, shares
the terminal, whose ctrl-C the jobs would get besides the sweep's, and finds this package only where it is installed.
"""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from hydra.core.plugins import Plugins

from ssr_hydra.errors import RunError
from ssr_hydra.launchers.child import spawned, work

__all__ = ["Ended", "ForkServer", "Spawner", "Starter", "import_path", "make_starter", "serve", "signal_name"]

# What a job needs, as far as it needs no settings of the job.
_PRELOADED = (
    "torch",
    "ssr_hydra.train",
    "ssr_hydra.trainer",
    "ssr_hydra.data",
    "ssr_hydra.models",
    "ssr_hydra.optim",
    "ssr_hydra.callbacks",
    "hydra.core.utils",
    "hydra._internal.logging_config",
    "rich.progress",
)
# A signal to all processes of a terminal or of a scheduler's step is for the jobs, and the server outlives them.
_KEPT = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]
_STARTED, _ENDED, _REFUSED = b"s", b"e", b"r"
_MESSAGE = struct.Struct("<cqqqq")  # kind, serial number, pid or error, exit code, peak of memory in bytes


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


# ---- the sweep's side


class ForkServer:
    """The server, seen from the process that uses it; begun when the first job is started, and again when it is lost.

    Args:
        variables: Environment variables besides the process's own.

    Attributes:
        polls: Whether :meth:`ended` has to be asked now and then: of a lost server's children nobody tells.
    """

    _shared: ForkServer | None = None

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.variables = dict(variables)
        self.polls = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = os.getpid()
        self._ended: list[Ended] = []
        self._pids: dict[int, int] = {}

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
        if self._process is not None:
            self._process.wait()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = f"import sys; sys.path[:] = {import_path()!r}; from {__name__} import serve; serve({theirs.fileno()})"
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
        server = self._begin()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(server, [struct.pack("<q", serial)], [theirs.fileno(), out, err])
            except OSError:
                self._lose()
                ours.close()
                raise self._lost() from None
        while (message := self._next(server)) is not None:
            kind, number, pid, _, _ = message
            if kind == _ENDED:
                continue
            if kind == _REFUSED:
                ours.close()
                raise RunError(f"no process can be started for it: {os.strerror(pid)}")
            assert number == serial
            self._pids[serial] = pid
            return pid, Connection(ours.detach())
        ours.close()
        raise self._lost()

    def _next(self, server: socket.socket) -> tuple[bytes, int, int, int, int] | None:
        """The next message, of which the end of a process is kept; None when the server is lost."""
        try:
            data = server.recv(_MESSAGE.size)
        except ConnectionError:
            data = b""
        if len(data) < _MESSAGE.size:
            self._lose()
            return None
        kind, serial, pid, code, peak = _MESSAGE.unpack(data)
        if kind == _ENDED:
            self._pids.pop(serial, None)
            self._ended.append(Ended(serial, code, peak))
        return kind, serial, pid, code, peak

    def _lose(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.polls = True

    def _lost(self) -> RunError:
        assert self._process is not None
        code = self._process.wait()
        how = f"killed by {signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        return RunError(f"the process that starts the jobs was {how}")

    def waitables(self) -> list[Any]:
        """See :class:`Starter`."""
        return [] if self._socket is None else [self._socket]

    def ended(self) -> list[Ended]:
        """See :class:`Starter`."""
        while self._socket is not None and select.select([self._socket], [], [], 0)[0]:
            self._next(self._socket)
        if self.polls:
            for serial, pid in list(self._pids.items()):
                if not _lives(pid):
                    del self._pids[serial]
                    self._ended.append(Ended(serial, None))
            self.polls = bool(self._pids)
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


# ---- the server's side


def serve(number: int) -> None:
    """Fork a process for every request until nobody can make one any more.

    Args:
        number: The descriptor of the socket that requests come from.
    """
    before = {each: signal.signal(each, signal.SIG_IGN) for each in _KEPT}
    for module in _PRELOADED:
        with suppress(Exception):  # the job that needs it will say why it cannot be had
            importlib.import_module(module)
    with suppress(Exception):
        Plugins.instance()
    gc.collect()
    gc.freeze()  # so that collecting in a job does not copy what it shares
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    serials: dict[int, int] = {}
    with socket.socket(fileno=number) as sweep:
        while True:
            ready, _, _ = select.select([sweep.fileno(), woken], [], [])
            if woken in ready:
                os.read(woken, 4096)
                _reap(sweep, serials)
            if sweep.fileno() in ready:
                request, files, _, _ = socket.recv_fds(sweep, 64, 3)
                if not request:
                    return
                (serial,) = struct.unpack("<q", request)
                signal.pthread_sigmask(signal.SIG_BLOCK, _KEPT)  # a signal to a new process waits until it can be told
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # numerical libraries have threads, and care for forks
                        pid = os.fork()
                except OSError as error:
                    _send(sweep, _REFUSED, serial, error.errno or 0)
                else:
                    if not pid:
                        _become_job(files, (sweep.fileno(), woken, wake), before)
                    serials[pid] = serial
                    _send(sweep, _STARTED, serial, pid)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT)
                for file in files:
                    os.close(file)


def _send(sweep: socket.socket, kind: bytes, serial: int, pid: int, code: int = 0, peak: int = 0) -> None:
    with suppress(OSError):  # the sweep is gone, which the next look will tell
        sweep.send(_MESSAGE.pack(kind, serial, pid, code, peak))


def _reap(sweep: socket.socket, serials: dict[int, int]) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in serials:  # else a helper of something that was imported
            _send(sweep, _ENDED, serials.pop(pid), pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)


def _become_job(files: list[int], others: tuple[int, ...], before: Mapping[int, Any]) -> None:
    """In the forked process: what the server has made its own is undone, and the job is run."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handler in before.items():
            signal.signal(number, handler)
        for file in others:
            os.close(file)
        connection, out, err = files
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.close(out)
        os.close(err)
        os.setpgid(0, 0)  # so that it can be stopped or killed with the processes that it starts
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a killed job's lines are there too
        code = work(Connection(connection), lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
