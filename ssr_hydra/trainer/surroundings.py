"""The surroundings of a training loop: listeners, other processes, signals and checkpoints."""

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
    """The surroundings of a training loop; by default there are none.

    Args:
        events: Listeners.
        owner: The object that listeners get as the trainer.
        processes: The processes that train together.
        stop: Tells whether a signal has asked to stop.
        save: Writes a checkpoint; None if there are none.
        is_best: Whether an evaluation's metrics are worth a checkpoint; None if the best is not kept.
        compile_time: Returns the nanoseconds of compilation since the last call; None if nothing is compiled.
    """

    events: Events = field(default_factory=Events)
    owner: Any = None
    processes: Processes = ALONE
    stop: StopRequest = field(default_factory=StopRequest)
    save: Callable[[], object] | None = None
    is_best: Callable[[Mapping[str, float]], bool] | None = None
    compile_time: Callable[[], int] | None = None


class AgreedStop:
    """A signal as all processes see it, at the same batch boundary: if any process got one, all stop.

    Args:
        request: The signal of this process.
        processes: The processes that must agree.
    """

    def __init__(self, request: StopRequest, processes: Processes) -> None:
        self.number = 0
        self._request, self._processes = request, processes

    def agree(self, nanoseconds: int) -> int:
        """Check whether any process got a signal, and share rank 0's time, so that all processes have one clock."""
        asked = self._request.number
        mine = (nanoseconds if self._processes.is_main else 0, *(asked == number for number in STOP_SIGNALS))
        nanoseconds, *counts = self._processes.sum(mine)
        self.number = next((number for number, count in zip(STOP_SIGNALS, counts, strict=True) if count), 0)
        return nanoseconds

    def leave(self, after: str = "") -> NoReturn:
        """End the run with the signal that all processes agreed on."""
        self._request.number = self.number
        self._request.leave(after)
