"""Curves of the objective and the learning rate during training, on any axis."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from ssr_hydra.files import read_bounded
from ssr_hydra.metrics_log import METRICS
from ssr_hydra.settings.base import count
from ssr_hydra.studies.intervals import check_confidence
from ssr_hydra.studies.study import CLOCKS, Axis, Study, check_axis

_MOST_BYTES = 256 << 20  # the maximum size of a metrics.jsonl from which learning rates are read
_CELL = ["recipe", "control", "ssr"]


def learning_curves(study: Study, axis: Axis = "steps", price_per_hour: float | None = None) -> pd.DataFrame:
    """Return every evaluation of the objective in all runs that have a quality.

    Args:
        study: The study.
        axis: The axis of time or cost. On the axis ``ssr``, x is the completed fraction of the run's steps, so x is 1
            at the end.
        price_per_hour: The price of an hour, for the axis ``cost``.

    Returns:
        A row per evaluation: recipe, control, ssr, seed, run (index in ``study.frame``), x, value (NaN if it was not
        finite).

    Raises:
        InputError: The axis is unknown, a run has no value on this axis, or the axis is ``cost`` and there is no price.
    """
    check_axis(study, axis, price_per_hour)
    curves = study.curves[study.curves["run"].isin(study.completed.index)]
    runs = study.frame.loc[curves["run"]]
    table = runs[[*_CELL, "seed"]].reset_index(drop=True)
    table["run"] = curves["run"].to_numpy()
    table["x"] = _x(curves, axis, runs["steps"].to_numpy(), price_per_hour)
    table["value"] = curves["value"].to_numpy()
    return table


def _x(curves: Any, axis: Axis, steps: Any, price_per_hour: float | None) -> Any:
    if axis == "ssr":
        return np.asarray(curves["steps"], dtype=float) / steps
    if axis == "cost":
        return np.asarray(curves["seconds"], dtype=float) * ((price_per_hour or 0.0) / 3600)
    return np.asarray(curves[axis], dtype=float)


def mean_curves(
    study: Study, axis: Axis = "steps", confidence: float = 0.95, price_per_hour: float | None = None
) -> pd.DataFrame:
    """Return the mean of the objective over seeds, at each step with an evaluation.

    Args:
        study: The study.
        axis: The axis, as for :func:`learning_curves`. A point's x is the mean of x over the seeds.
        confidence: Confidence of the intervals.
        price_per_hour: The price of an hour, for the axis ``cost``.

    Returns:
        A row per recipe x control x ssr x step: recipe, control, ssr, x, n, mean, low, high. If there is only one run,
        low and high are NaN.

    Raises:
        InputError: The axis is unknown, a run has no value on this axis, the axis is ``cost`` and there is no price, or
            the confidence is invalid.
    """
    check_confidence(confidence)
    evaluations = learning_curves(study, axis, price_per_hour)
    evaluations["step"] = study.curves["steps"].to_numpy()[study.curves["run"].isin(study.completed.index).to_numpy()]
    grouped = evaluations.groupby([*_CELL, "step"], sort=False)
    means = grouped.agg(x=("x", "mean"), n=("value", "count"), mean=("value", "mean"), sd=("value", "std"))
    means = means.reset_index()
    n, sd = means["n"].to_numpy(dtype=float), means["sd"].to_numpy(dtype=float)
    half = special.stdtrit(np.maximum(n - 1, 1), 0.5 + confidence / 2) * sd / np.sqrt(np.maximum(n, 1))
    half = np.where(sd > 0, half, math.nan)
    means["low"], means["high"] = means["mean"] - half, means["mean"] + half
    return means[[*_CELL, "x", "n", "mean", "low", "high"]]


def lr_curves(
    study: Study, axis: Axis = "steps", price_per_hour: float | None = None, most_points: int = 500
) -> pd.DataFrame:
    """Return the learning-rate curve of one run for each recipe, control and ssr, from the run's ``metrics.jsonl``.

    Args:
        study: The study.
        axis: The axis, as for :func:`learning_curves`.
        price_per_hour: The price of an hour, for the axis ``cost``.
        most_points: The maximum number of points of each curve. If a curve has more points, the function keeps evenly
            spaced points, including the first and the last.

    Returns:
        A row per point: recipe, control, ssr, run (index in ``study.frame``), x, lr. A run without ``metrics.jsonl``
        has no points. Truncated lines are skipped.

    Raises:
        InputError: The axis is unknown, a run has no value on this axis, the axis is ``cost`` and there is no price, or
            fewer than 2 points are requested.
    """
    check_axis(study, axis, price_per_hour)
    count(most_points, "most_points", 2)
    parts = []
    for row in study.completed.drop_duplicates(_CELL).itertuples():
        points = logged_rates(Path(row.folder))
        if not len(points["lr"]):
            continue
        indices = np.unique(np.linspace(0, len(points["lr"]) - 1, most_points).round().astype(int))
        part = pd.DataFrame({"x": _x(points, axis, row.steps, price_per_hour)[indices], "lr": points["lr"][indices]})
        part.insert(0, "run", row.Index)
        for place, name in enumerate(_CELL):
            part.insert(place, name, getattr(row, name))
        parts.append(part)
    columns = [*_CELL, "run", "x", "lr"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def logged_rates(folder: Path) -> dict[str, Any]:
    """Return steps, samples, tokens, seconds and lr from a run's ``metrics.jsonl``; empty if it is missing."""
    path = folder / METRICS
    points: dict[str, list[float]] = {name: [] for name in (*CLOCKS, "lr")}
    try:
        lines = read_bounded(path, _MOST_BYTES).splitlines()
    except (OSError, ValueError):
        lines = []
    for line in lines:
        try:
            record = json.loads(line)
            if record["event"] != "train":
                continue
            values = {name: float(record[clock]) for name, clock in CLOCKS.items()}
            values["lr"] = float(record["lr"])
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            continue
        for name, value in values.items():
            points[name].append(value)
    return {name: np.array(values) for name, values in points.items()}
