"""Files that other programs read."""

import csv
import io
import json

import pandas as pd
import pytest
from study_runs import study_of

from ssr_hydra.report import build
from ssr_hydra.report.exports import as_csv, as_json, as_latex, as_markdown, runs_csv, table_csv
from ssr_hydra.report.tables import Column, Table, TableCell, TableRow, main_table
from ssr_hydra.report.write import looks_at
from ssr_hydra.studies import from_csv


def test_csv_table_has_every_digit(content):
    rows = list(csv.DictReader(io.StringIO(table_csv(content))))
    assert len(rows) == len(content.summary) == 24
    for row, expected in zip(rows, content.summary.itertuples(), strict=True):
        assert (row["recipe"], row["control"]) == (expected.recipe, expected.control)
        assert (float(row["mean"]), float(row["low"])) == (expected.mean, expected.low)
    assert {row["frontier"] for row in rows} <= {"frontier", "dominated", "within_noise"}


def test_unchanged_means_are_not_counted_as_another_report(tmp_path):
    for runs, looks in ((4, 1), (5, 2)):
        (tmp_path / "t.csv").write_text(f"ssr,acc,n,sd\n0.5,0.8,3,0.01\n1,0.9,{runs},0.01\n", encoding="utf-8")
        study = from_csv(tmp_path / "t.csv", "ssr", "acc", n="n", sd="sd")
        if looks == 1:
            (tmp_path / "report.json").write_text(as_json(build(study)), encoding="utf-8")
        assert looks_at(study, tmp_path) == looks


def test_csv_file_has_every_run_including_failed_runs(content):
    rows = list(csv.DictReader(io.StringIO(runs_csv(content))))
    assert len(rows) == len(content.study.frame)
    failed = [row for row in rows if row["status"] == "failed"]
    assert [(row["quality"], row["error"]) for row in failed] == [("", "RuntimeError: CUDA out of memory")]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n@x", '=HYPERLINK("http://x")']
)
def test_text_that_a_spreadsheet_would_compute_as_a_formula_is_escaped(text):
    (_, (cell,)) = csv.reader(io.StringIO(as_csv(pd.DataFrame({"name": [text]}))))
    # A control character is written as its escape; text that begins with a backslash is not a formula.
    assert cell == f"'{text}" if text.isprintable() else cell.startswith("\\")


def test_numbers_of_any_sign_are_exported_as_numbers():
    frame = pd.DataFrame({"a": [-0.5, float("nan")], "b": pd.array([-3, None], dtype="Int64"), "c": [True, False]})
    assert as_csv(frame) == "a,b,c\n-0.5,-3,true\n,,false\n"


@pytest.mark.parametrize(
    "text", ["a|b", "<b>x</b>", "[x](http://y)", "![x](y)", "`x`", "**x**", "_x_", "a\nb", "# x", "\\|"]
)
def test_markup_in_markdown_stays_text(text):
    markdown = as_markdown(Table((Column("name", "name"),), (TableRow((TableCell(text),)),)))
    line = markdown.splitlines()[2]
    assert len(markdown.splitlines()) == 3
    inside = line.removeprefix("| ").removesuffix(" |")
    plain = inside.replace("\\\\", "")
    for mark in "|<>[]`*_#!":
        assert mark not in plain.replace(f"\\{mark}", "")


def test_ordinary_names_stay_readable_in_markdown(content):
    markdown = as_markdown(main_table(content))
    assert markdown.startswith("| recipe | SSR | seeds | eval/accuracy | 95 % interval |")
    assert "| cosine_warmup | 0.125 | 4 |" in markdown


def test_json_has_every_result_and_its_description(content):
    report = json.loads(as_json(content))
    assert (report["schema"], report["version"]) == ("ssr-hydra/report", 2)
    assert set(report) == {
        "schema", "version", "generator", "sources", "objective", "direction", "axis", "equal_axis", "options",
        "answer", "steps", "looks", "soonest", "recommendations",
        "table", "pareto", "doublings", "winners", "paired", "controls", "speedup", "equal_time",
        "crossings", "ranking", "outliers", "fits", "problems", "notes", "totals", "hardware", "versions",
    }  # fmt: skip
    assert report["options"]["tolerance"] == 0.005
    assert report["totals"]["runs"] == len(content.study.frame)
    assert [problem["kind"] for problem in report["problems"]] == ["torn", "unfinished", "failed", "diverged"]
    assert content.choice is not None
    assert report["answer"]["recipe"] == content.choice.recipe
    assert [rival["recipe"] for rival in report["answer"]["rivals"]] == ["linear_warmup", "cosine_warmup"]
    assert report["answer"]["rivals"][0]["margin"] == content.choice.rivals[0].margin
    assert report["soonest"]["recipe"] == "wsd"
    assert all(row["open"] == [] for row in report["winners"] if row["decided"])
    assert report["table"][0]["mean"] == content.summary["mean"].iloc[0]


def test_value_that_is_not_finite_is_null_in_json(resnet50):
    content = build(from_csv(resnet50, ssr="ssr", quality="top1", seconds="seconds"))
    report = json.loads(as_json(content), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (report["table"][0]["low"], report["table"][0]["steps"]) == (None, None)


def test_special_characters_in_the_latex_table_are_escaped():
    cells = {"wsd_10% & $x$": {0.5: [0.80, 0.82], 1.0: [0.9, 0.91]}, "b\\^": {1.0: [0.7, 0.72]}}
    content = build(study_of(cells))
    lines = as_latex(content).splitlines()
    assert lines[:3] == [r"\begin{tabular}{lrr}", r"\toprule", r"SSR & 0.5 & 1 \\"]
    half = (content.summary["high"] - content.summary["low"]).iloc[0] / 2
    assert lines[4].startswith(
        rf"wsd\_10\% \& \$x\$ & {0.81:.{content.decimals}f} $\pm$ {half:.{content.decimals}f} & "
    )
    assert lines[5].startswith(r"b\textbackslash{}\textasciicircum{} &  & 0.7")
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
