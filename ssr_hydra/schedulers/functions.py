"""Function forms of the schedulers: each is a function of the state, with the scheduler's arguments as keywords.

They are convenient in a lambda: ``lambda state: step_scheduler(state, step_size="5ep")``. Each function checks
its arguments and converts its durations in each call. A scheduler object does both only once. Type checkers read the
signatures of the functions from the stub file that ``scripts/stubs.py`` writes.

Example:
    >>> from ssr_hydra import State, Timestamp
    >>> state = State(max_duration="50ep", dataloader_len=10, timestamp=Timestamp(batch=60, epoch=6))
    >>> step_scheduler(state, step_size=["5ep", "25ep"]), step_scheduler(state, step_size=["0.1dur", "0.5dur"])
    (0.1, 0.1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssr_hydra.errors import MissingValueError
from ssr_hydra.schedulers.arguments import durations
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.schedulers.steps import MultiStepScheduler, StepScheduler
from ssr_hydra.time import Number, Time, TimeLike

__all__ = sorted(row.function_name for row in ROWS)


def step_scheduler(
    state: Any, ssr: Number = 1.0, *, step_size: TimeLike | Sequence[TimeLike], gamma: float = 0.1
) -> float:
    """Return alpha of :class:`StepScheduler`, or of :class:`MultiStepScheduler` if ``step_size`` is a list."""
    if isinstance(step_size, (str, Time)) or not isinstance(step_size, Sequence):
        return StepScheduler(step_size, gamma)(state, ssr)
    if not step_size:
        raise MissingValueError("step_size", list(step_size), "must not be empty", "e.g. '5ep' or ['5ep', '10ep']")
    # An error of durations() names step_size. An error of MultiStepScheduler would name milestones.
    return MultiStepScheduler(durations(step_size, "step_size"), gamma)(state, ssr)


globals().update((row.function_name, row.function()) for row in ROWS if row.scheduler is not StepScheduler)
