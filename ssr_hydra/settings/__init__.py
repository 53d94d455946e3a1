"""Settings of a run: each is an argument of the Trainer, the schema of its node in the config, and its own validator.

No torch and no Hydra is imported here.
"""

from ssr_hydra.settings.base import setting_of
from ssr_hydra.settings.checkpoint import CheckpointSettings
from ssr_hydra.settings.resume import ResumeSettings
from ssr_hydra.settings.step import StepSettings

__all__ = ["CheckpointSettings", "ResumeSettings", "StepSettings", "setting_of"]
