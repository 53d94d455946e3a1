"""The schedulers of an experiment, made from its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssr_hydra.build.check import are_named, scheduler_parts
from ssr_hydra.build.targets import TORCH_SCHEDULERS, instantiate
from ssr_hydra.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = ["make_schedulers"]


def make_schedulers(
    values: Mapping[str, Any], trust: tuple[str, ...], optimizers: Sequence[torch.optim.Optimizer]
) -> Any:
    """The scheduler, or the list of them, or the mapping of names to them; torch's own want their optimizer."""
    node = values["scheduler"]
    if node is None:
        return None
    import torch

    made: dict[str, Any] = {}
    for path, part in scheduler_parts(node):
        extra = {"optimizer": optimizers[0]} if part["_target_"] in TORCH_SCHEDULERS else {}
        scheduler = instantiate(part, trust, path, **extra)
        if isinstance(scheduler, (torch.nn.Module, torch.optim.Optimizer)):
            raise InputError(f"{path}._target_", part["_target_"], "is no scheduler", "e.g. scheduler=cosine_warmup")
        made[path] = scheduler
    if are_named(node):
        return {name: _gather(part, f"scheduler.{name}", made) for name, part in node.items()}
    return _gather(node, "scheduler", made)


def _gather(node: Any, path: str, made: Mapping[str, Any]) -> Any:
    return [made[f"{path}[{index}]"] for index in range(len(node))] if isinstance(node, list) else made[path]
