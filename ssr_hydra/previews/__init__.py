"""Curves of schedules before any training: a picture for a paper and a table for the terminal.

``preview`` does it from Python and ``main`` is the command ``ssr-preview``. Neither needs torch or data.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssr_hydra.previews.curves import Landmark, PreviewCurve
from ssr_hydra.previews.result import Preview, preview

__all__ = ["Landmark", "Preview", "PreviewCurve", "main", "preview"]


def main(argv: Sequence[str] | None = None) -> None:
    """The command ``ssr-preview``; see ``--help``.

    Args:
        argv: Arguments instead of those of the process.

    Raises:
        SystemExit: 2 for input that cannot be meant.
    """
    from ssr_hydra.previews.app import run  # here, because Hydra is for the command line alone

    run(argv)
