"""Check the loggers and callbacks of an experiment at composition."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from ssr_hydra.app.check_values import check_fields, check_node
from ssr_hydra.app.targets import instantiate
from ssr_hydra.callbacks.values import PACKAGES
from ssr_hydra.configs import GROUPS
from ssr_hydra.errors import ConflictError, WrongTypeError, missing_package, within
from ssr_hydra.state import State


def check_callbacks(values: Mapping[str, Any]) -> None:
    """Refuse loggers and callbacks that are invalid or need a missing package. The check imports no such package."""
    for group, example in (("logger", "logger=[csv]"), ("callbacks", "callbacks=[ema]")):
        node = values[group]
        if not isinstance(node, Mapping):
            raise WrongTypeError(
                group, node, "must be a mapping from name to config", f"to choose presets, write {example}"
            )
        for name, part in node.items():
            path = f"{group}.{name}"
            check_node(part, path, example)
            for choice, config in GROUPS[group].items():
                if config._target_ != part["_target_"]:
                    continue
                check_fields(part, config, path)
                for module in PACKAGES.get(choice, ()):
                    if importlib.util.find_spec(module) is None:
                        raise missing_package(path, choice, module, choice)
                item = instantiate(part, path=path)
                if choice == "ema":
                    with within(path):
                        _check_ema(item, values)
            if group == "callbacks" and name in values["logger"]:
                raise ConflictError(path, name, "must differ from the names of the loggers", "rename this callback")


def _check_ema(ema: Any, values: Mapping[str, Any]) -> None:
    # Check that the half-life can be converted to batches. The result is not used, so every size is set to 1.
    ema.decay_in(State(max_duration=values["max_duration"], dataloader_len=1, samples_per_batch=1, tokens_per_batch=1))
    if values["trainer"]["parallel"] == "fsdp":
        rule = "cannot be used with trainer.parallel=fsdp, because EMA cannot save sharded weights"
        raise ConflictError("_target_", "EMA", rule, "use trainer.parallel=ddp, or remove this callback")
