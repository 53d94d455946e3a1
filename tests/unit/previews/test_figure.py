"""The content of the picture."""

import re
import runpy

import numpy as np
import pytest
from matplotlib.legend import Legend
from refusals import refused

import ssr_hydra
from ssr_hydra import schedulers as s
from ssr_hydra.errors import FormatError, MismatchError, MissingValueError, RangeError, UnknownNameError
from ssr_hydra.previews import Preview


@pytest.fixture(scope="module")
def example():
    named = {"cosine_warmup": s.CosineAnnealingWithWarmupScheduler("0.05dur"), "step": s.StepScheduler("4ep", 0.5)}
    return ssr_hydra.preview(named, max_duration="16ep", ssr=(0.25, 0.5, 1), lr=0.1)


def test_svg_draws_each_curve_with_its_exact_values(example):
    axes = example.figure().axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert len(lines) == 6
    for line, curve in zip(lines, example.curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), curve.times)
        np.testing.assert_allclose(line.get_ydata(), [0.1 * alpha for alpha in curve.alphas], rtol=1e-15)
        assert not line.get_clip_on()
    assert len({line.get_color() for line in lines}) == 6
    assert axes.get_xlabel() == "Training time (epochs)"
    assert axes.get_ylabel() == "Learning rate"
    assert axes.get_xlim() == (0, 16)
    assert axes.get_ylim() == (0, 0.1)


def legends(figure):
    return [child for child in figure.axes[0].get_children() if isinstance(child, Legend)]


def legend_labels(figure):
    return [text.get_text() for legend in legends(figure) for text in legend.get_texts()]


def test_legend_is_above_the_curves_and_within_the_picture(example):
    twelve = {f"a schedule of some length {k}": s.ConstantScheduler(k / 12) for k in range(1, 13)}
    for preview in (example, ssr_hydra.preview(twelve, max_duration="10ep", ssr=(0.5, 1))):
        figure = preview.figure(title="A title")
        figure.draw_without_rendering()
        axes = figure.axes[0]
        boxes = [legend.get_window_extent() for legend in legends(figure)]
        assert len(boxes) == 2
        for box in boxes:
            assert box.y0 >= axes.bbox.y1
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
        assert not boxes[0].overlaps(boxes[1])
        assert axes.bbox.height > 200
    assert legend_labels(example.figure()) == ["cosine_warmup", "step", "SSR 0.25", "SSR 0.5", "SSR 1"]


def test_figure_of_one_curve_has_no_legend():
    cosine = s.CosineAnnealingScheduler()
    assert legend_labels(ssr_hydra.preview(cosine, max_duration="10ep").figure()) == []
    several = ssr_hydra.preview(cosine, max_duration="10ep", ssr=(0.5, 1, 2))
    assert legend_labels(several.figure()) == ["SSR 0.5", "SSR 1", "SSR 2"]


@pytest.mark.parametrize(
    ("max_duration", "lr", "x_label", "y_label", "right"),
    [
        ("2000ba", None, "Training time (batches)", r"Multiplier $\alpha$", 2000),
        ("300000ba", 3e-4, "Training time (thousand batches)", r"Learning rate ($\times 10^{-4}$)", 300),
        ("20000000000tok", 0.02, "Training time (billion tokens)", "Learning rate", 20),
        ("90s", 1.0, "Training time (seconds)", "Learning rate", 90),
        ("10m", 1.0, "Training time (minutes)", "Learning rate", 10),
        ("1d", 1.0, "Training time (hours)", "Learning rate", 24),
    ],
)
def test_axis_labels_have_units(max_duration, lr, x_label, y_label, right):
    axes = ssr_hydra.preview(s.LinearScheduler(), max_duration=max_duration, lr=lr).figure().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (x_label, y_label)
    assert axes.get_xlim() == (0, right)


def test_figure_options_change_the_axes(example):
    axes = example.figure(axis="alpha", normalize=True).axes[0]
    assert axes.get_xlabel() == "Share of the run"
    assert axes.get_ylabel() == r"Multiplier $\alpha$"
    assert axes.get_xlim() == (0, 1)
    with refused("axis", UnknownNameError):
        example.figure(axis="beta")
    with refused("axis", MissingValueError):
        ssr_hydra.preview(s.LinearScheduler(), max_duration="10ep").figure(axis="lr")
    curves = [ssr_hydra.preview(s.LinearScheduler(), max_duration=d).curves[0] for d in ("10ep", "10ba")]
    with refused("max_duration", MismatchError):
        Preview(tuple(curves)).figure()
    assert Preview(tuple(curves)).figure(normalize=True).axes[0].get_xlim() == (0, 1)


@pytest.mark.parametrize("name", ["a $_$", r"$\frac$", r"$\nothing$ and $x$"])
def test_invalid_math_is_refused_before_drawing(name):
    linear = s.LinearScheduler()
    with refused("schedulers", FormatError):
        ssr_hydra.preview({name: linear, "other": linear}, max_duration="10ep").figure()
    with refused("title", FormatError):
        ssr_hydra.preview(linear, max_duration="10ep").figure(title=name)


def test_math_text_and_single_dollar_signs_are_drawn():
    linear = s.LinearScheduler()
    names = [r"$\eta_0$", "for $5", r"\$5 or \$6"]
    preview = ssr_hydra.preview(dict.fromkeys(names, linear), max_duration="10ep")
    assert legend_labels(preview.figure(title=r"$\alpha(t / \sigma)$")) == names


def test_values_too_large_for_a_float_are_refused():
    preview = ssr_hydra.preview(s.ConstantScheduler(1e300), max_duration="10ep", lr=1e300)
    with refused("axis", RangeError):
        preview.figure()
    assert preview.figure(axis="alpha").axes[0].get_ylabel().endswith(r"($\times 10^{300}$)")
    assert ssr_hydra.preview(s.ConstantScheduler(0.0), max_duration="10ep").figure().axes[0].get_ylim() == (0, 1)


def test_figures_of_the_documentation_have_the_current_colours(repo, tmp_path):
    script = runpy.run_path(str(repo / "scripts" / "figures.py"))
    script["main"](tmp_path)
    gallery = runpy.run_path(str(repo / "scripts" / "gallery.py"))
    gallery["previews"].main([*gallery["WARMUP"].split(), "--out", str(tmp_path / "warmup.svg")])
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["resuming.svg", "sharing.svg", "ssr.png", "ssr.svg", "warmup.svg"]

    def colours(path):
        # Other releases of matplotlib may place labels differently, but the curves are the same.
        return re.findall(r"stroke: (#\w{6}); stroke-width: 1.6", path.read_text(encoding="utf-8"))

    assert len(colours(tmp_path / "ssr.svg")) == 8  # four curves and their entries in the legend
    for path in tmp_path.glob("*.svg"):
        assert colours(path) == colours(repo / "docs" / "images" / path.name), path.name
