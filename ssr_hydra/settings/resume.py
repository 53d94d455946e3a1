"""Where a run starts, and how a changed run continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssr_hydra.errors import InputError
from ssr_hydra.settings.base import one_of, setting_of

__all__ = ["AUTO", "NEVER", "ON_CHANGE", "ResumeSettings"]

AUTO, NEVER = "auto", "never"
ON_CHANGE = ("refuse", "extend", "rescale")


@dataclass(frozen=True)
class ResumeSettings:
    """Where a run starts: ``Trainer(resume=...)`` and the node ``resume``. Both also take the path alone.

    Args:
        path: ``auto`` continues what the run's own folder holds, ``never`` starts from the beginning; else the folder
            of a run, or a checkpoint.
        on_change: ``refuse`` a run that is not configured as the checkpoint's was; ``extend`` follows the new schedule
            at the true time; ``rescale`` the rest of the schedule over the rest of the time.

    Raises:
        InputError: A value is unknown.

    Example:
        >>> ResumeSettings.of("outputs/run")
        ResumeSettings(path='outputs/run', on_change='refuse')
    """

    path: str | Path = AUTO
    on_change: str = "refuse"

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)) or not str(self.path).strip():
            raise InputError("path", self.path, "must be auto, never or a path", "write resume=auto")
        one_of(self.on_change, "on_change", ON_CHANGE)

    @classmethod
    def of(cls, given: ResumeSettings | Mapping[str, Any] | str | Path | None) -> ResumeSettings:
        """Return the setting of an argument or a config node, which may be the path alone."""
        if isinstance(given, (str, Path)):
            return setting_of(cls, {"path": given}, "resume")
        return setting_of(cls, given, "resume")
