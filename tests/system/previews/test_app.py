"""The command that previews schedules."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib.font_manager  # noqa: F401
from warm import warm


def test_as_a_user(repo: Path, tmp_path: Path) -> None:
    script = str(repo / "scripts" / "preview.py")
    done = warm.run(script, "scheduler=cosine_warmup,wsd", "ssr=0.25,0.5,1", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    curves = [" ".join(line) for line in lines if "ssr" in line]
    assert curves == [f"{name}, ssr {ssr}" for name in ("cosine_warmup", "wsd") for ssr in ("0.25", "0.5", "1")]
    half = lines[lines.index(["cosine_warmup,", "ssr", "0.5"]) :]
    assert next(line for line in half if line[:2] == ["50", "%"])[-4:] == ["50", "%", "0.54129", "0.054129"]
    assert ["start", "of", "decay", "14.4ep", "90", "%", "1", "0.1"] in lines
    assert done.stdout.splitlines()[-2:] == ["preview.png", "preview.svg"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview.png", "preview.svg"]
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert ET.parse(tmp_path / "preview.svg").getroot().tag.endswith("svg")
