import pytest
import torch
from refusals import refused
from sklearn.datasets import load_digits

from ssr_hydra.data import Digits


def test_the_images_of_both_splits_are_those_of_scikit_learn():
    source = load_digits()
    expected = [(*pixels, label) for pixels, label in zip((source.data / 16).tolist(), source.target, strict=True)]
    splits = [
        [(*image.flatten().tolist(), int(label)) for image, label in Digits(split)] for split in ("train", "eval")
    ]
    assert [len(samples) for samples in splits] == [1198, 599]
    assert sorted(splits[0] + splits[1]) == sorted(expected)  # so the splits are disjoint


def test_splits_are_stratified():
    train, held_out = (torch.bincount(Digits(split).tensors[1]) for split in ("train", "eval"))
    assert ((held_out / (train + held_out) - 1 / 3).abs() < 1 / 174).all()
    assert repr(Digits("eval")) == "Digits(split='eval': 599 of 1797 images, 1198 to train on)"


def test_the_split_changes_only_with_split_seed():
    state = torch.get_rng_state()
    first, again, other = Digits("eval"), Digits("eval"), Digits("eval", split_seed=1)
    assert torch.equal(first.tensors[0], again.tensors[0])
    assert not torch.equal(first.tensors[0], other.tensors[0])
    assert torch.equal(torch.get_rng_state(), state)
    # Fixed values, so that studies of different releases use the same images.
    assert first.tensors[1][:12].tolist() == [3, 2, 5, 0, 5, 5, 5, 8, 7, 5, 0, 7]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("test",), "split"),
        (("train", 1e-9), "eval_fraction"),
        (("train", 0.2, -1), "split_seed"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(arguments, field):
    with refused(field):
        Digits(*arguments)
