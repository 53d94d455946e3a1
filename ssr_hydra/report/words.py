"""The answer in sentences."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ssr_hydra.errors import visible
from ssr_hydra.records import RESULT
from ssr_hydra.report.content import Choice, Content, arm
from ssr_hydra.report.number_text import duration, fixed, interval, number, percent, signed
from ssr_hydra.studies.intervals import POWER, VERDICT, rough_guess
from ssr_hydra.studies.pace import ALIKE, Crowd, Pace

__all__ = ["answer", "certainty", "cost_of_sweep", "fit_warnings", "headline", "method", "others", "visible"]

_MOST_OTHERS = 8
# What a run and its control are called, where one is held against the other.
_SIDES = {"truncate": ("scaling", "truncation"), "scale_warmup": ("the warmup as it is", "the scaled warmup")}
_MOST_FITS = 2
_MOST_CROSSINGS = 3
_EQUAL = {"steps": "steps", "ssr": "SSR", "seconds": "seconds"}
_KINDS = {"power": "power law", "quadratic": "quadratic"}


def headline(content: Content) -> str:
    """What to run, in one sentence, with what is open about it."""
    choice = content.choice
    if choice is None:
        return "No recommendation: only controls have completed."
    best = choice.recommendation
    what = f"Run {choice.recipe} at SSR" if len(content.study.recipes) > 1 else "Run at SSR"
    said = f"{what} {number(choice.ssr)}"
    if best.ssr is None:
        if math.isnan(best.gain):
            said += ", where no doubling was measured: what longer runs gain, the study does not say"
        elif best.verdict == "outside":
            said += " or longer: time still pays where the measurements end"
        else:
            said += " or longer: time may still pay where the measurements end"
    doubts = [f"{choice.diverged} of its {choice.runs} runs there diverged"] if choice.diverged else []
    if choice.open and not any(math.isnan(rival.low) for rival in choice.open):
        doubts.append(f"{_named(choice)} may be as good")
    if best.verdict == "close":
        doubts.append("the SSR is a close call")
    if choice.certainty == "unknown" and not math.isnan(best.gain):
        doubts.append("without more seeds nobody knows how sure that is")
    return f"{said}{'; ' if doubts else ''}{', and '.join(doubts)}."


def _named(choice: Choice) -> str:
    names = [rival.recipe for rival in choice.open]
    shown = names[:2] if len(names) < 4 else names[:1]
    rest = [f"{len(names) - len(shown)} other recipe{'s' if len(names) - len(shown) > 1 else ''}"]
    parts = shown + (rest if len(names) > len(shown) else [])
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def answer(content: Content) -> list[str]:
    """The sentences below the headline: recipe against recipe, why this SSR, how sure, and what speaks against it."""
    choice = content.choice
    if choice is None:
        return ["A recommendation is about runs that are scaled. This study holds controls alone."]
    said = [
        *_rivals(content, choice),
        *_diverged(content, choice),
        *_by_clock(content),
        *_by_budget(content),
        *_crossings(content, choice),
        *choice.recommendation.words,
        *_soonest(content),
        *_control(content, choice),
    ]
    if content.options.tolerance is None and not math.isnan(choice.recommendation.gain):
        said.append(
            f"No tolerance was given: {number(content.tolerance)} is a twentieth {content.twentieth}. What a doubling "
            f"has to gain to be worth its time is for you to say, with {_command(content)}."
        )
    kinds = Counter(problem.kind for problem in content.study.problems)
    if kinds:
        has = "run or record has a problem" if kinds.total() == 1 else "runs or records have a problem"
        listed = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
        said.append(f"{kinds.total()} {has}, listed below: {listed}.")
    return said


def _command(content: Content) -> str:
    """How to give a tolerance: the whole command where folders of studies are known, else its option."""
    option = "--tolerance X"
    sources = content.study.sources
    if not sources or not all(Path(source).is_dir() for source in sources):
        return option  # a table, whose command names its columns
    return f"ssr-report {' '.join(shlex.quote(str(source)) for source in sources)} {option}"


def others(content: Content) -> list[str]:
    """What is recommended for the recipes that were not chosen, a paragraph each."""
    rest = [each for each in content.recommendations if each is not getattr(content.choice, "recommendation", None)]
    said = [" ".join(each.words) for each in rest[:_MOST_OTHERS]]
    if len(rest) > _MOST_OTHERS:
        said.append(f"{len(rest) - _MOST_OTHERS} more recipes are in report.json.")
    return said


def certainty(choice: Choice) -> str:
    """How sure, in a few words."""
    if choice.certainty == "sure" and not choice.rivals and choice.recommendation.ssr is None:
        return "open: nothing longer was run"  # nothing was held against it, and the range ends here
    return {"sure": "decided", "close": "a close call", "unknown": "noise not measured"}[choice.certainty]


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
    others = len(choice.rivals) - 1
    if math.isnan(closest.low):
        return [f"{at} is {margin} better than {closest.recipe}, without an interval: too few seeds to tell the noise."]
    if not choice.open:
        more = f", and every other recipe by more than noise ({others + 1} in all)" if others else ""
        return [f"{at} beats {closest.recipe}, the next best, by {margin} {ends}{more}."]
    if closest.high < 0 and closest.survived < 1:
        better = signed(-closest.margin, content.decimals)
        lost = f"{1 - closest.survived:.0%} of its runs diverged"
        return [f"{at} is behind {closest.recipe} by {better}, but {lost}."]
    if closest.high < 0:
        better = signed(-closest.margin, content.decimals)
        return [f"{at} is behind {closest.recipe}, by {better}, for which more time is recommended."]
    said = [f"{at} cannot be told apart from {closest.recipe}: the difference is {margin} {ends}."]
    behind = len(choice.rivals) - len(choice.open)
    if len(choice.open) > 1:
        more = choice.open[1].recipe if len(choice.open) == 2 else f"{len(choice.open) - 1} more recipes"
        said[0] = (
            f"{said[0][:-1]}, nor from {more}, {'both' if len(choice.open) == 2 else 'all'} held against it at once."
        )
    alike = max(rival.high for rival in choice.open) <= content.tolerance
    if alike:
        said.append("Run whichever of these you like: none is worse than it by more than the tolerance.")
    if behind:
        said.append(f"{behind} other recipe{'s are' if behind > 1 else ' is'} behind it by more than noise.")
    if alike:
        return said
    if closest.more_seeds is not None:
        seeds = "1 more seed" if closest.more_seeds == 1 else f"{closest.more_seeds} more seeds"
        said.append(
            f"{seeds} of both would tell {closest.recipe} apart with a power of {POWER:.0%}, if it is what it seems."
            f"{rough_guess(closest.n)}"
        )
    else:
        said.append(f"To tell {closest.recipe} apart, 10,000 seeds would be too few: choose by something else.")
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


def _by_clock(content: Content) -> list[str]:
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
        f"Equal time is equal {_EQUAL[length]}: {took}, which may be noise of the machine. --equal seconds compares at "
        "equal seconds."
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
        rest = f"{where} {_listed(undecided)} it is open which recipe is best"
        said.append(rest if best else f"at no {'SSR' if same else 'budget'} is it certain which recipe is best")
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
        return [f"{said}, without knowledge of the noise."]
    if choice.open:
        return [f"{said}; but {_named(choice)} may have got as far in that time."]
    return [f"{said}; in that time every other is behind it by more than noise."]


def _control(content: Content, choice: Choice) -> list[str]:
    """Who won against the controls: at the recommended SSR, else over all."""
    said = []
    for control, frame in content.controls.groupby("control", sort=False):
        own, other = _SIDES.get(str(control), ("scaling", f"the control {control}"))
        here = frame[(frame["recipe"] == choice.recipe) & (frame["ssr"] == choice.ssr)]
        here = here[~here["winner"].isin(["", "same"])]
        if len(here):
            each: Any = next(here.itertuples(index=False))
            ends = interval(each.low, each.high, content.decimals)
            gain = signed(each.gain, content.decimals)
            if each.winner == "control":
                said.append(f"But {other} is better there: {own} gains {gain} {ends}.")
            elif each.winner == "undecided":
                said.append(
                    f"Against {other} nothing is decided at SSR {number(choice.ssr)}: {own} gains {gain} {ends}."
                )
            else:
                said.append(f"{_capital(own)} beats {other} there by {gain} {ends}.")
        counts = frame["winner"].value_counts()
        if len(frame) > 1:
            won = [
                f"{side} wins {counts[who]}" for who, side in (("scaling", own), ("control", other)) if who in counts
            ]
            rest = len(frame) - sum(int(counts.get(who, 0)) for who in ("scaling", "control", "same"))
            won += [f"{rest} {'is' if rest == 1 else 'are'} open"] if rest else []
            won += ["the rest are the same run"] if "same" in counts else []
            said.append(f"{_capital(own)} against {other}, over {len(frame)} comparisons: {', '.join(won)}.")
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
    return f"{said}."


def method(content: Content) -> list[str]:
    """How the numbers were computed, for those who have to defend them."""
    options, study = content.options, content.study
    better = "higher" if study.direction == "max" else "lower"
    given = (
        "as asked"
        if options.tolerance is not None
        else f"a twentieth {content.twentieth}; choose with ssr-report --tolerance"
    )
    is_table = _is_table(content)
    what = f"the final {study.objective} of each run, not the best on the way"
    what = f"the {study.objective} of the table" if is_table else what
    return [
        f"Quality is {what}; {better} is better.",
        f"Intervals hold {percent(options.confidence)} and are Student's t over seeds. Differences are paired by "
        "seed where both have the same seeds, else Welch's. With one seed there is no interval, and none is made up.",
        "Each interval is for itself. A recipe is best if it beats each other one; where none does, those that may be "
        "the best are told for all recipes at once (Bonferroni), so that trying many makes no winner by chance.",
        f"The tolerance is {number(content.tolerance)} ({given}): a doubling of the training that "
        "gains less is not worth its time.",
        *_equal_time(content),
        *(["Training time leaves out evaluation, checkpoints, compilation and start-up."] if not is_table else []),
        "A point is on the frontier when no other is as good in less time. Points that lose to it by a difference "
        "whose interval contains 0 are marked as within noise.",
        "Speed-ups and qualities at equal time are interpolated between measured SSRs, linearly in log SSR, never "
        "beyond them. Where time is on a clock, the intervals of speed-ups have its noise in them; those of qualities "
        "are at the mean time.",
        "Each fit is made again without the largest SSR and must predict it. One that fails is drawn where it was "
        "fitted only, and its asymptote is never reported.",
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
