"""The study of the documentation: the page agrees with the reports, and the reports agree with the runs."""

import csv
import io
import json
import math
import re
import sys
from functools import cache
from html import unescape
from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from checkout import REPO

from ssr_hydra import report, studies
from ssr_hydra.report.exports import as_json, table_csv
from ssr_hydra.report.page import policy
from ssr_hydra.studies.compare import pooled_control
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


# The sentences of the page, made from the reports: the page has each of them, and no other number.


def rows(task, table, **values):
    """Return the rows of a table of a report in which the columns ``values`` have these values."""
    return [row for row in REPORTS[task][table] if all(row[name] == value for name, value in values.items())]


def cell(task, recipe, ssr, control="", table="table"):
    (row,) = rows(task, table, recipe=recipe, control=control, ssr=ssr)
    return row


def span(values, decimals):
    return f"{min(values):.{decimals}f} to {max(values):.{decimals}f}"


def effect(task, value, low, high, sign=False):
    return f"{study_page.number(task, value, sign=sign)} {study_page.interval(task, low, high)}"


def gains(task, ssr):
    doublings = rows(task, "doublings", control="", ssr=ssr)
    assert len(doublings) == 4
    return [study_page.scaled(task, row["gain"]) for row in doublings]


def verdicts(task, control):
    winners = [row["winner"] for row in rows(task, "controls", control=control) if row["winner"] != "same"]
    return {name: winners.count(name) for name in ("scaling", "control", "undecided")} | {"all": len(winners)}


def fits(task, kind):
    return sorted(fit["verdict"] for fit in rows(task, "fits", kind=kind, control=""))


def repeated(task):
    """Compare the three runs of each schedule and seed at SSR 1, where there is nothing to scale or cut off."""
    frame = runs(task)
    groups = frame[frame["ssr"] == 1].groupby(["recipe", "seed"])
    return groups.agg(
        n=("seconds", "size"), values=("quality", "nunique"), low=("seconds", "min"), high=("seconds", "max")
    )


@pytest.mark.parametrize("task", TASKS)
def test_repeated_run_has_the_same_quality(task):
    frame = repeated(task)
    assert (set(frame["n"]), set(frame["values"])) == ({3}, {1})


def difference(task, a, b, ssr):
    """Return how much better a schedule ``a`` is than ``b``, with its interval, in the format of the page."""
    (row,) = (row for row in rows(task, "paired", ssr=ssr) if {row["a"], row["b"]} == {a, b})
    turn = 1 if row["a"] == a else -1
    return effect(task, turn * row["difference"], *sorted((turn * row["low"], turn * row["high"])))


def doubling(task, recipe, ssr):
    row = cell(task, recipe, ssr, table="doublings")
    return effect(task, row["gain"], row["low"], row["high"])


def gain(task, control, recipe, ssr):
    row = cell(task, recipe, ssr, control, table="controls")
    return effect(task, row["gain"], row["low"], row["high"], sign=True)


def open_cases(task, control):
    return {(row["recipe"], row["ssr"]) for row in rows(task, "controls", control=control, winner="undecided")}


def errors(task, kind):
    """Return the error of each back-test at the largest SSR."""
    last_tests = [fit["back_tests"][-1] for fit in rows(task, "fits", kind=kind, control="")]
    assert {test["ssr"] for test in last_tests} == {2.0}
    return [study_page.scaled(task, abs(test["predicted"] - test["observed"])) for test in last_tests]


def spread(task):
    ratios = repeated(task)["high"] / repeated(task)["low"]
    return f"{ratios.median():.2f}", f"{ratios.max():.2f}"


def pooled_effect(task, control):
    """Return the effect of a control over all schedules and SSRs, in the format of the page, and its p-value."""
    estimate = pooled_control(again(task).study, control)
    assert estimate is not None
    return effect(task, estimate.value, estimate.low, estimate.high, sign=True), f"{estimate.p:.1g}"


def sentences():
    """Return the numbers in the text of the page, made from the reports."""
    digits, lm = "digits", "byte_lm"
    doubled = {
        task: [span(gains(task, ssr), 1 if task == digits else 3) for ssr in (0.125, 0.25, 0.5, 1.0)] for task in TASKS
    }
    (advice,) = (each for each in REPORTS[digits]["recommendations"] if each["recipe"] == "cosine_warmup")
    pooled = {
        (task, control): pooled_effect(task, control) for task in TASKS for control in ("truncate", "scale_warmup")
    }
    speedups = rows(lm, "speedup", recipe="cosine_warmup", control="truncate")
    truncated = span([1 / row["speedup"] for row in speedups if row["ssr"] < 1], 2)
    (crossing,) = REPORTS[lm]["crossings"]
    won = {task: verdicts(task, "truncate") for task in TASKS}
    warm = {task: verdicts(task, "scale_warmup") for task in TASKS}
    minutes = {task: REPORTS[task]["totals"]["total_seconds"] / 60 for task in TASKS}
    return [
        f"in percent: the mean of {script.TASKS[digits].seeds} seeds",
        f"bits per byte: the mean of {script.TASKS[lm].seeds} seeds",
        f"On digits, a doubling from SSR 0.125 gains {doubled[digits][0]} points of accuracy, "
        f"a doubling from 0.25 gains {doubled[digits][1]}, a doubling from 0.5 gains {doubled[digits][2]}, "
        f"and a doubling from 1 gains {doubled[digits][3]}.",
        f"On the byte language model, doublings from the same SSRs gain {doubled[lm][0]}, {doubled[lm][1]}, "
        f"{doubled[lm][2]} and {doubled[lm][3]} bits per byte, in this order.",
        f"from SSR 1 to 2, `cosine_warmup` gains {doubling(digits, 'cosine_warmup', 1.0)} points",
        f"With {advice['batch']['more']} more seeds, this interval would be half as wide",
        f"With `linear_warmup`, the last doubling gains {doubling(lm, 'linear_warmup', 1.0)} bits per byte",
        f"At SSR 0.125, `multistep_warmup` is worse than `wsd` by "
        f"{difference(digits, 'wsd', 'multistep_warmup', 0.125)} points",
        f"At SSR 0.25, the difference is {difference(digits, 'wsd', 'multistep_warmup', 0.25)} points, "
        "which is not decided",
        f"better than `cosine_warmup` by {difference(lm, 'cosine_warmup', 'linear_warmup', 0.125)} bits per byte "
        f"at SSR 0.125 "
        f"and by {difference(lm, 'cosine_warmup', 'linear_warmup', 2.0)} at SSR 2",
        f"At SSR 2, `wsd` and `linear_warmup` are equally good: they differ by "
        f"{difference(lm, 'wsd', 'linear_warmup', 2.0)}",
        f"At SSR 0.125, `wsd` is worse than `cosine_warmup` by {difference(lm, 'wsd', 'cosine_warmup', 0.125)} "
        "bits per byte",
        f"At SSR 2, `wsd` is better than `cosine_warmup` by {difference(lm, 'cosine_warmup', 'wsd', 2.0)}.",
        f"near SSR {crossing['ssr']:.2f} [{crossing['low']:.2f}, {crossing['high']:.2f}]",
        f"scaling gains {pooled[digits, 'truncate'][0]} points on digits (p = {pooled[digits, 'truncate'][1]}) and "
        f"{pooled[lm, 'truncate'][0]} bits per byte (p = {pooled[lm, 'truncate'][1]})",
        f"this gain is {pooled[digits, 'scale_warmup'][0]} points on digits (p = {pooled[digits, 'scale_warmup'][1]}) "
        f"and {pooled[lm, 'scale_warmup'][0]} bits per byte (p = {pooled[lm, 'scale_warmup'][1]})",
        f"Scaling wins {won[digits]['scaling']} of {won[digits]['all']} comparisons on digits and "
        f"{won[lm]['scaling']} of "
        f"{won[lm]['all']} on the byte language model.",
        f"a truncated `cosine_warmup` needs {truncated} times as many steps as a scaled `cosine_warmup`",
        f"{gain(lm, 'truncate', 'multistep_warmup', 0.125)} bits per byte at SSR 0.125",
        f"{gain(lm, 'truncate', 'multistep_warmup', 0.25)} at SSR 0.25",
        f"Examples are `cosine_warmup` at SSR 0.25 ({gain(digits, 'truncate', 'cosine_warmup', 0.25)}), "
        "`linear_warmup` at SSR 0.5 "
        f"({gain(digits, 'truncate', 'linear_warmup', 0.5)}) and `multistep_warmup` at SSR 0.125 "
        f"({gain(digits, 'truncate', 'multistep_warmup', 0.125)})",
        f"{sum(counts['undecided'] for counts in warm.values())} of "
        f"{sum(counts['all'] for counts in warm.values())} comparisons are "
        "undecided",
        f"The gain is {gain(digits, 'scale_warmup', 'cosine_warmup', 0.125)} points for `cosine_warmup` and "
        f"{gain(digits, 'scale_warmup', 'linear_warmup', 0.125)} for `linear_warmup`",
        f"is {gain(lm, 'scale_warmup', 'wsd', 0.125)} bits per byte for `wsd` and "
        f"{gain(lm, 'scale_warmup', 'multistep_warmup', 0.125)} for `multistep_warmup`",
        f"its prediction is wrong by {span(errors(digits, 'quadratic'), 1)} points",
        f"The prediction of the power law is wrong by {span(errors(digits, 'power'), 1)} points",
        f"the prediction of the power law is wrong by {span(errors(lm, 'power'), 3)} bits per byte, and "
        f"the prediction of the quadratic is wrong by {span(errors(lm, 'quadratic'), 3)}",
        f"On digits, the median of this ratio is {spread(digits)[0]}, and its maximum is {spread(digits)[1]}.",
        f"On the byte language model, the median is {spread(lm)[0]}, and the maximum is {spread(lm)[1]}.",
        f"On digits, a run at SSR 1 takes {cell(digits, 'cosine_warmup', 1)['seconds']:.1f} seconds",
        f"`cosine_warmup` takes {cell(lm, 'cosine_warmup', 1)['seconds']:.1f} seconds and `wsd` takes "
        f"{cell(lm, 'wsd', 1)['seconds']:.1f} seconds",
        f"{minutes[digits]:.0f} minutes for {REPORTS[digits]['totals']['runs']} runs on digits and "
        f"{minutes[lm]:.0f} minutes for {REPORTS[lm]['totals']['runs']} runs on the byte language model",
    ]


# Numbers of the setup of the study, which are not results.
SETTINGS = {"0.125", "0.25", "0.5", "1", "2", "99", "50"}  # SSRs; the level of verdicts; ResNet-50


def prose():
    """Return the page as one line, without tables, code, link targets and markers for tools."""
    text = re.sub(r"```.*?```|<!--.*?-->|^\|.*?$", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return " ".join(text.split())


def test_every_number_on_the_page_is_a_setting_or_is_computed_from_the_reports():
    text = prose()
    for sentence in sentences():
        assert sentence in text, sentence
        text = text.replace(sentence, "")
    remaining = text[: text.index("## What was run")] + text[text.index("## The gain of longer training") :]
    assert set(re.findall(r"\d[\d,.]*\d|\d", remaining)) <= SETTINGS


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
        assert cell("digits", schedule, ssr, "truncate")["sd"] > cell("digits", schedule, ssr)["sd"]
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
    assert all(min(gains("byte_lm", ssr)) > 0.05 for ssr in (0.125, 0.25, 0.5, 1.0))
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
