"""The table and the answer in a terminal."""

import io
import re
from dataclasses import replace

import pytest

from ssr_hydra.report import report_text
from ssr_hydra.report.tables import Column, Table, TableCell, TableRow
from ssr_hydra.report.terminal import as_text, problem_lines
from ssr_hydra.studies import Note, Problem

ESCAPE = "\x1b"


@pytest.mark.parametrize(("width", "colour"), [(40, False), (60, True), (100, False), (200, True)])
def test_no_line_is_wider_than_the_terminal(content, width, colour):
    lines = [re.sub(r"\x1b\[\d+m", "", line) for line in report_text(content, width, colour).splitlines()]
    # A path without spaces may be longer, because a shortened path is useless.
    assert [line for line in lines if len(line) > width and " " in line.strip()] == []


def test_recommended_row_is_marked_by_escapes_only_on_a_terminal(content):
    assert ESCAPE not in report_text(content, 120)
    (row,) = [
        line for line in report_text(content, 120, colour=True).splitlines() if line.startswith(f"{ESCAPE}[1mwsd")
    ]
    assert row.split()[1] == "2"


def test_terminal_text_has_the_answer_and_the_problems(content):
    text = " ".join(report_text(content, 120).split())
    for part in (
        "Run wsd at SSR 2",
        "failed: ",
        "RuntimeError: CUDA out of memory",
        "The study took 98 runs, 96 of them",
    ):
        assert part in text


def test_control_characters_in_names_are_escaped(content):
    hostile = f"{ESCAPE}]0;title\x07{ESCAPE}[2J\r\n\x9b1m\u202e"
    problem = Problem(hostile, "failed", hostile)
    study = replace(content.study, problems=(problem,), notes=(Note("lost", hostile, ((hostile, 1),)),))
    text = report_text(replace(content, study=study), 80)
    assert text.replace("\n", "").isprintable()
    assert "\\x1b]0;title\\x07" in text


def table_of(columns, *cells):
    return Table(columns, (TableRow(tuple(map(TableCell, cells))),))


def test_narrow_table_drops_extra_columns_then_cuts_names_then_drops_last_columns():
    columns = (Column("recipe", "name"), Column("SSR"), Column("samples", extra=True), Column("quality"))
    table = table_of(columns, "a_rather_long_name_of_a_recipe", "1", "19,200", "0.96")
    assert "samples" in as_text(table, 80)
    assert as_text(table, 45).splitlines()[0].split() == ["recipe", "SSR", "quality"]
    assert as_text(table, 30).splitlines()[1].split() == ["a_rathe.._recipe", "1", "0.96"]
    assert as_text(table, 18).splitlines()[0].split() == ["recipe", "SSR"]
    # A name is not cut if the table fits without its last column: 23 + 2 + 3 characters.
    table = table_of(
        (Column("recipe", "name"), Column("SSR"), Column("frontier")), "a_recipe_of_23_letters.", "1", "x" * 40
    )
    assert as_text(table, 40).splitlines()[1].split() == ["a_recipe_of_23_letters.", "1"]


def test_characters_that_the_encoding_lacks_are_replaced(content):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    report_text(content, 100, stream=stream).encode("ascii")


def test_each_kind_of_problem_is_shown_if_there_are_many_problems():
    torn = [Problem(f"t{place}", "torn", "half") for place in range(200)]
    failed = [Problem("f", "failed", "no memory")]
    assert problem_lines(torn[:10], 80) == [f"torn: t{place}: half" for place in range(10)]
    assert problem_lines([*torn, *failed], 80) == [
        *(f"torn: t{place}: half" for place in range(5)), "torn: ... and 195 more", "failed: f: no memory",
    ]  # fmt: skip
