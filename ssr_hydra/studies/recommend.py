"""Which SSR to run, in words, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssr_hydra.studies.study import Study

__all__ = ["Recommendation", "recommend"]


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
            ``close`` (an interval contains the tolerance), ``unreplicated`` (one seed), ``outside`` (every measured
            doubling gains more than the tolerance: the answer lies above the measured range).
        more_seeds: Seeds per SSR beyond those there are that would decide a close call with a power of 80%; None where
            nothing is open, or it cannot be told.
        target: The quality that was asked for; None if none was.
        target_ssr: The smallest SSR that reaches it; None if none in the measured range does.
        target_low: Interval of ``target_ssr``, within the measured range; NaN where none.
        target_high: Likewise.
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
    verdict: Literal["decided", "close", "unreplicated", "outside"]
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
    """A recommendation per recipe (control ""), in the order of ``study.recipes``."""
    raise NotImplementedError
