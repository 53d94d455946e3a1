"""Write the record of a job that could not write its own. Needs neither torch nor Hydra."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssr_hydra.metrics_log import METRICS
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import StudyJob

__all__ = ["record_lost"]

_TAIL_BYTES = 65_536


def record_lost(job: StudyJob, error: str) -> None:
    """Write the ``result.json`` of a job whose process was lost. The number of steps comes from the job's metrics log.

    Raises:
        WriteError: The record cannot be written.
    """
    last = _last_line(job.folder / METRICS)
    seconds = float(last.get("train_seconds", 0.0))
    description = job.description
    RunResult(
        status="failed",
        error=error,
        name=description.name,
        ssr=description.ssr,
        max_duration=description.max_duration,
        seed=description.seed,
        steps=int(last.get("batch", 0)),
        samples=int(last.get("sample", 0)),
        tokens=int(last.get("token", 0)),
        train_seconds=seconds,
        total_seconds=seconds,
        config_hash=description.config_hash,
        control=description.control,
    ).save(job.folder)


def _last_line(path: Path) -> dict[str, Any]:
    """Return the last complete line of a metrics log as a mapping; an empty mapping if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if isinstance(content, dict) and "batch" in content:
            return content
    return {}
