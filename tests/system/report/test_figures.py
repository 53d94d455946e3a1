"""Figures in a process that has no fonts yet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_matplotlib_does_not_tell_the_log_that_it_looks_for_fonts(tmp_path: Path) -> None:
    code = """
import logging, sys
from ssr_hydra.studies import from_csv
from ssr_hydra.report import build
from ssr_hydra.report.figures import figures
logging.basicConfig(level=logging.INFO)
figures(build(from_csv("t.csv", ssr="ssr", quality="q", direction="max")))
logging.getLogger("matplotlib.font_manager").info("a word of its own")
"""
    (tmp_path / "t.csv").write_text("ssr,q\n1,2\n2,3\n", encoding="utf-8")
    environment = {**os.environ, "MPLCONFIGDIR": str(tmp_path / "fresh")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert list((tmp_path / "fresh").glob("fontlist*"))  # it has looked
    assert "fontManager" not in done.stderr
    assert "a word of its own" in done.stderr  # and is as it was
