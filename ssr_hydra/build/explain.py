"""What Hydra and OmegaConf say over many lines, as the one error type in one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from hydra.errors import OverrideParseException
from omegaconf.errors import (
    ConfigKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)

from ssr_hydra.errors import InputError

__all__ = ["explain"]


_OF_KIND = {"Float": "0.5", "Integer": "1", "Boolean": "true"}
_EXAMPLES = {"max_duration": "20ep", "ssr": "0.5", "seed": "0", "name": "my_run"}


def explain(error: BaseException, overrides: Sequence[str] = ()) -> InputError:
    """An error of composition as an :class:`InputError`.

    Args:
        error: What Hydra, OmegaConf or a YAML parser raised.
        overrides: The overrides that were composed, for the value behind the field.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, InputError):
            return cause
        if isinstance(cause, RecursionError):
            return InputError("config", "...", "is nested too deeply, or refers to itself", "look for a cycle")
        if isinstance(cause, OmegaConfBaseException):
            return _of_omegaconf(cause, error, overrides)
        cause = cause.__cause__ or cause.__context__
    return _of_hydra(error, overrides)


def _of_omegaconf(error: OmegaConfBaseException, outer: BaseException, overrides: Sequence[str]) -> InputError:
    message = _first_line(error)
    field = error.full_key or _override_key(outer) or "config"
    value = _value_of(field, overrides)
    if isinstance(error, MissingMandatoryValue):
        return InputError(field, "???", "has no default and must be given", f"say {field}=...")
    if isinstance(error, InterpolationResolutionError):
        return InputError(field, _value_in(error, field), message, "correct the ${...}")
    if isinstance(error, (ConfigKeyError, AttributeError)):
        name = field.rpartition(".")[2]
        # A config shows its fields through the node that refused the key.
        names = [
            str(key) for key in getattr(error.parent_node, "keys", list)() or () if key not in ("hydra", "_target_")
        ]
        close = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
        if not close and error.object_type in (None, dict):  # nobody knows its keys in advance
            typed = next((o for o in reversed(overrides) if o.startswith(f"{field}.")), f"{field}={value}")
            fix = f"to add it, say +{typed}"
        return InputError(field, value, "there is no such key", fix)
    if isinstance(error, ValidationError) and "is not a ListConfig" in message:
        return InputError(field, value, "must be a list", f"write {field}=[{value}]")
    if isinstance(error, ValidationError) and "is not Optional" in message:
        return InputError(field, value, "must be given", f"e.g. {field}={_EXAMPLES.get(field, '...')}")
    if isinstance(error, ValidationError) and (match := re.search(r"could not be converted to (\w+)", message)):
        kind = {"Float": "a number", "Integer": "a whole number", "Boolean": "true or false"}.get(match[1], match[1])
        shown = re.match(r"Value '(.*)' of type", message)
        return InputError(
            field, shown[1] if shown else value, f"must be {kind}", f"e.g. {field}={_OF_KIND.get(match[1], '...')}"
        )
    return InputError(field, value, message.rstrip("."), "see the default with --cfg job")


def _of_hydra(error: BaseException, overrides: Sequence[str]) -> InputError:
    text = str(error)
    message = _first_line(error)
    if match := re.search(r"Could not find '([^']+)'", text):
        group, _, name = match[1].rpartition("/")
        options = re.findall(r"^\t([\w.-]+)$", text, re.MULTILINE)
        close = difflib.get_close_matches(name, options, n=1)
        fix = f"did you mean {close[0]}?" if close else f"there are {', '.join(options)}" if options else "see --help"
        return InputError(group or "config", name, "there is no such choice", fix)
    if "\n" in text and (match := re.search(r"To append to your (?:config|default list) use (\S+)", text)):
        key, _, value = match[1].lstrip("+").partition("=")
        return InputError(key, value, message.rstrip("."), f"to add it, say {match[1]}")
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']*)'", text):
        key, _, value = match[1].partition("=")
        return InputError(
            key, value, "several values make a sweep", "add -m to sweep over them, or write [a,b] for a list"
        )
    if "Config group override must be" in text:
        names = [override.partition("=")[0] for override in overrides if override.endswith("=null")]
        key = names[0] if names else "config"
        return InputError(key, None, "a group is given the name of a choice", f"to leave it out, say ~{key}")
    if isinstance(error, OverrideParseException):
        key, equals, value = error.override.partition("=")
        if not equals or message.startswith("Lexer"):
            return InputError("overrides", error.override, "cannot be read", "write key=value, with matching quotes")
        return InputError(key, value, message.rstrip("."), "write key=value, quoting what the shell would change")
    if match := re.search(r"In '(experiment/[^']+)': Could not override '[^'@]+@experiment\.", text):
        rule = "an overlay goes over the whole experiment"
        return InputError("experiment", match[1], rule, "begin its file with # @package _global_")
    if "Could not append to config. An item is already at" in text and (key := _override_key(error)):
        value = _value_of(key, overrides)
        return InputError(key, value, "is there already", f"to change it, drop the +: {key}={value}")
    key = _override_key(error) or "config"
    return InputError(key, _value_of(key, overrides), message.rstrip("."), "see --help and --cfg job")


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _override_key(error: BaseException) -> str | None:
    match = re.search(r"(?:merging override |override ')([\w.@/+~-]+)", str(error))
    return match[1].lstrip("+~").rstrip(".") if match else None


def _value_of(field: str, overrides: Sequence[str]) -> str | None:
    for override in reversed(overrides):
        key, equals, value = override.lstrip("+~").partition("=")
        if equals and key == field:
            return value
    return None


def _value_in(error: OmegaConfBaseException, field: str) -> str | None:
    node = error.parent_node
    try:
        value = node._get_node(field.rpartition(".")[2])._value()
    except Exception:  # only for the message: without it the message says less
        return None
    return str(value)
