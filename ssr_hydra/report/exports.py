"""The files of a report for other programs: tables as CSV, Markdown and LaTeX, and the whole content as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import asdict
from typing import Any

import pandas as pd

import ssr_hydra
from ssr_hydra.errors import visible
from ssr_hydra.report import method_words, words
from ssr_hydra.report.content import Content
from ssr_hydra.report.number_text import exact, fixed, number, plain
from ssr_hydra.report.tables import Table
from ssr_hydra.studies.fitting import Fit
from ssr_hydra.studies.notes import arm

SCHEMA, VERSION = "ssr-hydra/report", 2
"""The format name and version in ``report.json``. The version grows if a key is removed or changes its meaning."""

_LATEX = {
    **{char: rf"\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip
_CHOICE = ("ssr", "certainty", "budget", "runs", "diverged")  # attributes of a choice that the JSON contains
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~^$-])")


def table_csv(content: Content) -> str:
    """Return a CSV with a row for each recipe, control and SSR, and with all digits of each number."""
    columns = ["recipe", "control", "ssr", "n", "failed", "mean", "low", "high", "sd"]
    columns += ["steps", "samples", "tokens", "seconds", "total_seconds", "cost"]
    keys = ["recipe", "control", "ssr"]
    status = content.pareto[[*keys, "status"]].rename(columns={"status": "frontier"})
    return as_csv(content.summary[columns].merge(status, on=keys, how="left"))


def runs_csv(content: Content) -> str:
    """Return a CSV with a row for each run, including failed runs."""
    return as_csv(content.study.frame)


def as_csv(frame: pd.DataFrame) -> str:
    """Return a data frame as CSV, with all digits. Text that looks like a formula gets an apostrophe in front."""
    columns = [_cells(frame[name]) for name in frame.columns]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([frame.columns, *zip(*columns, strict=True)])
    return out.getvalue()


def _cells(column: pd.Series) -> list[str]:
    """Return the text of each cell. Text columns repeat values, so each distinct value is converted once."""
    if column.dtype.kind == "f":
        return [exact(value) for value in column.tolist()]
    codes, values = pd.factorize(column, use_na_sentinel=False)
    texts = [_cell(value) for value in values.tolist()]
    return [texts[code] for code in codes.tolist()]


def _cell(value: Any) -> str:
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, float):
        return exact(value)
    if isinstance(value, int):
        return str(value).lower()  # booleans in lower case
    text = visible(str(value))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def as_markdown(table: Table) -> str:
    """Return a table as Markdown. Markup in names is escaped."""
    rule = [("---:" if column.kind == "number" else "---") for column in table.columns]
    rows = [[_escaped(column.head) for column in table.columns], rule]
    rows += [[_escaped(cell.text) for cell in row.cells] for row in table.rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def as_latex(content: Content) -> str:
    """Return a LaTeX table of the qualities, for the package booktabs: a row per recipe, a column per SSR."""
    table = content.summary[content.summary["n"] > 0]
    ssrs = sorted(table["ssr"].unique())
    cells = {(row.recipe, row.control, row.ssr): row for row in table.itertuples()}
    lines = [rf"\begin{{tabular}}{{l{'r' * len(ssrs)}}}", r"\toprule"]
    lines.append(" & ".join(["SSR", *(number(ssr) for ssr in ssrs)]) + r" \\")
    lines.append(r"\midrule")
    for recipe, control in content.arms:
        texts = [_latex(arm(recipe, control))]
        for ssr in ssrs:
            row: Any = cells.get((recipe, control, ssr))
            text = "" if row is None else fixed(row.mean, content.decimals)
            if row is not None and not math.isnan(row.low):
                text += rf" $\pm$ {fixed((row.high - row.low) / 2, content.decimals)}"
            texts.append(text)
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in visible(text))


def _escaped(text: str) -> str:
    text = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    if re.fullmatch(r"[\w\s.,:%/-]*", text) and not re.search(r"\b_|_\b|://", text):
        return text  # do not escape text without markup, so that it stays readable
    return _MARKDOWN.sub(r"\\\1", text).replace("://", ":\\//")


def as_json(content: Content) -> str:
    """Return the whole content of the report as JSON. A number that is not finite becomes null."""
    options = {**asdict(content.options), "labels": dict(content.options.labels)} | {"reference": content.reference}
    choice = content.choice if content.is_settled else None
    recipes = {step.choice.recipe for step in content.steps}
    study = content.study
    report = {
        "schema": SCHEMA,
        "version": VERSION,
        "generator": f"ssr_hydra {ssr_hydra.__version__}",
        "sources": [str(path) for path in study.sources],
        "objective": study.objective,
        "direction": study.direction,
        "axis": content.axis,
        "equal_axis": content.equal,
        "options": options,
        "answer": {
            "headline": words.headline(content),
            "words": words.answer(content),
            "details": dict(words.details(content)),
            "clock": asdict(content.time),
            "recipe": choice.recipe if choice is not None else recipes.pop() if len(recipes) == 1 else None,
            **{name: None if choice is None else getattr(choice, name) for name in _CHOICE},
            "rivals": [] if choice is None else [asdict(rival) for rival in choice.rivals],
        },
        "steps": [
            {
                "above": step.above,
                "below": step.below,
                "recipe": step.choice.recipe,
                "ssr": step.choice.ssr,
                "or_longer": step.choice.recommendation.ssr is None,
                "certainty": step.choice.certainty,
                "open": [rival.recipe for rival in step.choice.open],
            }
            for step in content.steps
        ],
        "looks": content.looks,
        "soonest": None if content.soonest is None else asdict(content.soonest),
        "recommendations": [asdict(each) for each in content.recommendations],
        "table": _records(content.summary),
        "pareto": _records(content.pareto),
        "doublings": _records(content.doublings),
        "winners": _records(content.winners),
        "paired": [{"a": a, "b": b, **row} for a, b, frame in content.paired for row in _records(frame)],
        "controls": _records(content.controls),
        "speedup": _records(content.speedup),
        "equal_time": _records(content.equal_time),
        "crossings": _records(content.crossings),
        "ranking": _records(content.ranking),
        "outliers": _records(content.outliers),
        "fits": [_fit(fit) for fit in content.fits],
        "problems": [asdict(problem) for problem in study.problems],
        "notes": [method_words.note_text(note) for note in study.notes],
        "totals": content.totals,
        "hardware": list(study.hardware),
        "versions": study.versions,
    }
    lines = [f"  {json.dumps(key)}: {_block(value)}" for key, value in plain(report).items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _fit(fit: Fit) -> dict[str, Any]:
    """Return a fit as plain data, with sentences that explain its verdict and the result of each back-test."""
    tests = [
        {**asdict(test), "passed": test.passed, "reason": method_words.back_test_text(test, fit.kind)}
        for test in fit.back_tests
    ]
    return {**asdict(fit), "back_tests": tests, "reason": method_words.fit_reason(fit)}


def _block(value: Any) -> str:
    """Return a value as JSON, with each item of a list, or each key of a mapping, on a separate line."""
    if not isinstance(value, (dict, list)) or not value:
        return json.dumps(value)
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {json.dumps(item)}" for key, item in value.items()]
    else:
        items = list(map(json.dumps, value))
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n    " + ",\n    ".join(items) + f"\n  {last}"


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]
