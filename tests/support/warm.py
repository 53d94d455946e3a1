"""Start Python processes without the imports: a server imports torch, Hydra and the package once, and forks processes.

``warm.run("train.py", "ssr=0.5", cwd=folder)`` does the same as ``python train.py ssr=0.5``. ``warm.start`` returns
while the process runs. The script ``warm.python`` replaces ``python`` in shells and in programs that start Python. A
warm process has its own working directory, environment, file descriptors, signals and import path. It runs its program
as ``__main__``, and exits as an interpreter does. It shares with the server only the settings that Python reads when
the interpreter starts. A command that needs a different value of such a setting must run in a cold process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import IO, Any

import warm_server
from checkout import REPO


class Process:
    """A warm process, with the interface of ``subprocess.Popen``."""

    def __init__(self, address: str, order: dict[str, Any], stdin: Any, stdout: Any, stderr: Any) -> None:
        self.args = order["argv"]
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        self.stderr: IO[str] | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(address)
        with contextlib.ExitStack() as stack:
            numbers = [self._given(stack, name, what) for name, what in (("stdin", stdin), ("stdout", stdout))]
            numbers.append(numbers[1] if stderr == STDOUT else self._given(stack, "stderr", stderr))
            warm_server.send_order(self._connection, {**order, "targets": [0, 1, 2]}, numbers)
        self._answers = self._connection.makefile("r")
        self.pid = int(json.loads(self._answers.readline())["pid"])
        assert self.pid, f"one of {', '.join(warm_server.AT_START)} is not the server's"

    def _given(self, stack: contextlib.ExitStack, name: str, what: Any) -> int:
        """Return the file descriptor for one standard stream of the process."""
        if what == PIPE:
            reading, writing = os.pipe()
            ours, theirs = (writing, reading) if name == "stdin" else (reading, writing)
            setattr(self, name, open(ours, "w" if name == "stdin" else "r", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif what == DEVNULL:
            theirs = os.open(os.devnull, os.O_RDWR)
        elif what is None:
            return ("stdin", "stdout", "stderr").index(name)
        else:
            return what if isinstance(what, int) else int(what.fileno())
        stack.callback(os.close, theirs)
        return theirs

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends. Return its exit code."""
        if self.returncode is None:
            if not select.select([self._connection], [], [], timeout)[0]:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self.returncode = int(json.loads(self._answers.readline())["code"])
            self._answers.close()
            self._connection.close()
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """Write the input, read stdout and stderr to their ends, and wait until the process ends."""
        texts = {"stdout": "", "stderr": ""}

        def read(name: str, stream: IO[str]) -> None:
            texts[name] = stream.read()

        if self.stdin is not None and not self.stdin.closed:
            with contextlib.suppress(BrokenPipeError), self.stdin:
                self.stdin.write(input or "")
        readers = [
            threading.Thread(target=read, args=(name, stream), daemon=True)
            for name in texts
            if (stream := getattr(self, name)) is not None and not stream.closed
        ]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        for stream in (self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        return texts["stdout"], texts["stderr"]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            warm_server.send_signal(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()


class Warm:
    """A server for warm processes. It starts with the first process."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    @cached_property
    def _folder(self) -> Path:
        """Return a folder with a short path for the socket: the address of a socket has at most 108 bytes."""
        return Path(tempfile.mkdtemp(prefix="warm"))

    @cached_property
    def _address(self) -> str:
        address = self._folder / "socket"
        command = [sys.executable, warm_server.__file__, "serve", str(address)]
        self._server = subprocess.Popen(command, stdin=PIPE, cwd=REPO)
        atexit.register(self._close, os.getpid())
        while not address.exists():
            assert self._server.poll() is None
            time.sleep(0.01)
        return str(address)

    def start(
        self,
        *argv: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        stdin: Any = DEVNULL,
        stdout: Any = PIPE,
        stderr: Any = PIPE,
        start_new_session: bool = False,
        limits: Mapping[str, int] | None = None,
        nested: bool = True,
    ) -> Process:
        """Start ``python`` with these arguments.

        Args:
            argv: ``-c code``, ``-m module`` or a script, and its arguments.
            cwd: The working directory.
            env: Environment variables in addition to those of this process.
            stdin: As in ``subprocess.Popen``.
            stdout: As in ``subprocess.Popen``.
            stderr: As in ``subprocess.Popen``.
            start_new_session: As in ``subprocess.Popen``.
            limits: A mapping from the name of a limit in the module ``resource`` to its soft limit.
            nested: If true, a Python process that this process starts by ``sys.executable`` is warm too.
        """
        order = {
            "argv": list(argv),
            "cwd": str(cwd),
            "env": {**os.environ, **(env or {})},
            "session": start_new_session,
            "limits": dict(limits or {}),
            "executable": str(self.python) if nested else "",
        }
        return Process(self._address, order, stdin, stdout, stderr)

    def run(
        self, *argv: str, cwd: Path, timeout: float = 600, input: str | None = None, **settings: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python`` with these arguments until it ends, like ``subprocess.run``.

        Args:
            argv: As for :meth:`start`.
            cwd: As for :meth:`start`.
            timeout: Seconds after which the process is killed.
            input: Text for the standard input.
            settings: Other arguments of :meth:`start`.
        """
        process = self.start(*argv, cwd=cwd, stdin=DEVNULL if input is None else PIPE, **settings)
        try:
            out, err = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, process.wait(), out, err)

    @cached_property
    def python(self) -> Path:
        """A script with the arguments of ``python``. If it cannot start a warm process, it starts the interpreter."""
        script = self._folder / "python"
        real, client = shlex.quote(sys.executable), shlex.quote(warm_server.__file__)
        script.write_text(
            f'#!/bin/sh\nexport WARM_REAL={real} WARM_PYTHON="$0"\n'
            f'exec {real} -I -S {client} python {shlex.quote(self._address)} "$@"\n'
        )
        script.chmod(0o755)
        return script

    def _close(self, owner: int) -> None:
        if os.getpid() == owner:
            assert self._server is not None
            assert self._server.stdin is not None
            self._server.stdin.close()
            self._server.wait(120)
            shutil.rmtree(self._folder)


warm = Warm()
