"""List the jobs of a sweep without running them (``plan=true``)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TextIO

from ssr_hydra.sweeps.combinations import PlannedSweep
from ssr_hydra.sweeps.job_status import JOB, JobState, read_identity, read_state
from ssr_hydra.sweeps.jobs_table import of_experiment
from ssr_hydra.sweeps.sharing.plan import NONE, Entry, SharingPlan
from ssr_hydra.versions import code_version, software

__all__ = ["plan_of", "show_plan"]

_WORDS = {
    JobState.COMPLETED: "done",
    JobState.DIVERGED: "diverged",
    JobState.FAILED: "failed",
    JobState.STOPPED: "stopped",
    JobState.DIED: "failed",
    JobState.RUNNING: "running",
    JobState.WAITING: "missing",
}


def show_plan(folder: Path, sweep: PlannedSweep, stream: TextIO) -> None:
    """Print a line for each job of a sweep: its status, its folder and its swept values. Then print the steps to train.

    Args:
        folder: The sweep's folder.
        sweep: The jobs of the sweep, which preflight has checked.
        stream: The output.
    """
    owners = {found[0]: path.parent for path in folder.glob(f"**/{JOB}") if (found := read_identity(path.parent))}
    jobs: dict[str, tuple[str, ...]] = {}
    for overrides, description in sweep.jobs:
        jobs.setdefault(description.identity, of_experiment(overrides))
    shared = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    lines, counts = [], Counter[str]()
    for identity, overrides in jobs.items():
        place = owners.get(identity)
        word = "missing" if place is None else _WORDS[read_state(place)]
        counts[word] += 1
        where = "-" if place is None else place.relative_to(folder).as_posix()
        lines.append(f"  {word:<9} {where:<5} {' '.join(each for each in overrides if each not in shared)}".rstrip())
    head = ", ".join(f"{count} {word}" for word, count in counts.items())
    total, combined = len(jobs), len(sweep.jobs)
    heads = [f"{total} {'job' if total == 1 else 'jobs'} in {folder}: {head}"]
    if " x " in sweep.product:
        heads.append(f"{combined} = {sweep.product}")
    if combined > total:
        heads.append(f"{combined - total} of {combined} combinations are the same as another one")
    lines = [*heads, *lines]
    plan = plan_of(folder, sweep, owners)
    lines += plan.lines(sweep.workers) if sweep.keep is not None else plan.hint()
    print(*lines, sep="\n", file=stream, flush=True)


def plan_of(
    study: Path, sweep: PlannedSweep, folders: Mapping[str, Path], mine: Collection[str] | None = None
) -> SharingPlan:
    """Return the plan that says which jobs of a sweep train the steps that several jobs share.

    Args:
        study: The sweep's folder.
        sweep: The jobs of the sweep, which preflight has checked.
        folders: A mapping from the identity of a job to its folder. Jobs without a folder are missing.
        mine: The identities of the jobs that this sweep runs; None for all jobs.
    """
    entries = [
        Entry(description.identity, of_experiment(overrides), values, candidate, folders.get(description.identity))
        for (overrides, description), (values, candidate) in zip(sweep.jobs, sweep.candidates, strict=True)
    ]
    assert sweep.describe is not None
    code = software(code_version(sweep.trust))
    return SharingPlan(study, entries, sweep.keep or NONE, sweep.describe, mine, code)
