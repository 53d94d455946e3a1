"""Dataclasses that stay what they are in the containers of OmegaConf."""

from __future__ import annotations

import sys
from abc import ABCMeta
from typing import Any

__all__ = ["Opaque"]


class Opaque(ABCMeta):
    """Metaclass of dataclasses that ``hydra.utils.instantiate`` makes.

    OmegaConf turns a dataclass instance that is put into one of its containers into a config of its fields. Hydra
    collects what it has instantiated in such containers, so that a config which holds a scheduler would end up with a
    config in its place, or with an error about types that configs cannot have. OmegaConf offers no way to opt out. It
    asks ``dataclasses.is_dataclass``, and only there these classes are no dataclasses.

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
            asker = sys._getframe(1)  # dataclasses.is_dataclass, and OmegaConf calls it
            if asker.f_back is not None and str(asker.f_back.f_globals.get("__name__")).startswith("omegaconf."):
                raise AttributeError(name)
        return super().__getattribute__(name)
