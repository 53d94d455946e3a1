"""Configs of torch's own schedulers, by the names ``torch_*`` of the group ``scheduler``."""

from __future__ import annotations

from typing import Any

__all__ = ["TORCH_SCHEDULERS"]

TORCH_SCHEDULERS: dict[str, Any] = {}
"""Choices of the group ``scheduler``."""
