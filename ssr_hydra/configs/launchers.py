"""Configs of Hydra's own groups ``hydra/launcher`` and ``hydra/sweeper``: how the jobs of a sweep are run."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["LAUNCHERS", "SWEEPERS", "ProcessLauncherConfig", "StudySweeperConfig"]


@dataclass
class ProcessLauncherConfig:
    """``hydra/launcher=processes``: each job in its own process, several at a time.

    The fields are the arguments of :class:`ssr_hydra.sweeps.launchers.processes.ProcessLauncher`.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.ProcessLauncher", init=False)
    workers: int | None = None
    threads: int | None = None
    gpus: Any = "auto"
    gpus_per_job: int = 1


@dataclass
class StudySweeperConfig:
    """``hydra/sweeper=study``: runs what is missing of a study.

    Attributes:
        max_batch_size: How many jobs the launcher is given at a time; null for all.
        params: Key to values, of a sweep that a file describes; the command line's values replace them.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.StudySweeper", init=False)
    max_batch_size: int | None = None
    params: Any = None


LAUNCHERS: dict[str, Any] = {"processes": ProcessLauncherConfig}
"""Choice of the group ``hydra/launcher`` -> config."""

SWEEPERS: dict[str, Any] = {"study": StudySweeperConfig}
"""Choice of the group ``hydra/sweeper`` -> config."""
