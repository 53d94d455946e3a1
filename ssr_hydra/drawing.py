"""Style, colours and file output of all figures. Figures are the same on every machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import FormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
"""File formats that :func:`render` can write."""

# Metadata to leave out of the files. By default, matplotlib writes the date and its version.
_STAMPS = {"png": ("Software",), "svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}

# The first colours differ the most.
HUES = ("#0072b2", "#4b1c00", "#e83a65", "#b58c00", "#1f2a97", "#94004f", "#685c00", "#2e004d")
"""Colours of data series on white. Colour-blind people can distinguish them, also in greyscale."""

LINE_WIDTH = 1.6
"""Width of lines, in points."""

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # matplotlib contains this font, so a picture is the same on every machine
    "font.size": 10,
    "axes.labelsize": 10,
    "axes.titlesize": 11,
    "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": LINE_WIDTH,
    "lines.solid_joinstyle": "round",  # a miter join would extend beyond a sharp peak
    "lines.dash_joinstyle": "round",
    "axes.formatter.limits": (-6, 9),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "path.simplify": True,
    "path.simplify_threshold": 0.05,
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "ssr_hydra",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Use this project's style inside the ``with`` block, whatever the user's matplotlib settings are."""
    import matplotlib as mpl

    settings: Any = {key: value for key, value in mpl.rcParamsDefault.items() if not key.startswith("backend")}
    settings.update(_RC)
    with mpl.rc_context(settings):
        yield


def render(figure: Figure, file_format: str) -> bytes:
    """Return the content of a figure's file, which depends only on the figure and on matplotlib's version."""
    buffer = io.BytesIO()
    with style():
        metadata = dict.fromkeys(_STAMPS[file_format])
        figure.savefig(buffer, format=file_format, metadata=metadata, facecolor="white")
    return buffer.getvalue()


def check_math(field: str, text: str) -> None:
    """Refuse a text if matplotlib cannot parse the math between its dollar signs."""
    from matplotlib.cbook import is_math_text
    from matplotlib.mathtext import MathTextParser

    if is_math_text(text):
        try:
            MathTextParser("path").parse(text)
        except ValueError:
            rule = "must have valid matplotlib math between dollar signs"
            raise FormatError(field, text, rule, r"write \$ for a dollar sign") from None
