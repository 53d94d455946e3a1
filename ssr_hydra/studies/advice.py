"""Which SSR to run, in words, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_hydra.errors import InputError
from ssr_hydra.studies.compare import gains
from ssr_hydra.studies.fitting import Fit, fits_of
from ssr_hydra.studies.frontier import reach
from ssr_hydra.studies.intervals import POWER, Estimate, check_confidence, rough_guess, seeds_needed
from ssr_hydra.studies.study import Series, Study, uncontrolled

__all__ = ["Recommendation", "recommend"]

Verdict = Literal["decided", "close", "unreplicated", "outside"]


@dataclass(frozen=True)
class Recommendation:
    """For one recipe.

    Attributes:
        recipe: Of which recipe.
        tolerance: A doubling that gains less than this is not worth its time; in units of quality.
        ssr: The smallest measured SSR whose next doubling gains less than the tolerance; None if no measured one does.
        gain: Of that next doubling; of the last measured one where ``ssr`` is None; NaN if no doubling was measured.
        low: Its interval; NaN with one seed.
        high: Its interval.
        verdict: ``decided`` (the interval lies below the tolerance, and those of all smaller SSRs above it),
            ``close`` (an interval contains the tolerance), ``unreplicated`` (``gain`` has no interval: one seed, or
            seeds that do not differ), ``outside`` (every measured doubling gains more than the tolerance: the answer
            lies above the measured range; or no doubling was measured). A smaller SSR whose gain has no interval counts
            by its mean, and ``words`` say so.
        more_seeds: Seeds per SSR beyond those there are that would decide a close call with a power of 80%, if the
            gains are as they were measured; None where nothing is open, or it cannot be told.
        target: The quality that was asked for; None if none was.
        target_ssr: The smallest SSR that reaches it, interpolated; None if none in the measured range does.
        target_low: Interval of ``target_ssr``, within the measured range; NaN where none.
        target_high: Likewise; inf where the upper end lies above the measured range.
        target_status: ``inside``, ``below`` (reached at the smallest measured SSR already), ``above`` (not reached), or
            ``""`` without a target.
        words: The whole as sentences.
    """

    recipe: str
    tolerance: float
    ssr: float | None
    gain: float
    low: float
    high: float
    verdict: Verdict
    more_seeds: int | None
    target: float | None
    target_ssr: float | None
    target_low: float
    target_high: float
    target_status: Literal["inside", "below", "above", ""]
    words: tuple[str, ...]


def recommend(
    study: Study, tolerance: float, target: float | None = None, confidence: float = 0.95
) -> list[Recommendation]:
    """The smallest SSR whose next doubling gains less than a tolerance, and the one that reaches a target.

    Args:
        study: The study. Controls are left out.
        tolerance: In units of quality, such as 0.005 of an accuracy.
        target: A quality to be reached; None for none.
        confidence: Of the intervals.

    Returns:
        One for each recipe, in the order of ``study.recipes``.

    Raises:
        InputError: A tolerance that is not above 0, a target that is no number, a confidence that cannot be meant.

    Example:
        >>> for found in recommend(load("studies/digits"), tolerance=0.005):  # doctest: +SKIP
        ...     print(" ".join(found.words))
    """
    check_confidence(confidence)
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < math.inf:
        raise InputError("tolerance", tolerance, "must be a finite number above 0", "e.g. 0.005 of an accuracy")
    if target is not None and (
        isinstance(target, bool) or not isinstance(target, (int, float)) or not math.isfinite(target)
    ):
        raise InputError("target", target, "must be a finite number", "e.g. 0.95")
    return [_recommend(study, series, tolerance, target, confidence) for series in uncontrolled(study)]


def _recommend(
    study: Study, series: Series, tolerance: float, target: float | None, confidence: float
) -> Recommendation:
    steps = gains(series, confidence)
    chosen = next((index for index, (_, _, gain) in enumerate(steps) if gain.value < tolerance), None)
    ssr = steps[chosen][0] if chosen is not None else None
    shown = steps[chosen if chosen is not None else -1][2] if steps else None
    upto = steps[: chosen + 1] if chosen is not None else steps
    wide = [gain for _, _, gain in upto if gain.known and gain.low <= tolerance <= gain.high]
    verdict: Verdict
    if not steps:
        verdict = "outside"
    elif not upto[-1][2].known:
        verdict = "unreplicated"
    elif wide:
        verdict = "close"
    else:
        verdict = "decided" if chosen is not None else "outside"
    more = _more_seeds(wide, tolerance, confidence) if verdict == "close" else None
    words = _about_gains(series, steps, chosen, verdict, more, wide, tolerance, confidence)
    target_ssr, low, high, status = None, math.nan, math.nan, ""
    if target is not None:
        target_ssr, low, high, status = _target(series, study.sign * target, confidence)
        made = fits_of(series, study.sign, confidence, None) if status == "above" else []
        words += _about_target(series, target, target_ssr, low, high, status, made, study.sign)
    return Recommendation(
        recipe=series.recipe,
        tolerance=tolerance,
        ssr=ssr,
        gain=shown.value if shown is not None else math.nan,
        low=shown.low if shown is not None else math.nan,
        high=shown.high if shown is not None else math.nan,
        verdict=verdict,
        more_seeds=more,
        target=target,
        target_ssr=target_ssr,
        target_low=low,
        target_high=high,
        target_status=status,  # type: ignore[arg-type]
        words=tuple(words),
    )


def _more_seeds(wide: list[Estimate], tolerance: float, confidence: float) -> int | None:
    """So many that the hardest of the open gains would be told from the tolerance."""
    needed = [seeds_needed(gain.value - tolerance, gain.sd, confidence) for gain in wide]
    if any(count is None for count in needed):
        return None
    return max(1, *(count - gain.n for count, gain in zip(needed, wide, strict=True) if count is not None))


def _target(series: Series, level: float, confidence: float) -> tuple[float | None, float, float, str]:
    found, low, high = reach(series, level, confidence)
    if not math.isnan(low) and math.isnan(high):
        high = math.inf
    if math.isnan(found):
        return None, low, high, "above"
    return found, low, high, "below" if found <= series.ssr[0] else "inside"


def _about_gains(
    series: Series,
    steps: list[tuple[float, bool, Estimate]],
    chosen: int | None,
    verdict: Verdict,
    more: int | None,
    wide: list[Estimate],
    tolerance: float,
    confidence: float,
) -> list[str]:
    measured = f"measured from {series.ssr[0]:g} to {series.ssr[-1]:g}"
    if not steps:
        return [f"{series.recipe}: no doubling of the SSR was measured ({measured}), so there is nothing to weigh."]
    ssr, interpolated, gain = steps[chosen if chosen is not None else -1]
    upto = steps[: chosen + 1] if chosen is not None else steps
    told = f"{gain.value:+.3g}"
    told += f" ({100 * confidence:.3g}% interval {gain.low:+.3g} to {gain.high:+.3g})" if gain.known else ""
    told += f"; the quality at {2 * ssr:g} is interpolated" if interpolated else ""
    if chosen is None:
        lies = "lies" if verdict == "outside" else "may lie"
        words = [
            f"{series.recipe}: every measured doubling gains {tolerance:g} or more, the last, from ssr {ssr:g} to "
            f"{2 * ssr:g}, {told}. The answer {lies} above the measured range: run ssr {2 * series.ssr[-1]:g} as well."
        ]
    else:
        words = [
            f"{series.recipe}: run ssr {ssr:g}, the smallest whose next doubling gains less than {tolerance:g}: "
            f"to {2 * ssr:g} it is {told}."
        ]
        if chosen == 0:
            words.append(f"It is the smallest that was measured ({measured}); a smaller one may do as well.")
        later = [f"{at:g} to {2 * at:g}" for at, _, item in steps[chosen + 1 :] if item.value >= tolerance]
        if later:
            words.append(f"A later doubling gains more again: from ssr {', '.join(later)}.")
        if gain.known and gain.high < 0:
            words.append("Quality falls beyond it: more time makes it worse.")
    unknown = any(not item.known for _, _, item in upto)
    if verdict == "decided":
        those = "every smaller doubling that has one" if unknown else "every smaller doubling"
        words.append(f"The intervals of this and of {those} exclude the tolerance.")
    elif verdict == "close":
        if more is None:
            words.append("It is a close call, and more than 10,000 seeds would be needed to decide it.")
        else:
            count = "1 more seed" if more == 1 else f"{more} more seeds"
            words.append(
                f"It is a close call: an interval contains the tolerance. {count} at each SSR would decide it with "
                f"a power of {POWER:.0%}, if the gains are what they seem.{rough_guess(min(each.n for each in wide))}"
            )
    return words + _about_noise(series, steps, upto)


def _about_noise(
    series: Series, steps: list[tuple[float, bool, Estimate]], upto: list[tuple[float, bool, Estimate]]
) -> list[str]:
    """Which of the doublings that the answer rests on have no interval, and why."""
    thin: dict[float, None] = {}
    unclear: list[str] = []
    same: list[str] = []
    for at, _, gain in upto:
        if gain.known:
            continue
        own = [*series.around(at), *series.around(2 * at)]
        found = [float(series.ssr[place]) for place in own if series.cells[place].n == 1]
        thin |= dict.fromkeys(found)
        (unclear if found else same).append(f"{at:g} to {2 * at:g}")
    words = []
    if unclear and not any(gain.known for _, _, gain in steps) and not same:
        words.append("There are no intervals, so nobody knows how much of this is noise: run 3 seeds or more.")
    elif unclear:
        has = "has one seed" if len(thin) == 1 else "have one seed each"
        words.append(
            f"SSR {_listed([f'{ssr:g}' for ssr in sorted(thin)])} {has}, so how much of the gain from "
            f"{_listed(unclear)} is noise, nobody knows: run 3 seeds or more there."
        )
    if same:
        words.append(
            f"All seeds give the very same gain from ssr {_listed(same)}, which measures no noise: evaluate on more "
            "data, or run more."
        )
    return words


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _about_target(
    series: Series,
    target: float,
    found: float | None,
    low: float,
    high: float,
    status: str,
    made: list[Fit],
    sign: float,
) -> list[str]:
    measured = f"measured from {series.ssr[0]:g} to {series.ssr[-1]:g}"
    if status == "below":
        return [f"{series.recipe} reaches {target:g} at ssr {series.ssr[0]:g} already, the smallest that was measured."]
    if found is not None:
        end = "beyond the measured range" if math.isinf(high) else f"{high:.3g}"
        told = f" (interval {low:.3g} to {end})" if not math.isnan(low) else ""
        told += "" if math.isinf(high) else ", inside of the measured range"
        return [f"{series.recipe} reaches {target:g} at about ssr {found:.3g}{told}."]
    words = [f"{series.recipe} does not reach {target:g} at any measured SSR ({measured})."]
    if not math.isnan(low):
        words.append(f"The noise does not exclude that ssr {low:.3g} does.")
    trusted = [fit for fit in made if fit.verdict == "trusted"]
    grid = np.geomspace(series.ssr[-1], 2 * series.ssr[-1], 200)
    for fit in trusted:
        reached = [at for at in grid if sign * fit.predict(min(float(at), 2 * fit.measured[1])) >= sign * target]
        name = "power law" if fit.kind == "power" else "quadratic"
        if reached:
            words.append(f"The {name}, which has held its back-test, reaches it at about {reached[0]:.3g}: outside.")
        else:
            words.append(f"The {name}, which has held its back-test, does not reach it up to twice that far either.")
    if not trusted:
        words.append("No fit has held its back-test, so nothing is said of larger ones.")
    return words
