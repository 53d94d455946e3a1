"""One config per scheduler: the fields, order and defaults of its class, durations as strings.

Where a class asks for an argument and has no default (``t_warmup``, ``gamma``, ``milestones`` ...), the config holds a
preset that suits most runs, so that ``scheduler=<name>`` alone always runs. The presets are written in ``dur``, a share
of the run, wherever the argument is a time: they fit a run of any length and unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "SCHEDULERS",
    "ConstantSchedulerConfig",
    "ConstantWithWarmupSchedulerConfig",
    "CosineAnnealingSchedulerConfig",
    "CosineAnnealingWarmRestartsSchedulerConfig",
    "CosineAnnealingWithWarmupSchedulerConfig",
    "ExponentialSchedulerConfig",
    "InverseSquareRootWithWarmupSchedulerConfig",
    "LinearSchedulerConfig",
    "LinearWithWarmupSchedulerConfig",
    "MultiStepSchedulerConfig",
    "MultiStepWithWarmupSchedulerConfig",
    "OneCycleSchedulerConfig",
    "PhaseConfig",
    "PiecewiseLinearSchedulerConfig",
    "PolynomialSchedulerConfig",
    "PolynomialWithWarmupSchedulerConfig",
    "ProductSchedulerConfig",
    "RexSchedulerConfig",
    "SequentialSchedulerConfig",
    "StepSchedulerConfig",
    "WarmupStableDecaySchedulerConfig",
]


@dataclass
class ConstantSchedulerConfig:
    """``scheduler=constant``."""

    alpha: float = 1.0
    t_max: str = "1dur"
    _target_: str = field(default="ssr_hydra.schedulers.ConstantScheduler", init=False)


@dataclass
class LinearSchedulerConfig:
    """``scheduler=linear``."""

    alpha_i: float = 1.0
    alpha_f: float = 0.0
    t_max: str = "1dur"
    _target_: str = field(default="ssr_hydra.schedulers.LinearScheduler", init=False)


@dataclass
class StepSchedulerConfig:
    """``scheduler=step``. Preset: three decays in a run."""

    step_size: str = "0.3dur"
    gamma: float = 0.1
    _target_: str = field(default="ssr_hydra.schedulers.StepScheduler", init=False)


@dataclass
class MultiStepSchedulerConfig:
    """``scheduler=multistep``. Preset: decays at half and at three quarters of the run."""

    milestones: list[str] = field(default_factory=lambda: ["0.5dur", "0.75dur"])
    gamma: float = 0.1
    _target_: str = field(default="ssr_hydra.schedulers.MultiStepScheduler", init=False)


@dataclass
class ExponentialSchedulerConfig:
    """``scheduler=exponential``. Preset: a tenth less every epoch."""

    gamma: float = 0.9
    decay_period: str = "1ep"
    _target_: str = field(default="ssr_hydra.schedulers.ExponentialScheduler", init=False)


@dataclass
class CosineAnnealingSchedulerConfig:
    """``scheduler=cosine``."""

    t_max: str = "1dur"
    alpha_f: float = 0.0
    _target_: str = field(default="ssr_hydra.schedulers.CosineAnnealingScheduler", init=False)


@dataclass
class CosineAnnealingWarmRestartsSchedulerConfig:
    """``scheduler=cosine_restarts``. Preset: four cycles in a run."""

    t_0: str = "0.25dur"
    t_mult: float = 1.0
    alpha_f: float = 0.0
    _target_: str = field(default="ssr_hydra.schedulers.CosineAnnealingWarmRestartsScheduler", init=False)


@dataclass
class PolynomialSchedulerConfig:
    """``scheduler=polynomial``. Preset: the power that its sibling with warmup has as default."""

    power: float = 2.0
    t_max: str = "1dur"
    alpha_f: float = 0.0
    _target_: str = field(default="ssr_hydra.schedulers.PolynomialScheduler", init=False)


@dataclass
class MultiStepWithWarmupSchedulerConfig:
    """``scheduler=multistep_warmup``. Presets: 5% of warmup, decays at half and at three quarters of the run."""

    t_warmup: str = "0.05dur"
    milestones: list[str] = field(default_factory=lambda: ["0.5dur", "0.75dur"])
    gamma: float = 0.1
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.MultiStepWithWarmupScheduler", init=False)


@dataclass
class ConstantWithWarmupSchedulerConfig:
    """``scheduler=constant_warmup``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    alpha: float = 1.0
    t_max: str = "1dur"
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.ConstantWithWarmupScheduler", init=False)


@dataclass
class LinearWithWarmupSchedulerConfig:
    """``scheduler=linear_warmup``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    alpha_i: float = 1.0
    alpha_f: float = 0.0
    t_max: str = "1dur"
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.LinearWithWarmupScheduler", init=False)


@dataclass
class CosineAnnealingWithWarmupSchedulerConfig:
    """``scheduler=cosine_warmup``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    t_max: str = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.CosineAnnealingWithWarmupScheduler", init=False)


@dataclass
class PolynomialWithWarmupSchedulerConfig:
    """``scheduler=polynomial_warmup``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    power: float = 2.0
    t_max: str = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.PolynomialWithWarmupScheduler", init=False)


@dataclass
class WarmupStableDecaySchedulerConfig:
    """``scheduler=wsd``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    t_decay: str = "0.1dur"
    t_max: str = "1dur"
    alpha_f: float = 0.0
    decay: str = "1-sqrt"
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.WarmupStableDecayScheduler", init=False)


@dataclass
class InverseSquareRootWithWarmupSchedulerConfig:
    """``scheduler=inverse_sqrt_warmup``. Preset: 5% of warmup."""

    t_warmup: str = "0.05dur"
    t_scale: str | None = None
    t_cooldown: str = "0ba"
    t_max: str = "1dur"
    alpha_f: float = 0.0
    scale_warmup: bool = False
    _target_: str = field(default="ssr_hydra.schedulers.InverseSquareRootWithWarmupScheduler", init=False)


@dataclass
class OneCycleSchedulerConfig:
    """``scheduler=one_cycle``."""

    t_up: str = "0.3dur"
    t_max: str = "1dur"
    alpha_i: float = 0.04
    alpha_f: float = 4e-6
    anneal: str = "cosine"
    _target_: str = field(default="ssr_hydra.schedulers.OneCycleScheduler", init=False)


@dataclass
class PiecewiseLinearSchedulerConfig:
    """``scheduler=piecewise_linear``. Preset: up over the first tenth, down over the rest.

    On the command line: ``scheduler.points=[[0dur,0],[0.2dur,1],[1dur,0.1]]``.
    """

    points: list[list[Any]] = field(default_factory=lambda: [["0dur", 0.0], ["0.1dur", 1.0], ["1dur", 0.0]])
    _target_: str = field(default="ssr_hydra.schedulers.PiecewiseLinearScheduler", init=False)


@dataclass
class RexSchedulerConfig:
    """``scheduler=rex``."""

    t_max: str = "1dur"
    alpha_f: float = 0.0
    _target_: str = field(default="ssr_hydra.schedulers.RexScheduler", init=False)


@dataclass
class ProductSchedulerConfig:
    """``scheduler=product``: named factors, each a choice of the group. Preset: ``warmup`` times ``decay``.

    ``scheduler@scheduler.factors.decay=polynomial`` replaces a factor, ``+scheduler@scheduler.factors.third=step`` adds
    one, ``~scheduler@scheduler.factors.warmup`` takes one out.
    """

    factors: dict[str, Any] = field(default_factory=dict)
    _target_: str = field(default="ssr_hydra.schedulers.ProductScheduler", init=False)


@dataclass
class PhaseConfig:
    """One phase of ``scheduler=sequence``: a scheduler, where the phase ends, and whether SSR stretches it."""

    scheduler: Any = None
    until: str | None = None
    scale: bool = True


@dataclass
class SequentialSchedulerConfig:
    """``scheduler=sequence``: named phases one after another. Preset: ``warmup``, then ``decay``.

    ``scheduler@scheduler.phases.decay.scheduler=rex`` replaces the scheduler of a phase,
    ``scheduler.phases.warmup.until`` says where a phase ends (the last one may go on),
    ``+scheduler@scheduler.phases.<name>.scheduler=<choice>`` adds one.
    """

    phases: dict[str, PhaseConfig] = field(default_factory=dict)
    _target_: str = field(default="ssr_hydra.schedulers.SequentialScheduler", init=False)


SCHEDULERS: dict[str, Any] = {
    "constant": ConstantSchedulerConfig,
    "linear": LinearSchedulerConfig,
    "step": StepSchedulerConfig,
    "multistep": MultiStepSchedulerConfig,
    "exponential": ExponentialSchedulerConfig,
    "cosine": CosineAnnealingSchedulerConfig,
    "cosine_restarts": CosineAnnealingWarmRestartsSchedulerConfig,
    "polynomial": PolynomialSchedulerConfig,
    "multistep_warmup": MultiStepWithWarmupSchedulerConfig,
    "constant_warmup": ConstantWithWarmupSchedulerConfig,
    "linear_warmup": LinearWithWarmupSchedulerConfig,
    "cosine_warmup": CosineAnnealingWithWarmupSchedulerConfig,
    "polynomial_warmup": PolynomialWithWarmupSchedulerConfig,
    "wsd": WarmupStableDecaySchedulerConfig,
    "inverse_sqrt_warmup": InverseSquareRootWithWarmupSchedulerConfig,
    "one_cycle": OneCycleSchedulerConfig,
    "piecewise_linear": PiecewiseLinearSchedulerConfig,
    "rex": RexSchedulerConfig,
    "product": ProductSchedulerConfig,
    "sequence": SequentialSchedulerConfig,
    # From 0 to 1: what the first phase of a sequence mostly is.
    "ramp": LinearSchedulerConfig(alpha_i=0.0, alpha_f=1.0),
}
"""Choices of the group ``scheduler``."""
