"""Create the optimizers, schedulers, callbacks and loggers of a checked experiment."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssr_hydra.app.check_optimizers import optimizer_nodes
from ssr_hydra.app.check_values import not_a_scheduler
from ssr_hydra.app.targets import as_description, instantiate, locate
from ssr_hydra.errors import ConflictError, MismatchError, UnknownNameError
from ssr_hydra.rules import UNFUSED, parse_rules

if TYPE_CHECKING:
    import torch

    from ssr_hydra.optim.groups import Grouping

# Keys that this package adds to a param group, next to the hyperparameters of its optimizer.
_OURS = ("params", "name", "schedule")


def make_optimizers(
    values: Mapping[str, Any], trust: tuple[str, ...], model: torch.nn.Module, device: torch.device
) -> list[torch.optim.Optimizer]:
    """Create the optimizers, for the parameters of the model that require gradients."""
    from ssr_hydra.optim.groups import DEFAULT_GROUP, Grouping, split_params

    nodes = optimizer_nodes(values["optimizer"])
    rules = parse_rules(values["param_groups"])
    is_alone = "optimizer" in nodes
    parameters = split_params(model, {path: node.get("params") for path, node in nodes.items()})
    grouping = Grouping(model, rules)
    optimizers = []
    for path, node in nodes.items():
        arguments: Mapping[str, Any] = {key: value for key, value in node.items() if key != "params"}
        _check_accepted(model, path, node["_target_"], parameters[path])
        arguments = _fused(arguments, parameters[path], device)
        if is_alone and not rules:
            optimizers.append(instantiate(arguments, trust, path, params=parameters[path]))
            continue
        groups = grouping.groups(parameters[path], {**_defaults(arguments, trust, path), **arguments})
        # Copy the user's keys now, because the optimizer will add its defaults to each group.
        group_keys = [(group["name"], list(group)) for group in groups]
        if not is_alone:
            prefix = path.removeprefix("optimizer.")
            for group in groups:
                group["name"] = prefix if group["name"] == DEFAULT_GROUP else f"{prefix}.{group['name']}"
        optimizer = instantiate(arguments, trust, path, params=groups)
        _check_known(optimizer, group_keys, grouping, str(arguments["_target_"]))
        optimizers.append(optimizer)
    return optimizers


def make_fields(values: Mapping[str, Any], trust: tuple[str, ...]) -> dict[str, Any]:
    """Create the schedulers in ``schedules``: a mapping from hyperparameter, such as ``weight_decay``, to scheduler."""
    return {name: instantiate(node, trust, f"schedules.{name}") for name, node in values["schedules"].items()}


def make_callbacks(
    values: Mapping[str, Any], trust: tuple[str, ...], is_main: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two mappings from name to object: the callbacks and the loggers. Only rank 0 (``is_main``) has loggers."""

    def make(group: str) -> dict[str, Any]:
        return {name: instantiate(node, trust, f"{group}.{name}") for name, node in values[group].items()}

    return make("callbacks"), make("logger") if is_main else {}


def _defaults(node: Mapping[str, Any], trust: tuple[str, ...], path: str) -> dict[str, Any]:
    """Return the default values of the optimizer's arguments, which rules of ``param_groups`` can scale."""
    parameters = inspect.signature(locate(node["_target_"], trust, f"{path}._target_")).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _check_accepted(model: torch.nn.Module, path: str, target: str, parameters: Sequence[torch.nn.Parameter]) -> None:
    """Refuse parameters that the optimizer cannot train: Muon needs matrices, and SparseAdam needs sparse gradients.

    Gradients of custom layers are not checked, because they are unknown before the first step.
    """
    own = set(parameters)
    for place, module in model.named_modules():
        is_dense = type(module).__module__.startswith("torch.nn.") and not getattr(module, "sparse", False)
        for name, parameter in module.named_parameters(place, recurse=False):
            if parameter not in own:
                continue
            if target == "torch.optim.Muon" and parameter.ndim != 2:
                rule = f"Muon accepts only matrices, but {name} has {parameter.ndim} dimensions"
                fix = "choose optimizer=muon_adamw, or set params: {ndim: 2} for this optimizer"
                raise MismatchError(f"{path}.params", None, rule, fix)
            if target == "torch.optim.SparseAdam" and is_dense:
                rule = f"SparseAdam accepts only sparse gradients, but the gradients of {name} are dense"
                fix = "choose optimizer=adam, or select only parameters of nn.Embedding(..., sparse=True)"
                raise MismatchError(f"{path}.params", None, rule, fix)


def _check_known(
    optimizer: torch.optim.Optimizer, group_keys: Sequence[tuple[str, list[str]]], grouping: Grouping, target: str
) -> None:
    """Refuse unknown keys of a param group, because torch would accept a misspelt key without using it."""
    for name, keys in group_keys:
        for key in keys:
            if key not in optimizer.defaults and key not in _OURS:
                rule = f"is not a hyperparameter of {target}, which trains parameters that this rule selects"
                fix = "correct the name, or exclude these parameters from the rule"
                raise UnknownNameError(grouping.field_of(key, name), key, rule, fix)


# Devices on which an optimizer has a fused kernel, which is several times faster for small tensors.
_FUSED_ON = {
    "torch.optim.SGD": ("cpu", "cuda", "mps"),
    "torch.optim.Adam": ("cpu", "cuda", "mps"),
    "torch.optim.AdamW": ("cpu", "cuda", "mps"),
    "torch.optim.Adagrad": ("cpu",),
}


def _fused(
    node: Mapping[str, Any], parameters: Sequence[torch.nn.Parameter], device: torch.device
) -> Mapping[str, Any]:
    """Add ``fused=True`` if the optimizer has a fused kernel for this device, and the config chooses no other kernel.

    The results of the fused kernel and of torch's default kernel differ in the last bits.
    """
    if any(node.get(key) is not None for key in ("fused", "foreach")):
        return node
    if node.get("differentiable") or node.get("capturable"):
        return node
    possible = device.type in _FUSED_ON.get(node["_target_"], ()) and all(p.is_floating_point() for p in parameters)
    if any(hasattr(p, "device_mesh") for p in parameters):  # some fused kernels do not support sharded parameters
        possible = possible and str(node["_target_"]).rpartition(".")[2] not in UNFUSED
    return {**node, "fused": True} if possible else node


def make_schedulers(
    values: Mapping[str, Any], trust: tuple[str, ...], optimizers: Sequence[torch.optim.Optimizer]
) -> Any:
    """Create the schedulers. The result has the structure of the config: None, a scheduler, a list or a mapping.

    Instead of a scheduler of torch, create an object of the class with the same name in
    :mod:`ssr_hydra.torch_schedulers`. A custom subclass of torch's ``LRScheduler`` gets the optimizer.
    """
    node = values["scheduler"]
    return None if node is None else _make(node, trust, optimizers, "scheduler")


def _make(node: Any, trust: tuple[str, ...], optimizers: Sequence[torch.optim.Optimizer], path: str) -> Any:
    if isinstance(node, list):
        return [_make(part, trust, optimizers, f"{path}[{index}]") for index, part in enumerate(node)]
    if "_target_" not in node:
        return {name: _make(part, trust, optimizers, f"{path}.{name}") for name, part in node.items()}
    import torch

    node = as_description(node)
    target = locate(node["_target_"], trust, f"{path}._target_")
    extra = {}
    if inspect.isclass(target) and issubclass(target, torch.optim.lr_scheduler.LRScheduler):
        if len(optimizers) > 1:
            rule = f"can schedule only one optimizer, but the run has {len(optimizers)}"
            raise ConflictError(f"{path}._target_", node["_target_"], rule, "choose a scheduler of this package")
        extra = {"optimizer": optimizers[0]}
    scheduler = instantiate(node, trust, path, **extra)
    if isinstance(scheduler, (torch.nn.Module, torch.optim.Optimizer)):
        raise not_a_scheduler(path, node["_target_"])
    return scheduler
