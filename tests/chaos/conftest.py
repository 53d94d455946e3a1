"""Tests that take long: kills at many points, clusters, large counts."""

from __future__ import annotations

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them, so that they can be selected together with the tests of extra packages."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("chaos")
