"""Decide which jobs of a sweep train the first steps of other jobs. Count the steps that sharing saves."""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from ssr_hydra.sweeps.sharing.sequences import Sequences, first_difference

_LEAST = Fraction(1, 1000)  # share at least this fraction of the run's steps
_PROBED = 2  # share at least this number of steps


def is_worth(prefix: int, steps: int) -> bool:
    """Return whether sharing the first ``prefix`` of ``steps`` steps is worth a checkpoint.

    Example:
        >>> is_worth(1, 100), is_worth(2, 100), is_worth(9, 10_000)
        (False, True, False)
    """
    return prefix >= _PROBED and prefix >= steps * _LEAST


class Planned(NamedTuple):
    """The data of one job for :func:`plan_stages`."""

    sequences: Sequences  # the multipliers of the job's schedules at each step
    group: Hashable  # only jobs of one group can share steps; None if the job shares no steps
    start: int = 0  # the step from which the job can continue, with its own or a published checkpoint
    held: Collection[int] = ()  # the steps of the checkpoints in the job's own folder, which the job can publish


@dataclass(frozen=True)
class Branch:
    """The steps that one job trains itself."""

    steps: int  # the number of steps of the whole run
    begin: int  # the first step that the job trains itself
    source: int | None = None  # index of the job that will train the steps before ``begin``; None if none are missing
    children: tuple[int, ...] = ()  # the indices of the jobs that branch off from this job, in the order of ``begin``
    held: int = 0  # the latest step with a checkpoint in the job's own folder


@dataclass
class _Stage:
    """A node of a tree: the steps from ``begin`` to ``end`` (exclusive), which all ``jobs`` share."""

    begin: int
    end: int
    jobs: list[int]  # the first job has the longest run
    # The keys are the multipliers at the first step of each child.
    children: dict[Hashable, _Stage] = field(default_factory=dict)


@dataclass(frozen=True)
class StagePlan:
    """The steps that each job of a sweep trains itself."""

    branches: tuple[Branch, ...]

    @property
    def alone(self) -> int:
        """The total number of steps that the sweep trains without sharing."""
        return sum(branch.steps - branch.held for branch in self.branches)

    @property
    def shared(self) -> int:
        """The total number of steps that the sweep trains if jobs share steps."""
        return sum(branch.steps - branch.begin for branch in self.branches)

    @property
    def longest(self) -> int:
        """The duration of the sweep, counted in steps, if there is a worker for every job."""
        return self.took(len(self.branches) or 1)

    def took(self, workers: int) -> int:
        """Return the duration of the sweep with this number of workers, counted in steps."""
        ends = (start + self.branches[job].steps - self.branches[job].begin for start, job in self.starts(workers))
        return max(ends, default=0)

    def order(self, workers: int) -> list[int]:
        """Return the indices of the jobs in the order in which they start."""
        return [job for _, job in self.starts(workers)]

    def starts(self, workers: int) -> Iterator[tuple[int, int]]:
        """Yield the step at which each job starts, counted from the start of the sweep, and the job's index.

        A free worker takes the job with the longest remaining path: its steps and the steps of the jobs that wait for
        it. A job comes last if it must wait for its shared steps.
        """
        left = _remaining(self.branches)
        free = [0] * min(workers, len(self.branches) or 1)
        later = [(0, job) for job, branch in enumerate(self.branches) if branch.source is None]
        ready: list[tuple[int, int, int]] = []
        while later or ready:
            start = heapq.heappop(free)
            if not ready:
                start = max(start, later[0][0])
            while later and later[0][0] <= start:
                _, job = heapq.heappop(later)
                heapq.heappush(ready, (-left[job], self.branches[job].begin, job))
            _, begin, job = heapq.heappop(ready)
            yield start, job
            for child in self.branches[job].children:
                heapq.heappush(later, (start + max(0, self.branches[child].begin - begin), child))
            heapq.heappush(free, start + self.branches[job].steps - begin)

    def published(self, job: int) -> tuple[int, ...]:
        """Return the steps at which other jobs begin with a checkpoint of this job."""
        return tuple(sorted({self.branches[child].begin for child in self.branches[job].children}))


def plan_stages(jobs: Sequence[Planned]) -> StagePlan:
    """Find the latest step at which each job can begin: from a checkpoint of its own or of a different job.

    Every job trains at least its last step itself.
    """
    begins = [job.start for job in jobs]
    sources: list[int | None] = [None] * len(jobs)
    # The roots of all trees. Each root is stored under its multipliers at step 1, at step 2, at step 4 ... So a job is
    # compared only with the roots that have the same multipliers at one of these steps.
    roots: dict[Hashable, list[_Stage]] = {}
    for index in sorted(range(len(jobs)), key=lambda index: (-jobs[index].sequences.steps, jobs[index].start)):
        job, steps = jobs[index], jobs[index].sequences.steps
        if job.group is None or steps <= _PROBED:
            continue
        probe = 1 << (max(_PROBED, math.ceil(steps * _LEAST)) - 1).bit_length() - 1
        for root in roots.get((job.group, probe, job.sequences.at(probe, probe + 1)), ()):
            branch_point = _insert(root, index, jobs, begins)
            if branch_point is not None:
                begin, source = branch_point
                if source is not None and begin > job.start:
                    begins[index], sources[index] = begin, source
                break
        else:
            whole = _Stage(0, steps, [index])
            for probe in (1 << bit for bit in range((steps - 1).bit_length())):
                roots.setdefault((job.group, probe, job.sequences.at(probe, probe + 1)), []).append(whole)
    children: dict[int, list[int]] = {}
    for index, source in enumerate(sources):
        if source is not None:
            children.setdefault(source, []).append(index)
    branches = tuple(
        Branch(
            job.sequences.steps,
            begins[index],
            sources[index],
            tuple(sorted(children.get(index, ()), key=lambda child: begins[child])),
            max(job.held, default=0),
        )
        for index, job in enumerate(jobs)
    )
    return StagePlan(branches)


def _insert(root: _Stage, index: int, jobs: Sequence[Planned], begins: Sequence[int]) -> tuple[int, int | None] | None:
    """Add a job to the tree of a root. All runs in the tree must be at least as long as the run of the new job.

    Returns:
        A pair: the first step that the job must train itself, and the index of the job that will train the steps before
        it (None if they are already trained). If the job shares too few steps with the tree, None instead of a pair.
    """
    own = jobs[index].sequences
    most = own.steps - 1
    stage, above = root, list[_Stage]()
    while True:
        rest = jobs[stage.jobs[0]].sequences
        same = first_difference(rest, own, stage.begin, min(stage.end, most))
        if same < stage.end:
            break
        above.append(stage)
        following = stage.children.get(own.at(stage.end, stage.end + 1)) if stage.end < most else None
        if following is None:
            break
        stage = following
    if not is_worth(same, own.steps):
        return None
    if same < stage.end:
        lower = _Stage(same, stage.end, list(stage.jobs), stage.children)
        stage.end, stage.children = same, {rest.at(same, same + 1): lower}
        above.append(stage)
    # The first of these jobs that still has to train step ``same - 1``, or has its own checkpoint of step ``same``.
    source = next((job for job in above[-1].jobs if begins[job] < same or same in jobs[job].held), None)
    for each in above:
        each.jobs.append(index)
    own_key: Hashable = own.at(same, same + 1) if same < most else ("end", index)
    above[-1].children[own_key] = _Stage(same, own.steps, [index])
    return same, source


def _remaining(branches: Sequence[Branch]) -> list[int]:
    """Return the length of each job's path: the steps from its start to the end of the last job that waits for it."""
    left = [branch.steps - branch.begin for branch in branches]
    for index in sorted(range(len(branches)), key=lambda index: -branches[index].begin):
        source = branches[index].source
        if source is not None:
            # A job starts at least one step after its source.
            steps = max(1, branches[index].begin - branches[source].begin)
            left[source] = max(left[source], steps + left[index])
    return left
