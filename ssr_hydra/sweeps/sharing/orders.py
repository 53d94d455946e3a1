"""The files of shared steps in a study's folder.

::

    shared/orders/<job>.json         orders for a job: its first step, and the checkpoints that it publishes
    shared/points/<job>-ba<step>/    a published checkpoint, and the metrics up to this step
    shared/taken/<job>.json          the number of steps that the job got from other jobs, and their training time

``<job>`` stands for the first characters of the job's identity.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ssr_hydra.checkpoints.store import CHECKPOINTS
from ssr_hydra.files import open_regular, read_bounded, write_atomically
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import job_folders, read_identity

SHARED = "shared"
"""Name of the folder, in a study's folder, that holds the files of shared steps."""

_ORDERS, _POINTS, _TAKEN, _ORIGIN = "orders", "points", "taken", "origin.json"
_RECORDS = "records.jsonl"  # do not use the name ``metrics.jsonl``: a folder with such a file is a run
_TABLE = "metrics.csv"
_MOST_BYTES = 10_000_000
_DIGITS = 16

T = TypeVar("T")


def point_name(identity: str, step: int) -> str:
    """Return the name of the published checkpoint of a job after ``step`` steps.

    Example:
        >>> point_name("0123456789abcdef" * 4, 320)
        '0123456789abcdef-ba320'
    """
    return f"{identity[:_DIGITS]}-ba{step}"


@dataclass(frozen=True)
class Orders:
    """Instructions to a job about the steps that it shares with other jobs."""

    begin: int = 0  # the first step that the job trains itself
    point: str | None = None  # the checkpoint from which the job begins; None if the job trains all steps
    # The folder, inside the study's folder, of the job that will publish ``point``; None if it is already published.
    source: str | None = None
    publish: list[int] = field(default_factory=list)  # the steps after which the job publishes a checkpoint
    publishes_all: bool = False  # the job also publishes every checkpoint before the last step in ``publish``

    def write(self, study: Path, identity: str) -> None:
        _write(_path(study, _ORDERS, identity), asdict(self))

    @classmethod
    def read(cls, study: Path, identity: str) -> Orders | None:
        """Return the orders of a job; None if the job has no orders."""
        return _read_record(_path(study, _ORDERS, identity), cls)

    @staticmethod
    def remove(study: Path, identity: str) -> None:
        _path(study, _ORDERS, identity).unlink(missing_ok=True)


class Taken(NamedTuple):
    """The number of steps that a job got from other jobs, and their training time in seconds."""

    steps: int
    train_seconds: float

    def write(self, study: Path, identity: str) -> None:
        _write(_path(study, _TAKEN, identity), self._asdict())

    @staticmethod
    def remove(study: Path, identity: str) -> None:
        _path(study, _TAKEN, identity).unlink(missing_ok=True)


@dataclass(frozen=True)
class Point:
    """A published checkpoint, from which other jobs can begin."""

    folder: Path  # holds ``checkpoints/ba<step>`` and the metrics up to that step
    step: int
    identity: str  # the identity of the job that wrote the checkpoint
    values: Mapping[str, Any]  # the config of that job
    code: Mapping[str, str]  # the software of that job; see :func:`~ssr_hydra.versions.software`

    @property
    def checkpoint(self) -> Path:
        return self.folder / CHECKPOINTS / f"ba{self.step}"

    @classmethod
    def read(cls, study: Path, name: str) -> Point | None:
        """Return the published checkpoint that has this name; None if it is not published yet."""
        folder = study / SHARED / _POINTS / name

        def point(step: Any, identity: Any, values: Any, code: Any) -> Point:
            return cls(folder, int(step), str(identity), dict(values), dict(code))

        return _read_record(folder / _ORIGIN, point)

    def is_by(self, code: Mapping[str, str]) -> bool:
        """Return whether the job that wrote this checkpoint used the versions in ``code``."""
        return all(code.get(name, version) == version for name, version in self.code.items())

    def size(self) -> int:
        """Return the size of the checkpoint's folder in bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def copy_records(self, run_dir: Path, log_bytes: int) -> None:
        """Copy the metrics up to this checkpoint into a job's folder: the first ``log_bytes`` bytes of the log."""
        with open_regular(self.folder / _RECORDS) as file:
            write_atomically(run_dir / METRICS, file.read(log_bytes))
        table = self.folder / _TABLE
        if table.exists():
            shutil.copyfile(table, run_dir / _TABLE)


def taken_in(run_dirs: Iterable[str | Path]) -> Taken:
    """Return how many steps the jobs in ``run_dirs`` took from other jobs, and how long these steps were trained."""
    # Look for a study only once per parent folder, because a table may have a million jobs in few studies.
    studies: dict[str, Path | None] = {}
    total = Taken(0, 0.0)
    for run_dir in run_dirs:
        home = os.path.dirname(run_dir)  # noqa: PTH120  # much faster than pathlib
        if home not in studies:
            studies[home] = _study_of(Path(home))
        if (study := studies[home]) is not None:
            shared = _taken_by(Path(run_dir), study)
            total = Taken(total.steps + shared.steps, total.train_seconds + shared.train_seconds)
    return total


def _taken_by(run_dir: Path, study: Path) -> Taken:
    none = Taken(0, 0.0)
    owner = read_identity(run_dir)
    if owner is None:
        return none

    def taken(steps: Any, train_seconds: Any) -> Taken:
        return Taken(int(steps), float(train_seconds))

    record = _read_record(_path(study, _TAKEN, owner[0]), taken) or none
    with suppress(OSError, ValueError):
        if RunResult.load(run_dir).steps < record.steps:  # the job failed before it loaded the shared checkpoint
            return none
    return record


def _study_of(folder: Path) -> Path | None:
    """Return the study that contains a folder; None if no job of the study got steps from another job."""
    return next((place for place in (folder, *folder.parents) if (place / SHARED / _TAKEN).is_dir()), None)


@dataclass(frozen=True)
class Cost:
    """The total steps and training time of a study. Jobs without a record are not included."""

    steps: int  # a step that n jobs share counts n times
    seconds: float
    trained_steps: int  # a step that n jobs share counts once
    trained_seconds: float


def cost_of(study: Path) -> Cost | None:
    """Return the steps and the training time of a study; None if no job got steps from another job."""
    if not (study / SHARED / _TAKEN).is_dir():
        return None
    records: dict[Path, RunResult] = {}
    for folder in job_folders(study):
        with suppress(OSError, ValueError):
            records[folder] = RunResult.load(folder)
    shared = taken_in(records)
    steps = sum(record.steps for record in records.values())
    seconds = sum(record.train_seconds for record in records.values())
    return Cost(steps, seconds, steps - shared.steps, seconds - shared.train_seconds) if shared.steps else None


def clear_points(study: Path) -> None:
    """Remove the published checkpoints of a study."""
    shutil.rmtree(study / SHARED / _POINTS, ignore_errors=True)


def points_of(study: Path) -> Iterator[Point]:
    """Yield the published checkpoints of a study."""
    for path in sorted((study / SHARED / _POINTS).glob(f"*/{_ORIGIN}")):
        point = Point.read(study, path.parent.name)
        if point is not None:
            yield point


def publish(
    study: Path, checkpoint: Path, identity: str, step: int, values: Mapping[str, Any], code: Mapping[str, str]
) -> None:
    """Publish a checkpoint of a job, with the metrics up to this step. Keep a checkpoint that is already published."""
    target = study / SHARED / _POINTS / point_name(identity, step)
    if target.exists():
        return
    new = target.with_name(f".{target.name}.{os.getpid()}.new")
    run_dir = checkpoint.parents[1]
    try:
        (new / CHECKPOINTS / checkpoint.name).mkdir(parents=True)
        for file in checkpoint.iterdir():
            copy = new / CHECKPOINTS / checkpoint.name / file.name
            try:
                os.link(file, copy)  # a link is enough, because files of checkpoints never change
            except OSError:  # the folders are on two file systems, or links are not supported
                shutil.copyfile(file, copy)
        for name, copied in ((METRICS, _RECORDS), (_TABLE, _TABLE)):
            if (run_dir / name).exists():
                shutil.copyfile(run_dir / name, new / copied)
        origin = {"step": step, "identity": identity, "values": dict(values), "code": dict(code)}
        write_atomically(new / _ORIGIN, json.dumps(origin) + "\n")
        try:
            new.rename(target)
        except OSError:
            if not target.exists():  # a different process has published it first
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _path(study: Path, kind: str, identity: str) -> Path:
    return study / SHARED / kind / f"{identity[:_DIGITS]}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content) + "\n")


def _read_record(path: Path, make: Callable[..., T]) -> T | None:
    """Return an object with the fields in a file; None if the file is missing, is damaged, or has other keys."""
    try:
        return make(**json.loads(read_bounded(path, _MOST_BYTES)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
