"""The registry of schedulers: the name of each in configs, its class, and presets for the command line.

The structured config of the group ``scheduler`` and the function form of a scheduler are made from its row.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssr_hydra.schedulers import annealing, combinators, cycles, plateaus, steps
from ssr_hydra.schedulers.protocol import Scheduler
from ssr_hydra.time import Number

__all__ = ["ROWS", "Row"]

_WARMUP = {"t_warmup": "0.05dur"}
_DECAYS = {"milestones": ["0.5dur", "0.75dur"]}
_POINTS = [["0dur", 0.0], ["0.1dur", 1.0], ["1dur", 0.0]]


@dataclass(frozen=True)
class Row:
    """A scheduler.

    Args:
        name: Its choice in the group ``scheduler``.
        scheduler: Its class.
        presets: Values for arguments without a default, so that ``scheduler=<name>`` alone works. Times are
            in ``dur``, which fits a run of any length and unit.
    """

    name: str
    scheduler: type[Scheduler]
    presets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function_name(self) -> str:
        """The name of the function form: ``rex_scheduler`` for ``RexScheduler``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.scheduler.__name__).lower()

    def function(self) -> Callable[..., float]:
        """Return the scheduler as a function of the state, with its arguments as keywords."""
        scheduler = self.scheduler

        def evaluate(state: Any, ssr: Number = 1.0, **arguments: Any) -> float:
            return scheduler(**arguments)(state, ssr)

        state, ssr, _ = inspect.signature(evaluate).parameters.values()
        own = [item.replace(kind=item.KEYWORD_ONLY) for item in inspect.signature(scheduler).parameters.values()]
        evaluate.__signature__ = inspect.Signature([state, ssr, *own], return_annotation="float")  # type: ignore[attr-defined]
        evaluate.__name__ = evaluate.__qualname__ = self.function_name
        evaluate.__module__ = "ssr_hydra.schedulers.functions"
        evaluate.__doc__ = f"alpha of :class:`{scheduler.__name__}` at ``state.timestamp``."
        return evaluate


ROWS = (
    Row("constant", steps.ConstantScheduler),
    Row("linear", annealing.LinearScheduler),
    Row("step", steps.StepScheduler, {"step_size": "0.3dur"}),
    Row("multistep", steps.MultiStepScheduler, _DECAYS),
    Row("exponential", steps.ExponentialScheduler, {"gamma": 0.9}),
    Row("cosine", annealing.CosineAnnealingScheduler),
    Row("cosine_restarts", cycles.CosineAnnealingWarmRestartsScheduler, {"t_0": "0.25dur"}),
    Row("polynomial", annealing.PolynomialScheduler, {"power": 2.0}),
    Row("multistep_warmup", steps.MultiStepWithWarmupScheduler, _WARMUP | _DECAYS),
    Row("constant_warmup", steps.ConstantWithWarmupScheduler, _WARMUP),
    Row("linear_warmup", annealing.LinearWithWarmupScheduler, _WARMUP),
    Row("cosine_warmup", annealing.CosineAnnealingWithWarmupScheduler, _WARMUP),
    Row("polynomial_warmup", annealing.PolynomialWithWarmupScheduler, _WARMUP),
    Row("wsd", plateaus.WarmupStableDecayScheduler, _WARMUP),
    Row("inverse_sqrt_warmup", plateaus.InverseSquareRootWithWarmupScheduler, _WARMUP),
    Row("one_cycle", cycles.OneCycleScheduler),
    Row("piecewise_linear", cycles.PiecewiseLinearScheduler, {"points": _POINTS}),
    Row("rex", annealing.RexScheduler),
    Row("product", combinators.ProductScheduler, {"factors": {}}),
    Row("sequence", combinators.SequentialScheduler, {"phases": {}}),
)
"""One row per scheduler, in the order of the choices."""
