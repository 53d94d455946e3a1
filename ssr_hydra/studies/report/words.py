"""The answer in sentences."""

from __future__ import annotations

import math
from typing import Any

from ssr_hydra.studies.report.content import Choice, Content, arm
from ssr_hydra.studies.report.numbers import duration, interval, number, percent, signed

__all__ = ["answer", "certainty", "cost_of_sweep", "fit_warnings", "headline", "method", "others", "visible"]

_MOST_OTHERS = 8


def visible(text: str) -> str:
    r"""Text with every character seen: control characters, line ends and changes of direction are escaped.

    Names come from folders and files, and a terminal or a line of text is not theirs to control.

    Example:
        >>> visible("a\x1b[31m"), visible("two\nlines"), visible("é")
        ('a\\x1b[31m', 'two\\nlines', 'é')
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def headline(content: Content) -> str:
    """What to run, in one sentence."""
    choice = content.choice
    if choice is None:
        return "No recommendation: only controls have completed."
    what = f"Run {choice.recipe} at SSR" if len(content.study.recipes) > 1 else "Run at SSR"
    if choice.recommendation.ssr is not None:
        return f"{what} {number(choice.ssr)}."
    if choice.recommendation.verdict == "outside":
        return f"{what} {number(choice.ssr)} or longer: time still pays where the measurements end."
    return f"{what} {number(choice.ssr)} for now: the study does not say what longer runs gain."


def answer(content: Content) -> list[str]:
    """The sentences below the headline: why, how sure, and what speaks against it."""
    choice = content.choice
    if choice is None:
        return ["A recommendation is about runs that are scaled. This study holds controls alone."]
    said = [*choice.recommendation.words, *_rival(content, choice), *_control(content, choice)]
    lost = len(content.study.problems)
    if lost:
        said.append(f"{lost} {'run or record has' if lost == 1 else 'runs or records have'} a problem, listed below.")
    return said


def others(content: Content) -> list[str]:
    """What is recommended for the recipes that were not chosen, a paragraph each."""
    rest = [each for each in content.recommendations if each is not getattr(content.choice, "recommendation", None)]
    said = [" ".join(each.words) for each in rest[:_MOST_OTHERS]]
    if len(rest) > _MOST_OTHERS:
        said.append(f"{len(rest) - _MOST_OTHERS} more recipes are in report.json.")
    return said


def certainty(choice: Choice) -> str:
    """How sure, in a few words."""
    return {"sure": "decided", "close": "a close call", "unknown": "noise not measured"}[choice.certainty]


def _rival(content: Content, choice: Choice) -> list[str]:
    if choice.rival is None:
        return []
    at = f"At SSR {number(choice.ssr)}"
    if math.isnan(choice.margin):
        return [f"{at} it shares no seed with {choice.rival}, so the two cannot be compared in pairs."]
    margin = signed(choice.margin, content.decimals)
    if math.isnan(choice.low):
        return [
            f"{at} it is {margin} better than {choice.rival} on a single common seed, which says nothing about noise."
        ]
    ends = interval(choice.low, choice.high, content.decimals)
    if choice.low > 0:
        return [f"{at} it beats {choice.rival}, the next best there, by {margin} {ends}."]
    if choice.high < 0:
        better = signed(-choice.margin, content.decimals)
        return [f"{at} {choice.rival} is better, by {better}, but what is recommended for it takes more time."]
    return [f"{at} it cannot be told apart from {choice.rival}: the difference is {margin} {ends}."]


def _control(content: Content, choice: Choice) -> list[str]:
    """Who won against the controls at the recommended SSR."""
    frame = content.controls
    said = []
    for row in frame.itertuples(index=False):
        each: Any = row
        if (each.recipe, each.ssr) != (choice.recipe, choice.ssr) or each.winner in ("", "same"):
            continue
        ends = interval(each.low, each.high, content.decimals)
        gain = signed(each.gain, content.decimals)
        if each.winner == "control":
            said.append(f"But its control {each.control} is better there: scaling gains {gain} {ends}.")
        elif each.winner == "undecided":
            said.append(f"Against its control {each.control} nothing is decided there: scaling gains {gain} {ends}.")
        else:
            said.append(f"Scaling beats its control {each.control} there by {gain} {ends}.")
    return said


def fit_warnings(content: Content) -> list[str]:
    """A sentence for each fit whose predictions have not held, or were never tested."""
    said = []
    rejected = [fit for fit in content.fits if fit.verdict == "rejected"]
    for fit in rejected[:_MOST_OTHERS]:
        kind = {"power": "power law", "quadratic": "quadratic"}[fit.kind]
        said.append(
            f"The {kind} through {arm(fit.recipe, fit.control)} is not to be trusted: {fit.reason.rstrip('.')}."
        )
    if len(rejected) > _MOST_OTHERS:
        said.append(f"{len(rejected) - _MOST_OTHERS} more fits are not to be trusted either.")
    return said


def cost_of_sweep(content: Content) -> str:
    """What the study itself took."""
    totals = content.totals
    runs = f"{totals['runs']:,.0f} runs, {totals['completed']:,.0f} of them completed"
    said = f"{runs}: {duration(totals['train_seconds'])} of training"
    whole = totals.get("total_seconds", math.nan)
    if whole > totals["train_seconds"]:
        said += f", {duration(whole)} with evaluation and start-up"
    if content.options.price_per_hour is not None:
        said += f"; cost {number(totals['cost'], 3)} at {number(content.options.price_per_hour)} per hour"
    return f"{said}."


def method(content: Content) -> list[str]:
    """How the numbers were computed, for those who have to defend them."""
    options, study = content.options, content.study
    better = "higher" if study.direction == "max" else "lower"
    given = (
        "as asked"
        if options.tolerance is not None
        else "a twentieth of what the frontier gains; choose with --tolerance"
    )
    return [
        f"Quality is the final {study.objective} of each run, not the best on the way; {better} is better.",
        f"Intervals hold {percent(options.confidence)} and are Student's t over seeds. Differences are paired by "
        "seed where both have the same seeds, else Welch's. With one seed there is no interval, and none is made up.",
        f"The tolerance is {number(content.tolerance)} ({given}): a doubling of the training that "
        "gains less is not worth its time.",
        "Training time leaves out evaluation, checkpoints, compilation and start-up, and is that of a run by itself.",
        "A point is on the frontier when no other is as good in less time. Points that lose to it by a difference "
        "whose interval contains 0 are marked as within noise.",
        "Speed-ups and qualities at equal time are interpolated between measured SSRs, linearly in log SSR, never "
        "beyond them.",
        "Each fit is made again without the largest SSR and must predict it. One that fails is drawn where it was "
        "fitted only, and its asymptote is never reported.",
    ]
