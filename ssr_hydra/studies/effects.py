"""Estimate the means and the noise of all cells of a study together, for use in every comparison.

A cell is the set of runs of one recipe at one SSR. The runs of a control are in separate cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ssr_hydra.studies.intervals import Cell, band
from ssr_hydra.studies.noise import Noise, moderation, pooled_noise

_MOST_CELLS = 500  # with more cells, each cell keeps its plain mean and its own noise
_MOST_NUMBERS = 5_000_000  # if cells times seeds is larger, each cell keeps its plain mean
# A correlation of at least 0.9 counts as 1, as in a two-way analysis of variance with fixed effects of the seeds.
_FIXED, _ONE = 0.9, 1 - 1e-7
_ROUNDS, _CLOSE = 30, 1e-6
_MOST_PAIRS = 400


def with_effects(cells: Sequence[Cell], ssrs: Any, recipes: Any, pooled: bool = True) -> list[Cell]:
    """Return the cells with noise and means that are estimated from all cells together.

    A seed fixes the initial weights and the order of the data, so runs with the same seed are correlated. If all cells
    have the same seeds, or no two cells share a seed, the means are the plain means. Otherwise, two plain means could
    differ just because the cells have different seeds. So the function fits the model
    ``y = mean(cell) + effect(seed) + noise`` by generalized least squares, where each value is divided by the standard
    deviation of its cell. The model uses the correlation of runs with the same seed, estimated from the study. If this
    correlation is high, the difference of two means is almost the mean difference over their common seeds.

    Every comparison of cells is a weighted sum of these means, so comparisons cannot contradict each other.

    ``ssrs`` and ``recipes`` have the SSR and the number of the recipe of each cell. If ``pooled`` is false, the noise
    of a cell is estimated only from its own runs. Otherwise, :func:`ssr_hydra.studies.noise.pooled_noise` is used.

    Source: Henderson, 1975, Best linear unbiased estimation and prediction under a selection model; the standard errors
    are those of Bell and McCaffrey, 2002, with the seeds as clusters.
    """
    if not cells or len(cells) > _MOST_CELLS:
        return list(cells)
    counts = np.array([cell.n for cell in cells])
    degrees = [cell.n - 1 if math.isfinite(cell.variance) else 0 for cell in cells]
    noise = pooled_noise(np.array([cell.variance for cell in cells]), degrees, ssrs, recipes)
    spreads = np.ones(len(cells)) if noise is None else noise.spreads
    own: Any = spreads**2 / counts
    together = None
    new_cells = list(cells)
    places = [place for place, cell in enumerate(cells) if cell.seeds is not None]
    seeds = [cells[place].seeds for place in places]
    every, rows = np.unique(np.concatenate(seeds), return_inverse=True) if seeds else (np.zeros(0), np.zeros(0))
    if len(every) < len(rows) and len(places) * len(every) <= _MOST_NUMBERS:
        columns = np.repeat(np.arange(len(places)), [len(item) for item in seeds])
        there = np.zeros((len(every), len(places)))
        there[rows, columns] = 1.0
        values = np.zeros_like(there)
        values[rows, columns] = np.concatenate([cells[place].values for place in places])
        scale = spreads[places]
        centre = values.sum() / there.sum()  # subtract the mean of all values, which reduces rounding errors
        values = (values - centre) * there / scale
        n = counts[places]
        means = values.sum(axis=0) / n
        shared = _shared(values - means * there, there)
        together = np.zeros((len(cells), len(every)))
        if (there == 1).all():
            together[places] = scale[:, None] / n[:, None] * there.T
            own[places] *= 1 - shared
        else:
            for _ in range(_ROUNDS):
                before, share = shared, shared if shared < _FIXED else _ONE
                inverse, shrunk = _solved(there, n, share)
                means = inverse @ (values - shrunk * there * values.sum(axis=1, keepdims=True)).sum(axis=0)
                shared = _shared(values - means * there, there)
                if abs(shared - before) < _CLOSE:
                    break
            rest = (values - means * there) * np.sqrt(n / np.maximum(n - 1, 1))
            influence = (rest - shrunk * there * rest.sum(axis=1, keepdims=True)) @ inverse * scale
            # Round, so that cells with equal runs get equal estimates, whatever the order of additions.
            digits = 8 - math.ceil(math.log10(max(cell.largest for cell in cells) or 1.0))
            for column, place in enumerate(places):
                mean = round(float(means[column] * scale[column] + centre), digits)
                new_cells[place] = replace(cells[place], adjusted=mean, influence=influence[:, column])
            own, together[places] = _covariance(own, places, (there, shrunk, inverse, scale), shared)
    if noise is None or not pooled:
        return new_cells
    noise = replace(noise, own=own, together=together)
    if together is not None:
        noise = replace(noise, shared=shared, per_seed=len(rows) / len(every))
        noise = _with_differences(noise, new_cells, ssrs, recipes)
    return [replace(cell, noise=noise, place=place) for place, cell in enumerate(new_cells)]


def _with_differences(noise: Noise, cells: list[Cell], ssrs: Any, recipes: Any) -> Noise:
    """Return the noise with estimates of ``differences`` and ``scale``, from pairs of cells that share seeds.

    A pair is two recipes at the same SSR, or one recipe at two neighbouring SSRs.
    """
    order = np.argsort(ssrs, kind="stable")
    same = [(int(a), int(b)) for at, a in enumerate(order) for b in order[at + 1 :] if ssrs[a] == ssrs[b]]
    next_ones = [(at, at + 1) for at in range(len(cells) - 1) if recipes[at] == recipes[at + 1]]
    pairs = [*same, *next_ones]
    weights = np.array([[1.0], [-1.0]])
    ratios = []
    for a, b in pairs[:: 1 + len(pairs) // _MOST_PAIRS]:
        both = [cells[a], cells[b]]
        if cells[a].seeds is None or cells[b].seeds is None or min(cells[a].n, cells[b].n) < 2:
            continue
        own = band(both, weights, 0.95)
        if own.method == "paired" and own.error[0] > 0:
            ratios.append((own.error[0] ** 2 / noise.expected([a, b], weights)[0][0], own.df[0]))
    if not ratios:
        return noise
    variances, df = np.array(ratios).T
    prior, scale = moderation(variances, df, 1)
    return replace(noise, differences=prior, scale=scale)


def _covariance(own: Any, places: list[int], solved: tuple[Any, Any, Any, Any], shared: float) -> tuple[Any, Any]:
    """Return two parts of the means' covariance: that of the runs' noise, and each seed's effect on each mean.

    ``places`` are the indices of the cells whose means :func:`with_effects` has estimated.
    """
    there, shrunk, inverse, scale = solved
    runs = there.sum(axis=1, keepdims=True)
    inner = np.diag(there.sum(axis=0)) - there.T @ ((2 * shrunk - shrunk**2 * runs) * there)
    whole = np.diag(own)
    whole[np.ix_(places, places)] = (1 - shared) * np.outer(scale, scale) * (inverse @ inner @ inverse)
    return whole, scale[:, None] * (inverse @ (there * (1 - shrunk * runs)).T)


def _solved(there: Any, counts: Any, share: float) -> tuple[Any, Any]:
    """Return the inverse of the matrix of the model's normal equations, and a factor for each seed.

    The estimate of a seed's effect is this factor times the sum of the deviations of the seed's runs.
    """
    ratio = share / (1 - share)
    shrunk = (ratio / (1 + ratio * there.sum(axis=1)))[:, None]
    return np.linalg.inv(np.diag(counts) - there.T @ (shrunk * there)), shrunk


def _shared(rest: Any, there: Any) -> float:
    """Return the correlation of runs with the same seed, from 0 to 1. ``rest`` has each run minus its cell's mean."""
    runs = there.sum(axis=1)
    squares = (rest**2).sum(axis=1)
    each = float((squares * (runs - 1)).sum())
    if not each:
        return 0.0
    return min(max(float((rest.sum(axis=1) ** 2 - squares).sum()) / each, 0.0), 1.0)
