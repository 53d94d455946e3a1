"""Copy the results of ``scripts/study.py`` into the documentation.

    python scripts/study_page.py studies/real
    python scripts/study_page.py

The script writes the reports next to the documentation's page, from the records in the given folder. Without a folder,
it uses the runs in the repository. Then it writes the tables of the page. A table is between
``<!-- table: digits quality -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra import report, studies
from ssr_hydra.drawing import render
from ssr_hydra.report.drawn_curves import Curve, Curves
from ssr_hydra.report.exports import as_json, table_csv
from ssr_hydra.report.figures import draw
from ssr_hydra.report.page import page
from ssr_hydra.studies.study import AXES, COLUMNS, CONTROLS, as_curves, as_frame
from study import TASKS, TUNED, tabulate

PAGE = Path(__file__).resolve().parent.parent / "docs" / "study" / "index.md"
DECIMALS = {"digits": 1, "byte_lm": 3}
KEPT = ("report.html", "report.json", "table.csv", "runs.csv")
DRAWN = ("frontier", "doublings")
_NARROW = "\N{NARROW NO-BREAK SPACE}"
_TABLE = re.compile(r"(<!-- table: (\w+) (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def scaled(task: str, value: float) -> float:
    """Return a value in the unit of the page. Accuracy is in percent; bits per byte do not change."""
    return 100 * value if task == "digits" else value


def number(task: str, value: float, sign: bool = False) -> str:
    """Format a quality; with ``sign``, a difference of two qualities with its sign."""
    text = f"{scaled(task, value):{'+' if sign else ''}.{DECIMALS[task]}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def interval(task: str, low: float, high: float, space: str = " ") -> str:
    """Format both ends of an interval."""
    return f"[{number(task, low)},{space}{number(task, high)}]"


def quality(task: str, report: dict[str, Any]) -> str:
    """Return a table with the mean at each SSR, and half the width of its interval."""
    rows = [row for row in report["table"] if row["control"] == ""]
    return _by_ssr(
        rows,
        lambda row: f"{number(task, row['mean'])}{_NARROW}±{_NARROW}{number(task, (row['high'] - row['low']) / 2)}",
    )


def seconds(_: str, report: dict[str, Any]) -> str:
    """Return a table with the mean training time at each SSR, in seconds."""
    rows = [row for row in report["table"] if row["control"] == ""]
    return _by_ssr(rows, lambda row: f"{row['seconds']:.2f}")


def gains(control: str, task: str, report: dict[str, Any]) -> str:
    """Return a table with the gain of scaling over a control."""

    def cell(row: dict[str, Any]) -> str:
        gain = number(task, row["gain"], sign=True)
        gain = f"**{gain}**" if row["winner"] in ("scaling", "control") else gain
        return f"{gain} {interval(task, row['low'], row['high'], _NARROW)}"

    rows = [row for row in report["controls"] if row["control"] == control and row["winner"] != "same"]
    return _by_ssr(rows, cell)


def _by_ssr(rows: Iterable[dict[str, Any]], cell: Callable[[dict[str, Any]], str]) -> str:
    rows = list(rows)
    ssrs = sorted({row["ssr"] for row in rows})
    lines = [["at SSR", *(f"{ssr:g}" for ssr in ssrs)], ["---", *("---:" for _ in ssrs)]]
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        cells = {row["ssr"]: cell(row) for row in rows if row["recipe"] == recipe}
        lines.append([f"`{recipe}`", *(cells.get(ssr, "") for ssr in ssrs)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES: dict[str, Callable[[str, dict[str, Any]], str]] = {
    "quality": quality,
    "seconds": seconds,
    "truncation": partial(gains, "truncate"),
    "warmup": partial(gains, "scale_warmup"),
}


def filled(text: str, reports: dict[str, dict[str, Any]]) -> str:
    """Return the text of the page with new tables."""
    return _TABLE.sub(lambda match: f"{match[1]}{TABLES[match[3]](match[2], reports[match[2]])}{match[4]}", text)


def read_reports(page: Path) -> dict[str, dict[str, Any]]:
    """Return a mapping from task to its report, as read from the JSON files next to the page."""
    return {task: json.loads((page.parent / task / "report.json").read_text(encoding="utf-8")) for task in DECIMALS}


def _draw(study: studies.Study, options: report.Options, folder: Path) -> None:
    """Draw the pictures of the page, without controls, because a picture of all runs would be unreadable."""
    frame = study.frame[study.frame["control"] == ""]
    numbers = {old: new for new, old in enumerate(frame.index)}
    curves = study.curves[study.curves["run"].isin(numbers)]
    curves = curves.assign(run=curves["run"].map(numbers)).reset_index(drop=True)
    content = report.build(replace(study, frame=frame.reset_index(drop=True), curves=curves), options)
    for kind in DRAWN:
        (folder / f"{kind}.svg").write_bytes(render(draw(content, kind), "svg"))


def _data(study: studies.Study) -> dict[str, Any]:
    """Return the description of the data from the records of the runs: its name, size and hash."""
    record = json.loads((Path(study.frame["folder"][0]) / "result.json").read_text(encoding="utf-8"))
    dataset: dict[str, Any] = record["data"]["dataset"]
    return dataset


def publish(out: Path, folder: Path) -> None:
    """Write the report of each task, the pictures of the page, and the tables of the search."""
    (folder / "tuning").mkdir(parents=True, exist_ok=True)
    for name, task in TASKS.items():
        options = report.Options(tolerance=task.tolerance, equal="steps")
        study = studies.load([out / name / schedule for schedule in TUNED[name]])
        for path in report.write(report.build(study, options), out / name / "report"):
            if path.name in KEPT:
                (folder / name).mkdir(exist_ok=True)
                (folder / name / path.name).write_bytes(path.read_bytes())
        _draw(study, options, folder / name)
        (folder / name / "data.json").write_text(f"{json.dumps(_data(study), indent=2)}\n", encoding="utf-8")
        (folder / "tuning" / f"{name}.csv").write_text(tabulate(out, name), encoding="utf-8")


def read_runs(file: Path) -> pd.DataFrame:
    """Return the runs of a CSV file in the repository."""
    rows = pd.read_csv(file, dtype=str, keep_default_na=False).astype({"seed": int, "resumes": int})
    return as_frame({name: rows[name].tolist() for name in COLUMNS})


def remake(folder: Path) -> None:
    """Write the reports again from the runs in the repository. Curves and machines are copied from the old reports."""
    for name, task in TASKS.items():
        old_report = read_reports(folder / "index.md")[name]
        study = studies.Study(
            read_runs(folder / name / "runs.csv"),
            as_curves(),
            old_report["objective"],
            old_report["direction"],
            sources=tuple(map(Path, old_report["sources"])),
            hardware=tuple(old_report["hardware"]),
            versions={key: tuple(values) for key, values in old_report["versions"].items()},
            same_work=True,
        )
        options = report.Options(tolerance=task.tolerance, equal="steps")
        content = report.build(study, options)
        content.__dict__.update(_drawn((folder / name / "report.html").read_text(encoding="utf-8")))
        html = page(content, render(draw(content, "frontier"), "svg"))
        for file, text in (("report.html", html), ("report.json", as_json(content)), ("table.csv", table_csv(content))):
            (folder / name / file).write_text(text, encoding="utf-8")
        _draw(study, options, folder / name)


def _drawn(html: str) -> dict[str, Curves]:
    """Return the learning curves and the learning-rate curves that an HTML page of a report draws."""
    match = re.search(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    data = json.loads(match[1])
    arms = [(arm["name"].partition(" (")[0], CONTROLS[arm["control"]]) for arm in data["arms"]]
    curves_by_kind = {}
    for kind, field in (("learning", "value"), ("rates", "lr")):
        curves = [
            Curve(
                arms[each["arm"]][0], arms[each["arm"]][1], each["ssr"], each["seed"], each["folder"], each[field],
                {axis: each[axis] for axis in AXES if axis != "ssr" and axis in each},
                each.get("dots", False), each.get("low", []), each.get("high", []),
            )
            for each in data[kind]
        ]  # fmt: skip
        curves_by_kind[kind] = Curves(curves, data["left_out"][kind])
    return curves_by_kind


def main(out: Path | None = None) -> None:
    """Publish the reports of a study's folder, or rewrite those in the repository; then write the page's tables."""
    if out is not None:
        publish(out, PAGE.parent)
    else:
        remake(PAGE.parent)
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), read_reports(PAGE)), encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
