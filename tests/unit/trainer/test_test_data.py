"""Test data: evaluated once, at the end of a run."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from refusals import refused
from torch import nn

from ssr_hydra.app.check import check, plain
from ssr_hydra.app.evaluate import evaluate
from ssr_hydra.app.train import build, train
from ssr_hydra.callbacks import EMA
from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import MissingValueError, UnknownNameError
from ssr_hydra.records import RunResult, config_hash
from ssr_hydra.trainer import Trainer


class Batches:
    """Test data that counts how often it is read."""

    def __init__(self, fails=0):
        generator = torch.Generator().manual_seed(1)
        self.batches = [(torch.randn(n, 4, generator=generator), torch.arange(n) % 3) for n in (4, 3)]
        self.reads, self.fails = 0, fails

    def __iter__(self):
        self.reads += 1
        if self.reads <= self.fails:
            raise LookupError("the disk is away")
        return iter(self.batches)


def small(test, **options):
    torch.manual_seed(0)
    loaders = [TensorLoader([torch.randn(12, 4), torch.arange(12) % 3], 2) for _ in range(2)]
    options = {"device": "cpu", "progress": "none", "max_duration": "3ep", **options}
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return Trainer(model, loaders[0], loaders[1], optimizer, test_dataloader=test, **options)


def expected(model, data):
    inputs, targets = (torch.cat(parts) for parts in zip(*data.batches, strict=True))
    with torch.no_grad():
        outputs = model(inputs)
    right = float((outputs.argmax(1) == targets).double().mean())
    return {"test/accuracy": right, "test/loss": pytest.approx(float(F.cross_entropy(outputs, targets)), abs=1e-6)}


def test_test_data_is_read_once_after_training(tmp_path, capsys):
    data = Batches()
    trainer = small(data, run_dir=tmp_path, progress="plain")
    result = trainer.fit()
    assert data.reads == 1
    test_metrics = {name: value for name, value in result.metrics.items() if name.startswith("test/")}
    assert test_metrics == expected(trainer.model, data)
    assert RunResult.load(tmp_path).metrics == result.metrics
    assert {"eval/accuracy", "eval/loss", "train/loss"} < set(result.metrics)
    assert len(result.evaluations) == 3
    assert not any(name.startswith("test/") for each in result.evaluations for name in each["metrics"])
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["batch"], last["test/accuracy"]) == ("test", 18, test_metrics["test/accuracy"])
    assert "test/accuracy" in capsys.readouterr().out.partition("run: completed")[2]


def test_test_data_is_evaluated_with_the_averaged_weights():
    data = Batches()
    trainer = small(data, callbacks={"ema": EMA()})
    result = trainer.fit()
    assert result.metrics["test/loss"] != expected(trainer.model, data)["test/loss"]
    assert trainer.evaluate("test")["test/loss"] == result.metrics["test/loss"]


def test_run_that_failed_while_evaluating_test_data_repeats_only_this_evaluation(tmp_path):
    data = Batches(fails=1)
    with pytest.raises(LookupError):
        small(data, run_dir=tmp_path).fit()
    assert RunResult.load(tmp_path).status == "failed"
    resumed = small(data, run_dir=tmp_path)
    result = resumed.fit()
    assert (result.status, result.steps, data.reads) == ("completed", 18, 2)
    assert result.metrics["test/accuracy"] == expected(resumed.model, data)["test/accuracy"]
    assert len(result.evaluations) == 3


@pytest.mark.parametrize(
    ("options", "field"),
    [({"objective": "test/loss"}, "objective"), ({"checkpoint": {"best": "test/loss"}}, "checkpoint.best")],
)
def test_options_cannot_use_test_metrics(options, field):
    with refused(field, UnknownNameError):
        small(Batches(), **options)


def test_evaluation_of_test_data_needs_test_data():
    with refused("test_dataloader", MissingValueError):
        small(None).evaluate("test")
    with refused("split", UnknownNameError):
        small(None).evaluate("tset")


# ---- the app

TABLE = ("data=arrays", "data.train.path=train.csv", "model=mlp", "model.in_features=1", "model.num_classes=2")


@pytest.fixture
def tables(in_tmp):
    for name, shift, rows in (("train", 0.0, 40), ("test", 0.125, 30), ("other", 0.25, 30)):
        lines = [f"{row % 2 + 0.001 * row + shift},{row % 2}" for row in range(rows)]
        (in_tmp / f"{name}.csv").write_text("\n".join(["x,kind", *lines, ""]))


def test_ssr_evaluate_can_evaluate_the_test_data_again(tables, composed):
    cfg = composed(*TABLE, "data.test=test.csv", "max_duration=2ep", "trainer.progress=none", "trainer.device=cpu")
    train(cfg, run_dir="run")
    (Path("run") / ".hydra").mkdir()
    own = {key: cfg._get_node(key) for key in cfg if key != "hydra"}
    OmegaConf.save(OmegaConf.create(own), "run/.hydra/config.yaml")
    evaluation = evaluate("run", split="test")
    assert sorted(evaluation.metrics) == ["test/accuracy", "test/loss"]
    assert evaluation.recorded is not None
    assert set(evaluation.recorded) == set(evaluation.metrics)
    assert not any(evaluation.differences.values())
    on_eval = evaluate("run", overrides=["data.test=other.csv"])  # other test data does not change the evaluation
    assert sorted(on_eval.differences) == ["eval/accuracy", "eval/loss"]
    elsewhere = evaluate("run", split="test", overrides=["data.test=other.csv"])
    assert elsewhere.differences == {}
    assert elsewhere.metrics["test/loss"] != evaluation.metrics["test/loss"]
    with refused(
        "split", MissingValueError, match=r"^split='test': needs test data, but the run has none; set data\.test="
    ):
        evaluate("run", split="test", overrides=["data.test=null"])
    with refused("data.eval", MissingValueError, match=r"; write split=test, or set data\.eval$"):
        evaluate("run", overrides=["data.eval=null", "trainer.objective=null"])


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ([*TABLE, "data.test=train.csv"], "data.test"),
        ([*TABLE, "data.test=nothing.csv"], "data.test"),
        (["data.test={_target_: ssr_hydra.data.Digits, split: eval}"], "data.test"),
        (["data.test={_target_: ssr_hydra.data.Digits, split: train}"], "data.test"),
        (["data.test={_target_: ssr_hydra.data.Digits, split_seed: 1}"], "data.test.split_seed"),
        ([*TABLE, "data.test={_target_: ssr_hydra.data.Arrays, path: test.csv}"], "data.test.path"),
    ],
)
def test_overlapping_test_data_is_refused(tables, composed, overrides, field):
    with refused(field):
        build(composed(*overrides))


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["data.test=test.csv"], "data.test"),
        (["data.test={split: eval}"], "data.test"),
        (["data.test={_target_: my_lab.Data}"], "data.test._target_"),
        (["data=image_folder", "data.train.root=x", "data.eval=null", "data.test=test"], "data.test"),
    ],
)
def test_wrong_test_data_is_refused_at_composition(composed, overrides, field):
    with refused(field):
        check(composed(*overrides))


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [("data", "test", "{_target_: ssr_hydra.data.Digits}"), ("checkpoint", "export", "model.safetensors")],
)
def test_config_without_a_newer_setting_keeps_its_hash(composed, group, key, value):
    """The configs of earlier releases lack these settings, and their runs must keep their hashes."""
    now = plain(composed())
    assert key not in now[group]
    before = OmegaConf.to_container(composed())
    assert isinstance(before, dict)
    del before[group][key]
    assert config_hash(plain(before)) == config_hash(now)
    check(before)
    assert config_hash(plain(composed(f"{group}.{key}={value}"))) != config_hash(now)
