"""List the jobs of a sweep: one for every combination of the values in its overrides."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

from hydra.core.override_parser.types import Override, RangeSweep

from ssr_hydra.errors import InputError
from ssr_hydra.sweeps.job_status import JobDescription
from ssr_hydra.sweeps.sharing.candidates import Candidate

__all__ = ["PLANNED", "PlannedSweep", "check_job_count", "combinations"]

_MOST_JOBS = 10_000


@dataclass
class PlannedSweep:
    """What preflight knows of a sweep before Hydra's sweeper starts.

    Args:
        jobs: The overrides and the description of each job.
        swept: Keys that differ between jobs.
        trust: Modules whose code the jobs may run.
        command: The command that continues the sweep.
        report: Writes the report of a folder and prints its answer; None for no report.
        candidates: The config of each job, and the properties that decide whether the job can share steps with other
            jobs; empty if they are not needed.
        describe: Returns these properties for the config of any job.
        keep: The checkpoints of shared steps that the study keeps (``share_keep``); None if the jobs share no steps.
        workers: The number of jobs that run at a time.
        pending: Name of the folder for a job's description while the job's folder is in use.
    """

    jobs: list[tuple[tuple[str, ...], JobDescription]] = field(default_factory=list)
    swept: frozenset[str] = frozenset()
    trust: tuple[str, ...] = ()
    candidates: list[tuple[dict[str, Any], Candidate]] = field(default_factory=list)
    describe: Callable[[Mapping[str, Any]], Candidate] | None = None
    keep: str | None = None
    workers: int = 1
    command: str = "the same command"
    report: Callable[[Path, TextIO], None] | None = None
    pending: str | None = None

    @property
    def extra(self) -> tuple[str, ...]:
        """Overrides that every job gets in addition to its own."""
        return () if self.pending is None else (f"hydra.output_subdir={self.pending}",)


PLANNED: list[PlannedSweep] = []
"""The sweep that is about to start in this process: at most one."""


def check_job_count(overrides: Iterable[Override]) -> int:
    """Refuse a sweep with too many jobs, without listing them.

    Args:
        overrides: The overrides of the sweep, from its file and from the command line.

    Returns:
        The number of jobs.

    Raises:
        InputError: There are too many jobs, or a range does not end.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> check_job_count(OverridesParser.create().parse_overrides(["ssr=0.5,1", "seed=range(0,100000)"]))
        Traceback (most recent call last):
        ssr_hydra.errors.InputError: seed='range(0,100000)': makes a sweep of 200,000 jobs, and the limit is 10,000; ...
    """
    counts = {item.get_key_element(): (item, _count(item)) for item in overrides}  # the last value of a key counts
    jobs = math.prod(count for _, count in counts.values())
    if jobs <= _MOST_JOBS:
        return int(jobs)
    largest, _ = max(counts.values(), key=lambda pair: pair[1])
    what = f"{jobs:,} jobs" if math.isfinite(jobs) else "jobs without end"
    rule = f"makes a sweep of {what}, and the limit is {_MOST_JOBS:,}"
    fix = "sweep over fewer values, or start several sweeps"
    raise InputError(largest.get_key_element(), largest.get_value_string(), rule, fix)


def _count(override: Override) -> float:
    if not override.is_sweep_override():
        return 1
    if not override.is_discrete_sweep():
        key, value = override.get_key_element(), override.get_value_string()
        raise InputError(key, value, "an interval has no values to list", "write the values, or range(...)")
    steps: Any = override.value()
    if not isinstance(steps, RangeSweep):
        return sum(1 for _ in override.sweep_iterator())
    start, stop, step = steps.start or 0, steps.stop or 0, steps.step
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        return math.inf
    return max(0, math.ceil((Fraction(stop) - Fraction(start)) / Fraction(step)))


def combinations(overrides: Sequence[Override]) -> Iterator[tuple[str, ...]]:
    """Yield the overrides of each job; the last key varies fastest. If a key is repeated, its last values count.

    Example:
        >>> from hydra.core.override_parser.overrides_parser import OverridesParser
        >>> list(combinations(OverridesParser.create().parse_overrides(["ssr=0.5,1", "seed=range(2)"])))
        [('ssr=0.5', 'seed=0'), ('ssr=0.5', 'seed=1'), ('ssr=1', 'seed=0'), ('ssr=1', 'seed=1')]
    """
    check_job_count(overrides)
    values: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if override.is_sweep_override():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            values[key] = [override.input_line or f"{key}={override.get_value_element_as_str()}"]
    return itertools.product(*values.values())
