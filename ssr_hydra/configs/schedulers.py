"""One config per scheduler, made from its row in the registry: the class's fields, order and defaults.

Durations are strings. If an argument of a class has no default, the config has the preset of the row, so that
``scheduler=<name>`` alone works. The name of a config is ``<class>Config``: ``RexSchedulerConfig``.

Some choices need more than a value on the command line:

- ``scheduler=piecewise_linear scheduler.points=[[0dur,0],[0.2dur,1],[1dur,0.1]]``.
- ``scheduler=product``: named factors, each a choice of the group; the preset is ``warmup`` times ``decay``.
  ``scheduler@scheduler.factors.decay=polynomial`` replaces a factor, ``+scheduler@scheduler.factors.third=step`` adds
  one, ``~scheduler@scheduler.factors.warmup`` removes one.
- ``scheduler=sequence``: named phases one after another; the preset is ``warmup``, then ``decay``.
  ``scheduler@scheduler.phases.decay.scheduler=rex`` replaces the scheduler of a phase,
  ``scheduler.phases.warmup.until`` sets the end of a phase (the last one needs none),
  ``+scheduler@scheduler.phases.<name>.scheduler=<choice>`` adds one.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, field, fields, make_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from ssr_hydra.schedulers.combinators import Phase
from ssr_hydra.schedulers.registry import ROWS
from ssr_hydra.time import Time


def config_of(
    source: type,
    presets: Mapping[str, Any],
    target: str | None = None,
    name: str | None = None,
    module: str = __name__,
    bases: tuple[type, ...] = (),
) -> Any:
    """Create a dataclass with the fields of one of this package's classes, in types that OmegaConf supports.

    OmegaConf would make a config of a frozen dataclass read-only, so a class itself cannot be the config.

    Args:
        source: The class.
        presets: Values for its fields without a default.
        target: The ``_target_`` of the config.
        name: The name of the config; by default that of the class with ``Config`` at its end.
        module: The module that has the config under its name.
        bases: Dataclasses whose fields come first.
    """
    hints = get_type_hints(source)
    made: list[tuple[str, Any, Any]] = []
    for item in fields(source):
        default = presets.get(item.name) if item.default is MISSING else item.default
        is_mutable = isinstance(default, (list, dict))
        own = field(default_factory=partial(copy.deepcopy, default)) if is_mutable else field(default=default)
        made.append((item.name, _plain(hints[item.name]), own))
    if target is not None:
        made.append(("_target_", str, field(default=target, init=False)))
    doc = bases[0].__doc__ if bases else f"Config of ``{source.__name__}``."
    namespace = {"__doc__": doc, "__module__": module}
    return make_dataclass(name or f"{source.__name__}Config", made, bases=bases, namespace=namespace)


def _plain(hint: Any) -> Any:
    """Return the type of a config's field for an argument's type."""
    if hint is Time:
        return str
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in arguments:
            return Union[tuple(dict.fromkeys(map(_plain, arguments)))]  # noqa: UP007  # made of a list
        return _plain(arguments[0])  # a Time or its string; a list of points, or a mapping
    if origin is Sequence:
        return list[_plain(arguments[0])]  # type: ignore[misc]
    if origin is tuple:
        return list[Any]
    if origin is Mapping:
        return dict.__class_getitem__((str, PhaseConfig if Phase in get_args(arguments[1]) else Any))
    return hint if hint in (float, int, bool, str, type(None)) else Any


PhaseConfig: Any = config_of(Phase, {"scheduler": None})
"""One phase of ``scheduler=sequence``: a scheduler, the end of the phase, and whether SSR stretches it."""

_CONFIGS = {
    row.name: config_of(row.scheduler, row.presets, f"ssr_hydra.schedulers.{row.scheduler.__name__}") for row in ROWS
}
globals().update((config.__name__, config) for config in _CONFIGS.values())
__all__ = ["SCHEDULERS", *sorted(["PhaseConfig", *(config.__name__ for config in _CONFIGS.values())])]

# From 0 to 1, the usual first phase of a sequence.
SCHEDULERS: dict[str, Any] = {**_CONFIGS, "ramp": _CONFIGS["linear"](alpha_i=0.0, alpha_f=1.0)}
"""Choices of the group ``scheduler``."""

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...
