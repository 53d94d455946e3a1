"""Measure the samples per second of this package's trainer, compared with a plain loop, on any device.

Both train a convolutional net with SGD with momentum on 3x32x32 images on the device: in fp32, in bf16, with
channels_last, and compiled. Both use the same batches and operations. The rounds are interleaved, and ratios are
medians over rounds. On a GPU the plain loop reads its loss only every 10 batches, like the trainer, so that it does not
wait in every step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from ssr_hydra.data import TensorLoader
from ssr_hydra.models import ConvNet
from ssr_hydra.schedulers import CosineAnnealingScheduler
from ssr_hydra.trainer import Trainer


class Variant(NamedTuple):
    """The options of a variant."""

    precision: str = "fp32"
    channels_last: bool = False
    compile: bool = False

    def __str__(self) -> str:
        words = [self.precision, *(name for name in ("channels_last", "compile") if getattr(self, name))]
        return " + ".join(words)


def _model(name: str, device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    if name == "conv":
        return ConvNet(in_channels=3, widths=[64, 128]).to(device)
    from ssr_hydra.models import torchvision_model

    model: nn.Module = torchvision_model(name, num_classes=10, small_images=name.startswith("resnet"))
    return model.to(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def by_hand(model: nn.Module, loader: TensorLoader, steps: int, variant: Variant) -> float:
    """Return the seconds that ``steps`` steps of a typical plain loop take."""
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    cast = torch.autocast(device.type, torch.bfloat16) if variant.precision == "bf16" else nullcontext()
    model.train()
    _wait(device)
    start = time.perf_counter()
    for number, (inputs, targets) in enumerate(loader):
        if variant.channels_last:
            inputs = inputs.to(memory_format=torch.channels_last)
        optimizer.zero_grad()
        with cast:
            loss = F.cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        scheduler.step()
        if number % 10 == 9:
            loss.item()
    _wait(device)
    return time.perf_counter() - start


def ours(model: nn.Module, loader: TensorLoader, steps: int, variant: Variant) -> float:
    """Return the seconds that the same steps take with this package's trainer, from the record of the run."""
    device = next(model.parameters()).device
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, fused=True)
    options: dict[str, Any] = {"precision": variant.precision, "step": {"channels_last": variant.channels_last}}
    trainer = Trainer(
        model,
        loader,
        None,
        optimizer,
        CosineAnnealingScheduler(),
        f"{steps}ba",
        device=device,
        progress="none",
        **options,
    )
    return trainer.fit().train_seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Print the samples per second of both loops, and the ratio of their times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="conv", help="conv, or a torchvision model such as resnet18 (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="samples per batch (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, mps (%(default)s)")
    parser.add_argument(
        "--compile", action="store_true", help="measure the compiled model too; compiling takes minutes"
    )
    arguments = parser.parse_args(argv)
    chosen = arguments.device
    if chosen == "auto":
        chosen = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(chosen)
    samples = arguments.batch * arguments.steps
    data = TensorDataset(torch.randn(samples, 3, 32, 32), torch.randint(10, (samples,)))
    variants = [Variant(), Variant("bf16"), Variant("bf16", channels_last=True), Variant(channels_last=True)]
    if arguments.compile:
        variants.append(Variant("bf16", channels_last=True, compile=True))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    print(f"{arguments.model}, batch {arguments.batch}, {name}, torch {torch.__version__}, {arguments.rounds} rounds")
    print(f"{'variant':<34}{'by hand, samples/s':>20}{'ssr_hydra':>12}{'time, ours / by hand':>23}")
    for variant in variants:
        # Both loops use one model, which is compiled once, because only the loops are compared.
        model = _model(arguments.model, device)
        if variant.channels_last:
            model.to(memory_format=torch.channels_last)
        if variant.compile:
            model.compile()
        pairs: list[tuple[float, float]] = []
        for number in range(arguments.rounds + 1):
            loaders = [TensorLoader(data, arguments.batch, device=device) for _ in range(2)]
            pair = (
                by_hand(model, loaders[0], arguments.steps, variant),
                ours(model, loaders[1], arguments.steps, variant),
            )
            if number > 0:  # the first round warms up, and compiles
                pairs.append(pair)
        hand, mine = statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"{variant!s:<34}{samples / hand:>20,.0f}{samples / mine:>12,.0f}{ratio:>23.3f}")
    return 0
