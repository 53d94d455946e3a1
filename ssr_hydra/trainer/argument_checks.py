"""Checks of single arguments of the trainer, before training."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ssr_hydra.data.loaders import known_length
from ssr_hydra.errors import (
    ConflictError,
    MismatchError,
    MissingValueError,
    UnknownNameError,
    UnsupportedError,
    WrongTypeError,
)
from ssr_hydra.optim.groups import trained_parameters
from ssr_hydra.settings import StepSettings, setting_of
from ssr_hydra.settings.base import count
from ssr_hydra.trainer.learning_rates import torch_schedulers
from ssr_hydra.trainer.parallel import check_sharded, is_sharded
from ssr_hydra.trainer.processes import Processes


def check_control(control: Any, ssr: Fraction) -> None:
    """Refuse an unknown value of the argument ``control``, and refuse ``truncate`` for an ssr above 1."""
    if control not in (None, "truncate"):
        raise UnknownNameError("control", control, "must be truncate or None", "remove control")
    if control is not None and ssr > 1:
        rule = f"cannot be used with ssr {float(ssr):g}, because truncation can only shorten a run"
        raise ConflictError("control", control, rule, "use ssr below 1, or remove control")


def step_settings(step: StepSettings | Mapping[str, Any] | None, precision: str | None) -> StepSettings:
    """Return the settings of a step. The argument ``precision`` sets ``step.precision`` if it is not None."""
    settings = setting_of(StepSettings, step, "step")
    if precision is None:
        return settings
    if settings.precision not in (StepSettings.precision, precision):
        rule = f"must be equal to step.precision ({settings.precision!r})"
        raise MismatchError("precision", precision, rule, "remove precision or step.precision")
    return replace(settings, precision=precision)


def check_fields_are_free(schedules: Mapping[str, Any], drives_momentum: bool) -> None:
    """Refuse a schedule of the momentum if a torch scheduler also sets the momentum."""
    for field in schedules:
        if drives_momentum and field in ("momentum", "betas", "beta1"):
            rule = "cannot be used with a torch scheduler that sets the momentum"
            raise ConflictError(f"schedules.{field}", field, rule, "set cycle_momentum=False in that scheduler")


def check_loader(loader: Any, field: str) -> None:
    """Refuse a loader that is not iterable, has no batches, or has a batch size below 1."""
    if not isinstance(loader, Iterable) or isinstance(loader, (str, bytes, Mapping)):
        raise WrongTypeError(field, type(loader).__name__, "must be an iterable of batches", "give a DataLoader")
    if known_length(loader) == 0:
        raise MissingValueError(
            field, type(loader).__name__, "must have at least one batch", "check the data set and drop_last"
        )
    for name in ("batch_size", "global_batch_size"):
        size = getattr(loader, name, None)
        if isinstance(size, int):
            count(size, f"{field}.{name}")


def check_same_length(loader: Any, field: str, processes: Processes) -> None:
    """Refuse a loader whose length differs between processes."""
    lengths = processes.gather(known_length(loader), "the start")
    for rank, length in enumerate(lengths):
        if length != lengths[0]:
            rule = f"must have equal lengths in all processes (rank 0 has {lengths[0]}, rank {rank} has {length})"
            fix = "distribute the samples evenly, as DistributedSampler does"
            raise MismatchError(field, type(loader).__name__, rule, fix)


def samples_per_batch(loader: Any, processes: Processes) -> int | None:
    """Return the samples per batch, summed over all processes; None if a process has a loader without a batch size."""
    size = batch_size(loader)
    if getattr(loader, "global_batch_size", None) is not None:
        return size
    total, n_sized = processes.sum((size or 0, size is not None), "the start")
    return total if n_sized == processes.world_size else None


def batch_size(loader: Any) -> int | None:
    """Return the number of samples per batch from the loader's attributes; None if no attribute has this number."""
    shared = getattr(loader, "global_batch_size", None)
    if shared is not None:
        return int(shared)
    for part in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(part, "batch_size", None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return None


def check_optimizers(optimizers: Any, schedulers: Any, model: nn.Module, loss: Any = None) -> tuple[Optimizer, ...]:
    """Return the checked optimizers of a run; if None, those of the torch schedulers, or a new SGD."""
    if optimizers is None:
        of_schedulers = {id(item.optimizer): item.optimizer for item in torch_schedulers(schedulers)}
        if of_schedulers:
            return _that_train(tuple(of_schedulers.values()), model, loss)
        parameters = trained_parameters(model)
        fused = parameters[0].device.type in ("cpu", "cuda", "mps") and not is_sharded(model)
        return (torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, fused=fused),)
    all_optimizers = tuple(optimizers) if isinstance(optimizers, (list, tuple)) else (optimizers,)
    for optimizer in all_optimizers:
        if not isinstance(optimizer, Optimizer):
            rule = "must be a torch.optim.Optimizer, or a list of optimizers"
            raise WrongTypeError("optimizers", type(optimizer).__name__, rule, "create it with model.parameters()")
        if isinstance(optimizer, torch.optim.LBFGS):
            rule = "cannot be used, because LBFGS evaluates the loss several times per step"
            raise UnsupportedError("optimizers", "LBFGS", rule, "use a first-order optimizer")
    if not all_optimizers:
        rule = "must have at least one optimizer"
        raise MissingValueError("optimizers", optimizers, rule, "use None for the default")
    if is_sharded(model):
        check_sharded(all_optimizers)
    return _that_train(all_optimizers, model, loss)


def _that_train(optimizers: tuple[Optimizer, ...], model: nn.Module, loss: Any) -> tuple[Optimizer, ...]:
    while isinstance(loss, functools.partial):
        loss = loss.func
    modules = [model, loss] if isinstance(loss, nn.Module) else [model]
    own = {id(parameter) for module in modules for parameter in module.parameters()}
    for optimizer in optimizers:
        if not any(id(parameter) in own for group in optimizer.param_groups for parameter in group["params"]):
            rule = "must have a parameter of the model"
            raise MismatchError("optimizers", type(optimizer).__name__, rule, "create it with model.parameters()")
    parameters = [parameter for each in optimizers for group in each.param_groups for parameter in group["params"]]
    if not any(parameter.requires_grad for parameter in parameters):
        names = ", ".join(type(optimizer).__name__ for optimizer in optimizers)
        rule = "must have a parameter that requires gradients"
        raise MismatchError("optimizers", names, rule, "check requires_grad of the model's parameters")
    return optimizers
