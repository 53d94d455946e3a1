"""Wrap any launcher so that a sweep skips finished jobs, retries jobs that died, and can be continued later.

Hydra's launchers start each job once and keep no record of the job. If a job is killed, other jobs may die too, or the
sweep may wait forever.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ssr_hydra.errors import RunError
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.sweeps.folder import AssignedJobs, StudyFolder
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse
from ssr_hydra.sweeps.job_status import (
    KILLED,
    JobState,
    LostJobError,
    StudyJob,
    columns_of,
    read_state,
    record_lost,
)
from ssr_hydra.sweeps.launchers.plugins import patient, start_cluster
from ssr_hydra.sweeps.launchers.traits import traits_of
from ssr_hydra.sweeps.progress import SweepProgress

RETRIES = 3
"""The number of times a job is retried after its process died."""

_POLL_SECONDS = 0.5
_GRACE_SECONDS = 5.0  # a launcher must return within this time after its jobs ended or died
_STOP_SECONDS = 30.0  # after ctrl-C, jobs on this machine must write their checkpoints within this time
_MOST_NAMED = 8
_DONE = (JobState.COMPLETED, JobState.DIVERGED, JobState.FAILED)  # a stopped job runs again


class SweepError(RunError):
    """Raised if some jobs of a sweep did not complete. The message names these jobs and the reasons."""


class StudyLauncher:
    """Run the missing jobs of a sweep with Hydra's launcher, until each job has ended or has died too often.

    A job that has completed or diverged is not run again. A job whose process died continues from its last checkpoint,
    up to :data:`RETRIES` times. If jobs share a process, its death ends all of them. Then each of these jobs is
    retried alone.

    Without ``places``, jobs run seed by seed. The order within a seed is random but fixed (sorted by the SHA-256
    identity), so that a short slowdown of the machine does not always affect neighbouring settings.

    Args:
        inner: The launcher that runs the jobs.
        stream: The stream for progress.
        command: The command that continues the sweep.
        extra: Overrides to add to every job.
        places: A mapping from the identity of each job to its position in the start order; None for any order.
        at_a_time: Like ``batch``, but only for launchers that start all their jobs immediately.
        batch: The number of jobs to pass to the launcher at a time; None for all.
    """

    def __init__(
        self,
        inner: Launcher,
        folder: StudyFolder,
        plan: AssignedJobs,
        stream: TextIO,
        *,
        command: str,
        extra: Sequence[str] = (),
        places: Mapping[str, int] | None = None,
        at_a_time: int | None = None,
        batch: int | None = None,
    ) -> None:
        self._inner, self._folder, self._plan, self._stream = inner, folder, plan, stream
        self._command, self._extra, self._places = command, extra, places or {}
        self._traits = traits = traits_of(type(inner).__name__)
        limits = batch, at_a_time if traits.starts_all else None, len(plan.jobs)
        self._at_a_time = min(filter(None, limits), default=1)
        self._n_launched = 0  # number of jobs passed to the inner launcher
        self._jobs = {job.folder: job for job in plan.jobs}
        self._varied = columns_of([job.overrides for job in self._jobs.values()])
        self._returns: dict[Path, JobReturn] = {}  # the latest result of each job from the inner launcher
        # For each job, the number of failed launches that left no heartbeat file.
        self._silent: Counter[Path] = Counter()
        self._pulses: dict[Path, Pulse | None] = {}  # the heartbeat in a job's folder before the job is launched
        self._starts_jobs = False  # the inner launcher has started at least one job

    def run(self) -> None:
        """Run the jobs until each has ended or has died too often.

        Raises:
            Exception: An error of the inner launcher, if it was raised before any job started.
        """
        plan = self._plan
        states = {job: read_state(job.folder) for job in plan.mine}
        # An earlier sweep that was killed may have left running jobs. Wait for them.
        others = [*plan.others, *(job for job, state in states.items() if state is JobState.RUNNING)]
        seeds = list(dict.fromkeys(job.description.seed for job in plan.mine))

        def place_of(job: StudyJob) -> tuple[int, int, str]:
            # Jobs whose process died come last: if they die again, they cannot end other jobs in the same process. Jobs
            # that share steps come after the job that trains these steps.
            identity = job.description.identity
            place = self._places.get(identity, states[job] is JobState.DIED)
            return place, seeds.index(job.description.seed), identity

        missing = [job for job, state in states.items() if not (state.is_final or state is JobState.RUNNING)]
        pending = self._ready(sorted(missing, key=place_of))
        suspects = list[StudyJob]()
        folder, live = self._folder.path, self._traits.is_quiet
        with SweepProgress(folder, self._jobs.values(), self._stream, self._command, live=live) as progress:
            try:
                while pending or suspects or others:
                    if pending and not (suspects and self._places):
                        batch, pending = pending[: self._at_a_time], pending[self._at_a_time :]
                    elif suspects:
                        batch = [suspects.pop(0)]
                    else:
                        time.sleep(_POLL_SECONDS)
                        pending, others = self._free(others)
                        continue
                    again = self._run(batch, progress)
                    alone = not self._traits.isolates and len(batch) > 1
                    for job in again:
                        died = read_state(job.folder) is JobState.DIED
                        (suspects if alone and (died or self._silent[job.folder] > 1) else pending).append(job)
            except KeyboardInterrupt:
                self._wait_for_running()
                raise

    def _free(self, others: list[StudyJob]) -> tuple[list[StudyJob], list[StudyJob]]:
        """Return the jobs that this sweep takes over from dead sweeps, and the jobs for which it must still wait."""
        unfinished = {job: state for job in others if (state := read_state(job.folder)) not in _DONE}
        orphans = self._folder.take_over(job for job, state in unfinished.items() if state is not JobState.RUNNING)
        # Read the status again: the sweep that ran a job may have completed the job just before it ended.
        states = {job: read_state(job.folder) for job in orphans}
        left = [job for job in unfinished if states.get(job, JobState.RUNNING) is JobState.RUNNING]
        return self._ready([job for job in orphans if job not in left and states[job] not in _DONE]), left

    def _ready(self, jobs: Iterable[StudyJob]) -> list[StudyJob]:
        """Return the jobs that have not died too often, ready to launch again: delete their records of failures."""
        ready = [job for job in jobs if not self._is_given_up(job)]
        for job in ready:
            with suppress(OSError, ValueError):
                if not JobState(RunResult.load(job.folder).status).is_final:
                    (job.folder / RESULT).unlink()
        return ready

    def _run(self, batch: list[StudyJob], progress: SweepProgress) -> list[StudyJob]:
        """Launch a batch of jobs once. Return the jobs that must be launched again."""
        for job in batch:
            self._returns.pop(job.folder, None)
            self._pulses[job.folder] = Pulse.read(job.folder / HEARTBEAT)
        overrides, first = [self._overrides_of(job) for job in batch], self._n_launched
        self._n_launched += len(batch)
        returns: list[JobReturn] = []
        errors: list[BaseException] = []

        def launch() -> None:
            try:
                with patient(self._inner):
                    returns.extend(self._inner.launch(overrides, first))
            except BaseException as error:
                errors.append(error)

        if self._traits.in_main_thread:
            launch()
        else:
            self._run_beside(launch, batch)
        error = errors[0] if errors else None
        if error is not None and not isinstance(error, Exception):  # ctrl-C, or another signal that ends the sweep
            raise error
        self._returns.update((job.folder, returned) for job, returned in zip(batch, returns, strict=False))
        while any(_is_running(job.folder) for job in batch):
            time.sleep(_POLL_SECONDS)  # a launcher may return at the first death while other jobs still run
        states = {job.folder: read_state(job.folder) for job in batch}
        died = {folder for folder, state in states.items() if state is JobState.DIED}
        died -= {job.folder for job in batch if self._is_old_sign(job)}
        moved = bool(died) or any(state.has_ended for state in states.values())
        self._starts_jobs = self._starts_jobs or moved
        if error is not None and not self._starts_jobs:
            raise error
        again = []
        for job in batch:
            if states[job.folder].has_ended:
                continue
            failure = self._failure_of(job)
            # A job counts as lost if its process died before it wrote its first heartbeat.
            is_lost = job.folder not in died and isinstance(failure, LostJobError)
            # If another job of the batch started but this job did not, do not count this launch as an attempt: the
            # death of the other job may have ended the launch.
            self._silent[job.folder] += is_lost or not moved
            if failure is not None and job.folder not in died and not is_lost:
                self._give_up(job, f"{type(failure).__name__}: {failure}")
            elif not self._is_given_up(job, error):
                again.append(job)
                if job.folder in died or is_lost:
                    attempt = f"{self._attempts(job)} of {RETRIES}"
                    progress.tell(f"job {self._named(job)} died and is run again: {attempt}")
        return again

    def _overrides_of(self, job: StudyJob) -> list[str]:
        place = job.folder.relative_to(self._folder.path).as_posix().replace("'", "\\'")
        return [*job.overrides, f"hydra.sweep.subdir='{place}'", *self._extra]

    def _run_beside(self, launch: Callable[[], None], batch: list[StudyJob]) -> None:
        """Launch the jobs in a thread. Abandon the thread if the launcher waits for jobs that have died."""
        if self._traits.library == "ray":
            start_cluster(self._inner)
        thread = threading.Thread(target=launch, name="launcher", daemon=True)
        thread.start()
        since: float | None = None
        while thread.is_alive():
            thread.join(_POLL_SECONDS)
            if self._traits.finds_out or any(self._is_open(job) for job in batch):
                since = None
            elif since is None:
                since = time.monotonic()
            elif time.monotonic() - since > _GRACE_SECONDS:
                return

    def _is_open(self, job: StudyJob) -> bool:
        """Return whether the inner launcher may still start or finish this job."""
        state = read_state(job.folder)
        if state is JobState.DIED:
            # If the heartbeat has not changed since the launch, the job is still starting.
            return self._is_old_sign(job)
        if state is JobState.STOPPED:  # Slurm starts a preempted job again
            return "SIGUSR2" in _why(job, state)
        return not state.has_ended

    def _is_old_sign(self, job: StudyJob) -> bool:
        return Pulse.read(job.folder / HEARTBEAT) == self._pulses.get(job.folder)

    def _wait_for_running(self) -> None:
        # The terminal sends ctrl-C to the jobs too. Wait until the running jobs have written their checkpoints.
        until = time.monotonic() + (0.0 if self._traits.leaves_jobs else _STOP_SECONDS)
        while time.monotonic() < until and any(map(_is_running, self._pulses)):
            time.sleep(_POLL_SECONDS)

    # ---- how a job ended

    def _failure_of(self, job: StudyJob) -> object:
        """Return the error that the inner launcher returned as the result of a job; None if there is no error."""
        returned = self._returns.get(job.folder)
        return returned._return_value if returned is not None and returned.status is JobStatus.FAILED else None

    def _is_given_up(self, job: StudyJob, error: BaseException | None = None) -> bool:
        """Return whether a job has died or failed to start too often. If so, write a record of its failure.

        ``error`` is the error of the inner launcher.
        """
        attempts = self._attempts(job)
        if attempts <= RETRIES:
            return False
        failure, cause = self._failure_of(job), KILLED
        if failure is not None:
            cause = str(failure)
        elif Pulse.read(job.folder / HEARTBEAT) is None:
            cause = "it was launched and never started"
            cause += f" ({type(error).__name__}: {error})" if error is not None else ""
        self._give_up(job, f"{cause}, {attempts} times")
        return True

    def _attempts(self, job: StudyJob) -> int:
        """Return how many times a job was started and died, including the starts that left no heartbeat file."""
        pulse = Pulse.read(job.folder / HEARTBEAT)
        return self._silent[job.folder] + (0 if pulse is None else pulse.attempt)

    def _give_up(self, job: StudyJob, error: str) -> None:
        record_lost(job, error)
        (job.folder / HEARTBEAT).unlink(missing_ok=True)  # then the next command counts attempts from zero

    def check(self) -> None:
        """Raise a SweepError if some jobs did not complete."""
        states = {job: read_state(job.folder) for job in self._jobs.values()}
        bad = {job: state for job, state in states.items() if state is not JobState.COMPLETED}
        if not bad:
            return
        reasons: dict[str, list[str]] = {}  # a mapping from reason to jobs, to print each reason only once
        for job, state in list(bad.items())[:_MOST_NAMED]:
            reasons.setdefault(_why(job, state), []).append(self._named(job))
        named = [f"{', '.join(jobs)}: {why}" for why, jobs in reasons.items()]
        named += [f"and {len(bad) - _MOST_NAMED} more"] if len(bad) > _MOST_NAMED else []
        total = f"{len(bad)} of {len(states)} {'job' if len(states) == 1 else 'jobs'} did not complete"
        if any(not state.is_final for state in bad.values()):
            named.append(f"to run only the failed jobs again: {self._command}")
        elif JobState.DIVERGED in bad.values():
            named.append("a diverged run would diverge again, so it is not repeated")
        raise SweepError(f"{total}: {'; '.join(named)}")

    def _named(self, job: StudyJob) -> str:
        return f"{job.folder.name} ({self._varied.words([*self._jobs].index(job.folder))})"


def _is_running(folder: Path) -> bool:
    return read_state(folder) is JobState.RUNNING


def _why(job: StudyJob, state: JobState) -> str:
    with suppress(OSError, ValueError):
        error = RunResult.load(job.folder).error
        if error is not None:
            return " ".join(error.split())
    return state.value
