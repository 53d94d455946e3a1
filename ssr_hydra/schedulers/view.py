"""The state that a user's scheduler function gets, in a run or in a phase of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, TimeUnit, as_time
from ssr_hydra.time.derived import DerivedTimestamp
from ssr_hydra.time.timestamp import COUNTERS, NANOSECONDS, TOTALS

if TYPE_CHECKING:
    from ssr_hydra.schedulers.run import Run


def _total(unit: TimeUnit, source: tuple[Run, Any]) -> Any:
    """Return the time since the start of the phase, in ``unit``. Seconds are returned as nanoseconds."""
    run, timestamp = source
    if unit is TimeUnit.EPOCH:
        # The phase may have started in the middle of an epoch, so compute epochs from batches.
        batches = Time(_total(TimeUnit.BATCH, source), TimeUnit.BATCH)
        return int(run.convert(batches, unit, "timestamp").value)
    total = Time(timestamp.get(unit.value).value, unit)
    # ``samples_per_batch`` is an average, so the difference may be below 0. Run._reader_from explains this.
    time = max(total - run.convert(run.start, unit, "timestamp"), Time(0, unit))
    return time.value * NANOSECONDS if unit is TimeUnit.SECOND else time.value


def _own(raw: str, name: str, source: tuple[Run, Any]) -> Any:
    """Return a counter of the timestamp that does not count from the start of the phase, such as ``batch_in_epoch``.

    ``raw`` is its name in this package's timestamps. Timestamps of other libraries use ``name``.
    """
    timestamp = source[1]
    if isinstance(timestamp, Timestamp):
        return getattr(timestamp, raw)
    value = getattr(timestamp, name.replace("_seconds", "_wct"))
    return round(value.total_seconds() * NANOSECONDS) if isinstance(value, timedelta) else value.value


_IN_PHASE: dict[str, Callable[[tuple[Run, Any]], int]] = {
    **{raw: partial(_own, raw, name) for raw, name in COUNTERS.items()},
    **{raw: partial(_total, unit) for unit, raw in TOTALS.items()},
}


def view(run: Run, timestamp: Any) -> Any:
    """Return the state at ``timestamp``. For a phase, the state has the length and the counters of the phase."""
    state = run.state
    length = getattr(state, "max_duration", None)
    # A time of another library cannot be compared with this package's times, so convert it.
    is_whole = run.max_duration == (None if length is None else as_time(length, "max_duration"))
    if run.start.value == 0 and is_whole:
        if timestamp is state.timestamp:
            return state
        snapshot = copy.copy(state)
        snapshot.timestamp = timestamp
        return snapshot
    return State(
        max_duration=run.max_duration,
        dataloader_len=None if run.dataloader_len is None else int(run.dataloader_len),
        samples_per_batch=run.samples_per_batch,
        tokens_per_batch=run.tokens_per_batch,
        timestamp=timestamp if run.start.value == 0 else DerivedTimestamp((run, timestamp), _IN_PHASE),
        optimizers=getattr(state, "optimizers", ()),
    )
