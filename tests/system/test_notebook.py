"""The notebook of the documentation runs from start to end."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkout import REPO

NOTEBOOK = REPO / "docs" / "notebooks" / "a_study_in_three_minutes.ipynb"


def outputs(notebook):
    """Return the outputs of each code cell by its first line, joined by type."""
    by_title = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            own = by_title.setdefault("".join(cell["source"]).splitlines()[0], {})
            for output in cell["outputs"]:
                own.update(output.get("data", {}))
                own["printed"] = own.get("printed", "") + "".join(output.get("text", ""))
    return by_title


@pytest.mark.extra("nbclient", "ipykernel")
def test_notebook_runs_a_study_and_shows_its_table_figure_and_advice(tmp_path):
    shutil.copy(NOTEBOOK, tmp_path)
    tools = Path(sys.executable).parent
    places = {name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    process = subprocess.run(
        [str(tools / "jupyter-execute"), "--output=done.ipynb", NOTEBOOK.name],
        cwd=tmp_path,
        env={**os.environ, **places, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert process.returncode == 0, process.stderr
    ran = outputs(tmp_path / "done.ipynb")
    (sweep,) = (cell["printed"] for source, cell in ran.items() if source.startswith("!ssr-train"))
    assert "12 jobs in studies/digits: 12 completed" in sweep  # 2 schedules x 3 SSRs x 2 seeds
    assert "\x1b" not in sweep
    table = "".join(ran["from ssr_hydra import report, studies"]["text/html"])
    assert "12 runs, 0 problems" in table
    assert table.count("<td>") == 6  # 2 schedules x 3 SSRs
    assert len(ran["%matplotlib inline"]["image/png"]) > 10_000
    (advice,) = (cell["printed"] for source, cell in ran.items() if source.startswith("for advice"))
    assert re.findall(r"^(\w+): SSR ", advice, re.MULTILINE) == ["cosine_warmup", "wsd"]


def test_stored_notebook_is_small_and_has_no_measured_seconds():
    assert NOTEBOOK.stat().st_size < 100_000
    assert all(not cell for source, cell in outputs(NOTEBOOK).items() if source.startswith("!"))
