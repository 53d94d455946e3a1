"""Functions that check the names, types and ranges of single config values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

from ssr_hydra.app.targets import KEYS
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import ConflictError, InputError, MissingValueError, UnknownNameError, WrongTypeError
from ssr_hydra.settings.base import did_you_mean, number

# Paths at which check_node refuses `_partial_: true`, because the run needs an object. trainer.loss may be a function.
_OBJECT = re.compile(r"model|data\.(train|eval|test)|optimizer|(callbacks|logger)\.[^.]+")


def check_node(node: Any, path: str, example: str) -> None:
    """Check that a node has a ``_target_``. Refuse ``_partial_: true`` if the run needs an object at this path."""
    if isinstance(node, Mapping) and "_target_" not in node and path in GROUPS:
        base = example.partition("=")[2].partition(",")[0]
        fix = f"begin the YAML file with defaults: [{base}, _self_], where {base} is one of the presets of {path}"
        raise MissingValueError(path, node, "must have a _target_", fix)
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise WrongTypeError(path, node, "must be a mapping with a _target_", f"e.g. {example}")
    if _OBJECT.fullmatch(path):
        check_whole(node, path)


def check_whole(node: Mapping[str, Any], path: str) -> None:
    """Refuse ``_partial_: true``, because the run would get a function instead of the object."""
    if node.get("_partial_", False) is True:
        rule = "cannot be used here, because the run needs the object and not a function that creates it"
        raise ConflictError(f"{path}._partial_", True, rule, "remove _partial_")


def not_a_scheduler(path: str, target: object) -> InputError:
    """Return the error for a ``_target_`` that is not a scheduler."""
    return WrongTypeError(f"{path}._target_", target, "is not a scheduler", "e.g. scheduler=cosine_warmup")


def check_against_choices(node: Mapping[str, Any], group: str) -> None:
    """Check the arguments of a node whose ``_target_`` is built in. Accept all arguments of other targets."""
    for name, config in GROUPS[group].items():
        if name != "custom" and config._target_ == node["_target_"]:
            check_fields(node, config if isinstance(config, type) else type(config), group)
            return


def check_no_iterations(time: Any, field: str) -> None:
    """Refuse a time in iterations if ``trainer.iteration_length`` is not set."""
    if time.unit.value == "iter":
        rule = "cannot be in iterations without trainer.iteration_length"
        raise MissingValueError(field, str(time), rule, "set trainer.iteration_length, or use another unit")


def check_fields(node: Mapping[str, Any], config: Any, path: str, *, is_complete: bool = True) -> None:
    """Check the names and types of a target's arguments against the structured config of the target.

    If ``is_complete`` is true, the node must have all arguments, and neither ``_args_`` nor ``_partial_``.
    """
    types = get_type_hints(config)
    names = [item.name for item in fields(config)]
    if is_complete:
        check_base(path, node)
    allowed = ("_target_", "_convert_", "_recursive_") if is_complete else KEYS
    for key in node:
        if key not in names and key not in allowed:
            raise UnknownNameError(f"{path}.{key}", node[key], "unknown argument", did_you_mean(str(key), names))
    for key in names:
        if key in node:
            check_type(node[key], types[key], f"{path}.{key}")
        elif is_complete and key != "_target_":
            fix = f"set {path}.{key}, or begin the YAML file with a preset of this class: defaults: [<preset>, _self_]"
            raise MissingValueError(f"{path}.{key}", None, "is missing", fix)


_BASES = {"trainer": "default", "data": "custom"}


def check_base(group: str, node: Any) -> None:
    """Refuse a ``trainer`` or ``data`` node in which fields are missing."""
    if group not in _BASES or not isinstance(node, Mapping):
        return
    missing = [field.name for field in fields(GROUPS[group][_BASES[group]]) if field.name not in node]
    fix = f"begin the YAML file of the group {group} with defaults: [{_BASES[group]}, _self_]"
    if len(missing) == 1:
        raise MissingValueError(f"{group}.{missing[0]}", None, "is missing", f"set {group}.{missing[0]}, or {fix}")
    if missing:
        rule = f"must have all fields of {group}={_BASES[group]} (missing: {', '.join(missing[:3])} ...)"
        raise MissingValueError(group, list(node), rule, fix)


def check_type(value: Any, expected: Any, field: str) -> None:
    """Refuse a value that does not have the expected type."""
    options = get_args(expected) if type(None) in get_args(expected) else (expected,)
    if value is None:
        if type(None) not in options and expected is not Any:
            raise MissingValueError(
                field, value, "must not be null", "write a value, or remove the key to use its default"
            )
        return
    expected = next(option for option in options if option is not type(None))
    origin = get_origin(expected)
    if origin is tuple:
        parts = get_args(expected)
        if not isinstance(value, (list, tuple)) or len(value) != len(parts):
            raise WrongTypeError(field, value, f"must be a list of {len(parts)} numbers", "write [a, b]")
        for index, (part, kind) in enumerate(zip(value, parts, strict=True)):
            check_type(part, kind, f"{field}[{index}]")
    elif origin is list:
        if not isinstance(value, (list, tuple)):
            raise WrongTypeError(field, value, "must be a list", f"write [{value}]")
        for index, part in enumerate(value):
            check_type(part, get_args(expected)[0], f"{field}[{index}]")
    elif origin is dict:
        if not isinstance(value, Mapping):
            raise WrongTypeError(field, value, "must be a mapping from name to value", "write {name: value}")
    elif expected is float:
        number(value, field)
    elif expected in _SIMPLE and type(value) is not expected:
        what, example = _SIMPLE[expected]
        raise WrongTypeError(field, value, f"must be {what}", example)


def is_result(metric: Any, results: Sequence[str], metrics: Mapping[str, Any]) -> bool:
    """Return whether a run computes a metric such as ``eval/f1`` or ``eval/scores/macro``.

    A metric object may return a mapping. For example, ``eval/scores/macro`` is the key ``macro`` in the mapping of the
    metric ``scores``. These keys are unknown before the first evaluation, so any key is accepted.
    """
    objects = [f"eval/{name}" for name, node in metrics.items() if not node.get("_partial_", False)]
    return metric in results or any(name in results and str(metric).startswith(f"{name}/") for name in objects)


_SIMPLE: dict[Any, tuple[str, str]] = {
    int: ("a whole number", "e.g. 1"),
    bool: ("true or false", "write true or false"),
    str: ("text", "put the value in quotes"),
}
