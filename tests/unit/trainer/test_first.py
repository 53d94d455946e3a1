from __future__ import annotations

import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.errors import FirstBatchError, InputError
from ssr_hydra.trainer import RunResult, Trainer, accuracy
from ssr_hydra.trainer.processes import LostProcessError
from ssr_hydra.trainer.task import Task

CPU = torch.device("cpu")
X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
NUMBERS, CLASSES = X.sum(1), torch.tensor([0, 1, 2, 0, 1, 2, 0])


class Named(nn.Module):
    """Takes its inputs by name, and brings its own loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, ids: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"loss": self.layer(ids).mean()}


def computed(task: Task, batch: Any, phase: str) -> None:
    if phase == "train":
        task.loss(batch)
    else:
        task.evaluate([batch])


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize(
    "loss", [nn.MSELoss(), F.l1_loss, nn.HuberLoss(), lambda outputs, targets: 2 * F.smooth_l1_loss(outputs, targets)]
)
def test_numbers_of_another_shape_are_not_spread_over_the_outputs(loss: Callable[..., Tensor], phase: str) -> None:
    task = Task(nn.Linear(4, 1), loss, None, CPU)
    with pytest.raises(InputError) as caught:
        computed(task, (X, NUMBERS), phase)
    assert (caught.value.field, caught.value.value) == (f"{phase}_dataloader", "targets [7], outputs [7, 1]")
    assert "shaped [7, 1]" in caught.value.fix
    computed(Task(nn.Linear(4, 1), loss, None, CPU), (X, NUMBERS[:, None]), phase)


def test_one_number_for_all_is_meant() -> None:
    # As of adversarial training, whose target is 1 throughout: torch warns there, and there is nothing to refuse.
    task = Task(nn.Linear(4, 1), lambda outputs, targets: F.mse_loss(outputs, torch.tensor(1.0)), None, CPU)
    with pytest.warns(UserWarning, match="target size"):
        task.loss((X, NUMBERS))


def test_a_metric_does_not_compare_samples_with_each_other() -> None:
    task = Task(nn.Linear(4, 1), lambda o, t: o.mean(), {"error": lambda o, t: F.l1_loss(o, t)}, CPU)
    with pytest.raises(InputError, match=r"^eval_dataloader='targets \[7\], outputs \[7, 1\]'"):
        task.evaluate([(X, NUMBERS)])
    with pytest.raises(InputError, match=r"^metrics.accuracy='targets \[7, 1\]'"):  # 49 comparisons of 7 samples
        accuracy(torch.zeros(7, 3), CLASSES[:, None])


def test_a_user_is_told_of_the_same_by_the_trainer_and_the_run_says_failed(tmp_path: Any) -> None:
    trainer = Trainer(nn.Linear(4, 1), [(X, NUMBERS)], loss=nn.MSELoss(), progress="none", run_dir=tmp_path)
    with pytest.raises(InputError, match="spread over each other"):
        trainer.fit()
    record = RunResult.load(tmp_path)
    assert (record.status, record.steps) == ("failed", 0)  # no step was taken by a gradient that means nothing


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
        (nn.Linear(4, 3), None, (X, CLASSES.int()), ("targets int32 [7]", "int64 shaped [N]")),
        (nn.Linear(4, 3), None, (X, CLASSES + 1), ("IndexError: Target 3", "a class of 0 to C - 1")),
        (nn.Linear(4, 3), None, (X.double(), CLASSES), ("inputs float64 [7, 4]", "give inputs of float32")),
        (nn.Linear(5, 3), None, (X, CLASSES), ("7x4 and 5x3", "collate_fn")),
        (nn.Linear(4, 3), None, ((X, X), CLASSES), ("inputs (float32 [7, 4], float32 [7, 4])", "model(*inputs)")),
        (
            Named(),
            None,
            {"input_ids": X, "labels": X},
            ("{input_ids: float32 [7, 4], labels:", "'input_ids'", "forward takes (ids: "),
        ),
        (Named(), nn.CrossEntropyLoss(), {"ids": X}, ("{ids: ", "not dict", "set loss to null")),
        (Named(), lambda outputs, batch: batch["target"], {"ids": X}, ("KeyError: 'target' (test_first.py, line ",)),
    ],
)
def test_what_does_not_fit_is_one_line_about_the_batch(
    model: nn.Module, loss: Any, batch: Any, words: tuple[str, ...], phase: str
) -> None:
    with pytest.raises(FirstBatchError) as caught:
        computed(Task(model, loss, {}, CPU), batch, phase)
    said = str(caught.value)
    assert said.startswith(f"{phase}_dataloader, first batch (")
    assert [word for word in words if word not in said] == []
    assert "\n" not in said
    assert caught.value.__cause__ is not None  # which has the traceback


@pytest.mark.parametrize("targets", [NUMBERS[:, None], CLASSES[:, None].float()])
def test_cross_entropy_of_one_output_is_refused_for_it_learns_nothing(targets: Tensor) -> None:
    with pytest.raises(InputError, match="0 whatever the model says"):
        Task(nn.Linear(4, 1), None, None, CPU).loss((X, targets))


@pytest.mark.parametrize("loss", [lambda o, t: o, lambda o, t: 0.5])
def test_a_loss_is_one_number(loss: Any) -> None:
    with pytest.raises(InputError, match="must be one number, and is") as caught:
        Task(nn.Linear(4, 3), loss, None, CPU).loss((X, CLASSES))
    assert caught.value.field == "loss"


def test_a_process_that_is_lost_in_the_first_batch_is_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(nn.Linear(4, 3), [(X, CLASSES)], progress="none")
    monkeypatch.setattr(trainer, "_processes", SimpleNamespace(world_size=2))
    error = FirstBatchError("of the loader")
    error.__cause__ = RuntimeError("Connection closed by peer")  # as gloo says it
    assert isinstance(trainer._lost(error), LostProcessError)


def test_only_the_first_batch_is_looked_after_and_errors_of_other_types_are_the_users() -> None:
    class Own(RuntimeError):
        pass

    class Failing(nn.Linear):
        error: Exception | None = None

        def forward(self, inputs: Tensor) -> Tensor:
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
