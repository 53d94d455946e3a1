"""Objects outside the training loop that the loop uses: listeners, other processes, signals and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ssr_hydra.callbacks.events import Events
from ssr_hydra.trainer.interrupts import STOP_SIGNALS, StopRequest
from ssr_hydra.trainer.processes import ALONE, Processes

__all__ = ["AgreedStop", "Surroundings"]


@dataclass
class Surroundings:
    """Objects outside the training loop that the loop uses. The defaults do nothing.

    Args:
        events: The listeners that the loop calls at events.
        owner: The trainer. Listeners get it as their first argument.
        processes: The processes that train together.
        stop: Stores a signal that asks the run to stop.
        save: A function that writes a checkpoint; None if the run writes no checkpoints.
        is_best: A function that returns whether an evaluation's metrics are the best so far, so that a checkpoint
            is written; None if the run does not keep its best checkpoint.
        compile_time: A function that returns the nanoseconds of compilation since its last call; None if nothing is
            compiled.
    """

    events: Events = field(default_factory=Events)
    owner: Any = None
    processes: Processes = ALONE
    stop: StopRequest = field(default_factory=StopRequest)
    save: Callable[[], object] | None = None
    is_best: Callable[[Mapping[str, float]], bool] | None = None
    compile_time: Callable[[], int] | None = None


class AgreedStop:
    """A stop signal that all processes see at the same batch boundary: if any process got a signal, all stop.

    Args:
        request: Stores the signal of this process.
        processes: The processes that must agree.
    """

    def __init__(self, request: StopRequest, processes: Processes) -> None:
        self.number = 0
        self._request, self._processes = request, processes

    def agree(self, nanoseconds: int) -> int:
        """Share a stop signal of any process with all processes. Return rank 0's ``nanoseconds`` for equal clocks."""
        asked = self._request.number
        mine = (nanoseconds if self._processes.is_main else 0, *(asked == number for number in STOP_SIGNALS))
        nanoseconds, *counts = self._processes.sum(mine)
        self.number = next((number for number, count in zip(STOP_SIGNALS, counts, strict=True) if count), 0)
        return nanoseconds

    def leave(self, after: str = "") -> NoReturn:
        """End the run with the signal that all processes agreed on."""
        self._request.number = self.number
        self._request.leave(after)
