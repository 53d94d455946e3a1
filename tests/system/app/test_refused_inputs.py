"""Run the table of refused inputs against the app."""

import os
import re
import sys
import time
from pathlib import Path

import pytest
from refused_inputs import ALL

ROWS = [pytest.param(row, id=f"{kind}: {name}") for kind, rows in ALL.items() for name, row in rows.items()]
SECONDS = 5.0


@pytest.mark.parametrize("row", ROWS)
def test_refused_input_gives_a_one_line_error_and_changes_no_file(app, in_tmp, monkeypatch, row):
    folder = in_tmp / "outside" / "inside"  # so that paths out of the folder are detected
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name, content in row.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    files, environment, modules = sorted(in_tmp.rglob("*")), dict(os.environ), set(sys.path)
    start = time.process_time()
    answer = app(*row.arguments)
    assert time.process_time() - start < SECONDS
    assert answer.code == 2, answer
    assert answer.out == ""
    match = re.fullmatch(r"error: ([^\s=]+)=(.+?)\n", answer.err)
    assert match is not None, answer.err
    assert match[1] == row.field, answer.err
    assert row.rule in match[2], answer.err
    assert sorted(in_tmp.rglob("*")) == files
    assert not Path("/tmp/PWNED").exists()
    assert (dict(os.environ), set(sys.path)) == (environment, modules)
    assert "antigravity" not in sys.modules
