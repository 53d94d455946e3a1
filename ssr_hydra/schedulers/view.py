"""The state that a user's function gets at a time of a run, or of a phase of a run."""

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

    A counter is shifted when it is read. If no rate connects a counter with the phase's start, only a function that
    reads this counter gets an error. Counters within the epoch are those of the run.
    """

    def __init__(self, run: Run, timestamp: Any) -> None:
        self._run, self._timestamp = run, timestamp

    def get(self, unit: TimeUnit | str) -> Time:
        unit = Time(0, unit, field="unit").unit
        if unit is TimeUnit.EPOCH:
            # Whole epochs since the phase started, which may be in the middle of an epoch.
            batches = self.get(TimeUnit.BATCH)
            return Time(int(self._run.convert(batches, unit, "timestamp").value), unit)
        total = Time(self._timestamp.get(unit.value).value, unit)
        # At least 0, because rates are only averages: see Run.clock.
        return max(total - self._run.convert(self._run.start, unit, "timestamp"), Time(0, unit))

    def __getattr__(self, name: str) -> Any:
        if name in _NAMES:
            return self.get(_NAMES[name])
        if name.startswith("_"):  # copy and pickle read these before the timestamp exists
            raise AttributeError(name)
        return getattr(self._timestamp, name)


def view(run: Run, timestamp: Any) -> Any:
    """Return the run's state at ``timestamp``; in a phase, the state of the phase as a separate run."""
    state = run.state
    length = getattr(state, "max_duration", None)
    # A time of another library may not compare with this package's times.
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
