"""One config per first-order optimizer of ``torch.optim``, with its arguments, order and defaults.

If an optimizer accepts a number or a tensor, the config accepts a number. ``params`` is a selection of the model's
parameters, see :mod:`ssr_hydra.rules`; null means all of them, or all that other optimizers do not take.
"""

from dataclasses import dataclass, field
from typing import Any

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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
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

    params: Any = None
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    maximize: bool = False
    _target_: str = field(default="torch.optim.SparseAdam", init=False)


@dataclass
class MuonConfig:
    """``optimizer=muon``: for models whose parameters are all matrices."""

    params: Any = None
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
