"""The model in several processes, copied or sharded, and its full weights for a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ssr_hydra.data.seeded import Padding
from ssr_hydra.errors import InputError
from ssr_hydra.rules import UNFUSED
from ssr_hydra.trainer.processes import Processes

__all__ = [
    "check_several",
    "check_sharded",
    "class_name",
    "in_step",
    "is_sharded",
    "load_weights",
    "shard",
    "weights",
    "wrapped",
]


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's parameters are sharded over the processes, by :func:`shard`."""
    # Checks the name of the class that fully_shard gives to modules, which needs no import. Checking parameters would
    # fail between a forward pass without backward and the next one, when they are whole.
    return any(_is_fsdp(type(module)) for module in model.modules())


def class_name(model: nn.Module) -> str:
    """Return the name of a model's class, even if ``fully_shard`` has replaced the class."""
    cls = type(model)
    return next(base.__qualname__ for base in cls.__mro__ if not _is_fsdp(base)) if _is_fsdp(cls) else cls.__qualname__


def _is_fsdp(cls: type) -> bool:
    return any(base.__name__ == "FSDPModule" for base in cls.__mro__)


def check_sharded(optimizers: Sequence[Optimizer]) -> None:
    """Refuse an optimizer whose fused kernel cannot step shards; only Adam's can."""
    for index, optimizer in enumerate(optimizers):
        if type(optimizer).__name__ in UNFUSED and any(group.get("fused") for group in optimizer.param_groups):
            rule = f"must be False for a sharded model with {type(optimizer).__name__}"
            raise InputError(f"optimizers[{index}].fused", True, rule, "give fused=False, or parallel='ddp'")


def check_several(world_size: int) -> None:
    """Refuse to shard a model over one process."""
    if world_size == 1:
        rule = "needs several processes"
        raise InputError("parallel", "fsdp", rule, "start with torchrun --nproc-per-node=2, or use ddp")


def shard(model: nn.Module, processes: Processes, device: torch.device) -> nn.Module:
    """Shard a model's parameters over the processes with torch's ``fully_shard``. Create optimizers afterwards.

    Repeated children (the blocks of a transformer, in a ``ModuleList`` or ``Sequential``) are sharded one by one, so
    that only one of them is whole at a time. The rest is sharded with the model itself.

    Args:
        model: The whole model, the same in every process.
        processes: The processes.
        device: The device of training.

    Raises:
        InputError: There is only one process.
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
    """Return what training calls as the model: the model itself in one process or if sharded, else a DDP wrapper.

    Raises:
        InputError: The model is whole for ``fsdp``, so its optimizer would have parameters that no longer exist; or it
            is sharded for ``ddp``.
    """
    if processes.world_size == 1:
        if parallel == "fsdp":
            shard(model, processes, device)  # its error says why not
        return model
    if parallel == "fsdp":
        if not is_sharded(model):
            rule = "needs a model that was sharded before its optimizer was created"
            raise InputError("parallel", "fsdp", rule, "call ssr_hydra.trainer.parallel.shard(model, ...) first")
        return model
    if is_sharded(model):
        raise InputError("parallel", parallel, "cannot be used with a sharded model", "use parallel='fsdp'")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    devices = [device] if device.type == "cuda" else None
    copied = nn.parallel.DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)
    _arrange(copied)
    return copied


class _Touch(nn.Module):
    """A replacement for a model: every parameter gets a gradient of zero, the last one first."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self._touched = tuple(parameters)

    def forward(self) -> torch.Tensor:
        total = torch.zeros((), device=self._touched[0].device)
        for parameter in self._touched:
            total = total + parameter.sum() * 0
        return total


def _arrange(copied: nn.parallel.DistributedDataParallel) -> None:
    """Let DDP build its buckets before the first step.

    DDP rebuilds them after the first backward pass, in the order in which gradients arrived. With three or more
    processes, the order of additions depends on a number's place in its bucket. So the first step after a resume would
    differ in its last bits from the same step of an uninterrupted run.
    """
    model = copied.module
    if any(getattr(module, "sparse", False) for module in model.modules()):  # their gradients are not sums like these
        return
    broadcasts, copied.broadcast_buffers = copied.broadcast_buffers, False  # the replacement has none
    copied.module = _Touch([parameter for parameter in model.parameters() if parameter.requires_grad])
    try:
        copied().backward()
    finally:
        copied.module, copied.broadcast_buffers = model, broadcasts
    model.zero_grad()


def in_step(loader: Iterable[Any], processes: Processes) -> Iterator[Any]:
    """A loader's batches, equally many in every process, because all processes compute a sharded model together.

    A process that has no more batches repeats its last one, as padding.

    Raises:
        InputError: A process has no batch.
    """
    batches, batch, end = iter(loader), None, object()
    while True:
        found = next(batches, end)
        (having,) = processes.sum([found is not end], "an evaluation")
        if having == 0:
            return
        if found is not end:
            batch = found
        elif batch is None:
            rule = "must have a batch in every process, because the model is sharded"
            raise InputError("eval_dataloader", type(loader).__name__, rule, "distribute the batches evenly")
        else:
            found = batch if isinstance(batch, Padding) else Padding(batch)
        yield found


def weights(model: nn.Module, optimizers: tuple[Optimizer, ...]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the state of a model and its optimizers. A sharded one is gathered, and every process must take part.

    The states are those of the same model in one process, so a run can resume with another number of processes. Only
    rank 0 keeps the gathered state, on the CPU.
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
    """Load the state of :func:`weights`. Every process has read it, and takes its shards.

    A model whose state is None does not change.
    """
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
    """Reshard parameters that a forward pass without backward has left whole; optimizers hold the shards."""
    for module in model.modules():
        if _is_fsdp(type(module)):
            module.reshard()  # type: ignore[operator]


def _whole(value: Any) -> Any:
    """Gather every shard in a value."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if not hasattr(value, "device_mesh"):
        return value
    whole = value.full_tensor()
    return whole.cpu() if value.device_mesh.get_rank() == 0 else None


def _shards_of(state: dict[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return an optimizer's state in which tensors with a parameter's shape are sharded like the parameter."""
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

    # Every process has the whole tensor, so nothing is sent.
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
