"""The learning rates that a trainer sets after a change, for each batch, compared with closed forms."""

import math

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


def trainer(run_dir, max_duration, scheduler, *, lr=1e-3, batch_size=4, **more):
    data = TensorDataset(torch.linspace(-1, 1, 36).reshape(18, 2), torch.arange(18) % 3)
    train, _ = make_loaders(data, None, batch_size=batch_size, seed=0)
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    options = {"seed": 0, "device": "cpu", "progress": "none", "metrics": {}, "checkpoint": {"interval": None}, **more}
    return Trainer(model, train, None, optimizer, scheduler, max_duration, run_dir=run_dir, **options)


def run_with_checkpoints(*arguments, at, **more):
    """Train a run to its end, with checkpoints at these batches and at the end."""
    run = trainer(*arguments, checkpoint={"interval": None, "keep": 9}, **more)
    run.checkpoints_at = at
    run.fit()


def rates(run):
    """Return the learning rate of each batch."""
    lrs = {}

    def note(trainer, loss):
        lrs[trainer.state.timestamp.batches - 1] = trainer.state.optimizers[0].param_groups[0]["lr"]

    run.on("batch_end", note)
    run.fit()
    return lrs


def cosine(tau):
    return (1 + math.cos(math.pi * tau)) / 2


@pytest.fixture(scope="module")
def ten_epochs(tmp_path_factory):
    """A finished run of 10 epochs, with checkpoints after epochs 2, 4, 5, 6 and 10."""
    folder = tmp_path_factory.mktemp("runs") / "ten"
    run_with_checkpoints(folder, "10ep", CosineAnnealingScheduler(), at=[LENGTH * epoch for epoch in (2, 4, 5, 6)])
    return folder


def resumed(ten_epochs, epoch, folder, on_change, max_duration="10ep", **more):
    resume = {"path": ten_epochs / "checkpoints" / f"ba{epoch * LENGTH}", "on_change": on_change}
    scheduler = more.pop("scheduler", CosineAnnealingScheduler())
    return rates(trainer(folder, max_duration, scheduler, resume=resume, **more))


CHANGES = [
    # The epoch of the checkpoint, the changes, the batches, and the learning rate of a batch with a peak of 1.
    (10, "extend", {"max_duration": "20ep"}, range(50, 100), lambda k: cosine(k / 100)),
    (5, "rescale", {"max_duration": "20ep"}, range(25, 100), lambda k: cosine((25 + 25 * (k - 25) / 75) / 50)),
    (2, "rescale", {"max_duration": "4ep"}, range(10, 20), lambda k: cosine((10 + 40 * (k - 10) / 10) / 50)),
    (4, "extend", {"scheduler": LinearScheduler(), "lr": 5e-3}, range(20, 50), lambda k: 5 * (1 - k / 50)),
    (4, "rescale", {"scheduler": LinearScheduler(), "lr": 5e-3}, range(20, 50), lambda k: 5 * (1 - k / 50)),
    (4, "extend", {"ssr": 0.6}, range(20, 30), lambda k: cosine(k / 30)),
    (4, "rescale", {"ssr": 0.6}, range(20, 30), lambda k: cosine((20 + 30 * (k - 20) / 10) / 50)),
    # 18 samples are 5 batches of 4, or 9 of 2: after epoch 6, 4 epochs of 9 batches are left.
    (6, "extend", {"batch_size": 2}, range(30, 66), lambda k: cosine((6 + (k - 30) / 9) / 10)),
    (6, "rescale", {"batch_size": 2}, range(30, 66), lambda k: cosine((6 + (k - 30) / 9) / 10)),
]


@pytest.mark.parametrize(("epoch", "on_change", "change", "batches", "alpha"), CHANGES)
def test_learning_rates_after_a_change_equal_the_documented_formulas(
    ten_epochs, tmp_path, epoch, on_change, change, batches, alpha
):
    lrs = resumed(ten_epochs, epoch, tmp_path, on_change, **change)
    assert list(lrs) == list(batches)
    for batch, lr in lrs.items():
        assert lr == pytest.approx(1e-3 * alpha(batch), rel=1e-12, abs=1e-18)


def test_run_can_resume_between_two_rescalings(tmp_path):
    """10 epochs are planned. After epoch 2 the run resumes with 20, after epoch 6 unchanged, after epoch 11 with 14."""
    warmup = CosineAnnealingWithWarmupScheduler("15ba")  # the warmup is not complete at batch 10
    run_with_checkpoints(tmp_path / "a", "10ep", warmup, at=[10])
    resume = ResumeSettings(tmp_path / "a/checkpoints/ba10", "rescale")
    run_with_checkpoints(tmp_path / "b", "20ep", warmup, at=[30, 55], resume=resume)
    again = rates(trainer(tmp_path / "c", "20ep", warmup, resume=tmp_path / "b/checkpoints/ba30"))
    resume = ResumeSettings(tmp_path / "b/checkpoints/ba55", "rescale")
    last = rates(trainer(tmp_path / "d", "14ep", warmup, resume=resume))

    def alpha(on_plan):
        return on_plan / 15 if on_plan < 15 else cosine((on_plan - 15) / 35)

    for batch, lr in again.items():
        assert lr == pytest.approx(1e-3 * alpha(10 + 40 * (batch - 10) / 90), rel=1e-12)
    for batch, lr in last.items():
        assert lr == pytest.approx(1e-3 * alpha(30 + 20 * (batch - 55) / 15), rel=1e-12)
    assert list(last) == list(range(55, 70))


REFUSALS = [
    (4, "refuse", {"lr": 0.5}, "resume", MismatchError, r"optimizers\[0\]\.groups\[0\]\.lr was 0\.001 and is 0\.5"),
    (4, "refuse", {"ssr": 0.5}, "resume", MismatchError, r"run\.ssr was 1\.0 and is 0\.5"),
    (4, "refuse", {"batch_size": 2}, "resume", MismatchError, r"data\.batch_size was 4 and is 2"),
    (4, "extend", {"max_duration": "3ep"}, "max_duration", RangeError, "the checkpoint is at 4ep"),
    (10, "rescale", {"max_duration": "20ep"}, "resume.on_change", RangeError, "nothing left to rescale"),
]


@pytest.mark.parametrize(("epoch", "on_change", "change", "field", "kind", "match"), REFUSALS)
def test_change_that_on_change_does_not_allow_is_refused(
    ten_epochs, tmp_path, epoch, on_change, change, field, kind, match
):
    with refused(field, kind, match):
        resumed(ten_epochs, epoch, tmp_path, on_change, **change)
