"""Style, colours and file output of all figures. Figures are the same on every machine."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import FormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Metadata to leave out of the files. By default, matplotlib writes the date and its version.
_STAMPS = {"png": ("Software",), "svg": ("Date", "Creator"), "pdf": ("CreationDate", "Creator", "Producer")}

FORMATS = tuple(_STAMPS)
"""File formats that :func:`render` can write."""

# The colours are in this order because the first ones are the easiest to distinguish.
HUES = ("#0072b2", "#4b1c00", "#e83a65", "#b58c00", "#1f2a97", "#94004f", "#685c00", "#2e004d")
"""Colours of data series on white. Colour-blind readers can distinguish the colours, also in greyscale."""

LINE_WIDTH = 1.6
"""Width of lines, in points."""

_WIDTH = 6.3  # inches: the text width of an article on A4 or letter paper
_CLOCK = ((2 * 86400.0, 86400.0, "days"), (2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"))

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


def empty_figure(height: float) -> Figure:
    """Return a figure without axes, as wide as the text of an article. ``height`` is in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def mixed(one: str, other: str, frac: float) -> tuple[float, ...]:
    """Return a colour between two colours. ``frac`` is the fraction of ``other``."""
    from matplotlib.colors import to_rgb

    return tuple(a + (b - a) * frac for a, b in zip(to_rgb(one), to_rgb(other), strict=True))


def clock_unit(seconds: float) -> tuple[float, str]:
    """Return a unit of time, as (length in seconds, name): the largest unit of which ``seconds`` has at least two."""
    return next(((size, name) for least, size, name in _CLOCK if seconds >= least), (1.0, "seconds"))


def render(figure: Figure, file_format: str) -> bytes:
    """Return a figure as the bytes of a file. They depend only on the figure and on matplotlib's version."""
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
