"""The state that a user's function sees at a time of a run, or of a phase of it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ssr_hydra.state import State
from ssr_hydra.time import Time, TimeUnit, as_time
from ssr_hydra.time.timestamp import Comparable

if TYPE_CHECKING:
    from ssr_hydra.schedulers.run import Run

__all__ = ["view"]

_NAMES = {
    "iteration": TimeUnit.ITERATION,
    "epoch": TimeUnit.EPOCH,
    "batch": TimeUnit.BATCH,
    "sample": TimeUnit.SAMPLE,
    "token": TimeUnit.TOKEN,
    "seconds": TimeUnit.SECOND,
}


class _PhaseTimestamp(Comparable):
    """A timestamp that counts from the start of a phase.

    A counter is shifted when it is asked for: one that no rate connects with the phase's start cannot be, and only a
    function that reads it should hear of it. Counters within the epoch stay the run's.
    """

    def __init__(self, run: Run, timestamp: Any) -> None:
        self._run, self._timestamp = run, timestamp

    def get(self, unit: TimeUnit | str) -> Time:
        unit = Time(0, unit, field="unit").unit
        if unit is TimeUnit.EPOCH:
            # Whole epochs since the phase began, which need not be at an epoch's start.
            batches = self.get(TimeUnit.BATCH)
            return Time(int(self._run.convert(batches, unit, "timestamp").value), unit)
        total = Time(self._timestamp.get(unit.value).value, unit)
        # Not below 0: rates are true on average only, see Run.clock.
        return max(total - self._run.convert(self._run.start, unit, "timestamp"), Time(0, unit))

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return self.get(_NAMES[name])
        if name.startswith("_"):  # copying and pickling ask for these before there is a timestamp
            raise AttributeError(name)
        return getattr(self._timestamp, name)


def view(run: Run, timestamp: Any) -> Any:
    """The run's state at ``timestamp``; within a phase, as if the phase were a run of its own."""
    state = run.state
    length = getattr(state, "max_duration", None)
    # Another library's time need not know how to compare itself with ours.
    is_whole = run.max_duration == (None if length is None else as_time(length, "max_duration"))
    if run.start.value == 0 and is_whole:
        if timestamp is state.timestamp:
            return state
        seen = copy.copy(state)
        seen.timestamp = timestamp
        return seen
    return State(
        max_duration=run.max_duration,
        dataloader_len=None if run.dataloader_len is None else int(run.dataloader_len),
        samples_per_batch=run.samples_per_batch,
        tokens_per_batch=run.tokens_per_batch,
        timestamp=timestamp if run.start.value == 0 else _PhaseTimestamp(run, timestamp),  # type: ignore[arg-type]
        optimizers=getattr(state, "optimizers", ()),
    )
