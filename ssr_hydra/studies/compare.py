"""Means, intervals and differences of the runs of a study."""

from __future__ import annotations

import pandas as pd

from ssr_hydra.studies.study import Study

__all__ = ["controls", "doublings", "paired", "summary", "winners"]


def summary(study: Study, confidence: float = 0.95, price_per_hour: float | None = None) -> pd.DataFrame:
    """A row per recipe x control x ssr (sorted so).

    recipe, control, ssr, n, mean, low, high, sd, values (tuple), seeds (tuple), failed (runs that have no quality),
    steps, samples, tokens, seconds, total_seconds (means), cost (NaN without a price). low/high NaN where n is 1.
    """
    raise NotImplementedError


def paired(study: Study, a: str | tuple[str, str], b: str | tuple[str, str], confidence: float = 0.95) -> pd.DataFrame:
    """A row per common ssr: ssr, n (common seeds), difference (a - b), low, high, better ("a" | "b" | "undecided" | "").

    ``a`` and ``b`` are a recipe, or (recipe, control).
    """
    raise NotImplementedError


def doublings(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """What the next doubling gains, a row per recipe x control x measured ssr whose double lies in the measured range.

    recipe, control, ssr, next_ssr (2 ssr), n, gain (> 0 is better, whatever the direction), low, high, sd (of one
    seed's gain), method ("paired" | "welch" | "none"), interpolated (bool: 2 ssr was not measured itself).
    """
    raise NotImplementedError


def winners(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """The best recipe (control "") per ssr that two or more ran: ssr, best, second, n, margin, low, high, method, decided."""
    raise NotImplementedError


def controls(study: Study, confidence: float = 0.95) -> pd.DataFrame:
    """Scaling against its controls: a row per recipe x control x ssr that both ran.

    recipe, control, ssr, n, gain (scaled over control, > 0: scaling is better), low, high, method,
    winner ("scaling" | "control" | "undecided" | "same" | "" with one seed).
    """
    raise NotImplementedError
