"""Configs for Hydra's groups ``hydra/launcher`` and ``hydra/sweeper``, which run the jobs of a sweep."""

from dataclasses import dataclass, field
from typing import Any

__all__ = ["LAUNCHERS", "SWEEPERS", "ProcessLauncherConfig", "StudySweeperConfig"]


@dataclass
class ProcessLauncherConfig:
    """``hydra/launcher=processes``: run each job in a separate process, several jobs at a time.

    The fields are the arguments of :class:`ssr_hydra.sweeps.launchers.processes.ProcessLauncher`.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.ProcessLauncher", init=False)
    workers: int | None = None
    threads: int | None = None
    gpus: Any = "auto"
    gpus_per_job: int = 1


@dataclass
class StudySweeperConfig:
    """``hydra/sweeper=study``: run the missing jobs of a study.

    Attributes:
        max_batch_size: Maximum number of jobs that the launcher gets at a time; null for all jobs.
        params: A sweep in a config file, as a mapping from each swept key to its values. Values on the command line
            replace values in ``params``.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.StudySweeper", init=False)
    max_batch_size: int | None = None
    params: Any = None


LAUNCHERS: dict[str, Any] = {"processes": ProcessLauncherConfig}
"""A mapping from a choice of the group ``hydra/launcher`` to its config."""

SWEEPERS: dict[str, Any] = {"study": StudySweeperConfig}
"""A mapping from a choice of the group ``hydra/sweeper`` to its config."""
