"""Configs of the language models and data sets."""

from __future__ import annotations

from typing import Any

__all__ = ["LANGUAGE_DATA", "LANGUAGE_MODELS"]

LANGUAGE_MODELS: dict[str, Any] = {}
"""Choices of the group ``model``."""

LANGUAGE_DATA: dict[str, Any] = {}
"""Choices of the group ``data``."""
