"""Learning-rate schedules, which a scale schedule ratio (SSR) stretches together with the run, and studies of SSRs.

A name is imported when it is used for the first time, so ``import ssr_hydra`` loads neither torch nor hydra.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssr_hydra.errors import InputError as InputError
    from ssr_hydra.errors import MissingRateError as MissingRateError
    from ssr_hydra.optim import ScheduledLR as ScheduledLR
    from ssr_hydra.optim import compile_composer_scheduler as compile_composer_scheduler
    from ssr_hydra.previews import preview as preview
    from ssr_hydra.schedulers import *  # noqa: F403
    from ssr_hydra.schedulers.annealing import *  # noqa: F403
    from ssr_hydra.schedulers.combinators import *  # noqa: F403
    from ssr_hydra.schedulers.cycles import *  # noqa: F403
    from ssr_hydra.schedulers.plateaus import *  # noqa: F403
    from ssr_hydra.schedulers.steps import *  # noqa: F403
    from ssr_hydra.state import State as State
    from ssr_hydra.time import Time as Time
    from ssr_hydra.time import Timestamp as Timestamp
    from ssr_hydra.time import TimeUnit as TimeUnit
    from ssr_hydra.trainer import Trainer as Trainer

__version__ = "0.2.0"

# The module of each exported name, except the schedulers. Only type checkers read the imports above.
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

if not TYPE_CHECKING:  # hidden from type checkers, because with __getattr__ they would accept any name

    def _schedulers() -> list[str]:
        """Return the names that ``ssr_hydra.schedulers`` exports, except ``Scheduler`` and the functions."""
        home = importlib.import_module(f"{__name__}.schedulers")
        functions = importlib.import_module(f"{__name__}.schedulers.functions").__all__
        return [name for name in home.__all__ if name not in functions and name != "Scheduler"]

    def __getattr__(name: str) -> Any:
        if name == "__all__":
            globals()[name] = sorted([*_HOMES, *_schedulers()])
            return globals()[name]
        if name not in _HOMES and (name.startswith("__") or name not in _schedulers()):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'schedulers')}")
        globals()[name] = getattr(home, name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__getattr__("__all__")})
