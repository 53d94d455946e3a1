"""Rules that select parameters and set their hyperparameters, as plain data, without torch.

A selection is a mapping of conditions, which must all be true. A list of selections selects a parameter if at least one
selection in the list selects it::

    {"ndim": 2, "except": [{"module": "Embedding"}, {"name": "lm_head.*"}]}

=========== ============================================================================================================
``name``    A pattern for the parameter's dotted name, or a list of patterns. ``*`` matches any text, dots included. A
            selection that is only a string is such a pattern.
``module``  The class, or a base class, of the module that contains the parameter: ``Embedding``, ``BatchNorm*``.
``ndim``    The number of dimensions, or a list of numbers: biases and scales have 1, matrices 2.
``layer``   The parameter's layer, or a list of layers. The input has layer 0, and the output has layer -1.
``except``  A selection of parameters to exclude.
=========== ============================================================================================================

A rule is a mapping. Its key ``params`` is a selection, and the other keys are hyperparameters. ``weight_decay: 0`` sets
a hyperparameter. ``lr_scale: 0.1`` multiplies lr by 0.1. ``layer_decay: 0.75`` multiplies lr by 0.75 for each layer
after the parameter's layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MissingValueError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.settings.base import did_you_mean, not_negative, number

UNFUSED = ("SGD", "Adagrad")
"""Optimizers of torch whose fused kernels cannot update sharded models."""


@dataclass(frozen=True)
class Described:
    """The properties of a parameter. A :class:`Selection` has conditions on these properties.

    Attributes:
        aliases: A pair (dotted name, classes) for each name of the parameter; a tied parameter has several names.
            ``classes`` are the names of the class, and of its base classes, of the module that contains the parameter.
        ndim: Number of dimensions.
        layer: Number of the parameter's layer, from 0 at the input.
        layers: Number of layers in the model.
    """

    aliases: tuple[tuple[str, tuple[str, ...]], ...]
    ndim: int
    layer: int
    layers: int


@dataclass(frozen=True)
class Selection:
    """Conditions that must all be true for a parameter. An empty condition is true for every parameter."""

    name: tuple[str, ...] = ()
    module: tuple[str, ...] = ()
    ndim: tuple[int, ...] = ()
    layer: tuple[int, ...] = ()
    unless: tuple[Selection, ...] = ()

    def __call__(self, parameter: Described) -> bool:
        """Return whether all conditions are true. For a tied parameter, one matching name is enough."""
        return (
            (not self.ndim or parameter.ndim in self.ndim)
            and (not self.layer or not {parameter.layer, parameter.layer - parameter.layers}.isdisjoint(self.layer))
            and any(
                _matches_any((name,), self.name) and _matches_any(classes, self.module)
                for name, classes in parameter.aliases
            )
            and not any(part(parameter) for part in self.unless)
        )


def _matches_any(words: Iterable[str], patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(word, pattern) for word in words for pattern in patterns)


def selects(selections: tuple[Selection, ...], parameter: Described) -> bool:
    """Return whether at least one selection selects the parameter."""
    return any(selection(parameter) for selection in selections)


CONDITIONS = ("name", "module", "ndim", "layer", "except")
"""Keys of a selection of parameters."""

_EXAMPLE = "write e.g. {ndim: [0, 1]} or {name: '*.bias'}"


def parse_selection(value: Any, path: str) -> tuple[Selection, ...]:
    """Convert a user's selection to :class:`Selection` objects. A parameter must match at least one of these objects.

    Args:
        value: A mapping of conditions, a pattern for names, or a list of both. None selects every parameter.
        path: Dotted path of the selection in the config, for error messages.

    Example:
        >>> bias = Described((("layers.1.bias", ("Linear",)),), ndim=1, layer=0, layers=2)
        >>> selects(parse_selection("*.bias", "params"), bias), selects(parse_selection({"ndim": 2}, "params"), bias)
        (True, False)
    """
    if value is None:
        return (Selection(),)
    if isinstance(value, str):
        return (Selection(name=_words(value, path)),)
    if not value and (_is_list(value) or isinstance(value, Mapping)):
        raise MissingValueError(path, value, "must not be empty", f"{_EXAMPLE}, or null for every parameter")
    if _is_list(value):
        parts: list[Selection] = []
        for index, item in enumerate(value):
            if item is None:
                raise WrongTypeError(f"{path}[{index}]", item, "must be a name or a mapping of conditions", _EXAMPLE)
            parts += parse_selection(item, f"{path}[{index}]")
        return tuple(parts)
    if not isinstance(value, Mapping):
        rule = "must be a name, a mapping of conditions, or a list of names and mappings"
        raise WrongTypeError(path, value, rule, _EXAMPLE)
    for key in value:
        if key not in CONDITIONS:
            raise UnknownNameError(f"{path}.{key}", value[key], "unknown condition", did_you_mean(str(key), CONDITIONS))
    conditions: dict[str, Any] = {
        key: (_words if key in ("name", "module") else _counts)(item, f"{path}.{key}")
        for key, item in value.items()
        if key != "except" and item is not None  # on the command line, null removes a condition
    }
    excluded = value.get("except")
    unless = () if excluded is None else parse_selection(excluded, f"{path}.except")
    return (Selection(**conditions, unless=unless),)


def _words(value: Any, path: str) -> tuple[str, ...]:
    rule, fix = "must be a pattern or a list of patterns", "write e.g. '*.bias' or '*Norm*'"
    return _checked_items(value, path, lambda word: isinstance(word, str) and bool(word.strip()), rule, fix)


def _counts(value: Any, path: str) -> tuple[int, ...]:
    least = -math.inf if path.endswith(".layer") else 0
    rule, fix = "must be an integer or a list of integers", "write e.g. 2 or [0, 1]"
    return _checked_items(value, path, lambda number: type(number) is int and number >= least, rule, fix)


def _checked_items(value: Any, path: str, is_valid: Callable[[Any], bool], rule: str, fix: str) -> tuple[Any, ...]:
    """Return a value, or a list of values, as a tuple. Refuse an empty list, and invalid values."""
    items = tuple(value) if _is_list(value) else (value,)
    if not items:
        raise MissingValueError(path, value, "must not be empty", "add a pattern or a number, or remove the list")
    if not all(map(is_valid, items)):
        raise WrongTypeError(path, value, rule, fix)
    return items


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


@dataclass(frozen=True)
class Rule:
    """A checked rule for param groups.

    Attributes:
        name: The name of the rule.
        path: Dotted path of the rule in the config, for error messages.
        params: Selections. The rule applies to a parameter if at least one selection selects the parameter.
        given: The selection as the user wrote it, for error messages.
        values: Hyperparameters to set.
        scales: A mapping from hyperparameter to the factor that multiplies it.
        layer_decay: The factor that multiplies lr once for each layer after the parameter's layer; None if not set.
        layers: Patterns for names of modules that are layers. If empty, the layers follow from the model's structure.
    """

    name: str
    path: str
    params: tuple[Selection, ...]
    given: Any = None
    values: dict[str, Any] = field(default_factory=dict)
    scales: dict[str, float] = field(default_factory=dict)
    layer_decay: float | None = None
    layers: tuple[str, ...] = ()

    def field_of(self, key: str) -> str:
        """Return the dotted config path of the key that sets or multiplies a hyperparameter in this rule."""
        return f"{self.path}.{key}" if key in self.values else f"{self.path}.{key}_scale"


_SCALE = "_scale"
# A rule cannot set these settings of a whole optimizer.
_OF_THE_OPTIMIZER = ("foreach", "fused", "capturable", "differentiable")
_NAME = re.compile(r"[\w-]+")
# torch and this package store these keys in a param group.
_RESERVED = ("name", "param_names", "initial_lr")


def parse_rules(rules: Any, path: str = "param_groups") -> tuple[Rule, ...]:
    """Read rules of param groups.

    Args:
        rules: A mapping from name to rule.
        path: Dotted path of the mapping in the config, for error messages.

    Example:
        >>> rule, = parse_rules({"no_decay": {"params": {"ndim": [0, 1]}, "weight_decay": 0}})
        >>> rule.name, rule.values
        ('no_decay', {'weight_decay': 0})
    """
    if not isinstance(rules, Mapping):
        raise WrongTypeError(path, rules, "must be a mapping from name to rule", "write {no_decay: {params: ..., ...}}")
    return tuple(_parse_rule(name, rule, f"{path}.{name}") for name, rule in rules.items())


def _parse_rule(name: Any, rule: Any, path: str) -> Rule:
    # The name of a param group joins the names of its rules with + and adds the layer in brackets, as in
    # "no_decay+layer_decay[3]". So a rule's name must not contain these characters.
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or name == "default":
        what = "must be a name of letters, digits, _ and -"
        if name == "default":
            what = "is already the name of the group for all other parameters"
        raise FormatError(path, name, what, "write e.g. no_decay")
    if not isinstance(rule, Mapping):
        fix = "write e.g. {params: '*.bias', weight_decay: 0}"
        raise WrongTypeError(path, rule, "must be a mapping of params and hyperparameters", fix)
    values: dict[str, Any] = {}
    scales: dict[str, float] = {}
    for key, value in rule.items():
        if key in ("params", "layer_decay", "layers"):
            continue
        place = f"{path}.{key}"
        if not isinstance(key, str) or key in _RESERVED or key in _OF_THE_OPTIMIZER:
            if key in _OF_THE_OPTIMIZER:
                fix = f"move {key} from the rule to the optimizer"
                raise ConflictError(place, value, "must be set in the optimizer", fix)
            raise UnknownNameError(place, value, "is not a hyperparameter", f"remove {key} from the rule")
        if key in CONDITIONS:
            what = "must be inside params, because it is a condition"
            raise ConflictError(place, value, what, f"move it into {path}.params")
        if value is None:
            raise MissingValueError(place, value, "must have a value", f"set a value, or remove {key} from the rule")
        if key.endswith(_SCALE):
            scales[key.removesuffix(_SCALE)] = not_negative(value, place)
        else:
            check_hyperparameter(key, value, place)
            values[key] = tuple(value) if _is_list(value) else value
    layer_decay: Any = rule.get("layer_decay")
    layers = rule.get("layers")
    if layer_decay is not None and not 0 < number(layer_decay, f"{path}.layer_decay") <= 1:
        raise RangeError(f"{path}.layer_decay", layer_decay, "must be above 0 and at most 1", "write e.g. 0.75")
    if layers is not None and layer_decay is None:
        raise ConflictError(f"{path}.layers", layers, "is used only with layer_decay", "set layer_decay too")
    if not values and not scales and layer_decay is None:
        fix = "write e.g. weight_decay: 0, or lr_scale: 0.1"
        raise MissingValueError(path, dict(rule), "must set a hyperparameter", fix)
    for key in scales:
        if key in values:
            fix = f"keep one of {key} and {key}_scale"
            raise ConflictError(f"{path}.{key}_scale", scales[key], f"cannot be used with {key}", fix)
    patterns: tuple[str, ...] = () if layers is None else _words(layers, f"{path}.layers")
    params = rule.get("params")
    return Rule(name, path, parse_selection(params, f"{path}.params"), params, values, scales, layer_decay, patterns)


_NOT_NEGATIVE = ("lr", "weight_decay", "momentum", "eps", "lr_decay", "initial_accumulator_value", "lambd", "t0")
BELOW_ONE = ("betas", "rho", "alpha", "momentum")
"""Hyperparameters that are the weight of past values in a moving average. The weight must be below 1."""

_NUMBERS = (*_NOT_NEGATIVE, *BELOW_ONE)


def check_schedules(schedules: Any) -> None:
    """Raise an InputError if ``schedules`` is not a mapping from hyperparameter to scheduler, or has the key ``lr``."""
    if not isinstance(schedules, Mapping):
        rule = "must be a mapping from hyperparameter to scheduler"
        raise WrongTypeError("schedules", schedules, rule, "write {weight_decay: ...}")
    if "lr" in schedules:
        rule = "cannot be used, because the scheduler of the run sets the learning rate"
        raise ConflictError("schedules.lr", "lr", rule, "set 'scheduler' instead")


def no_effect(field: str) -> InputError:
    """Return the error for a schedule of a hyperparameter whose value is 0."""
    rule = "is 0 in every param group, so a multiplier has no effect"
    return ConflictError(f"schedules.{field}", 0.0, rule, f"set the optimizer's {field} above 0")


def check_hyperparameter(key: str, value: Any, path: str) -> None:
    """Check that the value of a hyperparameter is in the range of this hyperparameter.

    If this package does not know the hyperparameter, a bool or a string is valid too.

    Args:
        key: The hyperparameter's name, such as ``betas``.
        value: A number, or a list of numbers.
        path: Dotted path of the hyperparameter in the config, for error messages.
    """
    if isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            check_hyperparameter(key, part, f"{path}[{index}]")
        return
    if value is None or (isinstance(value, (bool, str)) and key not in _NUMBERS):
        return
    if not math.isfinite(number(value, path)):
        raise RangeError(path, value, "must be a finite number", "write e.g. 0.1 or 3e-4")
    if value < 0 and key in _NUMBERS:
        raise RangeError(path, value, "must be >= 0", "write e.g. 0.1 or 3e-4")
    if value >= 1 and key in BELOW_ONE:
        raise RangeError(path, value, "must be below 1", "write e.g. 0.9")
