"""The study of the documentation: the page agrees with the reports, and the reports agree with the runs."""

import csv
import io
import json
import math
import re
import sys
from functools import cache
from hashlib import sha256
from html import unescape
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from checkout import REPO

from ssr_hydra import report, studies
from ssr_hydra.report.exports import as_json, table_csv
from ssr_hydra.report.page import policy
from ssr_hydra.studies.study import as_curves

FOLDER = REPO / "docs/study"
sys.path.append(str(REPO / "scripts"))

import study as script  # noqa: E402
import study_page  # noqa: E402

TASKS = list(script.TASKS)
PAGE = (FOLDER / "index.md").read_text(encoding="utf-8")
# Results that depend only on the runs: no curves, and no records of the machine.
STATISTICS = "table pareto doublings winners paired controls speedup equal_time crossings fits".split()


@cache
def runs(task):
    return study_page.read_runs(FOLDER / task / "runs.csv")


def study(task):
    stored = REPORTS[task]
    return studies.Study(runs(task), as_curves(), stored["objective"], stored["direction"])


@cache
def again(task):
    """Return the report's statistics, computed from the checked-in runs."""
    return report.build(study(task), report.Options(tolerance=script.TASKS[task].tolerance, equal="steps"))


REPORTS = study_page.read_reports(FOLDER / "index.md")


def close(one, other):
    """Compare numbers to nine digits, because a mean may be summed in a different order."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(close, one, other))
    if isinstance(one, float) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def rounded(value):
    """Round to six decimals, because the last digits may differ between machines."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return f"{value:.6f}" if isinstance(value, float) else value


@pytest.mark.parametrize("task", TASKS)
def test_every_statistic_can_be_computed_from_the_runs(task):
    content = again(task)
    computed = json.loads(as_json(content))
    for name in STATISTICS:
        assert close(computed[name], REPORTS[task][name]), name
    assert computed["options"]["tolerance"] == REPORTS[task]["options"]["tolerance"]
    stored, made_again = pd.read_csv(FOLDER / task / "table.csv"), pd.read_csv(io.StringIO(table_csv(content)))
    assert len(stored) == 4 * (5 + 5 + 4)
    pd.testing.assert_frame_equal(stored, made_again, rtol=1e-9)


@pytest.mark.parametrize("task", TASKS)
def test_stored_runs_equal_the_runs_that_the_script_plans(task):
    frame = runs(task)
    assert set(frame["status"]) == {"completed"}
    stored = set(zip(frame["recipe"], frame["control"], frame["ssr"], frame["seed"].astype(int), strict=True))
    assert len(stored) == len(frame)
    planned = set()
    for sweep in script.sweeps(Path("s"), task, quick=False):
        overrides = dict(override.split("=", 1) for override in sweep.overrides)
        scalings = overrides.get("scheduler.scale_warmup", "false").split(",")
        for ssr, seed, scaled in product(overrides["ssr"].split(","), overrides["seed"].split(","), scalings):
            control = overrides.get("control", "scale_warmup" if scaled == "true" else "")
            planned.add((overrides["name"], control, float(ssr), int(seed)))
    assert stored == planned


def settings(task):
    """Return mean, sd and count of the searched settings of each schedule."""
    by_schedule = {}
    for row in csv.DictReader(io.StringIO((FOLDER / f"tuning/{task}.csv").read_text(encoding="utf-8"))):
        schedule, _, setting = row["recipe"].partition(" ")
        by_schedule.setdefault(schedule, {})[setting] = (float(row["mean"]), float(row["sd"]), int(row["n"]))
    return by_schedule


@pytest.mark.parametrize(("task", "preset"), [("digits", "optimizer.lr=0.1"), ("byte_lm", "optimizer.lr=0.01")])
def test_script_uses_the_best_settings_of_the_search(task, preset):
    sign = 1 if REPORTS[task]["direction"] == "max" else -1
    for schedule, results in settings(task).items():
        best = max(results, key=lambda setting: sign * results[setting][0])
        usual = max((item for item in results if item.split()[0] == preset), key=lambda item: sign * results[item][0])
        mean, sd, n = results[best]
        chosen = best if sign * (mean - results[usual][0]) > sd / math.sqrt(n) else usual
        assert chosen == " ".join(script.TUNED[task][schedule]), schedule


def test_tables_of_the_page_equal_the_tables_of_the_reports():
    assert study_page.filled(PAGE, REPORTS) == PAGE
    assert PAGE.count("<!-- table: ") == PAGE.count("<!-- end -->") > 4


def rows(task, table, **values):
    """Return the rows of a table of a report in which the columns ``values`` have these values."""
    return [row for row in REPORTS[task][table] if all(row[name] == value for name, value in values.items())]


def deviation(task, recipe, ssr, control):
    (row,) = rows(task, "table", recipe=recipe, control=control, ssr=ssr)
    return row["sd"]


def verdicts(task, control):
    winners = [row["winner"] for row in rows(task, "controls", control=control) if row["winner"] != "same"]
    return {name: winners.count(name) for name in ("scaling", "control", "undecided")} | {"all": len(winners)}


def fits(task, kind):
    return sorted(fit["verdict"] for fit in rows(task, "fits", kind=kind, control=""))


@pytest.mark.parametrize("task", TASKS)
def test_repeated_run_has_the_same_quality(task):
    """At SSR 1, there is nothing to scale or cut off, so the three runs of a schedule and seed are equal."""
    frame = runs(task)
    qualities = frame[frame["ssr"] == 1].groupby(["recipe", "seed"])["quality"]
    assert (set(qualities.size()), set(qualities.nunique())) == ({3}, {1})


def open_cases(task, control):
    return {(row["recipe"], row["ssr"]) for row in rows(task, "controls", control=control, winner="undecided")}


def prose():
    """Return the page as one line, without tables, code, link targets and markers for tools."""
    text = re.sub(r"```.*?```|<!--.*?-->|^\|.*?$", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return " ".join(text.split())


def test_numbers_of_the_page_were_compared_with_these_statistics():
    """If this test fails, compare the page's numbers with the reports. Then write the new digest on the page."""
    numbers = sorted(re.findall(r"\d[\d,.]*\d|\d", prose()))
    statistics = [[rounded(REPORTS[task][name]) for name in STATISTICS] for task in TASKS]
    stored_runs = [(FOLDER / task / "runs.csv").read_text(encoding="utf-8") for task in TASKS]
    digest = sha256(json.dumps([numbers, statistics, stored_runs]).encode()).hexdigest()[:16]
    assert f"<!-- numbers compared: {digest} -->" in PAGE


def test_statements_of_the_page_agree_with_the_reports():
    best = {row["ssr"]: row["best"] for row in rows("byte_lm", "winners", decided=True)}
    assert best == dict.fromkeys((0.125, 0.25, 0.5, 1.0), "linear_warmup")
    assert rows("digits", "winners", decided=True) == rows("digits", "crossings", certain=True) == []
    assert len(open_cases("digits", "truncate")) == 7
    named = {("cosine_warmup", 0.25), ("linear_warmup", 0.5), ("multistep_warmup", 0.125)}
    assert open_cases("digits", "truncate") >= named
    assert open_cases("byte_lm", "truncate") == {("multistep_warmup", 0.125), ("multistep_warmup", 0.25)}
    for task in TASKS:
        assert verdicts(task, "truncate")["control"] == 0
        assert {row["winner"] for row in rows(task, "controls", ssr=1)} == {"same"}
    for schedule, ssr in open_cases("digits", "truncate"):
        assert deviation("digits", schedule, ssr, "truncate") > deviation("digits", schedule, ssr, "")
    warmups = {task: verdicts(task, "scale_warmup") for task in TASKS}
    assert warmups["digits"]["scaling"] == warmups["digits"]["control"] == warmups["byte_lm"]["scaling"] == 0
    better = rows("byte_lm", "controls", control="scale_warmup", winner="control")
    assert {(row["recipe"], row["ssr"]) for row in better} == {("wsd", 0.125), ("multistep_warmup", 0.125)}
    assert fits("digits", "quadratic") == ["rejected"] * 4
    assert fits("digits", "power") == [*["trusted"] * 3, "untested"]
    assert fits("byte_lm", "quadratic") == fits("byte_lm", "power") == ["trusted"] * 4
    power = [fit["back_tests"][-1] for fit in rows("byte_lm", "fits", kind="power")]
    assert all(test["predicted"] < test["observed"] for test in power)  # power laws predict too few bits
    assert REPORTS["digits"]["answer"]["ssr"] == 1
    assert REPORTS["byte_lm"]["answer"]["ssr"] == 2
    assert min(row["gain"] for row in rows("byte_lm", "doublings", control="")) > 0.05
    assert all(row["better"] == ("b" if row["a"] == "multistep_warmup" else "a")
               for row in REPORTS["byte_lm"]["paired"] if "multistep_warmup" in (row["a"], row["b"]))  # fmt: skip


def test_the_page_names_the_settings():
    for schedule in script.SEARCHED:
        (row,) = re.findall(rf"^\| `{schedule}` \| (lr .*) \| (lr .*) \|$", PAGE, re.MULTILINE)
        for task, entry in zip(TASKS, row, strict=True):
            lr, *rest = (setting.split("=")[1] for setting in script.TUNED[task][schedule])
            assert entry.startswith(f"lr {lr}")
            shares = [share.strip("[]").removesuffix("dur") for share in ",".join(rest).split(",") if share]
            assert "likewise" in entry or all(share in entry for share in shares)


@pytest.mark.parametrize("task", TASKS)
def test_stored_report_contains_the_current_script_and_style(task):
    template = REPO / "ssr_hydra/report/template"
    script = "".join((template / name).read_text(encoding="utf-8") for name in ("chart.js", "report.js"))
    style = (template / "report.css").read_text(encoding="utf-8")
    stored = (FOLDER / task / "report.html").read_text(encoding="utf-8")
    assert script in stored
    assert style in stored
    assert policy(style, script) in unescape(stored)  # a browser runs only a script with the hash in the policy


def test_page_names_the_hashes_and_the_version_of_the_data():
    for task in TASKS:
        data = json.loads((FOLDER / task / "data.json").read_text(encoding="utf-8"))
        assert f"`{data['sha256'][:16]}`" in PAGE
    assert data["version"] in PAGE


def test_default_report_does_not_compare_recipes_by_seconds():
    """The page warns about the clock: the machine was busy during some schedules."""
    stored = study("byte_lm")
    content = report.build(stored, report.Options(tolerance=0.05))
    assert content.equal == "steps"
    assert content.choice is not None
    assert content.choice.recipe == "linear_warmup"
    assert "cosine_warmup" not in {rival.recipe for rival in content.choice.open}
    by_clock = report.build(stored, report.Options(tolerance=0.05, equal="seconds"))
    assert by_clock.choice is not None
    assert by_clock.choice.recipe == "cosine_warmup"


def test_readme_states_the_results_of_the_study():
    won = [verdicts(task, "truncate") for task in TASKS]
    scaling, control, undecided, every = (sum(counts[name] for counts in won) for name in won[0])
    assert (control, undecided) == (0, 9)
    readme = " ".join((REPO / "README.md").read_text(encoding="utf-8").split())
    assert f"In {scaling} of {every} comparisons, a scaled schedule is better" in readme
    assert "The remaining nine comparisons are undecided" in readme
