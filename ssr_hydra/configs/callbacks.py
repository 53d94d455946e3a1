"""Configs of loggers and callbacks."""

from __future__ import annotations

from typing import Any

__all__ = ["CALLBACKS", "LOGGERS"]

LOGGERS: dict[str, Any] = {}
"""Choices of the group ``logger``, each stored in the package ``logger.<name>``, so that several can be chosen."""

CALLBACKS: dict[str, Any] = {}
"""Choices of the group ``callbacks``, each stored in the package ``callbacks.<name>``."""
