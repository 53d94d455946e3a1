"""Every scheduler as a function of the state, with its arguments as keywords.

They are convenient in a lambda: ``lambda state: step_scheduler(state, step_size="5ep")``. Each call checks its
arguments and converts its durations again; a scheduler object does so once. The registry makes the functions, so
``inspect.signature`` and ``help`` show their arguments. Type checkers read them in the stub, which
``scripts/stubs.py`` writes.

Example:
    >>> from ssr_hydra.state import State
    >>> from ssr_hydra.time import Timestamp
    >>> state = State(max_duration="50ep", dataloader_len=10, timestamp=Timestamp(batch=60, epoch=6))
    >>> step_scheduler(state, step_size=["5ep", "25ep"]), step_scheduler(state, step_size=["0.1dur", "0.5dur"])
    (0.1, 0.1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssr_hydra.errors import InputError
from ssr_hydra.schedulers.arguments import durations
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.schedulers.steps import MultiStepScheduler, StepScheduler
from ssr_hydra.time import Number, Time, TimeLike

__all__ = sorted(row.function_name for row in ROWS)


def step_scheduler(
    state: Any, ssr: Number = 1.0, *, step_size: TimeLike | Sequence[TimeLike], gamma: float = 0.1
) -> float:
    """alpha of :class:`StepScheduler`, or of :class:`MultiStepScheduler` for a list of milestones."""
    if isinstance(step_size, (str, Time)) or not isinstance(step_size, Sequence):
        return StepScheduler(step_size, gamma)(state, ssr)
    if not step_size:
        raise InputError("step_size", list(step_size), "must not be empty", "write e.g. '5ep' or ['5ep', '10ep']")
    # The check names the argument as the caller wrote it.
    return MultiStepScheduler(durations(step_size, "step_size"), gamma)(state, ssr)


globals().update((row.function_name, row.function()) for row in ROWS if row.scheduler is not StepScheduler)
