"""Ask Slurm's queue which jobs have ended, without the accounting database that many small clusters do not have."""

from __future__ import annotations

from typing import Any

__all__ = ["queue_watcher"]

_SECONDS = 15  # seconds between two queries; a killed job is noticed within that time
_OVER, _ALIVE = "COMPLETED", "RUNNING"


def queue_watcher() -> Any:
    """Replaces submitit's job states, which call ``sacct`` every ten minutes.

    ``squeue`` lists jobs that wait, run, or were requeued. A job that it does not list has ended; the job's own files
    show how. Without accounting ``sacct`` returns nothing, and a launcher that uses it waits for a killed job forever.
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
