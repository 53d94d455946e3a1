"""Metric objects: update, compute and reset, as torchmetrics has them."""

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from sklearn.metrics import f1_score, roc_auc_score
from torch import nn

from ssr_hydra.checkpoints import CheckpointStore
from ssr_hydra.data import Digits, make_loaders
from ssr_hydra.errors import ConflictError, UnknownNameError, UserCodeError, WrongTypeError
from ssr_hydra.models import MLP, bits_per_byte, next_token_loss
from ssr_hydra.trainer import Trainer
from ssr_hydra.trainer.task import Task

CPU = torch.device("cpu")


class MacroF1:
    """The F1 score, averaged over classes, which is not a mean over batches."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.outputs = []
        self.targets = []

    def update(self, outputs, targets):
        self.outputs.append(outputs)
        self.targets.append(targets)

    def compute(self):
        return f1_score(torch.cat(self.targets), torch.cat(self.outputs).argmax(1), average="macro")


class Gives(MacroF1):
    """Returns a given result."""

    def __init__(self, result):
        super().__init__()
        self.result = result

    def compute(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def of_digits(metrics, **options):
    """A perceptron on the digits, evaluated in batches of 200, 200 and 199."""
    torch.manual_seed(0)
    train, held_out = make_loaders(Digits("train"), Digits("eval"), batch_size=64, eval_batch_size=200)
    model = MLP(hidden=[16])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"max_duration": "2ep", "device": "cpu", "progress": "none", **options}
    return Trainer(model, train, held_out, optimizer, metrics=metrics, **options)


def held_out_outputs(trainer):
    inputs, targets = Digits("eval").tensors
    with torch.no_grad():
        return trainer.model.eval()(inputs), targets


def test_metric_object_is_reset_and_gets_every_batch_of_an_evaluation(tmp_path):
    checkpoint = {"best": "eval/f1", "interval": None}
    trainer = of_digits({"f1": MacroF1()}, run_dir=tmp_path, objective="eval/f1", checkpoint=checkpoint)
    result = trainer.fit()
    outputs, targets = held_out_outputs(trainer)
    expected = f1_score(targets, outputs.argmax(1), average="macro")
    assert result.metrics["eval/f1"] == expected
    means = [f1_score(t, o.argmax(1), average="macro") for o, t in zip(outputs.split(200), targets.split(200))]  # noqa: B905
    assert abs(expected - sum(means) / 3) > 1e-4  # so the result is not the mean over batches
    assert len(result.evaluations) == 2
    assert CheckpointStore(tmp_path / "checkpoints", best_mode="max").best() is not None
    assert trainer.evaluate()["eval/f1"] == expected


@pytest.mark.extra("torchmetrics")
def test_torchmetrics_agrees_with_scikit_learn():
    import torchmetrics

    options = {"task": "multiclass", "num_classes": 10, "average": "macro"}
    both = {"f1": torchmetrics.F1Score(**options), "auc": torchmetrics.AUROC(**options)}
    metrics = {"f1": torchmetrics.F1Score(**options), "both": torchmetrics.MetricCollection(both)}
    trainer = of_digits(metrics, objective="eval/both/auc")
    result = trainer.fit()
    outputs, targets = held_out_outputs(trainer)
    f1 = f1_score(targets, outputs.argmax(1), average="macro")
    auc = roc_auc_score(targets, outputs.double().softmax(1), average="macro", multi_class="ovr")
    expected = {"eval/f1": f1, "eval/both/f1": f1, "eval/both/auc": auc}
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)


class Perplexity:
    """Perplexity of logits [N, L, C] and targets [N, L], without the targets -100."""

    def __init__(self):
        self.nats = []

    def reset(self):
        self.nats = []

    def update(self, logits, targets):
        nats = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        self.nats.append(nats[targets.flatten() != -100])

    def compute(self):
        return torch.cat(self.nats).mean().exp()


class Letters(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 7)

    def forward(self, input_ids, labels=None):
        logits = self.embed(input_ids)
        return logits if labels is None else {"logits": logits}


@pytest.mark.parametrize("is_mapping", [False, True])
@pytest.mark.parametrize("kind", ["own", pytest.param("torchmetrics", marks=pytest.mark.extra("torchmetrics"))])
def test_perplexity_is_two_to_the_power_of_the_bits_per_token(kind, is_mapping):
    """Bits are a mean over all tokens, so 2 to their power is the perplexity, although the batches differ in length."""
    own = Perplexity()
    if kind == "torchmetrics":
        from torchmetrics.text import Perplexity as Torchmetrics

        own = Torchmetrics(ignore_index=-100)
    torch.manual_seed(0)
    batches = []
    for length in (4, 2):
        tokens = torch.randint(7, (4, length))
        labels = tokens.clone()
        labels[0, -1] = -100
        batches.append({"input_ids": tokens, "labels": labels} if is_mapping else (tokens, labels))
    task = Task(Letters(), next_token_loss, {"perplexity": own, "bits": bits_per_byte}, CPU)
    metrics = task.evaluate(batches)
    assert metrics["eval/perplexity"] == pytest.approx(2 ** metrics["eval/bits"], rel=1e-5)
    assert list(metrics) == ["eval/perplexity", "eval/bits", "eval/loss"]


@pytest.mark.parametrize(
    ("result", "got"),
    [
        (torch.ones(3), "float32 [3]"),
        ([1.0, 2.0], "(float, float)"),
        ("high", "str"),
        (None, "NoneType"),
        ({}, "{}"),
        ({"a": torch.ones(2)}, "{a: float32 [2]}"),
        ({"a": {"b": 1.0}}, "{a: {b: float}}"),
        ({1: 1.0}, "{1: float}"),
    ],
)
def test_metric_result_without_numbers_is_refused_before_the_first_step(result, got):
    trainer = of_digits({"f1": Gives(result)})
    with refused("metrics.f1", WrongTypeError) as caught:
        trainer.fit()
    assert str(caught.value).startswith("metrics.f1='Gives': compute() must return one number, or a mapping of names")
    assert f"(got {got})" in str(caught.value)
    assert trainer.state.timestamp.batches == 0


def test_mapping_of_numbers_becomes_several_metrics():
    metrics = of_digits({"f1": Gives({"macro": torch.tensor([0.5]), "micro": 1})}, objective="eval/f1/macro").evaluate()
    assert (metrics["eval/f1/macro"], metrics["eval/f1/micro"]) == (0.5, 1.0)
    with refused("metrics.f1/a", ConflictError):
        of_digits({"f1": Gives({"a": 1.0}), "f1/a": Gives(1.0)}).evaluate()


@pytest.mark.parametrize("setting", [{"objective": "eval/f1/other"}, {"checkpoint": {"best": "eval/f1/other"}}])
def test_unknown_key_of_a_metric_in_a_setting_is_refused_before_the_first_step(setting):
    trainer = of_digits({"f1": Gives({"macro": 0.5})}, **setting)
    field = "objective" if "objective" in setting else "checkpoint.best"
    with pytest.raises(UnknownNameError) as caught:
        trainer.fit()
    rule = "must be a metric of the run; use eval/f1/macro or eval/loss"
    assert str(caught.value) == f"{field}='eval/f1/other': {rule}"
    assert trainer.state.timestamp.batches == 0


@pytest.mark.parametrize("objective", ["eval/zero/a", 5])
def test_objective_that_is_not_a_metric_is_refused(objective):
    with refused("objective", UnknownNameError):
        of_digits({"zero": lambda outputs, targets: 0.0}, objective=objective)


class Late(Gives):
    """Needs two batches."""

    def compute(self):
        if len(self.outputs) < 2:
            raise self.result
        return 1.0


def test_metric_object_that_needs_more_than_one_batch_is_accepted():
    assert of_digits({"r2": Late(ValueError("needs at least two batches"))}).fit().metrics["eval/r2"] == 1.0


@pytest.mark.parametrize("error", [AttributeError("no such thing"), TypeError("not that"), KeyError("x"), ValueError()])
def test_metric_with_a_broken_compute_is_refused(error):
    trainer = of_digits({"r2": Gives(error)})
    fix = r"remove the metric r2 with trainer\.metrics\.r2=null"
    with pytest.raises(UserCodeError, match=rf"^metrics\.r2 \(Gives\): {type(error).__name__}.*; {fix}"):
        trainer.fit()
    # A ValueError may mean that one batch is not enough, so the first evaluation reports it.
    assert (trainer.state.timestamp.batches > 0) == isinstance(error, ValueError)


def test_error_in_update_of_a_metric_names_the_metric_and_the_batch():
    class Wrong(MacroF1):
        def update(self, outputs, targets):
            raise ValueError("wrong shapes")

    with pytest.raises(UserCodeError, match=r"^metrics\.f1 \(.*Wrong\): ValueError: wrong shapes .*first batch of"):
        of_digits({"f1": Wrong()}).fit()


def test_metric_object_is_moved_to_the_device():
    class Moves(MacroF1):
        at: Any = None

        def to(self, device):
            self.at = device

    metric = Moves()
    Task(nn.Linear(4, 3), None, {"f1": metric}, torch.device("meta"))
    assert metric.at == torch.device("meta")


SHARED = MacroF1()


@pytest.mark.parametrize(
    ("metrics", "field", "kind"),
    [
        ({"f1": MacroF1}, "metrics.f1", WrongTypeError),
        ({"f1": functools.partial(MacroF1)}, "metrics.f1", WrongTypeError),
        ({"a": SHARED, "b": SHARED}, "metrics.b", ConflictError),
        ({"f1": 3}, "metrics.f1", WrongTypeError),
    ],
)
def test_wrong_metric_is_refused(metrics, field, kind):
    with refused(field, kind):
        of_digits(metrics)


def test_metric_may_be_nan():
    """A metric object may return NaN, as a metric function may."""
    assert math.isnan(of_digits({"f1": Gives(math.nan)}).evaluate()["eval/f1"])
