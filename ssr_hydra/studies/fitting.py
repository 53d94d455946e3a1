"""Curves fitted to quality against SSR, and back-tests of their predictions.

A fit can predict quality a little beyond the measured range, but the prediction may be wrong. For example, quality may
fall again. So every fit is back-tested: the smaller SSRs are fitted, and the prediction for the next SSR is compared
with the measurement. A fit that fails is not used, and no fit predicts beyond twice the measured range.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy import optimize, special

from ssr_hydra.errors import RangeError
from ssr_hydra.settings.base import one_of
from ssr_hydra.studies.intervals import check_confidence, check_tolerance, combine
from ssr_hydra.studies.study import Series, Study, find_series, spread_out, uncontrolled

Kind = Literal["power", "quadratic"]
Outcome = Literal["held", "tolerated", "outside", "no_better", "undetermined"]
_FAILURES = ("outside", "no_better")
_PARAMETERS = 3
_FEWEST = 4  # the minimum number of SSRs for a fit: three to fit the parameters, and one for a back-test
_FARTHEST = 2.0  # a fit predicts quality beyond the smallest and the largest fitted SSR by at most this factor
# Without a tolerance, a fit is trusted only if the half-width of its last prediction interval is at most this fraction
# of the range of the measured qualities.
_VAGUE = 0.1
_MOST_TESTS = 24  # the maximum number of back-tests of a fit, evenly spread over the SSRs
_FEWEST_ROUGH = 7  # the fewest SSRs from which the noise can be estimated with one seed per SSR
_BEYOND = 2.5  # standard errors by which a prediction may be worse than the prediction that the quality stays constant
_EXPONENTS = np.geomspace(0.02, 8.0, 80)


@dataclass(frozen=True)
class BackTest:
    """A prediction of the quality at an SSR that was held out from the fit.

    Attributes:
        fitted_to: The largest fitted SSR. All smaller SSRs were fitted too.
        ssr: The SSR that was held out.
        predicted: The predicted quality at ``ssr``; NaN if the fitted SSRs do not determine the curve's parameters.
        observed: The measured quality at ``ssr`` (a mean over seeds).
        low: Lower end of the prediction interval of ``observed``; NaN if there is no interval.
        high: Upper end of the prediction interval.
        z: ``observed - predicted``, divided by its standard error; NaN if there is no interval.
        p: The two-sided p-value of ``z`` by Student's t; NaN if there is no interval.
        scale: What the interval is computed from: ``seeds`` (the noise over seeds), ``residuals`` (the residuals of the
            fit, if each SSR has one seed) or ``none`` (there is no interval).
        carried: ``observed`` minus the quality at ``fitted_to``: the error of predicting that the quality stays
            constant.
        outcome: ``undetermined`` (the fitted SSRs do not determine the curve's parameters); ``tolerated`` (the error is
            within the tolerance); ``outside`` (the measurement is outside of the interval); ``no_better`` (the error is
            larger than ``carried`` by more than 2.5 times the noise); otherwise ``held``.
    """

    fitted_to: float
    ssr: float
    predicted: float
    observed: float
    low: float
    high: float
    z: float
    p: float
    scale: Literal["seeds", "residuals", "none"]
    carried: float
    outcome: Outcome

    @property
    def passed(self) -> bool:
        """Whether the outcome is ``held`` or ``tolerated``."""
        return self.outcome in ("held", "tolerated")

    @property
    def half(self) -> float:
        """Half of the width of the prediction interval; NaN if there is no interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Fit:
    """A curve that is fitted to a recipe's means by least squares.

    Attributes:
        recipe: The recipe.
        control: The control.
        kind: ``power``: c - a ssr^-b; ``quadratic``: c + a log2(ssr) + b log2(ssr)^2.
        parameters: c, a, b. Do not use c of a power law as a prediction: it is a limit far from all measurements.
        rmse: Root mean square of the residuals.
        measured: Smallest and largest fitted SSR.
        back_tests: The back-tests, by ascending SSR. The last one predicts the quality at the largest SSR.
        verdict: ``trusted``, ``rejected`` (a back-test failed), or ``untested`` (the data does not determine the
            parameters, or there is too little data or too much noise to test the fit).
        reason: The reason for the verdict. For ``untested``: ``undetermined`` (the data does not determine the
            parameters), ``no_noise`` (there is no prediction interval, for example because there is one seed at few
            SSRs) or ``vague`` (the last prediction interval is too wide). Otherwise, the outcome of :attr:`deciding`.
    """

    recipe: str
    control: str
    kind: Kind
    parameters: tuple[float, float, float]
    rmse: float
    measured: tuple[float, float]
    back_tests: tuple[BackTest, ...]
    verdict: Literal["trusted", "rejected", "untested"]
    reason: Outcome | Literal["no_noise", "vague"]

    @property
    def deciding(self) -> BackTest:
        """The back-test that decides the verdict: the last one that failed, or the last one if none failed."""
        return next((test for test in reversed(self.back_tests) if test.outcome in _FAILURES), self.back_tests[-1])

    def predict(self, ssr: float) -> float:
        """Return the quality that the fit predicts at an SSR.

        Raises:
            InputError: ``ssr`` is more than twice the largest measured SSR, or less than half of the smallest.
        """
        low, high = self.measured[0] / _FARTHEST, self.measured[1] * _FARTHEST
        if isinstance(ssr, bool) or not isinstance(ssr, (int, float)) or not low <= ssr <= high:
            rule = f"must be within twice the measured range ({self.measured[0]:g} to {self.measured[1]:g})"
            raise RangeError("ssr", ssr, rule, f"choose an SSR from {low:g} to {high:g}")
        return float(_MODELS[self.kind](np.array([float(ssr)]), *self.parameters)[0])


def _power(ssr: Any, c: float, a: float, b: float) -> Any:
    return c - a * ssr**-b


def _power_slopes(ssr: Any, _: float, a: float, b: float) -> Any:
    shrunk = ssr**-b
    return np.stack([np.ones_like(ssr), -shrunk, a * np.log(ssr) * shrunk], axis=1)


def _quadratic(ssr: Any, c: float, a: float, b: float) -> Any:
    log = np.log2(ssr)
    return c + a * log + b * log**2


def _quadratic_slopes(ssr: Any, *_: float) -> Any:
    log = np.log2(ssr)
    return np.stack([np.ones_like(ssr), log, log**2], axis=1)


_MODELS: dict[str, Any] = {"power": _power, "quadratic": _quadratic}
_SLOPES: dict[str, Any] = {"power": _power_slopes, "quadratic": _quadratic_slopes}


def _start(kind: Kind, ssr: Any, y: Any) -> Any:
    """Return starting parameters for least squares: the best of many values of ``b``, each with a linear fit."""
    if kind == "quadratic":
        return np.array([y.mean(), 0.0, 0.0])
    shrunk = ssr[None, :] ** -_EXPONENTS[:, None]
    x, centred = -(shrunk - shrunk.mean(axis=1, keepdims=True)), y - y.mean()
    a = (x @ centred) / (x**2).sum(axis=1)
    best = int(np.argmin(((centred - a[:, None] * x) ** 2).sum(axis=1)))
    return np.array([y.mean() + a[best] * shrunk[best].mean(), a[best], _EXPONENTS[best]])


def _fitted(kind: Kind, ssr: Any, y: Any) -> Any:
    """Fit the parameters ``c``, ``a``, ``b`` by least squares. Return None if the data does not determine them."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", optimize.OptimizeWarning)  # about the covariance, which is not used
            start = _start(kind, ssr, y)
            if kind == "power" and start[2] in (_EXPONENTS[0], _EXPONENTS[-1]):
                # The best exponent is at the end of the grid: the values look like a line or a step, not a power law.
                return None
            parameters, _ = optimize.curve_fit(_MODELS[kind], ssr, y, p0=start, jac=_SLOPES[kind], maxfev=300)
    except RuntimeError:  # no convergence, for example because the values are linear in log ssr
        return None
    inside = kind == "quadratic" or _EXPONENTS[0] < parameters[2] < _EXPONENTS[-1]
    return parameters if inside and np.isfinite(parameters).all() else None


def fits(study: Study, confidence: float = 0.95, tolerance: float | None = None) -> list[Fit]:
    """Fit and back-test a saturating power law and a quadratic in log ssr, for each recipe with 4 SSRs or more.

    A back-test fits the curve to the smallest SSRs (at least 4, or 3 if there are only 4 SSRs), and predicts the
    quality at the next larger SSR. There is a back-test for the largest SSR, and for each SSR that is at most twice the
    SSR before it. If this gives more than 24 back-tests, 24 evenly spaced ones are used.

    A prediction passes the back-test on two conditions. First, the measurement is within the prediction interval.
    Second, the error is at most ``E + 2.5 noise``, where ``E`` is the error of predicting that the quality stays
    constant after the last fitted SSR. ``noise`` is the standard error of the measurement over seeds. If each SSR has
    one seed, ``noise`` is estimated from the distance of each value from the line between its neighbours. This needs
    at least 7 SSRs. With fewer, the noise is unknown, and the fit is untested.

    The prediction interval is computed from the noise over seeds of ``y_held - h . y_fitted``. Here ``y_held`` is the
    mean at the predicted SSR, and ``h`` is the derivative of the prediction with respect to the fitted means
    ``y_fitted``. If each SSR has one seed, the standard error is ``s sqrt(1 + h . h)``, where ``s`` is the standard
    deviation of the residuals of the fit. This is correct if all SSRs have the same noise. The intervals of all
    back-tests of a fit hold together with the given confidence (Bonferroni).

    Args:
        study: The study. Controls are excluded.
        confidence: Confidence that all prediction intervals of a fit hold together.
        tolerance: The largest acceptable error of a prediction, in units of quality. A prediction with at most this
            error passes its back-test. A fit is not trusted if the half-width of its last prediction interval is larger
            than the tolerance. None means that predictions pass only by the two conditions above, and that the
            half-width may be at most a tenth of the range of the measured qualities.

    Returns:
        The power-law fit and the quadratic fit of each recipe, in the order of ``study.recipes``.

    Raises:
        InputError: The confidence or the tolerance is invalid.

    Example:
        >>> for fit in fits(load("studies/digits")):  # doctest: +SKIP
        ...     print(fit.recipe, fit.kind, fit.verdict, fit.reason)

    Source: SciPy's ``curve_fit``; prediction intervals as in Bates and Watts, 1988, Nonlinear Regression Analysis.
    """
    check_confidence(confidence)
    check_tolerance(tolerance)
    return [fit for series in uncontrolled(study) for fit in fits_of(series, study.sign, confidence, tolerance)]


def fits_of(series: Series, sign: float, confidence: float, tolerance: float | None) -> list[Fit]:
    """Return the power law and the quadratic of one series; an empty list if it has fewer than 4 SSRs."""
    if len(series.cells) < _FEWEST:
        return []
    return [_fit(series, kind, sign, confidence, tolerance) for kind in get_args(Kind)]


def back_test(
    study: Study, recipe: str, kind: Kind, fitted_to: float, confidence: float = 0.95, tolerance: float | None = None
) -> list[BackTest]:
    """Fit a recipe at the SSRs up to ``fitted_to``, and predict its quality at all larger SSRs. See :func:`fits`.

    Args:
        study: The study.
        recipe: The recipe.
        kind: ``power`` or ``quadratic``.
        fitted_to: The largest fitted SSR.
        confidence: Confidence of each prediction interval.
        tolerance: The largest acceptable error of a prediction, in units of quality.

    Returns:
        One back-test for each larger SSR.

    Raises:
        InputError: The recipe or kind is unknown, there are fewer than 3 SSRs to fit, or there is no SSR to predict.
    """
    check_confidence(confidence)
    check_tolerance(tolerance)
    one_of(kind, "kind", get_args(Kind))
    series = find_series(study, recipe, "recipe")
    count = int(np.searchsorted(series.ssr, fitted_to * (1 + 1e-9)))
    if count < _PARAMETERS or count == len(series.cells):
        rule = "needs at least 3 measured SSRs up to this value, and 1 measured SSR above this value"
        valid = ", ".join(f"{ssr:g}" for ssr in series.ssr[_PARAMETERS - 1 : -1])
        raise RangeError("fitted_to", fitted_to, rule, f"choose from {valid}" if valid else "measure at least 4 SSRs")
    indices = range(count, len(series.cells))
    return [_predicted(series, kind, count, at, study.sign, 1 - confidence, tolerance) for at in indices]


def _fit(series: Series, kind: Kind, sign: float, confidence: float, tolerance: float | None) -> Fit:
    count = len(series.cells)
    last = count - 1
    tests = [
        index
        for index in range(min(_FEWEST, last), count)
        if index == last or series.ssr[index] <= _FARTHEST * series.ssr[index - 1] * (1 + 1e-9)
    ]
    tests = [tests[place] for place in spread_out(len(tests), _MOST_TESTS)]
    level = (1 - confidence) / len(tests)
    back_tests = tuple(_predicted(series, kind, index, index, sign, level, tolerance) for index in tests)
    means = sign * series.values
    estimate = _fitted(kind, series.ssr, means)
    if estimate is None:
        parameters, rmse = (math.nan, math.nan, math.nan), math.nan
        verdict: Any = "untested"
        reason: Any = "undetermined"
    else:
        parameters = (float(estimate[0]), float(estimate[1]), float(estimate[2]))
        rmse = float(np.sqrt(np.mean((means - _MODELS[kind](series.ssr, *estimate)) ** 2)))
        verdict, reason = _verdict(back_tests, np.ptp(means) * _VAGUE if tolerance is None else tolerance)
    measured = (float(series.ssr[0]), float(series.ssr[-1]))
    return Fit(series.recipe, series.control, kind, parameters, rmse, measured, back_tests, verdict, reason)


def _verdict(tests: tuple[BackTest, ...], vague: float) -> tuple[str, str]:
    if failed := [test for test in tests if test.outcome in _FAILURES]:
        return "rejected", failed[-1].outcome
    last = tests[-1]
    if last.outcome == "undetermined":
        return "untested", last.outcome
    if math.isnan(last.half):
        return "untested", "no_noise"
    return ("untested", "vague") if last.half > vague else ("trusted", last.outcome)


def _predicted(
    series: Series, kind: Kind, count: int, index: int, sign: float, level: float, tolerance: float | None
) -> BackTest:
    """Fit the means at the ``count`` smallest SSRs, and test the prediction for the mean at ``series.ssr[index]``."""
    means = sign * series.values
    ssr, y = series.ssr[:count], means[:count]
    at, observed = float(series.ssr[index]), float(means[index])
    carried = float(observed - y[-1])
    parameters = _fitted(kind, ssr, y)
    if parameters is None:
        nan = math.nan
        return BackTest(float(ssr[-1]), at, nan, observed, nan, nan, nan, nan, "none", carried, "undetermined")
    point = series.ssr[index : index + 1]
    predicted = float(_MODELS[kind](point, *parameters)[0])
    # ``influence`` is the derivative of the prediction with respect to each fitted mean.
    influence = (_SLOPES[kind](point, *parameters) @ np.linalg.pinv(_SLOPES[kind](ssr, *parameters)))[0]
    error = observed - predicted
    seeds = combine([series.cells[index], *series.cells[:count]], [1.0, *(-influence)], 1 - level)
    scale: Literal["seeds", "residuals", "none"] = "none"
    deviation, df = math.nan, math.nan
    noise = combine([series.cells[index]], [1.0], 1 - level).error
    noise = _roughness(series) if math.isnan(noise) else noise
    if seeds.known:
        scale, deviation, df = "seeds", seeds.error, seeds.df
    elif count > _PARAMETERS and all(cell.n == 1 for cell in series.cells) and not math.isnan(noise):
        residuals = y - _MODELS[kind](ssr, *parameters)
        df = float(count - _PARAMETERS)
        deviation = math.sqrt(float(residuals @ residuals) / df * (1 + float(influence @ influence)))
        scale = "residuals" if deviation > 0 else "none"
    if scale == "none":
        half = z = p = math.nan
    else:
        half = float(special.stdtrit(df, 1 - level / 2)) * deviation
        z = error / deviation
        p = 2 * float(special.stdtr(df, -abs(z)))
    return BackTest(
        fitted_to=float(ssr[-1]),
        ssr=at,
        predicted=predicted,
        observed=observed,
        low=predicted - half,
        high=predicted + half,
        z=z,
        p=p,
        scale=scale,
        carried=carried,
        outcome=_outcome(error, half, carried, noise, tolerance),
    )


def _roughness(series: Series) -> float:
    """Estimate the noise of one run if each SSR has one run; NaN if there are fewer than 7 SSRs.

    The estimate is the scaled median distance of a value from the line between its neighbours. A mean distance would
    depend more on the curvature of the quality.
    """
    if len(series.cells) < _FEWEST_ROUGH:
        return math.nan
    x, y = np.log(series.ssr), series.values
    share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
    apart = y[1:-1] - (1 - share) * y[:-2] - share * y[2:]
    return float(np.median(np.abs(apart) / np.sqrt(1 + share**2 + (1 - share) ** 2)) / special.ndtri(0.75))


def _outcome(error: float, half: float, carried: float, noise: float, tolerance: float | None) -> Outcome:
    """Return the outcome of a prediction. If the interval or the noise is unknown (NaN), its test is passed."""
    if tolerance is not None and abs(error) <= tolerance:
        return "tolerated"
    if abs(error) > half:
        return "outside"
    return "no_better" if abs(error) > abs(carried) + _BEYOND * noise else "held"
