"""torch's schedulers that multiply the initial learning rate by a factor that depends on time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ssr_hydra.errors import MissingValueError
from ssr_hydra.schedulers.arguments import put, too_large
from ssr_hydra.schedulers.curves import stepped
from ssr_hydra.torch_schedulers.base import Course, Duration, Factor, Steps, TorchScheduler, finite, listed, steps


def _power(gamma: float, exponent: float) -> float:
    try:
        power: float = gamma**exponent
    except (OverflowError, ZeroDivisionError):
        raise too_large(gamma) from None
    return power


def _power_of(gamma: float, count: Callable[[Any], float], extra: float = 1.0) -> Factor:
    """Return the course of a learning rate that is the initial rate times gamma ** count(t)."""

    def growth(before: Any, after: Any) -> float:
        return _power(gamma, count(after) - count(before))

    return Factor(lambda timestamp: _power(gamma, count(timestamp)), extra, growth)


@dataclass(frozen=True)
class StepLR(TorchScheduler):
    """Multiply the learning rate by ``gamma`` once per ``step_size``.

    ::

        lr(t) = lr_0 * gamma ** floor(t / step_size)

    SSR stretches ``step_size``. If a decay is due between two steps of the scheduler, the decay takes effect at the
    next step.

    Args:
        step_size: Time between two decays: a number of steps, or a time.
        gamma: Factor of each decay, at least 0.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = StepLR(2, pace="batch").bind(State(max_duration="4ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(3)]
        [[1.0], [0.1], [0.010000000000000002]]
    """

    step_size: Duration
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, step_size=steps(self.step_size, "step_size"), gamma=finite(self.gamma, "gamma"))

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # a step at 0 changes nothing here
        period = steps.time(self.step_size, "step_size")
        clock = steps.run.clock(period.unit, "step_size", period)
        read, factor, (start, end) = clock.read, clock.factor, clock.points
        width, gamma = end - start, self.gamma

        def count(timestamp: Any) -> int:
            return (read(timestamp) * factor - start) // width

        return _power_of(gamma, count)


@dataclass(frozen=True)
class MultiStepLR(TorchScheduler):
    """Multiply the learning rate by ``gamma`` at each milestone.

    ::

        lr(t) = lr_0 * gamma ** (number of milestones <= t)

    SSR stretches every milestone. If two milestones are between the same two steps, both take effect at the later step.

    Args:
        milestones: Numbers of steps, or times, in any order. A repeated milestone multiplies the rate twice.
        gamma: Factor of each decay, at least 0.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = MultiStepLR(["0.5dur"], gamma=0.5, pace="batch").bind(State(max_duration="4ba"))
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(3)]
        [[1.0], [1.0], [0.5]]
    """

    milestones: Sequence[Duration]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        stated = listed(self.milestones, "milestones", "milestones", "[30, 60] or ['0.5dur']")
        if not stated:
            fix = "write e.g. [30, 60] or ['0.5dur']"
            raise MissingValueError("milestones", stated, "must have at least one milestone", fix)
        milestones = tuple(steps(value, f"milestones[{i}]", above_zero=False) for i, value in enumerate(stated))
        put(self, milestones=milestones, gamma=finite(self.gamma, "gamma"))

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # a step at 0 changes nothing here
        fields = [f"milestones[{i}]" for i in range(len(self.milestones))]
        times = [(steps.time(value, name), name) for value, name in zip(self.milestones, fields, strict=True)]
        _power(self.gamma, len(times))  # if the power overflows, raise the error now, before training
        return _power_of(self.gamma, stepped(steps.run, times, range(len(times) + 1)))


@dataclass(frozen=True)
class ConstantLR(TorchScheduler):
    """Multiply the initial learning rate by ``factor`` until ``total_iters``, then by 1.

    ::

        lr(t) = lr_0 * factor    for t < total_iters, else lr_0

    SSR stretches ``total_iters``.

    Args:
        factor: The factor, from 0 to 1.
        total_iters: Time until which the factor applies: a number of steps, or a time.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = ConstantLR(0.5, 4, pace="batch").bind(State(max_duration="9ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(3)]
        [[0.5], [0.5], [1.0]]
    """

    factor: float = 1.0 / 3
    total_iters: Duration = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        factor = finite(self.factor, "factor", most=1.0)
        put(self, factor=factor, total_iters=steps(self.total_iters, "total_iters"))

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # a step at 0 changes nothing here
        end = steps.time(self.total_iters, "total_iters")
        return Factor(stepped(steps.run, [(end, "total_iters")], (self.factor, 1.0)))


@dataclass(frozen=True)
class LinearLR(TorchScheduler):
    """Multiply the initial learning rate by a factor that changes linearly and then stays constant.

    ::

        lr(t) = lr_0 * (start_factor + (end_factor - start_factor) * min(1, t / total_iters))

    SSR stretches ``total_iters``.

    Args:
        start_factor: The factor at the start, above 0 and at most 1.
        end_factor: The factor at the end, from 0 to 1.
        total_iters: Time from which the factor is ``end_factor``: a number of steps, or a time.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = LinearLR(0.5, total_iters=4, pace="batch").bind(State(max_duration="9ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(3)]
        [[0.5], [0.75], [1.0]]
    """

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    total_iters: Duration = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        put(
            self,
            start_factor=finite(self.start_factor, "start_factor", most=1.0, above=True),
            end_factor=finite(self.end_factor, "end_factor", most=1.0),
            total_iters=steps(self.total_iters, "total_iters"),
        )

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # torch restarts this scheduler at 0
        first, last = self.start_factor, self.end_factor

        def line(tau: float) -> float:
            return first + (last - first) * tau if tau < 1.0 else last

        share = steps.share(steps.time(self.total_iters, "total_iters"), "total_iters")
        return Factor(lambda timestamp: line(share(timestamp)))


@dataclass(frozen=True)
class PolynomialLR(TorchScheduler):
    """Decay to 0 as a power of the remaining time.

    ::

        lr(t) = lr_0 * (1 - min(1, t / total_iters)) ** power

    SSR stretches ``total_iters``.

    Args:
        total_iters: Time at which the learning rate reaches 0: a number of steps, or a time.
        power: The exponent, above 0.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = PolynomialLR("1dur", 2.0, pace="batch").bind(State(max_duration="4ba"))
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (0, 2, 4)]
        [[1.0], [0.25], [0.0]]
    """

    total_iters: Duration = 5
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        power = finite(self.power, "power", above=True)
        put(self, total_iters=steps(self.total_iters, "total_iters"), power=power)

    def course(self, steps: Steps, again: int = 0) -> Course:
        end, power = steps.time(self.total_iters, "total_iters"), self.power
        share = steps.share(end, "total_iters")

        def left(timestamp: Any) -> float:
            return 1.0 - min(1.0, share(timestamp))

        def growth(before: Any, after: Any) -> float:
            return (left(after) / left(before)) ** power if left(before) > 0.0 else 1.0

        extra = 1.0 / (1.0 + 1.0 / float(steps.whole(end, "total_iters"))) ** power if again else 1.0
        return Factor(lambda timestamp: left(timestamp) ** power, extra, growth)


@dataclass(frozen=True)
class ExponentialLR(TorchScheduler):
    """Multiply the learning rate by ``gamma`` at every step.

    ::

        lr(t) = lr_0 * gamma ** t

    SSR stretches a step: after k steps of a run at ssr 0.5, the factor is ``gamma ** (k / 0.5)``.

    Args:
        gamma: Factor of each step, at least 0.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = ExponentialLR(0.5, pace="batch").bind(State(max_duration="4ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in range(3)]
        [[1.0], [0.25], [0.0625]]
    """

    gamma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, gamma=finite(self.gamma, "gamma"))

    def course(self, steps: Steps, again: int = 0) -> Course:
        return _power_of(self.gamma, steps.count(), self.gamma if again else 1.0)
