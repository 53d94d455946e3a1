"""Runs from Python that are interrupted and resumed, with any loader, in any unit, with all their state."""

import json
import math
import os
import signal

import pytest
import torch
from refusals import refused
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

from ssr_hydra.checkpoints import load
from ssr_hydra.data import TensorLoader, make_loaders, seed_everything
from ssr_hydra.errors import ConflictError, InputError
from ssr_hydra.records import RunResult
from ssr_hydra.schedulers import CosineAnnealingScheduler, LinearScheduler
from ssr_hydra.torch_schedulers import ReduceLROnPlateau
from ssr_hydra.trainer import Trainer
from ssr_hydra.trainer.interrupts import TerminatedError

BATCHES = 9  # 26 samples in batches of 3; the last batch has 2 samples


class Cut(Exception):
    """Ends a run in these tests right after a checkpoint, so the run has no later state."""


class Noisy(Dataset[tuple[Tensor, int]]):
    """Samples from the global random numbers, as in data sets without seeds."""

    def __len__(self):
        return 26

    def __getitem__(self, index):
        return torch.randn(4) + index / 26, index % 3


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self):
        for index in range(26):
            yield torch.randn(4) + index / 26, index % 3


class NoLength:
    """A loader of ready batches without ``len()``."""

    def __iter__(self):
        generator = torch.Generator().manual_seed(5)
        for _ in range(BATCHES):
            yield torch.randn(3, 4, generator=generator), torch.arange(3)


def tokens():
    generator = torch.Generator().manual_seed(5)
    return [{"input_ids": torch.randint(0, 9, (2, 5 + number % 4), generator=generator)} for number in range(BATCHES)]


LOADERS = {
    "seeded": lambda: make_loaders(Noisy(), batch_size=3, seed=1)[0],
    "plain": lambda: DataLoader(Noisy(), 3, shuffle=True),
    "workers": lambda: DataLoader(Noisy(), 3, shuffle=True, num_workers=2),
    "generator": lambda: DataLoader(Noisy(), 3, shuffle=True, generator=torch.Generator().manual_seed(2)),
    "set_epoch": lambda: DataLoader(Noisy(), 3, sampler=DistributedSampler(Noisy(), num_replicas=1, rank=0)),
    "stream": lambda: DataLoader(Stream(), 3),
    "list": lambda: list(DataLoader(Noisy(), 3)),
    "no length": NoLength,
}


def trainer(run_dir, loader, max_duration="3ep", **more):
    seed_everything(0)
    model = more.pop("model", None)
    if model is None:
        model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))
    optimizer = more.pop("optimizer", torch.optim.AdamW(model.parameters(), lr=0.05))
    arguments = {
        "seed": 0, "device": "cpu", "progress": "none", "run_dir": run_dir, "log_interval": "1ba",
        "checkpoint": {"interval": None, "keep": 9}, **more,
    }  # fmt: skip
    scheduler = arguments.pop("schedulers", CosineAnnealingScheduler())
    return Trainer(model, loader, arguments.pop("evaluation", None), optimizer, scheduler, max_duration, **arguments)


def cut(run, batch, *earlier):
    """Train until the checkpoint at a batch, and then fail. Write checkpoints at earlier batches too."""
    run.checkpoints_at = [*earlier, batch]

    def fall(trainer, path):
        if trainer.state.timestamp.batches == batch:
            raise Cut

    run.on("checkpoint_saved", fall)
    with pytest.raises(Cut):
        run.fit()


def bits(run):
    return [tensor.numpy().tobytes() for tensor in run.model.state_dict().values()]


def log(folder, event="train"):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines if line["event"] == event]


@pytest.mark.parametrize("batch", [9, 14])
@pytest.mark.parametrize("name", LOADERS)
def test_run_with_any_loader_resumes_with_bitwise_equal_results(tmp_path, name, batch):
    """A run that stops at the end of the first epoch or within the second epoch resumes bitwise."""
    make = LOADERS[name]
    duration = "25ba" if name in ("stream", "no length") else "3ep"  # a schedule of epochs needs their length

    def again(folder):
        seed_everything(7)  # the list of batches depends on this seed
        return trainer(tmp_path / folder, make(), duration)

    whole = again("whole")
    expected = whole.fit()
    cut(again("cut"), batch)
    torch.rand(5)  # although another process has drawn other numbers
    resumed = again("cut")
    result = resumed.fit()
    assert bits(resumed) == bits(whole)
    assert log(tmp_path / "cut") == log(tmp_path / "whole")
    assert (result.steps, result.samples, result.metrics) == (expected.steps, expected.samples, expected.metrics)
    assert (result.resumes, expected.resumes) == (1, 0)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9)

    def forward(self, input_ids):
        logits = self.head(self.embedding(input_ids[:, :-1]))
        return {"loss": nn.functional.cross_entropy(logits.transpose(1, 2), input_ids[:, 1:])}


@pytest.mark.parametrize(("length", "batch"), [("170tok", 5), ("31sp", 9), ("17ba", 5), ("3iter", 9), ("1.9ep", 5)])
def test_run_with_a_length_in_any_unit_can_be_resumed(tmp_path, length, batch):
    """Batches of tokens with different lengths: evaluations and checkpoints occur at the same batches."""
    options = {
        "counts": {"iteration_length": "5ba"},
        "checkpoint": {"interval": "20tok", "keep": 99},
        "eval_interval": "7sp",
    }

    def again(folder):
        seed_everything(3)
        return trainer(tmp_path / folder, tokens(), length, model=Bag(), evaluation=tokens()[:2], metrics={}, **options)

    whole = again("whole")
    expected = whole.fit()
    first = again("cut")
    interrupt_at(first, batch)
    with pytest.raises(TerminatedError, match=f"with a checkpoint at batch {batch}"):
        first.fit()
    resumed = again("cut")
    result = resumed.fit()
    assert bits(resumed) == bits(whole)
    for event in ("train", "eval"):
        assert log(tmp_path / "cut", event) == log(tmp_path / "whole", event)
    assert (result.steps, result.samples, result.tokens) == (expected.steps, expected.samples, expected.tokens)
    saved = {path.name for path in (tmp_path / "cut/checkpoints").glob("ba*")}
    assert saved == {path.name for path in (tmp_path / "whole/checkpoints").glob("ba*")} | {f"ba{batch}"}


def interrupt_at(run, batch, number=signal.SIGTERM):
    def send(trainer, loss):
        if trainer.state.timestamp.batches == batch:
            os.kill(os.getpid(), number)

    run.on("batch_end", send)


def test_resumed_run_has_the_remaining_time_budget(tmp_path, monkeypatch, clock):
    """2 seconds in steps of 100 ms: interrupted after 0.7 s, 1.3 s remain, and the hour between does not count."""

    def again():
        run = trainer(
            tmp_path, [(torch.zeros(1, 4), torch.zeros(1, dtype=torch.int64))] * 5, "2sec", schedulers=LinearScheduler()
        )
        run.model.register_forward_hook(lambda *_: clock.sleep(100))
        return run

    cut(again(), 7)
    clock.sleep(3_600_000)
    result = again().fit()
    assert result.steps == 20
    assert result.train_seconds == pytest.approx(2.0)
    assert [record["lr"] for record in log(tmp_path)] == pytest.approx([0.05 * (1 - k / 20) for k in range(20)])


def test_the_scale_of_an_fp16_loss_is_restored(tmp_path):
    """A gradient that overflows in batch 3 halves the scale; a resumed run with the first scale would differ."""

    def again(folder):
        run = trainer(tmp_path / folder, LOADERS["seeded"](), "12ba", precision="fp16")
        weight = next(run.model.parameters())
        weight.register_hook(lambda grad: grad * math.inf if run.state.timestamp.batches == 3 else grad)
        return run

    whole = again("whole")
    whole.fit()
    cut(again("cut"), 5, 3, 4)
    resumed = again("cut")
    resumed.fit()
    assert bits(resumed) == bits(whole)
    scales = {batch: load(tmp_path / f"cut/checkpoints/ba{batch}").state["scaler"]["scale"] for batch in (3, 4, 12)}
    assert scales == {3: 65536.0, 4: 32768.0, 12: 32768.0}


def test_resumed_run_restores_the_best_value_of_the_metric(tmp_path):
    """The test sets the metric: 0.9 at batch 2 stays the best value, before and after the interruption."""
    accuracies = {2: 0.9, 4: 0.5, 6: 0.6, 8: 0.7, 10: 0.8, 12: 0.1}

    class Teller:
        def eval_end(self, trainer, metrics):
            metrics["eval/accuracy"] = accuracies[trainer.state.timestamp.batches]

    def again(folder):
        return trainer(
            tmp_path / folder, LOADERS["seeded"](), "12ba", evaluation=LOADERS["list"](), eval_interval="2ba",
            callbacks=[Teller()], checkpoint={"interval": None, "best": "eval/accuracy"},
        )  # fmt: skip

    again("whole").fit()
    first = again("cut")
    interrupt_at(first, 5)
    with pytest.raises(TerminatedError):
        first.fit()
    again("cut").fit()
    names = {
        folder: sorted(path.name for path in (tmp_path / folder).glob("checkpoints/ba*")) for folder in ("whole", "cut")
    }
    assert names == {"whole": ["ba12", "ba2"], "cut": ["ba12", "ba2", "ba5"]}


class _Evaluated:
    """Sends a signal in the first few evaluations after the trial evaluation."""

    def __init__(self, times):
        self.times, self.tried = times, False

    def __call__(self, module, *_):
        if module.training:
            return
        if self.tried and self.times:
            self.times -= 1
            os.kill(os.getpid(), signal.SIGTERM)
        self.tried = True


def test_resumed_run_repeats_an_interrupted_evaluation_at_the_same_batch(tmp_path):
    """The checkpoint of that evaluation is the best one, as in an uninterrupted run."""

    def again(folder, times=0):
        seed_everything(7)
        run = trainer(
            tmp_path / folder, LOADERS["seeded"](), "12ba", evaluation=LOADERS["list"](), eval_interval="5ba",
            checkpoint={"interval": None, "best": "eval/loss", "mode": "max", "keep": 2},
        )  # fmt: skip
        run.model.register_forward_hook(_Evaluated(times))
        return run

    whole = again("whole")
    whole.fit()
    for _ in range(2):
        with pytest.raises(TerminatedError, match="with a checkpoint at batch 5"):
            again("cut", 1).fit()
    resumed = again("cut")
    resumed.fit()
    assert bits(resumed) == bits(whole)
    assert log(tmp_path / "cut", "eval") == log(tmp_path / "whole", "eval")
    assert [record["batch"] for record in log(tmp_path / "cut", "eval")] == [5, 10, 12]
    metrics = [load(tmp_path / folder / "checkpoints/ba5").metric for folder in ("whole", "cut")]
    assert metrics[0] == metrics[1] is not None


# ---- stopping


@pytest.mark.parametrize("has_folder", [True, False])
def test_ctrl_c_interrupts_a_run_without_checkpoints_immediately(tmp_path, has_folder):
    run = trainer(tmp_path if has_folder else None, LOADERS["seeded"](), checkpoint={"enabled": not has_folder})
    interrupt_at(run, 4, signal.SIGINT)
    later = []
    run.on("batch_end", lambda trainer, loss: later.append(trainer.state.timestamp.batches))
    with pytest.raises(KeyboardInterrupt):
        run.fit()
    assert later == [1, 2, 3]  # at batch 4 the signal ended the run before this listener
    assert not (tmp_path / "checkpoints").exists()
    if has_folder:
        record = RunResult.load(tmp_path)
        assert (record.status, record.error, record.steps) == ("stopped", "KeyboardInterrupt: interrupted", 4)


def test_signal_after_the_last_batch_changes_nothing(tmp_path):
    run = trainer(tmp_path, LOADERS["seeded"](), "9ba")
    interrupt_at(run, 9)
    assert run.fit().status == "completed"


# ---- where a run begins


def test_damaged_checkpoint_that_resume_skips_is_recorded(tmp_path):
    cut(trainer(tmp_path, LOADERS["seeded"]()), 5, 4)
    newest = tmp_path / "checkpoints" / "ba5" / "state.pt"
    newest.write_bytes(newest.read_bytes()[:-1])
    trainer(tmp_path, LOADERS["seeded"]()).fit()  # progress is off, so nothing is printed
    (record,) = log(tmp_path, "resume")
    assert record["from"].endswith("ba4")
    assert [line for line in record["messages"] if line.startswith(f"refused {newest}: ")]


@pytest.mark.parametrize(("ours", "other"), [(True, {"eval_interval": "1ba"}), (False, {"objective": "eval/accuracy"})])
def test_resume_refuses_changed_evaluations_if_the_scheduler_uses_metrics(tmp_path, ours, other):
    def made(run_dir, plateau=True, **more):
        model = nn.Linear(4, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        mode = "max" if more.get("objective") == "eval/accuracy" else "min"
        instance = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, patience=0)
        schedule = (
            (ReduceLROnPlateau(mode, patience=0) if ours else instance) if plateau else CosineAnnealingScheduler()
        )
        options = {"objective": "eval/loss", "eval_interval": "1ep", "evaluation": LOADERS["seeded"](), **more}
        return trainer(run_dir, LOADERS["seeded"](), model=model, optimizer=optimizer, schedulers=schedule, **options)

    cut(made(tmp_path), 5)
    (name, value) = next(iter(other.items()))
    with refused("resume", match=f"follows.{name} was .* and is '{value}'"):
        made(tmp_path, **other)
    cut(made(tmp_path / "cosine", plateau=False), 5)
    made(tmp_path / "cosine", plateau=False, **other)  # without a plateau, evaluations do not change the run


def test_refused_resume_does_not_change_the_record(tmp_path):
    trainer(tmp_path, LOADERS["seeded"]()).fit()
    before, extend = (tmp_path / "result.json").read_bytes(), {"on_change": "extend"}
    for options in (
        {"max_duration": "5ep"},
        {"max_duration": "5ep", "resume": extend, "schedulers": torch.optim.lr_scheduler.ReduceLROnPlateau},
        {"max_duration": "2ep", "resume": extend},
        {"resume": "never"},
        {"max_duration": "5ep", "resume": {"on_change": "rescale"}},
    ):
        with pytest.raises(InputError):
            trainer(tmp_path, LOADERS["seeded"](), **options)
        assert (tmp_path / "result.json").read_bytes() == before
    trainer(tmp_path, LOADERS["seeded"](), "5ep", resume=extend)  # never fitted
    assert (tmp_path / "result.json").read_bytes() == before


def test_two_simultaneous_runs_in_one_folder_are_refused(tmp_path):
    first, second = (trainer(tmp_path, LOADERS["seeded"]()) for _ in range(2))
    tried = []

    def start_another(trainer, loss):
        if trainer.state.timestamp.batches == 3:
            with refused("run_dir", ConflictError):
                second.fit()
            tried.append("yes")

    first.on("batch_end", start_another)
    assert first.fit().steps == 27
    assert tried == ["yes"]


def test_checkpoint_is_not_resumed_into_a_folder_with_a_record_of_a_different_run(tmp_path):
    trainer(tmp_path / "a", LOADERS["seeded"](), checkpoint={"interval": "20ba"}).fit()
    trainer(tmp_path / "b", LOADERS["seeded"](), checkpoint={"enabled": False}).fit()
    with refused("run_dir", ConflictError):
        trainer(tmp_path / "b", LOADERS["seeded"](), resume=tmp_path / "a/checkpoints/ba20")
    assert RunResult.load(tmp_path / "b").steps == 27


def test_run_can_resume_from_any_of_several_checkpoints(tmp_path):
    """The checkpoint is named by its folder, in a different run or in an earlier part of the same run."""
    whole = trainer(tmp_path / "a", LOADERS["seeded"](), checkpoint={"interval": "20ba"})
    whole.fit()
    run = trainer(tmp_path / "b", LOADERS["seeded"](), resume=tmp_path / "a/checkpoints/ba20")
    run.fit()
    assert bits(run) == bits(whole)
    assert [record["batch"] for record in log(tmp_path / "b")] == list(range(21, 28))
    (record,) = log(tmp_path / "b", "resume")
    assert record["from"] == str(tmp_path / "a/checkpoints/ba20")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that failed after batch 18."""
    folder = tmp_path_factory.mktemp("stopped")
    cut(trainer(folder, LOADERS["seeded"]()), 18)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_duration": "4ep"}, "run.max_duration was '3ep' and is '4ep'"),
        ({"ssr": 0.9}, "run.ssr was 1.0 and is 0.9"),
        ({"seed": 1}, "run.seed was 0 and is 1"),
        ({"schedulers": LinearScheduler()}, "scheduler.class was 'CosineAnnealingScheduler' and is 'LinearScheduler'"),
        ({"schedules": {"weight_decay": LinearScheduler()}}, "schedules.weight_decay was missing and is"),
        ({"step": {"clip_grad_norm": 1.0}}, "step.clip_grad_norm was None and is 1.0"),
        ({"step": {"accumulate": 2}}, "step.accumulate was 1 and is 2"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1), "metrics": {}}, "loss was None and is {"),
    ],
)
def test_error_for_a_different_run_shows_both_values(stopped, change, words):
    with refused("resume") as caught:
        trainer(stopped, LOADERS["seeded"](), **change)
    assert words in str(caught.value)


def test_resume_with_different_data_or_batches_is_refused(tmp_path):
    def loader(shift=0.0, size=3, seed=1):
        inputs = torch.randn(26, 4, generator=torch.Generator().manual_seed(0)) + shift
        return TensorLoader(TensorDataset(inputs, torch.arange(26) % 3), size, seed=seed)

    cut(trainer(tmp_path, loader()), 4)
    for options, field in (({"shift": 0.1}, "data.dataset"), ({"size": 4}, "data.batch"), ({"seed": 2}, "data.seed")):
        with refused("resume", match=rf"{field}\S* was .* and is "):
            trainer(tmp_path, loader(**options))
    trainer(tmp_path, loader()).fit()
