"""``plan=true``: list the jobs of a sweep without running them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TextIO

from ssr_hydra.sweeps.combinations import PlannedSweep
from ssr_hydra.sweeps.job_status import JOB, State, read_identity, read_state

__all__ = ["show_plan"]

_WORDS = {
    State.COMPLETED: "done",
    State.DIVERGED: "diverged",
    State.FAILED: "failed",
    State.DIED: "failed",
    State.RUNNING: "running",
    State.WAITING: "missing",
}


def show_plan(folder: Path, sweep: PlannedSweep, stream: TextIO) -> None:
    """Print a line for each job of a sweep: its status, its folder, and its swept values.

    Args:
        folder: The sweep's folder.
        sweep: Its jobs, checked by preflight.
        stream: The output.
    """
    owners = {found[0]: path.parent for path in folder.glob(f"**/{JOB}") if (found := read_identity(path.parent))}
    every = [set(overrides) for overrides, _ in sweep.jobs]
    shared = set.intersection(*every) if len(every) > 1 else set()
    lines, counts = [], Counter[str]()
    for overrides, description in sweep.jobs:
        place = owners.get(description.identity)
        word = "missing" if place is None else _WORDS[read_state(place)]
        counts[word] += 1
        where = "-" if place is None else place.relative_to(folder).as_posix()
        lines.append(f"  {word:<9} {where:<5} {' '.join(each for each in overrides if each not in shared)}".rstrip())
    head = ", ".join(f"{count} {word}" for word, count in counts.items())
    total = len(sweep.jobs)
    print(f"{total} {'job' if total == 1 else 'jobs'} in {folder}: {head}", *lines, sep="\n", file=stream, flush=True)
