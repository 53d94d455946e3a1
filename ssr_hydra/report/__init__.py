"""The report of a study: a page, figures, tables, and the answer in the terminal.

:func:`write` writes the report from Python; :func:`main` is the command ``ssr-report``. Neither needs torch or Hydra.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssr_hydra.report import plot
from ssr_hydra.report.content import Choice, Content, Options, build
from ssr_hydra.report.method_words import fit_reason, note_text
from ssr_hydra.report.terminal import report_text
from ssr_hydra.report.write import write

__all__ = ["Choice", "Content", "Options", "build", "fit_reason", "main", "note_text", "plot", "report_text", "write"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command ``ssr-report``; see ``--help``.

    Args:
        argv: The command-line arguments; None for the arguments of this process.

    Raises:
        SystemExit: With code 2 for invalid input.
    """
    from ssr_hydra.output import safe_output

    with safe_output():
        from ssr_hydra.report.command import run

        run(argv)
