"""torch's schedulers that set absolute learning rates and momenta: CyclicLR and OneCycleLR."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from ssr_hydra.errors import ConflictError, RangeError
from ssr_hydra.schedulers.arguments import put
from ssr_hydra.settings.base import count, flag, one_of
from ssr_hydra.time import Time, exact
from ssr_hydra.torch_schedulers.base import (
    BATCH,
    Course,
    Duration,
    PerGroup,
    Steps,
    TorchScheduler,
    amounts,
    finite,
    per_group,
    steps,
)
from ssr_hydra.torch_schedulers.functions import asked, check_function

_MODES = ("triangular", "triangular2", "exp_range")
_SCALE_MODES = ("cycle", "iterations")
_ANNEAL = ("cos", "linear")


class _Cyclic(Course):
    def __init__(self, scheduler: CyclicLR, steps: Steps) -> None:
        self._own = scheduler
        up = steps.time(scheduler.step_size_up, "step_size_up")
        down = up
        if scheduler.step_size_down is not None:
            down = steps.run.convert(steps.time(scheduler.step_size_down, "step_size_down"), up.unit, "step_size_down")
        clock = steps.run.clock(up.unit, "step_size_up", up, down)
        self._read, self._factor, (self._start, top, bottom) = clock.read, clock.factor, clock.points
        self._up, self._down = top - self._start, bottom - self._start
        self._count = steps.count()
        self.has_momenta = scheduler.cycle_momentum

    def _height(self, timestamp: Any) -> float:
        """Return h(t) * s(t) of the formula in :class:`CyclicLR`."""
        own = self._own
        index, rest = divmod(self._read(timestamp) * self._factor - self._start, self._up + self._down)
        share = float(rest / self._up if rest <= self._up else (self._up + self._down - rest) / self._down)
        cycle = int(index) + 1
        if own.scale_fn is not None:
            by_cycle = own.scale_mode == "cycle"
            return share * asked(own.scale_fn, cycle if by_cycle else self._count(timestamp), "scale_fn")
        if own.mode == "triangular":
            return share
        if own.mode == "triangular2":
            return share * math.ldexp(1.0, 1 - cycle)
        return share * float(own.gamma ** self._count(timestamp))

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        height, count = self._height(timestamp), len(bases)
        low = per_group(self._own.base_lr, count, "base_lr")
        high = per_group(self._own.max_lr, count, "max_lr")
        return [base + (top - base) * height for base, top in zip(low, high, strict=True)]

    def momenta(self, timestamp: Any, count: int) -> list[float]:
        height = self._height(timestamp)
        low = per_group(self._own.base_momentum, count, "base_momentum")
        high = per_group(self._own.max_momentum, count, "max_momentum")
        return [top - (top - base) * height for base, top in zip(low, high, strict=True)]


@dataclass(frozen=True)
class CyclicLR(TorchScheduler):
    """Cycle between two learning rates, and change the momentum in the opposite direction.

    ::

        lr(t) = base_lr + (max_lr - base_lr) * h(t) * s(t)
        h(t) increases from 0 to 1 in step_size_up and decreases in step_size_down
        s(t) = 1 (triangular), 2 ** (1 - cycle) (triangular2), gamma ** t (exp_range), or scale_fn(cycle or t)
        momentum(t) = max_momentum - (max_momentum - base_momentum) * h(t) * s(t)

    SSR stretches the increase and the decrease of a cycle. In the mode ``exp_range``, SSR also stretches the time t in
    ``gamma ** t``.

    Args:
        base_lr: The lowest learning rate, absolute: one number, or a list with one number per param group.
        max_lr: The highest learning rate of the first cycle, absolute: one number, or a list with one number per param
            group.
        step_size_up: Length of the increase: a number of steps, or a time.
        step_size_down: Length of the decrease; None means ``step_size_up``.
        mode: ``"triangular"``, ``"triangular2"`` or ``"exp_range"``.
        gamma: Factor for ``exp_range``, at least 0.
        scale_fn: A custom function instead of ``mode``; None to use ``mode``.
        scale_mode: The argument of ``scale_fn``. ``"cycle"`` means the number of the cycle, counted from 1.
            ``"iterations"`` means the number of steps.
        cycle_momentum: Whether to set the momentum (or the first beta) as well.
        base_momentum: Momentum at the highest learning rate.
        max_momentum: Momentum at the lowest learning rate.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = CyclicLR(0.0, 1.0, step_size_up=4).bind(State(max_duration="9ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [0.1]) for k in range(4)]
        [[0.0], [0.5], [1.0], [0.5]]

    Source: Smith 2017 (arXiv 1506.01186).
    """

    base_lr: PerGroup
    max_lr: PerGroup
    step_size_up: Duration = 2000
    step_size_down: Duration | None = None
    mode: Annotated[str, _MODES] = "triangular"
    gamma: float = 1.0
    scale_fn: Callable[[float], float] | None = None
    scale_mode: Annotated[str, _SCALE_MODES] = "cycle"
    cycle_momentum: bool = True
    base_momentum: PerGroup = 0.8
    max_momentum: PerGroup = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        down = self.step_size_down
        put(
            self,
            base_lr=amounts(self.base_lr, "base_lr"),
            max_lr=amounts(self.max_lr, "max_lr"),
            step_size_up=steps(self.step_size_up, "step_size_up"),
            step_size_down=None if down is None else steps(down, "step_size_down"),
            mode=one_of(self.mode, "mode", _MODES),
            gamma=finite(self.gamma, "gamma"),
            scale_fn=None if self.scale_fn is None else check_function(self.scale_fn, "scale_fn"),
            scale_mode=one_of(self.scale_mode, "scale_mode", _SCALE_MODES),
            cycle_momentum=flag(self.cycle_momentum, "cycle_momentum"),
            base_momentum=amounts(self.base_momentum, "base_momentum"),
            max_momentum=amounts(self.max_momentum, "max_momentum"),
        )

    @property
    def natural_pace(self) -> str:
        return BATCH

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # the rate is set at every step
        return _Cyclic(self, steps)


class _OneCycle(Course):
    def __init__(self, scheduler: OneCycleLR, steps: Steps) -> None:
        own = self._own = scheduler
        total = steps.time(own.total, "total_steps")
        one = steps.run.convert(steps.one, total.unit, "total_steps")
        _check_length(steps, total, own.total)
        start, end = exact(own.pct_start, "pct_start"), total - one
        # In torch, each phase ends one step early.
        ends = [total * start - one, *([total * (2 * start) - one * 2] if own.three_phase else []), end]
        clock = steps.run.clock(total.unit, "total_steps", *ends)
        self._read, self._factor = clock.read, clock.factor
        self._start, *self._ends = clock.points
        lrs = ("initial", "max", "initial", "min") if own.three_phase else ("initial", "max", "min")
        self._lrs = list(pairwise(lrs))
        momenta = ("max", "base", "max", "max") if own.three_phase else ("max", "base", "max")
        self._momenta = list(pairwise(momenta))
        self.has_momenta = own.cycle_momentum

    def _where(self, timestamp: Any) -> tuple[int, float]:
        """Return the index and elapsed fraction of the current phase. After the end, return the last index and 1."""
        count = self._read(timestamp) * self._factor
        start, last = self._start, len(self._ends) - 1
        for index, end in enumerate(self._ends):
            if count <= end or index == last:
                return index, 1.0 if count >= end else float((count - start) / (end - start))
            start = end
        raise AssertionError

    def _between(self, first: float, second: float, tau: float) -> float:
        if self._own.anneal_strategy == "linear":
            return (second - first) * tau + first
        return second + (first - second) / 2.0 * (math.cos(math.pi * tau) + 1.0)

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        own, (index, tau) = self._own, self._where(timestamp)
        first, second = self._lrs[index]
        rates = []
        for top in per_group(own.max_lr, len(bases), "max_lr"):
            initial = top / own.div_factor
            values = {"max": top, "initial": initial, "min": initial / own.final_div_factor}
            rates.append(self._between(values[first], values[second], tau))
        return rates

    def momenta(self, timestamp: Any, count: int) -> list[float]:
        own, (index, tau) = self._own, self._where(timestamp)
        first, second = self._momenta[index]
        base = per_group(own.base_momentum, count, "base_momentum")
        high = per_group(own.max_momentum, count, "max_momentum")
        both = [{"base": low, "max": top} for low, top in zip(base, high, strict=True)]
        return [self._between(values[first], values[second], tau) for values in both]


def _check_length(steps: Steps, total: Time, stated: Any) -> None:
    """Raise an InputError if the schedule is shorter than the run. torch raises an error only during training."""
    length = steps.run.length() if steps.run.max_duration is not None else None
    if length is not None and steps.run.is_before(total, length):
        rule = f"must not end before the run (ends at {total}, but the run ends at {length})"
        value = str(stated) if isinstance(stated, Time) else stated
        raise RangeError("total_steps", value, rule, "write '1dur' for the whole run")


@dataclass(frozen=True)
class OneCycleLR(TorchScheduler):
    """Increase once to ``max_lr``, then decrease to almost 0, and change the momentum in the opposite direction.

    ::

        lr(0)                     = max_lr / div_factor
        lr(pct_start * total - 1) = max_lr
        lr(total - 1)             = max_lr / div_factor / final_div_factor

    ``total`` is the length of the cycle in steps. Between the three times above, lr(t) follows half a cosine or a
    straight line. SSR stretches the increase and the decrease. After ``total - 1``, the learning rate keeps its last
    value.

    Args:
        max_lr: The peak, absolute: one number, or a list with one number per param group.
        total_steps: Length of the cycle, at least the length of the run: a number of steps, or a time. None means
            ``epochs * steps_per_epoch``, or the whole run if ``epochs`` and ``steps_per_epoch`` are None too.
        epochs: Together with ``steps_per_epoch``, an alternative to ``total_steps``.
        steps_per_epoch: See ``epochs``.
        pct_start: The fraction of the cycle in which the learning rate increases.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        cycle_momentum: Whether to set the momentum (or the first beta) as well.
        base_momentum: Momentum at the peak.
        max_momentum: Momentum at the start and the end.
        div_factor: ``max_lr`` divided by the initial learning rate, above 0.
        final_div_factor: The initial learning rate divided by the last learning rate, above 0.
        three_phase: Whether the decrease has two phases. The first phase mirrors the increase and ends at the initial
            learning rate. The second phase ends at the last learning rate.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = OneCycleLR(1.0, 10, pct_start=0.4).bind(State(max_duration="5ba"), ssr=0.5)
        >>> [round(course.rates(Timestamp(batch=k), [0.1])[0], 3) for k in range(5)]
        [0.04, 0.76, 0.933, 0.5, 0.067]

    Source: Smith and Topin 2018 (arXiv 1708.07120).
    """

    max_lr: PerGroup
    total_steps: Duration | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    pct_start: float = 0.3
    anneal_strategy: Annotated[str, _ANNEAL] = "cos"
    cycle_momentum: bool = True
    base_momentum: PerGroup = 0.85
    max_momentum: PerGroup = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 10000.0
    three_phase: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        total = self.total_steps
        put(
            self,
            max_lr=amounts(self.max_lr, "max_lr"),
            total_steps=None if total is None else steps(total, "total_steps"),
            pct_start=finite(self.pct_start, "pct_start", most=1.0),
            anneal_strategy=one_of(self.anneal_strategy, "anneal_strategy", _ANNEAL),
            cycle_momentum=flag(self.cycle_momentum, "cycle_momentum"),
            base_momentum=amounts(self.base_momentum, "base_momentum"),
            max_momentum=amounts(self.max_momentum, "max_momentum"),
            div_factor=finite(self.div_factor, "div_factor", above=True),
            final_div_factor=finite(self.final_div_factor, "final_div_factor", above=True),
            three_phase=flag(self.three_phase, "three_phase"),
        )
        for name, other in (("epochs", "steps_per_epoch"), ("steps_per_epoch", "epochs")):
            value = getattr(self, name)
            if value is None:
                continue
            count(value, name)
            if total is not None or getattr(self, other) is None:
                rule = f"can be used only with {other}, and only if total_steps is not set"
                raise ConflictError(name, value, rule, "set only total_steps")

    @property
    def total(self) -> Any:
        """The length of the cycle before scaling by SSR: a number of steps, or a time."""
        if self.total_steps is not None:
            return self.total_steps
        if self.epochs is not None and self.steps_per_epoch is not None:
            return self.epochs * self.steps_per_epoch
        return Time("1dur")

    @property
    def natural_pace(self) -> str:
        return BATCH

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # the rate is set at every step
        return _OneCycle(self, steps)
