"""Tables from other sources."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from checkout import REPO
from refusals import refused
from scipy import stats
from study_runs import study_of

from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MismatchError,
    MissingValueError,
    PathError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.studies import doublings, from_csv, paired, summary, winners

TABLES = Path(__file__).parent / "tables"
TABLE = REPO / "docs/data/resnet50_imagenet.csv"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


SUMMARIES = """\
recipe,ssr,acc,runs,spread
a,0.5,0.80,5,0.01
a,1,0.90,5,0.02
b,0.5,0.81,1,
b,1,0.93,5,
"""


def test_rows_may_be_means_of_several_runs(tmp_path: Path) -> None:
    path = written(tmp_path, SUMMARIES)
    study = from_csv(path, "ssr", "acc", recipe="recipe", n="runs", sd="spread")
    cells = [cell for series in study.series for cell in series.cells]
    assert [cell.n for cell in cells] == [5, 5, 1, 5]
    assert [cell.error for cell in cells[:2]] == pytest.approx([0.01 / 5**0.5, 0.02 / 5**0.5])
    table = summary(study)
    assert table["n"].tolist() == [5, 5, 1, 5]
    assert table["low"].notna().all()  # b has the noise of a
    plain = summary(replace(study, noise="cell"))
    assert plain["low"].isna().tolist() == [False, False, True, True]
    half = stats.t.ppf(0.975, 4) * 0.01 / 5**0.5  # of the accuracy; the logit uses the delta method
    logit = math.log(0.8 / 0.2) - half / 0.16
    assert plain["low"][0] == pytest.approx(1 / (1 + math.exp(-logit)))
    assert study.totals()["runs"] == 16
    errors = from_csv(path, "ssr", "acc", recipe="recipe", n="runs", se="spread")
    assert errors.series[0].cells[0].error == pytest.approx(0.01)


def test_quality_cell_may_contain_its_standard_deviation_after_a_plus_minus_sign(tmp_path: Path) -> None:
    path = written(tmp_path, "ssr;acc;n\n0.5;80.1 ± 0.2;3\n1;90.5 +- 0.4%;3\n2;91.0;1\n")
    study = from_csv(path, "ssr", "acc", n="n", sd="acc")
    (series,) = study.series
    assert series.values.tolist() == [80.1, 90.5, 91.0]
    assert [cell.variance**0.5 for cell in series.cells[:2]] == pytest.approx([0.2, 0.4])
    written(tmp_path, "n;0.5;1\n3;80.1 ± 0.2;90.5 ± 0.4\n")
    (wide,) = from_csv(path, None, "acc", wide=["0.5", "1"], n="n", sd="acc").series
    assert [cell.variance**0.5 for cell in wide.cells] == pytest.approx([0.2, 0.4])
    written(tmp_path, "ssr;acc;n\n0.5;80.1 ± 0.2;3\n")
    with refused("csv", FormatError, match=r"quality is '80.1 ± 0.2', not a number"):
        from_csv(path, "ssr", "acc", pool=["n"])


def test_wide_tables_have_a_column_for_each_ssr(tmp_path: Path) -> None:
    path = written(tmp_path, "method\tyear\t30 epochs\t90 epochs\nbase\t2020\t70.1 ± 0.2\t76.5\nmix\t2021\t\t77.9\n")
    study = from_csv(
        path, None, "top1", recipe="method", wide=["30 epochs", "90 epochs"], full=90, pool=["year"], direction="max"
    )
    assert [problem.reason for problem in study.problems] == ["quality is '70.1 ± 0.2', not a number"]
    written(tmp_path, "method,25%,1\nbase,70.1,76.5\nmix,,77.9\n")
    study = from_csv(path, None, "top1", recipe="method", wide=["25%", "1"])
    assert study.objective == "top1"
    qualities = {
        (series.recipe, float(ssr)): value
        for series in study.series
        for ssr, value in zip(series.ssr, series.values, strict=True)
    }
    assert qualities == {("base", 0.25): 70.1, ("base", 1.0): 76.5, ("mix", 1.0): 77.9}  # empty: no run
    assert study.problems == ()
    with refused("wide", UnknownNameError):
        from_csv(path, None, "top1", recipe="method", wide=["nine"])
    with refused("quality", UnknownNameError):  # the name of the metric is not a column of the file
        from_csv(path, None, "method", wide=["25%", "1"])
    with refused("wide", FormatError):
        from_csv(path, None, "top1", wide=["method"])
    for header, wide, kind in (
        ("top1_0.5,top1_1", ["top1_0.5", "top1_1"], FormatError),  # two numbers
        ("-1,0.5", ["-1", "0.5"], FormatError),
        ('"10,000 its",2', ["10,000 its"], FormatError),
        ("0.5,50%", ["0.5", "50%"], ConflictError),  # the same SSR
        ("1 epoch,90", ["1 epoch", "90"], MismatchError),  # a length and an SSR
    ):
        with refused("wide", kind):
            from_csv(written(tmp_path, f"{header}\n0.1,0.2\n"), None, "top1", wide=wide)
    for ssr, wide in ((None, []), ("1", ["25%"])):
        with refused("ssr", ConflictError):
            from_csv(path, ssr, "top1", wide=wide)


@pytest.mark.parametrize(
    ("header", "options", "ssrs"),
    [
        (".5;1", {}, [0.5, 1.0]),
        ("0,5;1", {"decimal": ","}, [0.5, 1.0]),
        ("ep30;ep90", {"full": 90}, [1 / 3, 1.0]),
        ("1 epoch;2 epochs", {"full": 4}, [0.25, 0.5]),
        ("1E9 tokens;2e9 tokens", {"full": 2e9}, [0.5, 1.0]),
    ],
)
def test_names_of_wide_columns_are_read_as_numbers(
    tmp_path: Path, header: str, options: dict[str, Any], ssrs: list[float]
) -> None:
    study = from_csv(written(tmp_path, f"{header}\n7;8\n"), None, "top1", wide=header.split(";"), **options)
    assert study.frame["ssr"].tolist() == pytest.approx(ssrs)
    assert study.frame["quality"].tolist() == [7.0, 8.0]


@pytest.mark.parametrize(
    ("text", "fix"),
    [("ssr;acc\n0,5;0.8\n", "set decimal to a comma"), ("ssr,acc\n", "write a row for each run"),
     ("ssr,acc\nx,0.8\n", "correct the cells, or name a different column")],
)  # fmt: skip
def test_error_for_a_table_without_a_run_names_a_fix(tmp_path: Path, text: str, fix: str) -> None:
    with refused("csv", FormatError) as caught:
        from_csv(written(tmp_path, text), "ssr", "acc")
    assert caught.value.fix == fix


def test_column_with_two_meanings_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "m,steps,acc\na,50,0.5\nb,100,0.6\n")
    for field, options in (
        ("pool", {"recipe": "m", "pool": "m"}),
        ("recipe", {"recipe": ["m"], "seed": "m"}),
        ("steps", {"recipe": "m", "steps": "acc"}),
    ):
        with refused(field, ConflictError):
            from_csv(path, "steps", "acc", full=100, **options)  # type: ignore[arg-type]
    study = from_csv(path, "steps", "acc", steps="steps", full=100, pool="m")  # a length may also be the steps
    assert study.frame[["ssr", "steps"]].to_numpy().tolist() == [[0.5, 50.0], [1.0, 100.0]]


@pytest.mark.parametrize(
    ("columns", "field", "kind"),
    [
        ({"sd": "spread"}, "sd", MissingValueError),
        ({"n": "runs", "sd": "spread", "se": "spread"}, "se", ConflictError),
        ({"n": "runs", "seed": "spread"}, "n", ConflictError),
    ],
)
def test_invalid_columns_of_summaries_are_refused(
    tmp_path: Path, columns: dict[str, str], field: str, kind: type[InputError]
) -> None:
    with refused(field, kind):
        from_csv(written(tmp_path, SUMMARIES), "ssr", "acc", recipe="recipe", **columns)  # type: ignore[arg-type]


def test_mean_of_several_runs_must_be_the_only_row_of_a_cell(tmp_path: Path) -> None:
    path = written(tmp_path, SUMMARIES + "a,1,0.91,5,0.02\nb,2,0.9,x,\n")
    with refused("n", ConflictError, match="lines 3 and 6"):
        from_csv(path, "ssr", "acc", recipe="recipe", n="runs", sd="spread")
    written(tmp_path, SUMMARIES + "b,2,0.9,x,\n")
    study = from_csv(path, "ssr", "acc", recipe="recipe", n="runs", sd="spread")
    assert [problem.reason for problem in study.problems] == ["n is 'x', and must be a whole number of at least 1"]


def test_published_table_is_read() -> None:
    study = from_csv(TABLE, "ssr", "top1", "seconds")
    assert study.frame["ssr"].tolist() == [0.1, 0.25, 0.5, 1.0, 1.25, 1.5, 2.0, 4.0, 5.69]
    assert study.frame["quality"].tolist() == [64.99, 73.02, 75.66, 76.82, 77.07, 77.08, 77.07, 76.67, 76.32]
    # A run at SSR 1 takes 6.83 hours, and the time is proportional to the SSR.
    assert (study.frame["seconds"] / study.frame["ssr"]).tolist() == pytest.approx([6.83 * 3600] * 9, rel=1e-3)
    assert (study.recipes, study.problems, study.objective) == (("resnet50_imagenet",), (), "top1")
    assert summary(study)["low"].isna().all()


def test_ssr_with_a_rounding_error_is_read_as_the_nearest_simple_ratio(tmp_path: Path) -> None:
    text = f"s,q,i\n0.3,0.5,0\n{0.1 + 0.2!r},0.7,1\n{float(np.float32(0.3))!r},0.6,2\n"
    (row,) = summary(from_csv(written(tmp_path, text), "s", "q", seed="i", direction="max")).itertuples()
    assert (row.ssr, row.n) == (0.3, 3)


def test_recipes_and_seeds_are_read_from_columns(tmp_path: Path) -> None:
    rows = ["a,1,0.5,0,x", "a,1,0.7,1,x", "b,1,0.4,0,x", "b,1,0.5,1,", "", "a,2,0.9,0,x", "a,2,1.0,1,x"]
    text = "\ufeffmethod, ssr ,acc,seed,extra\n" + "\n".join(rows)
    study = from_csv(written(tmp_path, text), "ssr", "acc", recipe="method", seed="seed", pool=["extra"])
    assert study.recipes == ("a", "b")
    (row,) = paired(study, "a", "b").itertuples()
    assert (row.n, row.difference) == (2, pytest.approx(0.15))
    assert study.frame["seconds"].isna().all()
    assert study.problems == ()
    with refused("axis", MissingValueError):
        from ssr_hydra.studies import pareto

        pareto(study)


def test_rows_of_a_cell_without_a_seed_column_are_not_paired(tmp_path: Path) -> None:
    study = from_csv(written(tmp_path, "s,q\n1,0.5\n1,0.6\n2,0.7\n2,0.9\n"), "s", "q", direction="min")
    (row,) = doublings(study).itertuples()
    assert (row.method, row.gain) == ("welch", pytest.approx(-0.25))
    assert study.recipes == ("table",)


def test_problems_name_the_rows_that_cannot_be_read(tmp_path: Path) -> None:
    rows = "1,0.5,0 x,0.5,0 1,nan,1 0,0.5,1 -1,0.5,1 1,,2 1,0.6 1,0.7,1.5 1,0.7,-1 1,0.8,0 2,0.9,".split()
    study = from_csv(written(tmp_path, "ssr,q,seed\n" + "\n".join(rows)), "ssr", "q", seed="seed", direction="max")
    assert study.completed["quality"].tolist() == [0.5, 0.9]
    problems = {int(problem.where.rpartition(":")[2]): (problem.kind, problem.reason) for problem in study.problems}
    kinds = {**dict.fromkeys((3, 5, 6, 8, 9, 10), "torn"), 4: "diverged", 7: "diverged", 11: "duplicate"}
    assert {line: kind for line, (kind, _) in problems.items()} == kinds
    assert problems[3][1] == "ssr is 'x', not a finite number"
    assert problems[4][1] == "quality is 'nan'"
    assert problems[8][1] == "2 cells, but the header has 3"
    assert "whole number" in problems[9][1]


def test_a_negative_time_is_reported_and_ignored(tmp_path: Path) -> None:
    study = from_csv(written(tmp_path, "ssr,q,t\n1,0.5,-3\n2,0.6,\n"), "ssr", "q", "t", direction="max")
    assert study.problems[0].reason == "seconds is '-3', and must be at least 0"
    assert math.isnan(study.frame["seconds"][0])


METHODS = "ssr,acc,method,host,seed\n" + "".join(
    f"{ssr},{0.5 + ssr / 10 + better},{method},node{seed},{seed}\n"
    for ssr in (1, 2)
    for method, better in (("cosine", 0.0), ("linear", 0.05))
    for seed in (0, 1)
)


def test_rows_that_differ_in_unnamed_columns_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, METHODS)
    with refused("recipe", ConflictError) as caught:
        from_csv(path, "ssr", "acc")
    assert str(caught.value) == (
        "recipe=None: lines 2 and 4 have the same recipe and ssr 1, but differ in columns that are not in any option: "
        "'method', 'host', 'seed'; pass each column to an option: recipe if it distinguishes recipes, seed if it has "
        "seeds, otherwise pool"
    )
    # If only seed is named, the linear runs would count as duplicates of the cosine runs.
    with refused("recipe", ConflictError):
        from_csv(path, "ssr", "acc", seed="seed")
    with refused("recipe", ConflictError, match="not in any option: 'host'; "):
        from_csv(path, "ssr", "acc", recipe="method", seed="seed")
    study = from_csv(path, "ssr", "acc", recipe="method", seed="seed", pool=["host"])
    assert (study.recipes, summary(study)["n"].tolist()) == (("cosine", "linear"), [2, 2, 2, 2])
    pooled = from_csv(path, "ssr", "acc", pool=["host", "method", "seed"])
    assert (pooled.recipes, summary(pooled)["n"].tolist()) == (("table",), [4, 4])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("note", ["", "", "restarted", ""]),
        ("val_loss", ["0.31", "0.31", "0.22", "0.23"]),
        ("method", ["sam", "", "sam", "sam"]),  # the cell of the baseline is blank
        ("method", ["18", "34", "18", "34"]),  # only numbers
    ],
)
def test_column_that_differs_between_runs_of_one_recipe_and_ssr_must_be_named(
    tmp_path: Path, column: str, values: list[str]
) -> None:
    rows = "".join(f"{ssr},0.5,{value}\n" for ssr, value in zip((1, 1, 2, 2), values, strict=True))
    path = written(tmp_path, f"ssr,acc,{column}\n{rows}")
    with refused("recipe", ConflictError, match=f"not in any option: '{column}'; "):
        from_csv(path, "ssr", "acc")
    assert summary(from_csv(path, "ssr", "acc", pool=[column]))["n"].tolist() == [2, 2]
    assert len(summary(from_csv(path, "ssr", "acc", recipe=column))) > 2


def test_column_that_is_constant_for_each_recipe_and_ssr_need_not_be_named(tmp_path: Path) -> None:
    rows = "1,0.5,r50\n1,0.6,r50\n2,0.7,r101\n2,0.8,r101\n"
    study = from_csv(written(tmp_path, f"ssr,acc,model\n{rows}"), "ssr", "acc")
    assert summary(study)["n"].tolist() == [2, 2]


def test_recipes_with_blank_cells_have_different_names() -> None:
    study = from_csv(TABLES / "blank_in_recipe_column.csv", "ssr", "top1", recipe=["lr", "wd"], seed="seed")
    assert study.recipes == ("lr=0.1", "wd=0.1")
    assert (summary(study)["n"].tolist(), study.problems) == ([1] * 6, ())
    assert summary(study)["mean"].tolist() == pytest.approx([0.525, 0.55, 0.6, 0.825, 0.85, 0.9])


@pytest.mark.parametrize(
    "cells",
    [
        [("a b", "c"), ("a", "b c")],  # a cell contains the character that joins names
        [("x", ""), ("", "x")],
        [("1 b=2", ""), ("1", "2")],  # a cell looks like a part of a name
        [("a\x1b", "c"), ("a\x07", "c")],  # equal after control characters are replaced
        [("", ""), ("table", "")],  # the name of the table itself
        [("x" * 200 + "1", ""), ("x" * 200 + "2", "")],  # equal after they are shortened
    ],
)
def test_different_cells_never_give_the_same_recipe_name(tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    rows = "".join(f'{ssr},{ssr / 10},"{a}","{b}"\n' for a, b in cells for ssr in (1, 2))
    study = from_csv(written(tmp_path, f"ssr,acc,a,b\n{rows}"), "ssr", "acc", recipe=["a", "b"])
    assert len(study.recipes) == 2
    assert summary(study)["n"].tolist() == [1] * 4


@pytest.mark.parametrize(
    ("header", "message"), [("ssr,acc,,", "column 3, 4 of 4"), (",ssr,acc,x", "column 1 of 4"), ("ssr,acc,x, x", "'x'")]
)
def test_header_names_every_column_once(tmp_path: Path, header: str, message: str) -> None:
    with refused("csv", FormatError, match=message):
        from_csv(written(tmp_path, f"{header}\n1,0.5,,\n1,0.6,,\n"), "ssr", "acc")


def test_seeds_written_as_floats_are_read_as_whole_numbers(tmp_path: Path) -> None:
    seeds = ["0.0", "1.0", "", "2e0", "9007199254740993.0", "1.5", "-1.0", "nan", "1e999999999"]
    rows = "".join(f"1,0.{place + 1},{seed}\n" for place, seed in enumerate(seeds))
    study = from_csv(written(tmp_path, f"ssr,acc,seed\n{rows}"), "ssr", "acc", seed="seed")
    # 2^53 + 1 is not a float, but is read exactly.
    assert study.frame["seed"].astype(object).where(study.frame["seed"].notna(), None).tolist() == [
        0, 1, None, 2, 2**53 + 1,
    ]  # fmt: skip
    assert [problem.reason for problem in study.problems] == [
        f"seed is {seed!r}, and must be a whole number of at least 0" for seed in seeds[5:]
    ]


def test_times_may_have_different_units(tmp_path: Path) -> None:
    path = written(tmp_path, "ssr,acc,wall_hours,t\n1,0.5,1.5,90\n2,0.6,3,180\n")
    # An hour and a half is 90 minutes, 5,400 seconds.
    for unit, column in (("hours", "wall_hours"), ("minutes", "t")):
        assert from_csv(path, "ssr", "acc", **{unit: column}).frame["seconds"].tolist() == [5400.0, 10800.0]  # type: ignore[arg-type]
    with pytest.raises(
        InputError,
        match=r"^seconds='wall_hours': must be a column of seconds, but its name says hours; pass the column as hours",
    ):
        from_csv(path, "ssr", "acc", "wall_hours")
    with refused("hours", ConflictError):
        from_csv(path, "ssr", "acc", "t", hours="wall_hours")
    for unit, column, fix in (
        ("hours", "train_s", "pass the column as seconds, or rename the column"),
        ("seconds", "time (ms)", "convert the column to seconds, or rename the column"),
    ):
        with refused(unit, MismatchError) as caught:
            from_csv(written(tmp_path, f"ssr,acc,{column}\n1,0.5,90\n"), "ssr", "acc", **{unit: column})  # type: ignore[arg-type]
        assert caught.value.fix == fix


def test_recipe_name_is_one_line_of_printable_characters(tmp_path: Path) -> None:
    study = from_csv(
        written(tmp_path, 'ssr,q,r\n1,0.5,"a\n\x1b[31m"\n1,0.5,\n'), "ssr", "q", recipe="r", direction="max"
    )
    assert study.recipes == ("a\ufffd\ufffd[31m", "table")


@pytest.mark.parametrize(
    ("text", "columns", "field", "kind"),
    [
        ("ssr,q\n1,2\n", {"ssr": "SSR"}, "ssr", UnknownNameError),
        ("ssr,q,q\n1,2,3\n", {}, "quality", UnknownNameError),
        ("ssr,q\n1,2\n", {"seconds": "t"}, "seconds", UnknownNameError),
        ("ssr,q\n1,2\n", {"direction": "up"}, "direction", UnknownNameError),
        ("ssr,q\n1,x\n", {}, "csv", FormatError),
        ("ssr,q\n", {}, "csv", FormatError),
        ("", {}, "csv", FormatError),
        ("\n\n", {}, "csv", FormatError),
        ("\ufeff", {}, "csv", FormatError),
        (b"ssr,q\n1,\xff\xfe\n", {}, "csv", PathError),
        ("ssr,q\n1," + "9" * 200_000 + "\n", {}, "csv", PathError),
    ],
)
def test_invalid_table_is_refused(
    tmp_path: Path, text: str | bytes, columns: dict[str, str], field: str, kind: type[InputError]
) -> None:
    with refused(field, kind):
        from_csv(written(tmp_path, text), **{"ssr": "ssr", "quality": "q", **columns})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "direction"), [("error rate", "min"), ("Test accuracy (%)", "max")])
def test_direction_follows_from_the_column_name(tmp_path: Path, name: str, direction: str) -> None:
    path = written(tmp_path, f"ssr,{name}\n1,3\n2,2\n")
    study = from_csv(path, "ssr", name)
    assert study.direction == direction
    (row,) = doublings(study).itertuples()
    assert row.gain == (1 if direction == "min" else -1)  # from 3 to 2
    assert from_csv(path, "ssr", name, direction="max").direction == "max"  # the option has priority


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("head", ["", "# made by hand, 2024; see the paper\n\n"])
def test_delimiters_and_comments_are_supported(tmp_path: Path, delimiter: str, head: str) -> None:
    text = head + "ssr,loss,method\n1,3,a; b\n# a comment, in the table\n\n2,x,b\n".replace(",", delimiter)
    text = text.replace("a; b", '"a; b"') if delimiter == ";" else text
    path = written(tmp_path, text)
    study = from_csv(path, "ssr", "loss", recipe="method")
    assert (study.recipes, study.completed["quality"].tolist()) == (("a; b",), [3.0])
    # Lines are counted as in an editor.
    line = text.split("\n").index(f"2{delimiter}x{delimiter}b") + 1
    assert [problem.where for problem in study.problems] == [f"{path}:{line}"]


def test_header_line_may_begin_with_a_comment_sign(tmp_path: Path) -> None:
    study = from_csv(written(tmp_path, "# numbers\n# ssr\tloss\n1\t3\n2\t2\n"), "ssr", "loss")
    assert study.frame["quality"].tolist() == [3.0, 2.0]


def test_percentages_are_read(tmp_path: Path) -> None:
    study = from_csv(written(tmp_path, "length,top1\n25%,93.1%\n50 %,94%\n100%,n/a\n1,95\n"), "length", "top1")
    assert study.frame["ssr"].tolist() == [0.25, 0.5, 1.0]
    assert study.completed["quality"].tolist() == [93.1, 94.0]
    assert [(problem.kind, problem.reason) for problem in study.problems] == [
        ("torn", "quality is '95', but other rows have percentages"), ("diverged", "quality is 'n/a'"),
    ]  # fmt: skip


def test_ssr_is_the_length_divided_by_the_length_of_the_full_run(tmp_path: Path) -> None:
    path = written(tmp_path, "epochs,top1\n9,70\n30,75\n90,77\n")
    assert from_csv(path, "epochs", "top1", full=90).frame["ssr"].tolist() == [0.1, 30 / 90, 1.0]
    for full, kind in ((0, RangeError), (math.inf, RangeError), ("90", WrongTypeError)):
        with refused("full", kind):
            from_csv(path, "epochs", "top1", full=full)  # type: ignore[arg-type]


def test_decimal_commas_are_read_as_decimal_points(tmp_path: Path) -> None:
    path = written(tmp_path, "ssr;top1;hours\n0,25;73,02;1,71\n1;76,82;6,83\n")
    frame = from_csv(path, "ssr", "top1", hours="hours", decimal=",").frame
    assert (frame["ssr"].tolist(), frame["quality"].tolist()) == ([0.25, 1.0], [73.02, 76.82])
    assert frame["seconds"].tolist() == pytest.approx([1.71 * 3600, 6.83 * 3600])
    with refused("decimal", UnknownNameError):
        from_csv(path, "ssr", "top1", decimal=";")  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "-inf", "Diverged", "N/A"])
def test_run_without_a_quality_is_counted_as_diverged(tmp_path: Path, text: str) -> None:
    rows = "1,0.8,safe\n1,0.82,safe\n" * 3 + "1,0.9,risky\n1,0.91,risky\n1,0.92,risky\n"
    path = written(tmp_path, f"ssr,acc,method\n{rows}" + f"1,{text},risky\n" * 3)
    study = from_csv(path, "ssr", "acc", recipe="method")
    assert study.frame["status"].tolist() == [*["completed"] * 9, *["diverged"] * 3]
    assert [(problem.where, problem.kind) for problem in study.problems] == [
        (f"{path}:{line}", "diverged") for line in (11, 12, 13)
    ]
    assert len(study.notes) == 1
    table = summary(study).set_index("recipe")
    assert table.loc["risky", "survived"] == pytest.approx(0.5)
    # Three of six runs diverged. They count as the worst measured quality, 0.8: (0.91 + 0.8) / 2.
    assert table.loc["risky", "mean_all"] == pytest.approx(0.855)
    assert (table.loc["safe", "survived"], table.loc["safe", "mean_all"]) == (1, pytest.approx(0.81))
    # By chance, all 3 diverged runs are runs of risky in 20 of 220 cases. This is less than a fifth: safe ranks first.
    (row,) = winners(study).itertuples()
    assert (row.best, row.second, row.margin) == ("safe", "risky", pytest.approx(-0.1))


def test_single_diverged_run_does_not_rank_a_recipe_last(tmp_path: Path) -> None:
    rows = "1,0.8,a\n1,0.81,a\n1,0.82,a\n1,0.9,b\n1,0.91,b\n1,nan,b\n"  # the nan is in b by chance in half of all cases
    study = from_csv(written(tmp_path, f"ssr,acc,method\n{rows}"), "ssr", "acc", recipe="method")
    (row,) = winners(study).itertuples()
    assert row.best == "b"


def test_status_says_how_runs_ended(tmp_path: Path) -> None:
    states = ["completed", "finished", "diverged", "crashed", "failed", "stopped", "killed", "DIVERGED", "odd", ""]
    rows = "".join(f"1,0.{place},{state}\n" for place, state in enumerate(states, start=1))
    study = from_csv(written(tmp_path, f"ssr,acc,state\n{rows}1,,finished\n"), "ssr", "acc", status="state")
    # A finished run without a quality has diverged.
    assert study.frame["status"].tolist() == [
        "completed", "completed", "diverged", "failed", "failed", "stopped", "stopped", "diverged", "diverged",
    ]  # fmt: skip
    assert study.completed["quality"].tolist() == [0.1, 0.2]
    torn = [problem.reason for problem in study.problems if problem.kind == "torn"]
    assert torn == [f"status is {state!r}, not one of completed, diverged, failed, stopped" for state in ("odd", "")]


def test_diverged_runs_count_equally_in_a_csv_table_and_a_run_folder(tmp_path: Path) -> None:
    values = {"a": {1.0: [0.8, math.nan, 0.81], 2.0: [0.9, 0.91, 0.92]}, "b": {1.0: [0.7, 0.71, 0.72]}}
    study = study_of(values)  # type: ignore[arg-type]
    rows = "".join(f"{row.recipe},{row.ssr},{row.quality},{row.seed}\n" for row in study.frame.itertuples())
    path = written(tmp_path, f"method,ssr,acc,seed\n{rows}")
    read = from_csv(path, "ssr", "acc", recipe="method", seed="seed")
    columns = ["recipe", "ssr", "n", "mean", "low", "high", "failed", "survived", "mean_all"]
    pd.testing.assert_frame_equal(summary(read)[columns], summary(study)[columns])
    pd.testing.assert_frame_equal(winners(read), winners(study))


def test_column_named_after_a_unit_needs_the_length_of_the_full_run(tmp_path: Path) -> None:
    for name in ("Epochs", "FLOPs"):
        path = written(tmp_path, f"{name},top1\n30,91\n90,93\n")
        with refused("ssr", MismatchError):
            from_csv(path, name, "top1")
        assert from_csv(path, name, "top1", full=90).length == (name, 90.0)
    assert from_csv(written(tmp_path, "ssr,top1\n1,2\n"), "ssr", "top1").length is None
    path = written(tmp_path, "30 epochs,90 epochs\n91,93\n")
    with refused("wide", MismatchError):
        from_csv(path, None, "top1", wide=["30 epochs", "90 epochs"])
    assert from_csv(path, None, "top1", wide=["30 epochs", "90 epochs"], full=90).length == ("epochs", 90.0)


def test_metric_name_ends_before_the_plus_minus_sign(tmp_path: Path) -> None:
    path = written(tmp_path, "ssr,top1 ± sd,n\n1,70.1 ± 0.2,3\n2,71.1 ± 0.2,3\n")
    assert from_csv(path, "ssr", "top1 ± sd", n="n", sd="top1 ± sd").objective == "top1"
