"""Functions that process_pairs.py calls by name in the processes of tests/system/test_distributed.py.

Each function creates the same trainer in every process, like a user's script, and returns plain data.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset

from ssr_hydra.data import Digits, RandomShift, TensorLoader, make_loaders, seed_everything
from ssr_hydra.errors import InputError
from ssr_hydra.models import MLP, ConvNet, next_token_loss
from ssr_hydra.schedulers import CosineAnnealingWithWarmupScheduler, LinearScheduler
from ssr_hydra.trainer import Trainer
from ssr_hydra.trainer.interrupts import TerminatedError
from ssr_hydra.trainer.parallel import shard
from ssr_hydra.trainer.processes import Processes


def rank_of() -> tuple[int, int]:
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def shares() -> dict[str, int]:
    rank, world_size = rank_of()
    return {"rank": rank, "world_size": world_size}


class Seen:
    """Records of each batch of a run: learning rate, gradients, loss, nanoseconds."""

    def __init__(self, gradients: bool = False) -> None:
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.times: list[int] = []
        self.gradients: list[list[Tensor]] = []
        self._wanted = gradients

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        self.lrs.append(float(trainer.state.optimizers[0].param_groups[0]["lr"]))
        self.losses.append(float(loss))
        self.times.append(trainer.state.timestamp.state_dict()["nanoseconds"])
        if self._wanted:
            self.gradients.append([parameter.grad.detach().clone() for parameter in trainer.model.parameters()])


class StopAt:
    """Sends this process a signal at the end of a batch."""

    def __init__(self, batch: int, number: int = signal.SIGTERM) -> None:
        self._batch, self._number = batch, number

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        if trainer.state.timestamp.batch == self._batch:
            os.kill(os.getpid(), self._number)


class Slow:
    """Makes every batch take some time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        time.sleep(self._seconds)


def ticking(trainer: Trainer, milliseconds: int) -> None:
    """Replace the clock of this process. On the new clock, only training steps take time."""
    now = 0

    def tick(model: nn.Module, _: Any) -> None:
        nonlocal now
        now += milliseconds * 10**6 if model.training else 0

    trainer.model.register_forward_pre_hook(tick)
    time.perf_counter = lambda: now / 1e9
    time.perf_counter_ns = lambda: now


def when(trainer: Trainer) -> dict[str, Any]:
    """Return the counters of a run, without times, which differ between equal runs."""
    state = trainer.state.timestamp.state_dict()
    return {key: value for key, value in state.items() if "second" not in key and "time" not in key}


def weights(trainer: Trainer) -> list[Any]:
    return [parameter.detach().numpy() for parameter in trainer.model.parameters()]


def rates(folder: Path) -> list[Any]:
    """Return the learning rates in the log of a run, with their times."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    keys = ("epoch", "batch", "sample", "token", "lr")
    return [[line[key] for key in keys] for line in lines if line["event"] == "train"]


# ---- 1: counters


class Numbers(Dataset[tuple[Tensor, int]]):
    """Samples that are read one by one, each with its own noise."""

    def __init__(self, length: int, noise: float = 0.0) -> None:
        self._length, self._noise = length, noise

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        inputs = torch.cos(torch.arange(4) * (index + 1.0))
        return inputs + self._noise * torch.randn(4), index % 3


def counts(kind: str, lengths: list[int], sizes: list[int]) -> list[Any]:
    """Return the counters of two epochs and the batch size of all processes, or the field of an error.

    If ``kind`` is ``torch``, the loader is torch's, whose sampler repeats or drops samples to divide them evenly.
    Otherwise the loader is this package's, for tensors or for single samples.
    """
    rows = []
    rank, world = rank_of()
    for length, size, drop in itertools.product(lengths, sizes, (False, True)):
        data: Any = Numbers(length)
        if kind == "tensors":
            data = torch.utils.data.TensorDataset(torch.randn(length, 4), torch.arange(length) % 3)
        try:
            if kind == "torch":
                sampler: Any = DistributedSampler(data, world, rank, drop_last=drop)
                loader: Any = DataLoader(data, size, sampler=sampler)
            else:
                loader, _ = make_loaders(data, batch_size=size, drop_last=drop, **shares())
            trainer = plain(nn.Linear(4, 3), loader, max_duration="2ep")
            trainer.fit()
        except InputError as error:
            rows.append([length, size, drop, error.field, None])
        else:
            rows.append([length, size, drop, when(trainer), trainer.state.samples_per_batch])
    return rows


def plain(model: nn.Module, loader: Any, evaluation: Any = None, **options: Any) -> Trainer:
    options = {"device": "cpu", "progress": "none", "eval_interval": None, "log_interval": None, **options}
    optimizer = options.pop("optimizer", None) or torch.optim.SGD(model.parameters(), lr=options.pop("lr", 0.05))
    return Trainer(model, loader, evaluation, optimizer, options.pop("schedule", None), **options)


# ---- 2: one process runs out early


class Few:
    """Batches whose number differs between processes, with or without a declared length."""

    def __init__(self, batches: int) -> None:
        self._batches = batches

    def __iter__(self) -> Any:
        for number in range(self._batches):
            yield torch.full((3, 4), float(number)), torch.tensor([0, 1, 2])


class Promised(Few):
    def __init__(self, batches: int, promised: int) -> None:
        super().__init__(batches)
        self._promised = promised

    def __len__(self) -> int:
        return self._promised


def run_out(kind: str) -> Any:
    rank, _ = rank_of()
    loaders = {
        "stream": lambda: Few((10, 6)[rank]),
        "other lengths": lambda: Promised((10, 6)[rank], (10, 6)[rank]),
        "fewer than promised": lambda: Promised((10, 6)[rank], 10),
        "more than promised": lambda: Promised((10, 11)[rank], 10),
        "nothing": lambda: Few((10, 0)[rank]),
    }
    try:
        trainer = plain(nn.Linear(4, 3), loaders[kind](), max_duration="2ep")
        trainer.fit()
    except InputError as error:
        return str(error)
    return when(trainer)


# ---- 3 and 7: gradients of any number of parts


class Ragged(Dataset[Mapping[str, Tensor]]):
    """Texts of very different lengths."""

    def __init__(self, samples: int = 11) -> None:
        draw = torch.Generator().manual_seed(5)
        lengths = torch.randint(2, 40, (samples,), generator=draw).tolist()
        self._texts = [torch.randint(0, 16, (length,), generator=draw) for length in lengths]

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> Mapping[str, Tensor]:
        return {"input_ids": self._texts[index]}

    @staticmethod
    def collate_fn(samples: Any) -> Any:
        texts = [sample["input_ids"] for sample in samples]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad(texts, batch_first=True),
            "attention_mask": pad([torch.ones_like(text) for text in texts], batch_first=True),
            "labels": pad(texts, batch_first=True, padding_value=-100),
        }


class Bigram(nn.Module):
    """Predicts a token from the previous token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(16, 8)
        self.head = nn.Linear(8, 16)

    def forward(self, input_ids: Tensor, **_: Any) -> Any:
        return {"logits": self.head(self.embedding(input_ids))}


def model_and_loader(ragged: bool, **shares: int) -> tuple[nn.Module, Any]:
    """Return a model, and 11 samples: texts in batches of 4, or numbers in batches of 5, 5 and 1."""
    torch.manual_seed(3)
    model = Bigram() if ragged else nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    data: Any = Ragged() if ragged else Numbers(11)
    return model, make_loaders(data, batch_size=4 if ragged else 5, seed=1, **shares)[0]


def gradients(accumulate: int, ragged: bool = False) -> Any:
    """Return the gradient of every batch of an epoch with learning rate 0, so that the weights stay the same."""
    model, loader = model_and_loader(ragged, **shares())
    recorder = Seen(gradients=True)
    trainer = plain(
        model,
        loader,
        max_duration="1ep",
        schedule=LinearScheduler(alpha_i=1e-30, alpha_f=0.0),
        callbacks=[recorder],
        lr=1.0,
        step={"accumulate": accumulate, "loss_mean_over": "tokens" if ragged else "samples"},
        loss=next_token_loss if ragged else None,
    )
    trainer.fit()
    tensors = [[gradient.numpy() for gradient in batch] for batch in recorder.gradients]
    return {"when": when(trainer), "lrs": recorder.lrs, "losses": recorder.losses, "gradients": tensors}


# ---- 4: equal runs on one process and on two processes


def whole_run(
    folder: Path | None,
    duration: str = "30ba",
    parallel: str = "ddp",
    **options: Any,
) -> Any:
    """Return the results of a run with augmentation, a smaller last batch per epoch, and test data of odd length."""
    images, labels = Digits("eval").tensors
    data = torch.utils.data.TensorDataset(images[:95].double(), labels[:95])
    options["test_dataloader"] = make_loaders(data, data, batch_size=2, eval_batch_size=19, **shares())[1]
    trainer = digits(folder, duration, parallel, **options)
    result = trainer.fit()
    return {
        "when": when(trainer),
        "weights": None if parallel == "fsdp" else weights(trainer),
        "metrics": dict(result.metrics),
        "rates": rates(folder) if folder is not None else None,
        "is_main": trainer.is_main,
    }


def digits(
    folder: Path | None,
    duration: str = "30ba",
    parallel: str = "ddp",
    dropout: bool = False,
    warmup: str = "300sp",
    **options: Any,
) -> Trainer:
    """Return a trainer in float64: of a conv net with SGD, or of a model with dropout with AdamW."""
    seed_everything(0)
    images = ((Digits(split).tensors) for split in ("train", "eval"))
    data = [torch.utils.data.TensorDataset(inputs.double(), labels) for inputs, labels in images]
    loaders = make_loaders(*data, batch_size=100, eval_batch_size=101, augment=RandomShift(1), seed=7, **shares())
    model: nn.Module = nn.Sequential(MLP(), nn.Dropout(0.3), nn.Linear(10, 10)) if dropout else ConvNet()
    model.double()
    if parallel == "fsdp":
        shard(model, Processes.start(), torch.device("cpu"))
    sgd = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    return plain(
        model,
        *loaders,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3) if dropout else sgd,
        schedule=CosineAnnealingWithWarmupScheduler(warmup),
        max_duration=duration,
        eval_interval="1ep",
        log_interval="1ba",
        run_dir=folder,
        step={"parallel": parallel},
        seed=11,
        **options,
    )


# ---- 5: a resume with a different number of processes


class Identities(Dataset[tuple[Tensor, int]]):
    """Samples that contain their own index."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.sin(torch.arange(6) * (index + 1.0)), index


def identities(
    folder: Path, stop: int | None = None, on_change: str = "refuse", parallel: str = "ddp", kind: str = "samples"
) -> Any:
    """Return the samples in each batch of this process, for three epochs of 23 samples in batches of 4."""
    seed_everything(0)
    data: Any = Identities()
    if kind == "tensors":
        inputs = torch.stack([data[index][0] for index in range(len(data))])
        data = torch.utils.data.TensorDataset(inputs, torch.arange(len(data)))
    loader, _ = make_loaders(data, batch_size=4, seed=2, **shares())
    model = nn.Linear(6, 3)
    if parallel == "fsdp":
        shard(model, Processes.start(), torch.device("cpu"))
    samples: list[list[int]] = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        samples.append(targets.tolist())
        return nn.functional.cross_entropy(outputs, targets % 3)

    callbacks: list[Any] = [Seen()] if stop is None else [Seen(), StopAt(stop)]
    try:
        trainer = plain(
            model,
            loader,
            optimizer=torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
            schedule=LinearScheduler(),
            max_duration="3ep",
            log_interval="1ba",
            run_dir=folder,
            loss=loss,
            metrics={},
            callbacks=callbacks,
            resume={"on_change": on_change},
            step={"parallel": parallel},
            seed=0,
        )
    except InputError as error:
        return str(error)
    try:
        trainer.fit()
    except TerminatedError:
        assert stop is not None
    whole = None if parallel == "fsdp" else weights(trainer)
    return {"held": samples, "when": when(trainer), "lrs": callbacks[0].lrs, "weights": whole}


# ---- 6: tokens


def many_tokens(each: int) -> Any:
    """Count more tokens than an int32 can hold, with different numbers in every process and batch."""
    rank, _ = rank_of()
    loader = TensorLoader([torch.randn(10, 4), torch.arange(10) % 3], 3, **shares())
    batches: list[int] = []

    def tokens(batch: Any) -> int:
        batches.append(each + 1000 * rank + len(batch[0]))
        return batches[-1]

    trainer = plain(nn.Linear(4, 3), loader, max_duration="1ep", counts={"get_num_tokens_in_batch": tokens})
    trainer.fit()
    return {"when": when(trainer), "sum": sum(batches), "batches": len(batches)}


# ---- streams, evaluations, metrics and errors


class Stream(IterableDataset[tuple[Tensor, int]]):
    """A stream with separate samples for each process. The processes have different numbers of samples."""

    def __iter__(self) -> Any:
        rank, world = rank_of()
        for index in range(rank, 17, world):
            yield torch.cos(torch.arange(4) * (index + 1.0)), index % 3


def stream() -> Any:
    loader, _ = make_loaders(Stream(), batch_size=5, shuffle=False, **shares())
    trainer = plain(nn.Linear(4, 3), loader, max_duration="2ep")
    trainer.fit()
    return when(trainer), trainer.state.samples_per_batch


def evaluations(sizes: list[int], double: bool) -> Any:
    """Return metrics of one model over evaluation sets and batches of many sizes."""
    torch.manual_seed(0)
    dtype = torch.float64 if double else torch.float32
    model = nn.Linear(4, 3, dtype=dtype)
    rows = []
    for length in sizes:
        inputs = torch.randn(length, 4, generator=torch.Generator().manual_seed(length), dtype=dtype)
        data = torch.utils.data.TensorDataset(inputs, torch.arange(length) % 3)
        for batch_size in (2, 3, 7, 64):
            loaders = make_loaders(data, data, batch_size=2, eval_batch_size=batch_size, **shares())
            rows.append([length, batch_size, plain(model, *loaders).evaluate()])
    return rows


class SumOfSquares:
    """Returns the squared number of class 0 among the predictions, which is not a mean over batches or processes."""

    def __init__(self) -> None:
        self.total = 0

    def reset(self) -> None:
        self.total = 0

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.total += int((outputs.argmax(1) == 0).sum())

    def compute(self) -> int:
        return self.total**2


class Mergeable(SumOfSquares):
    def merge_state(self, metrics: list[Mergeable]) -> None:
        self.total += sum(metric.total for metric in metrics)


def metric_objects(kind: str, lengths: list[int]) -> Any:
    """Return the results of two evaluations of several lengths in batches of 3, or the error of a refused metric."""
    metric: Any = {"merges": Mergeable, "alone": SumOfSquares}.get(kind, SumOfSquares)()
    if "torchmetrics" in kind:
        import torchmetrics

        options = {"task": "multiclass", "num_classes": 3, "average": "macro"}
        f1 = torchmetrics.F1Score(**options, sync_on_compute=kind != "unsynced torchmetrics")
        metric = torchmetrics.MetricCollection({"f1": f1, "auc": torchmetrics.AUROC(**options)})
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    rows = []
    for length in lengths:
        inputs = torch.randn(length, 4, generator=torch.Generator().manual_seed(length))
        data = torch.utils.data.TensorDataset(inputs, torch.arange(length) % 3)
        loaders = make_loaders(data, data, batch_size=2, eval_batch_size=3, **shares())
        try:
            trainer = plain(model, *loaders, metrics={"m": metric})
            rows.append([trainer.evaluate(), trainer.evaluate()])
        except InputError as error:
            return str(error)
    return rows


def refused(kind: str) -> Any:
    """Return the errors of trainers that several processes cannot use."""
    model: nn.Module = nn.Linear(4, 3)
    loader = TensorLoader([torch.randn(8, 4), torch.arange(8) % 3], 4, **shares())
    options: dict[str, Any] = {}
    if kind == "whole":
        options["step"] = {"parallel": "fsdp"}
    if kind == "fused":
        shard(model, Processes.start(), torch.device("cpu"))
        options |= {"step": {"parallel": "fsdp"}, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, fused=True)}
    if kind == "tokens":
        options["max_duration"] = "100tok"
    try:
        plain(model, loader, **options).fit()
    except InputError as error:
        return str(error)
    return None


STEP = ("accumulate", "clip_grad_norm", "loss_mean_over", "compile")
APART: dict[str, tuple[Any, Any]] = {
    "lr": (0.1, 0.2),
    "ssr": (1.0, 0.5),
    "max_duration": ("4ba", "6ba"),
    "seed": (0, 1),
    "precision": ("fp32", "bf16"),
    "accumulate": (1, 2),
    "clip_grad_norm": (None, 1.0),
    "loss_mean_over": ("samples", "tokens"),
    "schedule": (LinearScheduler(), LinearScheduler(alpha_f=0.5)),
    "schedules": ({}, {"weight_decay": LinearScheduler()}),
    "use_stepwise_scheduler": (None, False),
    "eval_interval": ("1ba", "2ba"),
    "log_interval": (None, "2ba"),
    "checkpoint": ({"interval": "1ba"}, {"interval": "2ba"}),
    "optimizer": (torch.optim.SGD, torch.optim.Adagrad),
    "loss": (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "metrics": ({}, {"error": nn.functional.cross_entropy}),
    "objective": ("eval/loss", "train/loss"),
    "data": (0, 1),
    "compile": (False, True),
}


def apart() -> Any:
    """Return the errors of trainers with different settings in each process, and of trainers with equal settings."""
    rank, _ = rank_of()
    errors: dict[str, Any] = {}
    for name, values in {**APART, "": (None, None)}.items():
        torch.manual_seed(0)
        model = nn.Linear(4, 3)
        order = {"shuffle": True, "seed": values[rank]} if name == "data" else {}
        loader = TensorLoader([torch.randn(8, 4), torch.arange(8) % 3], 4, **order, **shares())
        options: dict[str, Any] = {name: values[rank]} if name not in ("", "data") else {}
        if name in STEP:
            options = {"step": options}
        if name == "optimizer":
            options = {name: values[rank](model.parameters(), lr=0.1)}
        try:
            plain(model, loader, loader, **{"max_duration": "4ba", **options}).fit()
            errors[name] = None
        except InputError as error:
            errors[name] = str(error)
    return errors
