"""The sweeper ``hydra/sweeper=study``: it runs the missing jobs of a study, and then prints a table and a report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from ssr_hydra.errors import InputError
from ssr_hydra.sweeps.combinations import PLANNED
from ssr_hydra.sweeps.launchers.pool import PoolTask
from ssr_hydra.sweeps.launchers.traits import Traits, traits_of

__all__ = ["StudySweeper"]


class StudySweeper(Sweeper):
    """Run the jobs that preflight has checked, with the configured launcher.

    Args:
        max_batch_size: How many jobs the launcher gets at a time; None for all.
        params: A mapping from key to swept values, for a sweep that is described in a config file.
    """

    def __init__(self, max_batch_size: int | None = None, params: Mapping[str, Any] | None = None) -> None:
        self.max_batch_size, self.params = max_batch_size, params  # preflight has read the params
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Hydra's ``Sweeper``."""
        self.hydra_context, self.config = hydra_context, config
        traits = traits_of(str(config.hydra.launcher._target_))
        _set_workers(config, traits, config.get("workers"))
        if traits.library == "joblib":
            task_function = PoolTask(task_function, os.getpid())
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the missing jobs.

        Args:
            arguments: The typed overrides. They are not used, because preflight has already listed the jobs.

        Raises:
            InputError: The folder holds a different study, or cannot be written.
            SweepError: Some jobs did not complete.
        """
        from ssr_hydra.sweeps.run import run_sweep

        del arguments  # preflight has read them
        assert self.launcher is not None
        assert self.config is not None
        assert self.hydra_context is not None
        (planned,) = PLANNED
        run_sweep(self.launcher, self.config, self.hydra_context.config_loader, planned, self.max_batch_size)


def _set_workers(cfg: DictConfig, traits: Traits, workers: int | None) -> None:
    """Write the value of ``workers`` into the launcher's own setting for the number of jobs at a time."""
    if workers is None or traits.starts_all:
        return
    if traits.workers is not None:
        with open_dict(cfg):
            cfg.hydra.launcher[traits.workers] = workers
    elif not (traits.in_main_thread and workers == 1):
        name = str(cfg.hydra.runtime.choices.get("hydra/launcher"))
        fix = "choose launcher=processes, or set hydra.launcher.* (shown by --cfg hydra -p hydra.launcher)"
        raise InputError("workers", workers, f"cannot be used with launcher={name}", fix)
