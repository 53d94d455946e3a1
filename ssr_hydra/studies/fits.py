"""Curves fitted to quality against SSR, and whether their predictions have held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssr_hydra.studies.study import Study

__all__ = ["BackTest", "Fit", "back_test", "fits"]


@dataclass(frozen=True)
class BackTest:
    """A prediction of an SSR that was held out.

    Attributes:
        fitted_to: The largest SSR of those that were fitted (all that are smaller were as well).
        ssr: The SSR that was predicted.
        predicted: Its quality by the fit.
        observed: Its quality as measured (a mean over seeds).
        low: Lower end of the prediction interval of ``observed``; NaN if there is none.
        high: Upper end.
        z: (observed - predicted) / standard error of that; NaN if there is none.
        p: Its two-sided p-value by Student's t.
        scale: What the interval is made of: ``seeds``, ``residuals`` (a single seed) or ``none``.
        carried: Error of simply carrying on the last fitted quality: observed - that.
        passed: Whether the prediction held.
        reason: Why, in words.
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
    passed: bool
    reason: str


@dataclass(frozen=True)
class Fit:
    """A curve through a recipe's means.

    Attributes:
        recipe: Of which recipe.
        control: Of which control.
        kind: ``power``: c - a ssr^-b; ``quadratic``: c + a log2(ssr) + b log2(ssr)^2.
        parameters: c, a, b. None of them is a prediction: c of a power law lies where nothing was measured.
        rmse: Root mean square of the residuals.
        measured: Smallest and largest SSR that was fitted.
        back_tests: The largest SSR held out, last; before it the same for shorter beginnings of the curve.
        verdict: ``trusted``, ``rejected``, or ``untested`` (too few SSRs; no seeds to measure noise by).
        reason: The verdict in words, one sentence.
    """

    recipe: str
    control: str
    kind: Literal["power", "quadratic"]
    parameters: tuple[float, float, float]
    rmse: float
    measured: tuple[float, float]
    back_tests: tuple[BackTest, ...]
    verdict: Literal["trusted", "rejected", "untested"]
    reason: str

    def predict(self, ssr: float) -> float:
        """The fit's quality at an SSR, at most twice the largest measured and no less than half of the smallest."""
        raise NotImplementedError


def fits(study: Study, confidence: float = 0.95, tolerance: float | None = None) -> list[Fit]:
    """Both fits of every recipe with 4 SSRs or more (control ""), back-tested."""
    raise NotImplementedError


def back_test(
    study: Study,
    recipe: str,
    kind: Literal["power", "quadratic"],
    fitted_to: float,
    confidence: float = 0.95,
    tolerance: float | None = None,
) -> list[BackTest]:
    """Fit a recipe's SSRs up to ``fitted_to``, predict all larger ones."""
    raise NotImplementedError
