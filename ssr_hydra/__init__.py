"""Learning-rate schedules as pure functions of training time, a scale schedule ratio, and the studies built on them.

Names are imported when they are first used, so ``import ssr_hydra`` loads neither torch nor hydra.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_hydra.errors import InputError, MissingRateError
    from ssr_hydra.optim import ScheduledLR, compile_composer_scheduler
    from ssr_hydra.previews import preview
    from ssr_hydra.schedulers import ComposerScheduler, convert_time
    from ssr_hydra.state import State
    from ssr_hydra.time import Time, Timestamp, TimeUnit
    from ssr_hydra.trainer import Trainer

__all__ = [
    "ComposerScheduler",
    "InputError",
    "MissingRateError",
    "ScheduledLR",
    "State",
    "Time",
    "TimeUnit",
    "Timestamp",
    "Trainer",
    "compile_composer_scheduler",
    "convert_time",
    "preview",
]

__version__ = "0.1.0"

_HOMES = {
    "ComposerScheduler": "schedulers",
    "InputError": "errors",
    "MissingRateError": "errors",
    "ScheduledLR": "optim",
    "State": "state",
    "Time": "time",
    "TimeUnit": "time",
    "Timestamp": "time",
    "Trainer": "trainer",
    "compile_composer_scheduler": "optim",
    "convert_time": "schedulers",
    "preview": "previews",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
