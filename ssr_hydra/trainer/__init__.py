"""The trainer and the records of a run. The trainer is a torch loop whose schedules depend on training time.

Each public name is imported when it is first used, so a report can read records without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_hydra.records import RunResult
    from ssr_hydra.trainer.evaluation import accuracy
    from ssr_hydra.trainer.loss_watch import DivergedError
    from ssr_hydra.trainer.trainer import Trainer

__all__ = ["DivergedError", "RunResult", "Trainer", "accuracy"]

_HOMES = {
    "DivergedError": "ssr_hydra.trainer.loss_watch",
    "RunResult": "ssr_hydra.records",
    "Trainer": "ssr_hydra.trainer.trainer",
    "accuracy": "ssr_hydra.trainer.evaluation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
