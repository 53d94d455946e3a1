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
    from ssr_hydra.schedulers import (
        ComposerScheduler,
        ConstantScheduler,
        ConstantWithWarmupScheduler,
        CosineAnnealingScheduler,
        CosineAnnealingWarmRestartsScheduler,
        CosineAnnealingWithWarmupScheduler,
        Curve,
        ExponentialScheduler,
        InverseSquareRootWithWarmupScheduler,
        LinearScheduler,
        LinearWithWarmupScheduler,
        MultiStepScheduler,
        MultiStepWithWarmupScheduler,
        OneCycleScheduler,
        Phase,
        PiecewiseLinearScheduler,
        PolynomialScheduler,
        PolynomialWithWarmupScheduler,
        ProductScheduler,
        RexScheduler,
        SchedulerLike,
        SequentialScheduler,
        StepScheduler,
        WarmupStableDecayScheduler,
        _convert_time,
        bind,
        convert_time,
    )
    from ssr_hydra.state import State
    from ssr_hydra.time import Time, Timestamp, TimeUnit
    from ssr_hydra.trainer import Trainer

__all__ = [
    "ComposerScheduler",
    "ConstantScheduler",
    "ConstantWithWarmupScheduler",
    "CosineAnnealingScheduler",
    "CosineAnnealingWarmRestartsScheduler",
    "CosineAnnealingWithWarmupScheduler",
    "Curve",
    "ExponentialScheduler",
    "InputError",
    "InverseSquareRootWithWarmupScheduler",
    "LinearScheduler",
    "LinearWithWarmupScheduler",
    "MissingRateError",
    "MultiStepScheduler",
    "MultiStepWithWarmupScheduler",
    "OneCycleScheduler",
    "Phase",
    "PiecewiseLinearScheduler",
    "PolynomialScheduler",
    "PolynomialWithWarmupScheduler",
    "ProductScheduler",
    "RexScheduler",
    "ScheduledLR",
    "SchedulerLike",
    "SequentialScheduler",
    "State",
    "StepScheduler",
    "Time",
    "TimeUnit",
    "Timestamp",
    "Trainer",
    "WarmupStableDecayScheduler",
    "_convert_time",
    "bind",
    "compile_composer_scheduler",
    "convert_time",
    "preview",
]

__version__ = "0.1.0"

# Modules of the names that are not schedulers, for __getattr__. The imports above are only for type checkers.
_HOMES = {
    "InputError": "errors",
    "MissingRateError": "errors",
    "ScheduledLR": "optim",
    "State": "state",
    "Time": "time",
    "TimeUnit": "time",
    "Timestamp": "time",
    "Trainer": "trainer",
    "compile_composer_scheduler": "optim",
    "preview": "previews",
}

if not TYPE_CHECKING:  # with __getattr__, a type checker would accept any name

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'schedulers')}")
        globals()[name] = getattr(home, name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
