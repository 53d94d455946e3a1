"""Which SSR to run, and how certain that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_hydra.errors import InputError
from ssr_hydra.studies.compare import gains
from ssr_hydra.studies.fitting import Fit, fits_of
from ssr_hydra.studies.frontier import reach
from ssr_hydra.studies.intervals import Batch, Estimate, check_confidence, combine, next_batch
from ssr_hydra.studies.study import Series, Study, uncontrolled

__all__ = ["Recommendation", "ToleranceStep", "recommend", "recommend_by_gains"]

Verdict = Literal["decided", "close", "unreplicated", "outside"]


@dataclass(frozen=True)
class ToleranceStep:
    """An SSR, and the tolerances for which it is the answer.

    Attributes:
        ssr: The SSR; None if the answer is above the measured range.
        above: The gain of its next doubling, or 0 if that is smaller: the answer holds for tolerances above it,
        below: up to this one, the smallest gain of a doubling from a smaller SSR.
        sure_above: The answer is certain, at 99%, for tolerances above this one,
        sure_below: up to this one. If this is the smaller of the two, it is certain for none; NaN without intervals.
    """

    ssr: float | None
    above: float
    below: float
    sure_above: float
    sure_below: float


@dataclass(frozen=True)
class Recommendation:
    """The recommendation for one recipe.

    Attributes:
        recipe: The recipe.
        tolerance: A doubling with a smaller gain is not worth its time, in units of quality. None: the answer is
            ``steps``, and ``ssr`` is that of the smallest tolerance, from which longer runs gain nothing.
        ssr: The smallest measured SSR whose next doubling gains less than the tolerance; None if there is none.
        gain: The gain of that doubling; of the last measured one if ``ssr`` is None; NaN if no doubling was measured.
        low: Lower end of its interval; NaN without one.
        high: Upper end of its interval.
        verdict: ``decided`` (at 99% that gain is below the tolerance, and those of all smaller SSRs are above it),
            ``close`` (a gain may be on either side of the tolerance), ``unreplicated`` (``gain`` has no interval),
            ``outside`` (every measured doubling gains more than the tolerance, so the answer is above the measured
            range; or no doubling was measured). A smaller SSR whose gain has no interval counts by its mean.
        batch: For ``close``, how many more seeds make the widest interval as narrow as the tolerance on either side,
            or half as wide if it is already; None if nothing is undecided, or the number is unknown.
        target: The requested quality; None if none was requested.
        target_ssr: The smallest SSR that reaches it, interpolated; None if none in the measured range does.
        target_low: Lower end of the interval of ``target_ssr``, within the measured range; NaN without one.
        target_high: Upper end; inf if it is above the measured range.
        target_status: ``inside``, ``below`` (the smallest measured SSR already reaches it), ``above`` (not reached), or
            ``""`` without a target.
        forecasts: For a target that is not reached: each fit that passed its back-test, and the SSR, up to twice the
            longest one, at which it reaches the target; None if it does not.
        steps: The answer as a function of the tolerance, from the largest tolerance to the smallest.
        peak: The measured SSR with the best mean.
        fall: The longest run's mean minus the best one, < 0; NaN if the longest is the best.
        fall_low: Lower end of its interval; NaN without one.
        fall_high: Upper end of its interval.
    """

    recipe: str
    tolerance: float | None
    ssr: float | None
    gain: float
    low: float
    high: float
    verdict: Verdict
    batch: Batch | None
    target: float | None
    target_ssr: float | None
    target_low: float
    target_high: float
    target_status: Literal["inside", "below", "above", ""]
    forecasts: tuple[tuple[str, float | None], ...] = ()
    steps: tuple[ToleranceStep, ...] = ()
    peak: float = math.nan
    fall: float = math.nan
    fall_low: float = math.nan
    fall_high: float = math.nan


def recommend(
    study: Study, tolerance: float | None = None, target: float | None = None, confidence: float = 0.95
) -> list[Recommendation]:
    """Return the smallest SSR whose next doubling gains less than a tolerance, and the one that reaches a target.

    Args:
        study: The study. Controls are excluded.
        tolerance: In units of quality, such as 0.005 of an accuracy. None: the answer is a step function of it.
        target: A quality to reach; None for none.
        confidence: Confidence of the intervals.

    Returns:
        One recommendation for each recipe, in the order of ``study.recipes``.

    Raises:
        InputError: The tolerance is not above 0, the target is not a number, or the confidence is invalid.

    Example:
        >>> for found in recommend(load("studies/digits")):  # doctest: +SKIP
        ...     print(found.recipe, [(step.ssr, step.above, step.below) for step in found.steps])
    """
    check_confidence(confidence)
    if tolerance is not None and (
        isinstance(tolerance, bool) or not isinstance(tolerance, (int, float)) or not 0 < tolerance < math.inf
    ):
        raise InputError("tolerance", tolerance, "must be a finite number above 0", "e.g. 0.005 of an accuracy")
    if target is not None and (
        isinstance(target, bool) or not isinstance(target, (int, float)) or not math.isfinite(target)
    ):
        raise InputError("target", target, "must be a finite number", "e.g. 0.95")
    return [
        recommend_by_gains(study, series, gains(series, confidence), tolerance, target, confidence)
        for series in uncontrolled(study)
    ]


def recommend_by_gains(
    study: Study,
    series: Series,
    steps: list[tuple[float, bool, Estimate]],
    tolerance: float | None,
    target: float | None,
    confidence: float,
) -> Recommendation:
    """Return the recommendation for one recipe whose gains per doubling are known."""
    level = 0.0 if tolerance is None else tolerance
    chosen = next((i for i, (_, _, gain) in enumerate(steps) if gain.value < level or gain.value == level == 0), None)
    shown = steps[chosen if chosen is not None else -1][2] if steps else None
    upto = steps[: chosen + 1] if chosen is not None else steps
    wide = [gain for _, _, gain in upto if gain.known and not gain.beyond(level)]
    verdict: Verdict
    if not steps:
        verdict = "outside"
    elif not upto[-1][2].known:
        verdict = "unreplicated"
    elif wide:
        verdict = "close"
    else:
        verdict = "decided" if chosen is not None else "outside"
    batch = None
    if verdict == "close":
        widest = max(wide, key=lambda gain: gain.error)
        half = (widest.high - widest.low) / 2
        batch = next_batch(widest, tolerance if tolerance is not None and half > tolerance else half / 2)
    target_ssr, low, high, status = None, math.nan, math.nan, ""
    forecasts: tuple[tuple[str, float | None], ...] = ()
    if target is not None:
        target_ssr, low, high, status = _target(series, study.sign * target, confidence)
        made = fits_of(series, study.sign, confidence, None) if status == "above" else []
        forecasts = tuple(_forecast(fit, target, study.sign) for fit in made if fit.verdict == "trusted")
    return Recommendation(
        recipe=series.recipe,
        tolerance=tolerance,
        ssr=steps[chosen][0] if chosen is not None else None,
        gain=shown.value if shown is not None else math.nan,
        low=shown.low if shown is not None else math.nan,
        high=shown.high if shown is not None else math.nan,
        verdict=verdict,
        batch=batch,
        target=target,
        target_ssr=target_ssr,
        target_low=low,
        target_high=high,
        target_status=status,  # type: ignore[arg-type]
        forecasts=forecasts,
        steps=_tolerance_steps(steps),
        **_peak(series, confidence),
    )


def _peak(series: Series, confidence: float) -> dict[str, float]:
    best = int(np.argmax(series.values))
    if best == len(series.cells) - 1:
        return {"peak": float(series.ssr[best])}
    fall = combine([series.cells[-1], series.cells[best]], [1.0, -1.0], confidence)
    return {"peak": float(series.ssr[best]), "fall": fall.value, "fall_low": fall.low, "fall_high": fall.high}


def _tolerance_steps(steps: list[tuple[float, bool, Estimate]]) -> tuple[ToleranceStep, ...]:
    """Return a step for each doubling that gains less than all from smaller SSRs."""
    made = []
    below = sure_below = math.inf
    for ssr, _, gain in steps:
        low, high = gain.surely
        if gain.value < below:
            made.append(ToleranceStep(ssr, max(gain.value, 0.0), below, max(high, 0.0), sure_below))
            below = gain.value
        sure_below = min(sure_below, low) if not math.isnan(low) else math.nan
        if below <= 0:
            return tuple(made)
    return (*made, ToleranceStep(None, 0.0, below, 0.0, sure_below))


def _target(series: Series, level: float, confidence: float) -> tuple[float | None, float, float, str]:
    found, low, high = reach(series, level, confidence)
    if not math.isnan(low) and math.isnan(high):
        high = math.inf
    if math.isnan(found):
        return None, low, high, "above"
    return found, low, high, "below" if found <= series.ssr[0] else "inside"


def _forecast(fit: Fit, target: float, sign: float) -> tuple[str, float | None]:
    """Return where a fit reaches a target, up to twice the longest measured SSR."""
    longest = fit.measured[1]
    grid = np.geomspace(longest, 2 * longest, 200).clip(max=2 * longest)
    return fit.kind, next((float(at) for at in grid if sign * fit.predict(float(at)) >= sign * target), None)
