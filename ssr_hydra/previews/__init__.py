"""Previews: the curves of schedules as a figure and a table, without training.

:func:`preview` is the Python function, and :func:`main` is the command ``ssr-preview``. Neither needs torch or data.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssr_hydra.previews.result import Preview, preview
from ssr_hydra.previews.schedule_curves import Landmark, PreviewCurve

__all__ = ["Landmark", "Preview", "PreviewCurve", "main", "preview"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command ``ssr-preview``; see ``--help``.

    Args:
        argv: The arguments; None for the command-line arguments of the process.

    Raises:
        SystemExit: 2 for invalid input.
    """
    from ssr_hydra.output import safe_output

    with safe_output():
        from ssr_hydra.previews.app import run  # import this here, because only the command line needs Hydra

        run(argv)
