"""The schedulers inside the training loops of other libraries: Lightning, transformers, Accelerate, Composer."""

import pytest
import torch
from optim_helpers import rates
from torch.utils.data import DataLoader, TensorDataset

from ssr_hydra.optim import ScheduledLR
from ssr_hydra.schedulers import CosineAnnealingWithWarmupScheduler, LinearScheduler
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp

# Warnings are errors here, and other libraries warn about themselves.
pytestmark = [pytest.mark.filterwarnings("ignore")]

_SCHEDULE = CosineAnnealingWithWarmupScheduler("3ba", alpha_f=0.1)


def _expected(batches, lr=0.5):
    curve = _SCHEDULE.bind(State(f"{batches}ba"))
    return [lr * curve(Timestamp(batch=k)) for k in range(batches)]


def _data(samples=24):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(samples, 3, generator=generator), torch.randn(samples, 1, generator=generator))


class Recorder(torch.optim.SGD):
    """An optimizer that records the rate of each step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def step(self, closure=None):
        self.seen += rates(self)
        return super().step(closure)


# --- Lightning ----------------------------------------------------------------------------------------------------


def _lightning_module(max_duration):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch, index):
            return torch.nn.functional.mse_loss(self.layer(batch[0]), batch[1])

        def configure_optimizers(self):
            self.recorder = Recorder(self.parameters(), lr=0.5)
            self.schedule = ScheduledLR(self.recorder, _SCHEDULE, max_duration=max_duration)
            return {"optimizer": self.recorder, "lr_scheduler": {"scheduler": self.schedule, "interval": "step"}}

    return Module()


def _lightning_trainer(folder, **options):
    import lightning

    quiet = dict.fromkeys(["logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"], False)
    return lightning.Trainer(accelerator="cpu", default_root_dir=folder, **quiet, **options)


@pytest.mark.extra("lightning")
def test_lightning_steps_the_scheduler_every_batch_also_after_a_resume(tmp_path):
    loader = DataLoader(_data(), batch_size=4)
    module = _lightning_module("12ba")
    _lightning_trainer(tmp_path, max_epochs=2).fit(module, loader)
    assert module.recorder.seen == _expected(12)
    assert module.schedule.timestamp.batch == 12

    first, second = _lightning_module("12ba"), _lightning_module("12ba")
    trainer = _lightning_trainer(tmp_path, max_epochs=1)
    trainer.fit(first, loader)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _lightning_trainer(tmp_path, max_epochs=2).fit(second, loader, ckpt_path=tmp_path / "half.ckpt")
    assert first.recorder.seen + second.recorder.seen == _expected(12)


@pytest.mark.extra("lightning")
def test_lightning_steps_the_scheduler_once_per_accumulated_batch(tmp_path):
    module = _lightning_module("6ba")
    trainer = _lightning_trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2)
    trainer.fit(module, DataLoader(_data(), batch_size=4))
    assert module.recorder.seen == _expected(6)


# --- transformers and Accelerate --------------------------------------------------------------------------------


def _transformers_trainer(folder, max_steps, **options):
    import transformers

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, x, labels):
            return {"loss": torch.nn.functional.mse_loss(self.layer(x), labels)}

    torch.manual_seed(0)
    model = Model()
    optimizer = Recorder(model.parameters(), lr=0.5)
    scheduler = ScheduledLR(optimizer, _SCHEDULE, max_duration="12ba")
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        max_steps=max_steps,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1,
        save_steps=5,
        **options,
    )
    data = [{"x": x, "labels": y} for x, y in _data()]
    trainer = transformers.Trainer(model, arguments, train_dataset=data, optimizers=(optimizer, scheduler))
    return trainer, optimizer, scheduler


@pytest.mark.extra("transformers", "accelerate")
def test_transformers_trainer_steps_the_scheduler_also_after_a_resume(tmp_path):
    trainer, optimizer, scheduler = _transformers_trainer(tmp_path, 12, save_strategy="steps")
    trainer.train()
    assert optimizer.seen == _expected(12)
    assert scheduler.timestamp.batch == 12
    logged = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert len(logged) == 12
    assert set(logged) <= {*_expected(12), *scheduler.get_last_lr()}

    trainer, optimizer, scheduler = _transformers_trainer(tmp_path, 12, save_strategy="no")
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert optimizer.seen == _expected(12)[5:]


@pytest.mark.extra("accelerate")
def test_accelerate_prepares_the_scheduler():
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = torch.nn.Linear(3, 1)
    inner = Recorder(model.parameters(), lr=0.5)
    scheduler = ScheduledLR(inner, _SCHEDULE, max_duration="12ba")
    model, optimizer, loader, prepared = accelerator.prepare(model, inner, DataLoader(_data(), batch_size=1), scheduler)
    for x, y in loader:
        with accelerator.accumulate(model):
            accelerator.backward(torch.nn.functional.mse_loss(model(x), y))
            optimizer.step()
            prepared.step()
            optimizer.zero_grad()
    assert inner.seen == _expected(12)
    assert prepared.get_last_lr() == scheduler.get_last_lr()
    again = ScheduledLR(inner, _SCHEDULE, max_duration="12ba")
    accelerator.prepare(again).load_state_dict(prepared.state_dict())
    assert again.timestamp.batch == 12


# --- Composer -----------------------------------------------------------------------------------------------------


def test_composer_trainer_accepts_the_schedulers():
    composer = pytest.importorskip("composer")

    class Model(composer.models.ComposerModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def forward(self, batch):
            return self.layer(batch[0])

        def loss(self, outputs, batch):
            return torch.nn.functional.mse_loss(outputs, batch[1])

    model = Model()
    optimizer = Recorder(model.parameters(), lr=0.5)
    trainer = composer.Trainer(
        model=model,
        train_dataloader=DataLoader(_data(), batch_size=4),
        optimizers=optimizer,
        schedulers=LinearScheduler(),
        max_duration="4ep",
        scale_schedule_ratio=0.5,
        step_schedulers_every_batch=True,
        progress_bar=False,
        device="cpu",
    )
    trainer.fit()
    # Composer steps schedules before its clock, so the first rate occurs twice.
    assert optimizer.seen == [0.5, *(0.5 * (1 - k / 12) for k in range(11))]
