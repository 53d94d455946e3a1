"""Settings of a run as dataclasses. This package imports neither torch nor Hydra.

Each class groups the values of one argument, such as ``Trainer(checkpoint=...)``, and checks these values. The class
is also the schema of a config node.
"""

from ssr_hydra.settings.base import keys_of, setting_of
from ssr_hydra.settings.checkpoint import CheckpointSettings
from ssr_hydra.settings.counts import CountSettings
from ssr_hydra.settings.data import DataSettings
from ssr_hydra.settings.resume import ResumeSettings
from ssr_hydra.settings.step import StepSettings

__all__ = [
    "CheckpointSettings",
    "CountSettings",
    "DataSettings",
    "ResumeSettings",
    "StepSettings",
    "keys_of",
    "setting_of",
]
