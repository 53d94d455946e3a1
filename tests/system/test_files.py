"""Locks between processes."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from warm import warm

from ssr_hydra.files import try_lock


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_process_holds_its_lock_until_it_ends(tmp_path: Path) -> None:
    code = f"""
import sys
from ssr_hydra.files import try_lock
file = open({str(tmp_path / "lock")!r}, "ab")
print(try_lock(file.fileno()), flush=True); sys.stdin.read()
"""
    with warm.start("-c", code, cwd=tmp_path, stdin=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with (tmp_path / "lock").open("ab") as file:
            assert not try_lock(file.fileno())
            other.kill()
            other.wait()
            assert try_lock(file.fileno())
