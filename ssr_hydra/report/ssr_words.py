"""Sentences about the SSR that a recipe needs: the gain of a doubling, reasons for doubt, and the target."""

from __future__ import annotations

import math

from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import FIT_NAMES, fixed, interval, listed, number, signed
from ssr_hydra.studies.advice import Recommendation
from ssr_hydra.studies.intervals import Batch
from ssr_hydra.studies.study import find_series


def gain(content: Content, best: Recommendation) -> str:
    """Return a sentence with the gain of doubling the recommended SSR; if there is none, of the last doubling."""
    if math.isnan(best.gain):
        return f"No doubling of the SSR was measured for {best.recipe}, so the gain of longer runs is unknown."
    text = with_ends(content, best.gain, best.low, best.high)
    if best.ssr is None:
        series = find_series(content.study, best.recipe, "recipe")
        least = f"gains {number(best.tolerance)} or more" if best.tolerance else "improves the quality"
        return (
            f"Every measured doubling of {best.recipe} {least}; the last one gains {text}. "
            f"SSR {number(2 * series.ssr[-1])} may be better."
        )
    less = f"less than the tolerance {number(best.tolerance)}" if best.tolerance else "not an improvement"
    return f"From SSR {number(best.ssr)} to {number(2 * best.ssr)}, {best.recipe} gains {text}, which is {less}."


def with_ends(content: Content, value: float, low: float, high: float) -> str:
    """Format a difference, with its interval if there is an interval."""
    ends = "" if math.isnan(low) else f" {interval(low, high, content.decimals)}"
    return f"{signed(value, content.decimals)}{ends}"


def ssr_details(content: Content, best: Recommendation) -> list[str]:
    """Return the reasons why the SSR of a recipe is uncertain, as sentences."""
    series = find_series(content.study, best.recipe, "recipe")
    gains = content.doublings
    gains = gains[(gains["recipe"] == best.recipe) & (gains["control"] == "")]
    tolerance = 0.0 if best.tolerance is None else best.tolerance
    sentences = []
    if best.ssr is not None:
        if best.ssr == series.ssr[0] and best.tolerance is not None:
            sentences.append(f"SSR {number(best.ssr)} is the smallest measured SSR. A smaller SSR may be enough.")
        later = gains[(gains["ssr"] > best.ssr) & (gains["gain"] > tolerance)]
        if len(later):
            ranges = [f"{number(row.ssr)} to {number(row.next_ssr)}" for row in later.itertuples()]
            more = "more than the tolerance" if tolerance else "quality"
            sentences.append(f"A later doubling gains {more} again: from SSR {listed(ranges)}.")
        gains = gains[gains["ssr"] <= best.ssr]
    if best.fall < 0:
        fall = with_ends(content, best.fall, best.fall_low, best.fall_high)
        sentences.append(f"Quality falls beyond SSR {number(best.peak)}: {fall} to SSR {number(series.ssr[-1])}.")
    if best.verdict == "close":
        widest = f"the widest interval of the gains of {best.recipe}"
        if best.batch is None:
            sentences.append(f"More than 10,000 seeds would be necessary to make {widest} narrow enough.")
        elif best.batch.more:
            seeds = additional_seeds(best.batch)
            sentences.append(f"{seeds} at each SSR would narrow {widest} to {half_width(content, best.batch)}.")
    if gains["low"].isna().any():
        cells = list(zip(series.ssr, series.cells, strict=True))
        unknown = [number(ssr) for ssr, cell in cells if cell.n > 1 and math.isnan(cell.variance)]
        single = [number(ssr) for ssr, cell in cells if cell.n == 1]
        if unknown:
            where = f"{best.recipe} at SSR {listed(unknown)}"
            sentences.append(f"The table has no standard deviations of {where}, so the noise is unknown.")
        elif single:
            where = "each SSR" if len(single) == len(series.cells) else f"SSR {listed(single)}"
            sentences.append(f"{best.recipe} has one seed at {where}. Run 3 or more seeds to measure the noise.")
        else:
            sentences.append("All seeds have the same gain, so they do not show the noise. Evaluate on more data.")
    return sentences


def additional_seeds(batch: Batch) -> str:
    """Return the number of additional seeds with its interval, such as ``9 more seeds (4 to 30)``."""
    seeds = "1 more seed" if batch.more == 1 else f"{batch.more:,} more seeds"
    return seeds if batch.least == batch.most else f"{seeds} ({batch.least:,} to {batch.most:,})"


def half_width(content: Content, batch: Batch) -> str:
    """Return a plus-minus sign and the half-width that an interval would have with the additional seeds."""
    return f"\N{PLUS-MINUS SIGN}{fixed(batch.half, content.decimals)}"


def target(content: Content, best: Recommendation) -> list[str]:
    """Return sentences about the SSR at which a recipe reaches the target, unless the answer already has them."""
    if best.target is None:
        return []
    several = len(content.recommendations) > 1
    if several and content.soonest is not None and content.soonest.recipe == best.recipe:
        return []
    series = find_series(content.study, best.recipe, "recipe")
    level = number(best.target)
    if best.target_status == "below":
        return [f"{best.recipe} already reaches {level} at SSR {number(series.ssr[0])}, the smallest measured SSR."]
    if best.target_ssr is not None:
        return [f"{best.recipe} reaches {level} at SSR {number(best.target_ssr, 3)}{target_ends(best)}."]
    sentences = []
    if content.soonest is not None or not several:
        sentences.append(f"{best.recipe} does not reach {level} up to SSR {number(series.ssr[-1])}.")
    if not math.isnan(best.target_low):
        sentences.append(f"Within the noise, SSR {number(best.target_low, 3)} may reach {level}.")
    for kind, ssr in best.forecasts:
        end = f"does not reach {level} up to SSR {number(2 * series.ssr[-1])}"
        where = end if ssr is None else f"reaches {level} at SSR {number(ssr, 3)}"
        sentences.append(f"The {FIT_NAMES[kind]} of {best.recipe} has passed its back-test. It {where}.")
    if not best.forecasts:
        sentences.append(
            f"No fit of {best.recipe} has passed its back-test, so there is no prediction for longer runs."
        )
    return sentences


def target_ends(best: Recommendation) -> str:
    """Return a space and the interval of the SSR that reaches the target; an empty text if there is no interval."""
    if math.isnan(best.target_low):
        return ""
    return f" [{number(best.target_low, 3)}, {'∞' if math.isinf(best.target_high) else number(best.target_high, 3)}]"
