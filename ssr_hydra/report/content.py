"""The content of a report: every statistic, computed once, for the page, figures, tables and terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd

from ssr_hydra.errors import MismatchError, MissingValueError, UnknownNameError
from ssr_hydra.report import drawn_curves
from ssr_hydra.report.drawn_curves import Curves
from ssr_hydra.report.number_text import decimals_for, number
from ssr_hydra.settings.base import not_negative, one_of
from ssr_hydra.studies import compare, frontier
from ssr_hydra.studies.advice import Recommendation, recommend, recommend_by_gains
from ssr_hydra.studies.compare import Place, Rival
from ssr_hydra.studies.curve_crossings import crossings
from ssr_hydra.studies.fitting import Fit, fits
from ssr_hydra.studies.intervals import Estimate, check_confidence, check_target, check_tolerance
from ssr_hydra.studies.notes import Note, arm
from ssr_hydra.studies.pace import EqualTime, equal_time
from ssr_hydra.studies.study import AXES, CONTROLS, Axis, Series, Study, find_series, spread_out, uncontrolled

EQUAL: tuple[Axis, ...] = ("seconds", "steps", "ssr")
"""The axes on which budgets can be equal."""

MOST_BUDGETS = 40
"""Maximum number of budgets at which recipes are compared. If there are more SSRs, evenly spaced SSRs are used."""

MOST_PAIRED = 6
"""If there are more recipes than this, each recipe is compared only with the reference recipe."""


@dataclass(frozen=True)
class Options:
    """Options of a report.

    Args:
        tolerance: The smallest gain in quality that is worth a doubling of the training. If ``tolerance`` is None, the
            report says for each range of tolerances what to run.
        target: A quality to reach; None for no target.
        price_per_hour: Price of the machine, in any currency. With a price, the report also shows costs.
        confidence: The confidence of every interval.
        reference: The recipe with which the other recipes are compared; None for the first recipe.
        equal: The axis on which budgets are equal when recipes are compared: ``seconds`` of training, ``steps``, or
            ``ssr``. If it is None, the report uses ``steps`` if all recipes take about the same time per step, or if
            seconds are missing or not comparable; otherwise, ``seconds``. If runs have no steps, it uses ``ssr``
            instead of ``steps``.
        noise: With ``pooled``, intervals use the noise of all SSRs and recipes. With ``cell``, an interval is the plain
            t interval of the runs of one recipe and SSR.
        labels: Names to show instead of the names of the metric and the recipes: ``{"eval/accuracy": "Accuracy"}``.

    Raises:
        InputError: A value is invalid.
    """

    tolerance: float | None = None
    target: float | None = None
    price_per_hour: float | None = None
    confidence: float = 0.95
    reference: str | None = None
    equal: Literal["seconds", "steps", "ssr"] | None = None
    noise: Literal["pooled", "cell"] = "pooled"
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)
        check_target(self.target)
        check_confidence(self.confidence)
        if self.price_per_hour is not None:
            not_negative(self.price_per_hour, "price_per_hour")
        if self.equal is not None:
            one_of(self.equal, "equal", EQUAL)
        one_of(self.noise, "noise", ("pooled", "cell"))


@dataclass(frozen=True)
class Choice:
    """The recipe and the SSR to run, compared with all other recipes at an equal budget.

    Attributes:
        recipe: The name of the recipe.
        ssr: The SSR.
        budget: The budget of one run of the recipe at this SSR, on the axis ``Content.equal``.
        recommendation: The recommendation for the recipe, with its reasons.
        rivals: Every other recipe that was measured at this budget, the best recipe first.
        runs: The number of runs of the recipe at this SSR, including diverged and failed runs.
        diverged: The number of these runs that diverged. The quality is the mean of the other runs.
    """

    recipe: str
    ssr: float
    budget: float
    recommendation: Recommendation
    rivals: tuple[Rival, ...] = ()
    runs: int = 0
    diverged: int = 0

    @property
    def open(self) -> tuple[Rival, ...]:
        """The recipes that may be as good as the chosen recipe."""
        return tuple(rival for rival in self.rivals if rival.open)

    @property
    def certainty(self) -> Literal["sure", "close", "unknown"]:
        """How certain the choice is.

        ``unknown``: the noise is unknown, so no interval can be computed. ``close``: a different SSR or recipe may be
        as good, or runs at the chosen SSR diverged. ``sure``: none of these cases.
        """
        if self.recommendation.verdict == "unreplicated" or any(math.isnan(rival.low) for rival in self.open):
            return "unknown"
        return "close" if self.recommendation.verdict == "close" or self.open or self.diverged else "sure"


@dataclass(frozen=True)
class ToleranceChoice:
    """The recipe and the SSR to run for every tolerance with ``above`` < tolerance <= ``below``."""

    above: float
    below: float
    choice: Choice


@dataclass(frozen=True)
class Content:
    """Everything that a report shows. Each data frame is the result of a function in :mod:`ssr_hydra.studies`.

    ``axis`` is the axis on which time is shown. ``equal`` is the axis on which recipes are compared at equal budgets.
    ``choice`` is the fastest recommended recipe whose quality is at most the user's tolerance below the best quality.
    ``steps`` contains the choice for each range of tolerances, from the largest tolerances to the smallest. If the user
    sets no tolerance, ``choice`` is the last choice in ``steps``. ``soonest`` is the recipe that is the first to reach
    the target. ``looks`` is the number of reports written while the study grew, including this report.
    """

    study: Study
    options: Options
    tolerance: float | None
    axis: Axis
    equal: Axis
    time: EqualTime
    axes: tuple[Axis, ...]
    reference: str | None
    decimals: int
    choice: Choice | None
    steps: list[ToleranceChoice]
    soonest: Choice | None
    recommendations: list[Recommendation]
    summary: pd.DataFrame
    pareto: pd.DataFrame
    doublings: pd.DataFrame
    winners: pd.DataFrame
    paired: list[tuple[str, str, pd.DataFrame]]
    controls: pd.DataFrame
    speedup: pd.DataFrame
    equal_time: pd.DataFrame
    crossings: pd.DataFrame
    ranking: pd.DataFrame
    fits: list[Fit]
    totals: dict[str, float]
    outliers: pd.DataFrame
    looks: int = 1

    @property
    def objective(self) -> str:
        """The name of the metric, or the label that the user gave it."""
        return self.options.labels.get(self.study.objective, self.study.objective)

    @property
    def ssr_label(self) -> str:
        """The name of the SSR axis. For a CSV with lengths instead of SSRs, the name includes the length at SSR 1."""
        name = "Scale schedule ratio (SSR)"
        return f"{name}; 1 is {number(self.study.length[1])} {self.study.length[0]}" if self.study.length else name

    @property
    def is_settled(self) -> bool:
        """Whether there is one choice: a tolerance is given, or the choice is the same for every tolerance."""
        return self.tolerance is not None or len(self.steps) < 2

    @cached_property
    def arms(self) -> list[tuple[str, str]]:
        """The pairs (recipe, control) that have a completed run: each recipe, then its controls."""
        table = self.summary[self.summary["n"] > 0]
        pairs = dict.fromkeys(zip(table["recipe"], table["control"], strict=True))
        order = {recipe: place for place, recipe in enumerate(self.study.recipes)}
        return sorted(pairs, key=lambda pair: (order[pair[0]], pair[1]))

    @cached_property
    def status(self) -> dict[tuple[str, str, float], str]:
        """A mapping from (recipe, control, SSR) to the ``status`` that :func:`ssr_hydra.studies.pareto` returns."""
        return {(row.recipe, row.control, row.ssr): row.status for row in rows_of(self.pareto)}

    @property
    def counted(self) -> list[Axis]:
        """The axes that the records of runs contain, such as steps and seconds: ``axes`` without SSR and cost."""
        return [axis for axis in self.axes if axis not in ("ssr", "cost")]

    @cached_property
    def learning(self) -> Curves:
        return drawn_curves.learning(self.study, self.counted, self.options.confidence)

    @cached_property
    def rates(self) -> Curves:
        return drawn_curves.rates(self.study, self.counted)


def rows_of(frame: pd.DataFrame) -> Iterable[Any]:
    """Return the rows of a data frame, with the columns as attributes."""
    rows: Iterable[Any] = frame.itertuples(index=False)
    return rows


def build(study: Study, options: Options | None = None, looks: int = 1) -> Content:
    """Compute all statistics of a study.

    Args:
        study: The study.
        options: The options.
        looks: The number of reports written while the study grew, including this report.

    Raises:
        InputError: No run has completed, or an option does not fit the study.
    """
    options = Options() if options is None else options
    study = _labelled(replace(study, noise=options.noise), options.labels)
    if study.completed.empty:
        failed = len(study.problems)
        rule = f"must have a completed run (got {failed} runs with problems)"
        raise MissingValueError("study", ", ".join(map(str, study.sources)), rule, "run the study again")
    sure, price = options.confidence, options.price_per_hour
    reference = _reference(study, options)
    table = compare.summary(study, sure, price)
    axes = _axes(study, price)
    if options.equal is not None and options.equal not in axes:
        rule = f"some runs have no recorded {options.equal}"
        fix = f"choose from {', '.join(axis for axis in axes if axis in EQUAL)}"
        raise MissingValueError("equal", options.equal, rule, fix)
    if price is not None and "seconds" not in axes:
        rule = "some runs have no recorded seconds"
        raise MissingValueError("price_per_hour", price, rule, "remove this option")
    axis: Axis = next(axis for axis in EQUAL if axis in axes) if options.equal is None else options.equal
    time = equal_time(study, axes, options.equal)
    equal = time.axis
    if equal == "seconds" and time.crowd is not None and len(_scaled(study)) > 1:
        rule = "the runs had different conditions, so their seconds cannot be compared"
        raise MismatchError("equal", equal, rule, "use equal='steps', or repeat all runs under equal conditions")
    pareto = frontier.pareto(study, equal, sure, price)
    advice = recommend(study, options.tolerance, options.target, sure)
    steps = _steps(study, equal, sure)
    choice = steps[-1].choice if steps else None
    if choice is not None:
        at = choice
        if options.tolerance is not None:
            at = next(step.choice for step in steps if step.above < options.tolerance)
        own = next(each for each in advice if each.recipe == at.recipe)
        choice = replace(at, recommendation=own)
    lengths = table[(table["recipe"] == reference) & (table["control"] == "") & (table["n"] > 0)]
    lengths = lengths.iloc[spread_out(len(lengths), MOST_BUDGETS)]
    budgets = sorted(lengths[equal].dropna().unique())
    at_equal_time = [frontier.quality_at(study, float(at), equal, sure, price) for at in budgets]
    speedup = pd.DataFrame()
    if reference is not None:
        speedup = frontier.speedup(study, reference, equal, sure, price, set(lengths["ssr"]))
    return Content(
        study=study,
        options=options,
        tolerance=options.tolerance,
        axis=axis,
        equal=equal,
        time=time,
        axes=axes,
        reference=reference,
        decimals=decimals_for(table["mean"], table["sd"]),
        choice=choice,
        steps=steps,
        soonest=_soonest(study, advice, equal, sure),
        recommendations=advice,
        summary=table,
        pareto=pareto,
        doublings=compare.doublings(study, sure),
        winners=compare.winners(study, sure),
        paired=[(a, b, compare.paired(study, a, b, sure)) for a, b in _pairs(_scaled(study), reference)],
        controls=compare.controls(study, sure),
        speedup=speedup,
        equal_time=pd.concat(at_equal_time, ignore_index=True) if at_equal_time else pd.DataFrame(),
        crossings=crossings(study, sure),
        ranking=compare.decision_accuracy(study),
        fits=fits(study, sure),  # without the tolerance, because every prediction within it would pass its back-test
        totals=study.totals(price),
        outliers=compare.outliers(study),
        looks=looks,
    )


def _labelled(study: Study, labels: Mapping[str, str]) -> Study:
    """Return the study with each recipe renamed to its label."""
    recipes = dict.fromkeys(study.frame["recipe"])
    for name, label in labels.items():
        if name != study.objective and name not in recipes:
            fix = f"choose from {', '.join([study.objective, *recipes][:8])}"
            raise UnknownNameError("label", f"{name}={label}", "must name the metric or a recipe", fix)
        if not label.strip():
            raise MissingValueError("label", f"{name}={label}", "must have a name after =", f"write {name}=Name")
    names = {name: labels.get(name, name) for name in recipes}
    for label, count in Counter(names.values()).items():
        if count > 1:
            raise UnknownNameError("label", label, "must be the label of only one recipe", "use different labels")
    arms = {arm(name, control): arm(names[name], control) for name in names for control in CONTROLS}

    def renamed(note: Note) -> Note:
        if note.kind not in ("diverged", "lost"):
            return note
        counts = tuple((arms.get(name, name), count) for name, count in note.counts)
        return replace(note, subject=arms.get(note.subject, note.subject), counts=counts)

    frame = study.frame.assign(recipe=study.frame["recipe"].map(names))
    return replace(study, frame=frame, notes=tuple(map(renamed, study.notes)))


def _reference(study: Study, options: Options) -> str | None:
    recipes = _scaled(study)
    if options.reference is None:
        return recipes[0] if recipes else None
    reference = options.labels.get(options.reference, options.reference)
    if reference not in recipes:
        fix = f"choose from {', '.join(recipes[:8])}{' ...' if len(recipes) > 8 else ''}"
        raise UnknownNameError("reference", options.reference, "must be a recipe of the study", fix)
    return reference


def _axes(study: Study, price: float | None) -> tuple[Axis, ...]:
    """Return the axes on which every run has a value. For example, runs on images have no value in tokens."""
    runs = study.completed
    available = {"ssr", *(axis for axis in AXES if axis in runs and bool((runs[axis] > 0).all()))}
    if "seconds" in available and price:
        available.add("cost")
    return tuple(axis for axis in AXES if axis in available)


def _scaled(study: Study) -> list[str]:
    """Return the recipes that have scaled runs, not only control runs."""
    return [series.recipe for series in study.series if not series.control]


def _pairs(recipes: list[str], reference: str | None) -> list[tuple[str, str]]:
    if len(recipes) > MOST_PAIRED and reference is not None:
        return [(recipe, reference) for recipe in recipes if recipe != reference]
    return [(a, b) for place, b in enumerate(recipes) for a in recipes[place + 1 :]]


def _steps(study: Study, axis: Axis, confidence: float) -> list[ToleranceChoice]:
    """For every tolerance, return the fastest recipe whose quality is at most the tolerance below the best quality.

    Recipes whose runs diverge too often are left out (``Series.fragile``). The choice can change only at a tolerance
    that equals the gain of a doubling, or the difference in quality between a recipe and the best recipe. So the
    function computes one choice for each range between two of these tolerances.
    """
    candidates = [series for series in uncontrolled(study) if not series.fragile]
    if not candidates:
        return []
    gains = {series.recipe: compare.gains(series, confidence) for series in candidates}
    edges = [0.0, *sorted({gain.value for each in gains.values() for _, _, gain in each if gain.value > 0}), math.inf]
    ranges: list[tuple[float, float, Series, int]] = []
    for low, high in reversed(list(pairwise(edges))):
        places = [_place(series, gains[series.recipe], low) for series in candidates]
        means = [series.values[place] for series, place in zip(candidates, places, strict=True)]
        behind = [float(max(means) - mean) for mean in means]
        cuts = [low, *sorted({apart for apart in behind if low < apart < high}), high]
        for above, below in reversed(list(pairwise(cuts))):
            _, _, which = min(
                (float(series.axis(axis, None)[place]), behind[index], index)
                for index, (series, place) in enumerate(zip(candidates, places, strict=True))
                if behind[index] <= above
            )
            ranges.append((above, below, candidates[which], places[which]))
    choices = []
    for (_, _), group in groupby(ranges, key=lambda item: (item[2].recipe, item[3])):
        same = list(group)
        (above, _, series, place), below = same[-1], same[0][1]
        middle = math.sqrt(above * below) if above > 0 and below < math.inf else below / 2 if not above else 2 * above
        # ``middle`` is infinite if the choice is the same for all tolerances. Then None means a tolerance of 0.
        tolerance = None if math.isinf(middle) else middle
        own = recommend_by_gains(study, series, gains[series.recipe], tolerance, None, confidence)
        budget = float(series.axis(axis, None)[place])
        choice = _against_all(study, own, float(series.ssr[place]), budget, axis, confidence)
        choices.append(ToleranceChoice(above, below, choice))
    return choices


def _place(series: Series, gains: list[tuple[float, bool, Estimate]], tolerance: float) -> int:
    """Return the index of the smallest SSR with a gain of at most ``tolerance``; if there is none, the last index."""
    smallest = next((ssr for ssr, _, gain in gains if gain.value <= tolerance), None)
    return len(series.ssr) - 1 if smallest is None else int(np.searchsorted(series.ssr, smallest))


def _soonest(study: Study, advice: list[Recommendation], axis: Axis, confidence: float) -> Choice | None:
    """Return the recipe that reaches the target first; None if there is no target, or no recipe reaches it."""
    candidates = []
    for each in advice:
        if each.target_ssr is not None:
            series = find_series(study, each.recipe, "recipe")
            log = np.interp(math.log(each.target_ssr), np.log(series.ssr), np.log(series.axis(axis, None)))
            candidates.append((math.exp(log), each.target_ssr, each))
    if not candidates:
        return None
    budget, ssr, first = min(candidates, key=lambda item: item[0])
    return _against_all(study, first, ssr, budget, axis, confidence)


def _against_all(
    study: Study, chosen: Recommendation, ssr: float, budget: float, axis: Axis, confidence: float
) -> Choice:
    places = frontier.places_at(uncontrolled(study), budget, axis)
    others = [place for place in places if isinstance(place, Place) and place.recipe != chosen.recipe]
    series = find_series(study, chosen.recipe, "recipe")
    cells, weights = series.weights(ssr)
    here = Place(chosen.recipe, ssr, tuple(cells), tuple(weights), series.fragile)
    frame = study.frame
    runs = frame[(frame["recipe"] == chosen.recipe) & (frame["control"] == "") & (frame["ssr"] == ssr)]
    diverged = int((runs["status"] == "diverged").sum())
    return Choice(chosen.recipe, ssr, budget, chosen, compare.rivals(here, others, confidence), len(runs), diverged)
