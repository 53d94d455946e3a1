"""The registry of schedulers. A row has a scheduler's name in configs, its class, and presets for the command line.

Other modules use a row to create the structured config, the function form, the exports and the picture in the
documentation.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ssr_hydra.schedulers import annealing, combinators, cycles, plateaus, steps
from ssr_hydra.schedulers.protocol import Scheduler
from ssr_hydra.time import Number

_WARMUP = {"t_warmup": "0.05dur"}
_DECAYS = {"milestones": ["0.5dur", "0.75dur"]}
_POINTS = [["0dur", 0.0], ["0.1dur", 1.0], ["1dur", 0.0]]

_EXAMPLE = {"t_warmup": "3ep"}
_EXAMPLE_COOLDOWN = _EXAMPLE | {"t_cooldown": "0.1dur"}
_EXAMPLE_CYCLES = {"t_0": "3ep", "t_mult": 2}
_EXAMPLE_DECAYS = {"milestones": ["10ep", "15ep"], "gamma": 0.3}
_EXAMPLE_POINTS = [("0ep", 0.2), ("4ep", 1.0), ("12ep", 0.6), ("20ep", 0.0)]
_FACTORS = {"anneal": annealing.CosineAnnealingScheduler(), "halve": steps.StepScheduler("5ep", gamma=0.5)}
_PHASES = {
    "ramp": combinators.Phase(annealing.LinearScheduler(0.0, 1.0), until="3ep", scale=False),
    "hold": combinators.Phase(steps.ConstantScheduler(), until="0.5dur"),
    "decay": combinators.Phase(annealing.CosineAnnealingScheduler()),
}


class SchedulerFunction(Protocol):
    """Type of a function form, such as :func:`~ssr_hydra.schedulers.functions.step_scheduler`."""

    def __call__(self, state: Any, ssr: Number = 1.0, **arguments: Any) -> float: ...


@dataclass(frozen=True)
class Row:
    """A scheduler of the registry.

    Args:
        name: The scheduler's name in the config group ``scheduler``.
        scheduler: The scheduler's class.
        presets: Values for arguments without a default, so that ``scheduler=<name>`` alone works. Times are
            in ``dur``, which fits a run of any length and unit.
        example: Arguments for the picture in the documentation, which shows a run of 20 epochs. The picture uses the
            presets and these arguments.
    """

    name: str
    scheduler: type[Scheduler]
    presets: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, Any] = field(default_factory=dict)

    @property
    def function_name(self) -> str:
        """The name of the function form: ``rex_scheduler`` for ``RexScheduler``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.scheduler.__name__).lower()

    def function(self) -> SchedulerFunction:
        """Return the scheduler as a function of the state. The function has the scheduler's arguments as keywords."""
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
    Row("constant", steps.ConstantScheduler, example={"alpha": 0.5, "t_max": "0.5dur"}),
    Row("linear", annealing.LinearScheduler),
    Row("step", steps.StepScheduler, {"step_size": "0.3dur"}, {"step_size": "5ep", "gamma": 0.5}),
    Row("multistep", steps.MultiStepScheduler, _DECAYS, _EXAMPLE_DECAYS),
    Row("exponential", steps.ExponentialScheduler, {"gamma": 0.9}, {"gamma": 0.85}),
    Row("cosine", annealing.CosineAnnealingScheduler),
    Row("cosine_restarts", cycles.CosineAnnealingWarmRestartsScheduler, {"t_0": "0.25dur"}, _EXAMPLE_CYCLES),
    Row("polynomial", annealing.PolynomialScheduler, {"power": 2.0}),
    Row("multistep_warmup", steps.MultiStepWithWarmupScheduler, _WARMUP | _DECAYS, _EXAMPLE | _EXAMPLE_DECAYS),
    Row("constant_warmup", steps.ConstantWithWarmupScheduler, _WARMUP, _EXAMPLE),
    Row("linear_warmup", annealing.LinearWithWarmupScheduler, _WARMUP, _EXAMPLE),
    Row("cosine_warmup", annealing.CosineAnnealingWithWarmupScheduler, _WARMUP, _EXAMPLE),
    Row("polynomial_warmup", annealing.PolynomialWithWarmupScheduler, _WARMUP, _EXAMPLE),
    Row("wsd", plateaus.WarmupStableDecayScheduler, _WARMUP, _EXAMPLE | {"t_decay": "0.2dur"}),
    Row("inverse_sqrt_warmup", plateaus.InverseSquareRootWithWarmupScheduler, _WARMUP, _EXAMPLE_COOLDOWN),
    Row("one_cycle", cycles.OneCycleScheduler),
    Row("piecewise_linear", cycles.PiecewiseLinearScheduler, {"points": _POINTS}, {"points": _EXAMPLE_POINTS}),
    Row("rex", annealing.RexScheduler),
    Row("product", combinators.ProductScheduler, {"factors": {}}, {"factors": _FACTORS}),
    Row("sequence", combinators.SequentialScheduler, {"phases": {}}, {"phases": _PHASES}),
)
"""One row per scheduler."""
