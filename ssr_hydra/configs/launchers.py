"""Configs of Hydra's group ``hydra/launcher``: how the jobs of a sweep are run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["LAUNCHERS", "ProcessLauncherConfig"]


@dataclass
class ProcessLauncherConfig:
    """``hydra/launcher=processes``: each job in its own process, several at a time.

    Attributes:
        workers: Jobs at a time. Null: one per GPU; without GPUs, as many as the cores allow with ``trainer.threads``
            each.
        threads: Threads of each job for numerical libraries; the job's ``trainer.threads`` overrides it. Null: an equal
            part of the cores, or ``OMP_NUM_THREADS``; no limit if there is only one worker.
        gpus: ``auto`` assigns each running job one of the visible GPUs, by ``CUDA_VISIBLE_DEVICES``; a list selects
            GPUs; ``none`` assigns none.
        gpus_per_job: GPUs per job.
    """

    # Hydra accepts only names below hydra_plugins; ssr_hydra.launchers.register_launchers maps it to the class.
    _target_: str = field(default="hydra_plugins.ssr_hydra.ProcessLauncher", init=False)
    workers: int | None = None
    threads: int | None = None
    gpus: Any = "auto"
    gpus_per_job: int = 1


LAUNCHERS: dict[str, Any] = {"processes": ProcessLauncherConfig}
"""Choice -> config."""
