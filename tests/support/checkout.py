"""The path of the checkout to which the tests belong."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
"""The helpers of the tests; on the path of every process that the tests start."""

REPO = SUPPORT.parents[1]
"""The root of the checkout."""
