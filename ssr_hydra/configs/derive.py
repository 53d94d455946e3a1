"""Structured configs derived from classes. A config has the arguments of its class, with OmegaConf's types.

The type of a field may be ``Annotated[type, allowed]``. OmegaConf reads ``type``. ``ssr-train --schema`` reads
``allowed``: a tuple of choices, a compiled pattern, or a more exact type.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from functools import partial
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from ssr_hydra.schedulers.combinators import Phase
from ssr_hydra.time import Time

Duration = Annotated[str, Time]
Object = Annotated[Any, Callable[..., Any] | None]
"""The type of a field that holds a config node with a ``_target_``."""


def configs_of(sources: Mapping[str, tuple[str, Mapping[str, Any]]], *, module: str) -> dict[str, Any]:
    """Create the configs of a group's choices.

    Args:
        sources: A mapping from choice to a pair: the dotted path of a class, and presets for the class's arguments.
        module: See :func:`config_of`.
    """
    configs = {}
    for choice, (path, presets) in sources.items():
        home, _, name = path.rpartition(".")
        configs[choice] = config_of(getattr(importlib.import_module(home), name), presets, path, module=module)
    return configs


def config_of(
    source: type,
    presets: Mapping[str, Any] | None = None,
    target: str | None = None,
    *,
    module: str,
    name: str | None = None,
    bases: tuple[type, ...] = (),
) -> Any:
    """Create a config class: a dataclass whose fields are the arguments of ``source``.

    ``source`` itself cannot be the config, because OmegaConf makes a config of a frozen dataclass read-only.

    Args:
        source: A dataclass.
        presets: Values that replace the defaults of arguments. An argument with neither a preset nor a default is
            mandatory (``???``).
        target: The ``_target_`` of the config; None for a config without a target.
        module: The name of the module that has the config class as an attribute.
        name: The name of the config class; by default the name of ``source`` followed by ``Config``.
        bases: Dataclasses whose fields come before the fields of ``source``.
    """
    hints = get_type_hints(source)
    config_fields: list[tuple[str, Any, Any]] = []
    for argument in inspect.signature(source).parameters.values():
        default = (presets or {}).get(argument.name, argument.default)
        default = "???" if default is argument.empty else list(default) if default == () else default
        kw_only = argument.kind is argument.KEYWORD_ONLY
        is_mutable = isinstance(default, (list, dict))
        value: Any = {"default_factory": partial(copy.deepcopy, default)} if is_mutable else {"default": default}
        config_fields.append((argument.name, _field_type(hints[argument.name]), field(**value, kw_only=kw_only)))
    if target is not None:
        config_fields.append(("_target_", str, field(default=target, init=False)))
    doc = bases[0].__doc__ if bases else f"Config of ``{target or source.__name__}``."
    config = config_class(name or f"{source.__name__}Config", config_fields, module, doc, bases)
    config.__source__ = source  # ssr-train --schema reads the docstring and the argument types of the source
    return config


def config_class(
    name: str, items: Sequence[tuple[str, Any, Any]], module: str, doc: str | None, bases: tuple[type, ...] = ()
) -> Any:
    """Create a dataclass that pickle finds in ``module``."""
    config = make_dataclass(name, items, bases=bases, namespace={"__doc__": doc})
    config.__module__ = module  # from Python 3.12 on, make_dataclass ignores the __module__ of its namespace
    return config


def _field_type(hint: Any) -> Any:
    """Return the type of a config field for an argument of type ``hint``; ``Any`` if OmegaConf lacks this type."""
    if hint is Time:
        return str
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        plain = dict.fromkeys(map(_field_type, arguments))
        return Any if any(kind not in _SCALARS for kind in plain) else Union[tuple(plain)]  # noqa: UP007  # the union of a list of types
    if origin is Sequence:
        return list[_field_type(arguments[0])]  # type: ignore[misc]
    if origin is tuple and Time not in arguments:
        return tuple[tuple(map(_field_type, arguments))]  # type: ignore[misc]
    if origin is Mapping:
        return dict.__class_getitem__((str, PhaseConfig if Phase in get_args(arguments[1]) else Any))
    return hint if hint in _SCALARS else Any


_SCALARS = (float, int, bool, str, type(None))

PhaseConfig: Any = config_of(Phase, {"scheduler": None}, module=__name__)
"""One phase of ``scheduler=sequence``: a scheduler, the end of the phase, and whether SSR stretches the phase."""
