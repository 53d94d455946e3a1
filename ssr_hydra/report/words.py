"""The answer of a report in sentences: the headline, the answer below it, and the details."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from ssr_hydra.report.comparison_words import (
    control_counts,
    controls,
    crossings,
    diverged,
    equal_time_text,
    first_at_target,
    open_names,
    over_budgets,
    rival_details,
    rivals,
)
from ssr_hydra.report.content import Choice, Content, rows_of
from ssr_hydra.report.number_text import fixed, number
from ssr_hydra.report.ssr_words import gain, ssr_details, target
from ssr_hydra.studies.notes import arm

_MOST_OTHERS = 8
_MOST_SENTENCES = 5
_MOST_OUTLIERS = 3


def headline(content: Content) -> str:
    """Return the recommendation in at most 15 words, with the name of the recipe."""
    choice = content.choice
    if choice is None:
        return "No recommendation: only controls have completed."
    if not content.is_settled:
        last = _at_ssr(choice)
        if len({step.choice.recipe for step in content.steps}) > 1:
            return f"Run {choice.recipe} at {last} if any gain counts; cheaper choices are below."
        lowest = min(step.choice.ssr for step in content.steps)
        return f"Run {choice.recipe} at SSR {number(lowest)} to {last[4:]}, depending on the gain you require."
    return f"Run {choice.recipe} at {_at_ssr(choice)}{_doubt(choice)}."


def _doubt(choice: Choice) -> str:
    if choice.certainty == "sure":
        return ""
    if choice.certainty == "unknown":
        return "; the noise was not measured"
    if choice.recommendation.verdict == "close":
        return "; neither recipe nor SSR is certain" if choice.open else "; the SSR is not certain"
    if choice.open:
        return f"; {open_names(choice)} may be as good"
    return f"; {choice.diverged} of {choice.runs} runs diverged"


def _at_ssr(choice: Choice) -> str:
    return f"SSR {number(choice.ssr)}{' or longer' if choice.recommendation.ssr is None else ''}"


def answer(content: Content) -> list[str]:
    """Return the sentences below the headline, at most five. :func:`details` returns the remaining sentences."""
    choice = content.choice
    if choice is None:
        return ["A report recommends only runs with a scaled schedule, and this study has only controls."]
    first = gain(content, choice.recommendation) if content.tolerance is not None else _by_tolerance(content, choice)
    return [first, *_about_choice(content, choice)][:_MOST_SENTENCES]


def details(content: Content) -> list[tuple[str, list[str]]]:
    """Return the sentences that :func:`answer` leaves out, as pairs of heading and sentences."""
    choice = content.choice
    if choice is None:
        return []
    sections = [
        ("Which SSR", ssr_details(content, choice.recommendation)),
        ("Which recipe", [*rival_details(content, choice), *over_budgets(content), *crossings(content, choice)]),
        ("Target", target(content, choice.recommendation)),
        ("Controls", control_counts(content)),
        ("Also", _about_choice(content, choice)[_MOST_SENTENCES - 1 :]),
    ]
    return [(heading, sentences) for heading, sentences in sections if sentences]


def _about_choice(content: Content, choice: Choice) -> list[str]:
    return [
        *rivals(content, choice),
        *diverged(content, choice),
        *first_at_target(content),
        *controls(content, choice),
        *equal_time_text(content),
        *_outliers(content),
    ]


def others(content: Content) -> list[str]:
    """Return a paragraph for each recipe that was not chosen, with the recommendation for that recipe."""
    chosen = None if content.choice is None else content.choice.recipe
    rest = [each for each in content.recommendations if each.recipe != chosen]
    paragraphs = [
        " ".join([gain(content, each), *ssr_details(content, each), *target(content, each)])
        for each in rest[:_MOST_OTHERS]
    ]
    if len(rest) > _MOST_OTHERS:
        paragraphs.append(f"{len(rest) - _MOST_OTHERS} more recipes are in report.json.")
    return paragraphs


def certainty(choice: Choice) -> str:
    """Return how certain a choice is, in a few words."""
    if choice.certainty == "sure" and not choice.rivals and choice.recommendation.ssr is None:
        # The recipe is certain (no other was measured at this budget), but a larger SSR may be better.
        return "undecided: longer runs are missing"
    return {"sure": "decided", "close": "undecided", "unknown": "noise not measured"}[choice.certainty]


def tolerances(above: float, below: float) -> str:
    """Return a range of tolerances as text.

    Example:
        >>> tolerances(0.5, float("inf")), tolerances(0.1, 0.5), tolerances(0.0, 0.1), tolerances(0.0, float("inf"))
        ('more than 0.5', '0.1 to 0.5', 'less than 0.1', 'anything')
    """
    if math.isinf(below):
        return f"more than {number(above, 3)}" if above else "anything"
    return f"{number(above, 3)} to {number(below, 3)}" if above else f"less than {number(below, 3)}"


def _by_tolerance(content: Content, choice: Choice) -> str:
    """Return sentences about how the choice depends on the tolerance."""
    if math.isnan(choice.recommendation.gain):
        return gain(content, choice.recommendation)
    if content.is_settled:
        return "This holds for every gain that you may require of a doubling."
    rows = "The table below has a row for each gain that you may require of a doubling."
    return f"{rows} {_command(content)} selects a row."


def _command(content: Content) -> str:
    """Return the command ``ssr-report FOLDER --tolerance X``; for sources other than folders, only the option."""
    option = "--tolerance X"
    sources = content.study.sources
    if not sources or not all(Path(source).is_dir() for source in sources):
        return option  # for a CSV, the whole command would also need the options for its columns
    return f"ssr-report {' '.join(shlex.quote(str(source)) for source in sources)} {option}"


def _outliers(content: Content) -> list[str]:
    sentences = []
    for each in rows_of(content.outliers.head(_MOST_OUTLIERS)):
        run = "A run" if each.seed is None or math.isnan(each.seed) else f"Seed {each.seed:.0f}"
        value, median = fixed(each.value, content.decimals), fixed(each.median, content.decimals)
        sentences.append(
            f"{run} of {arm(each.recipe, each.control)} at SSR {number(each.ssr)} has {value}. "
            f"This is {each.distance:.0f} standard deviations from the median, {median}."
        )
    return sentences
