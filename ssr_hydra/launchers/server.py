"""The process that jobs are forked from: it has imported what is slow to import.

It is a process of its own, started once, and has no CUDA context, thread or lock of the sweep's process. There is such
a server in multiprocessing too; but that one dies of a SIGTERM to all processes of a scheduler's step, before the jobs
have stopped, shares the terminal, whose ctrl-C the jobs would get besides the sweep's, and finds this package only
where it is installed.
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

from ssr_hydra.launchers.child import work
from ssr_hydra.launchers.code import code_version
from ssr_hydra.trainer.interrupts import STOP_SIGNALS

__all__ = ["ENDED", "MESSAGE", "PRELOADED", "REFUSED", "STARTED", "serve"]

PRELOADED = (
    "torch",
    "torch.utils.serialization.config",
    "torch._dynamo",  # which torch's optimizers import at their first step, for a second
    "ssr_hydra.app.main",
    "ssr_hydra.train",
    "ssr_hydra.trainer.trainer",
    "ssr_hydra.trainer.saving",
    "ssr_hydra.trainer.resuming",
    "ssr_hydra.data",
    "ssr_hydra.models",
    "ssr_hydra.optim.torch_rates",
    "ssr_hydra.callbacks.events",
    "ssr_hydra.launchers.resources",
    "hydra.core.utils",
    "rich.progress",
)
"""What a job needs, as far as it needs no settings of the job."""

# A signal to all processes of a terminal or of a scheduler's step is for the jobs, and the server outlives them.
_KEPT = [*STOP_SIGNALS, *(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))]
STARTED, ENDED, REFUSED = b"s", b"e", b"r"
"""Kinds of messages to the sweep."""

MESSAGE = struct.Struct("<cqqqq")
"""Of a message: kind, serial number of the job, pid or number of an error, exit code, peak of memory in bytes."""


def serve(number: int, modules: Iterable[str]) -> None:
    """Fork a process for every request until nobody can make one any more.

    Args:
        number: The descriptor of the socket that requests come from.
        modules: What to import before.
    """
    before = {each: signal.signal(each, signal.SIG_IGN) for each in _KEPT}
    # Whatever asks for GPUs while it is imported shall ask the driver's monitor: a process forked from one that has
    # asked CUDA itself could not use it. A job's environment is its own.
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    for module in modules:
        with suppress(Exception):  # the job that needs it will say why it cannot be had
            importlib.import_module(module)
    code_version()  # of what was imported now, and what all jobs run, whatever is edited later
    with suppress(Exception):
        from hydra.core.plugins import Plugins

        Plugins.instance()
    for finalizer in list(weakref.finalize._registry):  # type: ignore[attr-defined]
        finalizer.atexit = False  # torch would undo the registration of each of its operators when a job ends
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
    with suppress(OSError):  # the sweep is gone, which the next look will tell
        sweep.send(MESSAGE.pack(kind, serial, pid, code, peak))


def _reap(sweep: socket.socket, serials: dict[int, int]) -> None:
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid in serials:  # else a helper of something that was imported
            _send(sweep, ENDED, serials.pop(pid), pid, os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024)


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
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]  # a killed job's lines are there too
        code = work(Connection(connection), lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _KEPT))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)
