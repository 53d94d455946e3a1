"""The captions of the figures in the HTML page of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import percent

__all__ = ["MEASURES", "curve_captions", "frontier_caption"]

MEASURES = {"ssr": "SSR", "steps": "steps", "samples": "samples", "tokens": "tokens", "seconds": "time", "cost": "cost"}
"""A mapping from axis to its name in the page."""


def frontier_caption(content: Content, data: Mapping[str, Any]) -> str:
    """Return the caption of the frontier."""
    runs, left_out = len(data["runs"]["arm"]), data["left_out"]["runs"]
    by, status = MEASURES[content.equal], set(content.pareto["status"])
    parts = ["Each mark is one run."]
    if content.summary["n"].max() > 1:
        parts = [
            f"Each mark is the mean over seeds, with its {percent(content.options.confidence)} interval; each faint",
            "dot is one run. A dot that would be hidden by its mean is drawn to the right of it.",
        ]
    parts.append(f"Filled marks are on the frontier by {by},")
    if status & {"within_noise", "unreplicated"}:
        parts.append(f"tinted ones are no better {'within noise' if 'within_noise' in status else 'by the mean'},")
    parts.append(f"hollow ones are dominated; that is by {by} on every axis.")
    if len(content.arms) > 1 and set(content.axes) & {"ssr", "steps", "samples", "tokens"}:
        parts.append("Where recipes take exactly as much, their marks stand a little apart.")
    if any(fit["verdict"] == "trusted" for fit in data["fits"]):
        parts.append(
            "Dotted lines are fits that have predicted the largest SSR; past the last mark they predict again."
        )
    if any(fit["verdict"] != "trusted" for fit in data["fits"]):
        parts.append(
            'Fits that failed that test, or could not be tested, are hidden until "other fits" is switched on;'
        )
        parts.append("they are drawn over the measured SSRs alone.")
    if left_out:
        parts.append(f"Of {runs + left_out:,} runs {runs:,} are drawn as dots, spread evenly over each recipe and SSR;")
        parts.append("the means are of all.")
    return " ".join(parts)


def curve_captions(content: Content, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return which curves the page has, and their captions."""
    percentage = percent(content.options.confidence)
    of = "of one run for each recipe and SSR"
    if any(curve.low for curve in content.learning.drawn):
        of = f"the mean over seeds with the band of its {percentage} interval"
    learning = f"The metric while training, {of}; shorter runs are paler. A run with one evaluation is a point."
    if data["left_out"]["learning"]:
        learning += f" {data['left_out']['learning']:,} more are not drawn."
    dots = [curve.dots for curve in content.rates.drawn]
    rates = "" if all(dots) else "The rate of one run for each recipe and SSR, computed from its schedule. "
    if any(dots):
        every = "" if content.rates.every is None else f" every {content.rates.every:,} steps"
        rates += f"Dots are logged{every}; their schedule is not known, so nothing is drawn between them."
    if data["left_out"]["rates"]:
        rates += f" {data['left_out']['rates']:,} more are not drawn."
    return {
        "learning": bool(data["learning"]),
        "rates": bool(data["rates"]),
        "learning_caption": learning,
        "rates_caption": rates,
    }
