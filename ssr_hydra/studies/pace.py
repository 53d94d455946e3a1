"""The meaning of equal time: the same number of steps, or the same number of seconds."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_hydra.studies.intervals import VERDICT, Cell, combine
from ssr_hydra.studies.study import Axis, Study

__all__ = ["ALIKE", "Crowd", "EqualTime", "Pace", "equal_time"]

ALIKE = 1.1
"""Equal time is equal steps unless a recipe certainly takes longer per step than another by more than this factor."""

_BESIDE = 0.5  # mean number of other jobs: runs that differ by more had unlike conditions
_LOAD = 1.0  # of the load average: one more busy process

Reason = Literal["asked", "single", "no_clock", "same_work", "conditions", "alike", "slower", "apart"]


@dataclass(frozen=True)
class Pace:
    """How much longer the slowest recipe takes per step, or at the same SSR, than the fastest.

    Attributes:
        slow: The slowest.
        quick: The fastest.
        ratio: The ratio of their seconds per step; infinite if no SSR has runs of all recipes.
        low: Lower end of its interval over SSRs; NaN if there is one SSR, or all have the same ratio.
        high: Upper end.
    """

    slow: str = ""
    quick: str = ""
    ratio: float = math.inf
    low: float = math.nan
    high: float = math.nan

    @property
    def alike(self) -> bool:
        """Whether, within the noise of the clock, equal steps may take equal time up to a tenth."""
        return (self.ratio if math.isnan(self.low) else self.low) <= ALIKE


@dataclass(frozen=True)
class Crowd:
    """Two recipes whose runs had unlike conditions: the mean number of other jobs, or the load of the machine.

    Attributes:
        busy: The recipe whose runs had more of it.
        quiet: The recipe whose runs had less.
        most: The value for the runs of ``busy``.
        least: The value for the runs of ``quiet``.
        measure: ``jobs_beside`` or ``load``.
    """

    busy: str
    quiet: str
    most: float
    least: float
    measure: Literal["jobs_beside", "load"]


@dataclass(frozen=True)
class EqualTime:
    """The axis on which recipes are compared at equal amounts, and why.

    Attributes:
        axis: ``steps``, ``ssr`` or ``seconds``.
        reason: ``asked``; ``single`` (one recipe); ``no_clock`` (a run has no seconds); ``same_work`` (the recipes
            differ only in schedules and numbers of the optimizer, so a step is the same work); ``conditions`` (the
            seconds were measured under unlike conditions); ``alike`` (the paces do not differ beyond the noise of the
            clock); ``slower`` (they do); ``apart`` (no SSR has runs of all recipes).
        pace: The pace of the slowest recipe relative to the fastest.
        crowd: The unlike conditions; None if all runs with this information had similar ones.
    """

    axis: Axis
    reason: Reason
    pace: Pace = Pace()
    crowd: Crowd | None = None


def equal_time(study: Study, axes: Collection[Axis], asked: Axis | None = None) -> EqualTime:
    """Choose the axis of equal time.

    The load of a machine lasts as long as consecutive jobs of a recipe. Single runs show nothing of it, so the noise of
    the clock is that of means over recipe and SSR. If a step of every recipe is the same work, the clock measures only
    the machine and decides nothing.

    Args:
        study: The study.
        axes: The axes on which every run has a number.
        asked: The user's choice.
    """
    length: Axis = "steps" if "steps" in axes else "ssr"
    crowd = _crowd(study)
    if asked is not None:
        return EqualTime(asked, "asked", crowd=crowd)
    if "seconds" not in axes:
        return EqualTime(length, "no_clock")
    pace = _pace(study, length)
    if not pace.slow and pace.ratio == 1.0:
        return EqualTime(length, "single", pace, crowd)
    if study.same_work:
        return EqualTime(length, "same_work", pace, crowd)
    if crowd is not None:
        return EqualTime(length, "conditions", pace, crowd)
    if not pace.slow:
        return EqualTime("seconds", "apart", pace)
    return EqualTime(length, "alike", pace) if pace.alike else EqualTime("seconds", "slower", pace)


def _pace(study: Study, length: Axis) -> Pace:
    """Compute it from the mean of each recipe at each SSR and control that all recipes have."""
    runs = study.completed
    seconds = np.log(runs["seconds"] / runs[length])
    cells = seconds.groupby([runs["ssr"], runs["control"], runs["recipe"]]).mean().unstack()
    if cells.shape[1] == 1:
        return Pace(ratio=1.0)
    cells = cells.dropna()
    if cells.empty:
        return Pace()
    relative = cells.sub(cells.median(axis=1), axis=0).median()
    slow, quick = str(relative.idxmax()), str(relative.idxmin())
    # They are the extremes of all recipes, and some pair would be far apart by chance.
    recipes = cells.shape[1]
    level = 1 - (1 - VERDICT) / (recipes * (recipes - 1) // 2)
    apart = cells[slow] - cells[quick]
    blocks = apart.groupby("control").mean()  # a control is a separate sweep, whose SSRs share the load of its time
    found = combine([Cell((blocks if len(blocks) > 1 else apart).to_numpy(), None)], [1.0], level)
    return Pace(slow, quick, math.exp(found.value), math.exp(found.low), math.exp(found.high))


def _crowd(study: Study) -> Crowd | None:
    """Return the two recipes whose runs differ most in their conditions, if these were unlike and are recorded."""
    told = study.conditions
    runs = study.completed[["recipe"]].join(told, how="inner")
    measures: tuple[tuple[Literal["jobs_beside", "load"], float], ...] = (("jobs_beside", _BESIDE), ("load", _LOAD))
    for measure, most in measures:
        means = runs.groupby("recipe", sort=False)[measure].mean().dropna()
        if len(means) > 1 and means.max() - means.min() > most:
            busy, quiet = str(means.idxmax()), str(means.idxmin())
            return Crowd(busy, quiet, float(means.max()), float(means.min()), measure)
    return None
