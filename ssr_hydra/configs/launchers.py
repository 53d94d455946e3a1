"""Configs of the group ``hydra/launcher``, Hydra's own, for sweeps: how their jobs are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["LAUNCHERS", "ProcessLauncherConfig"]


@dataclass
class ProcessLauncherConfig:
    """``hydra/launcher=processes``: each job in a process of its own, some at a time.

    Attributes:
        workers: Jobs at a time; null for as many as fit: one for each GPU, or without GPUs, as many as the cores are
            enough for with ``trainer.threads`` each.
        threads: Threads of each job for numerical libraries, unless its own ``trainer.threads`` says otherwise; null
            for an equal share of the cores, or what ``OMP_NUM_THREADS`` says. One worker alone is left as it is.
        gpus: ``auto`` gives each job that runs one of the visible GPUs, by ``CUDA_VISIBLE_DEVICES``; a list says which,
            ``none`` leaves them alone.
        gpus_per_job: How many each job gets.
    """

    # Hydra takes names below hydra_plugins alone; which class it is, ssr_hydra.launchers.register_launchers says.
    _target_: str = field(default="hydra_plugins.ssr_hydra.ProcessLauncher", init=False)
    workers: int | None = None
    threads: int | None = None
    gpus: Any = "auto"
    gpus_per_job: int = 1


LAUNCHERS: dict[str, Any] = {"processes": ProcessLauncherConfig}
"""Choice -> config."""
