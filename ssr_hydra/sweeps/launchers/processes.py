"""The launcher ``hydra/launcher=processes`` runs each job of a sweep in a separate process, several jobs at a time."""

from __future__ import annotations

import logging
import multiprocessing.spawn
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, OmegaConf

from ssr_hydra.errors import RunError, within
from ssr_hydra.machine import cores
from ssr_hydra.sweeps.job_status import LostJobError
from ssr_hydra.sweeps.launchers.child import JobAnswer, JobOrder, JobTraceback
from ssr_hydra.sweeps.launchers.resources import THREADS, VISIBLE, assign, uses_gpu, visible_gpus
from ssr_hydra.sweeps.launchers.starters import ProcessEnd, import_path, make_starter, signal_name
from ssr_hydra.sweeps.launchers.stops import Stops

_POLL_SECONDS, _LOOK_SECONDS = 0.2, 1.0

_log = logging.getLogger(__name__)


class ProcessLauncher(Launcher):
    """The launcher ``hydra/launcher=processes``: it runs each job in a separate process, ``workers`` jobs at a time.

    Args:
        workers: Number of jobs at a time. The default (null) is the number of GPUs divided by ``gpus_per_job``. Without
            GPUs to assign, the default is the number of cores divided by the number of threads of each job.
        threads: Number of threads that numerical libraries use in each job. ``trainer.threads`` takes precedence. The
            default (null) is the environment variable ``OMP_NUM_THREADS``. If it is not set, several workers divide
            the cores equally, and a single worker has no limit.
        gpus: ``auto`` assigns the visible GPUs to the running jobs, by ``CUDA_VISIBLE_DEVICES``. A list selects the
            GPUs to assign. ``none`` assigns no GPUs.
        gpus_per_job: Number of GPUs of each job.

    Attributes:
        on_start: A function to call with the number and the pid of each job that starts; None for no function.
        on_end: A function to call with the number and the result of each job that ends; None for no function.
    """

    def __init__(
        self,
        workers: int | None = None,
        threads: int | None = None,
        gpus: str | Sequence[int | str] | None = "auto",
        gpus_per_job: int = 1,
    ) -> None:
        self.workers, self.threads, self.gpus_per_job = workers, threads, gpus_per_job
        self.gpus = list(gpus) if isinstance(gpus, (ListConfig, tuple)) else gpus
        self.on_start: Callable[[int, int], object] | None = None
        self.on_end: Callable[[int, JobReturn], object] | None = None
        self._places: list[dict[str, str]] = []
        self._setup: tuple[HydraContext, TaskFunction, DictConfig] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        gpus = self.gpus
        if gpus == "auto":
            gpus = (uses_gpu(OmegaConf.select(config, "trainer.device")) and visible_gpus()) or "none"
        threads = self.threads or OmegaConf.select(config, "trainer.threads") or _default_threads()
        with within("hydra.launcher"):
            workers = self.workers
            if workers is None:
                workers = len(assign(None, threads, gpus, self.gpus_per_job))
            self._places = assign(workers, self.threads, gpus, self.gpus_per_job)
        self._setup = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs. Return their results in the order of the jobs.

        Raises:
            BaseException: KeyboardInterrupt or TerminatedError, if a stop signal arrived and the running jobs stopped.
        """
        assert self._setup is not None
        hydra: Any = self._setup[-1].hydra
        setup_globals()
        configure_log(hydra.hydra_logging, hydra.verbose)
        Path(str(hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        at_a_time = "one after another" if len(self._places) == 1 else f"{len(self._places)} at a time"
        _log.info("1 job" if len(job_overrides) == 1 else f"{len(job_overrides)} jobs, {at_a_time}")
        launch = _JobQueue(self, self._setup, self._places)
        with Stops() as stops:
            launch.run([list(map(str, item)) for item in job_overrides], initial_job_idx, stops)
        return launch.returns()


@dataclass
class _RunningJob:
    number: int
    overrides: list[str]
    place: dict[str, str]  # the environment variables of the worker that the job occupies
    pid: int
    connection: Connection
    answer: JobAnswer | None = None  # the job's final message
    output: Path | None = None  # the file with the output of the job
    is_deaf: bool = False  # the connection is closed, so no more messages can arrive

    def listen(self) -> None:
        """Read all messages that have arrived from the job."""
        try:
            while not self.is_deaf and self.connection.poll():
                message = self.connection.recv()
                if isinstance(message, JobAnswer):
                    self.answer = message
                else:
                    self.output = Path(message)
        except (EOFError, OSError):
            self.is_deaf = True

    def send(self, number: int, *, with_helpers: bool = False) -> None:
        """Send a signal to the job's process; with ``with_helpers``, also to the child processes of that process."""
        with suppress(OSError):  # the process has already ended
            if with_helpers and hasattr(os, "killpg"):
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


class _JobQueue:
    """The jobs of one call of the launcher: waiting jobs and running jobs."""

    def __init__(
        self, launcher: ProcessLauncher, setup: tuple[object, ...], places: Sequence[Mapping[str, str]]
    ) -> None:
        self._launcher = launcher
        self._free = deque(dict(place) for place in places)
        # Each process searches for plugins itself, so do not send the plugins.
        state = {kind: instance for kind, instance in Singleton._instances.items() if kind is not Plugins}
        has_id = OmegaConf.has_resolver("run_id")
        run_id = str(OmegaConf.create({"it": "${run_id:}"}).it) if has_id else None
        self._shared = pickle.dumps((*setup, state, run_id))
        # With this data, the process of a job can import the ``__main__`` module of this process.
        preparation = multiprocessing.spawn.get_preparation_data("job") if b"__main__" in self._shared else {}
        self._main = {key: value for key, value in preparation.items() if key.startswith("init_main_")}
        self._starter = make_starter({key: value for key, value in places[0].items() if key != VISIBLE})
        self._running: dict[int, _RunningJob] = {}
        self._returns: dict[int, JobReturn] = {}
        self._stopped: list[str] = []

    def returns(self) -> list[JobReturn]:
        return [self._returns[number] for number in sorted(self._returns)]

    def run(self, overrides: Sequence[list[str]], first: int, stops: Stops) -> None:
        pending = deque(enumerate(overrides, first))
        try:
            while self._running or (pending and not stops.first):
                while pending and self._free and not stops.first:
                    self._start(*pending.popleft(), stops)
                if self._running:
                    self._wait(stops)
        except BaseException:  # an error in on_start or on_end, or an exception from another signal handler
            self._send(signal.SIGTERM)
            while self._running:
                self._wait(stops)
            raise
        stops.leave(self._after())

    def _after(self) -> str:
        if len(self._stopped) == 1:
            return self._stopped[0]
        return f"; {len(self._stopped)} jobs stopped" if self._stopped else ""

    # ---- one job

    def _start(self, number: int, overrides: list[str], stops: Stops) -> None:
        place = self._free.popleft()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # the output cannot be written
                stream.flush()
        order = JobOrder(
            environment={**os.environ, **place},
            path=import_path(),
            folder=str(Path.cwd()),
            argv=list(sys.argv),
            main=self._main,
            shared=self._shared,
            overrides=overrides,
            number=number,
        )
        try:
            out, err = _descriptor(sys.stdout, 1), _descriptor(sys.stderr, 2)
            pid, connection = self._starter.start(number, out, err, lambda: bool(stops.first))
        except RunError as error:
            self._free.append(place)
            self._finish(number, JobReturn(overrides=overrides, status=JobStatus.FAILED, _return_value=error))
            return
        self._running[number] = _RunningJob(number, overrides, place, pid, connection)
        with suppress(OSError):  # the process may have been killed already
            connection.send(order)
        if self._launcher.on_start is not None:
            self._launcher.on_start(number, pid)

    def _end(self, ended: ProcessEnd) -> None:
        job = self._running.pop(ended.serial)
        job.listen()
        job.connection.close()
        self._free.append(job.place)
        if job.output is not None:
            with suppress(OSError):
                if not job.output.stat().st_size:
                    job.output.unlink()
                    job.output = None
        self._finish(job.number, _result(job, ended))
        if job.answer is not None and job.answer.returned is None:
            _, comma, after = job.answer.text.partition(", ")  # keep the part ", with a checkpoint ..."
            self._stopped.append(f"{comma}{after}")

    def _finish(self, number: int, returned: JobReturn) -> None:
        self._returns[number] = returned
        if self._launcher.on_end is not None:
            self._launcher.on_end(number, returned)

    # ---- all jobs

    def _wait(self, stops: Stops) -> None:
        """Wait for a message of a job, for the end of a job, or for a signal. Then handle this event."""
        jobs_by_connection = {job.connection: job for job in self._running.values() if not job.is_deaf}
        seconds = _POLL_SECONDS if self._starter.polls else _LOOK_SECONDS
        wait([stops.waitable, *self._starter.waitables(), *jobs_by_connection], seconds)
        for job in jobs_by_connection.values():
            job.listen()
        for number in stops.take():
            self._pass_on(number, stops)
        for ended in self._starter.ended():
            if ended.serial in self._running:
                self._end(ended)

    def _pass_on(self, number: int, stops: Stops) -> None:
        if number == getattr(signal, "SIGTSTP", None):
            self._send(signal.SIGSTOP, with_helpers=True)
            stops.pause()
            self._send(signal.SIGCONT, with_helpers=True)
        elif number != signal.SIGINT:
            self._send(number)
        elif stops.interrupts > 2:
            self._send(signal.SIGKILL, with_helpers=True)
        else:
            self._send(number)
            if self._running:
                jobs = f"{len(self._running)} {'job' if len(self._running) == 1 else 'jobs'}"
                last = "ctrl-C again kills"
                if stops.interrupts == 1:
                    last = "with a checkpoint; ctrl-C again stops immediately"
                with suppress(OSError):
                    print(f"stopping {jobs}, {last}", file=sys.stderr, flush=True)

    def _send(self, number: int, *, with_helpers: bool = False) -> None:
        for job in self._running.values():
            job.send(number, with_helpers=with_helpers)


def _default_threads() -> int:
    value = os.environ.get(THREADS[0], "")
    return int(value) if value.isdecimal() and int(value) > 0 else cores()


def _result(job: _RunningJob, ended: ProcessEnd) -> JobReturn:
    """Return the result of a job: its answer, or an error with the exit code or signal of its process."""
    answer = job.answer
    if answer is None:
        error: BaseException = LostJobError(_death(ended, job.output))
    elif answer.returned is None:
        error = RunError(answer.text)
    else:
        try:
            returned: JobReturn = pickle.loads(answer.returned)
        except Exception:  # this process cannot import the class of the result
            error = RunError(answer.text)
        else:
            if answer.trace and isinstance(returned._return_value, BaseException):
                returned._return_value.__cause__ = JobTraceback(answer.trace)
            return returned
        error.__cause__ = JobTraceback(answer.trace) if answer.trace else None
    return JobReturn(overrides=job.overrides, status=JobStatus.FAILED, _return_value=error)


_CAUSES = {"SIGSEGV": "a crash in native code", "SIGBUS": "a crash in native code", "SIGABRT": "native code gave up"}


def _death(ended: ProcessEnd, output: Path | None) -> str:
    if ended.code is None:
        text = "its process ended for an unknown reason: the process that starts the jobs was killed too"
    elif ended.code >= 0:
        text = f"its process ended with exit code {ended.code} before the job was done"
    else:
        name = signal_name(-ended.code)
        text = f"killed by {name}"
        if name == "SIGKILL":
            memory = f"; the job held {ended.peak / 2**30:.1f} GiB at its peak" if ended.peak else ""
            text += f": by a user, or by the kernel's OOM killer because memory ran out{memory}"
        elif name in _CAUSES:
            text += f": {_CAUSES[name]}"
    return text if output is None else f"{text}; the job's output is in {output}"


def _descriptor(stream: Any, number: int) -> int:
    try:
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError):  # a notebook's stream, for example, has no descriptor
        return number
