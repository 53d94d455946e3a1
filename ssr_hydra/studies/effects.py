"""Means of cells that have runs of different seeds: one estimate for every comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ssr_hydra.studies.intervals import Cell

__all__ = ["with_effects"]

_MOST_CELLS, _MOST_NUMBERS = 500, 5_000_000  # beyond these, cells keep the means of their own runs
_FIXED, _ONE = 0.9, 1 - 1e-7  # from this correlation on the effects are fixed: two-way least squares
_ROUNDS, _CLOSE = 30, 1e-6


def with_effects(cells: Sequence[Cell], noise_groups: Sequence[Any]) -> list[Cell]:
    """Estimate the means of all cells by a mixed model with additive effects of the seeds.

    A seed fixes the initial weights and the order of the data, so its runs are correlated. Where every cell has the
    same seeds, or no two cells share one, the estimates are the plain means and the cells stay as they are. Otherwise a
    cell that lacks a lucky seed would look worse for it: the model ``y = mean(cell) + effect(seed) + noise``, in units
    of the cell's noise, is solved by generalized least squares with the correlation of runs of one seed that the study
    shows; of two cells whose runs are strongly correlated, their difference is that of their common seeds.

    Every comparison is a weighted sum of these estimates, so no two of them can contradict each other.

    Args:
        cells: All of a study.
        noise_groups: For each cell a value that cells of the same noise share: its SSR.

    Source: Henderson, 1975, Best linear unbiased estimation and prediction under a selection model; the standard errors
    are those of Bell and McCaffrey, 2002, with the seeds as clusters.
    """
    own = [place for place, cell in enumerate(cells) if cell.seeds is not None]
    seeds = [cells[place].seeds for place in own]
    if len(own) < 2 or all(np.array_equal(item, seeds[0]) for item in seeds):
        return list(cells)
    every, rows = np.unique(np.concatenate(seeds), return_inverse=True)
    if len(every) == len(rows) or len(own) > _MOST_CELLS or len(own) * len(every) > _MOST_NUMBERS:
        return list(cells)
    columns = np.repeat(np.arange(len(own)), [len(item) for item in seeds])
    there = np.zeros((len(every), len(own)))
    there[rows, columns] = 1.0
    values = np.zeros_like(there)
    values[rows, columns] = np.concatenate([cells[place].values for place in own])
    counts = there.sum(axis=0)
    centre = values.sum() / there.sum()  # sums of deviations lose fewer digits
    values = (values - centre) * there
    noise = _noise([cells[place] for place in own], [noise_groups[place] for place in own])
    values = values / noise
    means = values.sum(axis=0) / counts
    share = 0.0
    for _ in range(_ROUNDS):
        before, share = share, _shared(values - means * there, there)
        inverse, shrunk = _solved(there, counts, share)
        means = inverse @ (values - shrunk * there * values.sum(axis=1, keepdims=True)).sum(axis=0)
        if abs(share - before) < _CLOSE:
            break
    rest = (values - means * there) * np.sqrt(counts / np.maximum(counts - 1, 1))
    influence = (rest - shrunk * there * rest.sum(axis=1, keepdims=True)) @ inverse * noise
    made = list(cells)
    # Cells of the same runs have the same estimate, though their sums are made in another order.
    digits = 8 - math.ceil(math.log10(max(cell.largest for cell in cells) or 1.0))
    for column, place in enumerate(own):
        mean = round(float(means[column] * noise[column] + centre), digits)
        made[place] = replace(cells[place], adjusted=mean, influence=influence[:, column])
    return made


def _noise(cells: Sequence[Cell], groups: Sequence[Any]) -> Any:
    """The standard deviation of one run of each cell, the same for all cells of a group."""
    made = np.ones(len(cells))
    whole = _pooled(cells)
    for group in set(groups):
        chosen = [place for place, item in enumerate(groups) if item == group]
        made[chosen] = _pooled([cells[place] for place in chosen]) or whole or 1.0
    return made


def _pooled(cells: Sequence[Cell]) -> float:
    free = sum(cell.n - 1 for cell in cells)
    squares = sum((cell.n - 1) * cell.variance for cell in cells if cell.n > 1)
    return float(np.sqrt(squares / free)) if free else 0.0


def _solved(there: Any, counts: Any, share: float) -> tuple[Any, Any]:
    """The inverse of the normal equations, and by how much the sum of a seed's runs is shrunk."""
    ratio = share / (1 - share)
    shrunk = (ratio / (1 + ratio * there.sum(axis=1)))[:, None]
    return np.linalg.inv(np.diag(counts) - there.T @ (shrunk * there)), shrunk


def _shared(rest: Any, there: Any) -> float:
    """The correlation of runs of one seed, from the products of their deviations; at least 0."""
    runs = there.sum(axis=1)
    squares = (rest**2).sum(axis=1)
    each = float((squares * (runs - 1)).sum())
    if not each:
        return 0.0
    share = max(float((rest.sum(axis=1) ** 2 - squares).sum()) / each, 0.0)
    return share if share < _FIXED else _ONE
