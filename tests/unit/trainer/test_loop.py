from fractions import Fraction

import pytest
import torch
from refusals import refused
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import MismatchError, MissingRateError, MissingValueError
from ssr_hydra.schedulers import LinearScheduler, LinearWithWarmupScheduler, step_scheduler
from ssr_hydra.trainer import DivergedError, Trainer

LR = 0.5


class Recorded:
    """A trainer whose optimizer records its learning rate and its timestamp at every step."""

    def __init__(self, loader, schedulers=None, max_duration="1ep", **options):
        torch.manual_seed(0)
        self.model = options.pop("model", None) or nn.Linear(4, 3)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR)
        self.lrs = []
        self.timestamps = []
        options = {"device": "cpu", "progress": "none", **options}
        self.trainer = Trainer(
            self.model, loader, options.pop("eval", None), self.optimizer, schedulers, max_duration, **options
        )
        self.optimizer.register_step_pre_hook(self._note)

    def _note(self, optimizer, *_):
        self.lrs.append(optimizer.param_groups[0]["lr"])
        self.timestamps.append(self.trainer.state.timestamp)

    def run(self):
        self.result = self.trainer.fit()
        return self


def data(samples=14):
    generator = torch.Generator().manual_seed(0)
    return TensorDataset(torch.randn(samples, 4, generator=generator), torch.arange(samples) % 3)


def loader(batches=7, batch_size=2, samples=None):
    return TensorLoader(data(batches * batch_size if samples is None else samples), batch_size)


class Unsized:
    """A loader without a length that can be read repeatedly."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        yield from loader(self.batches)


class Lying(Unsized):
    def __init__(self, batches, promised):
        super().__init__(batches)
        self.promised = promised

    def __len__(self):
        return self.promised


# ---- the learning rate of batch k is alpha at timestamp k


def test_linear_schedule_has_the_right_rates_over_eight_batches():
    run = Recorded(loader(8), LinearScheduler()).run()
    assert run.lrs == [LR * alpha for alpha in (1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125)]
    assert run.optimizer.param_groups[0]["lr"] == 0.0  # the rate that a ninth batch would have


@pytest.mark.parametrize(("ssr", "steps"), [(1.3, 10), (1 / 7, 1), (0.3, 3), ("3/7", 3)])
def test_the_run_ends_at_the_first_boundary_at_or_after_its_scaled_length(ssr, steps):
    ratio = Fraction(ssr) if isinstance(ssr, str) else ssr
    run = Recorded(loader(7), LinearScheduler(), "1ep", ssr=ratio).run()
    assert run.result.steps == steps == len(run.lrs)
    length = 7 * Fraction(str(ratio))
    assert run.lrs == pytest.approx([float(LR * (1 - k / length)) for k in range(steps)], rel=1e-12)


def test_documented_functions_and_classes_work_in_training():
    def ten_epoch_decay_scheduler(state):
        if state.timestamp.epoch < 10:
            return 1.0
        return 0.5

    class VariableEpochDecayScheduler:
        def __init__(self, num_epochs):
            self.num_epochs = num_epochs

        def __call__(self, state):
            if state.time.epoch < self.num_epochs:
                return 1.0
            return 0.5

    expected = [LR] * 20 + [LR / 2] * 4
    assert Recorded(loader(2), [ten_epoch_decay_scheduler], "12ep").run().lrs == expected
    assert Recorded(loader(2), VariableEpochDecayScheduler(10), "12ep").run().lrs == expected
    # For a loader without a length, complete epochs are counted too.
    assert Recorded(Unsized(2), [ten_epoch_decay_scheduler], "12ep").run().lrs == expected

    steps = lambda state: step_scheduler(state, step_size=["5ep", "25ep"])  # noqa: E731
    run = Recorded(loader(1), steps, "30ep").run()
    assert run.lrs == pytest.approx([LR] * 5 + [LR / 10] * 20 + [LR / 100] * 5)


# ---- counters


def test_counters_are_exact():
    run = Recorded(loader(batch_size=4, samples=10), None, "2ep").run()
    assert [(t.batch.value, t.sample.value, t.epoch.value, t.batch_in_epoch.value) for t in run.timestamps] == [
        (0, 0, 0, 0),
        (1, 4, 0, 1),
        (2, 8, 0, 2),
        (3, 10, 1, 0),
        (4, 14, 1, 1),
        (5, 18, 1, 2),
    ]
    assert (run.result.steps, run.result.samples, run.result.tokens) == (6, 20, 0)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 3)

    def forward(self, ids):
        return self.embedding(ids).mean(1)


@pytest.mark.parametrize(
    ("length", "ssr", "steps"),
    [
        ("5ba", 1, 5),
        ("5ba", 0.5, 3),
        ("9sp", 1, 5),
        ("20sp", 0.5, 5),
        ("33tok", 1, 4),
        ("3ep", 1, 9),
        ("1.5ep", 1, 5),
        ("3iter", 1, 6),
        ("2iter", 2, 8),
    ],
)
def test_length_of_a_run_may_have_any_unit(length, ssr, steps):
    ids = TensorLoader([torch.arange(30).reshape(6, 5) % 10, torch.arange(6) % 3], 2)  # 3 batches, 10 tokens each
    run = Recorded(ids, LinearScheduler(), length, ssr=ssr, model=Bag(), counts={"iteration_length": "2ba"}).run()
    assert run.result.steps == steps
    assert run.result.tokens == 10 * steps
    assert run.lrs[0] == LR
    assert run.lrs == sorted(run.lrs, reverse=True)


def test_samples_and_batches_can_be_mixed_if_the_loader_has_a_batch_size():
    run = Recorded(loader(8), LinearWithWarmupScheduler("4sp", alpha_f=1.0), "16sp").run()
    assert run.lrs == [0.0, LR / 2, *[LR] * 6]
    tokens = TensorLoader([torch.zeros(8, 5, dtype=torch.int64), torch.zeros(8, dtype=torch.int64)], 2)
    warmup = LinearWithWarmupScheduler("20tok", alpha_f=1.0)
    with refused("t_warmup", MissingRateError):
        Recorded(tokens, warmup, model=Bag())
    assert Recorded(tokens, warmup, model=Bag(), counts={"tokens_per_batch": 10}).run().lrs == [0.0, LR / 2, LR, LR]


def test_loader_without_a_length_supports_whole_epochs_and_batches():
    run = Recorded(Unsized(3), None, "2ep", eval=loader(2)).run()
    assert run.result.steps == 6
    assert [e["timestamp"]["epoch"] for e in run.result.evaluations] == [1, 2]
    assert Recorded(Unsized(3), LinearScheduler(), "4ba").run().lrs == [LR, LR * 0.75, LR * 0.5, LR * 0.25]
    with refused("max_duration", MissingRateError, match="len\\(train_dataloader\\)"):
        Recorded(Unsized(3), None, "1ep", ssr=0.5)


def test_exhausted_iterator_is_an_error_and_not_an_endless_loop():
    run = Recorded(iter(loader(3)), None, "2ep")
    with refused("train_dataloader", MissingValueError, match="had none in epoch 1"):
        run.run()
    assert Recorded(iter(loader(3)), None, "3ba").run().result.steps == 3


@pytest.mark.parametrize(("batches", "promised", "words"), [(3, 4, r"fewer \(3\)"), (4, 3, "more")])
def test_loader_with_a_wrong_length_is_detected(batches, promised, words):
    with refused("train_dataloader", MismatchError, match=words):
        Recorded(Lying(batches, promised), None, "2ep").run()


def test_loader_and_sampler_get_the_number_of_every_epoch():
    calls = []

    class Sampler(torch.utils.data.SequentialSampler):
        def set_epoch(self, epoch):
            calls.append(("sampler", epoch))

    class Batches(torch.utils.data.BatchSampler):
        def set_epoch(self, epoch):
            calls.append(("batches", epoch))

    Recorded(DataLoader(data(), 7, sampler=Sampler(data())), None, "2ep").run()
    Recorded(DataLoader(data(), batch_sampler=Batches(Sampler(data()), 7, False)), None, "1ep").run()
    assert calls == [("sampler", 0), ("sampler", 1), ("batches", 0)]


# ---- evaluation


@pytest.mark.parametrize(
    ("interval", "at"),
    [
        ("1ep", [4, 8, 10]),
        ("0.5ep", [2, 4, 6, 8, 10]),
        ("3ba", [3, 6, 9, 10]),
        ("5ba", [5, 10]),
        ("0.3dur", [3, 6, 9, 10]),
        ("7sp", [4, 7, 10]),
        (None, [10]),
        ("99ep", [10]),
    ],
)
def test_evaluations_run_at_their_interval_and_once_at_the_end(interval, at):
    run = Recorded(loader(4), None, "10ba", eval=loader(2), eval_interval=interval).run()
    assert [e["timestamp"]["batch"] for e in run.result.evaluations] == at
    assert run.result.metrics == run.result.evaluations[-1]["metrics"]
    assert set(run.result.metrics) == {"eval/accuracy", "eval/loss", "train/loss"}


def dropout_net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))


def test_evaluation_does_not_change_training():
    plain = Recorded(loader(4), None, "10ba", model=dropout_net(), seed=0).run()
    # A DataLoader draws from the global random numbers when it is iterated, shuffled or not.
    evaluation = DataLoader(data(), 3, shuffle=True)
    often = Recorded(loader(4), None, "10ba", model=dropout_net(), seed=0, eval=evaluation, eval_interval="1ba").run()
    assert len(often.result.evaluations) == 10
    for a, b in zip(plain.model.parameters(), often.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_loss_of_an_evaluation_is_the_mean_since_the_last_evaluation():
    def loss(outputs, targets):
        return outputs.sum() * 0 + float(next(values))

    values = iter(range(100))
    run = Recorded(loader(2), None, "2ep", loss=loss, eval=None, eval_interval="1ep").run()
    assert run.result.metrics["train/loss"] == 2.5


# ---- errors


def test_a_loss_that_is_not_finite_stops_the_run_before_the_weights_change():
    calls = iter(range(100))

    def loss(outputs, targets):
        return outputs.sum() * (float("nan") if next(calls) == 5 else 1.0)

    run = Recorded(loader(4), None, "2ep", loss=loss)
    with pytest.raises(DivergedError, match="train/loss is nan at batch 5"):
        run.run()
    assert run.trainer.state.timestamp.batch == 5
    assert all(parameter.isfinite().all() for parameter in run.model.parameters())


def test_evaluation_detects_weights_that_become_nan_in_the_last_step():
    run = Recorded(loader(4), None, "4ba", eval=loader(2))

    def spoil(*_):
        if run.trainer.state.timestamp.batch == 3:
            nn.init.constant_(next(run.model.parameters()), float("nan"))

    run.optimizer.register_step_post_hook(spoil)
    with pytest.raises(DivergedError, match="eval/loss is nan at batch 4"):
        run.run()


def test_model_in_evaluation_mode_is_set_to_training_mode():
    model = dropout_net().eval()
    run = Recorded(loader(2), None, model=model, seed=0).run()
    assert all(module.training for module in run.model.modules())


def test_every_optimizer_updates_its_parameters():
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3))
    optimizers = [torch.optim.SGD(part.parameters(), lr=lr) for part, lr in zip(model, (0.1, 0.2), strict=True)]
    before = [parameter.clone() for parameter in model.parameters()]
    Trainer(model, loader(3), None, optimizers, LinearScheduler(), "2ba", device="cpu", progress="none", ssr=0.5).fit()
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert [optimizer.param_groups[0]["lr"] for optimizer in optimizers] == [0.0, 0.0]
