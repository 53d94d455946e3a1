"""Ask Slurm's queue which jobs have ended, without the accounting database that many small clusters do not have."""

from __future__ import annotations

from typing import Any

__all__ = ["queue_watcher"]

_SECONDS = 15  # seconds between two queries: the sweep notices a killed job within this time
_OVER, _ALIVE = "COMPLETED", "RUNNING"


def queue_watcher() -> Any:
    """Return a replacement for submitit's watcher of job states. submitit's own watcher calls ``sacct``.

    This one calls ``squeue``, which lists jobs that wait, run, or were requeued. A job that ``squeue`` does not list
    has ended, and the job's files show how. Without accounting, ``sacct`` returns nothing, so submitit's own watcher
    would wait for a killed job forever.
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
