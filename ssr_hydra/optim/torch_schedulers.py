"""Convert schedulers of torch to functions of time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from torch import Tensor
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra import torch_schedulers as ours
from ssr_hydra.errors import ConflictError, MismatchError, UnsupportedError, WrongTypeError
from ssr_hydra.settings.base import one_of

Description = ours.TorchScheduler | ours.ReduceLROnPlateau
"""A torch scheduler as a function of time, described by its arguments without the optimizer."""


@dataclass(frozen=True)
class Paced:
    """A torch scheduler that steps once per ``pace``, whatever the trainer's ``use_stepwise_scheduler`` is.

    Args:
        scheduler: A scheduler of ``torch.optim.lr_scheduler``.
        pace: The length of one step of the scheduler: ``"batch"`` or ``"epoch"``.

    Raises:
        InputError: ``scheduler`` is not a torch scheduler or is a ReduceLROnPlateau, or ``pace`` is unknown.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> Paced(torch.optim.lr_scheduler.StepLR(optimizer, 100), "batch").pace
        'batch'
    """

    scheduler: LRScheduler
    pace: str

    def __post_init__(self) -> None:
        if not isinstance(self.scheduler, LRScheduler) or isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            rule = "must be a scheduler of torch.optim.lr_scheduler, but not ReduceLROnPlateau"
            raise WrongTypeError("scheduler", type(self.scheduler).__name__, rule, "pass e.g. StepLR(optimizer, 30)")
        one_of(self.pace, "pace", ("batch", "epoch"))


def read(scheduler: LRScheduler, pace: str | None = None) -> Description:
    """Convert a new torch scheduler to this package's class with the same name, which is a function of time.

    Raises:
        InputError: The scheduler is not one of torch's classes, or it has already been stepped.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> read(torch.optim.lr_scheduler.StepLR(optimizer, 30)).gamma
        0.1
    """
    name = type(scheduler).__name__
    if not _is_of_torch(scheduler):
        rule = "is or contains a custom class, and only torch's own schedulers can be stretched"
        fix = "write the scheduler as a function of (state, ssr), or run at ssr 1"
        raise WrongTypeError("scheduler", name, rule, fix)
    try:
        _check_fresh(scheduler, 0)
        return _describe_scheduler(scheduler, pace)
    except (AttributeError, KeyError, TypeError, IndexError) as error:  # another release of torch has other attributes
        rule = f"has unknown attributes in this release of torch ({error})"
        raise UnsupportedError("scheduler", name, rule, "use ssr_hydra.torch_schedulers, or run at ssr 1") from None


def _is_of_torch(scheduler: Any) -> bool:
    """Return whether the scheduler and its inner schedulers have torch's own classes, not custom subclasses."""
    kind = type(scheduler)
    if kind.__module__ != "torch.optim.lr_scheduler" or kind.__name__ not in (*_READERS, *_WHOLES, "ReduceLROnPlateau"):
        return False
    return all(_is_of_torch(part) for part in getattr(scheduler, "_schedulers", ()))


def _check_fresh(scheduler: Any, expected: int) -> None:
    """Raise an InputError if a scheduler is not new. Only a new scheduler is at step 0, where the function starts."""
    if hasattr(scheduler, "_schedulers"):
        is_sequence = isinstance(scheduler, lr_scheduler.SequentialLR)
        for number, part in enumerate(scheduler._schedulers):
            _check_fresh(part, -1 if is_sequence and number > 0 else expected)
        return
    steps = scheduler.last_epoch
    # torch's SequentialLR undoes the first step of each scheduler, and nested sequences undo it several times. So a new
    # scheduler may have fewer steps than expected.
    if (steps != expected) if expected == 0 else (steps > expected):
        rule = f"must be new, but has already been stepped (steps: {steps})"
        raise ConflictError("scheduler", type(scheduler).__name__, rule, "create a new scheduler")
    _check_bases(scheduler)


def _check_bases(scheduler: Any) -> None:
    if isinstance(scheduler, (lr_scheduler.CyclicLR, lr_scheduler.OneCycleLR, lr_scheduler.ReduceLROnPlateau)):
        return
    bases = [float(base) for base in scheduler.base_lrs]
    initial = [float(group["initial_lr"]) for group in scheduler.optimizer.param_groups]
    if bases != initial:
        rule = f"was created for the initial learning rates {bases}, but the optimizer now has {initial}"
        fix = "create OneCycleLR before other schedulers, and add param groups before you create schedulers"
        raise MismatchError("scheduler", type(scheduler).__name__, rule, fix)


def _one_or_all(values: Sequence[Any]) -> Any:
    """Return the values of all groups as a list. If all are equal, return one value."""
    plain = [float(value) if isinstance(value, Tensor) else value for value in values]
    return plain[0] if all(value is plain[0] or value == plain[0] for value in plain) else plain


def _step_count(value: Any) -> Any:
    return Fraction(value) if isinstance(value, float) else value


def _cyclic(scheduler: Any) -> dict[str, Any]:
    total, ratio = Fraction(scheduler.total_size), scheduler.step_ratio
    up = Fraction(round(float(total) * ratio))
    if float(up) / float(total) != ratio:
        up = total * Fraction(ratio)
    arguments = {
        "base_lr": _one_or_all(scheduler.base_lrs),
        "max_lr": _one_or_all(scheduler.max_lrs),
        "step_size_up": up,
        "step_size_down": total - up,
        "gamma": scheduler.gamma,
        "scale_fn": scheduler._scale_fn_custom,
        "scale_mode": scheduler.scale_mode,
        **_momentum(scheduler, "base_momentums", "max_momentums"),
    }
    return arguments if scheduler._scale_fn_custom is not None else {**arguments, "mode": scheduler.mode}


def _momentum(scheduler: Any, base: str, high: str) -> dict[str, Any]:
    if not scheduler.cycle_momentum:
        return {"cycle_momentum": False}
    return {
        "cycle_momentum": True,
        "base_momentum": _one_or_all(getattr(scheduler, base)),
        "max_momentum": _one_or_all(getattr(scheduler, high)),
    }


def _one_cycle(scheduler: Any) -> dict[str, Any]:
    groups, phases = scheduler.optimizer.param_groups, scheduler._schedule_phases
    first = groups[0]
    momentum = {}
    if scheduler.cycle_momentum:
        momentum = {name: _one_or_all([group[name] for group in groups]) for name in ("base_momentum", "max_momentum")}
    return {
        "max_lr": _one_or_all([group["max_lr"] for group in groups]),
        "total_steps": scheduler.total_steps,
        "pct_start": (phases[0]["end_step"] + 1.0) / scheduler.total_steps,
        "anneal_strategy": scheduler._anneal_func_type,
        "cycle_momentum": scheduler.cycle_momentum,
        "div_factor": float(first["max_lr"]) / float(first["initial_lr"]),
        "final_div_factor": float(first["initial_lr"]) / float(first["min_lr"]),
        "three_phase": len(phases) == 3,
        **momentum,
    }


_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "StepLR": lambda s: {"step_size": _step_count(s.step_size), "gamma": s.gamma},
    "MultiStepLR": lambda s: {"milestones": sorted(s.milestones.elements()), "gamma": s.gamma},
    "ConstantLR": lambda s: {"factor": s.factor, "total_iters": _step_count(s.total_iters)},
    "LinearLR": lambda s: {
        "start_factor": s.start_factor, "end_factor": s.end_factor, "total_iters": _step_count(s.total_iters)
    },
    "ExponentialLR": lambda s: {"gamma": s.gamma},
    "PolynomialLR": lambda s: {"total_iters": _step_count(s.total_iters), "power": s.power},
    "CosineAnnealingLR": lambda s: {"T_max": _step_count(s.T_max), "eta_min": s.eta_min},
    "CosineAnnealingWarmRestarts": lambda s: {"T_0": s.T_0, "T_mult": s.T_mult, "eta_min": s.eta_min},
    "LambdaLR": lambda s: {"lr_lambda": _one_or_all(s.lr_lambdas)},
    "MultiplicativeLR": lambda s: {"lr_lambda": _one_or_all(s.lr_lambdas)},
    "CyclicLR": _cyclic,
    "OneCycleLR": _one_cycle,
}  # fmt: skip
_WHOLES = ("SequentialLR", "ChainedScheduler")


def _describe_scheduler(scheduler: Any, pace: str | None) -> Description:
    name = type(scheduler).__name__
    if name == "ReduceLROnPlateau":
        return _plateau(scheduler)
    if name in _WHOLES:
        parts = [_describe_scheduler(part, None) for part in scheduler._schedulers]
        arguments: Mapping[str, Any] = {"schedulers": parts}
        if name == "SequentialLR":
            arguments = {"schedulers": parts, "milestones": list(scheduler._milestones)}
    else:
        arguments = _READERS[name](scheduler)
    description: Description = getattr(ours, name)(**arguments, pace=pace)
    return description


def _plateau(scheduler: Any) -> ours.ReduceLROnPlateau:
    if scheduler.num_bad_epochs or scheduler.cooldown_counter:
        rule = "must be new, but has already been stepped"
        raise ConflictError("scheduler", "ReduceLROnPlateau", rule, "create a new scheduler")
    names = ("mode", "factor", "threshold", "threshold_mode", "eps")
    return ours.ReduceLROnPlateau(
        **{name: getattr(scheduler, name) for name in names},
        patience=_step_count(scheduler.patience),
        cooldown=_step_count(scheduler.cooldown),
        min_lr=_one_or_all(scheduler.min_lrs),
    )
