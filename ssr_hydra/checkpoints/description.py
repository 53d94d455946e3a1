"""What a run is. (Skeleton: signatures hold, bodies follow.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ssr_hydra.time import Timestamp

__all__ = ["MISSING", "Difference", "check_change", "differences"]


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


MISSING: Final = _Missing()
"""Stands for a value that one of two descriptions does not have."""


@dataclass(frozen=True)
class Difference:
    """One field, dotted (``optimizers[0].lr``), with its value in the checkpoint and now."""

    field: str
    old: Any
    new: Any


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """Every field in which two descriptions differ, apart from those that do not matter (rules in this module)."""
    raise NotImplementedError


def check_change(found: Sequence[Difference], on_change: str, timestamp: Timestamp, resume: str = "auto") -> None:
    """InputError("resume", ...) where the differences are not allowed by ``on_change`` (refuse | extend | rescale)."""
    raise NotImplementedError
