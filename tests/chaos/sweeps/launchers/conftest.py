"""The fixture ``lab`` for tests of all launchers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_sweeps import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Return a lab in an empty folder."""
    lab = Lab(tmp_path, nested=False)  # submitit and Ray start Python by themselves
    yield lab
    lab.close()
