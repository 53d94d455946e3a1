"""Schedules that a scale schedule ratio (SSR) stretches. This package imports neither torch nor Hydra.

It exports the class and the function form of each scheduler in the registry.
"""

from ssr_hydra.schedulers import functions as _functions
from ssr_hydra.schedulers.annealing import *  # noqa: F403
from ssr_hydra.schedulers.combinators import *  # noqa: F403
from ssr_hydra.schedulers.curves import Curve
from ssr_hydra.schedulers.cycles import *  # noqa: F403
from ssr_hydra.schedulers.functions import *  # noqa: F403
from ssr_hydra.schedulers.plateaus import *  # noqa: F403
from ssr_hydra.schedulers.protocol import (
    ComposerScheduler,
    Scheduler,
    SchedulerLike,
    _convert_time,
    bind,
    convert_time,
)
from ssr_hydra.schedulers.registry import ROWS as _ROWS
from ssr_hydra.schedulers.step_function import as_function
from ssr_hydra.schedulers.steps import *  # noqa: F403

globals().update((row.scheduler.__name__, row.scheduler) for row in _ROWS)

__all__ = [
    "ComposerScheduler",
    "Curve",
    "Phase",  # noqa: F405
    "Scheduler",
    "SchedulerLike",
    "_convert_time",
    "as_function",
    "bind",
    "convert_time",
]
__all__ += [row.scheduler.__name__ for row in _ROWS]
__all__ += _functions.__all__
__all__.sort()
