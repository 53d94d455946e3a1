"""Settings: from which checkpoint a run starts, and how it resumes with a changed config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from ssr_hydra.errors import PathError
from ssr_hydra.settings.base import one_of, setting_of

AUTO, NEVER = "auto", "never"
ON_CHANGE = ("refuse", "extend", "rescale")


@dataclass(frozen=True)
class ResumeSettings:
    """From which checkpoint a run starts: ``Trainer(resume=...)`` and the config node ``resume``.

    The value of the argument or node may also be a single path, such as ``resume=outputs/run``.

    Args:
        path: ``auto`` resumes from the newest checkpoint in the folder of the run, if a checkpoint exists. ``never``
            starts from the beginning. Any other value is the path of a run's folder or of a checkpoint.
        on_change: What to do if the run's config differs from the checkpoint's config. ``refuse`` raises an error.
            ``extend`` follows the new schedule from the current time on. ``rescale`` stretches the remaining schedule
            over the remaining run.

    Raises:
        InputError: ``path`` is not a path, or ``on_change`` is unknown.

    Example:
        >>> ResumeSettings.of("outputs/run")
        ResumeSettings(path='outputs/run', on_change='refuse')
    """

    path: str | Path = AUTO
    on_change: Annotated[str, ON_CHANGE] = "refuse"

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, Path)) or not str(self.path).strip():
            raise PathError("path", self.path, "must be auto, never or a path", "write resume=auto")
        one_of(self.on_change, "on_change", ON_CHANGE)

    @classmethod
    def of(cls, argument: ResumeSettings | Mapping[str, Any] | str | Path | None) -> ResumeSettings:
        """Create the setting from an argument or a config node. A string or ``Path`` sets ``path``."""
        if isinstance(argument, (str, Path)):
            return setting_of(cls, {"path": argument}, "resume")
        return setting_of(cls, argument, "resume")
