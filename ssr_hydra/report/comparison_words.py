"""Sentences that compare the chosen recipe with its controls, and with other recipes at equal budgets."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from ssr_hydra.report.content import Choice, Content, rows_of
from ssr_hydra.report.number_text import NAMES_OF_EQUAL, duration, fixed, interval, listed, number, percent
from ssr_hydra.report.ssr_words import additional_seeds, half_width, target_ends, with_ends
from ssr_hydra.studies.compare import pooled_control
from ssr_hydra.studies.intervals import VERDICT
from ssr_hydra.studies.pace import ALIKE, Crowd, Pace
from ssr_hydra.studies.study import find_series

_MOST_CROSSINGS = 3
_MOST_NAMED = 8
# The words in sentences about a control: for the scaled runs, and for the control runs.
_SIDES = {"truncate": ("scaling", "truncation"), "scale_warmup": ("the fixed warmup", "the scaled warmup")}


def open_names(choice: Choice) -> str:
    """Return the name of the one recipe that may be as good as the choice; if there are several, their number."""
    count = len(choice.open)
    return choice.open[0].recipe if count == 1 else f"{count} other recipes"


def rivals(content: Content, choice: Choice) -> list[str]:
    """Return the sentence that compares the choice with the best other recipe at an equal budget."""
    where = f"at equal {_budget_name(content)} ({_budget(content, choice)})"
    if not choice.rivals:
        return [f"No other recipe was measured {where}."] if len(content.recommendations) > 1 else []
    closest = (choice.open or choice.rivals)[0]
    start = f"A{where[1:]}, {choice.recipe}"
    margin = with_ends(content, closest.margin, closest.low, closest.high)
    rest = len(choice.rivals) - 1
    if math.isnan(closest.low):
        if closest.margin == 0:
            return [f"{start} and {closest.recipe} have the same quality; the noise was not measured."]
        side, apart = "better" if closest.margin > 0 else "worse", fixed(abs(closest.margin), content.decimals)
        return [f"{start} is {side} than {closest.recipe} by {apart}; the noise was not measured."]
    if not choice.open:
        more = "" if not rest else f", and the other {'recipe' if rest == 1 else f'{rest} recipes'} by more"
        return [f"{start} beats {closest.recipe}, the next best recipe, by {margin}{more}."]
    if closest.high < 0:
        lost = f", but {1 - closest.survived:.0%} of the runs of {closest.recipe} diverged"
        behind = with_ends(content, -closest.margin, -closest.high, -closest.low)
        return [f"{start} is worse than {closest.recipe} by {behind}{lost if closest.survived < 1 else ''}."]
    further = len(choice.open) - 1
    more = f" {further} more {'recipe' if further == 1 else 'recipes'} may be as good." if further else ""
    if closest.low > 0:
        sure = percent(max(VERDICT, content.options.confidence))
        doubt = f"but this is not certain at a confidence of {sure}"
        return [f"{start} is better than {closest.recipe} by {margin}, {doubt}.{more}"]
    equal = fixed(max(abs(closest.low), abs(closest.high)), content.decimals)
    return [f"{start} and {closest.recipe} are equal to within {equal}: the difference is {margin}.{more}"]


def rival_details(content: Content, choice: Choice) -> list[str]:
    """Return sentences about the recipes that may be as good as the choice."""
    if not choice.open or any(math.isnan(rival.low) for rival in choice.open):
        return []
    sentences = []
    behind = len(choice.rivals) - len(choice.open)
    if behind:
        sentences.append(f"{behind} other recipe{'s are' if behind > 1 else ' is'} worse by more than noise.")
    if content.tolerance is not None and max(rival.high for rival in choice.open) <= content.tolerance:
        return [*sentences, "The recipes that may be as good are within the tolerance: run any of them."]
    batch = choice.open[0].batch
    if batch is not None and batch.more:
        half = half_width(content, batch)
        sentences.append(f"{additional_seeds(batch)} of both recipes would halve the interval to {half}.")
    return sentences


def diverged(content: Content, choice: Choice) -> list[str]:
    """Return how many runs diverged at the chosen SSR, and the means if these runs count as the worst quality."""
    rows = content.summary
    rows = rows[(rows["control"] == "") & (rows["ssr"] == choice.ssr)]
    lost = rows[rows["survived"] < 1]
    if lost.empty:
        return []
    fractions = [f"{row.recipe} {1 - row.survived:.0%}" for row in lost.head(_MOST_NAMED).itertuples()]
    means = lost.set_index("recipe")["mean_all"].to_dict()
    means |= rows[rows["recipe"] == choice.recipe].set_index("recipe")["mean_all"].to_dict()
    texts = [f"{recipe} {fixed(mean, content.decimals)}" for recipe, mean in list(means.items())[:_MOST_NAMED]]
    return [
        f"Runs that diverged at SSR {number(choice.ssr)}: {', '.join(fractions)}. If each diverged run counts as the "
        f"worst measured quality, the means are: {', '.join(texts)}."
    ]


def _budget_name(content: Content) -> str:
    """Return the word for equal budgets: "time", or "steps" or "SSRs" if the user chose it or runs have no seconds."""
    is_time = "seconds" in content.axes and content.options.equal in (None, "seconds")
    return "time" if is_time else NAMES_OF_EQUAL[content.equal]


def _budget(content: Content, choice: Choice) -> str:
    parts = [f"SSR {number(choice.ssr, 3)}"]
    if content.equal == "steps":
        parts.append(f"{choice.budget:,.0f} steps")
    if content.axis == "seconds":
        seconds = choice.budget
        if content.equal != "seconds":
            series = find_series(content.study, choice.recipe, "recipe")
            seconds = float(np.interp(seconds, series.axis(content.equal, None), series.axis("seconds", None)))
        parts.append(duration(seconds))
    return ", ".join(parts)


def equal_time_text(content: Content) -> list[str]:
    """Return the reason why recipes are compared at equal steps, SSRs or seconds; an empty list if there is none."""
    time, pace = content.time, content.time.pace
    if len(content.recommendations) < 2:
        return []
    if time.crowd is not None:
        return [f"Seconds are not compared: {_crowd(time.crowd)}."]
    if not pace.slow or time.reason not in ("alike", "slower"):
        return []
    length = "steps" if "steps" in content.axes else "ssr"
    per, steps = "step" if length == "steps" else "SSR", NAMES_OF_EQUAL[length]
    if time.reason == "slower":
        longer = f"{pace.slow} took {_longer(pace)} longer per {per} than {pace.quick}"
        return [f"Equal time means equal seconds: {longer}. --equal {length} compares at equal {steps}."]
    if pace.ratio <= ALIKE:
        return []
    longer = f"{pace.slow} took {100 * (pace.ratio - 1):.0f}% longer per {per} than {pace.quick}"
    return [
        f"Equal time means equal {steps}: {longer}, which may be noise of the machine. --equal seconds compares at "
        "equal seconds."
    ]


def _crowd(crowd: Crowd) -> str:
    if crowd.measure == "load":
        return f"the machine's load was {crowd.most:.1f} for {crowd.busy} and {crowd.least:.1f} for {crowd.quiet}"
    most, least = (_jobs(count) for count in (crowd.most, crowd.least))
    return f"{crowd.busy} ran next to {most}, and {crowd.quiet} ran next to {least}"


def _jobs(count: float) -> str:
    text = f"{count:.1f}".removesuffix(".0")
    return f"{'no' if text == '0' else text} other job{'' if text == '1' else 's'}"


def _longer(pace: Pace) -> str:
    text = f"{100 * (pace.ratio - 1):.0f}%"
    return text if math.isnan(pace.low) else f"{text} [{100 * (pace.low - 1):.0f}%, {100 * (pace.high - 1):.0f}%]"


def over_budgets(content: Content) -> list[str]:
    """Return a sentence with the best recipe at each budget; an empty list if there is only one budget."""
    frame = content.equal_time
    if frame.empty or content.reference is None or len(content.recommendations) < 2:
        return []
    compared = frame[frame["standing"] != ""]
    # Name each budget by its SSR, if at every budget all recipes have the same SSR. Otherwise use steps or seconds.
    by_budget = compared.groupby("at")
    same = bool((by_budget["ssr"].agg(np.ptp) <= 1e-9 * by_budget["ssr"].max()).all())
    budgets_by_best: dict[str, list[str]] = {}
    for at, rows in by_budget:
        sole = not (rows["standing"] == "open").any()
        winner = str(rows[rows["standing"] == "best"]["recipe"].iloc[0]) if sole else ""
        budget = duration(float(at)) if content.equal == "seconds" else f"{number(float(at))} {content.equal}"
        budgets_by_best.setdefault(winner, []).append(number(float(rows["ssr"].iloc[0])) if same else budget)
    if sum(map(len, budgets_by_best.values())) < 2:
        return []
    where = "at SSR" if same else "at"
    undecided = budgets_by_best.pop("", [])
    parts = [f"{name} is best {where} {listed(budgets)}" for name, budgets in budgets_by_best.items()]
    if undecided:
        rest = f"{where} {listed(undecided)} the best recipe is not decided"
        parts.append(rest if parts else f"the best recipe is not decided at any {'SSR' if same else 'budget'}")
    return [f"Over the range: {'; '.join(parts)}."]


def crossings(content: Content, choice: Choice) -> list[str]:
    """Return a sentence for each SSR at which the choice and another recipe change ranks by more than noise."""
    frame = content.crossings
    frame = frame[frame["certain"] & ((frame["a"] == choice.recipe) | (frame["b"] == choice.recipe))]
    return [
        f"Curves cross at SSR {number(row.ssr, 3)} {interval(row.low, row.high, 3)}: {row.better_below} is better at "
        f"smaller SSRs, {row.better_above} at larger SSRs."
        for row in rows_of(frame.head(_MOST_CROSSINGS))
    ]


def first_at_target(content: Content) -> list[str]:
    """Return a sentence about the recipe that reaches the target first; an empty list if there is only one recipe."""
    choice, target = content.soonest, content.options.target
    if target is None or len(content.recommendations) < 2:
        return []
    if choice is None:
        return [f"No recipe reaches {number(target)} within the measured range."]
    best = choice.recommendation
    at = "at or before" if best.target_status == "below" else "at"
    text = f"{choice.recipe} reaches {number(target)} first, {at} {_budget(content, choice)}"
    if best.target_status != "below" and (ends := target_ends(best)):
        text += f" (SSR{ends})"
    equal = f"at equal {_budget_name(content)}"
    if not choice.rivals:
        return [f"{text}; no other recipe was measured {equal}."]
    if unknown := [rival.recipe for rival in choice.rivals if math.isnan(rival.low)]:
        # If the text has an interval, the noise of the chosen recipe is known. Name the recipes with unknown noise.
        whose = "" if math.isnan(best.target_low) else f" of {listed(unknown)}"
        return [f"{text}; the noise{whose} was not measured."]
    if choice.open:
        return [f"{text}; {open_names(choice)} may be as good {equal}."]
    return [f"{text}; every other recipe is worse {equal}, by more than noise."]


def controls(content: Content, choice: Choice) -> list[str]:
    """For each control, return a sentence that compares scaled runs and control runs at the chosen SSR."""
    sentences = []
    frame = content.controls
    frame = frame[(frame["recipe"] == choice.recipe) & (frame["ssr"] == choice.ssr)]
    for row in rows_of(frame[~frame["winner"].isin(["", "same"])]):
        scaled, control = _sides(row.control)
        gain = with_ends(content, row.gain, row.low, row.high)
        at = f"at SSR {number(choice.ssr)}"
        if row.winner == "control":
            sentences.append(f"But {control} is better {at}: {scaled} gains {gain}.")
        elif row.winner == "scaling":
            sentences.append(f"{scaled.capitalize()} beats {control} {at} by {gain}.")
        else:
            sentences.append(f"It is undecided whether {scaled} beats {control} {at}: {scaled} gains {gain}.")
    return sentences


def control_counts(content: Content) -> list[str]:
    """For each control, say how much better scaled runs are than control runs on average, and how often they win."""
    sentences = []
    for control, frame in content.controls.groupby("control", sort=False):
        scaled, other = _sides(control)
        counts = Counter(frame["winner"])
        if len(frame) < 2:
            continue
        wins = [f"{side} wins {counts[who]}" for who, side in (("scaling", scaled), ("control", other)) if counts[who]]
        rest, same = counts["undecided"] + counts[""], counts["same"]
        wins += [f"{rest} {'is' if rest == 1 else 'are'} undecided"] if rest else []
        wins += [f"{same} {'is' if same == 1 else 'are'} the same run"] if same else []
        pooled = pooled_control(content.study, str(control), content.options.confidence)
        if pooled is not None and pooled.known:
            mean = with_ends(content, pooled.value, pooled.low, pooled.high)
            p = number(pooled.p, 2)
            sentences.append(f"Over all recipes and SSRs, {scaled} gains {mean} over {other} (p = {p}).")
        sure = percent(max(VERDICT, content.options.confidence))
        sentences.append(
            f"{scaled.capitalize()} and {other} have {len(frame)} comparisons, each at a confidence of {sure}: "
            f"{', '.join(wins)}."
        )
    return sentences


def _sides(control: object) -> tuple[str, str]:
    return _SIDES.get(str(control), ("scaling", f"the control {control}"))
