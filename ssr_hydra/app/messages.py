"""Convert the long errors of Hydra and OmegaConf into an ``InputError``, which has one line."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_origin

from hydra.errors import OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from ssr_hydra.app.check_values import check_base
from ssr_hydra.app.command_line import quoted, split_override
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MismatchError,
    MissingValueError,
    PathError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
    missing_package,
)
from ssr_hydra.settings.base import did_you_mean
from ssr_hydra.sweeps.combinations import ZIP_EXAMPLE
from ssr_hydra.sweeps.launchers.traits import TRAITS

_OF_KIND = {"Float": "0.5", "Integer": "1", "Boolean": "true"}
_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text such as a time"}
_KINDS |= {"Integer": _KINDS["int"], "Float": _KINDS["float"], "Boolean": _KINDS["bool"]}
_OF_HINT = {"int": "10", "float": "0.5", "bool": "true", "str": "0.5dur"}
_EXAMPLES = {"max_duration": "20ep", "ssr": "0.5", "seed": "0", "name": "my_run"}
# Keys of other training libraries, and what to write here.
_NAMES_ELSEWHERE = {
    **dict.fromkeys(("epochs", "max_epochs", "n_epochs", "num_epochs", "num_train_epochs"), "max_duration={}ep"),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "max_iters"), "max_duration={}ba"),
    "learning_rate": "optimizer.lr={}",
}
_MOST_PLACES = 3
_LISTS = ("logger", "callbacks", "param_groups")  # groups whose default is an empty list of choices
_NO_NAME = re.compile(r"null|true|false|[-+]?[\d.]+|\{.*", re.IGNORECASE)  # values that cannot be a choice


def _no_choices(group: str) -> Sequence[str]:
    return list(GROUPS.get(group, ()))


def explain(
    error: BaseException, overrides: Sequence[str] = (), choices: Callable[[str], Sequence[str]] = _no_choices
) -> InputError:
    """Convert an error of Hydra, OmegaConf or the YAML parser to an :class:`InputError`.

    ``overrides`` are the overrides of the composition. ``choices`` returns the choices of a config group.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, RecursionError):
            return RangeError(
                "config",
                "...",
                "is nested too deeply, or refers to itself",
                "use fewer levels of nesting, or remove the reference to itself",
            )
        if isinstance(cause, OmegaConfBaseException):
            return _of_omegaconf(cause, error, overrides)
        cause = cause.__cause__ or cause.__context__
    return _of_hydra(error, overrides, choices)


def overlay_error(place: str) -> InputError:
    """Return the error of an experiment file that does not begin with ``# @package _global_``."""
    rule = "must have the package _global_, because an experiment changes the whole config"
    return ConflictError("experiment", place, rule, "begin the YAML file with # @package _global_")


def _of_omegaconf(error: OmegaConfBaseException, outer: BaseException, overrides: Sequence[str]) -> InputError:
    message = _first_line(error)
    field = error.full_key or _override_key(outer) or "config"
    value = _override_value(field, overrides)
    if isinstance(error, MissingMandatoryValue):
        fix = f"choose one, e.g. {_choice_of(field)}" if field in GROUPS else f"set {field}=..."
        return MissingValueError(field, "???", "must be set, because it has no default", fix)
    if isinstance(error, InterpolationResolutionError):
        return WrongTypeError(field, _value_in(error, field), message, "correct the reference ${...}")
    if field.startswith("value[0]") and (listed := _mappings(overrides)) is not None:
        # In errors of Hydra 1.4, the field starts with value[0].
        return listed
    if isinstance(error, (ConfigKeyError, AttributeError)):
        return _of_key(error, field, value, overrides)
    if "is not a subclass of" in message and (listed := _several(overrides)) is not None:
        return listed
    if isinstance(error, ValidationError) and re.search(r"is not a (List|Tuple)Config", message):
        return WrongTypeError(field, value, "must be a list", f"write {field}=[{_as_list(error, field, value)}]")
    if isinstance(error, ValidationError) and "is not Optional" in message:
        return MissingValueError(field, None, "must not be null", _default(error, field))
    if isinstance(error, ValidationError) and re.match("Cannot convert '.*' to string", message):
        return WrongTypeError(field, value, "must be one value, not a list or a mapping", _default(error, field))
    if "does not support deletion" in message:
        return ConflictError(field, f"~{field}", "cannot be deleted", f"remove ~{field}")
    if isinstance(error, ValidationError) and (match := re.search(r"could not be converted to (\w+)", message)):
        kind = _KINDS.get(match[1], match[1])
        value_match = re.match(r"Value '(.*)' of type", message)
        if value is not None and re.fullmatch(r"\[[^][]+\]", value):
            fix = f"to sweep over several values, write -m {field}={value[1:-1].replace(' ', '')}"
            return WrongTypeError(field, value, f"must be {kind}", fix)
        example = _OF_KIND.get(match[1], "...")
        fix = f"write e.g. {example}" if field.endswith("]") else f"e.g. {field}={example}"  # Hydra cannot set a[0]=1
        return WrongTypeError(field, value_match[1] if value_match else value, f"must be {kind}", fix)
    if isinstance(error, ValidationError) and "is not a valid bool" in message:
        return WrongTypeError(field, value, "must be true or false", f"e.g. {field}=true")
    if isinstance(error, ValidationError) and (match := re.search(r"type hint '(?:Optional|Union)\[(.*)\]'$", message)):
        kinds = [kind for kind in re.findall(r"\w+", match[1]) if kind in _KINDS]
        if kinds and not re.search(r"[^\w, ]", match[1]):
            rule = f"must be {' or '.join(_KINDS[kind] for kind in kinds)}"
            return WrongTypeError(
                field, value, rule, f"e.g. {' or '.join(f'{field}={_OF_HINT[kind]}' for kind in kinds)}"
            )
    if re.search(r"is not a subclass of \w+Config|Cannot assign \w+ to Dict", message):
        return WrongTypeError(
            field, value, "must be a mapping", f"set a key below {field} (--cfg job --package {field} prints the keys)"
        )
    if message.startswith("Cannot merge"):
        message = "a mapping cannot replace a list, and a list cannot replace a mapping"
    return FormatError(field, value, message.rstrip("."), "print the default with --cfg job")


def _choice_of(group: str) -> str:
    return f"{group}={next(iter(GROUPS.get(group, TRAITS)))}"


def _default(error: OmegaConfBaseException, field: str) -> str:
    """Suggest an example, the value of the field without the override, or a command that prints the field's keys."""
    node = error.parent_node
    current = None if node is None else node._get_node(field.rpartition(".")[2])
    if isinstance(current, Mapping):
        return f"set keys of {field} (--cfg job --package {field} prints them)"
    if isinstance(current, Sequence):
        return f"e.g. {field}=[{','.join(map(str, current))}]"
    value = _EXAMPLES.get(field, "..." if current is None else current._value())
    return f"e.g. {field}={str(value).lower() if isinstance(value, bool) else value}"


def _several(overrides: Sequence[str]) -> InputError | None:
    """Return the error for a list of choices in a group that allows only one choice; None for other overrides."""
    for override in overrides:
        group, value = split_override(override)
        if value is None or group not in GROUPS or not value.startswith("["):
            continue
        names = [name.strip() for name in value.strip("[]").split(",")]
        if set(names) <= set(GROUPS[group]):
            fix = f"to sweep over these choices, write -m {group}={','.join(names)}"
            if group == "scheduler":
                fix += "; to multiply these schedulers, write scheduler=product with one factor for each"
            return WrongTypeError(group, value, "must be one choice", fix)
    return None


def _mappings(overrides: Sequence[str]) -> InputError | None:
    """Return the error for an override that is a list of mappings; None if there is no such override.

    Hydra cannot read a list of mappings on the command line.
    """
    for override in overrides:
        if "=[{" in override:
            key, value = split_override(override)
            fix = "write the list in the YAML file of an experiment"
            return FormatError(key, value, "the command line cannot contain a list of mappings", fix)
    return None


def _of_key(error: OmegaConfBaseException, field: str, value: str | None, overrides: Sequence[str]) -> InputError:
    parent, name = error.parent_node, field.rpartition(".")[2]
    group = field.partition(".")[0]
    try:
        if field == f"{group}.{name}":
            check_base(group, parent)
    except InputError as without:
        return without
    names = [str(key) for key in getattr(parent, "keys", list)() or () if key not in ("hydra", "_target_")]
    fix = did_you_mean(name, names)
    is_close = fix.startswith("did you mean")
    if "." not in field and 0 < len(places := _nested_keys(parent, name)) <= _MOST_PLACES:
        fix = f"did you mean {' or '.join(places)}?"
    elif field in _NAMES_ELSEWHERE:
        fix = f"did you mean {_NAMES_ELSEWHERE[field].format(value or '...')}?"
    typed = next((o for o in reversed(overrides) if o.startswith(f"{field}.")), None) if value is None else None
    if "." in str(error.key) and typed is None and value is None:
        outer, rest = str(error.key).split(".", 1)
        nested = f"{outer}: {{{rest.replace('.', ': {')}: ...{'}' * str(error.key).count('.')}"
        return FormatError(field, None, "must be nested, because a YAML key cannot contain a dot", f"write {nested}")
    if field == "launcher" and typed is not None:
        fix, is_close = f"did you mean hydra.{typed}?", True
    rule = "unknown key" if typed is None else f"unknown key {field}"
    override = f"{field}={value}" if typed is None else typed
    place, _, value = override.partition("=") if typed is not None else (field, "", value)
    if not is_close and error.object_type in (None, dict):  # the node has no schema, so any key can be added
        inner = [f"{field.rpartition('.')[0]}.{key}.{name}" for key in names if _has(parent, key, name)]
        fix = f"write {' or '.join(inner)}" if inner else _to_add(field, _mapping_with(field, overrides) or override)
    return UnknownNameError(place, value, rule, fix)


def _mapping_with(field: str, overrides: Sequence[str]) -> str | None:
    """Return the override with a mapping that contains ``field``, such as ``trainer.loss={_partial_: true}``."""
    for override in reversed(overrides):
        if "={" in override and field.startswith(f"{override.partition('=')[0]}."):
            return override
    return None


def _nested_keys(node: Any, name: str, path: str = "") -> list[str]:
    """Return the paths of all nested keys named ``name``, except keys whose value is an interpolation."""
    paths = []
    for key in node if isinstance(node, Mapping) else ():
        below = node._get_node(key)
        if key == name and path and not below._is_interpolation():
            paths.append(f"{path}{key}")
        if key != "hydra" and not below._is_interpolation():
            paths += _nested_keys(below, name, f"{path}{key}.")
    return paths


def _has(parent: Any, key: str, name: str) -> bool:
    node = parent._get_node(key)
    return isinstance(node, Mapping) and name in node


def _to_add(field: str, override: str) -> str:
    """Suggest how to add a missing key: group choices as ``group=choice``, other keys as ``+key=value``."""
    group, _, name = field.partition(".")
    if group == "schedules" and name and "." not in name:
        chosen = override.partition("=")[2] if override.startswith(f"{field}=") else "cosine"
        if chosen in GROUPS["scheduler"]:
            return f"choose it: +scheduler@{field}={chosen}"
    if group in ("callbacks", "logger") and name:
        close = difflib.get_close_matches(name, [key for key in GROUPS[group] if key != "custom"], n=1)
        if close:
            return f"choose it: {group}=[{close[0]}]"
    return f"to add it, write {shlex.quote(f'+{override}') if '={' in override else f'+{override}'}"


def _as_list(error: OmegaConfBaseException, field: str, value: str | None) -> str:
    """Return the items of the list that the error message suggests. The first item is ``value``.

    If the field is a tuple, the other items are those of its default.
    """
    try:
        default = error.parent_node._get_node(field.rpartition(".")[2])
        is_pair = get_origin(default._metadata.ref_type) is tuple
        rest = list(default)[1:] if is_pair else []
    except Exception:  # without this value, the message is only shorter
        rest = []
    return ",".join(map(str, [value, *rest]))


def _of_hydra(error: BaseException, overrides: Sequence[str], choices: Callable[[str], Sequence[str]]) -> InputError:
    text = str(error)
    message = _first_line(error)
    if match := re.search(r"Could not find '([^']+)'", text):
        group, _, name = match[1].rpartition("/")
        library = TRAITS[name].library if group == "hydra/launcher" and name in TRAITS else None
        if library is not None:
            preset = "slurm" if name == "submitit_slurm" else name
            field, value = ("launcher", preset) if _override_value("launcher", overrides) == preset else (group, name)
            return missing_package(field, value, f"hydra-{library}-launcher", library)
        options = re.findall(r"^\t([\w.-]+)$", text, re.MULTILINE)
        fix = did_you_mean(name.removesuffix(".yaml"), options) if options else "see --help"
        for override in overrides:
            if override.replace("=", "/", 1) == match[1]:  # the choice may contain a slash
                group, _, name = override.partition("=")
        return UnknownNameError(group or "config", name, "unknown choice", fix)
    if match := re.match(r"Cannot find primary config '([^']+)'", text):
        fix = "correct the name, or add the folder of the config with --config-dir"
        return PathError("--config-name", match[1], "config not found", fix)
    if match := re.search(r"In '([^']+)': Could not load '([^']+)/([^'/]+)'", text):
        where, group, name = match.groups()
        rule = "unknown choice" + ("" if where == "config" else f" (in {where}.yaml)")
        options = [option for option in choices(group) if option != "custom"]
        return UnknownNameError(group, name, rule, did_you_mean(name, options) if options else "see --help")
    if "\n" in text and (match := re.search(r"To append to your (?:config|default list) use (\S+)", text)):
        return UnknownNameError(*split_override(match[1]), message.rstrip("."), f"to add it, write {match[1]}")
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']*)'", text):
        key, _, value = match[1].partition("=")
        fix = "add -m to sweep over the values, or write [a,b] for a list"
        return WrongTypeError(key, value, "must be one value, because this is a single run", fix)
    if "Config group override must be" in text:
        settings = dict(map(split_override, overrides))
        values = {key: value for key, value in settings.items() if value is not None and _NO_NAME.fullmatch(value)}
        key = next(filter(choices, values), next(iter(values), "config"))
        if (value := values.get(key, "null")) != "null":
            return UnknownNameError(key, value, "must be the name of a choice", did_you_mean(value, choices(key)))
        fix = f"to remove the group, write ~{key}"
        if key in _LISTS:
            fix = f"for none, write {key}=[]"
        elif key in (*GROUPS, "launcher"):
            fix = f"remove {key}=null, or choose one, e.g. {_choice_of(key)}"
        return UnknownNameError(key, None, "must be the name of a choice", fix)
    if (match := re.search(r"Could not delete '([^']+)'\. No match in the defaults list", text)) and match[1] in _LISTS:
        rule, fix = "has no choice to remove", f"for none, write {match[1]}=[]"
        return UnknownNameError(match[1], f"~{match[1]}", rule, fix)
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if "," in key or "zip(" in error.override:
            return FormatError("overrides", error.override, "cannot be read", f"to pair values, write {ZIP_EXAMPLE}")
        if value.startswith("=") and value.strip("= "):
            return FormatError(key, value, "must follow one =", f"write {key}={value.lstrip('= ')}")
        is_text = value and value[0] not in "[{('\"" and value.count("${") == value.count("$")
        if key != (bare := re.sub(r"\s", "", key)):
            fix = f"write {shlex.quote(f'{bare}={value.strip()}')}"
            return FormatError(bare.lstrip("+~"), value, "must have no spaces before the =", fix)
        if value.startswith("~/"):
            rule = "must not start with ~, which the shell does not replace here"
            return FormatError(key, value, rule, f"write {key}=$HOME{value[1:]}")
        if match := re.fullmatch(r"\((.*,.*)\)", value):
            return FormatError(key, value, "cannot be read", f"write a list: {key}=[{match[1]}]")
        if equals and key.strip("+~") and is_text and "," not in value:
            rule = "contains characters that need quotes"
            fix = f"write {shlex.quote(f'{key}={quoted(value)}')}, with both pairs of quotes"
            return FormatError(key.lstrip("+~"), value, rule, fix)
        if not equals or message.startswith("Lexer"):
            return FormatError("overrides", error.override, "cannot be read", "write key=value, with matching quotes")
        rule = "cannot be read"
        if re.search(r"(^|,)\s*(,|$)", value):
            return FormatError(key, value, rule, "remove the extra comma")
        if any(value.count(opening) != value.count(closing) for opening, closing in ("[]", "()", "{}")):
            return FormatError(key, value, rule, "close each bracket")
        return FormatError(key, value, rule, "write key=value, and quote characters that the shell would change")
    if match := re.search(r"In '(experiment/[^']+)': Could not override '[^'@]+@experiment\.", text):
        return overlay_error(match[1])
    twice = re.match(r"Multiple values for (\S+)\.|(\S+) appears more than once in the final defaults list", text)
    if twice or "Could not append to config. An item is already at" in text:
        key = twice[1] or twice[2] if twice else _override_key(error)
        if key is not None and (value := _override_value(key, overrides)) is not None:
            return ConflictError(key, value, "already exists", f"to change it, drop the +: {key}={value}")
    if match := re.match(r"force-add of config groups is not supported: '\+\+([^=]+)=(.*)'", text):
        key, value = match.groups()
        fix = f"write {key}={value} to change it, or +{key}={value} to add it"
        return ConflictError(key, value, "cannot be set with ++, because it is a group", fix)
    if match := re.search(r"Could not delete (?:from config\. )?'([^'=]+)[^']*'(?: does not|\. No match)", text):
        return UnknownNameError(match[1], f"~{match[1]}", "not found in the config", f"remove ~{match[1]}")
    if match := re.search(r"Could not delete from config\. The value of '([^']+)' is (.*) and not (.*)\.", text):
        key, value, typed = match.groups()
        rule = f"is not the value of {key} in the config ({value})"
        return MismatchError(key, typed, rule, f"to delete {key}, write ~{key}")
    if "can only concatenate str" in text and (listed := _mappings(overrides)) is not None:
        return listed
    key = _override_key(error) or "config"
    return FormatError(key, _override_value(key, overrides), message.rstrip("."), "see --help and --cfg job")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _override_key(error: BaseException) -> str | None:
    match = re.search(r"(?:merging override |override ')([\w.@/+~-]+)", str(error))
    return match[1].lstrip("+~").rstrip(".") if match else None


def _override_value(field: str, overrides: Sequence[str]) -> str | None:
    for override in reversed(overrides):
        key, value = split_override(override)
        if value is not None and key == field:
            return value
    return None


def _value_in(error: OmegaConfBaseException, field: str) -> str | None:
    node = error.parent_node
    try:
        value = node._get_node(field.rpartition(".")[2])._value()
    except Exception:  # without this value, the message is only shorter
        return None
    return str(value)
