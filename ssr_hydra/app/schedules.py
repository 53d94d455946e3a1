"""Create the schedulers of an experiment from its config."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssr_hydra.app.targets import as_description, instantiate, locate
from ssr_hydra.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["make_schedulers"]


def make_schedulers(
    values: Mapping[str, Any], trust: tuple[str, ...], optimizers: Sequence[torch.optim.Optimizer]
) -> Any:
    """Create the schedulers of a checked experiment.

    For torch's own schedulers, the function creates descriptions, which need no optimizer. A custom subclass of
    torch's ``LRScheduler`` gets the optimizer.

    Args:
        values: The experiment as plain values.
        trust: The names that the command line trusts.
        optimizers: The optimizers of the experiment.

    Returns:
        As in the config: a scheduler, a list of schedulers, a mapping from name to these, or None.

    Raises:
        InputError: A target is not a scheduler, or a custom ``LRScheduler`` is used with several optimizers.
    """
    node = values["scheduler"]
    return None if node is None else _made(node, trust, optimizers, "scheduler")


def _made(node: Any, trust: tuple[str, ...], optimizers: Sequence[torch.optim.Optimizer], path: str) -> Any:
    if isinstance(node, list):
        return [_made(part, trust, optimizers, f"{path}[{index}]") for index, part in enumerate(node)]
    if "_target_" not in node:
        return {name: _made(part, trust, optimizers, f"{path}.{name}") for name, part in node.items()}
    import torch

    node = as_description(node)
    target = locate(node["_target_"], trust, f"{path}._target_")
    extra = {}
    if inspect.isclass(target) and issubclass(target, torch.optim.lr_scheduler.LRScheduler):
        if len(optimizers) > 1:
            rule = f"drives one optimizer, and there are {len(optimizers)}"
            raise InputError(f"{path}._target_", node["_target_"], rule, "choose one of this package's schedulers")
        extra = {"optimizer": optimizers[0]}
    scheduler = instantiate(node, trust, path, **extra)
    if isinstance(scheduler, (torch.nn.Module, torch.optim.Optimizer)):
        raise InputError(f"{path}._target_", node["_target_"], "is no scheduler", "e.g. scheduler=cosine_warmup")
    return scheduler
