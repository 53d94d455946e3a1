"""Create param groups from rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ssr_hydra.errors import ConflictError, MissingValueError, UnknownNameError, WrongTypeError
from ssr_hydra.optim.layers import layers_of, shortened
from ssr_hydra.rules import Described, Rule, Selection, check_hyperparameter, parse_rules, parse_selection, selects

DEFAULT_GROUP = "default"
"""The name of the param group for parameters without rules."""


def param_groups(
    model: nn.Module,
    rules: Mapping[str, Mapping[str, Any]],
    *,
    among: Iterable[nn.Parameter] | None = None,
    **defaults: Any,
) -> list[dict[str, Any]]:
    """Create param groups for any torch optimizer from rules.

    The value of a hyperparameter ``x`` for a parameter is

    ::

        x = (x of the first rule that sets x, or else the default) * product of x_scale over the parameter's rules

    A rule with ``layer_decay`` also multiplies lr by ``layer_decay ** (layers - 1 - layer)``. All parameters with the
    same rules form one group, whose name joins the names of the rules (``"no_decay+head"``). Parameters without rules
    form the group ``"default"``, which comes first. A tied parameter is in one group. A parameter that does not require
    gradients is in no group.

    Args:
        model: Any module.
        rules: A mapping from name to rule. A rule has a selection ``params`` (by default all parameters) and
            hyperparameters; see :mod:`ssr_hydra.rules`.
        among: The parameters to put into groups; by default all parameters of the model.
        defaults: Hyperparameters of every group, such as ``lr``. Rules may replace or multiply these values.

    Raises:
        InputError: A rule selects no parameter, changes nothing, or multiplies a hyperparameter that has no value.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        >>> rules = {
        ...     "no_decay": {"params": {"ndim": [0, 1]}, "weight_decay": 0.0},
        ...     "head": {"params": {"layer": -1}, "lr_scale": 10},
        ... }
        >>> groups = param_groups(model, rules, lr=0.01, weight_decay=0.1)
        >>> [(group["name"], len(group["params"]), group["lr"], group["weight_decay"]) for group in groups]
        [('default', 1, 0.01, 0.1), ('no_decay', 3, 0.01, 0.0), ('head', 1, 0.1, 0.1), ('no_decay+head', 1, 0.1, 0.0)]
        >>> optimizer = torch.optim.AdamW(groups)

    Source: nanoGPT for weight decay of matrices only; BEiT and timm for layer-wise decay.
    """
    for key, value in defaults.items():
        parts = value if isinstance(value, (tuple, list)) else (value,)
        if not any(isinstance(part, Tensor) for part in parts):  # torch accepts tensors, and checks them
            check_hyperparameter(key, value, key)
    groups = Grouping(model, parse_rules(rules)).groups(among, defaults)
    return [{**group, **{key: value for key, value in defaults.items() if key not in group}} for group in groups]


def split_params(model: nn.Module, takers: Mapping[str, Any]) -> dict[str, list[nn.Parameter]]:
    """Assign each parameter that requires gradients to exactly one optimizer.

    Args:
        model: Any module.
        takers: A mapping from the name of an optimizer to the selection of its parameters. One selection may be None,
            which selects all remaining parameters.

    Returns:
        A mapping from the name of an optimizer to its parameters.

    Raises:
        InputError: Two optimizers select the same parameter, a parameter belongs to no optimizer, or an optimizer
            selects no parameter.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))
        >>> parts = split_params(model, {"muon": {"ndim": 2}, "adamw": None})
        >>> {name: len(parameters) for name, parameters in parts.items()}
        {'muon': 2, 'adamw': 4}
    """
    if not isinstance(takers, Mapping) or not takers:
        rule = "must be a mapping from the name of an optimizer to its selection"
        raise WrongTypeError("takers", takers, rule, "write e.g. {'muon': {'ndim': 2}, 'adamw': None}")
    survey = _survey(model)
    rests = [name for name, selection in takers.items() if selection is None]
    if len(rests) > 1:
        rule = f"must be set, because the optimizer {rests[0]!r} already has all remaining parameters"
        raise ConflictError(f"{rests[1]}.params", None, rule, f"select parameters for {rests[1]!r}, e.g. {{ndim: 2}}")
    parts: dict[str, list[nn.Parameter]] = {name: [] for name in takers}
    chosen = {}
    for name, selection in takers.items():
        if selection is not None:
            chosen[name] = parse_selection(selection, f"{name}.params")
            _check_some(survey, chosen[name], selection, f"{name}.params")
    for parameter, described in survey.items():
        if not parameter.requires_grad:
            continue
        owners = [name for name, selections in chosen.items() if selects(selections, described)] or rests
        parameter_name = described.aliases[0][0]
        if len(owners) > 1:
            rule = f"must not select {parameter_name!r}, which the optimizer {owners[0]!r} also selects"
            fix = f"exclude {parameter_name!r} with except: ..."
            raise ConflictError(f"{owners[1]}.params", takers[owners[1]], rule, fix)
        if not owners:
            last = list(takers)[-1]
            rule = f"the optimizers must select every parameter, but none of them selects {parameter_name!r}"
            fix = "remove params from one optimizer, which then takes all other parameters, or set "
            fix += f"requires_grad=False for {parameter_name!r}"
            raise MissingValueError(f"{last}.params", takers[last], rule, fix)
        parts[owners[0]].append(parameter)
    if rests and not parts[rests[0]]:
        rule = "has no parameters left, because other optimizers select all parameters"
        raise ConflictError(f"{rests[0]}.params", None, rule, f"remove the optimizer {rests[0]!r}")
    return parts


class Grouping:
    """Rules applied to a model. Each rule must select a parameter and change a value."""

    def __init__(self, model: nn.Module, rules: tuple[Rule, ...]) -> None:
        self._rules = rules
        self._survey = _survey(model)
        self._layers = {
            rule.name: layers_of(model, rule.layers, f"{rule.path}.layers")
            for rule in rules
            if rule.layer_decay is not None
        }
        for rule in rules:
            _check_some(self._survey, rule.params, rule.given, f"{rule.path}.params")
        self._members = {
            parameter: self._contributors(described)
            for parameter, described in self._survey.items()
            if parameter.requires_grad
        }
        used = {rule.name for members in self._members.values() for rule in members}
        for rule in rules:
            if rule.name not in used:
                what = "has no effect, because earlier rules already set all values of this rule"
                fix = "move this rule to the top, or remove this rule"
                raise ConflictError(rule.path, dict(rule.values), what, fix)

    def groups(self, among: Iterable[nn.Parameter] | None, base: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the param groups of the parameters ``among``, or of all parameters if ``among`` is None.

        ``base`` has the values that rules may multiply. A group contains only the values that its rules change.
        """
        parameters = list(self._members) if among is None else [p for p in dict.fromkeys(among) if p.requires_grad]
        by_name: dict[str, dict[str, Any]] = {DEFAULT_GROUP: {"params": [], "name": DEFAULT_GROUP}}
        for parameter in parameters:
            if parameter not in self._members:
                rule = "must be a parameter of the model"
                raise WrongTypeError("among", tuple(parameter.shape), rule, "pass parameters of the model")
            members = self._members[parameter]
            name = "+".join(self._part(rule, parameter) for rule in members) or DEFAULT_GROUP
            if name not in by_name:
                by_name[name] = {"params": [], "name": name, **self._values(members, parameter, base)}
            by_name[name]["params"].append(parameter)
        return [group for group in by_name.values() if group["params"]]

    def field_of(self, key: str, group_name: str) -> str:
        """Return the config path where a rule sets a group's ``key``, or ``"param_groups"`` if no rule sets it."""
        names = [part.partition("[")[0] for part in group_name.split("+")]
        giving = (rule for rule in self._rules if rule.name in names and (key in rule.values or key in rule.scales))
        rule = next(giving, None)
        return "param_groups" if rule is None else rule.field_of(key)

    def _contributors(self, described: Described) -> tuple[Rule, ...]:
        """Return the rules that change a parameter.

        A rule changes a parameter if it multiplies a value, or sets a value that no earlier rule sets.
        """
        decided: set[str] = set()
        members = []
        for rule in self._rules:
            if selects(rule.params, described):
                if rule.scales or rule.layer_decay is not None or not decided.issuperset(rule.values):
                    members.append(rule)
                decided.update(rule.values)
        return tuple(members)

    def _part(self, rule: Rule, parameter: nn.Parameter) -> str:
        return rule.name if rule.layer_decay is None else f"{rule.name}[{self._layers[rule.name][parameter]}]"

    def _values(self, members: tuple[Rule, ...], parameter: nn.Parameter, base: Mapping[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for rule in members:
            values = {**rule.values, **values}
        for rule in members:
            scales = dict(rule.scales)
            if rule.layer_decay is not None:
                layers = self._layers[rule.name]
                distance = max(layers.values()) - layers[parameter]
                scales["lr"] = scales.get("lr", 1.0) * rule.layer_decay**distance
            for key, scale in scales.items():
                place = f"{rule.path}.{key}_scale" if key in rule.scales else f"{rule.path}.layer_decay"
                value = values[key] if key in values else base.get(key)
                if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
                    what = f"can multiply only a number, but {key} is {value!r}"
                    what = f"needs a value of {key} to multiply" if value is None else what
                    raise MissingValueError(place, rule.scales.get(key, rule.layer_decay), what, f"set {key} instead")
                values[key] = value * scale
                if not isinstance(value, Tensor):
                    check_hyperparameter(key, values[key], place)
        return values


def check_module(model: object) -> None:
    """Refuse a model that is not a module of torch."""
    if not isinstance(model, nn.Module):
        fix = "wrap the model in a torch.nn.Module"
        raise WrongTypeError("model", type(model).__name__, "must be a torch.nn.Module", fix)


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that require gradients. Refuse a model in which no parameter requires gradients."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        rule = "has no parameter that requires gradients"
        raise MissingValueError("model", type(model).__name__, rule, "check requires_grad, or pass optimizers")
    return parameters


def _survey(model: nn.Module) -> dict[nn.Parameter, Described]:
    """Describe each parameter, in order. A tied parameter occurs once."""
    check_module(model)
    aliases: dict[nn.Parameter, list[tuple[str, tuple[str, ...]]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        owner = type(model.get_submodule(name.rpartition(".")[0]))
        classes = tuple(base.__name__ for base in owner.__mro__ if base not in (nn.Module, object))
        aliases.setdefault(parameter, []).append((name, classes))
    trained_parameters(model)
    layers = layers_of(model)
    count = max(layers.values()) + 1
    return {
        parameter: Described(tuple(names), parameter.ndim, layers[parameter], count)
        for parameter, names in aliases.items()
    }


def _check_some(
    survey: Mapping[nn.Parameter, Described], selections: tuple[Selection, ...], value: Any, path: str
) -> None:
    """Raise an InputError if the selections select no trainable parameter."""
    matched = [parameter for parameter, described in survey.items() if selects(selections, described)]
    if any(parameter.requires_grad for parameter in matched):
        return
    if matched:
        rule = "selects only parameters that do not require gradients"
        raise ConflictError(path, value, rule, "change the selection, or set requires_grad=True")
    trainable = [described for parameter, described in survey.items() if parameter.requires_grad]
    there = []
    if any(part.name for part in selections):
        there.append(f"the parameters are {shortened([part.aliases[0][0] for part in trainable])}")
    if any(part.module for part in selections):
        classes = dict.fromkeys(classes[0] for part in trainable for _, classes in part.aliases)
        there.append(f"the modules are {shortened(list(classes))}")
    if any(part.ndim for part in selections):
        there.append(f"the values of ndim are {', '.join(map(str, sorted({part.ndim for part in trainable})))}")
    if any(part.layer for part in selections):
        there.append(f"the layers are 0 to {trainable[0].layers - 1}")
    fix = "; ".join(there) or "remove a condition from except, which excludes all parameters"
    raise UnknownNameError(path, value, "selects no parameter", fix)
