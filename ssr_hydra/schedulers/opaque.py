"""Dataclasses that OmegaConf does not convert when they are put into its containers."""

from __future__ import annotations

import sys
from abc import ABCMeta
from typing import Any

__all__ = ["Opaque"]


class Opaque(ABCMeta):
    """Metaclass of dataclasses that ``hydra.utils.instantiate`` can create anywhere in a config.

    OmegaConf converts a dataclass instance in one of its containers into a config of its fields. Hydra collects
    instantiated objects in such containers. So a config that holds a scheduler would contain a config instead, or fail
    with an error about unsupported types. OmegaConf has no option for this, but it calls ``dataclasses.is_dataclass``;
    this metaclass makes that call return False there, and only there.

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
