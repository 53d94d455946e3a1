"""Schedules that decay until ``t_max``: linear, cosine and polynomial, each also with warmup, and REX."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from ssr_hydra.schedulers.arguments import check_fit, ends_after_t_max, finish, reach, time_of
from ssr_hydra.schedulers.curves import Curve, Shape, annealed, cosine, linear, polynomial, rex
from ssr_hydra.schedulers.protocol import Scheduler
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeLike

__all__ = [
    "CosineAnnealingScheduler",
    "CosineAnnealingWithWarmupScheduler",
    "LinearScheduler",
    "LinearWithWarmupScheduler",
    "PolynomialScheduler",
    "PolynomialWithWarmupScheduler",
    "RexScheduler",
]


def warmup_and_end(scheduler: Any, run: Run) -> tuple[Time, Time]:
    """Return the end of the warmup and ``t_max``, both converted for the run and in the same unit.

    Raises:
        InputError: The warmup ends after ``t_max``, or the run ends during the warmup.
    """
    end = time_of(scheduler, run, "t_max")
    warmup = run.convert(time_of(scheduler, run, "t_warmup", scale=scheduler.scale_warmup), end.unit, "t_warmup")
    if warmup > end:
        raise ends_after_t_max(run, warmup, end, "t_warmup", scheduler.t_warmup)
    finish(run, warmup, "t_warmup", scheduler.t_warmup)
    return warmup, end


class _Decay(Scheduler):
    """Base class of decays until ``t_max``. If the class has the argument ``t_warmup``, a warmup comes first."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if hasattr(self, "t_warmup"):
            check_fit(self, "t_warmup")

    @abstractmethod
    def shape(self) -> Shape:
        """Return alpha during the decay as a function of tau, the elapsed fraction of the decay."""

    def curve(self, run: Run) -> Curve:
        if hasattr(self, "t_warmup"):
            begin, end = warmup_and_end(self, run)
            reach(run, self)
        else:
            end = time_of(self, run, "t_max")
            begin = Time(0, end.unit)
        return annealed(run, self.shape(), begin, end)


@dataclass(frozen=True)
class LinearScheduler(_Decay):
    """Change linearly from ``alpha_i`` to ``alpha_f``.

    ::

        alpha(t) = alpha_i * (1 - tau) + alpha_f * tau,    tau = min(1, t / t_max)

    SSR stretches ``t_max``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        alpha_i: Multiplier at the start, at least 0.
        alpha_f: Multiplier from ``t_max`` on, at least 0.
        t_max: Length of the decay.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> LinearScheduler()(State(max_duration="8ba", timestamp=Timestamp(batch=2)))
        0.75

    Source: MosaicML Composer's ``LinearScheduler``; Li, Yumer and Ramanan 2020 (arXiv 1905.04753) show that
    linear decay works well for short and long runs.
    """

    alpha_i: float = 1.0
    alpha_f: float = 0.0
    t_max: TimeLike = "1dur"

    def shape(self) -> Shape:
        return linear(self.alpha_i, self.alpha_f)


@dataclass(frozen=True)
class LinearWithWarmupScheduler(_Decay):
    """Warm up from 0 to ``alpha_i``, then change linearly to ``alpha_f``.

    ::

        alpha(t) = alpha_i * t / t_warmup                   for t < t_warmup
        alpha(t) = alpha_i * (1 - tau) + alpha_f * tau,     tau = (t - t_warmup) / (t_max - t_warmup), at most 1

    SSR stretches ``t_max``. SSR stretches the warmup only if ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In
    these two cases, ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Otherwise SSR changes only ``t_max`` in these
    formulas.

    Args:
        t_warmup: Length of the warmup, which must end before ``t_max`` and within the run; ``0ba`` for no warmup.
        alpha_i: Multiplier after the warmup, at least 0.
        alpha_f: Multiplier from ``t_max`` on, at least 0.
        t_max: End of the decay, counted from the start of the run; must not be before the end of the run.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = LinearWithWarmupScheduler("2ba")
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (1, 2, 3)]
        [0.5, 1.0, 0.75]

    Source: MosaicML Composer's ``LinearWithWarmupScheduler``.
    """

    t_warmup: TimeLike
    alpha_i: float = 1.0
    alpha_f: float = 0.0
    t_max: TimeLike = "1dur"
    scale_warmup: bool = False

    def shape(self) -> Shape:
        return linear(self.alpha_i, self.alpha_f)


@dataclass(frozen=True)
class CosineAnnealingScheduler(_Decay):
    """Decay from 1 to ``alpha_f`` along half a cosine.

    ::

        alpha(t) = alpha_f + (1 - alpha_f) * (1 + cos(pi * tau)) / 2,    tau = min(1, t / t_max)

    SSR stretches ``t_max``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        t_max: Length of the decay.
        alpha_f: Multiplier from ``t_max`` on, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> CosineAnnealingScheduler(alpha_f=0.1)(State(max_duration="8ba", timestamp=Timestamp(batch=4)))
        0.55

    Source: MosaicML Composer's ``CosineAnnealingScheduler``; Loshchilov and Hutter 2017 (arXiv 1608.03983).
    """

    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0

    def shape(self) -> Shape:
        return cosine(1.0, self.alpha_f)


@dataclass(frozen=True)
class CosineAnnealingWithWarmupScheduler(_Decay):
    """Warm up from 0 to 1, then decay to ``alpha_f`` along half a cosine.

    ::

        alpha(t) = t / t_warmup                                       for t < t_warmup
        alpha(t) = alpha_f + (1 - alpha_f) * (1 + cos(pi * tau)) / 2, tau = (t - t_warmup) / (t_max - t_warmup), <= 1

    SSR stretches ``t_max``. SSR stretches the warmup only if ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In
    these two cases, ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Otherwise SSR changes only ``t_max`` in these
    formulas.

    Args:
        t_warmup: Length of the warmup, which must end before ``t_max`` and within the run; ``0ba`` for no warmup.
        t_max: End of the decay, counted from the start of the run; must not be before the end of the run.
        alpha_f: Multiplier from ``t_max`` on, at least 0.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = CosineAnnealingWithWarmupScheduler("2ba")
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (1, 2, 4)]
        [0.5, 1.0, 0.5]

    Source: MosaicML Composer's ``CosineAnnealingWithWarmupScheduler``.
    """

    t_warmup: TimeLike
    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False

    def shape(self) -> Shape:
        return cosine(1.0, self.alpha_f)


@dataclass(frozen=True)
class PolynomialScheduler(_Decay):
    """Decay from 1 to ``alpha_f`` as a power of the remaining fraction of the decay.

    ::

        alpha(t) = alpha_f + (1 - alpha_f) * (1 - tau) ** power,    tau = min(1, t / t_max)

    SSR stretches ``t_max``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        power: Exponent, above 0.
        t_max: Length of the decay.
        alpha_f: Multiplier from ``t_max`` on, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> PolynomialScheduler(2.0)(State(max_duration="8ba", timestamp=Timestamp(batch=4)))
        0.25

    Source: MosaicML Composer's ``PolynomialScheduler``; ``torch.optim.lr_scheduler.PolynomialLR``.
    """

    power: float
    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0

    def shape(self) -> Shape:
        return polynomial(self.power, self.alpha_f)


@dataclass(frozen=True)
class PolynomialWithWarmupScheduler(_Decay):
    """Warm up from 0 to 1, then decay to ``alpha_f`` as a power of the remaining fraction of the decay.

    ::

        alpha(t) = t / t_warmup                                    for t < t_warmup
        alpha(t) = alpha_f + (1 - alpha_f) * (1 - tau) ** power,   tau = (t - t_warmup) / (t_max - t_warmup), at most 1

    SSR stretches ``t_max``. SSR stretches the warmup only if ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In
    these two cases, ``alpha_ssr(t) = alpha(t / ssr)`` exactly. Otherwise SSR changes only ``t_max`` in these
    formulas.

    Args:
        t_warmup: Length of the warmup, which must end before ``t_max`` and within the run; ``0ba`` for no warmup.
        power: Exponent, above 0.
        t_max: End of the decay, counted from the start of the run; must not be before the end of the run.
        alpha_f: Multiplier from ``t_max`` on, at least 0.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = PolynomialWithWarmupScheduler("2ba")
        >>> [scheduler(State(max_duration="6ba", timestamp=Timestamp(batch=k))) for k in (1, 2, 4)]
        [0.5, 1.0, 0.25]

    Source: MosaicML Composer's ``PolynomialWithWarmupScheduler``.
    """

    t_warmup: TimeLike
    power: float = 2.0
    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False

    def shape(self) -> Shape:
        return polynomial(self.power, self.alpha_f)


@dataclass(frozen=True)
class RexScheduler(_Decay):
    """REX, reflected exponential: decay from 1 to ``alpha_f``, slowly at first and fast at the end.

    ::

        alpha(t) = alpha_f + (1 - alpha_f) * (1 - tau) / (1/2 + (1 - tau) / 2),    tau = min(1, t / t_max)

    SSR stretches ``t_max``: ``alpha_ssr(t) = alpha(t / ssr)`` exactly.

    Args:
        t_max: Length of the decay.
        alpha_f: Multiplier from ``t_max`` on, at least 0.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> round(RexScheduler()(State(max_duration="8ba", timestamp=Timestamp(batch=4))), 6)
        0.666667

    Source: Chen, Wolfe and Kyrillidis, "REX: Revisiting Budgeted Training with an Improved Schedule", 2021
    (arXiv 2107.04197).
    """

    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0

    def shape(self) -> Shape:
        return rex(self.alpha_f)
