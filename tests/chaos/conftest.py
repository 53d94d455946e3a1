"""Slow tests: kills at many points, clusters, and large counts."""

from pathlib import Path

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """Mark these tests as ``chaos``.

    Tests with Slurm come first, because only one of them can run at a time. They mostly wait, so other tests can run at
    the same time.
    """
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker("chaos")
    items.sort(key=lambda item: "slurm" not in item.nodeid)
