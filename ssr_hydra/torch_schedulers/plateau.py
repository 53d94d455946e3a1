"""ReduceLROnPlateau, which reduces the learning rate if a metric does not improve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.schedulers.arguments import put
from ssr_hydra.schedulers.opaque import Opaque
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import one_of
from ssr_hydra.time import Time, exact
from ssr_hydra.torch_schedulers.base import Duration, PerGroup, amounts, finite, per_group, steps

_MODES = ("auto", "min", "max")
_THRESHOLD_MODES = ("rel", "abs")


@dataclass(frozen=True)
class ReduceLROnPlateau(metaclass=Opaque):
    """Multiply the learning rate by ``factor`` when a metric has not improved for longer than ``patience``.

    After each evaluation, the trainer passes the value of its objective to this scheduler. A trainer without an
    objective passes ``eval/loss``. SSR multiplies ``patience`` and ``cooldown`` without rounding. For example, a
    patience of 5 evaluations becomes 2.5 at ssr 0.5, so the third evaluation without improvement reduces the rate. If
    ``patience`` and ``cooldown`` are times, they do not depend on the interval between evaluations.

    Args:
        mode: ``"min"`` if lower is better, ``"max"`` if higher is better. ``"auto"`` derives the direction from the
            name of the trainer's objective (:func:`ssr_hydra.metrics.direction_by_name`). Without a trainer, ``"auto"``
            means ``"min"``.
        factor: Factor of a reduction, at least 0 and below 1.
        patience: Number of evaluations, or a time. If the metric has not improved for longer than ``patience``, the
            scheduler reduces the rate.
        threshold: The minimum improvement.
        threshold_mode: Whether ``threshold`` is relative to the best value (``"rel"``) or absolute (``"abs"``).
        cooldown: Number of evaluations, or a time, after a reduction. ``patience`` does not count the evaluations in
            this period.
        min_lr: The lowest rate, absolute: one number, or a list with one number per param group.
        eps: The scheduler skips a reduction of at most ``eps``.

    Example:
        >>> from ssr_hydra.schedulers.run import Run
        >>> from ssr_hydra import State, Timestamp
        >>> plateau = ReduceLROnPlateau(factor=0.5, patience=2).bind(Run.of(State(), ssr=0.5))
        >>> [plateau.evaluated(1.0, Timestamp(), [0.8]) for _ in range(3)]
        [[0.8], [0.8], [0.4]]
    """

    mode: Annotated[str, _MODES] = "min"
    factor: float = 0.1
    patience: Duration = 10
    threshold: float = 1e-4
    threshold_mode: Annotated[str, _THRESHOLD_MODES] = "rel"
    cooldown: Duration = 0
    min_lr: PerGroup = 0
    eps: float = 1e-8

    def __post_init__(self) -> None:
        factor = finite(self.factor, "factor")
        if factor >= 1.0:
            raise RangeError("factor", self.factor, "must be below 1", "write e.g. 0.1")
        put(
            self,
            mode=one_of(self.mode, "mode", _MODES),
            factor=factor,
            patience=steps(self.patience, "patience", above_zero=False),
            threshold=finite(self.threshold, "threshold"),
            threshold_mode=one_of(self.threshold_mode, "threshold_mode", _THRESHOLD_MODES),
            cooldown=steps(self.cooldown, "cooldown", above_zero=False),
            min_lr=amounts(self.min_lr, "min_lr"),
            eps=finite(self.eps, "eps"),
        )

    def bind(self, run: Run) -> Plateau:
        """Return the state of the scheduler at the start of a run."""
        return Plateau(self, run)


class _Wait:
    """The length of ``patience`` or ``cooldown``, as a number of evaluations or as a training time."""

    def __init__(self, run: Run, amount: Any, name: str) -> None:
        self._read: Any = None
        if not isinstance(amount, Time):
            self._length, self._factor = amount * run.ssr, 1
            return
        time = run.resolve(amount, name)
        clock = run.clock(time.unit, name, time)
        self._read, self._factor = clock.read, clock.factor
        self._length = Fraction(clock.points[1] - clock.points[0])

    def now(self, evaluations: int, timestamp: Any) -> Fraction:
        """Return the number of evaluations so far, or the training time so far."""
        return Fraction(evaluations if self._read is None else self._read(timestamp))

    def is_over(self, since: Fraction, now: Fraction) -> bool:
        """Return whether ``now - since`` exceeds the length of the wait. Both are results of :meth:`now`."""
        return bool((now - since) * self._factor > self._length)


class Plateau:
    """The state of a :class:`ReduceLROnPlateau`: the best metric, the evaluations, and past reductions."""

    def __init__(self, scheduler: ReduceLROnPlateau, run: Run) -> None:
        self._own = scheduler
        self._patience = _Wait(run, scheduler.patience, "patience")
        self._cooldown = _Wait(run, scheduler.cooldown, "cooldown")
        self._evaluations = 0
        self._sign = -1.0 if scheduler.mode == "max" else 1.0
        self._best = self._sign * math.inf
        self._since = self._patience.now(0, run.state.timestamp)
        self._reduced: Fraction | None = None
        self._factors: list[float] = []

    def factors(self, count: int) -> list[float]:
        """Return the product of all past reductions for each group; 1 for a group that was added later."""
        return [*self._factors[:count], *([1.0] * (count - len(self._factors)))]

    def evaluated(self, metric: float, timestamp: Any, rates: Sequence[float]) -> list[float]:
        """Process the metric of an evaluation. Reduce the rates if ``patience`` is exceeded, and return them.

        ``rates`` are the current rates of the groups, after past reductions.
        """
        self._evaluations += 1
        now = self._patience.now(self._evaluations, timestamp)
        cooled = self._cooldown.now(self._evaluations, timestamp)
        if self._is_better(metric):
            self._best, self._since = metric, now
        if self._reduced is not None and not self._cooldown.is_over(self._reduced, cooled):
            self._since = now
        if not self._patience.is_over(self._since, now):
            return list(rates)
        self._since, self._reduced = now, cooled
        return self._reduce(rates)

    def _reduce(self, rates: Sequence[float]) -> list[float]:
        own, factors = self._own, self.factors(len(rates))
        lowest = per_group(own.min_lr, len(rates), "min_lr")
        new = [max(rate * own.factor, least) for rate, least in zip(rates, lowest, strict=True)]
        new_rates = [low if rate - low > own.eps else rate for rate, low in zip(rates, new, strict=True)]
        self._factors = [
            factor * (low / rate) if low != rate else factor
            for factor, low, rate in zip(factors, new_rates, rates, strict=True)
        ]
        return new_rates

    def _is_better(self, metric: float) -> bool:
        own, sign = self._own, self._sign
        if own.threshold_mode == "abs":
            return sign * metric < sign * self._best - own.threshold
        # This is torch's formula. For a negative metric, a slightly worse value also counts as an improvement.
        return sign * metric < sign * (self._best * (1.0 - sign * own.threshold))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as numbers and strings. Times are exact fractions."""
        return {
            "evaluations": self._evaluations,
            "best": self._best,
            "since": str(self._since),
            "reduced": None if self._reduced is None else str(self._reduced),
            "factors": list(self._factors),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`. If the state is invalid, raise an InputError and change nothing."""
        try:
            evaluations, best = int(state["evaluations"]), float(state["best"])
            since, reduced = exact(state["since"], "since"), state["reduced"]
            reduced = None if reduced is None else exact(reduced, "reduced")
            factors = [float(factor) for factor in state["factors"]]
        except (KeyError, TypeError, ValueError) as error:
            rule = "must be the state of a ReduceLROnPlateau"
            raise WrongTypeError("state_dict", state, rule, "load a result of state_dict()") from error
        self._evaluations, self._best, self._since = evaluations, best, since
        self._reduced, self._factors = reduced, factors
