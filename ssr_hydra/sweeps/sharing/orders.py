"""What the sweep tells each job about shared steps, on disk: where to begin, and which checkpoints to pass on.

::

    shared/orders/<job>.json                where the job begins, and the steps after which it publishes a checkpoint
    shared/points/<job>-ba<step>/           a published checkpoint, in the layout of a run's folder
    shared/taken/<job>.json                 the steps and seconds that a job did not train itself

``<job>`` is the start of the job's identity. Needs neither torch nor Hydra.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ssr_hydra.checkpoints.store import CHECKPOINTS
from ssr_hydra.files import read_bounded, write_atomically
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import JOB, read_identity

__all__ = [
    "SHARED",
    "Cost",
    "Orders",
    "Point",
    "Taken",
    "clear_orders",
    "clear_points",
    "cost_of",
    "point_name",
    "points_of",
    "publish",
    "taken_of",
]

SHARED = "shared"
"""Folder in a study's folder with what its jobs share."""

_ORDERS, _POINTS, _TAKEN, _ORIGIN = "orders", "points", "taken", "origin.json"
_TABLE = "metrics.csv"
_MOST_BYTES = 10_000_000
_DIGITS = 16


def point_name(identity: str, step: int) -> str:
    """Return the name of the checkpoint that a job publishes after a step.

    Example:
        >>> point_name("0123456789abcdef" * 4, 320)
        '0123456789abcdef-ba320'
    """
    return f"{identity[:_DIGITS]}-ba{step}"


@dataclass(frozen=True)
class Orders:
    """What a job has to know of the steps that it shares.

    Args:
        begin: The first step that it trains itself.
        point: The name of the checkpoint from which it begins; None if it trains from the beginning.
        source: Folder of the job that publishes this checkpoint, relative to the study's; None if it is published.
        publish: The steps after which it publishes a checkpoint.
        publishes_all: Whether it also publishes every checkpoint that it writes before the last of these.
    """

    begin: int = 0
    point: str | None = None
    source: str | None = None
    publish: list[int] = field(default_factory=list)
    publishes_all: bool = False

    def write(self, study: Path, identity: str) -> None:
        """Write it for a job, durably.

        Raises:
            WriteError: It cannot be written.
        """
        path = _path(study, _ORDERS, identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(asdict(self)) + "\n")

    @classmethod
    def read(cls, study: Path, identity: str) -> Orders | None:
        """Read those of a job; None if it has none."""
        content = _read(_path(study, _ORDERS, identity))
        return None if content is None else cls(**content)

    @staticmethod
    def remove(study: Path, identity: str) -> None:
        """Remove those of a job."""
        _path(study, _ORDERS, identity).unlink(missing_ok=True)


class Taken(NamedTuple):
    """The part of a job that another job trained.

    Args:
        steps: The number of steps.
        train_seconds: The seconds that they took.
    """

    steps: int
    train_seconds: float

    def write(self, study: Path, identity: str) -> None:
        """Write it for a job, durably.

        Raises:
            WriteError: It cannot be written.
        """
        path = _path(study, _TAKEN, identity)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(self._asdict()) + "\n")


def taken_of(study: Path, identity: str) -> Taken:
    """Return the part of a job that another job trained; zero if it trained all of it."""
    content = _read(_path(study, _TAKEN, identity))
    return Taken(0, 0.0) if content is None else Taken(**content)


@dataclass(frozen=True)
class Point:
    """A published checkpoint.

    Args:
        folder: Its folder: ``checkpoints/ba<step>``, and the records up to there.
        step: The step after which it was written.
        identity: The identity of the job that trained it.
        values: The config of that job.
        code: The code that the job ran.
    """

    folder: Path
    step: int
    identity: str
    values: Mapping[str, Any]
    code: Mapping[str, str]

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint."""
        return self.folder / CHECKPOINTS / f"ba{self.step}"

    @classmethod
    def read(cls, study: Path, name: str) -> Point | None:
        """Read one by its name; None if it is not published."""
        folder = study / SHARED / _POINTS / name
        content = _read(folder / _ORIGIN)
        return None if content is None else cls(folder, **content)

    def size(self) -> int:
        """Return its bytes on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def copy_records(self, run_dir: Path, log_bytes: int) -> None:
        """Copy its records to the folder of a job.

        Raises:
            WriteError: They cannot be written.
        """
        with (self.folder / METRICS).open("rb") as file:
            write_atomically(run_dir / METRICS, file.read(log_bytes))
        table = self.folder / _TABLE
        if table.exists():
            shutil.copyfile(table, run_dir / _TABLE)


@dataclass(frozen=True)
class Cost:
    """What the jobs of a study that have a record took.

    Args:
        steps: The steps of all jobs, as if each had run alone.
        seconds: Their training seconds, as if each had run alone.
        trained_steps: The steps that were trained; a shared step counts once.
        trained_seconds: The seconds of these.
    """

    steps: int
    seconds: float
    trained_steps: int
    trained_seconds: float


def cost_of(study: Path) -> Cost | None:
    """Return what a study took; None if no job of it took steps of another."""
    steps, seconds, taken_steps, taken_seconds = 0, 0.0, 0, 0.0
    if not (study / SHARED / _TAKEN).is_dir():
        return None
    for path in study.glob(f"**/{JOB}"):
        owner = read_identity(path.parent)
        try:
            record = RunResult.load(path.parent)
        except (OSError, ValueError):
            continue
        taken = Taken(0, 0.0) if owner is None else taken_of(study, owner[0])
        steps, seconds = steps + record.steps, seconds + record.train_seconds
        taken_steps, taken_seconds = taken_steps + taken.steps, taken_seconds + taken.train_seconds
    return Cost(steps, seconds, steps - taken_steps, seconds - taken_seconds) if taken_steps else None


def clear_orders(study: Path, identities: Iterable[str]) -> None:
    """Remove the orders of jobs: a later sweep gives its own."""
    if not (study / SHARED / _ORDERS).is_dir():
        return
    for identity in identities:
        Orders.remove(study, identity)
    with suppress(OSError):  # another sweep uses it
        (study / SHARED / _ORDERS).rmdir()


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
    """Publish a checkpoint of a job, with the records up to it. A published one is not replaced.

    Args:
        study: The folder of the study.
        checkpoint: The folder of the checkpoint, in the job's own folder.
        identity: The identity of the job.
        step: The step after which it was written.
        values: The config of the job.
        code: The code of the job.

    Raises:
        OSError: It cannot be written.
    """
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
                os.link(file, copy)  # files of checkpoints never change
            except OSError:  # another file system, or one without links
                shutil.copyfile(file, copy)
        for name in (METRICS, _TABLE):
            if (run_dir / name).exists():
                shutil.copyfile(run_dir / name, new / name)
        origin = {"step": step, "identity": identity, "values": dict(values), "code": dict(code)}
        write_atomically(new / _ORIGIN, json.dumps(origin) + "\n")
        try:
            new.rename(target)
        except OSError:
            if not target.exists():  # another process was faster
                raise
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _path(study: Path, kind: str, identity: str) -> Path:
    return study / SHARED / kind / f"{identity[:_DIGITS]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(read_bounded(path, _MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
