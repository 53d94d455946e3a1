"""Choose the axis of equal time: steps, SSR or seconds."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_hydra.studies.intervals import VERDICT, Cell, combine
from ssr_hydra.studies.study import Axis, Study

ALIKE = 1.1
"""The largest ratio of two recipes' seconds per step for which "equal time" means equal steps."""

_BESIDE = 0.5  # conditions differ if the mean numbers of other jobs differ by more than this
_LOAD = 1.0  # conditions differ if the load averages differ by more than this, the load of one busy process

Reason = Literal["asked", "single", "no_clock", "same_work", "conditions", "alike", "slower", "apart"]


@dataclass(frozen=True)
class Pace:
    """How much longer a step takes with the slowest recipe than with the fastest. Without steps: the time per SSR.

    Attributes:
        slow: The slowest recipe; ``""`` if there is one recipe, or no SSR has runs of all recipes.
        quick: The fastest recipe, or ``""``.
        ratio: The seconds per step of ``slow`` divided by those of ``quick``; infinite if no SSR has runs of all
            recipes.
        low: Lower end of the interval of ``ratio`` over SSRs; NaN if there is one SSR, or all SSRs have the same ratio.
        high: Upper end of this interval.
    """

    slow: str = ""
    quick: str = ""
    ratio: float = math.inf
    low: float = math.nan
    high: float = math.nan

    @property
    def alike(self) -> bool:
        """Whether all recipes may take about the same time: ``ratio`` or its lower end is at most 1.1."""
        return (self.ratio if math.isnan(self.low) else self.low) <= ALIKE


@dataclass(frozen=True)
class Crowd:
    """The two recipes whose runs differ most in their conditions: the number of other jobs, or the load of the machine.

    Attributes:
        busy: The recipe whose runs ran next to more other jobs, or under more load.
        quiet: The recipe whose runs ran next to fewer other jobs, or under less load.
        most: The mean of ``measure`` over the runs of ``busy``.
        least: The mean of ``measure`` over the runs of ``quiet``.
        measure: ``jobs_beside`` or ``load``.
    """

    busy: str
    quiet: str
    most: float
    least: float
    measure: Literal["jobs_beside", "load"]


@dataclass(frozen=True)
class EqualTime:
    """The axis on which recipes are compared at "equal time", and the reason for this choice.

    Attributes:
        axis: ``steps``, ``ssr`` or ``seconds``.
        reason: ``asked`` (the user chose it); ``single`` (there is one recipe); ``no_clock`` (a run has no seconds);
            ``same_work`` (the recipes differ only in schedules and numeric settings of the optimizer, so their steps do
            the same work); ``conditions`` (the seconds were measured under different conditions); ``alike`` (the
            seconds per step differ by at most a tenth, or a larger difference may be noise of the clock); ``slower``
            (the seconds per step differ by more than a tenth); ``apart`` (no SSR has runs of all recipes).
        pace: The seconds per step of the slowest recipe relative to the fastest.
        crowd: The two recipes with the most different conditions; None if all conditions were similar or are not
            recorded.
    """

    axis: Axis
    reason: Reason
    pace: Pace = Pace()
    crowd: Crowd | None = None


def equal_time(study: Study, axes: Collection[Axis], axis: Axis | None = None) -> EqualTime:
    """Choose the axis on which recipes are compared at equal time.

    If a step does the same work in every recipe, seconds differ only because of the machine, so they are not used.
    Other load on the machine may slow down all runs of one recipe. The scatter of runs with the same recipe and SSR
    does not show this slowdown, so the noise of the seconds is estimated from the scatter between SSRs.

    Args:
        study: The study.
        axes: The axes on which every run has a number.
        axis: The axis that the user has requested; None to choose the axis.
    """
    length: Axis = "steps" if "steps" in axes else "ssr"
    crowd = _crowd(study)
    if axis is not None:
        return EqualTime(axis, "asked", crowd=crowd)
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
    """Compare the recipes' mean seconds per step, at the SSRs and controls that all recipes have."""
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
    # The pair was selected as the most different of all pairs, so correct for the number of pairs (Bonferroni).
    recipes = cells.shape[1]
    level = 1 - (1 - VERDICT) / (recipes * (recipes - 1) // 2)
    apart = cells[slow] - cells[quick]
    # All SSRs of a control ran in one sweep, under the same load, so they are not independent: use their mean.
    blocks = apart.groupby("control").mean()
    estimate = combine([Cell((blocks if len(blocks) > 1 else apart).to_numpy(), None)], [1.0], level)
    return Pace(slow, quick, math.exp(estimate.value), math.exp(estimate.low), math.exp(estimate.high))


def _crowd(study: Study) -> Crowd | None:
    """Return the recipes with the most different conditions; None if all conditions are similar or not recorded."""
    runs = study.completed[["recipe"]].join(study.conditions, how="inner")
    measures: tuple[tuple[Literal["jobs_beside", "load"], float], ...] = (("jobs_beside", _BESIDE), ("load", _LOAD))
    for measure, most in measures:
        means = runs.groupby("recipe", sort=False)[measure].mean().dropna()
        if len(means) > 1 and means.max() - means.min() > most:
            busy, quiet = str(means.idxmax()), str(means.idxmin())
            return Crowd(busy, quiet, float(means.max()), float(means.min()), measure)
    return None
