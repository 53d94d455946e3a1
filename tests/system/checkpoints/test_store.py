"""Processes that are killed while they save, and several processes that save into one folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from checkpoint_helpers import kill


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_a_save_that_is_killed_before_any_of_its_operations_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    points = kill("steps", tmp_path)
    # A save was killed at every operation: at least two files, their syncs, the rename and a removal.
    assert points.keys() == {"next", "same", "earlier"}
    assert min(points.values()) >= 12
    assert points["same"] > points["next"]  # an old checkpoint of the same batch is moved aside before it is replaced


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_two_writers_in_one_folder_take_turns_and_a_reader_gets_complete_checkpoints(tmp_path: Path) -> None:
    assert kill("writers", tmp_path)["reads"] > 20
