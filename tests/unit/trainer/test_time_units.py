"""Runs measured in tokens, samples, seconds and iterations: counters, ends, and learning rates in closed form.

The tests compute the learning rate of a batch from the counters in the record of the previous batch. Tests with the
real clock compare recorded times, and expect no duration.
"""

import itertools
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ssr_hydra.app.train import train
from ssr_hydra.data import StdlibDocuments, TensorLoader, make_loaders
from ssr_hydra.errors import MissingValueError
from ssr_hydra.models import ByteMLP, bits_per_byte
from ssr_hydra.schedulers import LinearScheduler, LinearWithWarmupScheduler, StepScheduler
from ssr_hydra.trainer import RunResult, Trainer

QUICK = ("trainer.progress=none", "trainer.device=cpu", "trainer.log_interval=1ba")
SMALL_MLP = ("model.width=4", "model.hidden=8")


pytestmark = pytest.mark.usefixtures("keep_threads")


@pytest.fixture
def app(in_tmp, composed):
    """Compose an experiment and run it in the folder ``run``."""
    return lambda *overrides: train(composed(*overrides, *QUICK), run_dir="run")


def records(folder=Path("run")):
    """The records of ``metrics.jsonl``, and the result."""
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], RunResult.load(folder)


def batches(folder=Path("run")):
    """The records of training, one for each batch."""
    rows = [record for record in records(folder)[0] if record["event"] == "train"]
    assert [record["batch"] for record in rows] == list(range(1, len(rows) + 1))
    return rows


def before(values):
    """The counters before each batch, computed from those after it."""
    return [0, *values[:-1]]


def linear_warmup(time, length, warmup):
    """Return a multiplier that rises from 0 to 1 at ``warmup``, and falls to 0 at ``length``."""
    return time / warmup if time < warmup else (length - time) / (length - warmup)


def exact(expected):
    return pytest.approx(expected, rel=1e-9, abs=1e-15)


# ---- tokens


def test_run_in_tokens_counts_the_tokens_of_ragged_batches(app):
    settings = ("max_duration=8000tok", "ssr=0.5", "trainer.eval_interval=1000tok", "data.eval.limit=4", "seed=3")
    app("experiment=byte_lm_ragged", *settings, *SMALL_MLP)
    rows, length = batches(), 4000
    # The tokens of each batch, counted from the masks of an equal loader without a trainer.
    loader, _ = make_loaders(StdlibDocuments("train", max_length=128), batch_size=4, seed=3)
    masks = [int(batch["attention_mask"].sum()) for batch in itertools.islice(loader, len(rows))]
    assert len(set(masks)) > len(masks) / 2
    tokens = list(itertools.accumulate(masks))
    assert [record["token"] for record in rows] == tokens
    assert tokens[-2] < length <= tokens[-1]
    assert [r["lr"] for r in rows] == exact([1e-2 * linear_warmup(t, length, 0.05 * length) for t in before(tokens)])
    result = records()[1]
    assert (result.tokens, result.steps) == (tokens[-1], len(rows))
    assert result.metrics["eval/bits_per_byte"] == pytest.approx(result.metrics["eval/loss"] / 0.6931471805599453)
    # An interval is due at the first boundary at or after each of its multiples.
    expected = [next(t for t in tokens if t >= multiple) for multiple in (1000, 2000, 3000, 4000)]
    assert [e["timestamp"]["token"] for e in records()[1].evaluations] == sorted(set(expected))


def ragged(documents, batch_size):
    """Batches of documents of these lengths."""
    generator = torch.Generator().manual_seed(0)
    samples = [{"input_ids": torch.randint(256, (size,), generator=generator)} for size in documents]
    return [
        StdlibDocuments.collate_fn(samples[begin : begin + batch_size]) for begin in range(0, len(samples), batch_size)
    ]


def test_ragged_batches_train_with_a_model_that_computes_its_own_loss():
    loader = ragged([3, 7, 2, 2, 30, 4, 9], 2)  # 10, 4, 34 and 9 tokens: 57 an epoch
    model = ByteMLP(width=4, hidden=8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rates = []
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    metrics = {"bits_per_byte": bits_per_byte}
    result = Trainer(
        model, loader, loader, optimizer, LinearScheduler(), "100tok", metrics=metrics, device="cpu", progress="none"
    ).fit()
    assert (result.tokens, result.samples, result.steps) == (105, 13, 7)  # 57 + 10 + 4 + 34 is the first sum above 100
    assert rates == exact([1 - tokens / 100 for tokens in (0, 10, 14, 48, 57, 67, 71)])
    with torch.no_grad():
        each = torch.cat([bits_per_byte(model(**batch), batch) for batch in loader])
    assert result.metrics["eval/bits_per_byte"] == pytest.approx(float(each.double().mean()), rel=1e-6)
    assert len(each) == 57 - 7  # the first byte of a document is not predicted


@pytest.mark.parametrize(
    "settings",
    [
        {"max_duration": "100tok"},
        {"max_duration": "2ba", "eval_interval": "10tok"},
        {"max_duration": "2ba", "log_interval": "10tok"},
    ],
)
def test_run_in_tokens_without_tokens_is_refused_before_its_first_step(settings):
    loader = TensorLoader([torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)], 2)
    model = nn.Linear(4, 2)
    weights = model.weight.detach().clone()
    with pytest.raises(MissingValueError, match="no tokens to count") as caught:
        Trainer(model, loader, loader, device="cpu", progress="none", **settings).fit()
    assert caught.value.field in settings
    assert torch.equal(model.weight, weights)
    settings["counts"] = {"get_num_tokens_in_batch": lambda batch: 5 * len(batch[0])}
    result = Trainer(nn.Linear(4, 2), loader, loader, device="cpu", progress="none", **settings).fit()
    assert result.tokens == 10 * result.steps


# ---- samples


def test_run_in_samples_counts_uneven_batches(app):
    # 1,198 digits in batches of 500: 500, 500 and 198 in every epoch.
    settings = ("max_duration=5000sp", "ssr=0.5", "data.batch_size=500", "trainer.eval_interval=1000sp")
    app(*settings, "scheduler=linear")
    samples = [500, 1000, 1198, 1698, 2198, 2396, 2896]
    assert [record["sample"] for record in batches()] == samples
    assert [record["lr"] for record in batches()] == exact([0.1 * (1 - s / 2500) for s in before(samples)])
    assert records()[1].samples == samples[-1]
    assert [e["timestamp"]["sample"] for e in records()[1].evaluations] == [1000, 2198, 2896]


# ---- seconds


def test_run_in_seconds_follows_the_training_clock(app):
    app("max_duration=0.4s", "ssr=0.5", "scheduler=linear", "trainer.eval_interval=0.1s")
    rows, result = records()
    rates, previous = [], 0.0
    for record in rows:  # an evaluation may have waited for the device, and this time counts as training
        if record["event"] == "train":
            rates.append((record["lr"], previous))
        previous = record["train_seconds"]
    assert [rate for rate, _ in rates] == exact([0.1 * (1 - seconds / 0.2) for _, seconds in rates])
    assert rates[-1][1] < 0.2 <= previous  # the last batch begins before the end, and ends after it
    assert (result.train_seconds, result.status, result.steps) == (previous, "completed", len(rates))
    ends = [e["timestamp"]["train_seconds"] for e in result.evaluations]
    assert ends[-1] == result.train_seconds
    assert ends[0] >= 0.1
    assert sum(e["seconds"] for e in result.evaluations) + result.train_seconds <= result.total_seconds


class Slow(nn.Module):
    """A model whose steps take given numbers of milliseconds; evaluation takes no time."""

    def __init__(self, clock, steps):
        super().__init__()
        self.linear, self._clock, self._steps = nn.Linear(4, 2), clock, itertools.cycle(steps)

    def forward(self, inputs):
        """Classes of inputs."""
        if self.training:
            self._clock.sleep(next(self._steps))
        return self.linear(inputs)


class SlowEvaluation:
    """A loader that takes a second for a batch."""

    def __init__(self, clock):
        self._clock = clock

    def __iter__(self):
        self._clock.sleep(1000)
        yield torch.randn(8, 4), torch.zeros(8, dtype=torch.int64)


@pytest.mark.parametrize(
    ("ssr", "ends"),
    # Steps of 30, 50, 10 and 40 ms in turn; the run ends at the first boundary at or after 200 ms * ssr.
    [
        (0.5, [30, 80, 90, 130]),
        (1, [30, 80, 90, 130, 160, 210]),
        (1.5, [30, 80, 90, 130, 160, 210, 220, 260, 290, 340]),
    ],
)
def test_training_clock_stops_during_evaluation_and_saving(clock, tmp_path, ssr, ends):
    model = Slow(clock, [30, 50, 10, 40])
    loader = TensorLoader([torch.randn(10, 4), torch.zeros(10, dtype=torch.int64)], 2)
    trainer = Trainer(
        model, loader, SlowEvaluation(clock), torch.optim.SGD(model.parameters(), lr=1.0),
        LinearWithWarmupScheduler("0.05s"), "0.2s", ssr=ssr, eval_interval="3ba", log_interval="1ba", device="cpu",
        progress="none", run_dir=tmp_path, checkpoint={"interval": "2ba"},
    )  # fmt: skip
    saved = []

    def save(_, path):
        clock.sleep(5000)
        saved.append(path)

    trainer.on("checkpoint_saved", save)
    result = trainer.fit()
    rows = batches(tmp_path)
    assert [round(record["train_seconds"] * 1000) for record in rows] == ends
    # A warmup keeps its length at any ssr, as in every other unit.
    expected = [linear_warmup(t / 1000, 0.2 * ssr, 0.05) for t in before(ends)]
    assert [record["lr"] for record in rows] == exact(expected)
    assert result.train_seconds == pytest.approx(ends[-1] / 1000)
    assert len(saved) == -(-len(ends) // 2)
    waited = 1 + len(result.evaluations) + 5 * len(saved)  # one batch of evaluation before the first step
    assert result.total_seconds == pytest.approx(ends[-1] / 1000 + waited)


# ---- iterations


@pytest.mark.parametrize(
    ("length", "iteration"),
    [
        ("3ba", lambda k: k // 3),
        ("1ep", lambda k: k // 5),
        ("5sp", lambda k: 2 * k // 5),
        ("0.5ep", lambda k: 2 * k // 5),
    ],
)
@pytest.mark.parametrize("ssr", [0.5, 1])
def test_an_iteration_may_have_any_length(length, iteration, ssr):
    """Batches of 2 samples, 5 in an epoch. Time in iterations is the number of finished iterations."""
    loader = TensorLoader([torch.randn(10, 4), torch.zeros(10, dtype=torch.int64)], 2)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    rates = []
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    trainer = Trainer(
        model, loader, loader, optimizer, StepScheduler("1iter", gamma=0.5), "4iter", ssr=ssr, eval_interval="1iter",
        counts={"iteration_length": length}, device="cpu", progress="none",
    )  # fmt: skip
    result = trainer.fit()
    steps = next(k for k in itertools.count() if iteration(k) >= 4 * ssr)
    assert (result.steps, result.max_duration) == (steps, "4iter")
    ends = [next(k for k in range(steps + 1) if iteration(k) >= number) for number in range(1, int(4 * ssr) + 1)]
    assert [e["timestamp"]["batch"] for e in result.evaluations] == ends
    assert rates == [0.5 ** int(iteration(k) / ssr) for k in range(steps)]
