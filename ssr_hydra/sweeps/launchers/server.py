"""The fork server: a process that imports torch and other large modules once, and starts each job as a fork of itself.

The server starts as a new process, so it has no CUDA context, thread or lock of the sweep's process. The fork server in
Python's ``multiprocessing`` is not suitable: it dies if Slurm sends SIGTERM to all processes, its jobs would receive
ctrl-C twice, and its jobs could import this package only if it is installed.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import warnings
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ssr_hydra.sweeps.launchers.child import work
from ssr_hydra.trainer.interrupts import STOP_SIGNALS
from ssr_hydra.versions import code_version

PRELOADED = (
    "torch",
    "torch.utils.serialization.config",
    "torch._dynamo",  # torch's optimizers import this slow module in their first step
    "ssr_hydra.app.main",
    "ssr_hydra.app.train",
    "ssr_hydra.trainer.trainer",
    "ssr_hydra.trainer.saving",
    "ssr_hydra.trainer.resuming",
    "ssr_hydra.data",
    "ssr_hydra.models",
    "ssr_hydra.optim.torch_rates",
    "ssr_hydra.callbacks.events",
    "ssr_hydra.sweeps.launchers.resources",
    "hydra.core.utils",
    "rich.progress",
)
"""Modules that the server imports before it forks, because every job needs them."""

# A terminal or Slurm may send these signals to all processes. The server ignores them, and the jobs handle them.
_KEPT = [*STOP_SIGNALS, *(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))]
STARTED, ENDED, REFUSED = b"s", b"e", b"r"
"""The kinds of messages that the server sends to the sweep."""

MESSAGE = struct.Struct("<cqqqq")
"""The layout of a message: kind, serial number of the job, pid (or errno), exit code, peak memory in bytes."""


def serve(number: int, modules: Iterable[str]) -> None:
    """Import the modules. Fork a process for each request, until the sweep closes the socket ``number``."""
    before = {each: signal.signal(each, signal.SIG_IGN) for each in _KEPT}
    # If a module looks for GPUs when it is imported, torch must ask NVML instead of CUDA: a process that is forked
    # after CUDA was initialized cannot use CUDA. Jobs do not keep this environment variable.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for module in modules:
        with suppress(Exception):  # a job that needs the module reports the error
            importlib.import_module(module)
    code_version()  # cache the version of the code that was just imported: all jobs run this code
    with suppress(Exception):
        from hydra.core.plugins import Plugins

        Plugins.instance()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # a job must not unregister torch's operators when it ends
    gc.collect()
    gc.freeze()  # garbage collection in a job must not write to memory pages that it shares with the server
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
                # Block these signals until the new process has installed its signal handlers.
                signal.pthread_sigmask(signal.SIG_BLOCK, _KEPT)
                try:
                    with warnings.catch_warnings():
                        # Python warns if a process with threads forks, but numerical libraries allow it.
                        warnings.simplefilter("ignore")
                        pid = os.fork()
                except OSError as error:
                    _send(sweep, REFUSED, serial, error.errno or 0)
                else:
                    if not pid:
                        _become_job(files, (sweep.fileno(), woken, wake), before)
                    serials[pid] = serial
                    _send(sweep, STARTED, serial, pid)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT)
                for file in files:
                    os.close(file)


def _send(sweep: socket.socket, kind: bytes, serial: int, pid: int, code: int = 0, peak: int = 0) -> None:
    with suppress(OSError):  # the sweep has ended; the next select() notices this
        sweep.send(MESSAGE.pack(kind, serial, pid, code, peak))


def _reap(sweep: socket.socket, serials: dict[int, int]) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in serials:  # an imported module may have started other child processes
            _send(sweep, ENDED, serials.pop(pid), pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)


def _become_job(files: list[int], others: tuple[int, ...], before: Mapping[int, Any]) -> None:
    """Remove the server's signal handlers and sockets in the forked process, and run the job. Never return."""
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
        os.setpgid(0, 0)  # a new process group: the sweep can signal the job together with its child processes
        for stream in (sys.stdout, sys.stderr):
            # With line buffering, even the last lines of a killed job are written.
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        code = work(Connection(connection), lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
