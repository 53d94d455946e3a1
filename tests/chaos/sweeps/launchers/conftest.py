"""The fixture ``lab`` for tests of all launchers."""

import pytest
from real_sweeps import Lab


@pytest.fixture
def lab(tmp_path):
    """Return a lab in an empty folder."""
    lab = Lab(tmp_path, nested=False)  # submitit and Ray start Python by themselves
    yield lab
    lab.close()
