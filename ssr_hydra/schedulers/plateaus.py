"""Schedules that depend on the run's length only at their end: warmup-stable-decay and inverse square root."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from ssr_hydra.errors import ConflictError, MissingValueError, RangeError
from ssr_hydra.schedulers.annealing import warmup_and_end
from ssr_hydra.schedulers.arguments import check_fit, finish, time_of
from ssr_hydra.schedulers.curves import Curve, Shape, annealed, cosine, linear
from ssr_hydra.schedulers.protocol import Moment, Scheduler
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import one_of
from ssr_hydra.time import Time, TimeLike, as_time

__all__ = ["InverseSquareRootWithWarmupScheduler", "WarmupStableDecayScheduler"]


def _one_minus_sqrt(alpha_i: float, alpha_f: float) -> Shape:
    """Return the shape alpha_f + (alpha_i - alpha_f) * (1 - sqrt(tau))."""
    height, sqrt = alpha_i - alpha_f, math.sqrt
    return lambda tau: alpha_f + height * (1.0 - sqrt(tau))


_DECAYS: dict[str, Callable[[float, float], Shape]] = {"1-sqrt": _one_minus_sqrt, "linear": linear, "cosine": cosine}


def _check_room(tail: Time, warmup: Time, end: Time, at_ssr: str, field: str, stated: TimeLike) -> None:
    """Raise an InputError if the decay or cooldown would start before the warmup ends. All times have the same unit."""
    if warmup + tail > end:
        needed = f"the warmup and {field} take {warmup + tail}, but the schedule ends at {end}{at_ssr}"
        rule = f"must fit between the warmup and t_max ({needed})"
        raise RangeError(field, str(stated), rule, f"shorten {field} or t_warmup, or use fractions of the run (0.1dur)")


@dataclass(frozen=True)
class WarmupStableDecayScheduler(Scheduler):
    """Warm up to 1, stay at 1, and decay during the last ``t_decay`` before ``t_max``.

    ::

        alpha(t) = min(1, t / t_warmup)                  for t < t_max - t_decay
        alpha(t) = alpha_f + (1 - alpha_f) * d(tau),     tau = (t - t_max + t_decay) / t_decay, in [0, 1]
        d(tau)   = 1 - sqrt(tau), 1 - tau, or (1 + cos(pi * tau)) / 2

    Until the decay begins, the learning rates do not depend on the length of the run. So several short runs can start
    from checkpoints of one long run. SSR stretches ``t_max`` and ``t_decay``. SSR stretches the warmup only if
    ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In these two cases, ``alpha_ssr(t) = alpha(t / ssr)``
    exactly. Otherwise the equation holds only after the warmup: for ``t >= max(1, ssr) * t_warmup``.

    Args:
        t_warmup: Length of the warmup, which must end before ``t_max`` and within the run; ``0ba`` for no warmup.
        t_decay: Length of the decay, which ends at ``t_max`` and must not begin before the end of the warmup.
        t_max: End of the decay, counted from the start of the run. After ``t_max``, alpha stays at ``alpha_f``.
        alpha_f: Multiplier at the end, at least 0.
        decay: ``"1-sqrt"``, ``"linear"`` or ``"cosine"``.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = WarmupStableDecayScheduler("2ba", t_decay="4ba", decay="linear")
        >>> [scheduler(State(max_duration="10ba", timestamp=Timestamp(batch=k))) for k in (1, 2, 6, 8, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]

    Source: Hu et al. 2024, MiniCPM (arXiv 2404.06395); the 1-sqrt decay: Hägele et al. 2024 (arXiv 2405.18392).
    """

    t_warmup: TimeLike
    t_decay: TimeLike = "0.1dur"
    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0
    decay: Annotated[str, tuple(_DECAYS)] = "1-sqrt"
    scale_warmup: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fit(self, "t_warmup")
        one_of(self.decay, "decay", tuple(_DECAYS))
        t_decay, t_max = as_time(self.t_decay, "t_decay"), as_time(self.t_max, "t_max")
        if t_decay.unit is t_max.unit and t_decay > t_max:
            rule = f"must be at most t_max ({t_max})"
            raise RangeError("t_decay", str(t_decay), rule, "shorten t_decay or lengthen t_max")

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:
        yield from super().landmarks(at, length)
        yield "start of decay", at("t_max") - at("t_decay")

    def curve(self, run: Run) -> Curve:
        warmup, end = warmup_and_end(self, run)
        decay = run.convert(time_of(self, run, "t_decay"), end.unit, "t_decay")
        _check_room(decay, warmup, end, run.at_ssr, "t_decay", self.t_decay)
        return annealed(run, _DECAYS[self.decay](1.0, self.alpha_f), end - decay, end, warmup=warmup)


@dataclass(frozen=True)
class InverseSquareRootWithWarmupScheduler(Scheduler):
    """Warm up to 1, decay with the inverse square root of time, and optionally cool down linearly.

    ::

        alpha(t) = t / t_warmup                                          for t < t_warmup
        alpha(t) = r(t) = sqrt(t_scale / (t_scale + t - t_warmup))       until t_max - t_cooldown
        alpha(t) = r(t_max - t_cooldown) * (1 - tau) + alpha_f * tau,    tau = elapsed fraction of the cooldown

    By default, ``t_scale = t_warmup``, and alpha after the warmup is ``sqrt(t_warmup / t)``, as in the Transformer.
    Without a cooldown, the schedule has no end and does not depend on the run's length.

    SSR stretches ``t_max``, ``t_cooldown``, and ``t_scale`` (unless None). It stretches the warmup only if
    ``scale_warmup`` is true or ``t_warmup`` is in ``dur``. In these two cases, ``alpha_ssr(t) = alpha(t / ssr)``
    exactly. Otherwise, if ``t_scale`` is None, alpha does not depend on SSR until the cooldown.

    Args:
        t_warmup: Length of the warmup, which must end within the run. ``0ba`` means no warmup and requires ``t_scale``.
        t_scale: Time scale of the decay. None means the length of the warmup.
        t_cooldown: Length of the cooldown, which ends at ``t_max`` and must not begin before the end of the warmup.
            ``0ba`` means no cooldown. Without a cooldown, ``t_max`` and ``alpha_f`` cannot be set.
        t_max: End of the cooldown, counted from the start of the run. After ``t_max``, alpha stays at ``alpha_f``.
        alpha_f: Multiplier at the end of the cooldown, at least 0.
        scale_warmup: Whether SSR stretches the warmup.

    Example:
        >>> from ssr_hydra import State, Timestamp
        >>> scheduler = InverseSquareRootWithWarmupScheduler("4ba")
        >>> [scheduler(State(max_duration="100ba", timestamp=Timestamp(batch=k))) for k in (1, 4, 16, 64)]
        [0.25, 1.0, 0.5, 0.25]

    Source: Vaswani et al. 2017 (arXiv 1706.03762); Zhai et al. 2022 (arXiv 2106.04560) for the time scale and the
    cooldown.
    """

    t_warmup: TimeLike
    t_scale: TimeLike | None = None
    t_cooldown: TimeLike = "0ba"
    t_max: TimeLike = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.t_scale is None and self.t_warmup == 0:
            rule = "must be set if there is no warmup"
            raise MissingValueError("t_scale", None, rule, "write e.g. t_scale='1000ba'")
        if self.t_cooldown == 0:
            # alpha_f and t_max describe only the cooldown.
            for name, default in (("alpha_f", 0.0), ("t_max", "1dur")):
                if (value := getattr(self, name)) != default:
                    rule, fix = "is used only with a cooldown", "write e.g. t_cooldown='0.1dur'"
                    raise ConflictError(
                        name, value if name == "alpha_f" else str(value), rule, f"{fix}, or remove {name}"
                    )

    def landmarks(self, at: Moment, length: Fraction) -> Iterator[tuple[str, Fraction]]:
        yield from super().landmarks(at, length)
        if cooldown := at("t_cooldown"):
            yield "start of cooldown", at("t_max") - cooldown

    def curve(self, run: Run) -> Curve:
        cooldown = time_of(self, run, "t_cooldown")
        if cooldown.value == 0:
            # Without a cooldown, t_max is not used, so do not convert the warmup to the unit of t_max.
            warmup = time_of(self, run, "t_warmup", scale=self.scale_warmup)
            finish(run, warmup, "t_warmup", self.t_warmup)
        else:
            warmup, end = warmup_and_end(self, run)
            cooldown = run.convert(cooldown, end.unit, "t_cooldown")
            _check_room(cooldown, warmup, end, run.at_ssr, "t_cooldown", self.t_cooldown)
        scale = warmup
        if self.t_scale is not None:
            scale = time_of(self, run, "t_scale")
            if warmup.value == 0 and cooldown.value == 0:
                warmup = run.convert(warmup, scale.unit, "t_warmup")
            scale = run.convert(scale, warmup.unit, "t_scale")
        shape: Shape = _inverse_sqrt
        if cooldown.value != 0:
            # tau = (time - end of the warmup) / t_scale
            brink = float((end - cooldown - warmup).value / scale.value)
            shape = _cooled(brink, float((end - warmup).value / scale.value), self.alpha_f)
        return annealed(run, shape, warmup, warmup + scale, warmup=warmup, field="t_warmup", is_endless=True)


def _inverse_sqrt(tau: float) -> float:
    return 1.0 / math.sqrt(1.0 + tau)


def _cooled(begin: float, end: float, alpha_f: float) -> Shape:
    """Return 1 / sqrt(1 + tau) until tau is ``begin``, then a straight line to ``alpha_f`` at ``end``."""
    fall = linear(_inverse_sqrt(begin), alpha_f)

    def shape(tau: float) -> float:
        tau = float(tau)  # a tau between two batches is a Fraction, which must not be compared with floats
        if tau >= end:
            return alpha_f
        return _inverse_sqrt(tau) if tau <= begin else fall((tau - begin) / (end - begin))

    return shape
