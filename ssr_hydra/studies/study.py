"""A study: runs of recipes at several SSRs and seeds, as a frame with a row for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

__all__ = ["AXES", "COLUMNS", "Axis", "Problem", "Study"]

Axis = Literal["ssr", "steps", "samples", "tokens", "seconds", "cost"]
AXES: tuple[Axis, ...] = ("ssr", "steps", "samples", "tokens", "seconds", "cost")
"""What quality may be held against."""

COLUMNS = (
    "study", "job", "recipe", "control", "ssr", "seed", "status", "error", "quality", "steps", "samples", "tokens",
    "seconds", "total_seconds", "resumes", "max_duration", "config_hash", "folder",
)  # fmt: skip
"""Of ``Study.frame``."""


@dataclass(frozen=True)
class Problem:
    """A record that is not believed, or a run that has not ended well.

    Attributes:
        where: The run's folder, or the file and the row.
        kind: ``torn`` (no whole record), ``invalid`` (whole, but wrong), ``failed``, ``diverged``, ``running``,
            ``unfinished`` (no record: killed, or running where that cannot be seen), ``duplicate``, ``no_value``.
        reason: In words, one line.
    """

    where: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Study:
    """Runs, and what was wrong with others.

    Attributes:
        frame: A row for each whole record, in ``COLUMNS``: study, job, recipe (str), control ("" | "truncate" |
            "scale_warmup" | "truncate+scale_warmup"), ssr (float), seed (Int64, NA if none), status, error (str, "" if
            none), quality (float, NaN unless the run completed), steps, samples, tokens, seconds (of training),
            total_seconds, resumes, max_duration, config_hash, folder. Its index counts from 0.
        curves: Every evaluation of the objective, a row for each: run (index in ``frame``), steps, samples, tokens,
            seconds, value.
        objective: Name of the metric that is ``quality``, such as ``eval/accuracy``.
        direction: ``max`` or ``min``: which quality is better.
        problems: What is not in ``frame``, and the runs in it that failed: each named with its reason.
        notes: What a reader must know of the comparison: several data sets, code versions or machines, seeds that
            diverged; one line each.
        sources: Folders or files that were read.
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    objective: str
    direction: Literal["max", "min"]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    sources: tuple[Path, ...] = ()
    hardware: tuple[dict[str, Any], ...] = field(default=())

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that completed a run, in the order in which they were met."""
        raise NotImplementedError

    @property
    def completed(self) -> pd.DataFrame:
        """The rows of ``frame`` that have a quality: what all statistics are made of."""
        raise NotImplementedError

    def totals(self, price_per_hour: float | None = None) -> dict[str, float]:
        """What the sweep itself took: runs, completed, failed, train_seconds, total_seconds, cost."""
        raise NotImplementedError
