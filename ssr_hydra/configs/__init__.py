"""Structured configs, one per scheduler, optimizer, model, data set and trainer, and their registration with Hydra.

Importing this needs dataclasses, omegaconf and Hydra's ConfigStore alone: no torch, no scheduler, no data.
"""

from ssr_hydra.configs import optimizers, schedulers, tasks
from ssr_hydra.configs.experiment import TRAINERS, ExperimentConfig, TrainerConfig
from ssr_hydra.configs.optimizers import *  # noqa: F403
from ssr_hydra.configs.registry import GROUPS, register
from ssr_hydra.configs.schedulers import *  # noqa: F403
from ssr_hydra.configs.tasks import *  # noqa: F403

__all__ = [
    "GROUPS",
    "TRAINERS",
    "ExperimentConfig",
    "TrainerConfig",
    "register",
    *optimizers.__all__,
    *schedulers.__all__,
    *tasks.__all__,
]
