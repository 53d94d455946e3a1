"""The curves that a report draws. Their number and their number of points are limited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.report.scheduled_rates import scheduled_rates
from ssr_hydra.studies.recipes import ConfigReader
from ssr_hydra.studies.study import Axis, Study, spread_out
from ssr_hydra.studies.training_curves import logged_rates, mean_curves

MOST_CURVES = 160
"""Maximum number of learning curves, and maximum number of learning-rate curves."""

MOST_POINTS = 200
"""Maximum number of points of a curve. From a longer curve, evenly spaced points are drawn."""

_CELL = ["recipe", "control", "ssr"]


@dataclass(frozen=True)
class Curve:
    """One curve: its values, and the position of each value on every axis.

    ``low`` and ``high`` are the band around a mean over seeds; they are empty for a single run. If ``dots`` is true,
    the values are drawn as dots without lines, because the values between them are unknown.
    """

    recipe: str
    control: str
    ssr: float
    seed: int | None
    folder: str
    values: list[float]
    places: dict[Axis, list[float]]
    dots: bool = False
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Curves:
    """Curves to draw. ``left_out`` curves are omitted. Dots are ``every`` steps apart; None if this varies."""

    drawn: list[Curve]
    left_out: int = 0
    every: int | None = None


def learning(study: Study, axes: Sequence[Axis], confidence: float = 0.95) -> Curves:
    """Return the mean learning curve of each recipe, control and SSR, with a band: the interval over seeds."""
    runs = study.completed
    runs = runs[runs.index.isin(study.curves["run"].unique())]
    if not axes or runs.empty:
        return Curves([], len(runs))
    table = mean_curves(study, axes[0], confidence)
    # Use only steps at which all seeds have an evaluation, because otherwise the mean would jump.
    whole = (table["n"] == table.groupby(_CELL)["n"].transform("max")).to_numpy()
    places = {axis: table["x"] if axis == axes[0] else mean_curves(study, axis, confidence)["x"] for axis in axes}
    table = table.assign(**places)[whole]
    firsts = {tuple(row[name] for name in _CELL): row for _, row in runs.drop_duplicates(_CELL).iterrows()}
    counts = runs.groupby(_CELL).size()
    groups = [(firsts[cell], points) for cell, points in table.groupby(_CELL, sort=False)]
    curves = []
    for row, points in (groups[place] for place in spread_out(len(groups), MOST_CURVES)):
        curve = _sampled_curve(row, points, "mean", axes)
        if counts[curve.recipe, curve.control, curve.ssr] > 1:
            indices = spread_out(len(points), MOST_POINTS)
            bounds = study.bounds or (None, None)  # the band of an accuracy ends at 0 and 1
            low, high = (points[end].clip(*bounds).to_numpy(dtype=float)[indices].tolist() for end in ("low", "high"))
            curve = replace(curve, seed=None, folder="", low=low, high=high)
        curves.append(curve)
    return Curves(curves, len(groups) - len(curves))


def rates(study: Study, axes: Sequence[Axis]) -> Curves:
    """Return the learning rate of one run per recipe, control and SSR: a line (scheduled) or dots (logged)."""
    runs = study.completed.drop_duplicates(_CELL)
    chosen = runs.iloc[spread_out(len(runs), MOST_CURVES)]
    if not axes or chosen.empty:
        return Curves([])
    curves = []
    apart: set[int] = set()
    reader = ConfigReader()
    for _, row in chosen.iterrows():
        folder = Path(row["folder"])
        logged = logged_rates(folder)
        if (computed := scheduled_rates(reader, folder, logged)) is not None:
            # Assume that all steps of the run have the same number of samples and tokens, and take the same time.
            steps = np.array(computed[0])
            points = {"lr": computed[1]} | {axis: steps * (row[axis] / row["steps"]) for axis in axes}
            curves.append(_sampled_curve(row, points, "lr", axes))
        elif len(logged["lr"]):
            curves.append(replace(_sampled_curve(row, logged, "lr", axes), dots=True))
            if len(logged["lr"]) > 1:
                apart.add(round(float(np.median(np.diff(logged["steps"])))))
    return Curves(curves, len(runs) - len(chosen), min(apart) if len(apart) == 1 and min(apart) > 1 else None)


def _sampled_curve(row: Any, points: Any, field: str, axes: Sequence[Axis]) -> Curve:
    indices = spread_out(len(points[field]), MOST_POINTS)
    return Curve(
        recipe=row["recipe"],
        control=row["control"],
        ssr=float(row["ssr"]),
        seed=None if pd.isna(row["seed"]) else int(row["seed"]),
        folder=str(row["folder"]),
        values=np.asarray(points[field], dtype=float)[indices].tolist(),
        places={axis: np.asarray(points[axis], dtype=float)[indices].tolist() for axis in axes},
    )
