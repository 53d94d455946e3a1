"""Changes to Hydra's launchers for joblib, submitit, Slurm and Ray, so that they wait for all jobs of the sweep.

Without changes, the launchers for submitit and Ray raise the error of the first job that fails. The sweep then ends
while other jobs still run or wait in a queue. :func:`patient` prevents this.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ssr_hydra.errors import RunError
from ssr_hydra.sweeps.job_status import KILLED, LostJobError
from ssr_hydra.sweeps.launchers.child import OUTPUT, print_to, stop_process
from ssr_hydra.sweeps.launchers.traits import traits_of

_POOL_SECONDS = 1.0  # a joblib worker checks at this interval that its sweep is alive
_QUEUE_SECONDS = 15  # seconds between two queries of Slurm's queue
_gone = threading.Event()
_watch: threading.Thread | None = None


@contextmanager
def patient(launcher: Launcher) -> Iterator[None]:
    """In the ``with`` block, a submitit or Ray launcher returns a failed result for each job that failed or died."""
    library = traits_of(type(launcher).__name__).library
    if library == "submitit":
        with _patient_submitit():
            yield
    elif library == "ray":
        with _patient_ray():
            yield
    else:
        yield


def _kept(get: Callable[[], Any], failures: type[Exception] | tuple[()]) -> Any:
    """Return the result of a job, or a failed result if ``get`` raises an exception.

    An exception in ``failures`` means that the job raised an error. Any other exception means that the job has died.
    """
    try:
        return get()
    except Exception as error:
        message = " ".join(str(error).split()) or type(error).__name__
        kind = RunError if isinstance(error, failures) else LostJobError
        return JobReturn(status=JobStatus.FAILED, _return_value=kind(message[:500]))


@contextmanager
def _patient_submitit() -> Iterator[None]:
    import submitit

    class Job:
        def __init__(self, job: Any) -> None:
            self._job = job

        def results(self) -> list[Any]:
            return [_kept(self._result, submitit.core.utils.FailedJobError)]

        def _result(self) -> Any:
            try:
                return self._job.results()[0]
            except submitit.core.utils.UncompletedJobError:  # the error's text is long and lacks the reason
                if not self._job.paths.stdout.exists():  # Slurm creates the file when the job starts
                    failed = submitit.core.utils.FailedJobError
                    raise failed("it was cancelled before it started; repeat the command to run it") from None
                raise LostJobError(f"{KILLED}; the job's output is in {self._job.paths.folder}") from None

    class PatientExecutor(submitit.AutoExecutor):
        def map_array(self, fn: Callable[..., Any], *iterable: Any) -> list[Any]:
            return [Job(job) for job in super().map_array(fn, *iterable)]

    with (
        _replaced(submitit, "AutoExecutor", PatientExecutor),
        _replaced(submitit.SlurmJob, "watcher", queue_watcher()),
    ):
        yield


@contextmanager
def _patient_ray() -> Iterator[None]:
    from hydra_plugins.hydra_ray_launcher import _core

    class PatientRay:
        def __init__(self, ray: Any) -> None:
            self._ray = ray

        def __getattr__(self, name: str) -> Any:
            return getattr(self._ray, name)

        def get(self, run: Any) -> Any:
            return _kept(lambda: self._ray.get(run), self._ray.exceptions.RayTaskError)

    with _replaced(_core, "ray", PatientRay(vars(_core)["ray"])):
        yield


@contextmanager
def _replaced(module: Any, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


def queue_watcher() -> Any:
    """Return a replacement for submitit's watcher, which reads the states of Slurm jobs.

    submitit's own watcher calls ``sacct``. On a cluster without accounting, ``sacct`` returns nothing, so submitit
    would wait forever for a killed job. The replacement calls ``squeue``, which lists all jobs that have not ended.
    """
    from submitit.slurm.slurm import SlurmInfoWatcher

    class QueueWatcher(SlurmInfoWatcher):
        def __init__(self) -> None:
            super().__init__(delay_s=_QUEUE_SECONDS)

        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            return ["squeue", "--me", "--noheader", "--array", "--format=%i"]

        def read_info(self, string: str | bytes) -> dict[str, dict[str, str]]:
            text = string if isinstance(string, str) else string.decode()
            alive = set(text.split())
            return {
                job: {"JobID": job, "State": "RUNNING" if job in alive else "COMPLETED"} for job in self._registered
            }

    return QueueWatcher()


def start_cluster(launcher: Launcher) -> None:
    """Start or join the cluster for Ray's launcher. Call this function in the main thread.

    If a local cluster were started in a different thread, the system would end its processes together with this thread.
    In the main thread, Ray replaces the handler of SIGTERM, so this function restores the handler. It also turns off
    Ray's usage statistics, unless the user sets ``RAY_USAGE_STATS_ENABLED=1``.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    settings = launcher.ray_cfg.init  # type: ignore[attr-defined]
    settings.setdefault("object_store_memory", 78643200)  # the value that the Ray plugin uses
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_ray(settings)
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class PoolTask:
    """A task function for joblib's workers.

    If the sweep's process dies, the running jobs write checkpoints and stop, and all workers end.
    """

    task: Any
    sweep: int  # the process id of the sweep

    def __call__(self, config: Any) -> Any:
        global _watch
        if _watch is None and os.getpid() != self.sweep:
            _watch = threading.Thread(target=_end_with, args=(self.sweep,), name="sweep", daemon=True)
            _watch.start()
        try:
            with _printed() if os.getpid() != self.sweep else nullcontext():
                return self.task(config)
        finally:
            if _gone.is_set():  # the sweep has died: without this exit, the worker would wait for more jobs
                os._exit(128 + signal.SIGTERM)


@contextmanager
def _printed() -> Iterator[None]:
    """In the ``with`` block, the output of the job goes to a file in the job's folder."""
    path = Path(str(HydraConfig.get().runtime.output_dir)) / OUTPUT
    before = [os.dup(number) for number in (1, 2)]
    print_to(path)
    try:
        yield
    finally:
        for stream, number, own in zip((sys.stdout, sys.stderr), (1, 2), before, strict=True):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
            os.dup2(own, number)
            os.close(own)
        with suppress(OSError):
            if not path.stat().st_size:
                path.unlink()


def _end_with(sweep: int) -> None:
    """When the sweep's process has ended, end the other workers, checkpoint this worker's job, and stop."""
    workers: list[psutil.Process] = []
    while os.getppid() == sweep:
        with suppress(psutil.Error):
            workers = psutil.Process(sweep).children()
        time.sleep(_POOL_SECONDS)
    _gone.set()
    for worker in workers:
        with suppress(psutil.Error):  # the worker has already ended
            if worker.pid != os.getpid():
                worker.terminate()
    stop_process()
