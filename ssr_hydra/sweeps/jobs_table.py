"""Print the table of jobs when a sweep ends, from the records of the jobs. This module does not import torch."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import yaml

from ssr_hydra.configs import APP_KEYS
from ssr_hydra.errors import visible
from ssr_hydra.files import read_bounded
from ssr_hydra.output import text_table
from ssr_hydra.records import RESULT, RunResult
from ssr_hydra.sweeps.job_status import JOB, KILLED, JobState, columns_of, job_folders, read_state
from ssr_hydra.sweeps.pending import REFUSED

_MOST_BYTES = 10_000_000  # the largest config file that is read
_MOST_SHOWN = 50
_OF_THE_SWEEP = (*APP_KEYS, "launcher")
_WORDS = {JobState.RUNNING: "running", JobState.DIED: "died", JobState.WAITING: "not begun"}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C loader, if available, is ten times faster


class _Row(NamedTuple):
    folder: str
    overrides: tuple[str, ...]
    objective: str | None
    status: str
    measured: tuple[str, str, str] = ("", "", "")  # steps, seconds of training, and the objective's value
    error: str = ""


def show_sweep(folder: Path, stream: TextIO, pending: str | None = None) -> None:
    """Print a line for each job of a sweep: its folder, its swept values, and how it ended.

    With more than fifty jobs, this function counts completed jobs but does not list them. If the app refused to train a
    job, the job's folder has a subfolder with the reason. ``pending`` is the name of this subfolder.
    """
    folders = {path.parent.parent for path in folder.glob("**/.hydra/overrides.yaml")}
    folders |= {*job_folders(folder)}  # jobs that have not started have no ``.hydra`` folder
    refused = {path.parent.parent for path in folder.glob(f"**/{pending}/overrides.yaml")} if pending else set()
    jobs = [_read_job(folder, path, path / str(pending) if path in refused else None) for path in folders | refused]
    if jobs:
        jobs.sort(key=lambda job: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", job.folder)])
        stream.write(_table(folder, jobs, stream))
        stream.flush()


def _read_job(sweep: Path, folder: Path, pending: Path | None) -> _Row:
    """Return the row of a job. If the app refused the job, ``pending`` holds the job's overrides and the reason."""
    from ssr_hydra.trainer.progress import clock_text

    config = _yaml(folder / ".hydra/config.yaml")
    trainer = config.get("trainer") if isinstance(config, dict) else None
    objective = trainer.get("objective") if isinstance(trainer, dict) else None
    overrides = _yaml((pending or folder / ".hydra") / "overrides.yaml")
    if overrides is None and isinstance(planned := _yaml(folder / JOB), dict):
        overrides = planned.get("overrides")
    state = read_state(folder)
    row = _Row(
        folder=folder.relative_to(sweep).as_posix(),
        overrides=of_experiment(overrides),
        objective=objective if isinstance(objective, str) else None,
        status=_WORDS.get(state, ""),
        error=KILLED if state is JobState.DIED else "",
    )
    if pending is not None:  # ignore a record: it is from an earlier run, because the new run has not started to train
        with suppress(OSError, ValueError):
            why = read_bounded(pending / REFUSED, _MOST_BYTES).decode("utf-8", "replace")
            return row._replace(status="refused", error=why)
        return row._replace(status="not begun")  # the job was killed, or is still starting on a different machine
    if state in _WORDS and not (state is JobState.WAITING and (folder / RESULT).exists()):
        return row  # show no record, because a record may be from an earlier run
    try:
        result = RunResult.load(folder / RESULT)
    except (OSError, ValueError):  # the record is incomplete, or a different sweep has just deleted it
        return row._replace(status="without a record", error=f"{RESULT} is incomplete")
    value = result.metrics.get(row.objective or "")
    text = "" if value is None else f"{value:.4g}"
    measured = f"{result.steps:,}", clock_text(result.train_seconds), text
    return row._replace(status=result.status, measured=measured, error=result.error or "")


def of_experiment(overrides: Any) -> tuple[str, ...]:
    """Return the overrides of the experiment, without settings of the sweep such as ``study=first``."""
    listed = map(str, overrides) if isinstance(overrides, (list, tuple)) else ()
    return tuple(each for each in listed if each.lstrip("+~").partition("=")[0] not in _OF_THE_SWEEP)


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(read_bounded(path, _MOST_BYTES), Loader=_Loader)  # a safe loader
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


def _table(folder: Path, jobs: list[_Row], stream: TextIO) -> str:
    columns = columns_of([job.overrides for job in jobs])
    objectives = {job.objective for job in jobs if job.objective is not None}
    name = next(iter(objectives)) if len(objectives) == 1 else "objective"
    errors = any(job.error for job in jobs)
    rows = [("job", *columns.keys, "status", "steps", "training", name, "error")]
    # The first line counts all jobs. The table does not list jobs that have not started. A long table does not list
    # completed jobs.
    hidden = {"not begun", *(("completed",) if len(jobs) > _MOST_SHOWN else ())}
    rows += [
        (job.folder, *row, job.status, *job.measured, job.error)
        for job, row in zip(jobs, columns.rows, strict=True)
        if job.status not in hidden
    ]
    counts = Counter(job.status for job in jobs)
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
