from __future__ import annotations

from typing import Any

import pytest
import torch
from refusals import refused
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from ssr_hydra.data import Digits, RandomShift, make_loaders
from ssr_hydra.data.limits import Limited, limited
from ssr_hydra.errors import ConflictError, RangeError


class Sorted(Dataset[int]):
    """A hundred samples of each of ten classes, one class after the other, as image folders have them."""

    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> int:
        return index // 100

    def collate_fn(self, samples: list[int]) -> list[int]:
        return samples


class Stream(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(10))


@pytest.mark.parametrize("samples", [1, 7, 999, 1000])
def test_samples_are_spread_evenly_without_repetition(samples: int) -> None:
    indices = list(Limited(Sorted(), samples).indices)
    assert indices[0] == 0
    gaps = {second - first for first, second in zip(indices, [*indices[1:], 1000], strict=True)}
    assert max(gaps) - min(gaps) <= 1
    assert min(gaps) >= 1


def test_limited_data_has_samples_of_every_class() -> None:
    train, _ = make_loaders(Sorted(), batch_size=5, limit_train=2, seed=1)
    assert sorted(sample for batch in train for sample in batch) == list(range(10))


@pytest.mark.parametrize("memory", [True, False])
def test_every_epoch_has_the_given_number_of_batches_of_the_same_samples(memory: bool) -> None:
    data: Any = TensorDataset(torch.arange(100)) if memory else [torch.tensor(number) for number in range(100)]
    train, evaluation = make_loaders(data, data, batch_size=8, eval_batch_size=16, limit_train=3, limit_eval=1, seed=2)
    assert (len(train), len(evaluation)) == (3, 1)
    epochs = []
    for epoch in range(2):
        train.set_epoch(epoch)
        epochs.append([int(number) for batch in train for number in (batch[0] if memory else batch)])
    assert epochs[0] != epochs[1]  # shuffled
    assert sorted(epochs[0]) == sorted(epochs[1]) == [number * 100 // 24 for number in range(24)]
    (batch,) = evaluation
    assert [int(number) for number in (batch[0] if memory else batch)] == [number * 100 // 16 for number in range(16)]


def test_a_limit_above_the_size_does_not_change_the_data() -> None:
    data = list(range(20))
    assert limited(data, 3, 7, "limit_train") is data
    assert limited(data, None, 7, "limit_train") is data


def test_overfit_preset_evaluates_training_data_without_augmentation() -> None:
    digits = Digits("train")
    train, evaluation = make_loaders(
        digits, Digits("eval"), batch_size=8, limit_train=2, eval_on_train=True, augment=RandomShift(1), shuffle=False
    )
    eval_images = torch.cat([images for images, _ in evaluation])
    assert torch.equal(eval_images, torch.stack([digits[number * len(digits) // 16][0] for number in range(16)]))
    assert not torch.equal(eval_images, torch.cat([images for images, _ in train]))


def test_limited_data_set_has_a_different_description() -> None:
    whole = Digits("train")
    part = Limited(whole, 16).describe()
    assert part == {**whole.describe(), "samples": 16, "of_samples": len(whole)}
    assert Limited([1, 2, 3], 2).describe() == {"class": "list", "samples": 2, "of_samples": 3}


@pytest.mark.parametrize("field", ["limit_train", "limit_eval"])
def test_a_limit_is_a_number_of_batches(field: str) -> None:
    with refused(field, RangeError):
        make_loaders([1, 2, 3], [1, 2, 3], **{field: 0})


def test_stream_cannot_be_limited() -> None:
    with refused("limit_train", ConflictError):
        make_loaders(Stream(), shuffle=False, limit_train=1)
