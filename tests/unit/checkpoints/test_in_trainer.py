"""The learning rates that a trainer sets after a change, for each batch, compared with closed forms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import refused
from torch.utils.data import TensorDataset

from ssr_hydra.data import make_loaders
from ssr_hydra.errors import MismatchError, RangeError
from ssr_hydra.schedulers import CosineAnnealingScheduler, CosineAnnealingWithWarmupScheduler, LinearScheduler
from ssr_hydra.settings import ResumeSettings
from ssr_hydra.trainer import Trainer

LENGTH = 5  # batches of 4 samples in an epoch of 18: the last batch is smaller


def trainer(
    run_dir: Path, max_duration: str, scheduler: Any, *, lr: float = 1e-3, batch_size: int = 4, **more: Any
) -> Trainer:
    data = TensorDataset(torch.linspace(-1, 1, 36).reshape(18, 2), torch.arange(18) % 3)
    train, _ = make_loaders(data, None, batch_size=batch_size, seed=0)
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    options = {"seed": 0, "device": "cpu", "progress": "none", "metrics": {}, "checkpoint": {"interval": None}, **more}
    return Trainer(model, train, None, optimizer, scheduler, max_duration, run_dir=run_dir, **options)


def run_with_checkpoints(*arguments: Any, at: list[int], **more: Any) -> None:
    """Train a run to its end, with checkpoints at these batches and at the end."""
    run = trainer(*arguments, checkpoint={"interval": None, "keep": 9}, **more)
    run.checkpoints_at = at
    run.fit()


def rates(run: Trainer) -> dict[int, float]:
    """Return the learning rate of each batch."""
    lrs: dict[int, float] = {}

    def note(trainer: Trainer, loss: torch.Tensor) -> None:
        lrs[trainer.state.timestamp.batches - 1] = trainer.state.optimizers[0].param_groups[0]["lr"]

    run.on("batch_end", note)
    run.fit()
    return lrs


def cosine(tau: float) -> float:
    return (1 + math.cos(math.pi * tau)) / 2


@pytest.fixture(scope="module")
def ten_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of 10 epochs, with checkpoints after epochs 2, 4, 5, 6 and 10."""
    folder = tmp_path_factory.mktemp("runs") / "ten"
    run_with_checkpoints(folder, "10ep", CosineAnnealingScheduler(), at=[LENGTH * epoch for epoch in (2, 4, 5, 6)])
    return folder


def rescaled(path: Path) -> ResumeSettings:
    return ResumeSettings(path, "rescale")


def resumed(
    ten_epochs: Path, epoch: int, folder: Path, *arguments: Any, on_change: str = "refuse", **more: Any
) -> dict[int, float]:
    path = ten_epochs / "checkpoints" / f"ba{epoch * LENGTH}"
    return rates(trainer(folder, *arguments, resume={"path": path, "on_change": on_change}, **more))


def test_finished_run_of_10_epochs_can_be_extended_to_20(ten_epochs: Path, tmp_path: Path) -> None:
    lrs = resumed(ten_epochs, 10, tmp_path, "20ep", CosineAnnealingScheduler(), on_change="extend")
    assert list(lrs) == list(range(50, 100))
    for batch, lr in lrs.items():
        assert lr == pytest.approx(1e-3 * cosine(batch / 100), rel=1e-12, abs=1e-18)


@pytest.mark.parametrize(("epoch", "epochs"), [(5, 20), (2, 4)])
def test_run_can_be_rescaled_to_a_longer_or_shorter_length(
    ten_epochs: Path, tmp_path: Path, epoch: int, epochs: int
) -> None:
    lrs = resumed(ten_epochs, epoch, tmp_path, f"{epochs}ep", CosineAnnealingScheduler(), on_change="rescale")
    first, last = epoch * LENGTH, epochs * LENGTH
    assert list(lrs) == list(range(first, last))
    for batch, lr in lrs.items():
        on_plan = first + (50 - first) * (batch - first) / (last - first)
        assert lr == pytest.approx(1e-3 * cosine(on_plan / 50), rel=1e-12)


@pytest.mark.parametrize("on_change", ["extend", "rescale"])
def test_resumed_run_may_change_the_learning_rate_and_the_schedule(
    ten_epochs: Path, tmp_path: Path, on_change: str
) -> None:
    lrs = resumed(ten_epochs, 4, tmp_path, "10ep", LinearScheduler(), lr=5e-3, on_change=on_change)
    for batch, lr in lrs.items():
        assert lr == pytest.approx(5e-3 * (1 - batch / 50), rel=1e-12)


def test_resumed_run_may_change_ssr(ten_epochs: Path, tmp_path: Path) -> None:
    for on_change in ("extend", "rescale"):
        folder = tmp_path / on_change
        lrs = resumed(ten_epochs, 4, folder, "10ep", CosineAnnealingScheduler(), ssr=0.6, on_change=on_change)
        assert list(lrs) == list(range(20, 30))
        for batch, lr in lrs.items():
            tau = batch / 30 if on_change == "extend" else (20 + 30 * (batch - 20) / 10) / 50
            assert lr == pytest.approx(1e-3 * cosine(tau), rel=1e-12)


@pytest.mark.parametrize("on_change", ["extend", "rescale"])
def test_resumed_run_may_change_the_batch_size_at_the_end_of_an_epoch(
    ten_epochs: Path, tmp_path: Path, on_change: str
) -> None:
    """18 samples are 5 batches of 4, or 9 of 2: after epoch 6, 4 epochs of 9 batches are left."""
    lrs = resumed(ten_epochs, 6, tmp_path, "10ep", CosineAnnealingScheduler(), batch_size=2, on_change=on_change)
    assert list(lrs) == list(range(30, 30 + 36))
    for batch, lr in lrs.items():
        assert lr == pytest.approx(1e-3 * cosine((6 + (batch - 30) / 9) / 10), rel=1e-12)


def test_run_can_resume_between_two_rescalings(tmp_path: Path) -> None:
    """10 epochs are planned. After epoch 2 the run resumes with 20, after epoch 6 unchanged, after epoch 11 with 14."""
    warmup = CosineAnnealingWithWarmupScheduler("15ba")  # the warmup is not complete at batch 10
    run_with_checkpoints(tmp_path / "a", "10ep", warmup, at=[10])
    resume = rescaled(tmp_path / "a/checkpoints/ba10")
    run_with_checkpoints(tmp_path / "b", "20ep", warmup, at=[30, 55], resume=resume)
    again = rates(trainer(tmp_path / "c", "20ep", warmup, resume=tmp_path / "b/checkpoints/ba30"))
    last = rates(trainer(tmp_path / "d", "14ep", warmup, resume=rescaled(tmp_path / "b/checkpoints/ba55")))

    def alpha(on_plan: float) -> float:
        return on_plan / 15 if on_plan < 15 else cosine((on_plan - 15) / 35)

    for batch, lr in again.items():
        assert lr == pytest.approx(1e-3 * alpha(10 + 40 * (batch - 10) / 90), rel=1e-12)
    for batch, lr in last.items():
        assert lr == pytest.approx(1e-3 * alpha(30 + 20 * (batch - 55) / 15), rel=1e-12)
    assert list(last) == list(range(55, 70))


def test_changed_run_without_the_option_on_change_is_refused(ten_epochs: Path, tmp_path: Path) -> None:
    for more, pattern in (
        ({"lr": 0.5}, r"optimizers\[0\]\.groups\[0\]\.lr was 0\.001 and is 0\.5"),
        ({"ssr": 0.5}, r"run\.ssr was 1\.0 and is 0\.5"),
        ({"batch_size": 2}, r"data\.batch_size was 4 and is 2"),
    ):
        with refused("resume", MismatchError, match=pattern):
            resumed(ten_epochs, 4, tmp_path, "10ep", CosineAnnealingScheduler(), **more)
    with refused("max_duration", RangeError, match="the checkpoint is at 4ep"):
        resumed(ten_epochs, 4, tmp_path, "3ep", CosineAnnealingScheduler(), on_change="extend")
    with refused("resume.on_change", RangeError):
        resumed(ten_epochs, 10, tmp_path, "20ep", CosineAnnealingScheduler(), on_change="rescale")
