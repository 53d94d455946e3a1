"""Tests that take long: kills at many points, clusters, large counts."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that they can be selected together with the tests of extra packages.

    Tests with Slurm come first. They mostly wait for Slurm, and only one of them can run at a time. If they came last,
    the other workers would have no tests left to run at the same time.
    """
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("chaos")
    items.sort(key=lambda item: "slurm" not in item.nodeid)
