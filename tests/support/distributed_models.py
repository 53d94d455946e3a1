"""Functions that train sharded, clipped or compiled models in several processes. process_pairs.py calls them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from distributed_cases import Seen, StopAt, plain, rank_of, shares, weights
from torch import Tensor, nn

from ssr_hydra.data import TensorLoader, make_loaders, seed_everything
from ssr_hydra.errors import InputError
from ssr_hydra.trainer.interrupts import TerminatedError
from ssr_hydra.trainer.parallel import shard
from ssr_hydra.trainer.processes import Processes


def sharded_evaluation() -> Any:
    """Evaluate a sharded model on lists of 3 batches in rank 0 and 2 batches in rank 1."""
    rank, _ = rank_of()
    torch.manual_seed(0)
    model = shard(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), Processes.start(), torch.device("cpu"))
    batches = [(torch.full((2, 4), float(i)), torch.tensor([i % 3, 1])) for i in range(5)]
    return plain(model, batches[:2], batches[:3] if rank == 0 else batches[3:], step={"parallel": "fsdp"}).evaluate()


def clipped(parallel: str, norm: float | None, value: float | None) -> Any:
    """Take one step of SGD with lr 1, which moves the weights by the clipped gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    if parallel == "fsdp":
        shard(model, Processes.start(), torch.device("cpu"))
    loader = TensorLoader([3 * torch.randn(9, 4), torch.arange(9) % 3], 9, shuffle=False, **shares())
    trainer = plain(
        model,
        loader,
        lr=1.0,
        max_duration="1ba",
        step={"clip_grad_norm": norm, "clip_grad_value": value, "parallel": parallel},
    )
    trainer.fit()
    after = [getattr(p, "full_tensor", lambda p=p: p)().detach() for p in model.parameters()]
    return [(a - b).numpy() for a, b in zip(before, after, strict=True)]


def batch_norm(length: int) -> Any:
    """Return running statistics after an epoch, before and after the processes synchronize them."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    data = torch.utils.data.TensorDataset(torch.randn(length, 4), torch.arange(length) % 3)
    trainer = plain(model, *make_loaders(data, data, batch_size=8, **shares()), max_duration="1ep")
    before = model[1].running_mean.clone()
    result = trainer.fit()
    return before.tolist(), model[1].running_mean.tolist(), weights(trainer), dict(result.metrics)


class Blocks(nn.Module):
    """A stack of blocks, like a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 5)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(2)])
        self.head = nn.Linear(5, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.stem(inputs)
        for block in self.blocks:
            outputs = block(outputs)
        logits: Tensor = self.head(outputs)
        return logits


def sharded_state() -> Any:
    from ssr_hydra.trainer.parallel import class_name, is_sharded, load_weights, weights

    processes = Processes.start()

    def made(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = Blocks()
        if processes.world_size > 1:
            shard(model, processes, torch.device("cpu"))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        model(torch.ones(2, 4)).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            model(torch.ones(2, 4))  # the forward pass leaves parameters unsharded
        return model, optimizer

    def flat(model_state: Any, optimizer_states: Any) -> dict[str, Any]:
        items = {**model_state}
        for number, entry in optimizer_states[0]["state"].items():
            items |= {f"{number}.{key}": value for key, value in entry.items()}
        return items

    model, optimizer = made(0)
    state = weights(model, (optimizer,))
    everywhere = processes.from_main(state)
    other, theirs = made(1)
    load_weights(other, (theirs,), *everywhere)
    again, first = flat(*weights(other, (theirs,))), flat(*state)
    tensors = [
        None if value is None else value.flatten().tolist() for name, value in first.items() if "step" not in name
    ]
    return {
        "names": list(first),
        "tensors": tensors,
        "class": class_name(model),
        "sharded": is_sharded(model),
        "blocks": sum(type(module).__name__.startswith("FSDP") for module in model.modules()),
        "again": all(first[name] is None or torch.equal(first[name], again[name]) for name in first),
    }


def steps_of(batches: list[int]) -> Any:
    from ssr_hydra.data.seeded import Padding
    from ssr_hydra.trainer.parallel import in_step

    rank, _ = rank_of()
    try:
        return [
            f"padding {batch.batch}" if isinstance(batch, Padding) else str(batch)
            for batch in in_step(range(batches[rank]), Processes.start())
        ]
    except InputError as error:
        return [error.field]


def wide(folder: Path, stop: int | None = None, parallel: str = "ddp") -> Any:
    """Train a model of several buckets for fourteen batches that three processes cannot divide evenly."""
    import hashlib

    seed_everything(0)
    layers = [nn.Linear(64, 600), nn.ReLU(), nn.Linear(600, 600), nn.ReLU(), nn.Linear(600, 10)]
    model = nn.Sequential(*layers)
    if parallel == "fsdp":
        shard(model, Processes.start(), torch.device("cpu"))
    loader = TensorLoader([torch.randn(90, 64), torch.arange(90) % 10], 13, seed=1, **shares())
    callbacks: list[Any] = [Seen()] if stop is None else [Seen(), StopAt(stop)]
    trainer = plain(
        model,
        loader,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        max_duration="14ba",
        callbacks=callbacks,
        run_dir=folder,
        step={"parallel": parallel},
        seed=0,
    )
    began = int(trainer.state.timestamp.batch.value)
    try:
        trainer.fit()
    except TerminatedError:
        return None
    digest = hashlib.sha256()
    for parameter in model.parameters():
        digest.update(getattr(parameter, "full_tensor", lambda p=parameter: p)().detach().numpy().tobytes())
    return {"digest": digest.hexdigest(), "began": began, "losses": callbacks[0].losses}


def compiled(compile: bool) -> Any:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    loader = TensorLoader([torch.randn(16, 4), torch.arange(16) % 3], 8, **shares())
    trainer = plain(model, loader, max_duration="3ep", step={"compile": compile})
    trainer.fit()
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).tolist()
