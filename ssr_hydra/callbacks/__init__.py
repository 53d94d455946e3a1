"""What a run does besides training: loggers, and callbacks such as an average of the weights or a profiler.

A callback is any object with one or more of the methods in :data:`~ssr_hydra.callbacks.events.EVENTS`; there is no
base class. Names are imported when they are first used: only what is chosen is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_hydra.callbacks.events import EVENTS, Events

__all__ = ["EVENTS", "Events"]

_HOMES = {"EVENTS": "events", "Events": "events"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
