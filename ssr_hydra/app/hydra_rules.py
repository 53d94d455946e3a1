"""Rules for the ``hydra`` keys that config files from outside the package may set."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from ssr_hydra.errors import ConflictError, RangeError, UntrustedError, WrongTypeError

_LONGEST_SWEEP = 2_000
_DEEPEST_SWEEP = 10


def chosen_nodes(group: str, typed: Collection[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the full name of one of Hydra's config groups, and the nodes that a file of this group may set.

    Return None if ``group`` does not belong to Hydra, or is not in ``typed``, the override keys on the command line.

    Example:
        >>> chosen_nodes("launcher", ["ssr", "launcher"]), chosen_nodes("launcher", ["ssr"])
        (('hydra/launcher', ('hydra.launcher.',)), None)
    """
    if group not in typed or not (group == "launcher" or group.startswith("hydra/")):
        return None
    if group == "hydra/output":  # this group of this package sets the folders of runs and sweeps
        return group, ("hydra.run.", "hydra.sweep.")
    own = "hydra/launcher" if group == "launcher" else group
    return own, (f"{own.replace('/', '.')}.",)


def is_below_hydra(package: str | None) -> bool:
    """Return whether Hydra puts a config with this ``@package`` into the node ``hydra``."""
    return package is not None and re.split(r"[.\[]", package.removeprefix("_global_."))[0] == "hydra"


def check_place(path: str, package: str | None) -> None:
    """Refuse a config whose ``@package`` is in the node ``hydra``, unless its group belongs to Hydra.

    Hydra calls every ``_target_`` in the node ``hydra``, so such a config could run code.
    """
    if is_below_hydra(package) and path.partition("/")[0] != "hydra":
        raise ConflictError("defaults", f"{path}@{package}", "must not set keys below hydra", f"remove @{package}")


SETTINGS = {
    "hydra.mode": "RUN or MULTIRUN",
    "hydra.verbose": "true, false or names of loggers",
    "hydra.job.chdir": "true or false",
    "hydra.run.dir": "a folder",
    "hydra.sweep.dir": "a folder",
}
"""Keys below ``hydra`` that a file may set, in addition to ``hydra.sweeper.params``, and their values."""


def check_hydra(node: Any, file: str, chosen: Sequence[str] = ()) -> None:
    """Refuse a file that sets ``hydra`` keys other than :data:`SETTINGS` and ``hydra.sweeper.params``.

    ``node`` is the file's ``hydra`` node as plain, unresolved data. ``chosen`` lists nodes that the file may also set,
    such as ``hydra.launcher.``, because the user chose the file on the command line.
    """
    params = node
    for key in ("sweeper", "params"):
        params = params.get(key) if isinstance(params, Mapping) else None
    if params is not None:
        _check_params(params, file)
    for path, value in leaves(node, ("hydra",)):
        key = ".".join(path)
        if key.startswith(("hydra.sweeper.params", *chosen)):
            continue
        if key not in SETTINGS or isinstance(value, Mapping):
            rule = f"cannot be set in a file ({file}), because it can run code or write anywhere"
            raise UntrustedError(key, value, rule, f"to set it, write {key}=... on the command line")
        if "$" in str(value):
            rule = f"must not contain $ if it is set in a file ({file})"
            raise UntrustedError(key, value, rule, f"write {SETTINGS[key]}, or {key}=... on the command line")


def _check_params(params: Any, file: str) -> None:
    if not isinstance(params, Mapping):
        raise WrongTypeError("hydra.sweeper.params", params, f"must be a mapping ({file})", "write {ssr: '0.5,1'}")
    for name, value in params.items():
        key = f"hydra.sweeper.params.{name}"
        if isinstance(value, (Mapping, list, tuple)) or str(name).startswith("_"):
            rule = f"must be a number or text ({file}), because Hydra would call a _target_ here"
            raise UntrustedError(key, value, rule, f'write the values as text: {name}: "a,b"')
        # Hydra would resolve the value, parse the result as an override, and resolve that override again.
        if "$" in f"{name}{value}":
            rule = f"must not contain $ if it is set in a file ({file})"
            raise UntrustedError(key, value, rule, "write values instead of ${...}, or sweep on the command line")
        depth = max(accumulate((char in "[{(") - (char in "]})") for char in str(value)), default=0)
        if depth > _DEEPEST_SWEEP:
            rule = f"must have at most {_DEEPEST_SWEEP} levels of brackets in a file ({file})"
            raise RangeError(key, value, rule, "use fewer levels of brackets")
    if (length := sum(len(f"{name}={value}") for name, value in params.items())) > _LONGEST_SWEEP:
        rule = f"all keys and values in a file must have at most {_LONGEST_SWEEP:,} characters ({file}: {length:,})"
        raise RangeError("hydra.sweeper.params", f"{len(params)} keys", rule, "write lists as range(start,stop,step)")


def leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each leaf in plain data. Lists and empty mappings are leaves too."""
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, node
