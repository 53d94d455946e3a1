"""Records of runs on disk -> a study."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ssr_hydra.studies.study import Study

__all__ = ["load"]


def load(
    paths: str | Path | Iterable[str | Path],
    *,
    objective: str | None = None,
    direction: Literal["max", "min"] | None = None,
) -> Study:
    """Read every run below a folder, or several. InputError if nothing is there, objectives or directions differ."""
    raise NotImplementedError
