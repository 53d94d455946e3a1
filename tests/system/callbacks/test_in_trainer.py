"""Loggers and callbacks in real runs, with and without an interruption."""

import csv
import json
import math

import pytest
import torch
from callback_helpers import scalars_of_tensorboard
from torch import nn

from ssr_hydra.callbacks import EMA, CSVLogger, Profiler, TensorBoardLogger, Throughput
from ssr_hydra.data import Digits, make_loaders
from ssr_hydra.errors import RunError
from ssr_hydra.schedulers import CosineAnnealingScheduler, LinearScheduler
from ssr_hydra.trainer import RunResult, Trainer


class _Killed(Exception):
    pass


def trainer(run_dir, **changes):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 10)
    )
    body, head = list(model[1].parameters()), [*model[2].parameters(), *model[5].parameters()]
    train, evaluation = make_loaders(Digits("train"), Digits("eval"), batch_size=32, seed=3)
    groups = [{"params": body, "lr": 0.1, "weight_decay": 0.01}, {"params": head, "lr": 0.2, "weight_decay": 0.01}]
    settings = {
        "max_duration": "48ba",
        "eval_interval": "16ba",
        "log_interval": "4ba",
        "checkpoint": {"interval": "10ba"},
        "schedules": {"weight_decay": LinearScheduler()},
        "seed": 5,
        "progress": "none",
        "device": "cpu",
        "run_dir": run_dir,
        "config": {"lr": 0.1},
    }
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    return Trainer(model, train, evaluation, optimizer, [CosineAnnealingScheduler()], **{**settings, **changes})


def fail_after(run, batch):
    """Train a run until it fails after a batch."""

    def stop(run, loss):
        if run.state.timestamp.batch.value == batch:
            raise _Killed

    run.on("batch_end", stop)
    with pytest.raises(_Killed):
        run.fit()


def records(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def table(run_dir):
    with (run_dir / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_interrupted_run_has_every_record_once_and_the_right_rates(tmp_path):
    fail_after(trainer(tmp_path, loggers=[CSVLogger(), TensorBoardLogger()]), 37)  # the last checkpoint is at 30
    assert trainer(tmp_path, loggers=[CSVLogger(), TensorBoardLogger()]).fit().status == "completed"
    rows = table(tmp_path)
    trained = {int(row["batch"]): row for row in rows if row["event"] == "train"}
    assert [int(row["batch"]) for row in rows if row["event"] == "train"] == list(range(4, 49, 4))
    assert [int(row["batch"]) for row in rows if row["event"] == "eval"] == [16, 32, 48]
    assert len([row for row in rows if row["event"] == "resume"]) == 1
    assert len(rows) == len(records(tmp_path))
    scalars = scalars_of_tensorboard(tmp_path / "tensorboard")
    for name in ("train/loss", "lr", "lr/0", "lr/1", "weight_decay"):
        assert [step for step, _ in scalars[name]] == list(range(4, 49, 4)), name
    for name in ("eval/accuracy", "train/loss_since_eval"):
        assert [step for step, _ in scalars[name]] == [16, 32, 48], name
    for number, batch in enumerate(range(4, 49, 4)):
        # A record after k batches has the rate of the last of these batches, whose timestamp was k - 1.
        alpha = (1 + math.cos(math.pi * (batch - 1) / 48)) / 2
        assert float(trained[batch]["lr"]) == pytest.approx(0.1 * alpha, rel=1e-12)
        assert float(trained[batch]["lr/1"]) == pytest.approx(2 * float(trained[batch]["lr/0"]), rel=1e-12)
        for name in ("lr", "lr/1", "train/loss", "weight_decay"):
            assert scalars[name][number][1] == pytest.approx(float(trained[batch][name]), rel=1e-6)


def test_resumed_run_evaluates_the_saved_average_and_trains_the_saved_weights(tmp_path):
    def parts():
        return {"callbacks": {"ema": EMA(decay=0.9)}}

    whole = trainer(tmp_path / "whole", **parts())
    result = whole.fit()
    at_32 = next(e["metrics"]["eval/loss"] for e in result.evaluations if e["timestamp"]["batch"] == 32)
    assert trainer(tmp_path / "whole", **parts()).evaluate()["eval/loss"] == result.metrics["eval/loss"]
    # The weights themselves are different.
    assert trainer(tmp_path / "whole").evaluate()["eval/loss"] != result.metrics["eval/loss"]

    fail_after(trainer(tmp_path / "cut", **parts(), checkpoint={"interval": "32ba"}), 33)
    again = trainer(tmp_path / "cut", **parts())
    before = [parameter.clone() for parameter in again.model.parameters()]
    assert again.evaluate()["eval/loss"] == at_32
    assert all(torch.equal(*pair) for pair in zip(before, again.model.parameters(), strict=True))
    assert again.fit().metrics == result.metrics  # bitwise, although the average was used in an evaluation before
    states = [run._loop.events.state_dict()["ema"]["average"] for run in (whole, again)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_failing_logger_ends_the_run_and_the_run_can_be_resumed(tmp_path):
    class Far:
        closed = 0

        def log(self, run, record):
            if record["batch"] == 36:
                raise ConnectionError("gone")

        def close(self):
            self.closed += 1

    far = Far()
    with pytest.raises(RunError, match="logger far failed at log: ConnectionError: gone"):
        trainer(tmp_path, loggers={"far": far}).fit()
    assert far.closed == 1
    result = RunResult.load(tmp_path)
    assert (result.status, result.steps) == ("failed", 36)
    assert "logger far" in str(result.error)
    assert records(tmp_path)[-1]["batch"] == 36
    assert trainer(tmp_path).fit().status == "completed"
    assert [record["batch"] for record in records(tmp_path) if record["event"] == "train"] == list(range(4, 49, 4))


def test_run_with_callbacks_equals_the_run_without_callbacks(tmp_path):
    plain = trainer(None)
    bare = plain.fit()
    watched = trainer(
        tmp_path,
        callbacks=[EMA(evaluate=False), Throughput(), Profiler(wait=1, warmup=1, active=1)],
        loggers=[CSVLogger(), TensorBoardLogger()],
    )
    result = watched.fit()
    assert result.metrics == bare.metrics
    for name, tensor in plain.model.state_dict().items():
        assert torch.equal(tensor, watched.model.state_dict()[name]), name
    assert sorted(path.name for path in (tmp_path / "profile").iterdir()) == ["table-3.txt", "trace-3.json"]
    rates = [row["throughput/samples_per_second"] for row in table(tmp_path) if row["event"] == "train"]
    assert rates[0] == ""
    assert all(float(rate) > 0 for rate in rates[1:])


def test_callback_needs_no_base_class_and_gets_all_events_in_order(tmp_path):
    calls = []
    run = trainer(tmp_path, max_duration="20ba", eval_interval="10ba", log_interval="10ba")
    for event in ("fit_start", "epoch_end", "eval_start", "eval_end", "checkpoint_saved", "fit_end", "close"):
        run.on(event, lambda *arguments, event=event: calls.append(event))
    run.on("log", lambda run, record: calls.append(f"log {record['event']} {record['batch']}"))
    run.on("eval_end", lambda run, metrics: metrics.update({"eval/mine": 7.0}))
    result = run.fit()
    at_ten = ["log train 10", "eval_start", "eval_end", "log eval 10", "checkpoint_saved"]
    # An epoch has 38 batches, so no epoch ends.
    at_twenty = [part.replace("10", "20") for part in at_ten]
    assert calls == ["fit_start", *at_ten, *at_twenty, "fit_end", "close"]
    assert result.metrics["eval/mine"] == 7.0
    assert records(tmp_path)[-1]["eval/mine"] == 7.0
