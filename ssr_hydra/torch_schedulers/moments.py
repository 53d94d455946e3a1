"""Timestamps for torch's schedulers: the start of an epoch, and any time of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any

from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, Timestamp, TimeUnit
from ssr_hydra.time.derived import DerivedTimestamp
from ssr_hydra.time.timestamp import COUNTERS, NANOSECONDS, TOTALS


def _started(total: str, within: str, timestamp: Timestamp) -> Any:
    return getattr(timestamp, total) - getattr(timestamp, within)


_WITHIN = {
    "batches": "batches_in_epoch",
    "samples": "samples_in_epoch",
    "tokens": "tokens_in_epoch",
    "nanoseconds": "epoch_nanoseconds",
}
_AT_START: dict[str, Callable[[Timestamp], int]] = {
    **{name: attrgetter(name) for name in COUNTERS},
    **{total: partial(_started, total, within) for total, within in _WITHIN.items()},
    **dict.fromkeys([*_WITHIN.values(), "batch_nanoseconds"], lambda timestamp: 0),  # noqa: ARG005
}


def epoch_start(timestamp: Timestamp) -> Timestamp:
    """Return the timestamp at which the epoch of ``timestamp`` started.

    Example:
        >>> epoch_start(Timestamp(epoch=2, batch=25, batch_in_epoch=5)).batch
        Time('20ba')
    """
    return timestamp if timestamp.batches_in_epoch == 0 else DerivedTimestamp(timestamp, _AT_START)


def _converted(unit: TimeUnit, source: tuple[Run, Time]) -> Any:
    run, time = source
    count = run.convert(run.start, unit, "milestones") + run.convert(time, unit, "milestones")
    return count.value * NANOSECONDS if unit is TimeUnit.SECOND else count.value


_BY_RATES: dict[str, Callable[[tuple[Run, Time]], int]] = {
    name: partial(_converted, unit) for unit, name in TOTALS.items()
}


def moment(run: Run, time: Time) -> Timestamp:
    """Return the timestamp at a time of the run. Its counters are computed from ``dataloader_len`` and other rates."""
    return DerivedTimestamp((run, time), _BY_RATES)


class EpochRun(Run):
    """A run with unknown ``dataloader_len``, for schedulers that step once per epoch. It counts whole epochs."""

    @classmethod
    def of_run(cls, run: Run) -> Run:
        """Convert ``run`` to an EpochRun. If its ``dataloader_len`` is known, return ``run`` itself."""
        if run.dataloader_len is not None:
            return run
        return cls(**{item.name: getattr(run, item.name) for item in fields(run)})

    def resolve(self, time: Time, field: str, *, scale: bool = True) -> Time:
        if time.unit is TimeUnit.DURATION and self.max_duration is not None:
            time, scale = self.max_duration * time.value, False
        if time.unit is TimeUnit.EPOCH:
            return time * self.ssr if scale else time
        return super().resolve(time, field, scale=scale)

    def reader(self, unit: TimeUnit) -> Callable[[Any], int]:
        if unit is TimeUnit.EPOCH:
            return Timestamp.reader(unit)
        return super().reader(unit)
