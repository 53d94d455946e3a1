"""A study: the runs of recipes at several SSRs and seeds, as a frame with a row for each run."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import special

from ssr_hydra.errors import MissingValueError, UnknownNameError
from ssr_hydra.metrics import Direction
from ssr_hydra.settings.base import not_negative, one_of
from ssr_hydra.studies.effects import with_effects
from ssr_hydra.studies.intervals import Cell, Estimate
from ssr_hydra.studies.notes import Note, arm
from ssr_hydra.sweeps.sharing.orders import taken_in

Axis = Literal["ssr", "steps", "samples", "tokens", "seconds", "cost"]
AXES: tuple[Axis, ...] = ("ssr", "steps", "samples", "tokens", "seconds", "cost")
"""Names of the axes for the time or the cost of a run."""

CONTROLS = ("", "truncate", "scale_warmup", "truncate+scale_warmup")
"""``truncate``: a shorter run with the schedule of SSR 1. ``scale_warmup``: SSR also scales the warmup."""

COLUMNS = (
    "study", "job", "recipe", "control", "ssr", "seed", "status", "error", "quality", "steps", "samples", "tokens",
    "seconds", "total_seconds", "resumes", "max_duration", "config_hash", "folder",
)  # fmt: skip
"""Columns of ``Study.frame``."""

CLOCKS = {"steps": "batch", "samples": "sample", "tokens": "token", "seconds": "train_seconds"}
"""A mapping from each column of ``Study.curves`` that is a time to the name of this time in a record."""

CONDITIONS = ("jobs_beside", "load")
"""Columns of ``Study.conditions``."""

_FRAGILE = 0.2  # a recipe is fragile if the p-value of its number of diverged runs is below this
_LOSSES = {"loss", "nll", "error", "err", "perplexity", "ppl", "mse", "rmse", "mae", "bits"}
_FRACTIONS = {"accuracy", "acc", "top1", "top5", "precision", "recall", "f1", "auc", "iou", "map"}
_MEASURED = ("steps", "samples", "tokens", "seconds", "total_seconds")


@dataclass(frozen=True)
class Problem:
    """A run whose record cannot be used, or which has no quality.

    Attributes:
        where: The run's folder, or the file and the row.
        kind: ``torn`` (the record is truncated), ``invalid`` (the record contradicts itself or its config), ``failed``,
            ``diverged``, ``stopped``, ``running``, ``waiting`` (a sweep has planned the run, but not started it),
            ``unfinished`` (there is no record: the run was killed, or runs on a different machine), ``duplicate`` (an
            earlier run has the same recipe, control, ssr and seed), ``no_value`` (the record does not have the metric).
        reason: The reason, as one line of text.
    """

    where: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Series:
    """The runs of one recipe, with the runs of each SSR in one cell. The runs of a control are a separate series.

    Attributes:
        recipe: Name of the recipe.
        control: One of ``CONTROLS``: ``""`` for runs that are not a control.
        ssr: The measured SSRs, ascending.
        cells: The runs of each SSR. Their values have a sign such that a larger value is better.
        means: A mapping from axis (such as ``seconds``) to the mean over the runs of each SSR.
        fragile: Whether the fraction of diverged runs is significantly larger than the smallest such fraction of any
            recipe. Rankings of recipes put fragile recipes last.
    """

    recipe: str
    control: str
    ssr: Any
    cells: tuple[Cell, ...]
    means: dict[str, Any]
    fragile: bool = False

    @cached_property
    def values(self) -> Any:
        """The mean of each cell, negated if a lower quality is better. So a larger value is always better."""
        return np.array([cell.mean for cell in self.cells])

    def axis(self, name: Axis, price_per_hour: float | None) -> Any:
        """Return the x values on an axis such as ``seconds``: the mean time or cost of the runs at each SSR."""
        if name == "ssr":
            return self.ssr
        if name == "cost":
            return self.means["seconds"] * ((math.nan if price_per_hour is None else price_per_hour) / 3600)
        return self.means[name]

    def around(self, ssr: float) -> list[int]:
        """Return the index of the cell at an SSR within the measured range, or the indices of both neighbours."""
        at = int(np.searchsorted(self.ssr, ssr * (1 - 1e-9)))
        return [at] if at < len(self.ssr) and abs(self.ssr[at] - ssr) <= 1e-9 * ssr else [at - 1, at]

    def weights(self, ssr: float) -> tuple[list[Cell], list[float]]:
        """Return the cells and the weights that give the quality at an SSR: the weighted sum of the cells' means.

        Between two measured SSRs, the quality is the mean of two parabolas over log SSR: one through both SSRs and the
        next SSR below, and one through both SSRs and the next SSR above. Between the lowest two SSRs and between the
        highest two SSRs, the quality is on the cubic through the nearest four SSRs, because a single parabola bends
        less than the curve of the quality. With three SSRs, the quality is on the parabola through all three; with two
        SSRs, it is on a straight line.
        """
        places = self.around(ssr)
        if len(places) == 1:
            return [self.cells[places[0]]], [1.0]
        cell_weights = self.matrix(np.array([math.log(ssr)]), places[0])[:, 0]
        used = np.flatnonzero(cell_weights)
        return [self.cells[place] for place in used], cell_weights[used].tolist()

    def curve(self, logs: Any) -> Any:
        """Return the interpolated values at SSRs in the measured range. ``logs`` are the logarithms of these SSRs."""
        after = np.clip(np.searchsorted(np.log(self.ssr), logs) - 1, 0, len(self.cells) - 2)
        values = np.empty(len(logs))
        for place in np.unique(after):
            values[after == place] = self.values @ self.matrix(logs[after == place], int(place))
        return values

    def matrix(self, logs: Any, after: int) -> Any:
        """Return the weight of each cell (row) at each log SSR (column).

        All ``logs`` must be between the cell with index ``after`` and the next cell.
        """
        x = np.log(self.ssr)
        if len(x) == 1:
            return np.ones((1, len(logs)))
        weights = np.zeros((len(x), len(logs)))
        groups = [[after - 1, after, after + 1], [after, after + 1, after + 2]]
        groups = [group for group in groups if group[0] >= 0 and group[-1] < len(x)] or [[after, after + 1]]
        if len(groups) == 1 and len(x) > 3:
            start = 0 if after == 0 else len(x) - 4
            groups = [list(range(start, start + 4))]
        for group in groups:
            for place in group:
                others = [other for other in group if other != place]
                weights[place] += np.prod([(logs - x[other]) / (x[place] - x[other]) for other in others], axis=0)
        return weights / len(groups)


@dataclass(frozen=True)
class Study:
    """The runs of a study, and the problems of runs that cannot be used.

    Attributes:
        frame: A row for each valid record, with the columns ``COLUMNS``: study, job, recipe (str), control ("" |
            "truncate" | "scale_warmup" | "truncate+scale_warmup"), ssr (float), seed (Int64, NA if there is none),
            status, error (str, "" if there is none), quality (float, NaN unless the run completed), steps, samples,
            tokens, seconds (of training), total_seconds, resumes, max_duration, config_hash, folder. The index is 0, 1,
            2 ...
        curves: A row for each evaluation of the objective: run (index in ``frame``), steps, samples, tokens, seconds,
            value.
        objective: Name of the metric that is the ``quality``, such as ``eval/accuracy``.
        direction: ``max`` if a higher quality is better, ``min`` if a lower quality is better.
        problems: The runs that are not in ``frame`` or have no quality, each with the reason.
        notes: Facts that a reader of the comparison must know, such as several data sets, code versions or machines, or
            some diverged runs of a recipe.
        sources: The folders or files that were read.
        hardware: The kinds of machines that trained the runs, as the records describe them.
        versions: A mapping from package to its versions in the runs.
        conditions: A row for each run whose record has the load of the machine, with the index of ``frame``:
            jobs_beside (the mean number of other jobs that ran at the same time), load (the load average).
        same_work: Whether all recipes differ only in schedules and numeric settings of the optimizer. Then their steps
            do the same work. None if a run has no config.
        summarized: For rows of a table that are means of several runs: a mapping from the index in ``frame`` to the
            number of these runs and their standard deviation (NaN if unknown).
        length: For a table with run lengths instead of SSRs: the unit, and the length at SSR 1, such as
            ("epochs", 90.0). Otherwise None.
        noise: ``pooled``: every interval uses the noise of all cells. ``cell``: an interval uses Student's t with the
            noise of the cells that it compares.
    """

    frame: pd.DataFrame
    curves: pd.DataFrame
    objective: str
    direction: Direction
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()
    sources: tuple[Path, ...] = ()
    hardware: tuple[dict[str, Any], ...] = field(default=())
    versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    conditions: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame({name: [] for name in CONDITIONS}, dtype=float)
    )
    same_work: bool | None = None
    summarized: dict[Any, tuple[int, float]] = field(default_factory=dict)
    length: tuple[str, float] | None = None
    noise: Literal["pooled", "cell"] = "pooled"

    @property
    def recipes(self) -> tuple[str, ...]:
        """Names of the recipes that have a run with a quality, in the order of their first rows in ``frame``."""
        return tuple(self.completed["recipe"].unique())

    @cached_property
    def completed(self) -> pd.DataFrame:
        """The rows of ``frame`` that have a quality. All statistics use only these rows."""
        return self.frame[self.frame["quality"].notna()]

    @cached_property
    def bounds(self) -> tuple[float, float] | None:
        """The range of the metric's possible values; None if this range is unknown.

        The range is known if a word of the metric's name, such as ``accuracy`` or ``loss``, says that the metric is a
        fraction, a percentage or a loss. If a measured value is outside of this range, the range is unknown.
        """
        words = set(re.split(r"[^a-z0-9]+", self.objective.rpartition("/")[2].lower()))
        values = self.completed["quality"]
        if values.empty or values.min() < 0:
            return None
        if words & _FRACTIONS and values.max() <= 100:
            return 0.0, 1.0 if values.max() <= 1 else 100.0
        return (0.0, math.inf) if words & _LOSSES else None

    def interval(self, mean: Estimate) -> tuple[float, float]:
        """Return the confidence interval of a mean, on the scale of the metric and within the metric's bounds.

        If the metric has bounds, the delta method is used: compute Student's t interval of the logit of the mean (for a
        loss, of the logarithm of the mean), and transform its ends back to the scale of the metric.
        """
        low, high = sorted((self.sign * mean.low, self.sign * mean.high))
        if self.bounds is None or not mean.known:
            return low, high
        least, most = self.bounds
        if math.isinf(most):
            value = self.sign * mean.value
            factor = math.exp(min((high - low) / 2 / value, 700.0)) if value > 0 else math.inf
            return (value / factor, value * factor) if value > 0 else (0.0, high)
        share = (self.sign * mean.value - least) / (most - least)
        if not 0 < share < 1:
            return max(low, least), min(high, most)
        half = (mean.high - mean.low) / 2 / (most - least) / (share * (1 - share))
        centre = math.log(share / (1 - share))
        ends = [float(special.expit(centre + side * half)) for side in (-1, 1)]
        return least + (most - least) * ends[0], least + (most - least) * ends[1]

    @property
    def sign(self) -> float:
        """1.0 if a higher quality is better, else -1.0."""
        return 1.0 if self.direction == "max" else -1.0

    @cached_property
    def series(self) -> tuple[Series, ...]:
        """The series of each recipe and control, in the order of ``recipes`` and ``CONTROLS``."""
        frame = self.completed
        if frame.empty:
            return ()
        keys = pd.factorize(frame["recipe"])[0]  # give the recipes numbers in the order in which they were read
        places = frame["control"].map({name: place for place, name in enumerate(CONTROLS)})
        order = np.lexsort((frame["seed"].fillna(0), frame["ssr"], places, keys))
        frame, keys = frame.iloc[order], keys[order]
        recipes, controls, ssr = (frame[name].to_numpy() for name in ("recipe", "control", "ssr"))
        values = self.sign * frame["quality"].to_numpy(dtype=float)
        missing, seeds = frame["seed"].isna().to_numpy(), frame["seed"].fillna(0).to_numpy(dtype=np.int64)
        starts = _starts([keys, controls, ssr])
        ends = np.append(starts[1:], len(frame))
        lost = self.frame[self.frame["status"] == "diverged"].groupby(["recipe", "control", "ssr"]).size().to_dict()
        cells = []
        for a, b in zip(starts, ends, strict=True):
            own = None if missing[a:b].any() or (np.diff(seeds[a:b]) == 0).any() else seeds[a:b]
            runs = self.summarized.get(frame.index[a])
            n_lost = lost.get((recipes[a], controls[a], float(ssr[a])), 0)
            cells.append(Cell(values[a:b], None if runs else own, n_lost, summarized=runs))
        cells = with_effects(cells, ssr[starts], keys[starts], self.noise == "pooled")
        sums = {name: np.add.reduceat(frame[name].to_numpy(dtype=float), starts) for name in _MEASURED}
        first = _starts([keys[starts], controls[starts]])
        all_series = []
        for a, b in zip(first, np.append(first[1:], len(starts)), strict=True):
            means = {name: item[a:b] / (ends - starts)[a:b] for name, item in sums.items()}
            row = starts[a]
            all_series.append(Series(recipes[row], controls[row], ssr[starts[a:b]], tuple(cells[a:b]), means))
        return _with_fragile(all_series, lost)

    def _repr_html_(self) -> str:
        """Return a table of the mean quality of each recipe and SSR, as HTML for a notebook."""
        frame = self.completed
        frame = frame.assign(recipe=list(map(arm, frame["recipe"], frame["control"])))
        table = frame.pivot_table(index="recipe", columns="ssr", values="quality", aggfunc="mean", sort=False)
        html: str = table.sort_index(axis=1).to_html(float_format="{:.4g}".format, na_rep="")
        runs, problems = len(self.frame), len(self.problems)
        return f"<p>{escape(self.objective)}: {runs} runs, {problems} problems; means by SSR</p>{html}"

    def totals(self, price_per_hour: float | None = None) -> dict[str, float]:
        """Return totals of all runs: runs, completed, failed, train_seconds, total_seconds, cost (NaN without a price).

        If runs of the study share steps, the totals also have ``trained_seconds``: the training time, in which
        each shared step counts once. The times do not include runs without a record, because the time of these runs is
        unknown.
        """
        if price_per_hour is not None:
            not_negative(price_per_hour, "price_per_hour")
        frame = self.frame
        runs = pd.Series({index: self.summarized.get(index, (1,))[0] for index in frame.index}, dtype=int)
        total = float((frame["total_seconds"] * runs).sum())
        completed = int(runs[self.completed.index].sum())
        shared_seconds = taken_in(folder for folder in frame["folder"].unique() if folder).train_seconds
        seconds = float((frame["seconds"] * runs).sum())
        return {
            "runs": int(runs.sum()),
            "completed": completed,
            "failed": int(runs.sum()) - completed,
            "train_seconds": seconds,
            **({"trained_seconds": seconds - shared_seconds} if shared_seconds else {}),
            "total_seconds": total,
            "cost": math.nan if price_per_hour is None else total / 3600 * price_per_hour,
        }


def _with_fragile(all_series: list[Series], lost: dict[Any, int]) -> tuple[Series, ...]:
    """Return the series with ``fragile`` set by a one-sided Fisher's exact test over the runs at all SSRs.

    The significance level is 0.2, higher than usual, because a diverged run is worse than a run with a low quality.
    """
    if not lost:
        return tuple(all_series)
    from scipy import stats

    diverged: Counter[tuple[str, str]] = Counter()
    for (recipe, control, _), count in lost.items():
        diverged[recipe, control] += count
    runs = {(item.recipe, item.control): sum(cell.n for cell in item.cells) for item in all_series}
    names = [name for name in runs if not name[1]] or list(runs)
    best = min(names, key=lambda name: (diverged[name] / (diverged[name] + runs[name]), -runs[name]))

    def chance(name: tuple[str, str]) -> float:
        """Return the p-value of the test whether runs of ``name`` diverge more often than runs of ``best``."""
        own = diverged[name] + runs[name]
        both = own + diverged[best] + runs[best]
        return float(stats.hypergeom.sf(diverged[name] - 1, both, diverged[name] + diverged[best], own))

    return tuple(replace(item, fragile=chance((item.recipe, item.control)) < _FRAGILE) for item in all_series)


def _starts(columns: list[Any]) -> Any:
    """Return the index of the first row of each block of consecutive equal rows."""
    changed = np.any([item[1:] != item[:-1] for item in columns], axis=0)
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


def check_axis(study: Study, axis: str, price_per_hour: float | None = None) -> None:
    """Raise an InputError for an unknown axis, an axis for which a run has no number, or ``cost`` without a price."""
    one_of(axis, "axis", AXES)
    if price_per_hour is not None:
        not_negative(price_per_hour, "price_per_hour")
    elif axis == "cost":
        raise MissingValueError("price_per_hour", None, "must be set to use axis='cost'", "set the price of one hour")
    if axis == "ssr":
        return
    column = "seconds" if axis == "cost" else axis
    values = study.completed[column]
    if len(values) and (values.isna().any() or not (values > 0).all()):
        rule = f"some runs have no recorded {column}"
        raise MissingValueError("axis", axis, rule, f"choose another axis, or load only runs with {column}")


def find_series(study: Study, name: str | tuple[str, str], field: str) -> Series:
    """Return the series of ``name``: a pair (recipe, control), or only a recipe if there is no control."""
    recipe, control = (name, "") if isinstance(name, str) else name
    for series in study.series:
        if (series.recipe, series.control) == (recipe, control):
            return series
    choices = [repr((each.recipe, each.control) if each.control else each.recipe) for each in study.series]
    rule = "no completed runs have this name"
    raise UnknownNameError(field, name, rule, f"choose from {', '.join(choices)}")


def as_frame(rows: Any) -> pd.DataFrame:
    """Return rows, or columns by name, as a data frame with the columns and types of ``Study.frame``."""
    numbers = dict.fromkeys(("ssr", "quality", "steps", "samples", "tokens", "seconds", "total_seconds"), float)
    frame = pd.DataFrame(rows, columns=COLUMNS, dtype=object)  # not float, which would round large seeds
    return frame.astype({**numbers, "seed": "Int64", "resumes": int}).infer_objects()


def as_curves(points: Iterable[Sequence[Any]] = ()) -> pd.DataFrame:
    """Return evaluations (run, steps, samples, tokens, seconds, value) as ``Study.curves``."""
    return pd.DataFrame(points, columns=["run", *CLOCKS, "value"]).astype(float).astype({"run": int})


def spread_out(count: int, most: int) -> list[int]:
    """Return at most ``most`` of the indices 0 to ``count - 1``, evenly spaced, including the first and the last.

    Example:
        >>> spread_out(5, 3), spread_out(2, 3)
        ([0, 2, 4], [0, 1])
    """
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count // 2]
    return sorted({round(place * (count - 1) / (most - 1)) for place in range(most)})


def uncontrolled(study: Study) -> Iterator[Series]:
    """Return the series that are not controls."""
    return (series for series in study.series if not series.control)
