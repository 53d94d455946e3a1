"""How a machine is shared among jobs, in the words by which the presets of launchers ask for it. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ssr_hydra.launchers.devices import visible_gpus
from ssr_hydra.machine import cores

__all__ = ["gpus_per_job", "jobs_at_once", "register_resolver", "register_resolvers", "study_folder", "uses_gpu"]


def gpus_per_job(device: str | None = "auto") -> int:
    """How many of this machine's GPUs a job needs: one where there are some.

    Args:
        device: ``trainer.device``; with ``cpu`` it needs none.

    Example:
        >>> gpus_per_job("cpu")
        0
    """
    return 1 if uses_gpu(device) and visible_gpus() else 0


def uses_gpu(device: str | None) -> bool:
    """Whether jobs take a GPU where there is one.

    Args:
        device: ``trainer.device``.
    """
    return device is None or re.match(r"(auto|cuda)(:\d+)?$", device) is not None


def jobs_at_once(threads: int | None = 1, device: str | None = "auto") -> int:
    """How many jobs fill this machine, under a launcher that does not give each of them a GPU of its own.

    Args:
        threads: ``trainer.threads``; None is all cores for each job, so one at a time.
        device: ``trainer.device``. Jobs that use a GPU run one at a time.

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
        study: Name of its study, or a path; None for none.
        default: The folder of a sweep without a study.

    Example:
        >>> study_folder("first", "multirun/x"), study_folder("results/first", "multirun/x")
        ('studies/first', 'results/first')
    """
    if study is None:
        return default
    return study if "/" in study else f"studies/{study}"


def register_resolvers() -> None:
    """Register the resolvers that the presets use: what fits the machine, and the folder of a study."""
    register_resolver("study_folder", study_folder)
    register_resolver("jobs_at_once", jobs_at_once)
    register_resolver("gpus_per_job", gpus_per_job)


def register_resolver(name: str, function: Callable[..., Any]) -> None:
    """Register a resolver with OmegaConf, replacing one of its name; releases 2.3 and 2.4 differ in how."""
    import omegaconf

    is_new = [int(part) for part in omegaconf.__version__.split(".")[:2]] >= [2, 4]
    register: Any = getattr(omegaconf.OmegaConf, "register_resolver" if is_new else "register_new_resolver")
    register(name, function, replace=True)
