"""A table of runs from elsewhere -> a study."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ssr_hydra.studies.study import Study

__all__ = ["from_csv"]


def from_csv(
    file: str | Path,
    ssr: str,
    quality: str,
    seconds: str | None = None,
    recipe: str | None = None,
    seed: str | None = None,
    *,
    direction: Literal["max", "min"] = "max",
) -> Study:
    """Read a CSV with a row for each run; arguments name its columns. A row that cannot be read is a Problem."""
    raise NotImplementedError
