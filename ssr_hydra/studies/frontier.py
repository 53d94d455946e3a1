"""Quality against time: the Pareto set, equal quality, equal time, crossings."""

from __future__ import annotations

import pandas as pd

from ssr_hydra.studies.study import Axis, Study

__all__ = ["crossings", "pareto", "quality_at", "speedup"]


def pareto(
    study: Study, axis: Axis = "seconds", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """A row per recipe x control x ssr, sorted by x.

    recipe, control, ssr, n, x, mean, low, high, status ("frontier" | "dominated" | "within_noise": dominated by means,
    but the interval of the difference contains 0 | "unreplicated": dominated, of one seed), by_recipe, by_control,
    by_ssr (the frontier's best point of at most this x; "" and NaN on the frontier), loss (> 0: behind by so much),
    loss_low, loss_high.
    """
    raise NotImplementedError


def quality_at(
    study: Study, at: float, axis: Axis = "seconds", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """Quality at an equal budget, a row per recipe x control.

    recipe, control, at, ssr (that takes so much), quality, low, high, n, status ("inside" | "below" | "above" the
    measured range; NaN but inside).
    """
    raise NotImplementedError


def speedup(
    study: Study,
    reference: str | tuple[str, str],
    axis: Axis = "seconds",
    confidence: float = 0.95,
    price_per_hour: float | None = None,
) -> pd.DataFrame:
    """How much sooner others reach what ``reference`` reached: a row per other recipe x control, and ssr of the reference.

    recipe, control, ssr (of the reference), quality, reference_x, reached_ssr, x, speedup (reference_x / x), low, high
    (inf and 0 where the interval leaves the measured range), status ("inside" | "at_least": reached at the smallest
    measured ssr already | "never": not within the measured range).
    """
    raise NotImplementedError


def crossings(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Where the curves of two recipes (control "") cross: a, b, ssr, low, high, better_below, better_above, certain.

    certain: at some measured ssr on either side the difference's interval excludes 0 (False with one seed).
    """
    raise NotImplementedError
