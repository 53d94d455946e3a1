"""Training time: exact durations with a unit (:class:`Time`), and the counters of a run (:class:`Timestamp`)."""

from ssr_hydra.time.duration import Time, TimeLike, TimeUnit, as_time
from ssr_hydra.time.numbers import Number, check_ssr, exact, simplest
from ssr_hydra.time.timestamp import Timestamp

__all__ = ["Number", "Time", "TimeLike", "TimeUnit", "Timestamp", "as_time", "check_ssr", "exact", "simplest"]
