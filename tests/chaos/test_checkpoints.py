"""Kill processes while they save checkpoints."""

import sys

import pytest
from checkpoint_helpers import kill


@pytest.mark.skipif(sys.platform != "linux", reason="forks and kills")
def test_random_kills_never_lose_an_acknowledged_checkpoint(tmp_path):
    counts = kill("chains", tmp_path, 12)
    assert counts["kills"] == 96
    assert counts["in the middle of a save"] >= 5  # kills outside of a save test nothing
