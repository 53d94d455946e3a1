"""Copy (DDP) or shard (FSDP) a model that several processes train, and gather its full weights for a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ssr_hydra.data.seeded import Padding
from ssr_hydra.errors import ConflictError, MismatchError, MissingValueError
from ssr_hydra.rules import UNFUSED
from ssr_hydra.trainer.processes import Processes


def is_sharded(model: nn.Module) -> bool:
    """Return whether :func:`shard` has sharded a model's parameters over the processes."""
    # Check the class names that fully_shard sets, because this needs no import. Do not check the parameters, because
    # they are unsharded after a forward pass without a backward pass.
    return any(_is_fsdp(type(module)) for module in model.modules())


def class_name(model: nn.Module) -> str:
    """Return the name of a model's original class, even if ``fully_shard`` has replaced the class."""
    cls = type(model)
    return next(base.__qualname__ for base in cls.__mro__ if not _is_fsdp(base)) if _is_fsdp(cls) else cls.__qualname__


def _is_fsdp(cls: type) -> bool:
    return any(base.__name__ == "FSDPModule" for base in cls.__mro__)


def check_sharded(optimizers: Sequence[Optimizer]) -> None:
    """Refuse an optimizer with ``fused=True`` whose fused kernel does not support sharded parameters."""
    for index, optimizer in enumerate(optimizers):
        if type(optimizer).__name__ in UNFUSED and any(group.get("fused") for group in optimizer.param_groups):
            rule = f"must be False for a sharded model with {type(optimizer).__name__}"
            raise ConflictError(f"optimizers[{index}].fused", True, rule, "give fused=False, or parallel='ddp'")


def check_several(world_size: int) -> None:
    """Refuse ``parallel=fsdp`` if there is only one process."""
    if world_size == 1:
        rule = "needs several processes"
        raise MissingValueError("parallel", "fsdp", rule, "start with torchrun --nproc-per-node=2, or use ddp")


def shard(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """Shard a model's parameters over the processes with torch's ``fully_shard``, before its optimizer is created.

    If a child of a ``ModuleList`` or ``Sequential``, such as a transformer block, has submodules and parameters, the
    function shards this child separately. So only one such child has its full parameters in memory at a time.
    """
    check_several(processes.world_size)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (processes.world_size,))
    model.to(device)
    for module in list(model.modules()):
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and module is not model:
            for child in module:
                if len(list(child.children())) > 0 and any(True for _ in child.parameters()):
                    fully_shard(child, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def wrapped(model: nn.Module, parallel: str, processes: Processes, device: torch.device) -> nn.Module:
    """Return the module for the forward pass of training: the model, or a DDP wrapper of the model.

    Raises:
        InputError: ``parallel`` does not fit the number of processes or the model.
    """
    if processes.world_size == 1:
        if parallel == "fsdp":
            check_several(1)
        return model
    if parallel == "fsdp":
        if not is_sharded(model):
            rule = "needs a model that was sharded before its optimizer was created"
            raise MismatchError("parallel", "fsdp", rule, "call ssr_hydra.trainer.parallel.shard(model, ...) first")
        return model
    if is_sharded(model):
        raise ConflictError("parallel", parallel, "cannot be used with a sharded model", "use parallel='fsdp'")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    devices = [device] if device.type == "cuda" else None
    copied = nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
    _arrange(copied)
    return copied


class _Touch(nn.Module):
    """A temporary replacement for a model. Its backward pass gives parameters zero gradients, the last one first."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self._touched = tuple(parameters)

    def forward(self) -> torch.Tensor:
        zero = torch.zeros((), device=self._touched[0].device)
        return sum((parameter.sum() * 0 for parameter in self._touched), zero)


def _arrange(copied: nn.parallel.DistributedDataParallel) -> None:
    """Make DDP build its final gradient buckets before the first step.

    DDP rebuilds the buckets after the first backward pass. With three or more processes, the position of a gradient in
    its bucket determines the order in which DDP adds gradients. So without this function, the first step after a resume
    would differ in its last bits from the same step of an uninterrupted run.
    """
    model = copied.module
    if any(getattr(module, "sparse", False) for module in model.modules()):
        return  # _Touch gives only dense gradients
    broadcasts, copied.broadcast_buffers = copied.broadcast_buffers, False  # _Touch has no buffers
    copied.module = _Touch([parameter for parameter in model.parameters() if parameter.requires_grad])
    try:
        copied().backward()
    finally:
        copied.module, copied.broadcast_buffers = model, broadcasts
    model.zero_grad()


def in_step(loader: Iterable[Any], processes: Processes) -> Iterator[Any]:
    """Yield equally many batches in every process, because a forward pass of a sharded model needs all processes.

    A process that has no more batches yields its last batch in a :class:`~ssr_hydra.data.seeded.Padding`.
    """
    batches, batch, end = iter(loader), None, object()
    while True:
        item = next(batches, end)
        (having,) = processes.sum([item is not end], "an evaluation")
        if having == 0:
            return
        if item is not end:
            batch = item
        elif batch is None:
            rule = "must have a batch in every process, because the model is sharded"
            raise MissingValueError("eval_dataloader", type(loader).__name__, rule, "distribute the batches evenly")
        else:
            item = batch if isinstance(batch, Padding) else Padding(batch)
        yield item


def weights(model: nn.Module, optimizers: tuple[Optimizer, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the states of a model and its optimizers. If the model is sharded, every process must call this function.

    The states of a sharded model are gathered on the CPU of rank 0; other processes get None instead of each tensor.
    The gathered states equal those of an unsharded model, so a run can resume with a different number of processes.
    """
    if not is_sharded(model):
        return dict(model.state_dict()), [optimizer.state_dict() for optimizer in optimizers]
    _reshard(model)
    return _whole(dict(model.state_dict())), [_whole(optimizer.state_dict()) for optimizer in optimizers]


def load_weights(
    model: nn.Module,
    optimizers: tuple[Optimizer, ...],
    model_state: dict[str, Any] | None,
    optimizer_states: list[dict[str, Any]],
) -> None:
    """Load the states that :func:`weights` returned. If ``model_state`` is None, the model stays unchanged."""
    if is_sharded(model):
        _reshard(model)
        own = model.state_dict()
        if model_state is not None:
            model_state = {name: _shard_like(value, own.get(name)) for name, value in model_state.items()}
        optimizer_states = [
            _shards_of(state, optimizer) for state, optimizer in zip(optimizer_states, optimizers, strict=True)
        ]
    if model_state is not None:
        model.load_state_dict(model_state)
    for optimizer, state in zip(optimizers, optimizer_states, strict=True):
        optimizer.load_state_dict(state)


def _reshard(model: nn.Module) -> None:
    """Shard the parameters that a forward pass without a backward pass has left unsharded. Optimizers need shards."""
    for module in model.modules():
        if _is_fsdp(type(module)):
            module.reshard()  # type: ignore[operator]


def _whole(value: Any) -> Any:
    """Replace each sharded tensor in a value by the full tensor on rank 0, and by None on other ranks."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if not hasattr(value, "device_mesh"):
        return value
    whole = value.full_tensor()
    return whole.cpu() if value.device_mesh.get_rank() == 0 else None


def _shards_of(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's state. Shard each tensor that has the same shape as its sharded parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    like = dict(zip(numbers, parameters, strict=True))
    sharded = {
        number: {key: _shard_like(value, like.get(number)) for key, value in items.items()}
        for number, items in state["state"].items()
    }
    return {**state, "state": sharded}


def _shard_like(value: Any, like: Any) -> Any:
    if not isinstance(value, torch.Tensor) or not hasattr(like, "device_mesh") or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    # Every process already has the whole tensor, so do not send it.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
