import functools
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from refusals import refused
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ssr_hydra.errors import (
    FirstBatchError,
    InputError,
    MismatchError,
    MissingValueError,
    UserCodeError,
    WrongTypeError,
)
from ssr_hydra.trainer import RunResult, Trainer, accuracy
from ssr_hydra.trainer.processes import LostProcessError, Processes, lost_process
from ssr_hydra.trainer.task import Task

CPU = torch.device("cpu")
X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
NUMBERS, CLASSES = X.sum(1), torch.tensor([0, 1, 2, 0, 1, 2, 0])


class Named(nn.Module):
    """Takes its inputs by name, and computes its own loss."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, ids: torch.Tensor, labels=None):  # the error shows this signature
        return {"loss": self.layer(ids).mean()}


def computed(task, batch, phase):
    if phase == "train":
        task.loss(batch)
    else:
        task.evaluate([batch])


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize("loss", [nn.MSELoss(), lambda outputs, targets: 2 * F.smooth_l1_loss(outputs, targets)])
def test_targets_of_another_shape_are_not_broadcast_over_the_outputs(loss, phase):
    task = Task(nn.Linear(4, 1), loss, None, CPU)
    with pytest.raises(MismatchError) as caught:
        computed(task, (X, NUMBERS), phase)
    assert (caught.value.field, caught.value.value) == (f"{phase}_dataloader", "targets [7], outputs [7, 1]")
    assert "shape [7, 1]" in caught.value.fix
    computed(Task(nn.Linear(4, 1), loss, None, CPU), (X, NUMBERS[:, None]), phase)


def test_target_of_one_number_may_be_broadcast():
    # As in adversarial training, whose target is always 1: torch warns, but the trainer accepts the loss.
    task = Task(nn.Linear(4, 1), lambda outputs, targets: F.mse_loss(outputs, torch.tensor(1.0)), None, CPU)
    with pytest.warns(UserWarning, match="target size"):
        task.loss((X, NUMBERS))


def test_metric_that_would_compare_different_samples_is_refused():
    task = Task(nn.Linear(4, 1), lambda o, t: o.mean(), {"error": lambda o, t: F.l1_loss(o, t)}, CPU)
    with refused("eval_dataloader", MismatchError):
        task.evaluate([(X, NUMBERS)])
    with refused("metrics.accuracy", MismatchError):  # 7 samples would give 49 comparisons
        accuracy(torch.zeros(7, 3), CLASSES[:, None])


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize(
    ("model", "loss", "batch", "words"),
    [
        (
            nn.Linear(4, 3),
            None,
            (X, NUMBERS),
            ("inputs float32 [7, 4], targets float32 [7]", "RuntimeError: ", "trainer=regression"),
        ),
        (nn.Linear(4, 3), None, (X, CLASSES.int()), ("targets int32 [7]", "int64 of shape [N]")),
        (nn.Linear(4, 3), None, (X, CLASSES + 1), ("IndexError: Target 3", "classes from 0 to C - 1")),
        (
            nn.Linear(4, 3),
            None,
            (X.double(), CLASSES),
            ("inputs float64 [7, 4]", "must have the type of the weights: inputs.to(torch.float32)"),
        ),
        (nn.Linear(5, 3), None, (X, CLASSES), ("7x4 and 5x3", "collate_fn")),
        (nn.Linear(4, 3), None, ((X, X), CLASSES), ("inputs (float32 [7, 4], float32 [7, 4])", "model(*inputs)")),
        (
            Named(),
            None,
            {"input_ids": X, "labels": X},
            (
                "{input_ids: float32 [7, 4], labels:",
                "'input_ids'",
                "forward accepts (ids: ",
                "): rename the batch's keys",
            ),
        ),
        (Named(), nn.CrossEntropyLoss(), {"ids": X}, ("{ids: ", "not dict", "set loss to null")),
        (
            Named(),
            lambda outputs, batch: batch["target"],
            {"ids": X},
            ("KeyError: 'target' (test_first_batch.py, ",),
        ),
    ],
)
def test_error_for_a_batch_that_does_not_fit_is_one_line(model, loss, batch, words, phase):
    with pytest.raises(FirstBatchError) as caught:
        computed(Task(model, loss, {}, CPU), batch, phase)
    message = str(caught.value)
    assert message.startswith(f"{phase}_dataloader, first batch (")
    assert [word for word in words if word not in message] == []
    assert "\n" not in message
    assert caught.value.__cause__ is not None  # the log has the traceback


@pytest.mark.parametrize("targets", [NUMBERS[:, None], CLASSES[:, None].float()])
def test_cross_entropy_of_one_output_is_refused(targets):
    with refused("model", MismatchError, match="cross entropy over one class is always 0"):
        Task(nn.Linear(4, 1), None, None, CPU).loss((X, targets))


@pytest.mark.parametrize("loss", [lambda o, t: o, lambda o, t: 0.5])
def test_loss_must_be_one_number(loss):
    with refused("loss", WrongTypeError):
        Task(nn.Linear(4, 3), loss, None, CPU).loss((X, CLASSES))


def divides(outputs, targets):
    return 1 / (len(targets) - 7)


class Divides:
    def __call__(self, outputs, targets):
        return divides(outputs, targets)


NAMED = {
    "function": (divides, "divides"),
    "partial": (functools.partial(functools.partial(divides)), "divides"),
    "object": (Divides(), "Divides"),
    "lambda": (lambda outputs, targets: 1 / 0, "the lambda at test_first_batch.py, line "),
}


@pytest.mark.parametrize("kind", NAMED)
def test_error_of_a_metric_names_the_metric_and_its_function(kind):
    metric, name = NAMED[kind]
    task = Task(nn.Linear(4, 3), None, {"ratio": metric}, CPU)
    with pytest.raises(FirstBatchError) as caught:
        task.evaluate([(X, CLASSES)])
    message = str(caught.value)
    assert message.startswith(f"metrics.ratio ({name}")
    assert "ZeroDivisionError: division by zero (test_first_batch.py, line " in message
    assert "remove the metric ratio with trainer.metrics.ratio=null" in message
    assert message.endswith("the first batch of eval_dataloader has inputs float32 [7, 4], targets int64 [7]")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    if kind != "lambda":  # also in a later batch
        with pytest.raises(UserCodeError, match=rf"^metrics\.ratio \({name}\): ZeroDivisionError"):
            task.evaluate([(X[:3], CLASSES[:3]), (X, CLASSES)])


def test_error_of_a_loss_names_the_loss_and_its_function():
    def own(outputs, targets):
        return outputs.sum() if len(targets) < 7 else outputs["x"]

    task = Task(nn.Linear(4, 3), own, None, CPU)
    with pytest.raises(FirstBatchError, match=r"\): loss \(own\): TypeError: .* \(test_first_batch\.py, line "):
        task.loss((X, CLASSES))
    task.loss((X[:3], CLASSES[:3]))
    with pytest.raises(UserCodeError, match=r"^loss \(own\): TypeError"):  # also in a later batch
        task.loss((X, CLASSES))


def test_error_of_the_default_metric_says_how_to_remove_the_metric():
    """Targets of a different task: the loss accepts them, but the default metric does not."""
    task = Task(nn.Linear(4, 3), None, {"accuracy": accuracy}, CPU)
    task.given_loss = task._loss = lambda outputs, targets: outputs.sum()
    for targets in (CLASSES[:, None], "texts"):
        with pytest.raises((InputError, FirstBatchError), match=r"^metrics\.accuracy") as caught:
            task.evaluate([(X, targets)])
        assert "remove the metric accuracy of trainer=default with trainer.metrics.accuracy=null" in str(caught.value)


class Empty:
    """Batches whose samples cannot be counted."""

    def __iter__(self):
        return iter(())


def test_evaluation_is_tried_before_the_first_step(tmp_path):
    model = nn.Linear(4, 3)
    before = model.weight.clone()
    options = {"max_duration": "3ep", "progress": "none", "device": "cpu"}
    batches = [(X, CLASSES)]
    with pytest.raises(FirstBatchError, match=r"^metrics\.ratio"):
        Trainer(model, batches, batches, metrics={"ratio": divides}, run_dir=tmp_path, **options).fit()
    assert torch.equal(model.weight, before)
    assert RunResult.load(tmp_path).steps == 0
    # The first batch of training is checked before the evaluation.
    with pytest.raises(FirstBatchError, match="^train_dataloader"):
        Trainer(model, [(X, NUMBERS)], [(X, NUMBERS)], **options).fit()
    with refused("eval_dataloader", MissingValueError):  # not after training
        Trainer(model, batches, Empty(), **options).fit()
    assert torch.equal(model.weight, before)
    # A loader that can be read only once is not read early.
    result = Trainer(model, batches, iter([(X, CLASSES), (X, CLASSES)]), eval_interval=None, **options).fit()
    assert result.status == "completed"


def test_evaluation_before_the_first_step_does_not_change_the_run():
    """Loaders with a shared generator, a global random number per sample, dropout and batch norm."""

    def trained(evaluates):
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        generator = torch.Generator().manual_seed(5)

        class Noisy(Dataset[Any]):
            def __len__(self):
                return 7

            def __getitem__(self, index):
                return X[index] + torch.rand(4), CLASSES[index]

        train, held_out = (DataLoader(Noisy(), 2, shuffle=True, drop_last=True, generator=generator) for _ in range(2))
        options = {"eval_interval": None, "max_duration": "2ep", "progress": "none", "device": "cpu"}
        Trainer(model, train, held_out if evaluates else None, **options).fit()
        return model.state_dict()

    for name, tensor in trained(False).items():
        assert torch.equal(tensor, trained(True)[name]), name


def test_process_lost_in_the_first_batch_causes_a_lost_process_error():
    error = FirstBatchError("of the loader")
    error.__cause__ = RuntimeError("Connection closed by peer")  # the words of gloo
    assert isinstance(lost_process(error, Processes(0, world_size=2)), LostProcessError)
    assert lost_process(error, Processes()) is None


def test_only_the_first_batch_is_validated_and_other_errors_are_unchanged():
    class Own(RuntimeError):
        pass

    class Failing(nn.Linear):
        error: Exception | None = None

        def forward(self, inputs):
            if self.error is not None:
                raise self.error
            return super().forward(inputs)

    model = Failing(4, 3)
    model.error = Own("mine")
    with pytest.raises(Own):
        Task(model, None, None, CPU).loss((X, CLASSES))
    model.error, task = None, Task(model, None, None, CPU)
    before = list(warnings.filters)
    first, again = task.loss((X, CLASSES))[0], task.loss((X, CLASSES))[0]
    assert torch.equal(first, again)
    assert warnings.filters == before
    model.error = error = RuntimeError("later")
    with pytest.raises(RuntimeError) as caught:
        task.loss((X, CLASSES))
    assert caught.value is error
