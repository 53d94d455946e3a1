"""The description of a run in a checkpoint: equal for equal values in every process, different for different values."""

import functools
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader, Subset, TensorDataset

from ssr_hydra.checkpoints import differences
from ssr_hydra.data import Digits, RandomShift, make_loaders
from ssr_hydra.schedulers import ProductScheduler, StepScheduler
from ssr_hydra.time import Time
from ssr_hydra.trainer.description import (
    describe_data,
    describe_loader,
    describe_model,
    describe_optimizer,
    plain_data,
)


def changes(old, new):
    return [str(item) for item in differences({"it": old}, {"it": new})]


def test_model_is_described_by_its_class_and_the_shapes_of_its_state():
    described = describe_model(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    assert described["class"] == "Sequential"
    assert described["state"]["0.weight"] == "float32 [3, 2]"
    assert described["state"]["1.num_batches_tracked"] == "int64 []"
    other = describe_model(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double())
    assert changes(described, other)[0] == "it.state.0.weight was 'float32 [3, 2]' and is 'float64 [3, 2]'"


def test_optimizer_is_described_by_class_and_given_hyperparameters():
    model = nn.Linear(2, 3)
    optimizer = torch.optim.SGD([{"params": [model.weight], "lr": 0.2}, {"params": [model.bias]}], lr=0.1, momentum=0.9)
    described = describe_optimizer(optimizer)
    assert [(group["lr"], group["momentum"], group["parameters"]) for group in described["groups"]] == [
        (0.2, 0.9, 1),
        (0.1, 0.9, 1),
    ]
    json.dumps(described, allow_nan=False)
    before = json.dumps(described)
    # A schedule changes lr; initial_lr has the value that the user set.
    StepLR(optimizer, 1, gamma=0.5)
    optimizer.param_groups[0]["lr"] = 0.001
    assert json.dumps(describe_optimizer(optimizer)) == before


@dataclass
class Shape:
    width: int
    lengths: tuple[str, ...] = ("1ep",)


class Color(Enum):
    RED = 1


class Steep:
    def __init__(self, power):
        self.power, self.name, self.flags = power, "steep", [1, 2]

    def __call__(self, state):
        return self.power


def half(state, alpha=0.5):
    return alpha


def cyclic():
    items = [1]
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (0.1, 0.1),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
        (Time("1/3dur"), "1/3dur"),
        (torch.float16, "torch.float16"),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (np.float64(0.5), 0.5),
        (np.int64(3), 3),
        (np.arange(3), [0, 1, 2]),
        (Color.RED, "Color.RED"),
        (b"x", "b'x'"),
        (Path("a") / "b", str(Path("a/b"))),
        ((1, {"a": [2]}), [1, {"a": [2]}]),
        ({"b", "a", "c"}, ["a", "b", "c"]),
        (Shape(3), {"class": "Shape", "width": 3, "lengths": ["1ep"]}),
        (Steep(2.0), {"class": "Steep", "power": 2.0, "name": "steep", "flags": [1, 2]}),
        (cyclic(), [1, "..."]),
    ],
)  # fmt: skip
def test_any_argument_is_described_as_plain_data(value, plain):
    description = plain_data(value)
    assert description == plain
    assert type(description) is type(plain)
    json.dumps(description, allow_nan=False)


def test_description_names_functions_and_shows_arguments_of_partials():
    assert plain_data(half) == f"{half.__module__}.half"
    description = plain_data(functools.partial(half, alpha=0.25))
    assert description == {"class": f"{half.__module__}.half", "args": [], "alpha": 0.25}


def test_description_has_no_addresses_of_objects():
    """The addresses of objects differ between processes."""
    value = [len, functools.partial(max, key=len), Steep(print), object(), lambda state: 1.0]
    assert "0x" not in json.dumps(plain_data(value))


def sgd():
    return torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda value: [ProductScheduler({"b": StepScheduler("2ep", gamma=value)})], "[0].factors.b.gamma"),
        (lambda value: StepLR(sgd(), 3, gamma=value), ".gamma"),
        (lambda value: nn.CrossEntropyLoss(torch.tensor([1.0, value])), ".weight[1]"),
        (lambda value: nn.CrossEntropyLoss(label_smoothing=value), ".label_smoothing"),
        (lambda value: functools.partial(half, alpha=value), ".alpha"),
    ],
)
def test_objects_are_described_by_their_arguments(make, field):
    first, again, other = (plain_data(make(value)) for value in (0.25, 0.25, 0.5))
    assert changes(first, again) == []
    assert changes(first, other) == [f"it{field} was 0.25 and is 0.5"]


def test_torch_scheduler_with_a_function_is_described():
    json.dumps(plain_data(LambdaLR(sgd(), lambda epoch: 1.0)), allow_nan=False)


@pytest.mark.parametrize(
    "make",
    [lambda shift: torch.arange(1000.0) + shift, lambda shift: np.arange(1000.0) + shift, lambda shift: [shift] * 1000],
)
def test_long_lists_are_described_by_a_digest(make):
    first, again, other = (plain_data(make(shift)) for shift in (0, 0, 1))
    assert first == again != other
    assert len(first) < 60


def test_data_in_memory_is_described_by_its_values():
    inputs = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    first = describe_data(TensorDataset(inputs, torch.arange(40)))
    assert (first["class"], first["samples"]) == ("TensorDataset", 40)
    assert describe_data(TensorDataset(inputs.clone(), torch.arange(40))) == first
    assert len(changes(first, describe_data(TensorDataset(inputs + 1e-6, torch.arange(40))))) == 1
    assert changes(first, describe_data(TensorDataset(inputs.bfloat16(), torch.arange(40))))
    part = describe_data(Subset(TensorDataset(inputs), [3, 1]))
    assert (part["indices"], part["samples"], part["of"]["samples"]) == ([3, 1], 2, 40)
    assert describe_data([1, 2, 3]) == {"class": "list", "samples": 3}


def test_describe_method_of_a_data_set_is_used():
    class Said:
        def describe(self):
            return {"files": np.int64(3), "split": "train"}

    assert describe_data(Said()) == {"files": 3, "split": "train"}
    assert describe_data(Digits("train")) != describe_data(Digits("eval"))


def test_loader_is_described_by_its_batches_and_their_order():
    loader, _ = make_loaders(Digits("train"), batch_size=100, seed=3, augment=RandomShift(1))
    described = describe_loader(loader)
    assert [described[key] for key in ("batches", "batch_size", "seed", "shuffle")] == [12, 100, 3, True]
    assert described["augment"]["pixels"] == 1
    for change, field in (
        ({"seed": 4}, "seed"), ({"shuffle": False}, "shuffle"), ({"batch_size": 50}, "batches"),
        ({"drop_last": True}, "batches"), ({"augment": RandomShift(2)}, "augment.pixels"),
    ):  # fmt: skip
        arguments = {"batch_size": 100, "seed": 3, "augment": RandomShift(1), **change}
        other, _ = make_loaders(Digits("train"), **arguments)
        assert any(item.startswith(f"it.{field} was") for item in changes(described, describe_loader(other))), field
    plain = describe_loader(DataLoader(TensorDataset(torch.zeros(10, 1)), batch_size=4))
    assert (plain["loader"], plain["batches"], plain["batch_size"]) == ("DataLoader", 3, 4)
    assert describe_loader(iter([1]))["batches"] is None
