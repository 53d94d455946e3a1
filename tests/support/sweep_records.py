"""Records of jobs, a terminal and a killed process, for tests of sweeps that start no process."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import JobDescription


class Terminal(io.StringIO):
    """A stream whose ``isatty`` returns True."""

    def isatty(self) -> bool:
        return True


def record(
    folder: Path,
    status: str = "completed",
    error: str | None = "E",
    *,
    steps: int = 1,
    seconds: float = 1.0,
    metrics: dict[str, float | None] | None = None,
) -> None:
    """Write the ``result.json`` of a job. A completed job has no error, and only a completed job has metrics."""
    is_completed = status == "completed"
    error, metrics = (None, metrics) if is_completed else (error, None)
    RunResult(status, error, None, 1.0, "1ep", 0, steps, steps, 0, seconds, seconds, metrics or {}).save(folder)


def jobs(names: Iterable[str]) -> list[tuple[tuple[str, ...], JobDescription]]:
    """Return overrides and a description for each name."""
    return [((name,), JobDescription(identity=name, config_hash=name)) for name in names]


class Killed(BaseException):
    """Simulates the end of a process: all later operations on files raise this error too."""


@contextmanager
def ended_at(point: int, error: type[BaseException], *operations: tuple[Any, str]) -> Iterator[Counter[str]]:
    """In the ``with`` block, the operation with number ``point`` raises an error; with ``Killed``, all later ones too.

    Each operation is a function in a module or class.
    """
    counts = Counter[str]()

    def counted(name: str, act: Callable[..., object]) -> Callable[..., object]:
        def do(*arguments: object, **settings: object) -> object:
            counts[name] += 1
            if counts.total() == point + 1 or (counts.total() > point and error is Killed):
                raise error(name)
            return act(*arguments, **settings)

        return do

    with pytest.MonkeyPatch.context() as patch:
        for place, name in operations:
            patch.setattr(place, name, counted(name, getattr(place, name)))
        yield counts
