"""Curves over training: the objective's and the learning rate's, on any axis."""

from __future__ import annotations

import pandas as pd

from ssr_hydra.studies.study import Axis, Study

__all__ = ["learning_curves", "lr_curves", "mean_curves"]


def learning_curves(study: Study, axis: Axis = "steps", price_per_hour: float | None = None) -> pd.DataFrame:
    """Every evaluation: recipe, control, ssr, seed, run (index in study.frame), x, value."""
    raise NotImplementedError


def mean_curves(
    study: Study, axis: Axis = "steps", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """Means over seeds at each evaluation: recipe, control, ssr, x, n, mean, low, high."""
    raise NotImplementedError


def lr_curves(
    study: Study, axis: Axis = "steps", price_per_hour: float | None = None, most_points: int = 500
) -> pd.DataFrame:
    """The learning rate of one run per recipe x control x ssr, from metrics.jsonl: recipe, control, ssr, run, x, lr."""
    raise NotImplementedError
