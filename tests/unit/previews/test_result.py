"""The arguments of a preview, and the files that it writes."""

import base64
import re
from fractions import Fraction
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from refusals import refused

import ssr_hydra
from ssr_hydra import schedulers as s
from ssr_hydra.errors import PathError


@pytest.fixture(scope="module")
def example():
    return ssr_hydra.preview(s.CosineAnnealingWithWarmupScheduler("0.05dur"), max_duration="16ep", ssr=(0.5, 1), lr=0.1)


@pytest.mark.parametrize("ssr", [0.5, "0.5", "1/2", np.array(0.5), np.array([0.5]), [0.5, "1/2", Fraction(1, 2)],
                                 [0.5, 0.1 * 5, sum([0.1] * 5), np.float32(0.5)]])  # fmt: skip
def test_equal_ratios_in_different_spellings_are_drawn_once(ssr):
    assert [curve.ssr for curve in ssr_hydra.preview(s.LinearScheduler(), max_duration="8ba", ssr=ssr).curves] == [0.5]


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_picture_files_are_valid_and_reproducible(example, suffix, tmp_path):
    import matplotlib as mpl

    (first,) = example.save(tmp_path / f"a.{suffix}")
    with mpl.rc_context({"font.size": 30, "axes.grid": True, "svg.hashsalt": None}):  # settings of the user
        (second,) = example.save(tmp_path / f"b.{suffix}")
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
        assert pixels[0, 0, :3].min() == 1.0  # the border is white
        assert len({tuple(pixel) for pixel in pixels[::10, ::3].reshape(-1, pixels.shape[2])}) > 50
    else:
        assert content.startswith(b"%PDF")
        assert b"CreationDate" not in content


def test_both_formats_are_saved_in_new_folders_if_no_suffix_is_given(example, tmp_path):
    written = example.save(tmp_path / "new" / "v1.5")
    assert [path.name for path in written] == ["v1.5.png", "v1.5.svg"]
    assert set((tmp_path / "new").iterdir()) == set(written)


@pytest.mark.parametrize(
    "name", ["a.jpg", "", ".", "folder/", "file/inside.png", "a\0b", "x" * 300 + ".png", b"a.png", 5, None]
)
def test_failed_write_leaves_no_file(example, name, in_tmp):
    (in_tmp / "file").write_text("here already")
    with refused("path"):
        example.save(name)
    assert [path.name for path in in_tmp.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_picture(example, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"old")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with refused("path", PathError):
        example.save(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_duration": None}, "max_duration"),
        ({"max_duration": "1dur"}, "max_duration"),
        ({"ssr": 0}, "ssr"),
        ({"ssr": []}, "ssr"),
        ({"ssr": None}, "ssr"),
        ({"ssr": [[1]]}, "ssr"),
        ({"ssr": range(1, 100)}, "curves"),
        ({"lr": -1.0}, "lr"),
        ({"lr": "0.1"}, "lr"),
        ({"dataloader_len": 0}, "dataloader_len"),
        ({"schedulers": []}, "schedulers"),
        ({"schedulers": {}}, "schedulers"),
        ({"schedulers": {"a": 3}}, "schedulers['a']"),
        ({"schedulers": s.LinearScheduler}, "schedulers['LinearScheduler']"),
        ({"schedulers": [s.LinearScheduler(), s.LinearScheduler(0.5)]}, "schedulers"),
        ({"schedulers": {"a": s.LinearWithWarmupScheduler("200ba")}}, "t_warmup"),
        ({"schedulers": {"a": s.LinearScheduler(), "b": s.LinearWithWarmupScheduler("200ba")}}, "b.t_warmup"),
    ],
)
def test_bad_input_is_refused(options, field):
    arguments = {"schedulers": s.LinearScheduler(), "max_duration": "100ba", **options}
    with refused(field):
        ssr_hydra.preview(arguments.pop("schedulers"), **arguments)


def test_notebook_shows_the_picture_and_the_table_of_a_preview(example):
    html = example._repr_html_()
    picture = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert picture is not None
    assert b"<svg" in base64.b64decode(picture[1])
    assert html.endswith(f"<pre>{escape(example.table())}</pre>")


def test_error_for_two_schedulers_of_the_same_name_lists_each_scheduler():
    with refused("schedulers", match=r"=\['linear', 'linear'\]: must have different names"):
        ssr_hydra.preview([s.LinearScheduler(), s.LinearScheduler(0.5)], max_duration="100ba")
