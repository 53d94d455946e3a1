"""The answer in sentences."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from ssr_hydra.errors import visible
from ssr_hydra.records import RESULT
from ssr_hydra.report.content import Choice, Content, arm
from ssr_hydra.report.number_text import duration, fixed, interval, number, percent, signed
from ssr_hydra.studies.advice import Recommendation
from ssr_hydra.studies.compare import Rival, pooled_control
from ssr_hydra.studies.intervals import VERDICT, Batch
from ssr_hydra.studies.pace import ALIKE, Crowd, Pace
from ssr_hydra.studies.study import find_series

__all__ = [
    "answer", "certainty", "cost_of_sweep", "details", "fit_warnings", "headline", "method", "others", "tolerances",
    "visible",
]  # fmt: skip

_MOST_OTHERS = 8
_MOST_SENTENCES = 5
# What a run and its control are called, where one is held against the other.
_SIDES = {"truncate": ("scaling", "truncation"), "scale_warmup": ("the warmup as it is", "the scaled warmup")}
_MOST_FITS = 2
_MOST_CROSSINGS = 3
_EQUAL = {"steps": "steps", "ssr": "SSR", "seconds": "seconds"}
_KINDS = {"power": "power law", "quadratic": "quadratic"}


def headline(content: Content) -> str:
    """What to run, in at most 15 words that name the recipe."""
    choice = content.choice
    if choice is None:
        return "No recommendation: only controls have completed."
    if content.tolerance is None and len(content.steps) > 1:
        last = _at_ssr(choice)
        if len({step.choice.recipe for step in content.steps}) > 1:
            return f"Best quality: {choice.recipe} at {last}; cheaper choices depend on the required gain."
        lowest = min(step.choice.ssr for step in content.steps)
        return f"Run {choice.recipe} at SSR {number(lowest)} to {last[4:]}, depending on the gain you require."
    doubt = {"sure": "", "unknown": "; the noise was not measured", "close": ""}[choice.certainty]
    if choice.certainty == "close":
        close = choice.recommendation.verdict == "close"
        names = _open_names(choice)
        if close and choice.open:
            doubt = "; neither recipe nor SSR is certain"
        elif close:
            doubt = "; the SSR is a close call"
        elif choice.open:
            doubt = f"; {names} may be as good"
        else:
            doubt = f"; {choice.diverged} of {choice.runs} runs diverged"
    return f"Run {choice.recipe} at {_at_ssr(choice)}{doubt}."


def _at_ssr(choice: Choice) -> str:
    return f"SSR {number(choice.ssr)}{' or longer' if choice.recommendation.ssr is None else ''}"


def _open_names(choice: Choice) -> str:
    count = len(choice.open)
    return choice.open[0].recipe if count == 1 else f"{count} other recipes"


def answer(content: Content) -> list[str]:
    """At most five sentences below the headline; what else there is to say is in :func:`details`."""
    choice = content.choice
    if choice is None:
        return ["A recommendation is about runs that are scaled. This study has only controls."]
    said = [
        _gain(content, choice.recommendation) if content.tolerance is not None else _by_tolerance(content),
        *_rivals(content, choice),
        *_diverged(content, choice),
        *_soonest(content),
        *_control(content, choice),
        *_clock_warning(content),
    ]
    return said[:_MOST_SENTENCES]


def details(content: Content) -> list[tuple[str, list[str]]]:
    """Everything else about the answer: a heading and its sentences."""
    choice = content.choice
    if choice is None:
        return []
    rest = [*_rivals(content, choice), *_diverged(content, choice), *_soonest(content), *_control(content, choice)]
    rest = [sentence for sentence in [*rest, *_clock_warning(content)] if sentence not in answer(content)]
    found = [
        ("Which SSR", _ssr_details(content, choice.recommendation)),
        ("Which recipe", [*_rival_details(content, choice), *_by_budget(content), *_crossings(content, choice)]),
        ("Target", _target(content, choice.recommendation)),
        ("Controls", _control_counts(content)),
        ("Also", rest),
    ]
    return [(heading, sentences) for heading, sentences in found if sentences]


def others(content: Content) -> list[str]:
    """What is recommended for the recipes that were not chosen, a paragraph each."""
    chosen = None if content.choice is None else content.choice.recipe
    rest = [each for each in content.recommendations if each.recipe != chosen]
    said = [
        " ".join([_gain(content, each), *_ssr_details(content, each), *_target(content, each)])
        for each in rest[:_MOST_OTHERS]
    ]
    if len(rest) > _MOST_OTHERS:
        said.append(f"{len(rest) - _MOST_OTHERS} more recipes are in report.json.")
    return said


def certainty(choice: Choice) -> str:
    """How sure, in a few words."""
    if choice.certainty == "sure" and not choice.rivals and choice.recommendation.ssr is None:
        return "open: nothing longer was run"  # it was compared with nothing, and the range ends here
    return {"sure": "decided", "close": "a close call", "unknown": "noise not measured"}[choice.certainty]


def tolerances(above: float, below: float) -> str:
    """A range of tolerances.

    Example:
        >>> tolerances(0.5, float("inf")), tolerances(0.1, 0.5), tolerances(0.0, 0.1), tolerances(0.0, float("inf"))
        ('more than 0.5', '0.1 to 0.5', 'less than 0.1', 'anything')
    """
    if math.isinf(below):
        return f"more than {number(above, 3)}" if above else "anything"
    return f"{number(above, 3)} to {number(below, 3)}" if above else f"less than {number(below, 3)}"


def _by_tolerance(content: Content) -> str:
    """The choice as a function of the tolerance."""
    if len(content.steps) == 1:
        return "That holds whatever a doubling of the training must gain."
    return f"What to run depends on what a doubling must gain: {_command(content)} picks a row of the table below."


def _gain(content: Content, best: Recommendation) -> str:
    """The gain on which the SSR of a recipe rests."""
    if math.isnan(best.gain):
        return f"No doubling of the SSR of {best.recipe} was measured, so nothing says what longer runs gain."
    gain = f"{signed(best.gain, content.decimals)}{_ends(content, best.low, best.high)}"
    level = 0.0 if best.tolerance is None else best.tolerance
    more = "or more" if best.tolerance is not None else "or more than 0"
    if best.ssr is None:
        series = find_series(content.study, best.recipe, "recipe")
        least = f"gains {number(level)} {more}" if level else "gains something"
        return (
            f"Every measured doubling of {best.recipe} {least}, the last one {gain}: SSR {number(2 * series.ssr[-1])} "
            "may be better."
        )
    less = f"less than the tolerance {number(level)}" if level else "no more"
    return f"From SSR {number(best.ssr)} to {number(2 * best.ssr)} {best.recipe} gains {gain}, {less}."


def _ends(content: Content, low: float, high: float) -> str:
    return "" if math.isnan(low) else f" {interval(low, high, content.decimals)}"


def _ssr_details(content: Content, best: Recommendation) -> list[str]:
    """What else there is to know of the SSR of a recipe."""
    series = find_series(content.study, best.recipe, "recipe")
    table = content.doublings
    table = table[(table["recipe"] == best.recipe) & (table["control"] == "")]
    level = 0.0 if best.tolerance is None else best.tolerance
    said = []
    if best.ssr is not None and best.ssr == series.ssr[0] and best.tolerance is not None:
        said.append(f"SSR {number(best.ssr)} is the smallest that was measured; a smaller one may do.")
    upto = table if best.ssr is None else table[table["ssr"] <= best.ssr]
    if best.ssr is not None:
        later = table[(table["ssr"] > best.ssr) & (table["gain"] > level)]
        if len(later):
            ranges = [f"{number(row.ssr)} to {number(row.next_ssr)}" for row in later.itertuples()]
            said.append(f"A later doubling gains more again: from SSR {_listed(ranges)}.")
    if not math.isnan(best.fall) and best.fall < 0:
        fall = f"{signed(best.fall, content.decimals)}{_ends(content, best.fall_low, best.fall_high)}"
        said.append(f"Quality falls beyond SSR {number(best.peak)}: {fall} to SSR {number(series.ssr[-1])}.")
    if best.verdict == "close":
        if best.batch is None:
            said.append("More than 10,000 seeds would be needed to make the interval of that gain narrow enough.")
        elif best.batch.more:
            said.append(f"{_batch(best.batch)} at each SSR would narrow its interval to {_half(content, best)}.")
    thin = upto[upto["low"].isna()]
    if len(thin):
        single = [number(ssr) for ssr, cell in zip(series.ssr, series.cells, strict=True) if cell.n == 1]
        if len(single) == len(series.cells):
            said.append(f"{best.recipe} has one seed at each SSR: run 3 or more to measure the noise.")
        elif single:
            said.append(f"{best.recipe} has one seed at SSR {_listed(single)}: run 3 or more there.")
        else:
            said.append("All seeds have the same gain, which measures no noise: evaluate on more data.")
    return said


def _batch(batch: Batch) -> str:
    """A number of seeds with its range."""
    seeds = "1 more seed" if batch.more == 1 else f"{batch.more:,} more seeds"
    return seeds if batch.least == batch.most else f"{seeds} ({batch.least:,} to {batch.most:,})"


def _half(content: Content, best: Recommendation) -> str:
    assert best.batch is not None
    return f"\N{PLUS-MINUS SIGN}{fixed(best.batch.half, content.decimals)}"


def _target(content: Content, best: Recommendation) -> list[str]:
    """Whether and where a recipe reaches the target."""
    if best.target is None:
        return []
    series = find_series(content.study, best.recipe, "recipe")
    goal = number(best.target)
    if best.target_status == "below":
        return [f"{best.recipe} reaches {goal} at SSR {number(series.ssr[0])} already, the smallest that was measured."]
    if best.target_ssr is not None:
        end = "above the measured range" if math.isinf(best.target_high) else number(best.target_high, 3)
        ends = "" if math.isnan(best.target_low) else f" (interval {number(best.target_low, 3)} to {end})"
        return [f"{best.recipe} reaches {goal} at SSR {number(best.target_ssr, 3)}{ends}."]
    said = [f"{best.recipe} does not reach {goal} up to SSR {number(series.ssr[-1])}, the largest that was measured."]
    if not math.isnan(best.target_low):
        said.append(f"Within the noise SSR {number(best.target_low, 3)} may reach it.")
    for kind, ssr in best.forecasts:
        where = "does not reach it up to twice that SSR" if ssr is None else f"reaches it at SSR {number(ssr, 3)}"
        said.append(f"The {_KINDS[kind]}, which has passed its back-test, {where}.")
    if not best.forecasts:
        said.append("No fit has passed its back-test, so the report says nothing of longer runs.")
    return said


def _rivals(content: Content, choice: Choice) -> list[str]:
    """The choice against every other recipe that gets as much time."""
    if not choice.rivals:
        if len(content.recommendations) > 1:
            return [f"No other recipe was measured at equal {_time(content)} ({_budget(content, choice)})."]
        return []
    closest = choice.rivals[0]
    at = f"At equal {_time(content)} ({_budget(content, choice)}) {choice.recipe}"
    margin = signed(closest.margin, content.decimals)
    ends = interval(closest.low, closest.high, content.decimals)
    rest = len(choice.rivals) - 1
    if math.isnan(closest.low):
        return [f"{at} is {margin} better than {closest.recipe}; too few seeds tell the noise."]
    if not choice.open:
        more = "" if not rest else f", and the other {'recipe' if rest == 1 else f'{rest} recipes'} by more"
        return [f"{at} beats {closest.recipe}, the next best, by {margin} {ends}{more}."]
    if not any(rival.open and rival.recipe == closest.recipe for rival in choice.rivals) or closest.high < 0:
        lost = f"; {1 - closest.survived:.0%} of the runs of {closest.recipe} diverged" if closest.survived < 1 else ""
        behind = f"{signed(-closest.margin, content.decimals)} {_minus(content, closest)}"
        return [f"{at} is behind {closest.recipe}, which is better by {behind}{lost}."]
    equal = fixed(max(abs(closest.low), abs(closest.high)), content.decimals)
    said = f"{at} and {closest.recipe} are equal to within {equal}: the difference is {margin} {ends}"
    further = len(choice.open) - 1
    return [f"{said}{f'; {further} more may be as good' if further else ''}."]


def _minus(content: Content, rival: Rival) -> str:
    return interval(-rival.high, -rival.low, content.decimals)


def _rival_details(content: Content, choice: Choice) -> list[str]:
    if not choice.open or math.isnan(choice.rivals[0].low):
        return []
    said = []
    behind = len(choice.rivals) - len(choice.open)
    if behind:
        said.append(f"{behind} other recipe{'s are' if behind > 1 else ' is'} behind by more than noise.")
    if content.tolerance is not None and max(rival.high for rival in choice.open) <= content.tolerance:
        return [*said, "No open recipe is worse than it by more than the tolerance: run any of them."]
    batch = choice.open[0].batch
    if batch is not None and batch.more:
        said.append(
            f"{_batch(batch)} of both would halve the interval to \N{PLUS-MINUS SIGN}"
            f"{fixed(batch.half, content.decimals)}."
        )
    return said


def _diverged(content: Content, choice: Choice) -> list[str]:
    """Of which recipes runs diverged at the chosen SSR, and what their means are with those runs counted."""
    table = content.summary
    table = table[(table["control"] == "") & (table["ssr"] == choice.ssr) & (table["survived"] < 1)]
    if table.empty:
        return []
    shares = [f"{row.recipe} {1 - row.survived:.0%}" for row in table.itertuples()]
    own = content.summary
    own = own[(own["recipe"] == choice.recipe) & (own["control"] == "") & (own["ssr"] == choice.ssr)]
    shown = dict(zip(table["recipe"], table["mean_all"], strict=True)) | {choice.recipe: own["mean_all"].iloc[0]}
    means = [f"{recipe} {fixed(mean, content.decimals)}" for recipe, mean in list(shown.items())[:_MOST_OTHERS]]
    return [
        f"Runs that diverged at SSR {number(choice.ssr)}: {', '.join(shares[:_MOST_OTHERS])}. With each counted as the "
        f"worst measured quality, the means are: {', '.join(means)}."
    ]


def _command(content: Content) -> str:
    """How to give a tolerance: the whole command where folders of studies are known, else its option."""
    option = "--tolerance X"
    sources = content.study.sources
    if not sources or not all(Path(source).is_dir() for source in sources):
        return option  # a table, whose command names its columns
    return f"ssr-report {' '.join(shlex.quote(str(source)) for source in sources)} {option}"


def _time(content: Content) -> str:
    """What budgets are equal in: a table without times tells nothing of equal time."""
    return "time" if "seconds" in content.axes else _EQUAL[content.equal]


def _is_table(content: Content) -> bool:
    sources = content.study.sources
    return bool(sources) and all(path.is_file() and path.name != RESULT for path in sources)


def _budget(content: Content, choice: Choice) -> str:
    """What is equal, and what it is in time."""
    shown = f"SSR {number(choice.ssr, 3)}"
    if content.equal == "steps":
        shown += f", {choice.budget:,.0f} steps"
    if content.axis == "seconds":
        shown += f", {duration(_seconds(content, choice))}"
    return shown


def _seconds(content: Content, choice: Choice) -> float:
    if content.equal == "seconds":
        return choice.budget
    rows = content.summary
    rows = rows[(rows["recipe"] == choice.recipe) & (rows["control"] == "") & (rows["n"] > 0)]
    return float(np.interp(choice.budget, rows[content.equal], rows["seconds"]))


def _clock_warning(content: Content) -> list[str]:
    """What equal time means, where that decides something and the user did not choose it."""
    time, pace = content.time, content.time.pace
    if len(content.recommendations) < 2:
        return []
    if time.crowd is not None:
        return [f"Seconds are not compared: {_crowd(time.crowd)}."]
    if not pace.slow or time.reason not in ("alike", "slower"):
        return []
    length = "steps" if "steps" in content.axes else "ssr"
    took = f"{pace.slow} took {_longer(pace)} longer per {'step' if length == 'steps' else 'SSR'} than {pace.quick}"
    if time.reason == "slower":
        return [f"Equal time is equal seconds: {took}. --equal {length} compares at equal {_EQUAL[length]}."]
    if pace.ratio <= ALIKE:
        return []
    return [
        f"Equal time is equal {_EQUAL[length]}: {pace.slow} took {100 * (pace.ratio - 1):.0f}% longer per "
        f"{'step' if length == 'steps' else 'SSR'} than {pace.quick}, which may be noise of the machine. "
        "--equal seconds compares at equal seconds."
    ]


def _crowd(crowd: Crowd) -> str:
    """Which runs had a busier machine than which others."""
    if crowd.measure == "load":
        return f"the machine's load was {crowd.most:.1f} for {crowd.busy} and {crowd.least:.1f} for {crowd.quiet}"
    most, least = (_jobs(count) for count in (crowd.most, crowd.least))
    return f"{crowd.busy} ran next to {most}, {crowd.quiet} next to {least}"


def _jobs(count: float) -> str:
    shown = f"{count:.1f}".removesuffix(".0")
    return f"{'no' if shown == '0' else shown} other job{'' if shown == '1' else 's'}"


def _longer(pace: Pace) -> str:
    """How much longer a step takes, with both ends of the interval where there is one."""
    shown = f"{100 * (pace.ratio - 1):.0f}%"
    return shown if math.isnan(pace.low) else f"{shown} [{100 * (pace.low - 1):.0f}%, {100 * (pace.high - 1):.0f}%]"


def _by_budget(content: Content) -> list[str]:
    """Who is best at which budget: whether the answer depends on the time there is."""
    frame = content.equal_time
    if frame.empty or content.reference is None or len(content.recommendations) < 2:
        return []
    held = frame[frame["standing"] != ""]
    # An SSR names a budget only where it is the same for all of them; steps and seconds always do.
    same = bool((held.groupby("at")["ssr"].agg(np.ptp) <= 1e-9 * held.groupby("at")["ssr"].max()).all())
    best: dict[str, list[str]] = {}
    for at, rows in held.groupby("at"):
        sole = not (rows["standing"] == "open").any()
        winner = str(rows[rows["standing"] == "best"]["recipe"].iloc[0]) if sole else ""
        best.setdefault(winner, []).append(number(float(rows["ssr"].iloc[0])) if same else _amount(content, float(at)))
    if sum(map(len, best.values())) < 2:
        return []
    where = "at SSR" if same else "at"
    undecided = best.pop("", [])
    said = [f"{name} is best {where} {_listed(budgets)}" for name, budgets in best.items()]
    if undecided:
        rest = f"{where} {_listed(undecided)} the best recipe is not decided"
        said.append(rest if best else f"the best recipe is not decided at any {'SSR' if same else 'budget'}")
    return [f"Over the range: {'; '.join(said)}."]


def _amount(content: Content, at: float) -> str:
    """A budget on the axis on which budgets are equal."""
    return duration(at) if content.equal == "seconds" else f"{number(at)} {content.equal}"


def _crossings(content: Content, choice: Choice) -> list[str]:
    """Where the choice's curve surely crosses another's: which is better depends on the time there is."""
    frame = content.crossings
    frame = frame[frame["certain"] & ((frame["a"] == choice.recipe) | (frame["b"] == choice.recipe))]
    said = []
    for row in frame.head(_MOST_CROSSINGS).itertuples(index=False):
        each: Any = row
        where = f"{number(each.ssr, 3)} {interval(each.low, each.high, 3)}"
        below, above = each.better_below, each.better_above
        said.append(f"Curves cross at SSR {where}: below it {below} is better, above it {above}.")
    return said


def _listed(shown: list[str]) -> str:
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _soonest(content: Content) -> list[str]:
    """Which recipe reaches the target first."""
    choice, target = content.soonest, content.options.target
    if target is None or len(content.recommendations) < 2:
        return []
    if choice is None:
        return [f"No recipe reaches {number(target)} within what was measured."]
    best = choice.recommendation
    first = "at the latest" if best.target_status == "below" else "about"
    said = f"Of all recipes {choice.recipe} reaches {number(target)} first, {first} at {_budget(content, choice)}"
    if not choice.rivals:
        return [f"{said}; no other was measured at equal {_time(content)}."]
    if any(math.isnan(rival.low) for rival in choice.rivals):
        return [f"{said}; the noise was not measured."]
    if choice.open:
        return [f"{said}; {_open_names(choice)} may be as good by then."]
    return [f"{said}; by then every other recipe is behind by more than noise."]


def _control(content: Content, choice: Choice) -> list[str]:
    """Who won against the controls at the recommended SSR."""
    said = []
    for control, frame in content.controls.groupby("control", sort=False):
        own, other = _SIDES.get(str(control), ("scaling", f"the control {control}"))
        here = frame[(frame["recipe"] == choice.recipe) & (frame["ssr"] == choice.ssr)]
        for row in here[~here["winner"].isin(["", "same"])].itertuples(index=False):
            each: Any = row
            gain = f"{signed(each.gain, content.decimals)} {interval(each.low, each.high, content.decimals)}"
            verdict = {"control": f"But {other} is better", "undecided": f"Against {other} nothing is decided"}.get(
                each.winner, f"{_capital(own)} beats {other}"
            )
            said.append(f"{verdict} at SSR {number(choice.ssr)}: {own} gains {gain}.")
    return said


def _control_counts(content: Content) -> list[str]:
    """How many comparisons each side wins, over all recipes and SSRs."""
    said = []
    for control, frame in content.controls.groupby("control", sort=False):
        own, other = _SIDES.get(str(control), ("scaling", f"the control {control}"))
        counts = frame["winner"].value_counts()
        if len(frame) < 2:
            continue
        won = [f"{side} wins {counts[who]}" for who, side in (("scaling", own), ("control", other)) if who in counts]
        rest = len(frame) - sum(int(counts.get(who, 0)) for who in ("scaling", "control", "same"))
        won += [f"{rest} {'is' if rest == 1 else 'are'} undecided"] if rest else []
        won += [f"{counts['same']} {'is' if counts['same'] == 1 else 'are'} the same run"] if "same" in counts else []
        pooled = pooled_control(content.study, str(control), content.options.confidence)
        if pooled is not None and pooled.known:
            mean = f"{signed(pooled.value, content.decimals)} {interval(pooled.low, pooled.high, content.decimals)}"
            said.append(f"Over all recipes and SSRs {own} gains {mean} over {other} (p = {number(pooled.p, 2)}).")
        said.append(
            f"{_capital(own)} against {other}, over {len(frame)} comparisons, each at "
            f"{percent(max(VERDICT, content.options.confidence))}: {', '.join(won)}."
        )
    return said


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def fit_warnings(content: Content) -> list[str]:
    """That fits have not predicted what was held out: of few each with its reason, of many their names."""
    rejected = [fit for fit in content.fits if fit.verdict == "rejected"]
    if len(rejected) > _MOST_FITS:
        said = []
        for kind, name in _KINDS.items():
            names = [arm(fit.recipe, fit.control) for fit in rejected if fit.kind == kind]
            shown = ", ".join(names[:_MOST_OTHERS])
            shown += f" and {len(names) - _MOST_OTHERS} more" if len(names) > _MOST_OTHERS else ""
            if names:
                said.append(f"the {name} through {shown}")
        return [f"Not to be trusted, for it mispredicts what was held out: {'; '.join(said)}."]
    return [
        f"The {_KINDS[fit.kind]} through {arm(fit.recipe, fit.control)} is not to be trusted: {fit.reason.rstrip('.')}."
        for fit in rejected
    ]


def cost_of_sweep(content: Content) -> str:
    """What the study itself took."""
    totals = content.totals
    runs = f"{totals['runs']:,.0f} runs, {totals['completed']:,.0f} of them completed"
    if totals["runs"] == 1:
        runs = f"1 run, {'completed' if totals['completed'] else 'not completed'}"
    said = runs
    if totals["train_seconds"] > 0:  # a table may not know
        said += f": {duration(totals['train_seconds'])} of training"
    whole = totals.get("total_seconds", math.nan)
    if whole > totals["train_seconds"]:
        said += f", {duration(whole)} with evaluation and checkpoints"
    if content.options.price_per_hour is not None:
        said += f"; cost {number(totals['cost'], 3)} at {number(content.options.price_per_hour)} per hour"
    return f"{said}.{_paid(content)}"


def _paid(content: Content) -> str:
    """After how many runs at the recommended SSR, instead of the longest, the study has paid for itself."""
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
        f" A run of {choice.recipe} at SSR {number(choice.ssr)} takes {duration(saved)} less than one at SSR "
        f"{number(series.ssr[-1])}, so the study has paid for itself after {math.ceil(whole / saved):,} runs."
    )


def method(content: Content) -> list[str]:
    """How the numbers were computed, for those who have to defend them."""
    options, study = content.options, content.study
    better = "higher" if study.direction == "max" else "lower"
    is_table = _is_table(content)
    what = f"the {study.objective} of the table" if is_table else f"the final {study.objective} of each run"
    noise = (
        "Their noise is that of each recipe and SSR alone (Student's t over seeds)."
        if options.noise == "cell"
        else "Their noise is estimated from all recipes and SSRs together, with a trend over SSR, as far as they agree "
        "(moderated variances); --noise cell uses each recipe and SSR alone."
    )
    again = f" This is report {content.looks} of this study." if content.looks > 1 else ""
    return [
        f"Quality is {what}, not the best on the way; {better} is better."
        if not is_table
        else f"Quality is {what}; {better} is better.",
        f"Intervals hold {percent(options.confidence)}. {noise} Differences of runs with the same seeds are paired. "
        "Where nothing measures the noise there is no interval.",
        f"Verdicts (decided, best, dominated) are at {percent(max(VERDICT, options.confidence))}: over six looks at a "
        f"study that grows, at most one in twenty is wrong.{again}",
        "Intervals are not adjusted for multiple comparisons. Verdicts about several recipes or points are (Dunnett).",
        *(
            [f"The tolerance is {number(content.tolerance)}: a doubling that gains less is not worth its time."]
            if content.tolerance is not None
            else []
        ),
        *_equal_time(content),
        *(["Training time leaves out evaluation, checkpoints, compilation and start-up."] if not is_table else []),
        "A point is on the frontier if it is better than every point that takes no longer.",
        "Between measured SSRs, quality is the mean of the two parabolas in log SSR through the nearest three. Nothing "
        "is interpolated beyond the measured range. Intervals of speed-ups include the noise of the clock.",
        "Each fit is tested: it must predict the largest SSR from the smaller ones. One that fails is drawn only where "
        "it was fitted, and its asymptote is never reported.",
    ]


def _equal_time(content: Content) -> list[str]:
    time, equal = content.time, _EQUAL[content.equal]
    per = "step" if "steps" in content.axes else "SSR"
    why = {
        "asked": "as you asked",
        "same_work": "the recipes differ only in schedules and numbers of the optimizer, so a step is the same work",
        "conditions": "the seconds were measured under unlike conditions",
        "alike": f"no recipe surely takes more than a tenth longer per {per} than another",
        "slower": f"{time.pace.slow} surely takes more than a tenth longer per {per} than {time.pace.quick}",
        "apart": "no SSR has runs of all recipes",
    }.get(time.reason)
    if why is None or len(content.recommendations) < 2:
        return []
    said = [f"Equal time is equal {equal}: {why}."]
    if time.reason in ("alike", "slower"):
        said.append(
            f"The noise of the clock is that of means over recipe and SSR, and its interval holds {percent(VERDICT)}."
        )
    return said
