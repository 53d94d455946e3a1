"""Convert the long errors of Hydra and OmegaConf into an ``InputError``, which has one line."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
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

# The name of a type in an error of OmegaConf -> its name in this package's errors, and an example.
_TYPES = {
    "int": ("a whole number", "10"),
    "float": ("a number", "0.5"),
    "bool": ("true or false", "true"),
    "str": ("a string, such as a time", "0.5dur"),
}
_TYPES |= {"Integer": _TYPES["int"], "Float": _TYPES["float"], "Boolean": _TYPES["bool"]}
_WRONG_TYPE = re.compile(
    r"(?:converted to |not a valid |type hint '(?:Optional|Union)\[)(\w+(?:, \w+)*)(?:\]'|$| \(type)"
)
_EXAMPLES = {"max_duration": "20ep", "ssr": "0.5", "seed": "0", "name": "my_run"}
# Keys of other training libraries -> the override of this package that replaces the key.
_NAMES_ELSEWHERE = {
    **dict.fromkeys(("epochs", "max_epochs", "n_epochs", "num_epochs", "num_train_epochs"), "max_duration={}ep"),
    **dict.fromkeys(("steps", "max_steps", "num_steps", "max_iters"), "max_duration={}ba"),
    "learning_rate": "optimizer.lr={}",
}
_MOST_PLACES = 3
_LISTS = ("logger", "callbacks", "param_groups")  # groups whose default is an empty list of choices
_NO_NAME = re.compile(r"null|true|false|[-+]?[\d.]+|\{.*", re.IGNORECASE)  # values that cannot be a choice


def _preset_names(group: str) -> Sequence[str]:
    return list(GROUPS.get(group, ()))


def explain(
    error: BaseException, overrides: Sequence[str] = (), choices: Callable[[str], Sequence[str]] = _preset_names
) -> InputError:
    """Convert an error of Hydra, OmegaConf or the YAML parser to an :class:`InputError`.

    ``overrides`` are all overrides of the failed composition. ``choices`` returns the choices of a config group.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, RecursionError):
            rule = "is nested too deeply, or refers to itself"
            return RangeError("config", "...", rule, "use fewer levels of nesting, or remove the reference to itself")
        if isinstance(cause, OmegaConfBaseException):
            return _of_omegaconf(cause, error, overrides)
        cause = cause.__cause__ or cause.__context__
    return _of_hydra(error, overrides, choices)


def overlay_error(place: str) -> InputError:
    """Return the error for an experiment file that does not begin with ``# @package _global_``."""
    rule = "must have the package _global_, because an experiment changes the whole config"
    return ConflictError("experiment", place, rule, "begin the YAML file with # @package _global_")


# ---- errors of OmegaConf: a value does not fit the config


def _of_omegaconf(error: OmegaConfBaseException, outer: BaseException, overrides: Sequence[str]) -> InputError:
    message = _first_line(error)
    field = error.full_key or _override_key(outer) or "config"
    value = _override_value(field, overrides)
    if isinstance(error, MissingMandatoryValue):
        fix = f"choose e.g. {_choice_of(field)}" if field in GROUPS else f"set {field}=..."
        return MissingValueError(field, "???", "must be set, because it has no default", fix)
    if isinstance(error, InterpolationResolutionError):
        return WrongTypeError(field, str(_node(error, field)), message, "correct the reference ${...}")
    if field.startswith("value[0]") and (listed := _mappings(overrides)) is not None:
        # Hydra 1.4 reports a list of mappings with this field.
        return listed
    if isinstance(error, (ConfigKeyError, AttributeError)):
        return _of_key(error, field, value, overrides)
    if "is not a subclass of" in message and (listed := _several(overrides)) is not None:
        return listed
    if re.search(r"is not a (List|Tuple)Config", message):
        return WrongTypeError(field, value, "must be a list", _example(error, field, f"[{value}]"))
    if "is not Optional" in message:
        return MissingValueError(field, None, "must not be null", _example(error, field))
    if re.match("Cannot convert '.*' to string", message):
        return WrongTypeError(field, value, "must be one value, not a list or a mapping", _example(error, field))
    if "does not support deletion" in message:
        return ConflictError(field, f"~{field}", "cannot be deleted", f"remove ~{field}")
    types = _WRONG_TYPE.search(message)
    expected = [_TYPES[name] for name in types[1].split(", ") if name in _TYPES] if types else []
    if expected:
        fix = f"e.g. {' or '.join(f'{field}={example}' for _, example in expected)}"
        if value is not None and re.fullmatch(r"\[[^][]+\]", value):
            fix = f"to sweep over several values, write -m {field}={value[1:-1].replace(' ', '')}"
        elif field.endswith("]"):  # Hydra cannot set a[0]=1
            fix = f"write e.g. {expected[0][1]}"
        in_message = re.match(r"Value '(.*)' (?:of type|is not)", message)
        value = in_message[1] if in_message and value is None else value
        return WrongTypeError(field, value, f"must be {' or '.join(name for name, _ in expected)}", fix)
    if re.search(r"is not a subclass of \w+Config|Cannot assign \w+ to Dict", message):
        fix = f"set a key below {field} (--cfg job --package {field} prints the keys)"
        return WrongTypeError(field, value, "must be a mapping", fix)
    if message.startswith("Cannot merge"):
        message = "a mapping cannot replace a list, and a list cannot replace a mapping"
    kind = WrongTypeError if "could not be converted to" in message else FormatError
    return kind(field, value, message.rstrip("."), "remove this value; --cfg job then prints the default")


def _choice_of(group: str) -> str:
    return f"{group}={next(iter(GROUPS.get(group, TRAITS)))}"


def _node(error: OmegaConfBaseException, field: str) -> Any:
    """Return the node that a field had before the failed override; None if the field does not exist."""
    try:
        return error.parent_node._get_node(field.rpartition(".")[2])
    except Exception:  # without the node, the message is only shorter
        return None


def _example(error: OmegaConfBaseException, field: str, absent: str = "...") -> str:
    """Suggest a value: an example, or the value before the override. For a mapping, suggest how to print its keys."""
    node = _node(error, field)
    if isinstance(node, Mapping):
        return f"set keys of {field} (--cfg job --package {field} prints them)"
    if isinstance(node, Sequence):
        return f"e.g. {field}=[{','.join(map(_typed, node))}]"
    return f"e.g. {field}={_typed(_EXAMPLES.get(field, absent if node is None else node._value()))}"


def _typed(value: Any) -> str:
    """Return a value as the command line spells it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _several(overrides: Sequence[str]) -> InputError | None:
    """Return the error if an override lists choices for a group that allows only one choice; None otherwise."""
    for group, value in map(split_override, overrides):
        names = re.findall(r"[^][, ]+", value or "")
        if value is not None and value.startswith("[") and set(names) <= {*GROUPS.get(group, ())}:
            fix = f"to sweep over these choices, write -m {group}={','.join(names)}"
            if group == "scheduler":
                fix += "; to multiply these schedulers, write scheduler=product with one factor for each"
            return WrongTypeError(group, value, "must be one choice", fix)
    return None


def _mappings(overrides: Sequence[str]) -> InputError | None:
    """Return the error if an override contains a list of mappings, which Hydra cannot read; None otherwise."""
    for key, value in map(split_override, overrides):
        if value is not None and value.startswith("[{"):
            fix = "write the list in the YAML file of an experiment"
            return FormatError(key, value, "the command line cannot contain a list of mappings", fix)
    return None


def _of_key(error: OmegaConfBaseException, field: str, value: str | None, overrides: Sequence[str]) -> InputError:
    parent, name = error.parent_node, field.rpartition(".")[2]
    group = field.partition(".")[0]
    if field == f"{group}.{name}":
        try:
            check_base(group, parent)
        except InputError as without:
            return without
    typed = None if value is not None else next((o for o in reversed(overrides) if o.startswith(f"{field}.")), None)
    parts = str(error.key).split(".")
    if len(parts) > 1 and typed is None and value is None:
        fix = f"write {': {'.join(parts)}: ...{'}' * (len(parts) - 1)}"
        return FormatError(field, None, "must be nested, because a YAML key cannot contain a dot", fix)
    names = [str(key) for key in getattr(parent, "keys", list)() or () if key not in ("hydra", "_target_")]
    fix = did_you_mean(name, names)
    places = [f"{field.removesuffix(name)}{place}" for place in _nested_keys(parent, name)]
    if 0 < len(places) <= _MOST_PLACES:
        fix = f"did you mean {' or '.join(places)}?"
    elif field in _NAMES_ELSEWHERE:
        fix = f"did you mean {_NAMES_ELSEWHERE[field].format(value or '...')}?"
    elif field == "launcher" and typed is not None:
        fix = f"did you mean hydra.{typed}?"
    elif not fix.startswith("did you mean") and error.object_type in (None, dict):
        # The node accepts any new key. ``whole`` is an override that sets the parent, such as model={key: 1}.
        whole = next(
            (o for o in reversed(overrides) if "={" in o and field.startswith(f"{o.partition('=')[0]}.")), None
        )
        fix = _to_add(field, whole or typed or f"{field}={value}")
    if typed is not None:
        return UnknownNameError(*split_override(typed), f"unknown key {field}", fix)
    return UnknownNameError(field, value, "unknown key", fix)


def _nested_keys(node: Any, name: str, path: str = "") -> list[str]:
    """Return the paths of all nested keys named ``name``, except keys whose value is an interpolation."""
    paths = []
    for key in node if isinstance(node, Mapping) else ():
        below = node._get_node(key)
        if key == "hydra" or below._is_interpolation():
            continue
        if key == name and path:
            paths.append(f"{path}{key}")
        paths += _nested_keys(below, name, f"{path}{key}.")
    return paths


def _to_add(field: str, override: str) -> str:
    """Suggest how to add a missing key: choose a preset (schedules, callbacks, loggers), or write ``+key=value``."""
    group, _, name = field.partition(".")
    if group == "schedules" and name and "." not in name:
        chosen = override.partition("=")[2] if override.startswith(f"{field}=") else "cosine"
        if chosen in GROUPS["scheduler"]:
            return f"to add it, write +scheduler@{field}={chosen}"
    if group in ("callbacks", "logger") and name:
        close = difflib.get_close_matches(name, [key for key in GROUPS[group] if key != "custom"], n=1)
        if close:
            return f"to use {close[0]}, write {group}=[{close[0]}]"
    return f"to add it, write {shlex.quote(f'+{override}') if '={' in override else f'+{override}'}"


# ---- errors of Hydra: an override cannot be read, or does not fit the groups


def _of_hydra(error: BaseException, overrides: Sequence[str], choices: Callable[[str], Sequence[str]]) -> InputError:
    text = str(error)
    message = _first_line(error)
    if isinstance(error, OverrideParseException):
        return _of_syntax(error.override, is_lexed=not message.startswith("Lexer"))
    if match := re.search(r"Could not (?:find|load) '([^']+)'", text):
        return _of_choice(match[1], re.findall(r"^\t([\w.-]+)$", text, re.MULTILINE), overrides, choices)
    if match := re.match(r"Cannot find primary config '([^']+)'", text):
        fix = "correct the name, or add the folder of the config with --config-dir"
        return PathError("--config-name", match[1], "config not found", fix)
    if "\n" in text and (match := re.search(r"To append to your (?:config|default list) use (\S+)", text)):
        return UnknownNameError(*split_override(match[1]), message.rstrip("."), f"to add it, write {match[1]}")
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']*)'", text):
        key, _, value = match[1].partition("=")
        fix = "add -m to sweep over the values, or write [a,b] for a list"
        return WrongTypeError(key, value, "must be one value, because this is a single run", fix)
    if "Config group override must be" in text:
        values = {key: value for key, value in map(split_override, overrides) if _NO_NAME.fullmatch(value or "")}
        key = next(filter(choices, values), next(iter(values), "config"))
        if (value := values.get(key) or "null") != "null":
            return UnknownNameError(key, value, "must name a config of this group", did_you_mean(value, choices(key)))
        fix = f"for none, write {key}=[]" if key in _LISTS else f"remove {key}=null"
        if key in (*GROUPS, "launcher") and key not in _LISTS:
            fix += f", or choose e.g. {_choice_of(key)}"
        return UnknownNameError(key, None, "must name a config of this group", fix)
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


def _of_choice(
    place: str, options: Sequence[str], overrides: Sequence[str], choices: Callable[[str], Sequence[str]]
) -> InputError:
    """Return the error for an unknown choice. ``place`` is the choice with its group, such as ``scheduler/wsdd``."""
    group, _, name = place.rpartition("/")
    library = TRAITS[name].library if group == "hydra/launcher" and name in TRAITS else None
    if library is not None:
        preset = "slurm" if name == "submitit_slurm" else name
        field, value = ("launcher", preset) if _override_value("launcher", overrides) == preset else (group, name)
        return missing_package(field, value, f"hydra-{library}-launcher", library)
    options = options or [option for option in choices(group) if option != "custom"]
    fix = did_you_mean(name.removesuffix(".yaml"), options) if options else "see --help"
    for override in overrides:
        if override.replace("=", "/", 1) == place:  # the choice may contain a slash
            group, _, name = override.partition("=")
    return UnknownNameError(group or "config", name, "unknown choice", fix)


def _of_syntax(override: str, is_lexed: bool) -> InputError:
    """Return the error for an override that Hydra cannot parse. ``is_lexed`` is false if a quote is missing."""
    key, equals, value = override.partition("=")
    if "," in key or "zip(" in override:
        return FormatError("overrides", override, "cannot be read", f"to pair values, write {ZIP_EXAMPLE}")
    bare, name = re.sub(r"\s", "", key), key.strip("+~ ")
    is_text = value and value[0] not in "[{('\"" and value.count("${") == value.count("$") and "," not in value
    if value.startswith("=") and value.strip("= "):
        fix = f"write only one =: {key}={value.lstrip('= ')}"
    elif key != bare:
        fix = f"remove the spaces: {shlex.quote(f'{bare}={value.strip()}')}"
    elif value.startswith("~/"):
        fix = f"write {key}=$HOME{value[1:]}, because the shell does not replace ~ here"
    elif match := re.fullmatch(r"\((.*,.*)\)", value):
        fix = f"write a list: {key}=[{match[1]}]"
    elif name and is_text:
        fix = f"write {shlex.quote(f'{key}={quoted(value)}')}, with both pairs of quotes"
    elif not equals or not is_lexed:
        return FormatError("overrides", override, "cannot be read", "write key=value, with matching quotes")
    elif re.search(r"(^|,)\s*(,|$)", value):
        fix = "remove the extra comma"
    elif any(value.count(opening) != value.count(closing) for opening, closing in ("[]", "()", "{}")):
        fix = "close each bracket"
    else:
        fix = "write key=value, and quote characters that the shell would change"
    return FormatError(name or "overrides", value, "cannot be read", fix)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _override_key(error: BaseException) -> str | None:
    match = re.search(r"(?:merging override |override ')([\w.@/+~-]+)", str(error))
    return match[1].lstrip("+~").rstrip(".") if match else None


def _override_value(field: str, overrides: Sequence[str]) -> str | None:
    values = [value for key, value in map(split_override, overrides) if key == field and value is not None]
    return values[-1] if values else None
