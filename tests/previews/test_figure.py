"""What the picture shows, and that its files are the same every time."""

from __future__ import annotations

import re
import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ssr_hydra
from ssr_hydra import InputError
from ssr_hydra import schedulers as s
from ssr_hydra.previews import Preview


@pytest.fixture(scope="module")
def shown() -> Preview:
    named = {"cosine_warmup": s.CosineAnnealingWithWarmupScheduler("0.05dur"), "step": s.StepScheduler("4ep", 0.5)}
    return ssr_hydra.preview(named, max_duration="16ep", ssr=(0.25, 0.5, 1), lr=0.1)


def test_a_picture_holds_each_curve_as_it_is(shown: Preview) -> None:
    axes = shown.figure().axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 1]  # type: ignore[arg-type]
    assert len(lines) == 6
    for line, curve in zip(lines, shown.curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), curve.times)
        np.testing.assert_allclose(line.get_ydata(), [0.1 * alpha for alpha in curve.alphas], rtol=1e-15)
        assert not line.get_clip_on()
    assert len({line.get_color() for line in lines}) == 6
    assert axes.get_xlabel() == "Training time (epochs)"
    assert axes.get_ylabel() == "Learning rate"
    assert axes.get_xlim() == (0, 16)
    assert axes.get_ylim() == (0, 0.1)


def legend_labels(figure: Any) -> list[str]:
    from matplotlib.legend import Legend

    legends = [child for child in figure.axes[0].get_children() if isinstance(child, Legend)]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def test_the_legend_lies_above_the_curves_and_within_the_picture(shown: Preview) -> None:
    from matplotlib.legend import Legend

    twelve = {f"a schedule of some length {k}": s.PolynomialScheduler(k / 4) for k in range(1, 13)}
    for preview in (shown, ssr_hydra.preview(twelve, max_duration="10ep", ssr=(0.5, 1))):
        figure = preview.figure(title="A title")
        figure.draw_without_rendering()
        axes = figure.axes[0]
        boxes = [child.get_window_extent() for child in axes.get_children() if isinstance(child, Legend)]
        assert len(boxes) == 2
        for box in boxes:
            assert box.y0 >= axes.bbox.y1
            assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
            assert box.y1 <= figure.bbox.y1
        assert not boxes[0].overlaps(boxes[1])
        assert axes.bbox.height > 200
    assert legend_labels(shown.figure()) == ["cosine_warmup", "step", "SSR 0.25", "SSR 0.5", "SSR 1"]


def test_one_curve_needs_no_legend_and_one_schedule_names_its_ratios() -> None:
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
def test_axes_name_their_units(max_duration: str, lr: Any, x_label: str, y_label: str, right: float) -> None:
    axes = ssr_hydra.preview(s.LinearScheduler(), max_duration=max_duration, lr=lr).figure().axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (x_label, y_label)
    assert axes.get_xlim() == (0, right)


def test_options(shown: Preview) -> None:
    axes = shown.figure(axis="alpha", normalize=True).axes[0]
    assert axes.get_xlabel() == "Share of the run"
    assert axes.get_ylabel() == r"Multiplier $\alpha$"
    assert axes.get_xlim() == (0, 1)
    with pytest.raises(InputError, match="axis='beta'"):
        shown.figure(axis="beta")
    with pytest.raises(InputError, match="not known"):
        ssr_hydra.preview(s.LinearScheduler(), max_duration="10ep").figure(axis="lr")
    curves = [ssr_hydra.preview(s.LinearScheduler(), max_duration=d).curves[0] for d in ("10ep", "10ba")]
    with pytest.raises(InputError, match="ep and ba"):
        Preview(tuple(curves)).figure()
    assert Preview(tuple(curves)).figure(normalize=True).axes[0].get_xlim() == (0, 1)


def test_a_schedule_of_zeros_can_be_drawn() -> None:
    assert ssr_hydra.preview(s.ConstantScheduler(0.0), max_duration="10ep").figure().axes[0].get_ylim() == (0, 1)


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_files_are_valid_and_the_same_every_time(shown: Preview, suffix: str, tmp_path: Path) -> None:
    import matplotlib as mpl

    (first,) = shown.save(tmp_path / f"a.{suffix}")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.hashsalt": None}):  # somebody's settings
        (second,) = shown.save(tmp_path / f"b.{suffix}")
        assert mpl.rcParams["font.size"] == 30
    content = first.read_bytes()
    assert content == second.read_bytes()
    if suffix == "svg":
        assert ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        assert b"<dc:date>" not in content
    elif suffix == "png":
        import matplotlib.image

        pixels = matplotlib.image.imread(first)
        assert pixels.shape[:2] == (930, 1890)
        assert pixels[0, 0, :3].min() == 1.0  # white around
        assert len({tuple(pixel) for pixel in pixels[::10, ::3].reshape(-1, pixels.shape[2])}) > 50
    else:
        assert content.startswith(b"%PDF")
        assert b"CreationDate" not in content


def test_both_files_without_a_suffix_and_new_folders(shown: Preview, tmp_path: Path) -> None:
    written = shown.save(tmp_path / "new" / "v1.5")
    assert [path.name for path in written] == ["v1.5.png", "v1.5.svg"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["v1.5.png", "v1.5.svg"]


@pytest.mark.parametrize("name", ["a.jpg", "", ".", "folder/", "file/inside.png"])
def test_what_cannot_be_written_leaves_nothing(shown: Preview, name: str, in_tmp: Path) -> None:
    (in_tmp / "file").write_text("here already")
    with pytest.raises(InputError, match="^path="):
        shown.save(name)
    assert [path.name for path in in_tmp.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_picture(shown: Preview, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="No space left"):
        shown.save(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_the_documentations_figure_is_the_one_that_is_drawn_now(repo: Path, tmp_path: Path) -> None:
    script = runpy.run_path(str(repo / "scripts" / "figures.py"))
    script["main"](tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ssr.png", "ssr.svg"]

    def colours(path: Path) -> list[str]:
        # Another release of matplotlib may set labels a little differently; the curves it draws are the same.
        return re.findall(r"stroke: (#\w{6}); stroke-width: 1.6", path.read_text(encoding="utf-8"))

    assert len(colours(tmp_path / "ssr.svg")) == 8  # four curves and their entries in the legend
    assert colours(tmp_path / "ssr.svg") == colours(repo / "docs" / "images" / "ssr.svg")
