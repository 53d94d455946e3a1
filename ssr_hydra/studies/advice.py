"""Recommend which SSR to run, and say how certain the recommendation is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssr_hydra.studies.compare import gains
from ssr_hydra.studies.fitting import Fit, fits_of
from ssr_hydra.studies.frontier import reach
from ssr_hydra.studies.intervals import (
    Batch,
    Estimate,
    check_confidence,
    check_target,
    check_tolerance,
    combine,
    next_batch,
)
from ssr_hydra.studies.study import Series, Study, uncontrolled

Verdict = Literal["decided", "close", "unreplicated", "outside"]
_NAN = math.nan
_NO_GAIN = Estimate(_NAN, _NAN, _NAN, _NAN, _NAN, 0, _NAN, "none")


@dataclass(frozen=True)
class ToleranceStep:
    """An SSR, and the range of tolerances for which :func:`recommend` recommends this SSR.

    Attributes:
        ssr: The SSR; None if the answer is above the measured range.
        above: The lower end of the range: how much quality doubling this SSR adds, at least 0.
        below: The upper end of the range: the smallest gain from doubling any smaller SSR; infinity if no smaller SSR
            was measured.
        sure_above: The recommendation has 99% confidence at tolerances above ``sure_above`` and below ``sure_below``.
        sure_below: See ``sure_above``. If ``sure_below`` is less than ``sure_above``, the confidence is below 99% at
            every tolerance. Either number is NaN if it depends on a gain without an interval.
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
        tolerance: The smallest gain for which doubling the SSR is worth the time, in units of quality. If the tolerance
            is None, ``steps`` has the recommendation for each tolerance, and ``ssr`` is the smallest SSR at which
            doubling does not improve the quality.
        ssr: The smallest measured SSR at which doubling gains less than the tolerance; None if there is none.
        gain: How much quality doubling ``ssr`` adds. If ``ssr`` is None, the gain of the last measured doubling. NaN if
            no doubling was measured.
        low: Lower end of the interval of ``gain``; NaN if there is no interval.
        high: Upper end of the interval of ``gain``.
        verdict: How certain ``ssr`` is. ``decided``: with 99% confidence, doubling ``ssr`` gains less than the
            tolerance, and doubling any smaller SSR gains more. ``close``: the 99% interval of one of these gains
            includes the tolerance. ``unreplicated``: ``gain`` has no interval. ``outside``: every measured doubling
            gains more than the tolerance, or no doubling was measured. If the gain of a smaller SSR has no interval,
            only the gain itself is compared with the tolerance.
        batch: For the verdict ``close``: how many more seeds would narrow the widest of the intervals that include the
            tolerance. Its half-width would become the tolerance; if it is smaller already, or if there is no tolerance,
            half of the present half-width. None for other verdicts, or if more than 10,000 seeds would be necessary.
        target: The requested quality; None if no quality was requested.
        target_ssr: The smallest SSR that reaches ``target``, interpolated; None if no SSR in the measured range reaches
            it.
        target_low: Lower end of the interval of ``target_ssr``, within the measured range; NaN if there is no interval.
        target_high: Upper end of the interval of ``target_ssr``; infinity if it is above the measured range.
        target_status: ``inside`` (an SSR within the measured range reaches the target), ``below`` (the smallest
            measured SSR already reaches it), ``above`` (no measured SSR reaches it), or ``""`` if there is no target.
        forecasts: If no measured SSR reaches the target: for each trusted fit, a pair of the fit's kind and the SSR at
            which the fit reaches the target. This SSR is None if the fit does not reach the target up to twice the
            largest measured SSR.
        steps: The recommended SSRs for all tolerances, from the largest tolerance to the smallest.
        peak: The measured SSR with the best mean.
        fall: The mean at the largest SSR minus the best mean (< 0); NaN if the largest SSR has the best mean.
        fall_low: Lower end of the interval of ``fall``; NaN if there is no interval.
        fall_high: Upper end of the interval of ``fall``.
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
    """For each recipe, return the smallest SSR at which doubling gains less than a tolerance.

    If there is a target, also return the smallest SSR that reaches the target.

    Args:
        study: The study. Controls are excluded.
        tolerance: The smallest gain for which doubling the SSR is worth the time, in units of quality, such as 0.005
            for an accuracy. If it is None, the attribute ``steps`` of each recommendation has the SSR for each
            tolerance.
        target: A quality to reach; None for no target.
        confidence: Confidence of the intervals.

    Returns:
        One recommendation for each recipe, in the order of ``study.recipes``.

    Raises:
        InputError: The tolerance is not above 0, the target is not a number, or the confidence is invalid.

    Example:
        >>> for advice in recommend(load("studies/digits")):  # doctest: +SKIP
        ...     print(advice.recipe, [(step.ssr, step.above, step.below) for step in advice.steps])
    """
    check_confidence(confidence)
    check_tolerance(tolerance)
    check_target(target)
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
    """Return the recommendation for one recipe. ``steps`` is the result of :func:`ssr_hydra.studies.compare.gains`."""
    level = 0.0 if tolerance is None else tolerance
    chosen = next((i for i, (_, _, gain) in enumerate(steps) if gain.value < level or gain.value == level == 0), None)
    estimate = steps[chosen if chosen is not None else -1][2] if steps else _NO_GAIN
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
        fits = fits_of(series, study.sign, confidence, None) if status == "above" else []
        forecasts = tuple(_forecast(fit, target, study.sign) for fit in fits if fit.verdict == "trusted")
    return Recommendation(
        recipe=series.recipe,
        tolerance=tolerance,
        ssr=steps[chosen][0] if chosen is not None else None,
        gain=estimate.value,
        low=estimate.low,
        high=estimate.high,
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
    """Return a :class:`ToleranceStep` for each SSR that is the recommendation at some tolerance."""
    tolerance_steps = []
    below = sure_below = math.inf
    for ssr, _, gain in steps:
        low, high = gain.surely
        if gain.value < below:
            tolerance_steps.append(ToleranceStep(ssr, max(gain.value, 0.0), below, max(high, 0.0), sure_below))
            below = gain.value
        sure_below = min(sure_below, low) if not math.isnan(low) else math.nan
        if below <= 0:
            return tuple(tolerance_steps)
    return (*tolerance_steps, ToleranceStep(None, 0.0, below, 0.0, sure_below))


def _target(series: Series, level: float, confidence: float) -> tuple[float | None, float, float, str]:
    ssr, low, high = reach(series, level, confidence)
    if not math.isnan(low) and math.isnan(high):
        high = math.inf
    if math.isnan(ssr):
        return None, low, high, "above"
    return ssr, low, high, "below" if ssr <= series.ssr[0] else "inside"


def _forecast(fit: Fit, target: float, sign: float) -> tuple[str, float | None]:
    """Return the kind of a fit, and the first SSR at which the fit reaches a target.

    The SSR is None if the fit does not reach the target at twice the largest measured SSR or below.
    """
    longest = fit.measured[1]
    grid = np.geomspace(longest, 2 * longest, 200).clip(max=2 * longest)
    return fit.kind, next((float(at) for at in grid if sign * fit.predict(float(at)) >= sign * target), None)
