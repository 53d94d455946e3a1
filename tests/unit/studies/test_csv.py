"""Tables from other sources."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

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
    MismatchError,
    MissingValueError,
    PathError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.studies import Study, doublings, from_csv, paired, pareto, summary, winners

TABLES = Path(__file__).parent / "tables"
Read = Callable[..., Study]
SUMMARIES = """\
recipe,ssr,acc,runs,spread
a,0.5,0.80,5,0.01
a,1,0.90,5,0.02
b,0.5,0.81,1,
b,1,0.93,5,
"""
METHODS = "ssr,acc,method,host,seed\n" + "".join(
    f"{ssr},{0.5 + ssr / 10 + better},{method},node{seed},{seed}\n"
    for ssr in (1, 2)
    for method, better in (("cosine", 0.0), ("linear", 0.05))
    for seed in (0, 1)
)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a table from its text."""

    def read_text(text, ssr="ssr", quality="acc", **options):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return from_csv(path, ssr, quality, **options)

    return read_text


@pytest.mark.parametrize(
    ("text", "options", "column", "values"),
    [
        (f"ssr,acc,i\n0.3,1,0\n{0.1 + 0.2!r},1,1\n{float(np.float32(0.3))!r},1,2\n", {"seed": "i"}, "ssr", [0.3] * 3),
        ("epochs,acc\n9,70\n30,75\n90,77\n", {"ssr": "epochs", "full": 90}, "ssr", [0.1, 30 / 90, 1.0]),
        ("ssr,acc\n25%,93.1%\n50 %,94%\n", {}, "ssr", [0.25, 0.5]),
        ("ssr,acc\n25%,93.1%\n50 %,94%\n", {}, "quality", [93.1, 94.0]),
        ("ssr;acc;h\n0,25;73,02;1,5\n1;76,82;6\n", {"hours": "h", "decimal": ","}, "seconds", [5400.0, 21600.0]),
        ("ssr;acc;h\n0,25;73,02;1,5\n1;76,82;6\n", {"hours": "h", "decimal": ","}, "quality", [73.02, 76.82]),
        ("ssr,acc,wall_hours\n1,0.5,1.5\n2,0.6,3\n", {"hours": "wall_hours"}, "seconds", [5400.0, 10800.0]),
        ("ssr,acc,t\n1,0.5,90\n2,0.6,180\n", {"minutes": "t"}, "seconds", [5400.0, 10800.0]),
        ("ssr,acc,t,n,s\n1,0.5,0,3,0\n", {"seconds": "t", "n": "n", "sd": "s"}, "seconds", [0.0]),
        ("# numbers\n# ssr\tacc\n1\t3\n2\t2\n", {}, "quality", [3.0, 2.0]),  # the header is a comment
        ('ssr,acc,r\n1,0.5,"a\n\x1b[31m"\n1,0.5,\n', {"recipe": "r"}, "recipe", ["a\ufffd\ufffd[31m", "table"]),
        # Wide tables: the names of the columns are SSRs or lengths.
        (".5;1\n7;8\n", {"wide": [".5", "1"]}, "ssr", [0.5, 1.0]),
        ("0,5;1\n7;8\n", {"wide": ["0,5", "1"], "decimal": ","}, "ssr", [0.5, 1.0]),
        ("ep30;ep90\n7;8\n", {"wide": ["ep30", "ep90"], "full": 90}, "ssr", [30 / 90, 1.0]),
        ("1 epoch;2 epochs\n7;8\n", {"wide": ["1 epoch", "2 epochs"], "full": 4}, "ssr", [0.25, 0.5]),
        ("1E9 tokens;2e9 tokens\n7;8\n", {"wide": ["1E9 tokens", "2e9 tokens"], "full": 2e9}, "ssr", [0.5, 1.0]),
        ("1E9 tokens;2e9 tokens\n7;8\n", {"wide": ["1E9 tokens", "2e9 tokens"], "full": 2e9}, "quality", [7.0, 8.0]),
        (".5;1\n7;8\n", {"wide": [".5", "1"], "quality": "1", "direction": "max"}, "quality", [7.0, 8.0]),
    ],
)  # fmt: skip
def test_numbers_and_lengths_in_cells_are_read(read, text, options, column, values):
    study = read(text, **{"ssr": None if "wide" in options else "ssr", **options})
    assert (study.frame[column].tolist(), study.problems) == (values, ())


WIDE = {"ssr": None, "full": 2}


@pytest.mark.parametrize(
    ("text", "options", "field", "kind", "message"),
    [
        ("ssr,acc\n1,2\n", {"ssr": "SSR"}, "ssr", UnknownNameError, "the columns are ssr, acc"),
        ("ssr,acc,acc\n1,2,3\n", {}, "quality", UnknownNameError, "is the name of several columns"),
        ("ssr,acc\n1,2\n", {"seconds": "t"}, "seconds", UnknownNameError, "is not a column of the CSV"),
        ("ssr,acc\n1,2\n", {"direction": "up"}, "direction", UnknownNameError, "must be max or min"),
        ("ssr,acc\n1,2\n", {"decimal": ";"}, "decimal", UnknownNameError, "decimal="),
        ("ssr,acc\n1,x\n", {}, "csv", FormatError, "correct the cells, or name a different column"),
        ("ssr;acc\n0,5;0.8\n", {}, "csv", FormatError, "set decimal to a comma"),
        ("ssr,acc\n", {}, "csv", FormatError, "write a row for each run"),
        *((text, {}, "csv", FormatError, "is empty") for text in ("", "\n\n", "\ufeff")),
        (b"ssr,acc\n1,\xff\xfe\n", {}, "csv", PathError, "must be a CSV in UTF-8"),
        ("ssr,acc\n1," + "9" * 200_000 + "\n", {}, "csv", PathError, "field larger than field limit"),
        ("ssr,acc,,\n1,0.5,,\n", {}, "csv", FormatError, "a name: 3, 4 of 4"),
        (",ssr,acc,x\n1,0.5,,\n", {}, "csv", FormatError, "a name: 1 of 4"),
        ("ssr,acc,x, x\n1,0.5,,\n", {}, "csv", FormatError, "'x'"),
        # columns of times and lengths
        ("ssr,acc,t_hours\n1,2,3\n", {"seconds": "t_hours"}, "seconds", MismatchError, "pass the column as hours, or"),
        ("ssr,acc,t_s\n1,2,3\n", {"hours": "t_s"}, "hours", MismatchError, "pass the column as seconds, or rename"),
        ("ssr,acc,ms\n1,2,3\n", {"seconds": "ms"}, "seconds", MismatchError, "convert the column to seconds, or"),
        ("ssr,acc,t,h\n1,2,3,4\n", {"seconds": "t", "hours": "h"}, "hours", ConflictError, "with seconds"),
        ("Epochs,acc\n30,91\n", {"ssr": "Epochs"}, "ssr", MismatchError, "set full to the length of the run at SSR 1"),
        ("FLOPs,acc\n30,91\n", {"ssr": "FLOPs"}, "ssr", MismatchError, "FLOPs is a unit of run length"),
        *(("ssr,acc\n1,2\n", {"full": full}, "full", RangeError, "full=") for full in (0, math.inf)),
        ("ssr,acc\n1,2\n", {"full": "90"}, "full", WrongTypeError, "full="),
        # columns with two meanings
        ("ssr,acc,m\n1,2,3\n", {"recipe": "m", "pool": "m"}, "pool", ConflictError, "the column of recipe"),
        ("ssr,acc,m\n1,2,3\n", {"recipe": ["m"], "seed": "m"}, "recipe", ConflictError, "the column of seed"),
        ("ssr,acc,m\n1,2,3\n", {"steps": "acc"}, "steps", ConflictError, "the column of quality"),
        # means of several runs
        ("ssr,acc,s\n1,2,3\n", {"sd": "s"}, "sd", MissingValueError, "needs n"),
        ("ssr,acc,s,n\n1,2,3,4\n", {"n": "n", "sd": "s", "se": "s"}, "se", ConflictError, "only one of sd and se"),
        ("ssr,acc,s,n\n1,2,3,4\n", {"n": "n", "seed": "s"}, "n", ConflictError, "remove n or seed"),
        ("ssr,acc,n\n1,2,5\n1,3,5\n1,3,x\n", {"n": "n"}, "n", ConflictError, "lines 2 and 3"),
        ("ssr;acc\n0.5;80.1 ± 0.2\n", {}, "csv", FormatError, r"quality is '80.1 ± 0.2', not a number"),
        # wide tables
        ("m,1\n1,2\n", WIDE | {"wide": ["nine"]}, "wide", UnknownNameError, "the columns are m, 1"),
        ("m,1\n1,2\n", WIDE | {"wide": ["1"], "quality": "m"}, "quality", UnknownNameError, "of several columns"),
        *(
            ("m,1\n1,2\n", WIDE | {"wide": ["1"], field: "1"}, field, UnknownNameError, "the columns are m, SSR \\(")
            for field in ("recipe", "seed", "steps")
        ),
        ("m,1\n1,2\n", WIDE | {"wide": ["m"]}, "wide", FormatError, "rename the column"),
        ("top1_0.5\n1\n", WIDE | {"wide": ["top1_0.5"]}, "wide", FormatError, "must contain exactly one number"),
        ("-1,0.5\n1,2\n", WIDE | {"wide": ["-1", "0.5"]}, "wide", FormatError, "one number above 0"),
        ('"10,000 its",2\n1,2\n', WIDE | {"wide": ["10,000 its"]}, "wide", FormatError, "one number above 0"),
        ("1,50%\n1,2\n", WIDE | {"wide": ["1", "50%"]}, "wide", ConflictError, "has the same SSR as the column '1'"),
        ("1 epoch,90\n1,2\n", WIDE | {"wide": ["1 epoch", "90"]}, "wide", MismatchError, "must all have the same unit"),
        ("30 epochs\n1\n", {"ssr": None, "wide": ["30 epochs"]}, "wide", MismatchError, "set full"),
        ("ssr,acc\n1,2\n", {"ssr": None}, "ssr", ConflictError, "'wide' is not set"),
        ("ssr,acc\n1,2\n", {"wide": "acc"}, "ssr", ConflictError, "cannot be used with 'wide'"),
    ],
)  # fmt: skip
def test_invalid_table_or_option_is_refused(read, text, options, field, kind, message):
    with refused(field, kind, match=message):
        read(text, **options)


def test_problems_name_the_rows_that_cannot_be_read(read):
    rows = "1,0.5,0 x,0.5,0 1,nan,1 0,0.5,1 -1,0.5,1 1,,2 1,0.6 1,0.7,1.5 1,0.7,-1 1,0.8,0 2,0.9,".split()
    rows.append(",0.5,3")
    study = read("ssr,acc,seed\n" + "\n".join(rows), seed="seed")
    assert study.completed["quality"].tolist() == [0.5, 0.9]
    problems = {int(problem.where.rpartition(":")[2]): (problem.kind, problem.reason) for problem in study.problems}
    kinds = {**dict.fromkeys((3, 5, 6, 8, 9, 10, 13), "torn"), 4: "diverged", 7: "diverged", 11: "duplicate"}
    assert {line: kind for line, (kind, _) in problems.items()} == kinds
    assert problems[3][1] == "ssr is 'x', not a finite number"
    assert problems[4][1] == "quality is 'nan'"
    assert problems[5][1] == "ssr is '0', and must be above 0"
    assert problems[6][1] == "ssr is '-1', and must be above 0"
    assert problems[13][1] == "ssr is '', not a finite number"
    assert problems[8][1] == "2 cells, but the header has 3"
    assert "whole number" in problems[9][1]


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("ssr,acc,t\n1,0.5,-3\n2,0.6,\n", {"seconds": "t"}, "seconds is '-3', and must be at least 0"),
        ("ssr,acc\n1,95%\n2,95\n", {}, "quality is '95', but other rows have percentages"),
        ("ssr,acc,n\n1,2,3\n2,2,x\n", {"n": "n"}, "n is 'x', and must be a whole number of at least 1"),
        ("ssr,acc,n,s\n1,2,3,-1\n2,2,3,\n", {"n": "n", "sd": "s"}, "sd is '-1', and must be a number of at least 0"),
    ],
)
def test_row_with_an_impossible_number_is_reported_and_left_out(read, text, options, reason):
    study = read(text, **options)
    assert [(problem.kind, problem.reason) for problem in study.problems] == [("torn", reason)]
    assert len(study.frame) == 1


def test_seeds_written_as_floats_are_read_as_whole_numbers(read):
    seeds = ["0.0", "1.0", "", "2e0", "9007199254740993.0", "1.5", "-1.0", "nan", "1e999999999"]
    study = read("ssr,acc,seed\n" + "".join(f"1,0.{place + 1},{s}\n" for place, s in enumerate(seeds)), seed="seed")
    # 2^53 + 1 is not a float, but is read exactly.
    assert study.frame["seed"].tolist() == [0, 1, pd.NA, 2, 2**53 + 1]
    assert [problem.reason for problem in study.problems] == [
        f"seed is {seed!r}, and must be a whole number of at least 0" for seed in seeds[5:]
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("head", ["", "# made by hand, 2024; see the paper\n\n"])
def test_delimiters_and_comments_are_supported(read, delimiter, head):
    text = head + "ssr,acc,method\n1,3,a; b\n# a comment, in the table\n\n2,x,b\n".replace(",", delimiter)
    study = read(text.replace("a; b", '"a; b"') if delimiter == ";" else text, recipe="method")
    assert (study.recipes, study.completed["quality"].tolist()) == (("a; b",), [3.0])
    line = text.split("\n").index(f"2{delimiter}x{delimiter}b") + 1  # lines are counted as in an editor
    assert [problem.where for problem in study.problems] == [f"{study.sources[0]}:{line}"]


def test_rows_may_be_means_of_several_runs(read):
    study = read(SUMMARIES, recipe="recipe", n="runs", sd="spread")
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
    errors = read(SUMMARIES, recipe="recipe", n="runs", se="spread")
    assert errors.series[0].cells[0].error == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("ssr;top1 ± sd;n\n0.5;80.1 ± 0.2;3\n1;90.5 +- 0.4%;3\n2;91.0;1\n", {}),
        ("n;0.5;1\n3;80.1 ± 0.2;90.5 +/- 0.4\n", {"ssr": None, "wide": ["0.5", "1"]}),
    ],
)
def test_quality_cell_may_contain_its_standard_deviation_after_a_plus_minus_sign(read, text, options):
    study = read(text, quality="top1 ± sd", sd="top1 ± sd", n="n", **options)
    (series,) = study.series
    assert (series.values[:2].tolist(), study.objective) == ([80.1, 90.5], "top1")
    assert [cell.variance**0.5 for cell in series.cells[:2]] == pytest.approx([0.2, 0.4])


def test_wide_tables_have_a_column_for_each_ssr(read):
    text = "method\tyear\t30 epochs\t90 epochs\nbase\t2020\t70.1\t76.5\nmix\t2021\t\tx\nmix\t2021\t\t77.9\n"
    study = read(text, None, "top1", recipe="method", pool="year", wide=["30 epochs", "90 epochs"], full=90)
    assert (study.objective, study.length) == ("top1", ("epochs", 90.0))
    rows = study.frame[["recipe", "ssr", "quality"]].to_numpy().tolist()
    assert rows == [["base", 30 / 90, 70.1], ["base", 1.0, 76.5], ["mix", 1.0, 77.9]]  # empty: no run
    assert [problem.reason for problem in study.problems] == ["quality is 'x', not a number"]


def test_column_of_lengths_may_also_be_the_steps(read):
    study = read("steps,acc\n50,0.5\n100,0.6\n", "steps", steps="steps", full=100)
    assert study.frame[["ssr", "steps"]].to_numpy().tolist() == [[0.5, 50.0], [1.0, 100.0]]
    assert (study.length, read("ssr,acc\n1,2\n").length) == (("steps", 100.0), None)


def test_published_table_is_read():
    study = from_csv(REPO / "docs/data/resnet50_imagenet.csv", "ssr", "top1", "seconds")
    assert study.frame["ssr"].tolist() == [0.1, 0.25, 0.5, 1.0, 1.25, 1.5, 2.0, 4.0, 5.69]
    assert study.frame["quality"].tolist() == [64.99, 73.02, 75.66, 76.82, 77.07, 77.08, 77.07, 76.67, 76.32]
    # A run at SSR 1 takes 6.83 hours, and the time is proportional to the SSR.
    assert (study.frame["seconds"] / study.frame["ssr"]).tolist() == pytest.approx([6.83 * 3600] * 9, rel=1e-3)
    assert (study.recipes, study.problems, study.objective) == (("resnet50_imagenet",), (), "top1")
    assert summary(study)["low"].isna().all()


def test_recipes_and_seeds_are_read_from_columns(read):
    rows = ["a,1,0.5,0,x", "a,1,0.7,1,x", "b,1,0.4,0,x", "b,1,0.5,1,", "", "a,2,0.9,0,x", "a,2,1.0,1,x"]
    text = "\ufeffmethod, ssr ,acc,seed,extra\n" + "\n".join(rows)
    study = read(text, recipe="method", seed="seed", pool=["extra"])
    assert (study.recipes, study.problems) == (("a", "b"), ())
    (row,) = paired(study, "a", "b").itertuples()
    assert (row.n, row.difference) == (2, pytest.approx(0.15))
    assert study.frame["seconds"].isna().all()
    with refused("axis", MissingValueError):
        pareto(study)


def test_rows_of_a_cell_without_a_seed_column_are_not_paired(read):
    study = read("ssr,acc\n1,0.5\n1,0.6\n2,0.7\n2,0.9\n", direction="min")
    (row,) = doublings(study).itertuples()
    assert (row.method, row.gain) == ("welch", pytest.approx(-0.25))
    assert study.recipes == ("table",)


def test_rows_that_differ_in_a_column_without_an_option_are_refused(read):
    with refused("recipe", ConflictError) as caught:
        read(METHODS)
    assert str(caught.value) == (
        "recipe=None: lines 2 and 4 have the same recipe and ssr 1, but differ in columns that are not in any option: "
        "'method', 'host', 'seed'; pass each column to an option: recipe if it distinguishes recipes, seed if it has "
        "seeds, otherwise pool, "
        "which ignores the column"
    )
    with refused("recipe", ConflictError):  # the linear runs would count as duplicates of the cosine runs
        read(METHODS, seed="seed")
    study = read(METHODS, recipe="method", seed="seed", pool=["host"])
    assert (study.recipes, summary(study)["n"].tolist()) == (("cosine", "linear"), [2, 2, 2, 2])
    pooled = read(METHODS, pool=["host", "method", "seed"])
    assert (pooled.recipes, summary(pooled)["n"].tolist()) == (("table",), [4, 4])


@pytest.mark.parametrize(
    ("values", "must"),
    [
        (["", "", "restarted", ""], True),
        (["0.31", "0.31", "0.22", "0.23"], True),
        (["sam", "", "sam", "sam"], True),  # the cell of the baseline is blank
        (["r50", "r50", "r101", "r101"], False),
    ],
)
def test_column_that_differs_between_runs_of_one_recipe_and_ssr_must_be_named(read, values, must):
    text = "ssr,acc,x\n" + "".join(f"{ssr},0.5,{value}\n" for ssr, value in zip((1, 1, 2, 2), values, strict=True))
    if must:
        with refused("recipe", ConflictError, match="not in any option: 'x'; "):
            read(text)
        assert len(summary(read(text, recipe="x"))) > 2
    assert summary(read(text, pool="x" if must else ()))["n"].tolist() == [2, 2]


def test_recipes_with_blank_cells_have_different_names():
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
def test_different_cells_never_give_the_same_recipe_name(read, cells):
    rows = "".join(f'{ssr},{ssr / 10},"{a}","{b}"\n' for a, b in cells for ssr in (1, 2))
    study = read(f"ssr,acc,a,b\n{rows}", recipe=["a", "b"])
    assert len(study.recipes) == 2
    assert summary(study)["n"].tolist() == [1] * 4


@pytest.mark.parametrize(("name", "direction"), [("error rate", "min"), ("Test accuracy (%)", "max")])
def test_direction_follows_from_the_column_name(read, name, direction):
    study = read(f"ssr,{name}\n1,3\n2,2\n", quality=name)
    (row,) = doublings(study).itertuples()
    assert (study.direction, row.gain) == (direction, 1 if direction == "min" else -1)  # from 3 to 2
    assert read(f"ssr,{name}\n1,3\n", quality=name, direction="max").direction == "max"  # the option has priority


@pytest.mark.parametrize("text", ["", "-inf", "Diverged", "N/A"])
def test_run_without_a_quality_is_counted_as_diverged(read, text):
    rows = "1,0.8,safe\n1,0.82,safe\n" * 3 + "1,0.9,risky\n1,0.91,risky\n1,0.92,risky\n"
    study = read(f"ssr,acc,method\n{rows}" + f"1,{text},risky\n" * 3, recipe="method")
    assert study.frame["status"].tolist() == [*["completed"] * 9, *["diverged"] * 3]
    assert [(problem.where, problem.kind) for problem in study.problems] == [
        (f"{study.sources[0]}:{line}", "diverged") for line in (11, 12, 13)
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


def test_single_diverged_run_does_not_rank_a_recipe_last(read):
    rows = "1,0.8,a\n1,0.81,a\n1,0.82,a\n1,0.9,b\n1,0.91,b\n1,nan,b\n"  # the nan is in b by chance in half of all cases
    (row,) = winners(read(f"ssr,acc,method\n{rows}", recipe="method")).itertuples()
    assert row.best == "b"


def test_status_says_how_runs_ended(read):
    states = ["completed", "finished", "diverged", "crashed", "failed", "stopped", "killed", "DIVERGED", "odd", ""]
    rows = "".join(f"1,0.{place},{state}\n" for place, state in enumerate(states, start=1))
    study = read(f"ssr,acc,state\n{rows}1,,finished\n", status="state")
    # A finished run without a quality has diverged.
    assert study.frame["status"].tolist() == [
        "completed", "completed", "diverged", "failed", "failed", "stopped", "stopped", "diverged", "diverged",
    ]  # fmt: skip
    assert study.completed["quality"].tolist() == [0.1, 0.2]
    torn = [problem.reason for problem in study.problems if problem.kind == "torn"]
    assert torn == [f"status is {state!r}, not one of completed, diverged, failed, stopped" for state in ("odd", "")]


def test_diverged_runs_count_equally_in_a_csv_table_and_a_run_folder(read):
    values = {"a": {1.0: [0.8, math.nan, 0.81], 2.0: [0.9, 0.91, 0.92]}, "b": {1.0: [0.7, 0.71, 0.72]}}
    study = study_of(values)
    rows = "".join(f"{row.recipe},{row.ssr},{row.quality},{row.seed}\n" for row in study.frame.itertuples())
    table = read(f"method,ssr,acc,seed\n{rows}", recipe="method", seed="seed")
    columns = ["recipe", "ssr", "n", "mean", "low", "high", "failed", "survived", "mean_all"]
    pd.testing.assert_frame_equal(summary(table)[columns], summary(study)[columns])
    pd.testing.assert_frame_equal(winners(table), winners(study))
