"""torch's cosine schedulers. Their lowest value ``eta_min`` is an absolute learning rate, not a factor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssr_hydra.schedulers.arguments import put
from ssr_hydra.schedulers.curves import Curve
from ssr_hydra.schedulers.cycles import Cycles
from ssr_hydra.settings.base import count
from ssr_hydra.time import exact
from ssr_hydra.torch_schedulers.base import Course, Duration, Steps, TorchScheduler, finite, steps


class Cosine(Course):
    """The course ``lr = eta_min + (base - eta_min) * (1 + cos(pi * tau)) / 2``.

    Args:
        tau: A function from a timestamp to the elapsed fraction of ``T_max`` or of the cycle.
        eta_min: The lowest learning rate.
        chains: Whether torch computes each rate from the current rate, not from the initial rate.
        extra: A factor of ``1 + cos(pi * tau)`` while tau is below 1, for a first step that torch takes twice.
    """

    def __init__(self, tau: Curve, eta_min: float, *, chains: bool, extra: float = 1.0) -> None:
        self.tau, self.eta_min, self.chains, self._extra = tau, eta_min, chains, extra

    def rates(self, timestamp: Any, bases: Sequence[float]) -> list[float]:
        tau, eta = self.tau(timestamp), self.eta_min
        height = 1.0 + math.cos(math.pi * tau)
        if tau < 1.0:
            height *= self._extra
        return [eta + (base - eta) * height / 2.0 for base in bases]

    def stepped(self, rates: Sequence[float], bases: Sequence[float], before: Any, after: Any) -> list[float]:
        """Compute the rates after a step, or a fraction of a step, from the rates before it, as torch does.

        Args:
            rates: The rates before the step. Other schedulers may have changed them.
            bases: The initial rates, which are needed if ``before`` is at the minimum of the cosine.
            before: The timestamp of ``rates``.
            after: The timestamp after the step.
        """
        first, second, eta = self.tau(before), self.tau(after), self.eta_min
        if first % 2.0 == 1.0:
            rise = (1.0 - math.cos(math.pi * (second - first))) / 2.0
            return [rate + (base - eta) * rise for rate, base in zip(rates, bases, strict=True)]
        ratio = (1.0 + math.cos(math.pi * second)) / (1.0 + math.cos(math.pi * first))
        return [eta + (rate - eta) * ratio for rate in rates]


@dataclass(frozen=True)
class CosineAnnealingLR(TorchScheduler):
    """Decay along half a cosine to ``eta_min``, then increase along the second half of the cosine.

    ::

        lr(t) = eta_min + (lr_0 - eta_min) * (1 + cos(pi * t / T_max)) / 2

    SSR stretches ``T_max``.

    Args:
        T_max: Time at which ``eta_min`` is reached: a number of steps, or a time.
        eta_min: The lowest learning rate, absolute.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = CosineAnnealingLR("1dur", pace="batch").bind(State(max_duration="4ba"))
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (0, 2, 4)]
        [[1.0], [0.5], [0.0]]

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """

    T_max: Duration
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        put(self, T_max=steps(self.T_max, "T_max"), eta_min=finite(self.eta_min, "eta_min"))

    def course(self, steps: Steps, again: int = 0) -> Course:
        end = steps.time(self.T_max, "T_max")
        length = float(steps.whole(end, "T_max")) if again else 1.0
        # torch computes the repeated first step like other steps. This multiplies the height of the curve by ``extra``,
        # which is 2 for a T_max of 1.
        extra = 2.0 / (1.0 + math.cos(math.pi / length)) if length != 1.0 else 2.0
        return Cosine(steps.share(end, "T_max"), self.eta_min, chains=True, extra=extra if again else 1.0)


@dataclass(frozen=True)
class CosineAnnealingWarmRestarts(TorchScheduler):
    """Repeat half a cosine. Each cycle is ``T_mult`` times as long as the previous cycle.

    ::

        cycle n lasts T_0 * T_mult ** n
        lr(t) = eta_min + (lr_0 - eta_min) * (1 + cos(pi * tau)) / 2,    tau = elapsed fraction of the cycle

    SSR stretches every cycle.

    Args:
        T_0: Length of the first cycle: a number of steps, or a time.
        T_mult: Length of a cycle divided by the length of the previous cycle, an integer >= 1.
        eta_min: The lowest learning rate, absolute.
        pace: See :class:`~ssr_hydra.torch_schedulers.TorchScheduler`.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> course = CosineAnnealingWarmRestarts(4, pace="batch").bind(State(max_duration="4ba"), ssr=0.5)
        >>> [course.rates(Timestamp(batch=k), [1.0]) for k in (0, 1, 2, 3)]
        [[1.0], [0.5], [1.0], [0.5]]

    Source: Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """

    T_0: Duration
    T_mult: int = 1
    eta_min: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        count(self.T_mult, "T_mult")
        put(self, T_0=steps(self.T_0, "T_0"), eta_min=finite(self.eta_min, "eta_min"))

    def course(self, steps: Steps, again: int = 0) -> Course:  # noqa: ARG002 # the rate is set at every step
        first = steps.time(self.T_0, "T_0")
        clock = steps.run.clock(first.unit, "T_0", first)
        read, factor, (start, end) = clock.read, clock.factor, clock.points
        cycles = Cycles(end - start, exact(self.T_mult, "T_mult"))
        return Cosine(lambda timestamp: cycles.tau(read(timestamp) * factor - start), self.eta_min, chains=False)
