"""Sentences about how an answer was obtained: the method, notes on the runs, fits, and the cost of the study."""

from __future__ import annotations

import math

from ssr_hydra.records import RESULT
from ssr_hydra.report.comparison_words import equal_time_text
from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import FIT_NAMES, NAMES_OF_EQUAL, duration, listed, number, percent
from ssr_hydra.studies.fitting import BackTest, Fit
from ssr_hydra.studies.intervals import VERDICT
from ssr_hydra.studies.notes import Note, arm
from ssr_hydra.studies.study import find_series

_MOST_FITS = 2
_MOST_NAMED = 8
_MOST_IN_NOTE = 3
_STATUSES = {"no_value": "without a value"}


def note_text(note: Note) -> str:
    """Return a note as one sentence.

    Example:
        >>> note_text(Note("versions", "torch", (("2.10.0", 2), ("2.11.0", 1))))
        'The runs used different versions of torch: 2.10.0 (2 runs), 2.11.0 (1 run).'
    """
    by_name = ", ".join(f"{name} ({_runs(count)})" for name, count in note.counts)
    total = sum(count for _, count in note.counts)
    names = [name for name, _ in note.counts]
    if note.kind == "data":
        return f"The runs used {len(names)} data sets, so their qualities are not comparable: {by_name}."
    if note.kind == "versions":
        return f"The runs used different versions of {note.subject}: {by_name}."
    if note.kind == "codes":
        differ = "differs" if len(names) == 1 else "differ"
        return f"The runs used {note.subject} versions of the code: {', '.join(names)} {differ}."
    if note.kind == "machines":
        return f"The runs used different machines, so their seconds are not comparable: {by_name}."
    if note.kind == "resumed":
        return f"{_runs(total)} resumed from a checkpoint. The seconds of a resumed run are the sum of all its parts."
    if note.kind == "diverged":
        return (
            f"{_runs(total)} of {_few(names)} diverged, but other seeds did not. The mean uses only these other seeds, "
            "so it is better than the true mean of the recipe."
        )
    if note.kind == "lost":
        by_status = ", ".join(f"{count} {_STATUSES.get(status, status)}" for status, count in note.counts)
        at = f"SSR {_few([number(ssr) for ssr in note.ssrs])}" if note.ssrs else "any SSR, so it is not compared"
        return f"{note.subject} has no quality at {at}: {_runs(total)}, {by_status}."
    more = f" and {total - 1} more lines" if total > 1 else ""
    return f"Times are not compared: line {names[0]}{more} of the table must have {note.subject} above 0."


def _runs(count: int) -> str:
    return f"{count} run" if count == 1 else f"{count} runs"


def _few(names: list[str], most: int = _MOST_IN_NOTE) -> str:
    more = len(names) - most
    return listed([*names[:most], *([f"{more} more"] if more > 0 else [])])


def fit_reason(fit: Fit) -> str:
    """Return the reason why a fit is trusted, rejected or untested."""
    if fit.reason == "undetermined" and math.isnan(fit.rmse):
        return f"The measured SSRs do not determine a {FIT_NAMES[fit.kind]}."
    text = back_test_text(fit.deciding, fit.kind)
    if fit.reason == "no_noise":
        return f"{text} The noise cannot be measured, because each SSR has one seed and there are too few SSRs."
    if fit.reason == "vague":
        return f"{text} Any value within {fit.deciding.half:.3g} of the prediction would have passed."
    return text


def back_test_text(test: BackTest, kind: str) -> str:
    """Return the prediction of a fit, the measured quality and, if the prediction failed, the reason, as text."""
    if test.outcome == "undetermined":
        return f"The SSRs up to {number(test.fitted_to)} do not determine a {FIT_NAMES[kind]}."
    text = (
        f"The fit to SSRs up to {number(test.fitted_to)} predicts {test.predicted:.4g} at SSR {number(test.ssr)}; "
        f"the measured value is {test.observed:.4g}."
    )
    error = abs(test.observed - test.predicted)
    if test.outcome == "tolerated":
        return f"{text} The error is within the tolerance."
    if test.outcome == "outside":
        return f"{text} The error is {error:.3g}, but the interval of the prediction allows at most {test.half:.3g}."
    if test.outcome == "no_better":
        carried = f"repeating the value at SSR {number(test.fitted_to)} has an error of {abs(test.carried):.3g}"
        return f"{text} The error is {error:.3g}; {carried}."
    return text


def fit_warnings(content: Content) -> list[str]:
    """Return a warning for each fit that its back-tests rejected; one warning if there are many such fits."""
    rejected = [fit for fit in content.fits if fit.verdict == "rejected"]
    if len(rejected) <= _MOST_FITS:
        return [
            f"The {FIT_NAMES[fit.kind]} of {arm(fit.recipe, fit.control)} fails its back-test. {fit_reason(fit)}"
            for fit in rejected
        ]
    by_kind = []
    for kind, name in FIT_NAMES.items():
        arms = [arm(fit.recipe, fit.control) for fit in rejected if fit.kind == kind]
        if arms:
            by_kind.append(f"the {name} of {_few(arms, _MOST_NAMED)}")
    return [f"These fits fail their back-tests: {'; '.join(by_kind)}."]


def cost_of_sweep(content: Content) -> str:
    """Return sentences about the time and the cost of the study, and after how many runs the study pays off."""
    totals = content.totals
    text = f"The study took {totals['runs']:,.0f} runs, {totals['completed']:,.0f} of them completed"
    if totals["runs"] == 1:
        text = f"The study took 1 run, {'completed' if totals['completed'] else 'not completed'}"
    if totals["train_seconds"] > 0:  # a CSV may have no seconds
        text += f": {duration(totals['train_seconds'])} of training"
    whole = totals.get("total_seconds", math.nan)
    if whole > totals["train_seconds"]:
        text += f", {duration(whole)} with evaluation and checkpoints"
    if "trained_seconds" in totals:
        text += f"; jobs shared steps, so the training took {duration(totals['trained_seconds'])}"
    if content.options.price_per_hour is not None:
        text += f"; cost {number(totals['cost'], 3)} at {number(content.options.price_per_hour)} per hour"
    return f"{text}.{_break_even(content)}"


def _break_even(content: Content) -> str:
    """Return a sentence: after how many runs the recommended SSR has saved as much time as the study took."""
    choice = content.choice
    whole = content.totals.get("total_seconds", math.nan)
    if choice is None or "seconds" not in content.axes or not whole > 0:
        return ""
    series = find_series(content.study, choice.recipe, "recipe")
    seconds = series.axis("seconds", None)
    saved = float(seconds[-1] - seconds[series.around(choice.ssr)[0]])
    if saved <= 0:
        return ""
    return (
        f" Each run of {choice.recipe} at SSR {number(choice.ssr)} instead of {number(series.ssr[-1])} saves "
        f"{duration(saved)}, so {math.ceil(whole / saved):,} runs at this SSR save the time that the study took."
    )


def method(content: Content) -> list[str]:
    """Return the sentences that explain how the numbers of the report were computed."""
    options, study = content.options, content.study
    better = "higher" if study.direction == "max" else "lower"
    is_table = bool(study.sources) and all(path.is_file() and path.name != RESULT for path in study.sources)
    sentences = [
        f"Quality is the {content.objective} of the table; {better} is better."
        if is_table
        else f"Quality is the final {content.objective} of each run, not its best value; {better} is better."
    ]
    noise = (
        "The noise of each recipe and SSR is estimated from its own seeds (Student's t)."
        if options.noise == "cell"
        else "The noise is estimated from all recipes and SSRs together, with a trend over SSR (moderated variances). "
        "With --noise cell, each recipe and SSR has its own noise."
    )
    sentences += [
        f"Intervals have a confidence of {percent(options.confidence)}. {noise} "
        "Differences of runs with the same seeds are paired.",
        f"Verdicts (decided, best, dominated) have a confidence of {percent(max(VERDICT, options.confidence))}. "
        "If you look at a growing study six times, at most one verdict in twenty is wrong."
        + (f" This is report {content.looks} of this study." if content.looks > 1 else ""),
        "Verdicts about several recipes or points are adjusted for multiple comparisons (Dunnett). Intervals are not.",
    ]
    if content.tolerance is not None:
        sentences.append(
            f"The tolerance is {number(content.tolerance)}: a doubling that gains less is not worth its time."
        )
    sentences += _equal_time(content)
    if not is_table:
        sentences.append("Training time excludes evaluation, checkpoints, compilation and start-up.")
    sentences += [
        "A point is on the frontier if it is better than every point that takes no longer.",
        "Between measured SSRs, quality is the mean of two parabolas in log SSR, each through three SSRs. At an end of "
        "the range, quality is the cubic through the nearest four SSRs. Beyond the range there are no values.",
    ]
    if not content.speedup.empty and content.equal == "seconds":
        sentences.append("Intervals of speed-ups include the noise of the clock.")
    if content.fits:
        sentences.append(
            "Each fit is back-tested: from the smaller SSRs, it must predict the quality at the largest SSR. The "
            "asymptote of a fit is not a prediction, so the report does not show it."
        )
    return sentences


def _equal_time(content: Content) -> list[str]:
    """Return sentences about the axis of equal budgets, if the answer does not already explain this axis."""
    time, equal = content.time, NAMES_OF_EQUAL[content.equal]
    if len(content.recommendations) < 2:
        return []
    per = "step" if "steps" in content.axes else "SSR"
    why = {
        "asked": "you chose it",
        "same_work": "the recipes differ only in schedules and numbers of the optimizer, so a step is the same work",
        "alike": f"no recipe certainly takes over 10% longer per {per} than another",
        "apart": "no SSR has runs of all recipes",
    }.get(time.reason)
    sentences = [] if why is None or equal_time_text(content) else [f"Equal time means equal {equal}: {why}."]
    if time.reason in ("alike", "slower"):
        sentences.append(
            f"The interval of a ratio of times has a confidence of {percent(VERDICT)}. "
            "It uses the mean times at all SSRs."
        )
    return sentences
