"""A metaclass for dataclasses that OmegaConf must not convert into configs."""

from __future__ import annotations

import sys
from abc import ABCMeta
from typing import Any

__all__ = ["Opaque"]


class Opaque(ABCMeta):
    """Metaclass of dataclasses that ``hydra.utils.instantiate`` can create anywhere in a config.

    OmegaConf converts a dataclass instance in one of its containers into a config of its fields. Hydra collects
    instantiated objects in such containers. So a scheduler in a config would be replaced by a config, or would cause an
    error about unsupported types. OmegaConf has no option against this conversion, but it calls
    ``dataclasses.is_dataclass``. This metaclass makes the call return False for OmegaConf, and for no other caller.

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
            asker = sys._getframe(1)  # dataclasses.is_dataclass, called by OmegaConf
            if asker.f_back is not None and str(asker.f_back.f_globals.get("__name__")).startswith("omegaconf."):
                raise AttributeError(name)
        return super().__getattribute__(name)
