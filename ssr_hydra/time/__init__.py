"""Time as training counts it: exact durations with a unit (:class:`Time`) and a run's counters (:class:`Timestamp`)."""

from ssr_hydra.time.duration import Number, Time, TimeLike, TimeUnit, as_time, check_ssr, exact, simplest
from ssr_hydra.time.timestamp import Timestamp

__all__ = ["Number", "Time", "TimeLike", "TimeUnit", "Timestamp", "as_time", "check_ssr", "exact", "simplest"]
