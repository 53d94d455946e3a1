"""Slurm asked by its queue: which jobs are over, without the accounts that many a small cluster does not keep."""

from __future__ import annotations

from typing import Any

__all__ = ["queue_watcher"]

_SECONDS = 15  # between two looks, at most: a job that was killed is noticed in that time
_OVER, _ALIVE = "COMPLETED", "RUNNING"


def queue_watcher() -> Any:
    """What submitit is to ask for the states of jobs, instead of its own that asks ``sacct`` every ten minutes.

    ``squeue`` lists the jobs that wait, run, or have been put back to wait again. One that it does not list is over,
    in whatever way; which way, the job's own files tell. Without accounts ``sacct`` answers nothing, and a launcher
    that asks it waits for a killed job without end.
    """
    from submitit.slurm.slurm import SlurmInfoWatcher

    class QueueWatcher(SlurmInfoWatcher):
        def __init__(self) -> None:
            super().__init__(delay_s=_SECONDS)

        def _make_command(self) -> list[str] | None:
            if not self._registered - self._finished:
                return None
            return ["squeue", "--me", "--noheader", "--array", "--format=%i"]

        def read_info(self, string: str | bytes) -> dict[str, dict[str, str]]:
            text = string if isinstance(string, str) else string.decode()
            alive = set(text.split())
            return {job: {"JobID": job, "State": _ALIVE if job in alive else _OVER} for job in self._registered}

    return QueueWatcher()
