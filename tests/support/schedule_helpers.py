"""Runs to evaluate schedules on, one example of every scheduler, and a stand-in for the state of another library."""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from typing import Any

from ssr_hydra import schedulers as s
from ssr_hydra.schedulers import Phase
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, exact


def timestamp(
    batch: Any, *, dataloader_len: int | None = None, samples_per_batch: Any = 0, tokens_per_batch: Any = 0,
    seconds_per_batch: Any = 0,
) -> Timestamp:  # fmt: skip
    """Return the counters after ``batch`` batches of equal size."""
    return Timestamp(
        epoch=0 if dataloader_len is None else math.floor(Fraction(batch) / dataloader_len),
        batch=batch,
        sample=batch * (samples_per_batch or 0),
        token=batch * (tokens_per_batch or 0),
        seconds=batch * seconds_per_batch,
    )


def run(batch: Any = 0, ssr: Any = 1, *, max_duration: Any = None, seconds_per_batch: Any = 0, **rates: Any) -> State:
    """Return the state of a run at a batch. Like a trainer, scale ``max_duration`` by ssr."""
    if max_duration is not None:
        max_duration = Time(max_duration) * exact(ssr)
    return State(max_duration, timestamp=timestamp(batch, seconds_per_batch=seconds_per_batch, **rates), **rates)


def alphas(scheduler: Any, batches: Iterable[Any], ssr: Any = 1, **of_run: Any) -> list[float]:
    """Return alpha at each batch of the run that :func:`run` describes."""
    curve = s.bind(scheduler, run(0, ssr, **of_run), ssr)
    return [curve(run(batch, ssr, **of_run).timestamp) for batch in batches]


# One example of each class, for tests of all schedulers. No argument has its default value.
EXAMPLES: dict[str, s.Scheduler] = {
    type(scheduler).__name__: scheduler
    for scheduler in (
        s.StepScheduler("3ba", 0.5),
        s.MultiStepScheduler(["3ba", "0.7dur"], 0.5),
        s.ConstantScheduler(0.5, "6ba"),
        s.LinearScheduler(0.9, 0.1, "8ba"),
        s.ExponentialScheduler(0.5, "3ba"),
        s.CosineAnnealingScheduler("8ba", 0.1),
        s.CosineAnnealingWarmRestartsScheduler("2ba", 1.5, 0.1),
        s.PolynomialScheduler(3.0, "8ba", 0.1),
        s.MultiStepWithWarmupScheduler("2ba", ["3ba", "0.7dur"], 0.5, True),
        s.ConstantWithWarmupScheduler("2ba", 0.5, "12ba", True),
        s.LinearWithWarmupScheduler("2ba", 0.9, 0.1, "12ba", True),
        s.CosineAnnealingWithWarmupScheduler("2ba", "12ba", 0.1, True),
        s.PolynomialWithWarmupScheduler("2ba", 3.0, "12ba", 0.1, True),
        s.WarmupStableDecayScheduler("2ba", "3ba", "9ba", 0.1, "cosine", True),
        s.InverseSquareRootWithWarmupScheduler("2ba", "3ba", "2ba", "9ba", 0.1, True),
        s.OneCycleScheduler("3ba", "9ba", 0.2, 0.1, "linear"),
        s.PiecewiseLinearScheduler([("1ba", 0.2), ("4ba", 1.0), ("9ba", 0.1)]),
        s.RexScheduler("8ba", 0.1),
        s.ProductScheduler({"a": s.LinearScheduler(), "b": s.StepScheduler("3ba", 0.5)}),
        s.SequentialScheduler({"a": Phase(s.LinearScheduler(0.2, 1.0), "3ba"), "b": s.CosineAnnealingScheduler()}),
    )
}


class ForeignUnit(Enum):
    """Like Composer's TimeUnit: an enum with the same strings, whose members are not strings."""

    ITERATION = "iter"
    EPOCH = "ep"
    BATCH = "ba"
    SAMPLE = "sp"
    TOKEN = "tok"
    DURATION = "dur"
    SECOND = "sec"


class ForeignTime:
    """Like Composer's Time, with the parts that schedules use. It cannot be compared with other types."""

    def __init__(self, value: Any, unit: str) -> None:
        self.value, self.unit = value, ForeignUnit(unit)

    def __eq__(self, other: object) -> bool:
        raise TypeError(f"cannot convert {type(other)} to Time")

    __hash__ = None  # type: ignore[assignment]


class ForeignTimestamp:
    """Composer's Timestamp with only ``get``."""

    def __init__(self, batch: int, dataloader_len: int, samples_per_batch: int, tokens_per_batch: int) -> None:
        self._counts = {
            "iter": 0,
            "ep": batch // dataloader_len,
            "ba": batch,
            "sp": batch * samples_per_batch,
            "tok": batch * tokens_per_batch,
            "sec": batch * 0.5,
        }

    def get(self, unit: str | ForeignUnit) -> ForeignTime:
        name = ForeignUnit(unit).value
        return ForeignTime(self._counts[name], name)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a schedule read timestamp.{name}")


class ForeignState:
    """Like Composer's State, with the attributes that its schedulers read. Other attributes fail the test."""

    def __init__(
        self, max_duration: Time | str | None, timestamp: ForeignTimestamp, dataloader_len: int | None
    ) -> None:
        self.timestamp = timestamp
        time = None if max_duration is None else Time(str(max_duration))
        self.max_duration = None if time is None else ForeignTime(time.value, time.unit.value)
        self.dataloader_len = None if dataloader_len is None else ForeignTime(dataloader_len, "ba")

    def __getattr__(self, name: str) -> Any:
        # Composer's state lacks these attributes, so schedules read them with a default.
        if name in ("samples_per_batch", "tokens_per_batch", "optimizers"):
            raise AttributeError(name)
        raise AssertionError(f"a schedule read state.{name}")
