"""Processes that are killed while they save, and several that save into one folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from checkout import SUPPORT
from warm import warm

KILLER = SUPPORT / "checkpoint_killer.py"


def kill(mode: str, folder: Path) -> dict[str, int]:
    done = warm.run(str(KILLER), mode, str(folder), cwd=folder, timeout=1200)
    assert done.returncode == 0, done.stderr
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_a_save_that_is_killed_before_any_of_its_operations_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    points = kill("steps", tmp_path)
    # Killed at every operation until none was left: at least the two files, their syncs, the rename and a removal.
    assert points.keys() == {"next", "same", "earlier"}
    assert min(points.values()) >= 12
    assert points["same"] > points["next"]  # one of the same batch is put aside before it is replaced


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_twelve_chains_of_random_kills_never_lose_a_checkpoint_that_was_acknowledged(tmp_path: Path) -> None:
    counts = kill("chains", tmp_path)
    assert counts["kills"] == 96
    assert counts["in the middle of a save"] >= 5  # or the kills have tested nothing


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_two_writers_in_one_folder_take_turns_and_a_reader_sees_whole_ones(tmp_path: Path) -> None:
    assert kill("writers", tmp_path)["reads"] > 20
