"""Read the identity and the status of a study's jobs from their folders, and write the record of a job that died."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from ssr_hydra.errors import RunError
from ssr_hydra.files import open_regular, read_bounded
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RESULT, RunResult, config_hash, is_number
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse, is_alive

_COUNTS = ("batch", "sample", "token", "train_seconds")
_MOST_BYTES, _TAIL_BYTES = 10_000_000, 65_536
JOB = "job.json"
"""Name of the file in a job's folder that identifies the job."""

KILLED = "its process ended without a result; it was probably killed"
"""The error of a job with a heartbeat file but without a record."""

# Settings that may differ between two runs of one job: name, logging, checkpoints and the loading of data.
_FREE = re.compile(
    r"(name|logger|checkpoint|resume)(\.|$)|trainer\.progress(\.|$)|data\.(num_workers|prefetch_factor)(\.|$)"
)


class LostJobError(RunError):
    """The process of a job ended before the job was done. The job is retried."""


class JobState(Enum):
    """The status of a job, according to the files in its folder."""

    WAITING = "waiting"  # the job has not started
    RUNNING = "running"  # the process of the job is alive
    DIED = "died"  # the process ended without a record, for example because it was killed
    FAILED = "failed"  # the job raised an error, or died too often
    STOPPED = "stopped"  # ctrl-C or another signal ended the job, which can be resumed
    DIVERGED = "diverged"  # a loss or a weight became NaN or infinite
    COMPLETED = "completed"

    @property
    def is_final(self) -> bool:
        """True if the job has completed or diverged: a second run would have the same result."""
        return self in (JobState.COMPLETED, JobState.DIVERGED)

    @property
    def has_ended(self) -> bool:
        """True if the job has ended and has a record."""
        return self.is_final or self in (JobState.FAILED, JobState.STOPPED)


@dataclass(frozen=True)
class JobDescription:
    """The parts of a job's config that a study needs."""

    identity: str  # SHA-256 of the part of the config that determines the result of the run; it identifies the job
    config_hash: str  # SHA-256 of the whole config, as in the run's record
    name: str | None = None
    ssr: float = 1.0
    max_duration: str = ""
    seed: int | None = None
    control: str | None = None
    objective: str | None = None


@dataclass(frozen=True)
class StudyJob:
    """One job of a sweep."""

    overrides: tuple[str, ...]
    description: JobDescription
    folder: Path


class OverrideColumns(NamedTuple):
    """The overrides of several jobs as a table: a row for each job, and a column for each key that differs.

    ``shared`` has the overrides that all jobs share. If a job does not set a key, its value is empty.

    Example:
        >>> columns_of([("a=1", "b=2"), ("a=1", "b=3")])
        OverrideColumns(shared=('a=1',), keys=('b',), rows=(('2',), ('3',)))
    """

    shared: tuple[str, ...]
    keys: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def words(self, row: int) -> str:
        """Return the overrides of one job as text. Omit the overrides that all jobs share."""
        pairs = zip(self.keys, self.rows[row], strict=True)
        return " ".join(key if value == key else f"{key}={value}" for key, value in pairs if value) or "no overrides"


def columns_of(overrides: Sequence[Sequence[str]]) -> OverrideColumns:
    """Split the overrides of jobs into columns."""
    every = [dict.fromkeys(each) for each in overrides]
    common = set.intersection(*(set(each) for each in every)) if len(every) > 1 else set()
    own = [dict(map(_pair, (item for item in each if item not in common))) for each in every]
    keys = tuple(dict.fromkeys(key for each in own for key in each))
    rows = tuple(tuple(each.get(key, "") for key in keys) for each in own)
    shared = tuple(item for item in (every[0] if every else ()) if item in common)
    return OverrideColumns(shared, keys, rows)


def _pair(override: str) -> tuple[str, str]:
    """Return the key and the value of an override as texts. For ``~key``, both are the text ``~key``."""
    key, equals, value = override.partition("=")
    return key, (value or "''") if equals else key


def is_free(field: str) -> bool:
    """Return whether a field of the config has no effect on the run's result."""
    return _FREE.match(field) is not None


def describe(values: Mapping[str, Any]) -> JobDescription:
    """Return the description of a job. ``values`` is the checked config of the job, as plain data."""
    trainer = values.get("trainer")
    return JobDescription(
        identity=str(config_hash(_without_free(values, ""))),
        config_hash=str(config_hash(values)),
        name=values.get("name"),
        ssr=float(values.get("ssr", 1.0)),
        max_duration=str(values.get("max_duration", "")),
        seed=values.get("seed"),
        control=values.get("control"),
        objective=trainer.get("objective") if isinstance(trainer, Mapping) else None,
    )


def _without_free(node: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {
        key: _without_free(value, f"{path}{key}.") if isinstance(value, Mapping) else value
        for key, value in node.items()
        if not is_free(f"{path}{key}")
    }


def read_state(folder: Path, now: float | None = None) -> JobState:
    """Return the status of the job in a folder.

    If the record says failed or stopped but a heartbeat file exists, the status is RUNNING or DIED: the record may be
    from an earlier attempt. ``now`` is the current time from :func:`~ssr_hydra.sweeps.heartbeat.clock_of`.
    """
    record = None
    with suppress(OSError, ValueError):
        record = RunResult.load(folder / RESULT)
    if record is not None and JobState(record.status).is_final:
        return JobState(record.status)
    if Pulse.read(folder / HEARTBEAT) is not None:
        return JobState.RUNNING if is_alive(folder / HEARTBEAT, now) else JobState.DIED
    return JobState.WAITING if record is None else JobState(record.status)


def run_folders(root: Path, names: Collection[str], *, below: bool = False) -> list[Path]:
    """Return all folders in ``root``, at any depth, that contain a file or folder with one of these names.

    With ``below``, the result never has ``root`` itself. The function does not search inside the returned folders or
    behind links, because links may form a circle. The result has a link to such a folder only if it does not have the
    folder itself.
    """
    folders, links, waiting = list[str](), list[str](), [str(root)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = list(listed)
        except OSError:  # the folder was removed, or cannot be read
            continue
        if any(entry.name in names for entry in entries) and not (below and folder == str(root)):
            folders.append(folder)
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting += [] if entry.name.startswith(".") else [entry.path]
            elif entry.is_symlink() and any(Path(entry.path, name).exists() for name in names):
                links.append(entry.path)
    targets = set(map(os.path.realpath, folders)) if links else set()
    for link in sorted(links):
        if os.path.realpath(link) not in targets:
            targets.add(os.path.realpath(link))
            folders.append(link)
    return [Path(folder) for folder in folders]


def job_folders(study: Path) -> list[Path]:
    """Return the folders of a study's jobs, at any depth."""
    return run_folders(study, (JOB,), below=True)


def read_identity(folder: Path) -> tuple[str, str] | None:
    """Return the identity of the job in a folder, and the id of its sweep; None if the folder has no job."""
    try:
        content = json.loads(read_bounded(folder / JOB, _MOST_BYTES))
        return str(content["identity"]), str(content["sweep"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def owners_of(study: Path) -> dict[str, tuple[Path, str]]:
    """Return a mapping from the identity of each job of a study to the job's folder and the id of its sweep."""
    identities = {folder: read_identity(folder) for folder in job_folders(study)}
    return {each[0]: (folder, each[1]) for folder, each in identities.items() if each is not None}


def record_lost(job: StudyJob, error: str) -> None:
    """Write the ``result.json`` of a job whose process was lost, with the number of steps from its metrics log."""
    last = _last_line(job.folder / METRICS)
    steps, samples, tokens = (int(last.get(key, 0)) for key in _COUNTS[:3])
    seconds = float(last.get("train_seconds", 0.0))
    description = job.description
    RunResult(
        status="failed",
        error=error,
        name=description.name,
        ssr=description.ssr,
        max_duration=description.max_duration,
        seed=description.seed,
        steps=steps,
        samples=samples,
        tokens=tokens,
        train_seconds=seconds,
        total_seconds=seconds,
        config_hash=description.config_hash,
        control=description.control,
    ).save(job.folder)


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last complete line of a metrics log; an empty mapping if the log has no complete line."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except (OSError, ValueError):
        return {}
    for line in reversed(lines):
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict) and "batch" in content:
            counts = [content.get(key, 0) for key in _COUNTS]
            if all(is_number(count) and count >= 0 for count in counts):
                return content
    return {}
