"""The report at the end of a sweep. The sweep does not fail if the report fails, e.g. because runs are missing."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

from ssr_hydra.errors import InputError, visible
from ssr_hydra.report.content import build
from ssr_hydra.report.terminal import encodable, problem_lines, report_text, terminal, wrapped
from ssr_hydra.report.write import looks_at, report_folder, write
from ssr_hydra.studies.reading import load


def report_of_sweep(folder: Path, stream: TextIO) -> None:
    """Write a report into ``folder/report``, and print it. If there can be no report, print the reason.

    The function raises an error only if it cannot write to ``stream``.
    """
    width, colour = terminal(stream)
    try:
        study = load(folder)
        if study.completed.empty:
            lines = ["No report: no run has completed.", *problem_lines(study.problems, width)]
        else:
            target = report_folder(folder)
            content = build(study, looks=looks_at(study, target))
            page = write(content, target)[0]
            lines = [report_text(content, width, colour, stream), "", visible(str(page))]
    except InputError as error:
        option = {"objective": ": ssr-report {} --objective ...", "direction": ": ssr-report {} --direction ..."}
        lines = wrapped(f"No report: {error.rule} ({error.fix}{option.get(error.field, '').format(folder)}).", width)
    except Exception as error:  # the sweep must not fail
        lines = wrapped(f"No report: {type(error).__name__}: {error} (ssr-report {folder} shows where).", width)
    print(encodable("\n".join(lines), stream), file=stream, flush=True)
