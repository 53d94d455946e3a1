"""Structured configs for schedulers, optimizers, models, data sets and trainers, and their registration with Hydra.

This package imports omegaconf, Hydra's ConfigStore and the scheduler classes. It imports neither torch nor data sets.
The configs of schedulers, optimizers, loggers and callbacks are named after their classes, such as
``RexSchedulerConfig`` and ``AdamWConfig``.
"""

from typing import Any

from ssr_hydra.configs import optimizers, registry, schedulers, tasks
from ssr_hydra.configs.derive import PhaseConfig
from ssr_hydra.configs.experiment import (
    APP_KEYS,
    LAUNCHERS,
    SWEEPERS,
    TORCHMETRICS,
    TRAINERS,
    AppConfig,
    CheckpointConfig,
    ExperimentConfig,
    ProcessLauncherConfig,
    ResumeConfig,
    StudySweeperConfig,
    TrainerConfig,
)
from ssr_hydra.configs.registry import GROUPS, conf_dir, register
from ssr_hydra.configs.tasks import *  # noqa: F403

__all__ = [
    "APP_KEYS",
    "GROUPS",
    "LAUNCHERS",
    "SWEEPERS",
    "TORCHMETRICS",
    "TRAINERS",
    "AppConfig",
    "CheckpointConfig",
    "ExperimentConfig",
    "PhaseConfig",
    "ProcessLauncherConfig",
    "ResumeConfig",
    "StudySweeperConfig",
    "TrainerConfig",
    "conf_dir",
    "register",
    *tasks.__all__,
]


def __getattr__(name: str) -> Any:
    for module in (registry, optimizers, schedulers):
        if name.endswith("Config") and hasattr(module, name):
            return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
