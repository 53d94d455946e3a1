from __future__ import annotations

from typing import Any

import pytest
import torch
from refusals import refused
from sklearn.datasets import load_digits

from ssr_hydra.data import Digits


def test_the_images_are_those_of_scikit_learn() -> None:
    source = load_digits()
    images = torch.tensor(source.images, dtype=torch.float32) / 16
    expected = {
        (tuple(image.flatten().tolist()), int(label)) for image, label in zip(images, source.target, strict=True)
    }
    samples = [
        (tuple(image.flatten().tolist()), int(label)) for split in ("train", "eval") for image, label in Digits(split)
    ]
    assert len(samples) == 1797
    assert set(samples) == expected


def test_splits_are_disjoint_and_stratified() -> None:
    train, held_out = Digits("train"), Digits("eval")
    assert (len(train), len(held_out)) == (1198, 599)
    a = {tuple(image.flatten().tolist()) for image in train.tensors[0]}
    b = {tuple(image.flatten().tolist()) for image in held_out.tensors[0]}
    assert not a & b
    counts = torch.bincount(held_out.tensors[1]).double() / torch.bincount(
        torch.cat([train.tensors[1], held_out.tensors[1]])
    )
    assert ((counts - 1 / 3).abs() < 1 / 174).all()
    assert repr(held_out) == "Digits(split='eval': 599 of 1797 images, 1198 to train on)"


def test_the_split_changes_only_with_split_seed() -> None:
    state = torch.get_rng_state()
    first, again, other = Digits("eval"), Digits("eval"), Digits("eval", split_seed=1)
    assert torch.equal(first.tensors[0], again.tensors[0])
    assert not torch.equal(first.tensors[0], other.tensors[0])
    assert torch.equal(torch.get_rng_state(), state)
    # Fixed values, so that studies of different releases use the same images.
    assert first.tensors[1][:12].tolist() == PINNED


PINNED = [3, 2, 5, 0, 5, 5, 5, 8, 7, 5, 0, 7]


@pytest.mark.parametrize("fraction", [0.01, 0.5])
def test_number_of_held_out_images_is_exact(fraction: float) -> None:
    assert len(Digits("eval", fraction)) == round(1797 * fraction)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("test",), "split"),
        (("train", 1), "eval_fraction"),
        (("train", 1e-9), "eval_fraction"),
        (("train", 0.2, -1), "split_seed"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(arguments: tuple[Any, ...], field: str) -> None:
    with refused(field):
        Digits(*arguments)
