"""Tables: the content of their cells, and notes about omitted rows."""

import math
from dataclasses import replace

import pytest
from study_runs import study_of

from ssr_hydra.report import build
from ssr_hydra.report.tables import Column, Table, TableRow, main_table, steps_table, tables
from ssr_hydra.studies import from_csv


def test_main_table_has_a_row_for_each_cell(content):
    table = main_table(content)
    heads = "recipe/SSR/seeds/eval/accuracy/95 % interval/steps/samples/training/cost/frontier"
    assert "/".join(column.head for column in table.columns) == heads
    assert len(table.rows) == 24
    by_name = {(row.cells[0].text, row.cells[1].text): row for row in table.rows}
    names = ["cosine_warmup", "cosine_warmup (truncate)", "linear_warmup", "linear_warmup (truncate)", "wsd"]
    assert list(dict.fromkeys(name for name, _ in by_name)) == [*names, "wsd (truncate)"]
    last = by_name["wsd", "2"]
    assert last.chosen
    assert [row.chosen for row in table.rows].count(True) == 1
    assert last.cells[2].text == "4 of 5"  # one of them diverged
    summary = content.summary
    expected = summary[(summary["recipe"] == "wsd") & (summary["control"] == "") & (summary["ssr"] == 2)].iloc[0]
    assert last.cells[3].text == f"{expected['mean']:.4f}"
    assert last.cells[4].text == f"[{expected['low']:.4f}, {expected['high']:.4f}]"
    assert [cell.text for cell in last.cells[5:9]] == ["2,400", "38,400", "12 s", "0.00667"]  # 2 an hour for 12 s


@pytest.mark.parametrize(
    ("gain", "low", "high", "text"),
    [
        (0.02, 0.011, 0.03, "above"),
        (0.005, 0.0, 0.0099, "below"),
        (0.01, 0.0, 0.02, "open"),
        (0.02, math.nan, math.nan, "above, noise unknown"),
        (0.002, math.nan, math.nan, "below, noise unknown"),
    ],
)
def test_gain_of_a_doubling_is_compared_with_the_tolerance(content, gain, low, high, text):
    row = content.doublings.iloc[:1].assign(gain=gain, low=low, high=high, sure_low=low, sure_high=high)
    (table_row,) = tables(replace(content, doublings=row, tolerance=0.01))["doublings"].rows
    assert table_row.cells[-1].text == text


def test_table_of_tolerances_has_a_row_for_each_choice(resnet50):
    table = steps_table(build(from_csv(resnet50, ssr="ssr", quality="top1")))
    assert [[cell.text for cell in row.cells] for row in table.rows][1:4] == [
        ["2.64 to 6.65", "resnet50", "0.25", "noise not measured"],
        ["1.16 to 2.64", "resnet50", "0.5", "noise not measured"],
        ["0.25 to 1.16", "resnet50", "1", "noise not measured"],
    ]
    assert not steps_table(build(study_of({"a": {1.0: [0.5], 2.0: [0.4]}})))  # any options give SSR 1


def test_every_statistic_has_its_table(content):
    report_tables = tables(content)
    rows = {name: len(table.rows) for name, table in report_tables.items()}
    assert rows["doublings"] == len(content.doublings) == 3 * 4 + 3 * 2
    assert rows["paired"] == 3 * 5  # three pairs of recipes at five SSRs
    assert rows["controls"] == 3 * 3  # truncation only below ssr 1
    assert rows["fits"] == 3 * 2
    assert rows["problems"] == 4
    unpaired = {name: {1.0: {None: 0.5}, 2.0: {None: 0.6}} for name in "ab"}
    assert not tables(build(study_of(unpaired)))["paired"]
    hardware = {row.cells[0].text: row.cells[1].text for row in report_tables["hardware"].rows}
    assert (hardware["cpu"], hardware["torch"]) == ("a cpu", "2.10.0")
    assert rows["speedup"] == len(content.speedup)
    assert [column.head for column in report_tables["equal_time"].columns] == [
        "recipe", "150 steps", "300 steps", "600 steps", "1,200 steps", "2,400 steps",
    ]  # fmt: skip
    assert {row.cells[6].text for row in report_tables["controls"].rows} <= {"scaling", "control", "undecided"}
    for table in report_tables.values():
        assert {len(row.cells) for row in table.rows} <= {len(table.columns)}


def test_omitted_rows_are_counted():
    table = Table((Column("a"),), tuple(TableRow(()) for _ in range(5)))
    assert (len(table.first(3).rows), table.first(3).more) == (3, 2)
    assert (len(table.first(9).rows), table.first(9).more) == (5, 0)


def test_table_of_the_target_has_ratios_to_the_fastest_recipe(content):
    table = tables(content)["target"]
    times = [row.cells[4].text for row in table.rows]
    assert times[0] == "1x"
    assert [float(text[:-1]) for text in times] == sorted(float(text[:-1]) for text in times)
    assert table.rows[0].cells[0].text == "wsd"
    assert all(row.cells[2].text.endswith(" steps") for row in table.rows)
    assert not tables(build(content.study))["target"]
    assert [row.cells[1].text for row in tables(content)["ranking"].rows] == ["3"] * 4  # three pairs of recipes


def test_lengths_in_epochs_are_shown_in_epochs(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("epochs,top1\n30,91\n90,93\n", encoding="utf-8")
    content = build(from_csv(path, "epochs", "top1", full=90))
    table = main_table(content)
    assert [column.head for column in table.columns][1:3] == ["SSR", "epochs"]
    assert [[cell.text for cell in row.cells[1:3]] for row in table.rows] == [["0.3333", "30"], ["1", "90"]]
    assert content.ssr_label == "Scale schedule ratio (SSR); 1 is 90 epochs"
