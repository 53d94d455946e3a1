"""Configs of torch's own schedulers, with the names ``torch_*`` of the group ``scheduler``.

The fields, order and defaults are torch's, without optimizer and last_epoch, and ``pace``. A duration is a number of
the scheduler's steps, or a time such as ``30ep`` or ``0.5dur``. Arguments without a default in torch have a preset,
except functions, which you must name: ``scheduler.lr_lambda._target_=...``.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = [
    "TORCH_SCHEDULERS",
    "ChainedSchedulerConfig",
    "ConstantLRConfig",
    "CosineAnnealingLRConfig",
    "CosineAnnealingWarmRestartsConfig",
    "CyclicLRConfig",
    "ExponentialLRConfig",
    "LambdaLRConfig",
    "LinearLRConfig",
    "MultiStepLRConfig",
    "MultiplicativeLRConfig",
    "OneCycleLRConfig",
    "PolynomialLRConfig",
    "ReduceLROnPlateauConfig",
    "SequentialLRConfig",
    "StepLRConfig",
]


@dataclass
class StepLRConfig:
    """``scheduler=torch_step``. Preset: three decays in a run."""

    step_size: int | str = "0.3dur"
    gamma: float = 0.1
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.StepLR", init=False)


@dataclass
class MultiStepLRConfig:
    """``scheduler=torch_multistep``. Preset: decays after half and three quarters of a run."""

    milestones: list[int | str] = field(default_factory=lambda: ["0.5dur", "0.75dur"])
    gamma: float = 0.1
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.MultiStepLR", init=False)


@dataclass
class ConstantLRConfig:
    """``scheduler=torch_constant``."""

    factor: float = 1.0 / 3
    total_iters: int | str = 5
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.ConstantLR", init=False)


@dataclass
class LinearLRConfig:
    """``scheduler=torch_linear``."""

    start_factor: float = 1.0 / 3
    end_factor: float = 1.0
    total_iters: int | str = 5
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.LinearLR", init=False)


@dataclass
class ExponentialLRConfig:
    """``scheduler=torch_exponential``. Preset: 10 % less at each step."""

    gamma: float = 0.9
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.ExponentialLR", init=False)


@dataclass
class PolynomialLRConfig:
    """``scheduler=torch_polynomial``."""

    total_iters: int | str = 5
    power: float = 1.0
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.PolynomialLR", init=False)


@dataclass
class CosineAnnealingLRConfig:
    """``scheduler=torch_cosine``. Preset: over the run."""

    T_max: int | str = "1dur"
    eta_min: float = 0.0
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.CosineAnnealingLR", init=False)


@dataclass
class CosineAnnealingWarmRestartsConfig:
    """``scheduler=torch_cosine_restarts``. Preset: four cycles in a run."""

    T_0: int | str = "0.25dur"
    T_mult: int = 1
    eta_min: float = 0.0
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.CosineAnnealingWarmRestarts", init=False)


@dataclass
class CyclicLRConfig:
    """``scheduler=torch_cyclic``: absolute learning rates; the optimizer's lr has no effect. Preset: 0.01 to 0.1."""

    base_lr: Any = 0.01
    max_lr: Any = 0.1
    step_size_up: int | str = 2000
    step_size_down: int | str | None = None
    mode: str = "triangular"
    gamma: float = 1.0
    scale_fn: Any = None
    scale_mode: str = "cycle"
    cycle_momentum: bool = True
    base_momentum: Any = 0.8
    max_momentum: Any = 0.9
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.CyclicLR", init=False)


@dataclass
class OneCycleLRConfig:
    """``scheduler=torch_onecycle``: absolute learning rates, over the run by default. Preset: a peak of 0.1."""

    max_lr: Any = 0.1
    total_steps: int | str | None = None
    epochs: int | None = None
    steps_per_epoch: int | None = None
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: Any = 0.85
    max_momentum: Any = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 10000.0
    three_phase: bool = False
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.OneCycleLR", init=False)


@dataclass
class LambdaLRConfig:
    """``scheduler=torch_lambda``: your function, by ``_target_`` and ``_partial_: true``."""

    lr_lambda: Any = MISSING
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.LambdaLR", init=False)


@dataclass
class MultiplicativeLRConfig:
    """``scheduler=torch_multiplicative``: your function, by ``_target_`` and ``_partial_: true``."""

    lr_lambda: Any = MISSING
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.MultiplicativeLR", init=False)


@dataclass
class SequentialLRConfig:
    """``scheduler=torch_sequential``. Preset: ``warmup`` for a twentieth of the run, then ``decay``, a cosine.

    ``scheduler@scheduler.schedulers.decay=torch_exponential`` replaces a part,
    ``scheduler.schedulers.warmup.start_factor=0.01`` sets an argument of a part, and ``scheduler.milestones=[5]`` sets
    the starts of all parts but the first.
    """

    schedulers: Any = field(default_factory=dict)
    milestones: list[int | str] = field(default_factory=lambda: ["0.05dur"])
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.SequentialLR", init=False)


@dataclass
class ChainedSchedulerConfig:
    """``scheduler=torch_chained``. Preset: ``warmup``, linear, times ``decay``, exponential."""

    schedulers: Any = field(default_factory=dict)
    pace: str | None = field(default=None, kw_only=True)
    _target_: str = field(default="ssr_hydra.torch_schedulers.ChainedScheduler", init=False)


@dataclass
class ReduceLROnPlateauConfig:
    """``scheduler=torch_plateau``: follows ``trainer.objective`` after each evaluation.

    ``auto`` decides by the objective's name whether lower or higher is better; ``min`` and ``max`` set it.
    """

    mode: str = "auto"
    factor: float = 0.1
    patience: int | str = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int | str = 0
    min_lr: Any = 0
    eps: float = 1e-8
    _target_: str = field(default="ssr_hydra.torch_schedulers.ReduceLROnPlateau", init=False)


TORCH_SCHEDULERS: dict[str, Any] = {
    "torch_step": StepLRConfig,
    "torch_multistep": MultiStepLRConfig,
    "torch_constant": ConstantLRConfig,
    "torch_linear": LinearLRConfig,
    "torch_exponential": ExponentialLRConfig,
    "torch_polynomial": PolynomialLRConfig,
    "torch_cosine": CosineAnnealingLRConfig,
    "torch_cosine_restarts": CosineAnnealingWarmRestartsConfig,
    "torch_cyclic": CyclicLRConfig,
    "torch_onecycle": OneCycleLRConfig,
    "torch_lambda": LambdaLRConfig,
    "torch_multiplicative": MultiplicativeLRConfig,
    "torch_sequential": SequentialLRConfig,
    "torch_chained": ChainedSchedulerConfig,
    "torch_plateau": ReduceLROnPlateauConfig,
}
"""Choices of the group ``scheduler``."""
