import functools
import math
import random
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.models import next_token_loss
from ssr_hydra.trainer import accuracy
from ssr_hydra.trainer.task import Task

CPU = torch.device("cpu")
X, Y = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2, 0])


def linear():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


class Sum(nn.Module):
    """Adds its inputs, given by position or by name."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, a, b):
        return self.weight * (a - 2 * b)


class OwnLoss(nn.Module):
    def __init__(self, key):
        super().__init__()
        self.weight, self.key = nn.Parameter(torch.tensor(2.0)), key

    def forward(self, input_ids, labels, attention_mask=None):
        loss = self.weight * (input_ids - labels).float().mean()
        return {"loss": loss} if self.key else type("Output", (), {"loss": loss})()


def test_pair_of_inputs_and_targets_is_trained_with_cross_entropy():
    model = linear()
    for batch in ((X, Y), [X, Y]):
        loss, samples, tokens = Task(model, None, None, CPU).loss(batch)
        assert torch.equal(loss, F.cross_entropy(model(X), Y))
        assert (samples, tokens) == (7, 0)


def test_several_inputs_are_passed_by_position_or_name():
    def mean(outputs, targets):
        return (outputs - targets).mean()

    task = Task(Sum(), mean, None, CPU)
    a, b, target = torch.full((5,), 7.0), torch.ones(5), torch.full((5,), 3.0)
    assert task.loss(((a, b), target))[0] == 2.0
    assert task.loss(({"b": b, "a": a}, target))[:2] == (2.0, 5)


def test_model_gets_a_mapping_by_name_and_the_loss_gets_the_whole_mapping():
    batch = {"a": torch.full((5,), 7.0), "b": torch.ones(5)}
    loss, samples, tokens = Task(Sum(), lambda outputs, mapping: (outputs + mapping["b"]).sum(), None, CPU).loss(batch)
    assert (loss.item(), samples, tokens) == (30.0, 5, 0)


@pytest.mark.parametrize("key", [True, False])
def test_model_may_return_its_own_loss(key):
    ids = torch.arange(6).reshape(2, 3)
    batch = {"input_ids": ids, "labels": ids - 2}
    loss, samples, tokens = Task(OwnLoss(key), None, {}, CPU).loss(batch)
    assert (loss.item(), samples, tokens) == (4.0, 2, 6)
    masked = {**batch, "attention_mask": torch.tensor([[1, 1, 0], [1, 0, 0]])}
    assert Task(OwnLoss(key), None, {}, CPU).loss(masked)[2] == 3


def test_inputs_of_int32_or_int64_in_two_dimensions_count_as_tokens():
    task = Task(nn.Embedding(10, 3), lambda o, t: o.sum(), None, CPU)
    assert task.count((torch.zeros(4, 5, dtype=torch.int64), None)) == (4, 20)
    assert task.count((torch.zeros(4, 5, dtype=torch.int32), None)) == (4, 20)
    assert task.count((torch.zeros(4, 5, dtype=torch.uint8), None)) == (4, 0)  # pixels
    assert task.count((torch.zeros(4, dtype=torch.int64), None)) == (4, 0)
    assert task.count((torch.zeros(4, 5), None)) == (4, 0)


def test_counts_of_samples_and_tokens_can_be_customized():
    task = Task(linear(), None, None, CPU, lambda batch: 3, lambda batch: 2**40)
    assert task.loss((X, Y))[1:] == (3, 2**40)


def test_evaluation_is_a_mean_over_samples_for_any_batches():
    model = linear()
    task = Task(model, None, {"accuracy": accuracy, "norm": lambda o, t: o.norm(dim=1).mean()}, CPU)
    uneven = task.evaluate([(X[:4], Y[:4]), (X[4:6], Y[4:6]), (X[6:], Y[6:])])
    outputs = model(X)
    assert list(uneven) == ["eval/accuracy", "eval/norm", "eval/loss"]
    assert uneven["eval/loss"] == pytest.approx(F.cross_entropy(outputs, Y).item(), rel=1e-6)
    assert uneven["eval/accuracy"] == (outputs.argmax(1) == Y).sum().item() / 7
    assert uneven["eval/norm"] == pytest.approx(outputs.norm(dim=1).mean().item(), rel=1e-6)


@pytest.mark.parametrize("sizes", [(4,), (1, 3), (2, 2), (1, 1, 1, 1)])
def test_token_mean_loss_is_weighted_by_tokens_for_any_batches(sizes):
    # Samples of 1, 2, 3 and no targets. Weighted by samples, the result would be the mean of the means of the samples,
    # and NaN because of the sample without targets.
    lengths = (1, 2, 3, 0)
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(4, 3, 4, generator=generator), torch.randint(3, (4, 3), generator=generator)
    for row, length in enumerate(lengths):
        targets[row, length:] = -100
    model = linear()
    task = Task(model, next_token_loss, {}, CPU, count_tokens=lambda batch: 3, loss_mean_over="tokens")
    metrics = task.evaluate(zip(inputs.split(list(sizes)), targets.split(list(sizes)), strict=True))
    each = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), reduction="none", ignore_index=-100)
    assert metrics["eval/loss"] == pytest.approx(each.sum().item() / 6, rel=1e-6)  # 1 + 2 + 3 targets


def test_evaluation_does_not_change_modes_or_gradients_or_the_random_state():
    class Drawing(nn.Sequential):
        def forward(self, x):
            assert not self.training
            assert not torch.is_grad_enabled()
            random.random(), np.random.random(), torch.rand(3)
            return super().forward(x)

    model = Drawing(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model.train()
    model[1].eval()  # the user froze this layer
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    expected = torch.rand(1).item(), random.random(), np.random.random()
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    Task(model, None, None, CPU).evaluate([(X, Y)])
    assert (torch.rand(1).item(), random.random(), np.random.random()) == expected
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


SCALARS = {
    "float": float, "numpy float32": np.float32, "numpy float64": np.float64, "numpy 0-d": np.array,
    "numpy [1]": lambda value: np.array([value]), "torch 0-d": torch.tensor, "torch [1]": lambda v: torch.tensor([v]),
    "torch [1, 1]": lambda value: torch.tensor([[value]]), "list": lambda value: [value], "float16": np.float16,
}  # fmt: skip


@pytest.mark.parametrize("kind", SCALARS)
def test_metric_value_of_a_batch_is_weighted_by_its_number_of_samples(kind):
    """Batches of 3 and 1 samples with 0.25 and 0.5: (3 * 0.25 + 0.5) / 4 = 0.3125; the mean of the batches is 0.375."""

    def metric(outputs, targets):
        return SCALARS[kind](0.25 if len(targets) == 3 else 0.5)

    batches = [(X[:3], Y[:3]), (X[3:4], Y[3:4])]
    task = Task(linear(), lambda o, t: metric(o, t) if kind != "list" else metric(o, t)[0], {"m": metric}, CPU)
    assert task.evaluate(batches) == {"eval/m": 0.3125, "eval/loss": 0.3125}


@pytest.mark.parametrize("number", [3, True, np.int64(3), np.bool_(True), 0.35])  # float32 has 0.3499999940
def test_metric_values_of_any_number_type_keep_their_digits(number):
    metrics = Task(linear(), None, {"m": lambda o, t: number, "each": lambda o, t: [number] * 7}, CPU).evaluate(
        [(X, Y)]
    )
    assert [metrics["eval/m"], metrics["eval/each"]] == pytest.approx([float(number)] * 2, rel=1e-15)


def test_one_value_per_batch_counts_once_if_other_batches_have_a_value_per_token():
    """Batches of 3 samples have 3 values and 1 value: (1 + 2 + 3 + 8) / 4 = 3.5.

    If the 8 counted for its 3 samples, the result would be 5.
    """
    flat = iter((torch.tensor([1.0, 2.0, 3.0]), torch.tensor([8.0]), torch.tensor([])))
    task = Task(linear(), None, {"m": lambda outputs, targets: next(flat)}, CPU)
    assert task.evaluate([(X[:3], Y[:3])] * 3)["eval/m"] == 3.5
    empty = Task(linear(), None, {"m": lambda outputs, targets: torch.tensor([])}, CPU).evaluate([(X, Y)])
    assert math.isnan(empty["eval/m"])


def mean_of_dict(outputs, targets):
    return {"mean": 1.0}


@pytest.mark.parametrize(
    ("metric", "name", "got"),
    [
        (mean_of_dict, "mean_of_dict", "{mean: float}"),
        (functools.partial(mean_of_dict), "mean_of_dict", "{mean: float}"),
        (lambda outputs, targets: None, r"the lambda at test_task\.py, line \d+", "NoneType"),
        (lambda outputs, targets: "0.5", "lambda", "str"),
        (lambda outputs, targets: 1j, "lambda", "complex"),
        (lambda outputs, targets: torch.tensor([1j]), "lambda", r"complex64 \[1\]"),
        (lambda outputs, targets: np.array(["a"]), "lambda", "ndarray"),
        (lambda outputs, targets: [[1.0], [1.0, 2.0]], "lambda", "list|float"),
    ],
)
def test_error_names_a_metric_that_returns_an_invalid_value(metric, name, got):
    with refused(
        "metrics.m", WrongTypeError, match=rf"^metrics\.m='.*{name}.*must return one number .*\(got .*({got})"
    ):
        Task(linear(), None, {"m": metric}, CPU).evaluate([(X, Y)])


def test_loss_of_shape_1_becomes_a_scalar_in_training():
    model = linear()
    own = Task(model, lambda outputs, targets: F.cross_entropy(outputs, targets).reshape(1), {}, CPU)
    for _ in range(2):
        loss = own.loss((X, Y))[0]
        assert loss.shape == ()
        assert torch.equal(loss, F.cross_entropy(model(X), Y))


@pytest.mark.parametrize("count", [np.int64(3), torch.tensor(3), torch.tensor([3]), 3.0])
def test_counts_may_be_integers_of_any_type(count):
    counts = Task(linear(), None, None, CPU, lambda batch: count, lambda batch: count).count((X, Y))
    assert counts == (3, 3)
    assert [type(number) for number in counts] == [int, int]
    with refused(
        "get_num_samples_in_batch",
        RangeError,
        match=r"^get_num_samples_in_batch='the lambda at .*must return an integer",
    ):
        Task(linear(), None, None, CPU, lambda batch: 2.5).count((X, Y))


def test_accuracy_metric_accepts_classes_and_probabilities_and_classes_per_pixel():
    logits = torch.tensor([[0.1, 0.9], [0.8, 0.2]])
    assert accuracy(logits, torch.tensor([1, 1])).tolist() == [True, False]
    assert accuracy(logits, torch.tensor([[0.3, 0.7], [0.6, 0.4]])).tolist() == [True, True]
    assert accuracy(torch.zeros(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)).shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("run", "field"),
    [
        (lambda: Task(linear(), None, None, CPU).loss(X), "train_dataloader"),
        (lambda: Task(linear(), None, None, CPU).loss((X, Y, Y)), "train_dataloader"),
        (lambda: Task(linear(), None, None, CPU).loss(("a", Y)), "train_dataloader"),
        (lambda: Task(Sum(), None, None, CPU).loss({"a": X, "b": X}), "loss"),
        (lambda: Task(linear(), None, None, CPU).evaluate([]), "eval_dataloader"),
        (lambda: Task(linear(), None, {"loss": accuracy}, CPU), "metrics"),
        (lambda: Task(linear(), None, {"f1": 3}, CPU), "metrics.f1"),
        (lambda: Task(linear(), None, [accuracy], CPU), "metrics"),
    ],
)
def test_error_for_an_unreadable_batch_or_metric_names_its_field(run, field):
    with refused(field):
        run()


def test_batch_that_is_moved_to_a_device_keeps_its_types():
    class Targets(NamedTuple):
        classes: Tensor
        weights: tuple[Tensor, str]

    task = Task(linear(), lambda outputs, targets: F.cross_entropy(outputs, targets.classes), {}, CPU)
    task._move = True  # as on a GPU
    original = Targets(Y, (torch.ones(7), "name"))
    moved = task._to_device(original)
    assert (type(moved), type(moved.weights), moved.weights[1]) == (Targets, tuple, "name")
    assert torch.equal(task.loss((X, original))[0], F.cross_entropy(task.model(X), Y))
    # A packed sequence keeps its sizes on the CPU, so its own method must move it.
    packed = pack_sequence([torch.ones(3, 2), torch.ones(1, 2)])
    elsewhere = Task(linear(), None, {}, torch.device("meta"))._to_device(packed)
    assert type(elsewhere) is PackedSequence
    assert (elsewhere.data.device.type, elsewhere.batch_sizes.device.type) == ("meta", "cpu")
