"""Create the optimizers of an experiment from its config, and the schedules of their hyperparameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssr_hydra.app.check_optimizers import optimizer_nodes
from ssr_hydra.app.targets import instantiate, locate
from ssr_hydra.errors import InputError
from ssr_hydra.rules import UNFUSED, parse_rules

if TYPE_CHECKING:
    import torch

    from ssr_hydra.optim.groups import Grouping

__all__ = ["make_fields", "make_optimizers"]

# Keys of a param group in addition to the hyperparameters of its optimizer.
_OURS = ("params", "name", "schedule")


def make_optimizers(
    values: Mapping[str, Any], trust: tuple[str, ...], model: torch.nn.Module, device: torch.device
) -> list[torch.optim.Optimizer]:
    """Create the optimizers of a checked experiment, for the parameters of its model that require gradients.

    Args:
        values: The experiment as plain values.
        trust: What the command line trusts.
        model: The model, on its device.
        device: The device.

    Raises:
        InputError: A parameter is taken by no optimizer or by two; a rule selects nothing in this model, or sets
            a hyperparameter that the optimizer of its parameters does not have.
    """
    from ssr_hydra.optim.groups import DEFAULT_GROUP, Grouping, split_params

    nodes = optimizer_nodes(values["optimizer"])
    rules = parse_rules(values["param_groups"])
    is_alone = "optimizer" in nodes
    taken = split_params(model, {path: node.get("params") for path, node in nodes.items()})
    grouping = Grouping(model, rules)
    made = []
    for path, node in nodes.items():
        arguments: Mapping[str, Any] = {key: value for key, value in node.items() if key != "params"}
        _check_matrices(model, path, arguments, taken[path])
        _check_sparse(model, path, arguments, taken[path])
        arguments = _fused(arguments, taken[path], device)
        if is_alone and not rules:
            made.append(instantiate(arguments, trust, path, params=taken[path]))
            continue
        groups = grouping.groups(taken[path], {**_defaults(arguments, trust, path), **arguments})
        given = [(group["name"], list(group)) for group in groups]  # the optimizer will add the others
        if not is_alone:
            prefix = path.removeprefix("optimizer.")
            for group in groups:
                group["name"] = prefix if group["name"] == DEFAULT_GROUP else f"{prefix}.{group['name']}"
        optimizer = instantiate(arguments, trust, path, params=groups)
        _check_known(optimizer, given, grouping, str(arguments["_target_"]))
        made.append(optimizer)
    return made


def make_fields(values: Mapping[str, Any], trust: tuple[str, ...]) -> dict[str, Any]:
    """Create the schedulers of hyperparameters other than the learning rate, by name.

    Args:
        values: The experiment as plain values.
        trust: What the command line trusts.
    """
    return {name: instantiate(node, trust, f"schedules.{name}") for name, node in values["schedules"].items()}


def _defaults(node: Mapping[str, Any], trust: tuple[str, ...], path: str) -> dict[str, Any]:
    """Return an optimizer's defaults for values that its config omits, because a scale multiplies these too."""
    parameters = inspect.signature(locate(node["_target_"], trust, f"{path}._target_")).parameters.values()
    return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty}


def _check_matrices(
    model: torch.nn.Module, path: str, node: Mapping[str, Any], parameters: Sequence[torch.nn.Parameter]
) -> None:
    if node["_target_"] != "torch.optim.Muon":
        return
    names = {parameter: name for name, parameter in model.named_parameters()}
    for parameter in parameters:
        if parameter.ndim != 2:
            rule = f"Muon takes matrices, and {names[parameter]} has {parameter.ndim} dimensions"
            fix = "choose optimizer=muon_adamw" if path == "optimizer" else "give it params: {ndim: 2}"
            raise InputError(f"{path}.params", None, rule, fix)


def _check_sparse(
    model: torch.nn.Module, path: str, node: Mapping[str, Any], parameters: Sequence[torch.nn.Parameter]
) -> None:
    """Refuse SparseAdam for dense gradients. Those of torch's own layers are dense, unless requested otherwise.

    The gradients of a user's class are unknown until the first step.
    """
    if node["_target_"] != "torch.optim.SparseAdam":
        return
    own = set(parameters)
    for place, module in model.named_modules():
        if not type(module).__module__.startswith("torch.nn.") or getattr(module, "sparse", False):
            continue
        for name, parameter in module.named_parameters(place, recurse=False):
            if parameter in own:
                rule = f"SparseAdam takes sparse gradients, and those of {name} are dense"
                fix = "choose optimizer=adam, or give it params of nn.Embedding(..., sparse=True) alone"
                raise InputError(f"{path}.params", node.get("params"), rule, fix)


def _check_known(
    optimizer: torch.optim.Optimizer, given: Sequence[tuple[str, list[str]]], grouping: Grouping, target: str
) -> None:
    """Refuse unknown keys of a group: torch would keep a misspelt one without an error or an effect."""
    for name, keys in given:
        for key in keys:
            if key not in optimizer.defaults and key not in _OURS:
                rule = f"{target} has no such hyperparameter, and takes parameters of this rule"
                raise InputError(grouping.field_of(key, name), key, rule, "narrow the rule's params")


# Devices with fused kernels, which are several times faster for small tensors, also on the CPU.
_FUSED_ON = {
    "torch.optim.SGD": ("cpu", "cuda", "mps"),
    "torch.optim.Adam": ("cpu", "cuda", "mps"),
    "torch.optim.AdamW": ("cpu", "cuda", "mps"),
    "torch.optim.Adagrad": ("cpu",),
}


def _fused(
    node: Mapping[str, Any], parameters: Sequence[torch.nn.Parameter], device: torch.device
) -> Mapping[str, Any]:
    """Choose the fused implementation if neither ``fused`` nor ``foreach`` was set.

    Its last bits differ from the default's. To compare with a loop that does not use it, set
    ``optimizer.fused=false``.
    """
    chosen = any(node.get(key) not in (None, False) for key in ("foreach", "differentiable", "capturable"))
    if node.get("fused") is not None or node.get("foreach") is not None or chosen:
        return node
    possible = device.type in _FUSED_ON.get(node["_target_"], ()) and all(p.is_floating_point() for p in parameters)
    if any(hasattr(p, "device_mesh") for p in parameters):  # shards, which not all kernels support
        possible = possible and str(node["_target_"]).rpartition(".")[2] not in UNFUSED
    return {**node, "fused": True} if possible else node
