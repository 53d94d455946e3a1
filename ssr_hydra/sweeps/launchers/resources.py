"""OmegaConf resolvers for the launcher presets: the number of jobs that fit a machine, and the folder of a study.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ssr_hydra.machine import cores
from ssr_hydra.sweeps.launchers.devices import visible_gpus

__all__ = ["gpus_per_job", "jobs_at_once", "register_resolver", "register_resolvers", "study_folder", "uses_gpu"]


def gpus_per_job(device: str | None = "auto") -> int:
    """Return the number of GPUs that a job needs on this machine: 1 if there are GPUs and the job uses them, else 0.

    Args:
        device: The setting ``trainer.device``. With ``cpu``, the result is 0.

    Example:
        >>> gpus_per_job("cpu")
        0
    """
    return 1 if uses_gpu(device) and visible_gpus() else 0


def uses_gpu(device: str | None) -> bool:
    """Return whether a job uses a GPU if there is one."""
    return device is None or re.match(r"(auto|cuda)(:\d+)?$", device) is not None


def jobs_at_once(threads: int | None = 1, device: str | None = "auto") -> int:
    """Return the number of jobs that can run at a time on this machine if the launcher assigns no GPUs to jobs.

    Args:
        threads: The setting ``trainer.threads``. None gives each job all cores, so only one job runs at a time.
        device: The setting ``trainer.device``. Jobs that use a GPU run one at a time.

    Example:
        >>> jobs_at_once(1, "cpu") == cores()
        True
        >>> jobs_at_once(None)
        1
    """
    if threads is None or gpus_per_job(device):
        return 1
    return max(1, cores() // threads)


def study_folder(study: str | None, default: str) -> str:
    """Return the folder of a sweep.

    Args:
        study: The name of a study, or a path. None if the sweep has no study.
        default: The folder to use without a study.

    Example:
        >>> study_folder("first", "multirun/x"), study_folder("results/first", "multirun/x")
        ('studies/first', 'results/first')
    """
    if study is None:
        return default
    return study if "/" in study else f"studies/{study}"


def register_resolvers() -> None:
    """Register the resolvers of the launcher presets with OmegaConf."""
    register_resolver("study_folder", study_folder)
    register_resolver("jobs_at_once", jobs_at_once)
    register_resolver("gpus_per_job", gpus_per_job)


def register_resolver(name: str, function: Callable[..., Any]) -> None:
    """Register a resolver with OmegaConf 2.3 or 2.4, replacing an older one of the same name."""
    import omegaconf

    is_new = [int(part) for part in omegaconf.__version__.split(".")[:2]] >= [2, 4]
    register: Any = getattr(omegaconf.OmegaConf, "register_resolver" if is_new else "register_new_resolver")
    register(name, function, replace=True)
