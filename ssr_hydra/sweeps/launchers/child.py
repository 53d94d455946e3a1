"""The process of one job: it receives the job's description and sends the result, over a connection.

The process inherits nothing from the sweep's process except what the description contains. It ends with the job,
however that ends. If the sweep ends first, the job stops with a checkpoint.
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
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from ssr_hydra.errors import InputError, RunError
from ssr_hydra.trainer.interrupts import STOP_SIGNALS, TerminatedError, terminable

__all__ = [
    "OUTPUT",
    "JobAnswer",
    "JobOrder",
    "JobTraceback",
    "OutputFile",
    "SharedSetup",
    "print_to",
    "spawned",
    "stop_process",
    "work",
]

OUTPUT = "output.log"
"""File in the job's folder with the job's output."""

# Seconds that a job has for its checkpoint after its sweep has ended.
_LAST_SECONDS = 600.0
# Seconds that a job has for its exit handlers after it has sent its result.
_EXIT_SECONDS = 60.0


@dataclass
class JobOrder:
    """A job, in values that can be read before importing any of its modules.

    Args:
        environment: All environment variables of the process.
        path: ``sys.path``.
        folder: The working directory.
        argv: ``sys.argv``.
        main: How to import the main module of the sweep's process, if the job needs it.
        shared: What all jobs of the sweep share, a pickled :class:`SharedSetup`.
        overrides: The overrides of the job.
        number: The number of the job.
    """

    environment: dict[str, str]
    path: list[str]
    folder: str
    argv: list[str]
    main: dict[str, str]
    shared: bytes
    overrides: list[str]
    number: int


class SharedSetup(NamedTuple):
    """Hydra's part of a job: the launcher's setup, Hydra's global state, and the id in folder names."""

    context: Any
    task: Any
    config: Any
    state: Any = None
    run_id: str | None = None


class OutputFile(NamedTuple):
    """The job has a folder, and its output goes there."""

    output: str


class JobAnswer(NamedTuple):
    """How the job ended: Hydra's result, pickled; or why it stopped, with the traceback of an error."""

    returned: bytes | None
    text: str
    trace: str = ""


class JobTraceback(Exception):
    """The traceback of an error in another process, as the cause of the error here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def work(connection: Connection, ready: Callable[[], object] = lambda: None) -> int:
    """Run the job that the connection describes. Return the exit code of the process.

    Args:
        connection: Sends a :class:`JobOrder`, receives a :class:`JobAnswer`. When its other end closes, the job stops.
        ready: Called when signal handlers are installed.
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
        answer = JobAnswer(None, f"called sys.exit with exit code {code} before it was done")
    with suppress(OSError):  # the sweep has ended
        connection.send(answer)
    _leave(code)
    return code


def _ignore_stops() -> None:
    """Ignore stop signals while the result is being sent."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(code: int) -> None:
    """Run the interpreter's exit handlers, for a process that exits without cleanup."""

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
        returned = _run(order, connection)
    except Exception as error:  # an error before the job's task, such as a folder that cannot be created
        from hydra.core.utils import JobReturn, JobStatus

        returned = JobReturn(overrides=order.overrides, status=JobStatus.FAILED, _return_value=error)
    return _packed(returned)


def _watch(connection: Connection) -> None:
    """Stop with a checkpoint when the sweep has ended, for any reason."""
    with suppress(OSError, EOFError):
        connection.recv_bytes()  # the sweep never sends anything
    stop_process()


def stop_process() -> None:
    """Stop this process like SIGTERM, with a checkpoint; kill it if that takes too long."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LAST_SECONDS)
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


def _run(order: JobOrder, connection: Connection) -> Any:
    """Set up Hydra, as its launchers do in their workers."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton
    from hydra.core.utils import run_job, setup_globals
    from omegaconf import OmegaConf, open_dict

    from ssr_hydra.sweeps.launchers.resources import register_resolver, register_resolvers

    plugins = Plugins.instance()  # first, because it imports the plugins' modules, and the configs' classes, again
    shared = SharedSetup(*pickle.loads(order.shared))
    # Like Singleton.set_state, but without finding the plugins again; resolvers are functions and cannot be sent.
    instances: dict[type, Any] = {**shared.state, Plugins: plugins}
    Singleton._instances = instances
    setup_globals()
    register_resolvers()
    if shared.run_id is not None:
        register_resolver("run_id", lambda: shared.run_id)
    config = shared.context.config_loader.load_sweep_config(shared.config, order.overrides)
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = order.number
    HydraConfig.instance().set_config(config)
    folder = Path(str(OmegaConf.select(config, "hydra.sweep.dir"))) / str(config.hydra.sweep.subdir)
    print_to(folder / OUTPUT)
    connection.send(OutputFile(str((folder / OUTPUT).absolute())))
    return run_job(
        hydra_context=shared.context,
        task_function=shared.task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )


def print_to(path: Path) -> None:
    """Append the output of this process and its children to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
        os.dup2(file, number)
    os.close(file)


def _packed(returned: Any) -> JobAnswer:
    """Return the result of a job as bytes that can be unpickled."""
    from hydra.core.utils import JobReturn, JobStatus

    trace = ""
    value = returned._return_value
    if returned.status is not JobStatus.COMPLETED and isinstance(value, BaseException):
        text = f"{type(value).__name__}: {value}".rstrip(": ")
        trace = "" if isinstance(value, (InputError, RunError)) else _trace(value)
    else:
        text = f"its result, a {type(value).__name__}, cannot be sent to the sweep"
    failure = RunError(text)
    for attempt in (
        returned,
        replace(returned, status=JobStatus.FAILED, _return_value=failure),
        JobReturn(overrides=returned.overrides, status=JobStatus.FAILED, _return_value=failure),
    ):
        try:
            data = pickle.dumps(attempt)
            pickle.loads(data)  # errors whose constructors need other arguments than they store
            break
        except Exception:
            continue
    return JobAnswer(data, text, trace)


def _trace(error: BaseException) -> str:
    """Return the traceback of a job, from the start of the job."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_name != "run_job":
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, (frames and frames.tb_next) or error.__traceback__))


def spawned(connection: Connection) -> None:
    """Run a process that was started as a new interpreter rather than forked."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    os._exit(work(connection))
