"""Launchers that give up at the first job they lose, although others go on: within :func:`patient` they wait for all.

The plugins for submitit and Ray collect their jobs' results one after the other, and the first that is an error ends
the collection. Other jobs still run then, or wait in a queue, and nobody knows of them any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ssr_hydra.errors import RunError
from ssr_hydra.launchers.jobs import LostJobError
from ssr_hydra.launchers.slurm import queue_watcher
from ssr_hydra.launchers.traits import traits_of

__all__ = ["patient"]


@contextmanager
def patient(launcher: Launcher) -> Iterator[None]:
    """Within it, a job that such a launcher has lost is a failed one among its results.

    Args:
        launcher: Any; those that need no patience are left as they are.
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
    """A result, or the result of a failed job from the exception that came instead.

    Args:
        get: Returns the result.
        failures: The exceptions of a job that failed; all others mean that its process died.
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
            except submitit.core.utils.UncompletedJobError:  # which says much, and not what counts
                if not self._job.paths.stdout.exists():  # Slurm makes the file when the job begins
                    failed = submitit.core.utils.FailedJobError
                    raise failed("it was cancelled before it began; the same command runs it") from None
                why = "its process ended without a word, killed perhaps"
                raise LostJobError(f"{why}; what it printed is in {self._job.paths.folder}") from None

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
