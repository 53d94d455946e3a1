"""Structured configs for schedulers, optimizers, models, data sets and trainers, and their registration with Hydra.

This package imports omegaconf, Hydra's ConfigStore and the scheduler classes, but neither torch nor data.
"""

from typing import TYPE_CHECKING, Any

from ssr_hydra.configs import callbacks, language, launchers, optimizers, schedulers, tasks, torch_schedulers, vision
from ssr_hydra.configs.callbacks import *  # noqa: F403
from ssr_hydra.configs.experiment import (
    APP_KEYS,
    TRAINERS,
    AppConfig,
    CheckpointConfig,
    ExperimentConfig,
    ResumeConfig,
    TrainerConfig,
)
from ssr_hydra.configs.language import *  # noqa: F403
from ssr_hydra.configs.launchers import *  # noqa: F403
from ssr_hydra.configs.optimizers import *  # noqa: F403
from ssr_hydra.configs.registry import GROUPS, conf_dir, register
from ssr_hydra.configs.schedulers import *  # noqa: F403
from ssr_hydra.configs.tasks import *  # noqa: F403
from ssr_hydra.configs.torch_schedulers import *  # noqa: F403
from ssr_hydra.configs.vision import *  # noqa: F403

__all__ = [
    "APP_KEYS",
    "GROUPS",
    "TRAINERS",
    "AppConfig",
    "CheckpointConfig",
    "ExperimentConfig",
    "ResumeConfig",
    "TrainerConfig",
    "conf_dir",
    "register",
    *callbacks.__all__,
    *language.__all__,
    *launchers.__all__,
    *optimizers.__all__,
    *schedulers.__all__,
    *tasks.__all__,
    *torch_schedulers.__all__,
    *vision.__all__,
]

if TYPE_CHECKING:  # the registry of schedulers makes their configs

    def __getattr__(name: str) -> Any: ...
