"""Check optimizers, the rules of param groups, and schedules of hyperparameters, at composition."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from fractions import Fraction
from typing import Any

from ssr_hydra.app.check_values import check_fields, check_node, check_whole
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import ConflictError, InputError, MissingValueError, RangeError, UnknownNameError
from ssr_hydra.rules import (
    BELOW_ONE,
    UNFUSED,
    Rule,
    check_hyperparameter,
    check_schedules,
    no_effect,
    parse_rules,
    parse_selection,
)
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.settings.base import did_you_mean

_OPTIMIZERS = {config._target_: config for name, config in GROUPS["optimizer"].items() if name != "custom"}
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
# Arguments that are not hyperparameters: they can be neither scheduled nor set per param group.
_SWITCHES = ("params", "_target_", "foreach", "fused", "capturable", "differentiable")
_EXAMPLE = "optimizer=adamw, or a mapping from names to optimizers"


def optimizer_nodes(node: Any) -> dict[str, Mapping[str, Any]]:
    """Return a mapping from the path of each optimizer to its config node.

    The path of a single optimizer is ``optimizer``. If there are several, a path is, for example, ``optimizer.adamw``.
    """
    if isinstance(node, Mapping) and "_target_" not in node and node and all(map(_is_node, node.values())):
        for name in node:
            if not isinstance(name, str) or _NAME.fullmatch(name) is None:
                rule = "must contain only letters, digits and _, and must not start with a digit"
                raise UnknownNameError(f"optimizer.{name}", name, rule, "e.g. optimizer.adamw")
            check_whole(node[name], f"optimizer.{name}")
        return {f"optimizer.{name}": part for name, part in node.items()}
    check_node(node, "optimizer", _EXAMPLE)
    return {"optimizer": node}


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def check_optimizers(values: Mapping[str, Any]) -> None:
    """Check the optimizers, the rules of their param groups, and which hyperparameters have a schedule."""
    nodes = optimizer_nodes(values["optimizer"])
    rest = None
    for path, node in nodes.items():
        _check_optimizer(node, path)
        parse_selection(node.get("params"), f"{path}.params")
        if node.get("params") is None:
            if rest is not None:
                rule = f"must be set, because {rest} already takes all remaining parameters"
                fix = f"select the parameters of {path}, e.g. +{path}.params='{{ndim: 2}}'"
                raise MissingValueError(f"{path}.params", None, rule, fix)
            rest = path
        _check_shards(node, path, values["trainer"])
    rules = parse_rules(values["param_groups"])
    hyperparameters = _hyperparameters(nodes)
    for each in rules:
        _check_rule(each, nodes, hyperparameters, values["scheduler"])
    _check_decay(rules, nodes)
    _check_scheduled_fields(values["schedules"], nodes, rules, hyperparameters)


def _check_optimizer(node: Mapping[str, Any], path: str) -> None:
    config = _OPTIMIZERS.get(node["_target_"])
    if config is not None:
        check_fields({"params": None, **node}, config, path)
    for key, value in node.items():
        if config is not None and key not in ("params", "_target_"):
            check_hyperparameter(key, value, f"{path}.{key}")
    if node["_target_"] == "torch.optim.SGD" and node["nesterov"] and (not node["momentum"] or node["dampening"]):
        rule = "needs momentum above 0 and dampening=0"
        raise ConflictError(f"{path}.nesterov", True, rule, f"set {path}.momentum=0.9")
    if node.get("fused") and node.get("foreach"):
        raise ConflictError(
            f"{path}.fused", True, "cannot be used with foreach=true", f"set {path}.fused=null or {path}.foreach=null"
        )


def _check_shards(node: Mapping[str, Any], path: str, trainer: Any) -> None:
    name = str(node["_target_"])
    unfused = name.startswith("torch.optim.") and name.rpartition(".")[2] in UNFUSED
    if unfused and node.get("fused") and isinstance(trainer, Mapping) and trainer.get("parallel") == "fsdp":
        rule = "cannot be used with trainer.parallel=fsdp, because fused kernels do not support shards"
        raise ConflictError(f"{path}.fused", True, rule, f"set {path}.fused=false")


def _check_rule(
    rule: Rule, nodes: Mapping[str, Mapping[str, Any]], hyperparameters: list[str] | None, scheduler: Any
) -> None:
    for key in (*rule.values, *rule.scales, *(("lr",) if rule.layer_decay is not None else ())):
        if key == "schedule":
            _check_schedule_name(rule, scheduler)
        elif hyperparameters is not None and key not in hyperparameters:
            fix = did_you_mean(key, hyperparameters)
            raise UnknownNameError(rule.field_of(key), key, f"{_names(nodes)} does not have this hyperparameter", fix)


def _check_decay(rules: Sequence[Rule], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a rule of ``param_groups`` that sets only ``weight_decay`` if every weight decay is 0."""
    decays = [node.get("weight_decay") if node["_target_"] in _OPTIMIZERS else None for node in nodes.values()]
    decays += [rule.values["weight_decay"] for rule in rules if "weight_decay" in rule.values]
    if any(decay != 0 for decay in decays):
        return
    for rule in rules:
        if list(rule.values) == ["weight_decay"] and not rule.scales and rule.layer_decay is None:
            what = "has no effect, because the optimizer has no weight decay"
            fix = f"set {next(iter(nodes))}.weight_decay above 0, or remove {rule.path}"
            raise ConflictError(rule.field_of("weight_decay"), 0.0, what, fix)


def _is_named(scheduler: Any) -> bool:
    return isinstance(scheduler, Mapping) and "_target_" not in scheduler


def check_schedules_are_used(values: Mapping[str, Any]) -> None:
    """Refuse a named scheduler that no rule of ``param_groups`` uses.

    Only preflight calls this function, so that an old run with an unused scheduler can still be evaluated and read.
    """
    scheduler = values["scheduler"]
    used = {"default", *(rule.values.get("schedule") for rule in parse_rules(values["param_groups"]))}
    for name in scheduler if _is_named(scheduler) else ():
        if name not in used:
            fix = f"write schedule: {name} in a rule, or remove scheduler.{name}"
            raise ConflictError(f"scheduler.{name}", name, "no rule of param_groups uses this schedule", fix)


def _check_schedule_name(rule: Rule, scheduler: Any) -> None:
    name, place = rule.values["schedule"], f"{rule.path}.schedule"
    if not _is_named(scheduler):
        fix = "name each schedule, e.g. ~scheduler +scheduler@scheduler.default=cosine +scheduler@scheduler.head=linear"
        raise ConflictError(
            place, name, "works only with named schedules, but 'scheduler' is one schedule without a name", fix
        )
    if name not in scheduler:
        fix = did_you_mean(str(name), [str(key) for key in scheduler])
        raise UnknownNameError(place, name, "unknown schedule", fix)


def _hyperparameters(nodes: Mapping[str, Mapping[str, Any]]) -> list[str] | None:
    """Return the hyperparameters of all optimizers; None if at least one optimizer is a custom class."""
    hyperparameters: dict[str, None] = {}
    for node in nodes.values():
        config = _OPTIMIZERS.get(node["_target_"])
        if config is None:
            return None
        hyperparameters.update((field.name, None) for field in fields(config) if field.name not in _SWITCHES)
    return list(hyperparameters)


def _names(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    return " or ".join(dict.fromkeys(str(node["_target_"]) for node in nodes.values()))


def _check_scheduled_fields(
    schedules: Any, nodes: Mapping[str, Mapping[str, Any]], rules: Sequence[Rule], hyperparameters: list[str] | None
) -> None:
    """Refuse a key of ``schedules`` if it is not a numeric hyperparameter, or if its value is 0 in all param groups."""
    check_schedules(schedules)
    if hyperparameters is None:
        return  # the hyperparameters of a custom optimizer are unknown until the optimizer is created
    initial: dict[str, list[float]] = {}
    for node in nodes.values():
        for _, name, number in _numbers(node):
            initial.setdefault(name, []).append(number)
    for name in map(str, schedules):
        if name not in initial:
            rule = f"is not a float hyperparameter of {_names(nodes)}"
            raise UnknownNameError(f"schedules.{name}", name, rule, did_you_mean(name, initial))
        if not any(initial[name]) and not any(rule.values.get(name) for rule in rules):
            raise no_effect(name)


_PIECES = 256  # check_reach divides the run into this many intervals, and computes the multiplier at their ends


def check_reach(values: Mapping[str, Any], name: str, curve: Callable[[Any], float], state: Any) -> None:
    """Refuse a schedule that raises a hyperparameter such as momentum or ``beta2`` to 1 or more during the run.

    ``name`` is the hyperparameter. ``curve`` returns the multiplier of the schedule at a time.
    """
    nodes = list(optimizer_nodes(values["optimizer"]).values())
    rules = parse_rules(values["param_groups"])
    if len(nodes) == 1 and not any(name in rule.values for rule in rules):
        nodes += [{name: nodes[0].get(name, 0.0) * rule.scales[name]} for rule in rules if name in rule.scales]
    nodes += [rule.values for rule in rules]
    numbers = (part for node in nodes for part in _numbers(node))
    initial = max((number for key, field, number in numbers if field == name and key in BELOW_ONE), default=0)
    if not initial:
        return
    run, length = Run.of(state), state.max_duration
    timeline = Timeline(length.unit, run.dataloader_len, run.samples_per_batch, run.tokens_per_batch)
    try:
        alpha = max(curve(timeline.at(Fraction(length.value) * k / _PIECES)) for k in range(_PIECES + 1))
    except InputError:
        return  # for example, the number of batches per epoch is unknown until the data is read
    if initial * alpha >= 1:
        rule = f"{name} must stay below 1, but the schedule multiplies {initial:g} by {alpha:.4g}, so {name} reaches "
        rule += f"{initial * alpha:.4g}"
        fix = f"lower the schedule's peak or the initial {name} ({initial:g})"
        raise RangeError(f"schedules.{name}", name, rule, fix)


def _numbers(node: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Yield each float of an optimizer's config: its key, its name in ``schedules``, and its value.

    For example, the key ``betas`` has the names ``beta1`` and ``beta2``. Integers are left out, because a schedule
    cannot multiply a count, such as ``ns_steps`` of Muon.
    """
    for key, value in node.items():
        if key in (*_SWITCHES, "lr", "initial_accumulator_value"):
            continue
        stem = key if key == "eps" else key.removesuffix("s")
        is_list = isinstance(value, (list, tuple))
        parts = {f"{stem}{index}": part for index, part in enumerate(value, start=1)} if is_list else {key: value}
        yield from ((key, name, number) for name, number in parts.items() if isinstance(number, float))
