"""The HTML page of a report: one file that needs no network. Names from a study are shown as text, never as markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import jinja2

import ssr_hydra
from ssr_hydra.errors import visible
from ssr_hydra.report import method_words, words
from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import duration, fixed, interval, number, percent, signed
from ssr_hydra.report.page_data import payload
from ssr_hydra.report.tables import Table, tables
from ssr_hydra.report.what_was_run import setup
from ssr_hydra.studies.intervals import VERDICT
from ssr_hydra.studies.notes import arm

MOST_ROWS = 300
"""Maximum number of rows of a table in the page. The CSV and Markdown files have all rows."""

_MEASURES = {"ssr": "SSR", "steps": "steps", "seconds": "time"}
_RECIPES = ("paired", "crossings", "speedup", "equal_time", "target", "ranking")


def page(content: Content, picture: bytes | None = None) -> str:
    """Return the HTML page of a report. ``picture`` is an SVG of the frontier for browsers without scripts."""
    style, script = _file("report.css"), _file("chart.js") + _file("report.js")
    data = payload(content)
    short_tables = {name: table.first(MOST_ROWS) for name, table in tables(content).items()}
    what_was_run = setup(content)
    return (
        _environment()
        .get_template("report.html")
        .render(
            policy=policy(style, script),
            style=_Trusted(style),
            script=_Trusted(script),
            data=_Trusted(embedded(data)),
            picture=None if picture is None else base64.b64encode(picture).decode(),
            title=words.headline(content),
            content=content,
            tables=short_tables,
            facts=_facts(content),
            words=words,
            method=method_words,
            looks={pair: place for place, pair in enumerate(content.arms)},
            setup=what_was_run,
            sections=_sections(short_tables, data, bool(what_was_run), bool(words.details(content))),
            frontier_caption=_frontier_caption(content, data),
            curves=_curve_captions(content, data),
            measure=_MEASURES[content.equal],
            names=", ".join(path.name or str(path) for path in content.study.sources),
            version=ssr_hydra.__version__,
        )
    )


def policy(style: str, script: str) -> str:
    """Return a Content-Security-Policy that forbids a browser to fetch anything or to use other styles and scripts."""
    sources = {"script-src": script, "style-src": style}
    hashed = [
        f"{kind} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
        for kind, text in sources.items()
    ]
    rules = ["default-src 'none'", *hashed, "img-src data:", "base-uri 'none'", "form-action 'none'"]
    return "; ".join(rules)


def embedded(value: Any) -> str:
    r"""Return a value as JSON for a script element, without ``<``, ``>``, ``&`` or line ends of JavaScript.

    So ``</script>`` and ``<!--``, which would end or change the script, cannot occur.

    Example:
        >>> print(embedded({"name": "</script>"}))
        {"name":"\u003c/script\u003e"}
    """
    # json.dumps writes only ASCII, so U+2028 is escaped too.
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


class _Trusted(str):
    """HTML that is safe: written by this package, or escaped by :func:`embedded`. jinja2 escapes all other text."""

    __slots__ = ()

    def __html__(self) -> str:
        return str(self)


@cache
def _file(name: str) -> str:
    return resources.files("ssr_hydra.report").joinpath("template").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_file),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters["parts"] = _wrappable_parts
    environment.globals.update(
        arm=arm, number=number, fixed=fixed, interval=interval, percent=percent, duration=duration, signed=signed
    )
    return environment


def _wrappable_parts(text: str) -> list[str]:
    """Split a name after ``_`` and ``/``, where a browser may wrap it in a narrow window."""
    return re.split(r"(?<=[_/])(?=.)", visible(text))


def _facts(content: Content) -> list[tuple[str, str, str]]:
    """Return the numbers that the page shows next to the answer, each with a name and a note."""
    choice, decimals = content.choice, content.decimals
    if choice is None:
        return []
    keys = content.summary.set_index(["recipe", "control", "ssr"])
    row = keys.loc[choice.recipe, "", choice.ssr]
    recipe = choice.recipe if len(content.study.recipes) > 1 else ""
    longer = " or longer" if choice.recommendation.ssr is None else ""
    # If the choice depends on the tolerance, these numbers are for the smallest tolerances.
    at = "" if content.is_settled else f" at SSR {number(choice.ssr)}"
    name = "recommended" if content.is_settled else "if any gain counts"
    facts = [(name, f"SSR {number(choice.ssr)}{longer}", recipe)]
    ends = interval(row["low"], row["high"], decimals) if not math.isnan(row["low"]) else "no interval"
    seeds = f"{row['n']} seed{'s' if row['n'] != 1 else ''}"
    facts.append((f"{content.objective}{at}", fixed(row["mean"], decimals), f"{ends}, {seeds}"))
    if "seconds" in content.axes:
        steps = f"{row['steps']:,.0f} steps" if "steps" in content.axes else ""
        facts.append((f"training of a run{at}", duration(row["seconds"]), steps))
    if "cost" in content.axes:
        price = f"at {number(content.options.price_per_hour or 0)} per hour"
        facts.append((f"cost of a run{at}", number(row["cost"], 3), price))
    best = choice.recommendation
    if not math.isnan(best.gain):
        name = "the next doubling gains" if best.ssr is not None else "the last doubling gained"
        tolerance = "" if content.tolerance is None else f"tolerance {number(content.tolerance, 3)}"
        facts.append((name, signed(best.gain, decimals), tolerance))
    facts.append(("how sure", words.certainty(choice), f"at {percent(max(VERDICT, content.options.confidence))}"))
    return facts


def _sections(
    short_tables: Mapping[str, Table], data: Mapping[str, Any], has_setup: bool, has_details: bool
) -> list[tuple[str, str]]:
    """Return the id and the name of each non-empty section of the page."""
    sections = [
        ("details", "About the answer", has_details),
        ("setup", "What was run", has_setup),
        ("quality", "Quality against time", True),
        ("doubling", "The next doubling", bool(short_tables["doublings"])),
        ("recipes", "Recipes", any(short_tables[name] for name in _RECIPES)),
        ("controls", "Controls", bool(short_tables["controls"])),
        ("fits", "Fits", bool(short_tables["fits"])),
        ("curves", "Curves", bool(data["learning"] or data["rates"])),
        ("problems", f"Problems ({len(short_tables['problems'].rows) + short_tables['problems'].more})", True),
        ("method", "Cost and method", True),
    ]
    return [(name, text) for name, text, there in sections if there]


def _frontier_caption(content: Content, data: Mapping[str, Any]) -> str:
    runs, left_out = len(data["runs"]["arm"]), data["left_out"]["runs"]
    by, status = _MEASURES[content.equal], set(content.pareto["status"])
    parts = ["Each mark is one run."]
    if content.summary["n"].max() > 1:
        parts = [f"Each mark is the mean over seeds, with its {percent(content.options.confidence)} interval."]
        if runs:
            parts.append("Each faint dot is one run. A dot that its mean would hide is drawn to the right of the mean.")
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


def _curve_captions(content: Content, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the captions of the figures of learning curves and learning rates, and whether the page has them."""
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
