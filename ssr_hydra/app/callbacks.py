"""Check the loggers and callbacks of an experiment at composition, and create them from its config."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from ssr_hydra import callbacks
from ssr_hydra.app.check_values import check_fields, check_node
from ssr_hydra.app.targets import instantiate
from ssr_hydra.callbacks.values import PACKAGES
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import InputError, missing_package, within

__all__ = ["check_callbacks", "make_callbacks", "run_name"]

_KEYS = ("_target_", "_args_", "_partial_", "_convert_", "_recursive_")


def check_callbacks(values: Mapping[str, Any]) -> None:
    """Refuse loggers and callbacks that are invalid or need a missing package. Imports neither torch nor that package.

    Args:
        values: The experiment as plain values. :func:`~ssr_hydra.app.targets.check_targets` has checked its targets.
    """
    for group, example in (("logger", "logger=[csv]"), ("callbacks", "callbacks=[ema]")):
        node = values[group]
        if not isinstance(node, Mapping):
            raise InputError(group, node, "must be a mapping of names", f"e.g. {example}")
        for name, part in node.items():
            path = f"{group}.{name}"
            check_node(part, path, example)
            for choice, config in GROUPS[group].items():
                if config._target_ == part["_target_"]:
                    check_fields(part, config, path)
                    _check_package(choice, path)
                    with within(path):
                        item = getattr(callbacks, config._target_.rpartition(".")[2])(**_arguments(part))
                        if choice == "ema":
                            _check_ema(item, values)
            if group == "callbacks" and name in values["logger"]:
                raise InputError(path, name, "there is a logger of this name", "give it another name")


def make_callbacks(
    values: Mapping[str, Any], trust: tuple[str, ...], is_main: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Create the callbacks and the loggers of a checked experiment.

    Args:
        values: The experiment as plain values.
        trust: The names that the command line trusts.
        is_main: Whether this process is rank 0. Other ranks have no loggers.

    Returns:
        A mapping from name to callback, and a mapping from name to logger.
    """

    def make(group: str) -> dict[str, Any]:
        return {name: instantiate(node, trust, f"{group}.{name}") for name, node in values[group].items()}

    return make("callbacks"), make("logger") if is_main else {}


def run_name(values: Mapping[str, Any]) -> str:
    """Return the name of a run as it is displayed. For a debug run, the name contains the debug preset.

    Example:
        >>> run_name({"name": "digits", "debug": None}), run_name({"name": "digits", "debug": "one_batch"})
        ('digits', 'digits (debug=one_batch)')
    """
    name: str = values["name"]
    return name if values["debug"] is None else f"{name} (debug={values['debug']})"


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in _KEYS}


def _check_package(choice: str, path: str) -> None:
    for module in PACKAGES.get(choice, ()):
        if importlib.util.find_spec(module) is None:
            raise missing_package(path, choice, module, choice)


def _check_ema(ema: Any, values: Mapping[str, Any]) -> None:
    from ssr_hydra.state import State

    # Check that the half-life can be converted to batches. The check does not depend on the values of these rates.
    ema.decay_in(State(max_duration=values["max_duration"], dataloader_len=1, samples_per_batch=1, tokens_per_batch=1))
    if values["trainer"]["parallel"] == "fsdp":
        rule = "an average of weights that are sharded cannot be saved whole"
        raise InputError("_target_", "EMA", rule, "use trainer.parallel=ddp, or take ema out")
