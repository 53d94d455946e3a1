"""A metaclass for dataclasses that OmegaConf must not convert into configs."""

from __future__ import annotations

import sys
from abc import ABCMeta
from typing import Any


class Opaque(ABCMeta):
    """Metaclass of dataclasses that OmegaConf does not convert into configs.

    If a dataclass instance is put into a config, OmegaConf converts it into a config of its fields. No option turns
    this off, and ``hydra.utils.instantiate`` needs configs that contain scheduler objects. OmegaConf calls
    ``dataclasses.is_dataclass``. With this metaclass, the call returns False for OmegaConf and True for other callers.

    Example:
        >>> from omegaconf import OmegaConf
        >>> from ssr_hydra.schedulers import RexScheduler
        >>> config = OmegaConf.create({}, flags={"allow_objects": True})
        >>> config.scheduler = RexScheduler()
        >>> type(config.scheduler).__name__
        'RexScheduler'
    """

    def __getattribute__(cls, name: str) -> Any:
        if name == "__dataclass_fields__":
            asker = sys._getframe(1)  # the call of dataclasses.is_dataclass, if OmegaConf checks for a dataclass
            if asker.f_back is not None and str(asker.f_back.f_globals.get("__name__")).startswith("omegaconf."):
                raise AttributeError(name)
        return super().__getattribute__(name)
