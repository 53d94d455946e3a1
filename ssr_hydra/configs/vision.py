"""Configs of the vision models and data sets."""

from __future__ import annotations

from typing import Any

__all__ = ["VISION_DATA", "VISION_MODELS"]

VISION_MODELS: dict[str, Any] = {}
"""Choices of the group ``model``."""

VISION_DATA: dict[str, Any] = {}
"""Choices of the group ``data``."""
