"""The optimizers of an experiment, made from its config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ssr_hydra.build.targets import instantiate

if TYPE_CHECKING:
    import torch

__all__ = ["make_optimizers"]


def make_optimizers(
    values: Mapping[str, Any], trust: tuple[str, ...], model: torch.nn.Module, device: torch.device
) -> list[torch.optim.Optimizer]:
    """The optimizers of a checked experiment, over the parameters of its model."""
    node = _fused(values["optimizer"], model, device)
    return [instantiate(node, trust, "optimizer", params=model.parameters())]


# Where fused kernels exist: several times faster than the default on small tensors, and on the CPU too.
_FUSED_ON = {
    "torch.optim.SGD": ("cpu", "cuda", "mps"),
    "torch.optim.Adam": ("cpu", "cuda", "mps"),
    "torch.optim.AdamW": ("cpu", "cuda", "mps"),
    "torch.optim.Adagrad": ("cpu",),
}


def _fused(node: Mapping[str, Any], model: torch.nn.Module, device: torch.device) -> Mapping[str, Any]:
    """Choose the fused implementation where neither it nor ``foreach`` was chosen or declined.

    Its bits differ from the default's, so whoever compares with a loop that does not use it says
    ``optimizer.fused=false``.
    """
    chosen = any(node.get(key) not in (None, False) for key in ("foreach", "differentiable", "capturable"))
    if node.get("fused") is not None or node.get("foreach") is not None or chosen:
        return node
    parameters = list(model.parameters())
    possible = device.type in _FUSED_ON.get(node["_target_"], ()) and all(p.is_floating_point() for p in parameters)
    return {**node, "fused": True} if possible else node
