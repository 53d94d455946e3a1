"""The data for the script of the page, as plain lists. The number of runs is limited."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ssr_hydra.errors import visible
from ssr_hydra.report.content import Content, rows_of
from ssr_hydra.report.drawn_curves import Curve
from ssr_hydra.report.number_text import plain
from ssr_hydra.studies.notes import arm
from ssr_hydra.studies.study import CONTROLS, Axis, spread_out

MOST_RUNS = 3000
"""Maximum number of runs drawn as points in the page."""

_FIT_POINTS = 61


def payload(content: Content) -> dict[str, Any]:
    """Return the data for the charts of the page. A number that is not finite becomes None."""
    study = content.study
    arms = {pair: place for place, pair in enumerate(content.arms)}
    hues = {recipe: place for place, recipe in enumerate(study.recipes)}
    runs, left_out = _runs(content, arms)
    choice = content.choice
    data = {
        "objective": visible(content.objective),
        "direction": study.direction,
        "ssr_label": visible(content.ssr_label),
        "axes": list(content.axes),
        "axis": content.equal,  # the page first shows the chart on this axis
        "confidence": content.options.confidence,
        "price": content.options.price_per_hour,
        "tolerance": content.tolerance,
        "target": content.options.target,
        "decimals": content.decimals,
        "arms": [
            {"name": visible(arm(*pair)), "recipe": hues[pair[0]], "control": CONTROLS.index(pair[1])}
            for pair in content.arms
        ],
        "runs": runs,
        "left_out": {"runs": left_out, "learning": content.learning.left_out, "rates": content.rates.left_out},
        "cells": _cells(content, arms),
        "gains": [
            [arms[row.recipe, row.control], row.ssr, row.next_ssr, row.gain, row.low, row.high, row.n, row.interpolated]
            for row in rows_of(content.doublings)
        ],
        "fits": _fits(content, arms),
        "learning": [_curve_data(each, "value", arms) for each in content.learning.drawn],
        "rates": [
            _curve_data(each, "lr", arms) | ({"dots": True} if each.dots else {}) for each in content.rates.drawn
        ],
        "choice": None if choice is None or not content.is_settled else [arms[choice.recipe, ""], choice.ssr],
    }
    rounded: dict[str, Any] = plain(data, digits=7)  # a screen shows fewer digits
    return rounded


def _runs(content: Content, arms: dict[tuple[str, str], int]) -> tuple[dict[str, list[Any]], int]:
    """Return the points of the completed runs, as columns, and the number of runs that are left out."""
    frame = content.study.completed
    frame = frame[~frame.index.isin(content.study.summarized)]  # remove rows that are means rather than runs
    runs = frame
    if len(frame) > MOST_RUNS:  # keep runs evenly from the best to the worst of each recipe, control and SSR
        share = MOST_RUNS / len(frame)
        groups = frame.sort_values("quality", kind="stable").groupby(["recipe", "control", "ssr"], sort=False)
        runs = pd.concat([group.iloc[spread_out(len(group), max(1, int(len(group) * share)))] for _, group in groups])
        runs = runs.sort_index().iloc[spread_out(len(runs), MOST_RUNS)]
    columns: dict[str, list[Any]] = {
        "arm": [arms[pair] for pair in zip(runs["recipe"], runs["control"], strict=True)],
        "ssr": runs["ssr"].tolist(),
        "seed": [None if pd.isna(seed) else int(seed) for seed in runs["seed"]],
        "quality": runs["quality"].tolist(),
        "folder": [visible(str(folder)) for folder in runs["folder"]],
    }
    for axis in content.counted:
        columns[axis] = runs[axis].astype(float).tolist()
    return columns, len(frame) - len(runs)


def _cells(content: Content, arms: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    cells = []
    for row in rows_of(content.summary):
        if row.n == 0:
            continue
        cell = {"arm": arms[row.recipe, row.control], "ssr": row.ssr, "n": int(row.n), "mean": row.mean}
        cell |= {"low": row.low, "high": row.high, "status": content.status.get((row.recipe, row.control, row.ssr), "")}
        cells.append(cell | {axis: float(getattr(row, axis)) for axis in content.axes if axis != "ssr"})
    return cells


def _fits(content: Content, arms: dict[tuple[str, str], int]) -> list[dict[str, Any]]:
    """Return the curve of each fit over the measured SSRs. A trusted fit continues to twice the largest SSR."""
    curves = []
    for fit in content.fits:
        low, high = fit.measured
        inside = np.geomspace(low, high, _FIT_POINTS)
        beyond = np.geomspace(high, 2 * high, 13) if fit.verdict == "trusted" else np.array([])
        rows = content.summary
        rows = rows[(rows["recipe"] == fit.recipe) & (rows["control"] == fit.control) & (rows["n"] > 0)]
        curves.append(
            {
                "arm": arms[fit.recipe, fit.control],
                "kind": fit.kind,
                "verdict": fit.verdict,
                "inside": _fit_points(fit, inside, rows, content.axes),
                "beyond": _fit_points(fit, beyond, rows, content.axes),
            }
        )
    return curves


def _fit_points(fit: Any, ssrs: Any, rows: pd.DataFrame, axes: Iterable[Axis]) -> dict[str, list[float]]:
    points: dict[str, list[float]] = {"quality": [fit.predict(float(ssr)) for ssr in ssrs]}
    log_ssrs = np.log(rows["ssr"].to_numpy(dtype=float))
    for axis in axes:
        if axis == "ssr":
            points[axis] = [float(ssr) for ssr in ssrs]
            continue
        # Interpolate time / SSR, which is almost constant. Above the largest measured SSR, np.interp repeats the last.
        rate = np.log(rows[axis].to_numpy(dtype=float)) - log_ssrs
        points[axis] = [float(ssr * math.exp(np.interp(math.log(ssr), log_ssrs, rate))) for ssr in ssrs]
    return points


def _curve_data(curve: Curve, field: str, arms: dict[tuple[str, str], int]) -> dict[str, Any]:
    named = {"arm": arms[curve.recipe, curve.control], "ssr": curve.ssr, "seed": curve.seed}
    band = {"low": curve.low, "high": curve.high} if curve.low else {}
    return named | {"folder": visible(curve.folder), field: curve.values} | band | dict(curve.places)
