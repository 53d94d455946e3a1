"""Print the report in a terminal: the answer, and the table with as many columns as fit."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Sequence
from typing import TextIO

from ssr_hydra.errors import visible
from ssr_hydra.output import text_table
from ssr_hydra.report import method_words, words
from ssr_hydra.report.content import Content
from ssr_hydra.report.tables import Table, main_table, steps_table
from ssr_hydra.studies.study import Problem

_NARROWEST_NAME = 10
_MOST_ROWS = 60
_MOST_PROBLEMS = 10
_PLAIN_WIDTH = 120
_ASCII = str.maketrans({"\N{EN DASH}": "-", "≤": "<", "≥": ">", "∞": "inf"})


def report_text(content: Content, width: int = 80, colour: bool = False, stream: TextIO | None = None) -> str:
    """Return the report as text, with no line wider than ``width``: the table, the answer, and problems of runs.

    Args:
        content: The content of the report.
        width: Width of the terminal, in columns.
        colour: Whether to use the terminal's colours.
        stream: The output; characters that its encoding does not have are replaced by ASCII. None keeps all characters.
    """
    lines = [as_text(main_table(content), width, colour), ""]
    lines += [_bold(line, colour) for line in wrapped(words.headline(content), width)]
    for sentence in words.answer(content):
        lines += wrapped(sentence, width)
    if steps := steps_table(content):
        lines += ["", as_text(steps, width, colour)]
    notes = [method_words.note_text(note) for note in content.study.notes]
    further = [*words.details(content), ("Fits", method_words.fit_warnings(content)), ("Notes", notes)]
    for heading, sentences in further:
        if sentences:
            lines += ["", _bold(heading, colour), *(line for each in sentences for line in wrapped(each, width))]
    if content.study.problems:
        lines += ["", *problem_lines(content.study.problems, width)]
    lines += ["", *wrapped(method_words.cost_of_sweep(content), width)]
    return encodable("\n".join(lines), stream)


def problem_lines(problems: Sequence[Problem], width: int) -> list[str]:
    """Return a line for each problem of a run. If there are many problems, return a few of each kind and the counts."""
    kinds = list(dict.fromkeys(problem.kind for problem in problems))
    most = _MOST_PROBLEMS if len(problems) <= _MOST_PROBLEMS else max(1, _MOST_PROBLEMS // len(kinds))
    lines = []
    for kind in kinds:
        of_kind = [problem for problem in problems if problem.kind == kind]
        for problem in of_kind[:most]:
            lines += wrapped(f"{kind}: {problem.where}: {problem.reason}", width)
        if len(of_kind) > most:
            lines.append(f"{kind}: ... and {len(of_kind) - most} more")
    return lines


def encodable(text: str, stream: TextIO | None) -> str:
    """Return a text in which ASCII replaces the characters that the encoding of the stream does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return text


def terminal(stream: TextIO) -> tuple[int, bool]:
    """Return the width of the output, and whether to use colours. Files and pipes have a fixed width and no colours."""
    if not stream.isatty():
        return int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else _PLAIN_WIDTH, False
    return shutil.get_terminal_size().columns, "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def as_text(table: Table, width: int = 80, colour: bool = False) -> str:
    """Return a table as text with aligned columns, no wider than ``width``.

    If the table is too wide, the function drops extra columns, then shortens the names of recipes, then drops the last
    columns. It does not shorten names of controls, because they distinguish rows of the same recipe.
    """
    short_table = table.first(_MOST_ROWS)
    places = list(range(len(table.columns)))
    texts = [[visible(cell.text) for cell in row.cells] for row in short_table.rows]
    heads = [visible(column.head) for column in table.columns]

    def widths() -> list[int]:
        return [max([len(heads[i]), *(len(row[i]) for row in texts)]) for i in places]

    def total() -> int:
        return sum(widths()) + 2 * (len(places) - 1)

    for place in [i for i, column in enumerate(table.columns) if column.extra][::-1]:
        if total() > width:
            places.remove(place)
    if total() > width:  # shorten eval/accuracy to accuracy
        heads = [head.rpartition("/")[2] for head in heads]
    whole = texts
    while True:
        texts = [list(row) for row in whole]
        if total() > width:
            _cut(texts, heads, table, width - total())
        if total() <= width or len(places) <= 2:
            break
        places.pop()
    right = [k for k, i in enumerate(places) if table.columns[i].kind == "number"]
    header, *rest = text_table([[cells[i] for i in places] for cells in (heads, *texts)], right=right)
    lines = [header[:width]]
    lines += [_bold(line[:width], colour and row.chosen) for row, line in zip(short_table.rows, rest, strict=True)]
    if short_table.more:
        lines.append(f"... and {short_table.more} more rows, in table.csv")
    return "\n".join(lines)


def _cut(texts: list[list[str]], heads: list[str], table: Table, over: int) -> None:
    """Cut long names in the middle, because names can differ at the start or at the end."""
    for place, column in enumerate(table.columns):
        if column.kind != "name":
            continue
        longest = max([len(heads[place]), *(len(row[place]) for row in texts)])
        room = max(_NARROWEST_NAME, longest + over)
        for row in texts:
            if len(row[place]) > room:
                name, _, control = row[place].rpartition(" (")
                end = f" ({control}" if name and control.endswith(")") and len(control) < room - 5 else ""
                left = room - 2 - len(end)
                stem = row[place].removesuffix(end)
                half = left // 2
                row[place] = f"{stem[: left - half]}..{stem[len(stem) - half :]}{end}"


def wrapped(text: str, width: int) -> list[str]:
    """Split a text into lines that are not wider than ``width``."""
    return textwrap.wrap(visible(text), max(20, width), break_on_hyphens=False) or [""]


def _bold(text: str, colour: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m" if colour else text
