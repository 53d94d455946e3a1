"""Register this package's sweeper and launcher with Hydra, which imports every module of ``hydra_plugins``.

Hydra imports these modules for each command of each Hydra app. So this module imports the rest of the package only when
a sweep starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

__all__ = ["ProcessLauncher", "StudySweeper"]


class ProcessLauncher(Launcher):
    """The launcher ``hydra/launcher=processes``; see :class:`ssr_hydra.sweeps.launchers.processes.ProcessLauncher`."""

    def __init__(self, **settings: Any) -> None:
        from ssr_hydra.sweeps.launchers import processes

        self.launcher = processes.ProcessLauncher(**settings)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Launcher``."""
        self.launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """See Hydra's ``Launcher``."""
        return self.launcher.launch(job_overrides, initial_job_idx)


class StudySweeper(Sweeper):
    """The sweeper ``hydra/sweeper=study``; see :func:`ssr_hydra.sweeps.sweeper.run_sweep`."""

    def __init__(self, max_batch_size: int | None = None, params: object = None) -> None:
        del params  # preflight has already read the params
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Sweeper``."""
        self._setup = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        """See Hydra's ``Sweeper``."""
        from ssr_hydra.sweeps.sweeper import run_sweep

        del arguments  # preflight has already read the arguments
        run_sweep(*self._setup, self.max_batch_size)
