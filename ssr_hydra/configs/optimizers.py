"""One config per first-order optimizer of ``torch.optim``: its arguments, order and defaults, without ``params``.

Where an optimizer takes a number or a tensor, the config takes the number.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "OPTIMIZERS",
    "ASGDConfig",
    "AdadeltaConfig",
    "AdafactorConfig",
    "AdagradConfig",
    "AdamConfig",
    "AdamWConfig",
    "AdamaxConfig",
    "MuonConfig",
    "NAdamConfig",
    "RAdamConfig",
    "RMSpropConfig",
    "RpropConfig",
    "SGDConfig",
    "SparseAdamConfig",
]


@dataclass
class SGDConfig:
    """``optimizer=sgd``."""

    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    maximize: bool = field(default=False, kw_only=True)
    foreach: bool | None = field(default=None, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    fused: bool | None = field(default=None, kw_only=True)
    _target_: str = field(default="torch.optim.SGD", init=False)


@dataclass
class AdamConfig:
    """``optimizer=adam``."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False
    foreach: bool | None = field(default=None, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    capturable: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    fused: bool | None = field(default=None, kw_only=True)
    decoupled_weight_decay: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.Adam", init=False)


@dataclass
class AdamWConfig:
    """``optimizer=adamw``."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    amsgrad: bool = False
    maximize: bool = field(default=False, kw_only=True)
    foreach: bool | None = field(default=None, kw_only=True)
    capturable: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    fused: bool | None = field(default=None, kw_only=True)
    _target_: str = field(default="torch.optim.AdamW", init=False)


@dataclass
class AdamaxConfig:
    """``optimizer=adamax``."""

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    foreach: bool | None = None
    maximize: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    capturable: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.Adamax", init=False)


@dataclass
class AdadeltaConfig:
    """``optimizer=adadelta``."""

    lr: float = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0
    foreach: bool | None = None
    capturable: bool = field(default=False, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.Adadelta", init=False)


@dataclass
class AdagradConfig:
    """``optimizer=adagrad``."""

    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10
    foreach: bool | None = None
    maximize: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    fused: bool | None = field(default=None, kw_only=True)
    _target_: str = field(default="torch.optim.Adagrad", init=False)


@dataclass
class AdafactorConfig:
    """``optimizer=adafactor``."""

    lr: float = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0
    foreach: bool | None = field(default=None, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.Adafactor", init=False)


@dataclass
class ASGDConfig:
    """``optimizer=asgd``."""

    lr: float = 1e-2
    lambd: float = 1e-4
    alpha: float = 0.75
    t0: float = 1e6
    weight_decay: float = 0.0
    foreach: bool | None = None
    maximize: bool = False
    differentiable: bool = False
    capturable: bool = False
    _target_: str = field(default="torch.optim.ASGD", init=False)


@dataclass
class NAdamConfig:
    """``optimizer=nadam``."""

    lr: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False
    foreach: bool | None = field(default=None, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    capturable: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.NAdam", init=False)


@dataclass
class RAdamConfig:
    """``optimizer=radam``."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    foreach: bool | None = field(default=None, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    capturable: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.RAdam", init=False)


@dataclass
class RMSpropConfig:
    """``optimizer=rmsprop``."""

    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False
    capturable: bool = False
    foreach: bool | None = None
    maximize: bool = False
    differentiable: bool = False
    _target_: str = field(default="torch.optim.RMSprop", init=False)


@dataclass
class RpropConfig:
    """``optimizer=rprop``."""

    lr: float = 1e-2
    etas: tuple[float, float] = (0.5, 1.2)
    step_sizes: tuple[float, float] = (1e-6, 50.0)
    capturable: bool = field(default=False, kw_only=True)
    foreach: bool | None = field(default=None, kw_only=True)
    maximize: bool = field(default=False, kw_only=True)
    differentiable: bool = field(default=False, kw_only=True)
    _target_: str = field(default="torch.optim.Rprop", init=False)


@dataclass
class SparseAdamConfig:
    """``optimizer=sparseadam``: for models whose gradients are sparse."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    maximize: bool = False
    _target_: str = field(default="torch.optim.SparseAdam", init=False)


@dataclass
class MuonConfig:
    """``optimizer=muon``: for models all of whose parameters are matrices."""

    lr: float = 1e-3
    weight_decay: float = 0.1
    momentum: float = 0.95
    nesterov: bool = True
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315)
    eps: float = 1e-7
    ns_steps: int = 5
    adjust_lr_fn: str | None = None
    _target_: str = field(default="torch.optim.Muon", init=False)


OPTIMIZERS: dict[str, type] = {
    "sgd": SGDConfig,
    "adam": AdamConfig,
    "adamw": AdamWConfig,
    "adamax": AdamaxConfig,
    "adadelta": AdadeltaConfig,
    "adagrad": AdagradConfig,
    "adafactor": AdafactorConfig,
    "asgd": ASGDConfig,
    "nadam": NAdamConfig,
    "radam": RAdamConfig,
    "rmsprop": RMSpropConfig,
    "rprop": RpropConfig,
    "sparseadam": SparseAdamConfig,
    "muon": MuonConfig,
}
"""Choices of the group ``optimizer``."""
