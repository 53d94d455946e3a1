"""The common style of pictures, and their bytes."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from checkout import REPO
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from refusals import refused
from scipy.spatial.distance import pdist

from ssr_hydra.drawing import FORMATS, HUES, check_math, render, style
from ssr_hydra.errors import FormatError


def drawn():
    with style():
        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([0, 1], [1, 0], color=HUES[0], label="a")
    return figure


@pytest.mark.parametrize("file_format", FORMATS)
def test_picture_bytes_do_not_depend_on_settings_of_the_machine(file_format):
    first = render(drawn(), file_format)
    with mpl.rc_context({"font.size": 30, "svg.hashsalt": None, "savefig.dpi": 40}):
        assert render(drawn(), file_format) == first


def test_invalid_math_text_is_refused():
    check_math("title", r"a $\alpha$, and a $ alone")
    with refused("title", FormatError):
        check_math("title", r"$\nothing$")


# Linear RGB as seen without cones of one kind (Machado, Oliveira and Fernandes, 2009, severity 1).
VISION = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# From linear sRGB to XYZ, each relative to the white point D65.
XYZ = np.array(
    [[0.4339530, 0.3762190, 0.1898284], [0.2126729, 0.7151522, 0.0721750], [0.0177566, 0.1094680, 0.8727754]]
)


def linear(colours):
    rgb = np.array([to_rgb(colour) for colour in colours])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB, in which a distance of 2.3 is just noticeable."""
    ratios = np.clip(rgb @ XYZ.T, 0, 1)
    x, y, z = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def page_palette(place):
    css = (REPO / "ssr_hydra/report/template/report.css").read_text(encoding="utf-8")
    return [pair[place] for pair in re.findall(r"--h\d: light-dark\((#\w+), (#\w+)\);", css)]


@pytest.mark.parametrize(
    ("palette", "paper"), [(HUES, "#ffffff"), (page_palette(0), "#ffffff"), (page_palette(1), "#15171b")]
)
def test_eight_colours_can_be_distinguished(palette, paper):
    rgb = linear(palette)
    assert len(rgb) == 8
    for name, matrix in VISION.items():
        colours = lab(np.clip(rgb @ np.array(matrix).T, 0, 1))
        assert min(pdist(colours)) > 20, name
    lightness = np.sort(lab(rgb)[:, 0])  # a grey print keeps only this
    assert np.diff(lightness).min() > 6
    luminance, background = rgb @ XYZ[1], float((linear([paper]) @ XYZ[1])[0])
    contrast = (np.maximum(luminance, background) + 0.05) / (np.minimum(luminance, background) + 0.05)
    assert contrast.min() > 3  # for graphics, by the Web Content Accessibility Guidelines


def test_page_and_figures_have_the_same_light_colours():
    assert page_palette(0) == list(HUES)
