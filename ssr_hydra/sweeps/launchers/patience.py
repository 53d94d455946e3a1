"""Make the launchers for submitit and Ray wait for all of their jobs.

These plugins collect the results of their jobs one after another, and raise the first error. Then other jobs would
still run, or wait in a queue, although their sweep has ended. :func:`patient` prevents this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ssr_hydra.errors import RunError
from ssr_hydra.sweeps.job_status import KILLED, LostJobError
from ssr_hydra.sweeps.launchers.slurm import queue_watcher
from ssr_hydra.sweeps.launchers.traits import traits_of

__all__ = ["patient"]


@contextmanager
def patient(launcher: Launcher) -> Iterator[None]:
    """In this block, a launcher for submitit or Ray returns a failed result for a lost job instead of an error.

    Args:
        launcher: The launcher. Launchers for other libraries are not changed.
    """
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
    """Return the result of a job. If ``get`` raises an exception, return the result of a failed job.

    Args:
        get: Returns the result.
        failures: Types of exceptions that mean that the job failed. Any other exception means that its process died.
    """
    try:
        return get()
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        kind = RunError if isinstance(error, failures) else LostJobError
        return JobReturn(status=JobStatus.FAILED, _return_value=kind(said[:500]))


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
            except submitit.core.utils.UncompletedJobError:  # replace its text, which is long and lacks the reason
                if not self._job.paths.stdout.exists():  # Slurm creates the file when the job starts
                    failed = submitit.core.utils.FailedJobError
                    raise failed("it was cancelled before it began; the same command runs it") from None
                raise LostJobError(f"{KILLED}; what it printed is in {self._job.paths.folder}") from None

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
