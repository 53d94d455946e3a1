"""One config for each first-order optimizer of ``torch.optim``, with torch's arguments and defaults in torch's order.

This module does not import torch. The configs accept numbers, but no tensors. ``params`` is a selection of the model's
parameters (:mod:`ssr_hydra.rules`). Null selects all parameters that no other optimizer selects.
"""

from dataclasses import field
from typing import Any

from ssr_hydra.configs.derive import config_class

# Keyword-only arguments that several optimizers have, with their defaults. None lets torch choose.
_SWITCHES = {
    "capturable": False,
    "decoupled_weight_decay": False,
    "differentiable": False,
    "foreach": None,
    "fused": None,
    "maximize": False,
}


def _type(name: str, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple[tuple(float | None if part is None else type(part) for part in default)]  # type: ignore[misc]
    return type(default) if default is not None else str | None if name == "adjust_lr_fn" else bool | None


def _config(optimizer: str, keyword_only: str = "", **arguments: Any) -> Any:
    """Create the config of an optimizer of torch. ``keyword_only`` has names from ``_SWITCHES``, with spaces."""
    config_fields: list[tuple[str, Any, Any]] = [("params", Any, None)]
    config_fields += [(name, _type(name, default), field(default=default)) for name, default in arguments.items()]
    config_fields += [
        (name, _type(name, _SWITCHES[name]), field(default=_SWITCHES[name], kw_only=True))
        for name in keyword_only.split()
    ]
    config_fields.append(("_target_", str, field(default=f"torch.optim.{optimizer}", init=False)))
    doc = f"``optimizer={optimizer.lower()}``: ``torch.optim.{optimizer}``."
    return config_class(f"{optimizer}Config", config_fields, __name__, doc)


_BETAS = (0.9, 0.999)
_CONFIGS = (
    _config(
        "SGD", "maximize foreach differentiable fused", lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0,
        nesterov=False,
    ),
    _config(
        "Adam", "foreach maximize capturable differentiable fused decoupled_weight_decay", lr=1e-3, betas=_BETAS,
        eps=1e-8, weight_decay=0.0, amsgrad=False,
    ),
    _config(
        "AdamW", "maximize foreach capturable differentiable fused", lr=1e-3, betas=_BETAS, eps=1e-8, weight_decay=1e-2,
        amsgrad=False,
    ),
    _config(
        "Adamax", "maximize differentiable capturable", lr=2e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0, foreach=None,
    ),
    _config(
        "Adadelta", "capturable maximize differentiable", lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, foreach=None,
    ),
    _config(
        "Adagrad", "maximize differentiable fused", lr=1e-2, lr_decay=0.0, weight_decay=0.0,
        initial_accumulator_value=0.0, eps=1e-10, foreach=None,
    ),
    _config("Adafactor", "foreach maximize", lr=1e-2, beta2_decay=-0.8, eps=(None, 1e-3), d=1.0, weight_decay=0.0),
    _config(
        "ASGD", lr=1e-2, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0, foreach=None, maximize=False,
        differentiable=False, capturable=False,
    ),
    _config(
        "NAdam", "foreach maximize capturable differentiable", lr=2e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0,
        momentum_decay=4e-3, decoupled_weight_decay=False,
    ),
    _config(
        "RAdam", "foreach maximize capturable differentiable", lr=1e-3, betas=_BETAS, eps=1e-8, weight_decay=0.0,
        decoupled_weight_decay=False,
    ),
    _config(
        "RMSprop", lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, capturable=False,
        foreach=None, maximize=False, differentiable=False,
    ),
    _config("Rprop", "capturable foreach maximize differentiable", lr=1e-2, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)),
    _config("SparseAdam", lr=1e-3, betas=_BETAS, eps=1e-8, maximize=False),
    _config(
        "Muon", lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_coefficients=(3.4445, -4.775, 2.0315),
        eps=1e-7, ns_steps=5, adjust_lr_fn=None,
    ),
)  # fmt: skip
globals().update((config.__name__, config) for config in _CONFIGS)  # pickle finds the classes by name

OPTIMIZERS: dict[str, Any] = {config.__name__.removesuffix("Config").lower(): config for config in _CONFIGS}
"""Choices of the group ``optimizer``."""
