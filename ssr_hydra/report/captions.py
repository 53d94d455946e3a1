"""The captions of the figures in the HTML page of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import percent

MEASURES = {"ssr": "SSR", "steps": "steps", "samples": "samples", "tokens": "tokens", "seconds": "time", "cost": "cost"}
"""A mapping from axis to its name in the page."""


def frontier_caption(content: Content, data: Mapping[str, Any]) -> str:
    """Return the caption of the figure of quality against time."""
    runs, left_out = len(data["runs"]["arm"]), data["left_out"]["runs"]
    by, status = MEASURES[content.equal], set(content.pareto["status"])
    parts = ["Each mark is one run."]
    if content.summary["n"].max() > 1:
        parts = [
            f"Each mark is the mean over seeds, with its {percent(content.options.confidence)} interval.",
            *(
                ["Each faint dot is one run. A dot that its mean would hide is drawn to the right of the mean."]
                * (runs > 0)
            ),
        ]
    parts.append(f"Filled marks are on the frontier by {by}.")
    if status & {"within_noise", "unreplicated"}:
        parts.append(f"Tinted marks are no better {'within noise' if 'within_noise' in status else 'by the mean'}.")
    parts.append("Hollow marks are dominated. A mark has the same style on every axis.")
    if len(content.arms) > 1 and set(content.axes) & {"ssr", "steps", "samples", "tokens"}:
        parts.append("Marks of recipes at equal positions are drawn side by side.")
    verdicts = {fit["verdict"] for fit in data["fits"]}
    if "trusted" in verdicts:
        parts.append("Dotted lines are fits that passed their back-test; beyond the last mark they are predictions.")
    if verdicts - {"trusted"}:
        parts.append('"other fits" shows the fits that did not pass, over the measured SSRs only.')
    if left_out:
        parts.append(f"Only {runs:,} of {runs + left_out:,} runs are drawn as dots. The means are over all runs.")
    return " ".join(parts)


def curve_captions(content: Content, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return two items for each figure of curves: whether the page has the figure, and the caption."""
    values = "one run of each recipe and SSR"
    if any(curve.low for curve in content.learning.drawn):
        values = f"the mean over seeds with its {percent(content.options.confidence)} interval"
    learning = f"The metric during training: {values}. Shorter runs are paler. A run with one evaluation is a point."
    dots = [curve.dots for curve in content.rates.drawn]
    rates = "" if all(dots) else "The rate of one run of each recipe and SSR, computed from its schedule. "
    if any(dots):
        every = "" if content.rates.every is None else f" every {content.rates.every:,} steps"
        rates += f"Dots are rates that were logged{every}. Between dots the rate is unknown."
    more = {name: f" {count:,} more curves are not drawn." if count else "" for name, count in data["left_out"].items()}
    return {
        "learning": bool(data["learning"]),
        "rates": bool(data["rates"]),
        "learning_caption": learning + more["learning"],
        "rates_caption": rates + more["rates"],
    }
