"""The common style of pictures, and their bytes."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure

from ssr_hydra.drawing import FORMATS, HUES, check_math, render, style
from ssr_hydra.errors import InputError


def drawn() -> Figure:
    with style():
        made = Figure(figsize=(2, 1))
        made.add_subplot().plot([0, 1], [1, 0], color=HUES[0], label="a")
    return made


@pytest.mark.parametrize("file_format", FORMATS)
def test_picture_bytes_do_not_depend_on_the_machines_settings(file_format: str) -> None:
    first = render(drawn(), file_format)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "savefig.dpi": 40}):
        assert render(drawn(), file_format) == first


def test_settings_are_restored() -> None:
    before = mpl.rcParams["axes.spines.top"]
    with style():
        assert mpl.rcParams["axes.spines.top"] is False
    assert mpl.rcParams["axes.spines.top"] is before


def test_invalid_math_text_is_refused() -> None:
    check_math("title", r"a $\alpha$, and a $ alone")
    with pytest.raises(InputError, match=r"^title='\$\\\\nothing\$': must have valid"):
        check_math("title", r"$\nothing$")
