"""Print the table of jobs when a sweep ends, from the records of the jobs. This module does not import torch."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from ssr_hydra.configs import APP_KEYS
from ssr_hydra.errors import visible
from ssr_hydra.output import text_table
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.sweeps.job_status import KILLED, JobState, StudyJob, columns_of, read_state

_MOST_SHOWN = 50
_OF_THE_SWEEP = (*APP_KEYS, "launcher")
_WORDS = {JobState.RUNNING: "running", JobState.DIED: "died", JobState.WAITING: "not begun"}


class _End(NamedTuple):
    status: str
    measured: tuple[str, str, str] = ("", "", "")  # steps, seconds of training, and the objective's value
    error: str = ""


def show_sweep(folder: Path, jobs: Sequence[StudyJob], stream: TextIO) -> None:
    """Print a line for each job of a sweep: its folder, its swept values, and how it ended.

    With more than fifty jobs, this function counts completed jobs but does not list them.
    """
    unique = list({job.folder: job for job in jobs}.values())
    stream.write(_table(folder, unique, stream))
    stream.flush()


def _end_of(job: StudyJob) -> _End:
    from ssr_hydra.trainer.progress import clock_text

    state = read_state(job.folder)
    if state in _WORDS:  # show no record, because a record may be from an earlier run
        return _End(_WORDS[state], error=KILLED if state is JobState.DIED else "")
    try:
        result = RunResult.load(job.folder)
    except (OSError, ValueError):  # a different sweep has just deleted the record
        return _End("without a record", error=f"{RESULT} is incomplete")
    value = result.metrics.get(job.description.objective or "")
    text = "" if value is None else f"{value:.4g}"
    return _End(result.status, (f"{result.steps:,}", clock_text(result.train_seconds), text), result.error or "")


def of_experiment(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the overrides without the settings of the sweep, such as ``study=first``."""
    return tuple(each for each in overrides if each.lstrip("+~").partition("=")[0] not in _OF_THE_SWEEP)


def _table(folder: Path, jobs: Sequence[StudyJob], stream: TextIO) -> str:
    ends = [_end_of(job) for job in jobs]
    columns = columns_of([of_experiment(job.overrides) for job in jobs])
    objectives = {job.description.objective for job in jobs} - {None}
    name = objectives.pop() if len(objectives) == 1 else None
    errors = any(end.error for end in ends)
    rows = [("job", *columns.keys, "status", "steps", "training", name or "objective", "error")]
    # The first line counts all jobs. The table omits jobs that have not started, and a long table completed jobs too.
    hidden = {"not begun", *(("completed",) if len(jobs) > _MOST_SHOWN else ())}
    rows += [
        (job.folder.relative_to(folder).as_posix(), *row, end.status, *end.measured, end.error)
        for job, row, end in zip(jobs, columns.rows, ends, strict=True)
        if end.status not in hidden
    ]
    counts = Counter(end.status for end in ends)
    head = f"{len(jobs)} {'job' if len(jobs) == 1 else 'jobs'} in {folder}: "
    head += ", ".join(f"{count} {status}" for status, count in counts.items())
    lines = [visible(head)]
    if columns.shared:
        lines.append(visible(f"all with {' '.join(columns.shared)}"))
    if len(rows) > 1:
        first = 2 + len(columns.keys)  # the index of the column with the steps
        terminal = stream.isatty()
        lines += text_table(
            [[visible(cell) for cell in (row if errors else row[:-1])] for row in rows],
            right=range(first, first + 3),
            fold=(*range(first), first + 2, first + 3),
            width=shutil.get_terminal_size().columns if terminal else 10_000,
            bold_header=terminal,
        )
    return "\n" + "\n".join(lines) + "\n"
