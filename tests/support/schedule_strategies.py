"""Hypothesis strategies for runs in every unit, and for valid schedules of every class, also nested ones.

A strategy draws each time as an exact number of batches. Then it writes the time in a random unit, with the rates of
the run. So the times fit together in any units: for example, a warmup ends before its schedule ends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st

from ssr_hydra import schedulers as s
from ssr_hydra.schedulers import Phase
from ssr_hydra.state import State
from ssr_hydra.time import Time, Timestamp, check_ssr

_COUNTERS = {"iter": "iteration", "ba": "batch", "sp": "sample", "tok": "token", "sec": "seconds"}
_GRAIN = Fraction(1, 10**9)  # timestamps keep whole nanoseconds

sigmas = st.one_of(
    st.sampled_from([1.3, 0.35, 0.1, 2, 3.7, 1, "0.7", Fraction(1, 3)]),
    st.floats(0.05, 20),
    st.fractions(Fraction(1, 20), 20, max_denominator=1000),
)
multipliers = st.one_of(st.sampled_from([0.0, 0.1, 1.0]), st.floats(0, 2))


@dataclass(frozen=True)
class World:
    """The rates of a run (for each unit, the number per batch) and its length in batches."""

    per_batch: dict[str, Fraction]
    dataloader_len: int | None
    length: Fraction
    unit: str  # the unit of max_duration

    def state(self, batches: Fraction, ssr: Any = 1, length: Fraction | None = None) -> State:
        """Return the state of the run at a time. The length of the run is scaled by ssr."""
        sigma = check_ssr(ssr)
        length = self.length if length is None else length
        counters = {_COUNTERS[unit]: batches * rate for unit, rate in self.per_batch.items() if unit in _COUNTERS}
        return State(
            Time(length * self.per_batch[self.unit] * sigma, self.unit),
            self.dataloader_len,
            self.per_batch.get("sp"),
            self.per_batch.get("tok"),
            Timestamp(**counters),
        )

    def alpha(self, scheduler: Any, batches: Fraction, ssr: Any = 1, length: Fraction | None = None) -> float:
        state = self.state(batches, ssr, length)
        return s.bind(scheduler, state, ssr)(state.timestamp)

    def on_grain(self, batches: Fraction, ssr: Any = 1) -> Fraction:
        """Return the time nearest to ``batches`` that a clock can show, both as it is and multiplied by ssr."""
        if self.unit != "sec":
            return batches
        grain = _GRAIN * check_ssr(ssr).denominator
        return batches // grain * grain


@st.composite
def worlds(draw: st.DrawFn) -> World:
    rate = st.fractions(Fraction(1, 2), 64, max_denominator=7)
    dataloader_len, samples, tokens = draw(st.integers(1, 40)), draw(rate), draw(rate)
    counted = {"ba": Fraction(1), "ep": Fraction(1, dataloader_len), "sp": samples, "tok": tokens}
    per_batch = draw(st.sampled_from([counted, counted, counted, {"sec": Fraction(1)}, {"iter": Fraction(1)}]))
    return World(
        per_batch,
        dataloader_len if "ep" in per_batch else None,
        draw(st.fractions(4, 300, max_denominator=9)),
        draw(st.sampled_from(sorted(per_batch))),
    )


shares = st.fractions(0, Fraction(13, 10), max_denominator=120)
"""Where in its run to ask a schedule: at simple fractions, where things begin and end, and past the end."""


def elapsed_function(state: Any, ssr: float) -> float:
    """A user's function: the square of the remaining fraction of the run."""
    return float((1 - min(1, state.get_elapsed_duration().value)) ** 2)


class Drawn:
    """Draws parts of schedules for one interval of a run."""

    def __init__(self, draw: st.DrawFn, world: World, length: Fraction) -> None:
        self.draw, self.world, self.length = draw, world, length

    def share(self, low: Any, high: Any) -> Fraction:
        return self.draw(st.fractions(Fraction(str(low)), Fraction(str(high)), max_denominator=60))

    def time(self, share: Fraction) -> Time:
        """Draw a fraction of the interval, written in some unit."""
        unit = self.draw(st.sampled_from(["dur", *self.world.per_batch]))
        return Time(share if unit == "dur" else share * self.length * self.world.per_batch[unit], unit)

    def at(self, low: Any, high: Any) -> Time:
        return self.time(self.share(low, high))

    def number(self, low: float, high: float) -> float:
        return self.draw(st.floats(low, high))

    def alpha(self) -> float:
        return self.draw(multipliers)

    def times(self, low: Any, high: Any, least: int) -> list[Time]:
        share = st.fractions(Fraction(str(low)), Fraction(str(high)), max_denominator=60)
        fractions = self.draw(st.lists(share, min_size=least, max_size=4, unique=True))
        return [self.time(share) for share in sorted(fractions)]

    def warmup(self, low: Any = 0) -> dict[str, Any]:
        """Draw a warmup that SSR stretches, either by its flag or because it is a fraction of the run."""
        share = self.share(low, 0.4)
        if self.draw(st.booleans()):
            return {"t_warmup": Time(share, "dur"), "scale_warmup": self.draw(st.booleans())}
        return {"t_warmup": self.time(share), "scale_warmup": True}

    def phases(self, depth: int) -> s.SequentialScheduler:
        twelfths = self.draw(st.sets(st.integers(1, 11), min_size=1, max_size=2))
        cuts = [Fraction(k, 12) for k in (0, *sorted(twelfths), 12)]
        phases = {}
        for k, (begin, end) in enumerate(itertools.pairwise(cuts)):
            part = make(self.draw, self.world, (end - begin) * self.length, depth - 1)
            phases[f"p{k}"] = Phase(part, until=None if end == 1 else self.time(end))
        return s.SequentialScheduler(phases)

    def factors(self, depth: int) -> s.ProductScheduler:
        count = self.draw(st.integers(1, 3))
        return s.ProductScheduler({f"f{k}": make(self.draw, self.world, self.length, depth - 1) for k in range(count)})


SIMPLE: dict[str, Callable[[Drawn], Any]] = {
    "StepScheduler": lambda d: s.StepScheduler(d.at(0.05, 1), d.number(0, 1.5)),
    "MultiStepScheduler": lambda d: s.MultiStepScheduler(d.times(0, 1.2, 1), d.number(0, 1.5)),
    "ConstantScheduler": lambda d: s.ConstantScheduler(d.alpha(), d.at(0.05, 1.2)),
    "LinearScheduler": lambda d: s.LinearScheduler(d.alpha(), d.alpha(), d.at(0.05, 1.2)),
    "ExponentialScheduler": lambda d: s.ExponentialScheduler(d.number(0, 1.5), d.at(0.05, 1)),
    "CosineAnnealingScheduler": lambda d: s.CosineAnnealingScheduler(d.at(0.05, 1.2), d.alpha()),
    "CosineAnnealingWarmRestartsScheduler": lambda d: s.CosineAnnealingWarmRestartsScheduler(
        d.at(0.05, 1), d.number(1, 3), d.alpha()
    ),
    "PolynomialScheduler": lambda d: s.PolynomialScheduler(d.number(0.1, 5), d.at(0.05, 1.2), d.alpha()),
    "RexScheduler": lambda d: s.RexScheduler(d.at(0.05, 1.2), d.alpha()),
    "MultiStepWithWarmupScheduler": lambda d: s.MultiStepWithWarmupScheduler(
        milestones=d.times(0, 1.2, 1), gamma=d.number(0, 1.5), **d.warmup()
    ),
    "ConstantWithWarmupScheduler": lambda d: s.ConstantWithWarmupScheduler(
        alpha=d.alpha(), t_max=d.at(1, 1.3), **d.warmup()
    ),
    "LinearWithWarmupScheduler": lambda d: s.LinearWithWarmupScheduler(
        alpha_i=d.alpha(), alpha_f=d.alpha(), t_max=d.at(1, 1.3), **d.warmup()
    ),
    "CosineAnnealingWithWarmupScheduler": lambda d: s.CosineAnnealingWithWarmupScheduler(
        alpha_f=d.alpha(), t_max=d.at(1, 1.3), **d.warmup()
    ),
    "PolynomialWithWarmupScheduler": lambda d: s.PolynomialWithWarmupScheduler(
        power=d.number(0.1, 5), alpha_f=d.alpha(), t_max=d.at(1, 1.3), **d.warmup()
    ),
    "WarmupStableDecayScheduler": lambda d: s.WarmupStableDecayScheduler(
        t_decay=d.at(0.05, 0.4), t_max=d.at(0.9, 1.2), alpha_f=d.alpha(),
        decay=d.draw(st.sampled_from(["1-sqrt", "linear", "cosine"])), **d.warmup(),
    ),
    "InverseSquareRootWithWarmupScheduler": lambda d: s.InverseSquareRootWithWarmupScheduler(
        t_scale=d.draw(st.sampled_from([None, d.at(0.05, 1)])),
        **d.draw(st.sampled_from([{}, {"t_cooldown": d.at(0.05, 0.4), "t_max": d.at(0.9, 1.2), "alpha_f": d.alpha()}])),
        **d.warmup(0.05),
    ),
    "OneCycleScheduler": lambda d: s.OneCycleScheduler(
        d.at(0.05, 0.6), d.at(0.7, 1.2), d.alpha(), d.alpha(), d.draw(st.sampled_from(["cosine", "linear"]))
    ),
    "PiecewiseLinearScheduler": lambda d: s.PiecewiseLinearScheduler(
        [(time, d.alpha()) for time in d.times(0, 1.2, 1)]
    ),
    "a function": lambda d: elapsed_function,
}  # fmt: skip


def make(draw: st.DrawFn, world: World, length: Fraction, depth: int = 0, kind: str | None = None) -> Any:
    """Draw a valid schedule for an interval of a run. SSR stretches the whole schedule."""
    if kind is None:
        kind = draw(st.sampled_from([*SIMPLE, *(["product", "sequence"] * 6 if depth > 0 else [])]))
    builder = Drawn(draw, world, length)
    if kind == "product":
        return builder.factors(depth)
    if kind == "sequence":
        return builder.phases(depth)
    return SIMPLE[kind](builder)


@st.composite
def cases(draw: st.DrawFn, kind: str | None = None, depth: int = 0) -> tuple[World, Any]:
    """Draw a run and a schedule for it."""
    world = draw(worlds())
    return world, make(draw, world, world.length, depth, kind)
