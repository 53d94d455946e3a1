"""Records of jobs and a terminal, for tests of sweeps that start no process."""

from __future__ import annotations

import io
from pathlib import Path

from ssr_hydra.records import RunResult


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
