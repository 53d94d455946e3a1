"""Run one job in a separate process.

The process receives a :class:`JobOrder` over a connection. Then the process sends the path of its output file and, at
the end, a :class:`JobAnswer`. If the sweep ends before the job, the job writes a checkpoint and stops.
"""

from __future__ import annotations

import atexit
import multiprocessing.spawn
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from ssr_hydra.errors import InputError, RunError
from ssr_hydra.trainer.interrupts import STOP_SIGNALS, TerminatedError, terminable

OUTPUT = "output.log"
"""Name of the file in a job's folder that holds what the job printed."""

_LAST_SECONDS = 600.0  # after the sweep has ended, a job has this time to write a checkpoint
_EXIT_SECONDS = 60.0  # a job ends after this time even if its exit handlers are still running


@dataclass
class JobOrder:
    """The data that a new process needs to run a job.

    ``shared`` stays pickled, so that a process can unpickle the order before it imports the job's modules.
    """

    environment: dict[str, str]
    path: list[str]  # ``sys.path``
    folder: str  # the working directory
    argv: list[str]
    main: dict[str, str]  # the argument of ``multiprocessing.spawn.prepare``; empty if the main module is not needed
    # A pickled tuple: Hydra's context, the task function, the config of the sweep, the instances of Hydra's singletons,
    # and the value of ``${run_id:}``.
    shared: bytes
    overrides: list[str]
    number: int


class JobAnswer(NamedTuple):
    """The last message of a job: its result or its error."""

    returned: bytes | None  # Hydra's ``JobReturn``, pickled; None if the job was stopped
    text: str  # the error, or the reason why the job was stopped
    trace: str = ""  # the traceback of an error in custom code


class JobTraceback(Exception):
    """The traceback of an error in a job's process. The error that the sweep raises has this exception as its cause."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def work(connection: Connection, ready: Callable[[], object] = lambda: None) -> int:
    """Receive the order of a job, run the job, and send the job's answer. Return the exit code for this process.

    This function calls ``ready`` after it has installed the signal handlers.
    """
    code = 0
    try:
        with terminable():
            ready()
            answer = _answer(connection)
            _ignore_stops()
    except (KeyboardInterrupt, TerminatedError) as error:
        _ignore_stops()
        code = error.exit_code if isinstance(error, TerminatedError) else 130
        answer = JobAnswer(None, str(error) or "interrupted")
    except SystemExit as error:
        if not isinstance(error.code, int):
            sys.stderr.write("" if error.code is None else f"{error.code}\n")
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        answer = JobAnswer(None, f"called sys.exit with exit code {code} before the job was done")
    with suppress(OSError):  # the sweep has ended
        connection.send(answer)
    _leave(code)
    return code


def _ignore_stops() -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(code: int) -> None:
    """Run the interpreter's exit handlers, because the caller ends the process with ``os._exit``, which skips them."""

    def leave() -> None:
        time.sleep(_EXIT_SECONDS)
        os._exit(code)

    threading.Thread(target=leave, daemon=True).start()
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the output cannot be written
            stream.flush()


def _answer(connection: Connection) -> JobAnswer:
    try:
        order: JobOrder = connection.recv()
    except (EOFError, OSError):  # the sweep has already ended
        sys.exit(1)
    threading.Thread(target=_watch, args=(connection,), name="sweep", daemon=True).start()
    try:
        os.environ.clear()
        os.environ.update(order.environment)
        sys.path[:] = order.path
        sys.argv[:] = order.argv
        os.chdir(order.folder)
        if order.main:
            multiprocessing.spawn.prepare(dict(order.main))
        returned = _run_order(order, connection)
    except Exception as error:  # the job cannot start, for example because its folder cannot be created
        from hydra.core.utils import JobReturn, JobStatus

        returned = JobReturn(overrides=order.overrides, status=JobStatus.FAILED, _return_value=error)
    return _packed(returned)


def _watch(connection: Connection) -> None:
    """Wait until the sweep has ended. Then make the job write a checkpoint and stop."""
    with suppress(OSError, EOFError):
        connection.recv_bytes()  # the sweep sends nothing, so this call ends when the connection is closed
    stop_process()


def stop_process() -> None:
    """Send SIGTERM to this process, so that it writes a checkpoint and stops. After a time limit, kill the process."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _run_order(order: JobOrder, connection: Connection) -> Any:
    """Set up Hydra in the same way as Hydra's launchers do in a worker process. Then run the job."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals
    from omegaconf import OmegaConf, open_dict

    from ssr_hydra.sweeps.launchers.resources import register_resolver, register_resolvers

    plugins = Plugins.instance()  # this call imports the plugins' modules again, so it must come before unpickling
    context, task, sweep, state, run_id = pickle.loads(order.shared)
    # Like Singleton.set_state, but without searching for plugins again. Resolvers cannot be pickled, so they are
    # registered again below.
    instances: dict[type, Any] = {**state, Plugins: plugins}
    Singleton._instances = instances
    setup_globals()
    register_resolvers()
    if run_id is not None:
        register_resolver("run_id", lambda: run_id)
    config = context.config_loader.load_sweep_config(sweep, order.overrides)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = order.number
    HydraConfig.instance().set_config(config)
    folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(config.hydra.sweep.subdir)
    print_to(folder / OUTPUT)
    connection.send(str((folder / OUTPUT).absolute()))
    return run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def print_to(path: Path) -> None:
    """Append the output of this process and of its child processes to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
        os.dup2(file, number)
    os.close(file)


def _packed(returned: Any) -> JobAnswer:
    """Return the answer for the result of a job. A result that cannot be pickled becomes an error."""
    from hydra.core.utils import JobReturn, JobStatus

    trace = ""
    value = returned._return_value
    if returned.status is not JobStatus.COMPLETED and isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}".rstrip(": ")
        trace = "" if isinstance(value, (InputError, RunError)) else _trace(value)
    else:
        text = f"its result, a {type(value).__name__}, cannot be sent to the sweep"
    failed = JobReturn(overrides=returned.overrides, status=JobStatus.FAILED, _return_value=RunError(text))
    for attempt in (returned, failed):
        try:
            data = pickle.dumps(attempt)
            # Test that the sweep can unpickle the data: some exceptions cannot be unpickled.
            pickle.loads(data)
            break
        except Exception:
            continue
    return JobAnswer(data, text, trace)


def _trace(error: BaseException) -> str:
    """Return the traceback of an error, without the stack frames before the start of the job."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_name != "run_job":
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, (frames and frames.tb_next) or error.__traceback__))


def spawned(connection: Connection) -> None:
    """Run a job in a process that :class:`~ssr_hydra.sweeps.launchers.starters.Spawner` has started. Never return."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    os._exit(work(connection))
