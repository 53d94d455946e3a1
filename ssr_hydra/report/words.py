"""The answer in sentences."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

import numpy as np

from ssr_hydra.report.content import Choice, Content, arm, rows_of
from ssr_hydra.report.number_text import (
    FIT_NAMES,
    NAMES_OF_EQUAL,
    duration,
    fixed,
    interval,
    listed,
    number,
    percent,
    signed,
)
from ssr_hydra.studies.advice import Recommendation
from ssr_hydra.studies.compare import pooled_control
from ssr_hydra.studies.intervals import VERDICT, Batch
from ssr_hydra.studies.pace import ALIKE, Crowd, Pace
from ssr_hydra.studies.study import find_series

__all__ = ["answer", "certainty", "details", "equal_time_text", "headline", "others", "tolerances"]

_MOST_OTHERS = 8
_MOST_SENTENCES = 5
# For each control: the words for a scaled run, and the words for a run with that control.
_SIDES = {"truncate": ("scaling", "truncation"), "scale_warmup": ("the fixed warmup", "the scaled warmup")}
_MOST_CROSSINGS = 3
_MOST_OUTLIERS = 3


def headline(content: Content) -> str:
    """Return the recommendation in at most 15 words, with the name of the recipe."""
    choice = content.choice
    if choice is None:
        return "No recommendation: only controls have completed."
    if not content.is_settled:
        last = _at_ssr(choice)
        if len({step.choice.recipe for step in content.steps}) > 1:
            return f"If any gain counts: {choice.recipe} at {last}; the table has cheaper choices."
        lowest = min(step.choice.ssr for step in content.steps)
        return f"Run {choice.recipe} at SSR {number(lowest)} to {last[4:]}, depending on the gain you require."
    return f"Run {choice.recipe} at {_at_ssr(choice)}{_doubt(choice)}."


def _doubt(choice: Choice) -> str:
    if choice.certainty == "sure":
        return ""
    if choice.certainty == "unknown":
        return "; the noise was not measured"
    if choice.recommendation.verdict == "close":
        return "; neither recipe nor SSR is certain" if choice.open else "; the SSR is a close call"
    if choice.open:
        return f"; {_open_names(choice)} may be as good"
    return f"; {choice.diverged} of {choice.runs} runs diverged"


def _at_ssr(choice: Choice) -> str:
    return f"SSR {number(choice.ssr)}{' or longer' if choice.recommendation.ssr is None else ''}"


def _open_names(choice: Choice) -> str:
    count = len(choice.open)
    return choice.open[0].recipe if count == 1 else f"{count} other recipes"


def answer(content: Content) -> list[str]:
    """Return the sentences below the headline, at most five. :func:`details` returns the others."""
    choice = content.choice
    if choice is None:
        return ["The report recommends runs that are scaled, and this study has only controls."]
    first = _gain(content, choice.recommendation) if content.tolerance is not None else _by_tolerance(content)
    return [first, *_about_choice(content, choice)][:_MOST_SENTENCES]


def details(content: Content) -> list[tuple[str, list[str]]]:
    """Return the remaining sentences about the answer, as pairs of heading and sentences."""
    choice = content.choice
    if choice is None:
        return []
    rest = [sentence for sentence in _about_choice(content, choice) if sentence not in answer(content)]
    sections = [
        ("Which SSR", _ssr_details(content, choice.recommendation)),
        ("Which recipe", [*_rival_details(content, choice), *_by_budget(content), *_crossings(content, choice)]),
        ("Target", _target(content, choice.recommendation)),
        ("Controls", _control_counts(content)),
        ("Also", rest),
    ]
    return [(heading, sentences) for heading, sentences in sections if sentences]


def _about_choice(content: Content, choice: Choice) -> list[str]:
    return [
        *_rivals(content, choice),
        *_diverged(content, choice),
        *_soonest(content),
        *_control(content, choice),
        *equal_time_text(content),
        *_outliers(content),
    ]


def others(content: Content) -> list[str]:
    """Return a paragraph for each recipe that was not chosen, with the recommendation for that recipe."""
    chosen = None if content.choice is None else content.choice.recipe
    rest = [each for each in content.recommendations if each.recipe != chosen]
    paragraphs = [
        " ".join([_gain(content, each), *_ssr_details(content, each), *_target(content, each)])
        for each in rest[:_MOST_OTHERS]
    ]
    if len(rest) > _MOST_OTHERS:
        paragraphs.append(f"{len(rest) - _MOST_OTHERS} more recipes are in report.json.")
    return paragraphs


def certainty(choice: Choice) -> str:
    """Return how certain a choice is, in a few words."""
    if choice.certainty == "sure" and not choice.rivals and choice.recommendation.ssr is None:
        return "open: nothing longer was run"  # it was compared with nothing, and the range ends here
    return {"sure": "decided", "close": "a close call", "unknown": "noise not measured"}[choice.certainty]


def tolerances(above: float, below: float) -> str:
    """Return a range of tolerances as text.

    Example:
        >>> tolerances(0.5, float("inf")), tolerances(0.1, 0.5), tolerances(0.0, 0.1), tolerances(0.0, float("inf"))
        ('more than 0.5', '0.1 to 0.5', 'less than 0.1', 'anything')
    """
    if math.isinf(below):
        return f"more than {number(above, 3)}" if above else "anything"
    return f"{number(above, 3)} to {number(below, 3)}" if above else f"less than {number(below, 3)}"


def _by_tolerance(content: Content) -> str:
    """Return a sentence that says where the report shows the choice for each tolerance."""
    if content.choice is not None and math.isnan(content.choice.recommendation.gain):
        return _gain(content, content.choice.recommendation)
    if content.is_settled:
        return "This holds for every gain that you may require of a doubling."
    return f"The table below has a row for each required gain per doubling; {_command(content)} picks one."


def _gain(content: Content, best: Recommendation) -> str:
    if math.isnan(best.gain):
        return f"No doubling of the SSR of {best.recipe} was measured, so the gain of longer runs is unknown."
    gain = _with_ends(content, best.gain, best.low, best.high)
    tolerance = 0.0 if best.tolerance is None else best.tolerance
    if best.ssr is None:
        series = find_series(content.study, best.recipe, "recipe")
        least = f"gains {number(tolerance)} or more" if tolerance else "gains something"
        return (
            f"Every measured doubling of {best.recipe} {least}, the last one {gain}: SSR {number(2 * series.ssr[-1])} "
            "may be better."
        )
    less = f"less than the tolerance {number(tolerance)}" if tolerance else "no more"
    return f"From SSR {number(best.ssr)} to {number(2 * best.ssr)} {best.recipe} gains {gain}, {less}."


def _with_ends(content: Content, value: float, low: float, high: float) -> str:
    """Return a difference with its interval, if it has one."""
    ends = "" if math.isnan(low) else f" {interval(low, high, content.decimals)}"
    return f"{signed(value, content.decimals)}{ends}"


def _ssr_details(content: Content, best: Recommendation) -> list[str]:
    """Return sentences about the reasons why the SSR of a recipe is uncertain."""
    series = find_series(content.study, best.recipe, "recipe")
    table = content.doublings
    table = table[(table["recipe"] == best.recipe) & (table["control"] == "")]
    tolerance = 0.0 if best.tolerance is None else best.tolerance
    sentences = []
    if best.ssr is not None and best.ssr == series.ssr[0] and best.tolerance is not None:
        sentences.append(f"SSR {number(best.ssr)} is the smallest measured one; a smaller one may be enough.")
    upto = table if best.ssr is None else table[table["ssr"] <= best.ssr]
    if best.ssr is not None:
        later = table[(table["ssr"] > best.ssr) & (table["gain"] > tolerance)]
        if len(later):
            ranges = [f"{number(row.ssr)} to {number(row.next_ssr)}" for row in later.itertuples()]
            sentences.append(f"A later doubling gains more again: from SSR {listed(ranges)}.")
    if not math.isnan(best.fall) and best.fall < 0:
        fall = _with_ends(content, best.fall, best.fall_low, best.fall_high)
        sentences.append(f"Quality falls beyond SSR {number(best.peak)}: {fall} to SSR {number(series.ssr[-1])}.")
    if best.verdict == "close":
        if best.batch is None:
            sentences.append(
                "More than 10,000 seeds would be needed to make the widest interval of a gain of "
                f"{best.recipe} narrow enough."
            )
        elif best.batch.more:
            narrowed = f"would narrow the widest interval of a gain of {best.recipe} to {_half(content, best.batch)}"
            sentences.append(f"{_batch(best.batch)} at each SSR {narrowed}.")
    if upto["low"].isna().any():
        single = [number(ssr) for ssr, cell in zip(series.ssr, series.cells, strict=True) if cell.n == 1]
        if len(single) == len(series.cells):
            sentences.append(f"{best.recipe} has one seed at each SSR: run 3 or more to measure the noise.")
        elif single:
            sentences.append(f"{best.recipe} has one seed at SSR {listed(single)}: run 3 or more there.")
        else:
            sentences.append("All seeds have the same gain, which measures no noise: evaluate on more data.")
    return sentences


def _batch(batch: Batch) -> str:
    seeds = "1 more seed" if batch.more == 1 else f"{batch.more:,} more seeds"
    return seeds if batch.least == batch.most else f"{seeds} ({batch.least:,} to {batch.most:,})"


def _half(content: Content, batch: Batch) -> str:
    return f"\N{PLUS-MINUS SIGN}{fixed(batch.half, content.decimals)}"


def _target(content: Content, best: Recommendation) -> list[str]:
    """Return whether and at which SSR a recipe reaches the target; empty if :func:`_soonest` already says so."""
    if best.target is None:
        return []
    series = find_series(content.study, best.recipe, "recipe")
    target = number(best.target)
    several = len(content.recommendations) > 1
    if several and content.soonest is not None and content.soonest.recipe == best.recipe:
        return []
    if best.target_status == "below":
        return [f"{best.recipe} already reaches {target} at SSR {number(series.ssr[0])}, the smallest measured one."]
    if best.target_ssr is not None:
        return [f"{best.recipe} reaches {target} at SSR {number(best.target_ssr, 3)}{_target_ends(best)}."]
    sentences = []
    if content.soonest is not None or not several:
        sentences.append(f"{best.recipe} does not reach {target} up to SSR {number(series.ssr[-1])}.")
    if not math.isnan(best.target_low):
        sentences.append(f"Within the noise, SSR {number(best.target_low, 3)} may reach it.")
    for kind, ssr in best.forecasts:
        where = "does not reach it up to twice that SSR" if ssr is None else f"reaches it at SSR {number(ssr, 3)}"
        sentences.append(f"The {FIT_NAMES[kind]} through {best.recipe}, which has passed its back-test, {where}.")
    if not best.forecasts:
        sentences.append(f"No fit through {best.recipe} has passed its back-test, so longer runs are not predicted.")
    return sentences


def _target_ends(best: Recommendation) -> str:
    if math.isnan(best.target_low):
        return ""
    return f" [{number(best.target_low, 3)}, {'∞' if math.isinf(best.target_high) else number(best.target_high, 3)}]"


def _rivals(content: Content, choice: Choice) -> list[str]:
    if not choice.rivals:
        if len(content.recommendations) > 1:
            return [f"No other recipe was measured at equal {_time(content)} ({_budget(content, choice)})."]
        return []
    closest = choice.rivals[0]
    start = f"At equal {_time(content)} ({_budget(content, choice)}) {choice.recipe}"
    margin = _with_ends(content, closest.margin, closest.low, closest.high)
    rest = len(choice.rivals) - 1
    if math.isnan(closest.low):
        return [f"{start} is {margin} better than {closest.recipe}; too few seeds measure the noise."]
    if not choice.open:
        more = "" if not rest else f", and the other {'recipe' if rest == 1 else f'{rest} recipes'} by more"
        return [f"{start} beats {closest.recipe}, the next best, by {margin}{more}."]
    if not any(rival.open and rival.recipe == closest.recipe for rival in choice.rivals) or closest.high < 0:
        lost = f"; {1 - closest.survived:.0%} of the runs of {closest.recipe} diverged" if closest.survived < 1 else ""
        behind = _with_ends(content, -closest.margin, -closest.high, -closest.low)
        return [f"{start} is behind {closest.recipe}, which is better by {behind}{lost}."]
    if closest.low > 0:
        sure = percent(max(VERDICT, content.options.confidence))
        return [f"{start} is better than {closest.recipe} by {margin}, but not certainly at {sure}{_more(choice)}."]
    equal = fixed(max(abs(closest.low), abs(closest.high)), content.decimals)
    return [f"{start} and {closest.recipe} are equal to within {equal}: the difference is {margin}{_more(choice)}."]


def _more(choice: Choice) -> str:
    further = len(choice.open) - 1
    return f"; {further} more may be as good" if further else ""


def _rival_details(content: Content, choice: Choice) -> list[str]:
    if not choice.open or math.isnan(choice.rivals[0].low):
        return []
    sentences = []
    behind = len(choice.rivals) - len(choice.open)
    if behind:
        sentences.append(f"{behind} other recipe{'s are' if behind > 1 else ' is'} behind by more than noise.")
    if content.tolerance is not None and max(rival.high for rival in choice.open) <= content.tolerance:
        return [*sentences, "The open recipes are at most the tolerance better or worse: run any of them."]
    batch = choice.open[0].batch
    if batch is not None and batch.more:
        sentences.append(f"{_batch(batch)} of both would halve the interval to {_half(content, batch)}.")
    return sentences


def _diverged(content: Content, choice: Choice) -> list[str]:
    """Return sentences about recipes with diverged runs at the chosen SSR, and their means if these runs count."""
    table = content.summary
    table = table[(table["control"] == "") & (table["ssr"] == choice.ssr) & (table["survived"] < 1)]
    if table.empty:
        return []
    fractions = [f"{row.recipe} {1 - row.survived:.0%}" for row in table.itertuples()]
    own = content.summary
    own = own[(own["recipe"] == choice.recipe) & (own["control"] == "") & (own["ssr"] == choice.ssr)]
    means = dict(zip(table["recipe"], table["mean_all"], strict=True)) | {choice.recipe: own["mean_all"].iloc[0]}
    texts = [f"{recipe} {fixed(mean, content.decimals)}" for recipe, mean in list(means.items())[:_MOST_OTHERS]]
    return [
        f"Runs that diverged at SSR {number(choice.ssr)}: {', '.join(fractions[:_MOST_OTHERS])}. If each counts as the "
        f"worst measured quality, the means are: {', '.join(texts)}."
    ]


def _command(content: Content) -> str:
    """Return the command that sets a tolerance; only its option if the report is not from folders of studies."""
    option = "--tolerance X"
    sources = content.study.sources
    if not sources or not all(Path(source).is_dir() for source in sources):
        return option  # for a CSV, the whole command would also need the options for its columns
    return f"ssr-report {' '.join(shlex.quote(str(source)) for source in sources)} {option}"


def _time(content: Content) -> str:
    """Return the name of the axis of equal budgets. A report without times must not say "equal time"."""
    return "time" if "seconds" in content.axes else NAMES_OF_EQUAL[content.equal]


def _budget(content: Content, choice: Choice) -> str:
    parts = [f"SSR {number(choice.ssr, 3)}"]
    if content.equal == "steps":
        parts.append(f"{choice.budget:,.0f} steps")
    if content.axis == "seconds":
        parts.append(duration(_seconds(content, choice)))
    return ", ".join(parts)


def _seconds(content: Content, choice: Choice) -> float:
    if content.equal == "seconds":
        return choice.budget
    series = find_series(content.study, choice.recipe, "recipe")
    return float(np.interp(choice.budget, series.axis(content.equal, None), series.axis("seconds", None)))


def equal_time_text(content: Content) -> list[str]:
    """Return why budgets are equal on this axis, if that affects the answer and the user did not choose the axis."""
    time, pace = content.time, content.time.pace
    if len(content.recommendations) < 2:
        return []
    if time.crowd is not None:
        return [f"Seconds are not compared: {_crowd(time.crowd)}."]
    if not pace.slow or time.reason not in ("alike", "slower"):
        return []
    length = "steps" if "steps" in content.axes else "ssr"
    per = "step" if length == "steps" else "SSR"
    if time.reason == "slower":
        longer = f"{pace.slow} took {_longer(pace)} longer per {per} than {pace.quick}"
        return [f"Equal time is equal seconds: {longer}. --equal {length} compares at equal {NAMES_OF_EQUAL[length]}."]
    if pace.ratio <= ALIKE:
        return []
    longer = f"{pace.slow} took {100 * (pace.ratio - 1):.0f}% longer per {per} than {pace.quick}"
    return [
        f"Equal time is equal {NAMES_OF_EQUAL[length]}: {longer}, which may be noise of the machine. --equal seconds "
        "compares at equal seconds."
    ]


def _crowd(crowd: Crowd) -> str:
    if crowd.measure == "load":
        return f"the machine's load was {crowd.most:.1f} for {crowd.busy} and {crowd.least:.1f} for {crowd.quiet}"
    most, least = (_jobs(count) for count in (crowd.most, crowd.least))
    return f"{crowd.busy} ran next to {most}, {crowd.quiet} next to {least}"


def _jobs(count: float) -> str:
    text = f"{count:.1f}".removesuffix(".0")
    return f"{'no' if text == '0' else text} other job{'' if text == '1' else 's'}"


def _longer(pace: Pace) -> str:
    text = f"{100 * (pace.ratio - 1):.0f}%"
    return text if math.isnan(pace.low) else f"{text} [{100 * (pace.low - 1):.0f}%, {100 * (pace.high - 1):.0f}%]"


def _by_budget(content: Content) -> list[str]:
    """Return which recipe is best at each budget; empty if there is only one budget."""
    frame = content.equal_time
    if frame.empty or content.reference is None or len(content.recommendations) < 2:
        return []
    rows_of = frame[frame["standing"] != ""]
    # Name a budget by its SSR only if all recipes have the same SSR at this budget. Otherwise use steps or seconds.
    same = bool((rows_of.groupby("at")["ssr"].agg(np.ptp) <= 1e-9 * rows_of.groupby("at")["ssr"].max()).all())
    budgets_by_best: dict[str, list[str]] = {}
    for at, rows in rows_of.groupby("at"):
        sole = not (rows["standing"] == "open").any()
        winner = str(rows[rows["standing"] == "best"]["recipe"].iloc[0]) if sole else ""
        budget = number(float(rows["ssr"].iloc[0])) if same else _amount(content, float(at))
        budgets_by_best.setdefault(winner, []).append(budget)
    if sum(map(len, budgets_by_best.values())) < 2:
        return []
    where = "at SSR" if same else "at"
    undecided = budgets_by_best.pop("", [])
    parts = [f"{name} is best {where} {listed(budgets)}" for name, budgets in budgets_by_best.items()]
    if undecided:
        rest = f"{where} {listed(undecided)} the best recipe is not decided"
        parts.append(rest if parts else f"the best recipe is not decided at any {'SSR' if same else 'budget'}")
    return [f"Over the range: {'; '.join(parts)}."]


def _amount(content: Content, at: float) -> str:
    return duration(at) if content.equal == "seconds" else f"{number(at)} {content.equal}"


def _crossings(content: Content, choice: Choice) -> list[str]:
    """Return sentences about budgets at which the curve of the choice certainly crosses the curve of another recipe."""
    frame = content.crossings
    frame = frame[frame["certain"] & ((frame["a"] == choice.recipe) | (frame["b"] == choice.recipe))]
    sentences = []
    for each in rows_of(frame.head(_MOST_CROSSINGS)):
        where = f"{number(each.ssr, 3)} {interval(each.low, each.high, 3)}"
        below, above = each.better_below, each.better_above
        sentences.append(f"Curves cross at SSR {where}: below it {below} is better, above it {above}.")
    return sentences


def _soonest(content: Content) -> list[str]:
    """Return a sentence about the recipe that reaches the target first, if there are several recipes."""
    choice, target = content.soonest, content.options.target
    if target is None or len(content.recommendations) < 2:
        return []
    if choice is None:
        return [f"No recipe reaches {number(target)} within the measured range."]
    best = choice.recommendation
    if best.target_status == "below":
        text = f"{choice.recipe} reaches {number(target)} first, at or before {_budget(content, choice)}"
    else:
        text = f"{choice.recipe} reaches {number(target)} first, at {_budget(content, choice)}"
        text += f" (SSR{_target_ends(best)})" if _target_ends(best) else ""
    if not choice.rivals:
        return [f"{text}; no other recipe was measured at equal {_time(content)}."]
    if any(math.isnan(rival.low) for rival in choice.rivals):
        return [f"{text}; the noise was not measured."]
    if choice.open:
        return [f"{text}; {_open_names(choice)} may be as good by then."]
    return [f"{text}; by then every other recipe is behind by more than noise."]


def _outliers(content: Content) -> list[str]:
    sentences = []
    for each in rows_of(content.outliers.head(_MOST_OUTLIERS)):
        run = "A run" if each.seed is None or math.isnan(each.seed) else f"Seed {each.seed:.0f}"
        value, median = fixed(each.value, content.decimals), fixed(each.median, content.decimals)
        sentences.append(
            f"{run} of {arm(each.recipe, each.control)} at SSR {number(each.ssr)} has {value}, and the median there is "
            f"{median}: it is {each.distance:.0f} standard deviations away."
        )
    return sentences


def _control(content: Content, choice: Choice) -> list[str]:
    sentences = []
    for control, frame in content.controls.groupby("control", sort=False):
        own, other = _SIDES.get(str(control), ("scaling", f"the control {control}"))
        here = frame[(frame["recipe"] == choice.recipe) & (frame["ssr"] == choice.ssr)]
        for each in rows_of(here[~here["winner"].isin(["", "same"])]):
            gain = _with_ends(content, each.gain, each.low, each.high)
            at = f"at SSR {number(choice.ssr)}"
            if each.winner == "control":
                sentences.append(f"But {other} is better {at}: {own} gains {gain}.")
            elif each.winner == "scaling":
                sentences.append(f"{_capital(own)} beats {other} {at} by {gain}.")
            else:
                sentences.append(f"{_capital(own)} against {other} is undecided {at}: {own} gains {gain}.")
    return sentences


def _control_counts(content: Content) -> list[str]:
    """Return the mean gain of scaling over each control, and how many comparisons each side wins."""
    sentences = []
    for control, frame in content.controls.groupby("control", sort=False):
        own, other = _SIDES.get(str(control), ("scaling", f"the control {control}"))
        counts = frame["winner"].value_counts()
        if len(frame) < 2:
            continue
        wins = [f"{side} wins {counts[who]}" for who, side in (("scaling", own), ("control", other)) if who in counts]
        rest = len(frame) - sum(int(counts.get(who, 0)) for who in ("scaling", "control", "same"))
        wins += [f"{rest} {'is' if rest == 1 else 'are'} undecided"] if rest else []
        wins += [f"{counts['same']} {'is' if counts['same'] == 1 else 'are'} the same run"] if "same" in counts else []
        pooled = pooled_control(content.study, str(control), content.options.confidence)
        if pooled is not None and pooled.known:
            mean = _with_ends(content, pooled.value, pooled.low, pooled.high)
            sentences.append(f"Over all recipes and SSRs {own} gains {mean} over {other} (p = {number(pooled.p, 2)}).")
        sentences.append(
            f"{_capital(own)} against {other}, over {len(frame)} comparisons, each at "
            f"{percent(max(VERDICT, content.options.confidence))}: {', '.join(wins)}."
        )
    return sentences


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
