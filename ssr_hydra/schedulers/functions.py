"""Every scheduler as a function of the state, with its arguments as keywords.

They read best in a lambda: ``lambda state: step_scheduler(state, step_size="5ep")``. Each call checks its arguments and
resolves them anew; a scheduler object does so once.

Example:
    >>> from ssr_hydra.state import State
    >>> from ssr_hydra.time import Timestamp
    >>> state = State(max_duration="50ep", dataloader_len=10, timestamp=Timestamp(batch=60, epoch=6))
    >>> step_scheduler(state, step_size=["5ep", "25ep"]), step_scheduler(state, step_size=["0.1dur", "0.5dur"])
    (0.1, 0.1)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssr_hydra.schedulers.annealing import (
    CosineAnnealingScheduler,
    CosineAnnealingWithWarmupScheduler,
    LinearScheduler,
    LinearWithWarmupScheduler,
    PolynomialScheduler,
    PolynomialWithWarmupScheduler,
    RexScheduler,
)
from ssr_hydra.schedulers.checks import durations
from ssr_hydra.schedulers.combinators import Phase, ProductScheduler, SequentialScheduler
from ssr_hydra.schedulers.cycles import (
    CosineAnnealingWarmRestartsScheduler,
    OneCycleScheduler,
    PiecewiseLinearScheduler,
)
from ssr_hydra.schedulers.plateaus import InverseSquareRootWithWarmupScheduler, WarmupStableDecayScheduler
from ssr_hydra.schedulers.protocol import SchedulerLike
from ssr_hydra.schedulers.steps import (
    ConstantScheduler,
    ConstantWithWarmupScheduler,
    ExponentialScheduler,
    MultiStepScheduler,
    MultiStepWithWarmupScheduler,
    StepScheduler,
)
from ssr_hydra.time import Number, Time, TimeLike

__all__ = [
    "constant_scheduler",
    "constant_with_warmup_scheduler",
    "cosine_annealing_scheduler",
    "cosine_annealing_warm_restarts_scheduler",
    "cosine_annealing_with_warmup_scheduler",
    "exponential_scheduler",
    "inverse_square_root_with_warmup_scheduler",
    "linear_scheduler",
    "linear_with_warmup_scheduler",
    "multi_step_scheduler",
    "multi_step_with_warmup_scheduler",
    "one_cycle_scheduler",
    "piecewise_linear_scheduler",
    "polynomial_scheduler",
    "polynomial_with_warmup_scheduler",
    "product_scheduler",
    "rex_scheduler",
    "sequential_scheduler",
    "step_scheduler",
    "warmup_stable_decay_scheduler",
]


def step_scheduler(
    state: Any, ssr: Number = 1.0, *, step_size: TimeLike | Sequence[TimeLike], gamma: float = 0.1
) -> float:
    """alpha of :class:`StepScheduler`, or of :class:`MultiStepScheduler` for a list of milestones."""
    if isinstance(step_size, (str, Time)) or not isinstance(step_size, Sequence):
        return StepScheduler(step_size, gamma)(state, ssr)
    # Checked under the name that the caller gave them.
    return MultiStepScheduler(durations(step_size, "step_size"), gamma)(state, ssr)


def multi_step_scheduler(state: Any, ssr: Number = 1.0, *, milestones: Sequence[TimeLike], gamma: float = 0.1) -> float:
    """alpha of :class:`MultiStepScheduler` at ``state.timestamp``."""
    return MultiStepScheduler(milestones, gamma)(state, ssr)


def constant_scheduler(state: Any, ssr: Number = 1.0, *, alpha: float = 1.0, t_max: TimeLike = "1dur") -> float:
    """alpha of :class:`ConstantScheduler` at ``state.timestamp``."""
    return ConstantScheduler(alpha, t_max)(state, ssr)


def linear_scheduler(
    state: Any, ssr: Number = 1.0, *, alpha_i: float = 1.0, alpha_f: float = 0.0, t_max: TimeLike = "1dur"
) -> float:
    """alpha of :class:`LinearScheduler` at ``state.timestamp``."""
    return LinearScheduler(alpha_i, alpha_f, t_max)(state, ssr)


def exponential_scheduler(state: Any, ssr: Number = 1.0, *, gamma: float, decay_period: TimeLike = "1ep") -> float:
    """alpha of :class:`ExponentialScheduler` at ``state.timestamp``."""
    return ExponentialScheduler(gamma, decay_period)(state, ssr)


def cosine_annealing_scheduler(
    state: Any, ssr: Number = 1.0, *, t_max: TimeLike = "1dur", alpha_f: float = 0.0
) -> float:
    """alpha of :class:`CosineAnnealingScheduler` at ``state.timestamp``."""
    return CosineAnnealingScheduler(t_max, alpha_f)(state, ssr)


def cosine_annealing_warm_restarts_scheduler(
    state: Any, ssr: Number = 1.0, *, t_0: TimeLike, t_mult: float = 1.0, alpha_f: float = 0.0
) -> float:
    """alpha of :class:`CosineAnnealingWarmRestartsScheduler` at ``state.timestamp``."""
    return CosineAnnealingWarmRestartsScheduler(t_0, t_mult, alpha_f)(state, ssr)


def polynomial_scheduler(
    state: Any, ssr: Number = 1.0, *, power: float, t_max: TimeLike = "1dur", alpha_f: float = 0.0
) -> float:
    """alpha of :class:`PolynomialScheduler` at ``state.timestamp``."""
    return PolynomialScheduler(power, t_max, alpha_f)(state, ssr)


def multi_step_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    milestones: Sequence[TimeLike],
    gamma: float = 0.1,
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`MultiStepWithWarmupScheduler` at ``state.timestamp``."""
    return MultiStepWithWarmupScheduler(t_warmup, milestones, gamma, scale_warmup)(state, ssr)


def constant_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    alpha: float = 1.0,
    t_max: TimeLike = "1dur",
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`ConstantWithWarmupScheduler` at ``state.timestamp``."""
    return ConstantWithWarmupScheduler(t_warmup, alpha, t_max, scale_warmup)(state, ssr)


def linear_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: TimeLike = "1dur",
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`LinearWithWarmupScheduler` at ``state.timestamp``."""
    return LinearWithWarmupScheduler(t_warmup, alpha_i, alpha_f, t_max, scale_warmup)(state, ssr)


def cosine_annealing_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    t_max: TimeLike = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`CosineAnnealingWithWarmupScheduler` at ``state.timestamp``."""
    return CosineAnnealingWithWarmupScheduler(t_warmup, t_max, alpha_f, scale_warmup)(state, ssr)


def polynomial_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    power: float = 2.0,
    t_max: TimeLike = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`PolynomialWithWarmupScheduler` at ``state.timestamp``."""
    return PolynomialWithWarmupScheduler(t_warmup, power, t_max, alpha_f, scale_warmup)(state, ssr)


def warmup_stable_decay_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    t_decay: TimeLike = "0.1dur",
    t_max: TimeLike = "1dur",
    alpha_f: float = 0.0,
    decay: str = "1-sqrt",
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`WarmupStableDecayScheduler` at ``state.timestamp``."""
    return WarmupStableDecayScheduler(t_warmup, t_decay, t_max, alpha_f, decay, scale_warmup)(state, ssr)


def inverse_square_root_with_warmup_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_warmup: TimeLike,
    t_scale: TimeLike | None = None,
    t_cooldown: TimeLike = "0ba",
    t_max: TimeLike = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
) -> float:
    """alpha of :class:`InverseSquareRootWithWarmupScheduler` at ``state.timestamp``."""
    return InverseSquareRootWithWarmupScheduler(t_warmup, t_scale, t_cooldown, t_max, alpha_f, scale_warmup)(state, ssr)


def one_cycle_scheduler(
    state: Any,
    ssr: Number = 1.0,
    *,
    t_up: TimeLike = "0.3dur",
    t_max: TimeLike = "1dur",
    alpha_i: float = 0.04,
    alpha_f: float = 4e-6,
    anneal: str = "cosine",
) -> float:
    """alpha of :class:`OneCycleScheduler` at ``state.timestamp``."""
    return OneCycleScheduler(t_up, t_max, alpha_i, alpha_f, anneal)(state, ssr)


def piecewise_linear_scheduler(
    state: Any, ssr: Number = 1.0, *, points: Sequence[tuple[TimeLike, float]] | Mapping[TimeLike, float]
) -> float:
    """alpha of :class:`PiecewiseLinearScheduler` at ``state.timestamp``."""
    return PiecewiseLinearScheduler(points)(state, ssr)


def rex_scheduler(state: Any, ssr: Number = 1.0, *, t_max: TimeLike = "1dur", alpha_f: float = 0.0) -> float:
    """alpha of :class:`RexScheduler` at ``state.timestamp``."""
    return RexScheduler(t_max, alpha_f)(state, ssr)


def product_scheduler(state: Any, ssr: Number = 1.0, *, factors: Mapping[str, SchedulerLike]) -> float:
    """alpha of :class:`ProductScheduler` at ``state.timestamp``."""
    return ProductScheduler(factors)(state, ssr)


def sequential_scheduler(
    state: Any, ssr: Number = 1.0, *, phases: Mapping[str, Phase | SchedulerLike | Mapping[str, Any]]
) -> float:
    """alpha of :class:`SequentialScheduler` at ``state.timestamp``."""
    return SequentialScheduler(phases)(state, ssr)
