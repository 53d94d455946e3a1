"""Processes that are killed while they save, and several processes that save into one folder."""

import sys

import pytest
from checkpoint_helpers import kill


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_kill_before_any_file_operation_of_a_save_leaves_an_intact_checkpoint(tmp_path):
    points = kill("steps", tmp_path)
    # For each file operation of a save, one save was killed before it: writes of at least two files, their syncs, the
    # rename and a removal.
    assert points.keys() == {"next", "same", "earlier"}
    assert min(points.values()) >= 12
    assert points["same"] > points["next"]  # an old checkpoint of the same batch is moved aside before it is replaced


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_reader_gets_complete_checkpoints_while_two_processes_save(tmp_path):
    assert kill("writers", tmp_path)["reads"] > 20
