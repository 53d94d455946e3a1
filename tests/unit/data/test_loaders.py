import random

import numpy as np
import pytest
import torch
from cases import each
from refusals import refused
from resume_lab import NoisyStream
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from ssr_hydra.data import Digits, RandomShift, SeededSampler, TensorLoader, known_length, make_loaders, seed_everything
from ssr_hydra.data.loaders import Limited
from ssr_hydra.data.seeded import SeededDataLoader
from ssr_hydra.errors import ConflictError, MismatchError, RangeError, RunError, WrongTypeError


def ten():
    return TensorDataset(torch.arange(10.0).reshape(10, 1), torch.arange(10))


def labels(loader):
    return [batch[1].tolist() for batch in loader]


class Noisy(Dataset[tuple[Tensor, int]]):
    """Samples drawn from every global generator, as user code may do."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.tensor([random.random(), float(np.random.random()), float(torch.rand(()))]), index


class Stream(IterableDataset[int]):
    def __iter__(self):
        yield from range(7)


class ShuffledStream(IterableDataset[int]):
    def __iter__(self):
        return iter(torch.randperm(7).tolist())  # not a generator: draws the order before the first sample


def test_order_of_a_stream_depends_only_on_seed_and_epoch():
    def order(seed):
        torch.manual_seed(seed)  # the random state of the process must not matter
        loader, _ = make_loaders(ShuffledStream(), batch_size=7, shuffle=False, seed=3)
        return [[batch.tolist() for batch in loader] for _ in range(2)]

    assert order(0) == order(1)


def test_epoch_has_every_sample_once():
    loader = TensorLoader(ten(), 4, seed=3)
    batches = labels(loader)
    assert [len(batch) for batch in batches] == [4, 4, 2] == [len(x) for x, _ in loader]
    assert len(loader) == 3
    assert sorted(k for batch in batches for k in batch) == list(range(10))
    assert labels(TensorLoader(ten(), 4, shuffle=False)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    dropped = TensorLoader(ten(), 4, drop_last=True)
    assert len(dropped) == 2 == len(labels(dropped))


def test_order_depends_only_on_seed_and_epoch():
    loader = TensorLoader(ten(), 4, seed=1)
    first, second = labels(loader), labels(loader)
    assert first != second
    loader.set_epoch(0)
    assert labels(loader) == first
    torch.manual_seed(99)
    fresh = TensorLoader(ten(), 4, seed=1)
    fresh.set_epoch(1)
    assert labels(fresh) == second
    assert labels(TensorLoader(ten(), 4, seed=2)) != first


def test_augmentation_is_a_function_of_seed_epoch_and_batch():
    def images(seed, epoch, pixels=1):
        loader = TensorLoader(Digits("eval"), 100, shuffle=False, seed=seed, augment=RandomShift(pixels))
        loader.set_epoch(epoch)
        return torch.cat([batch[0] for batch in loader])

    first = images(0, 0)
    assert torch.equal(first, images(0, 0))
    assert not any(torch.equal(first, other) for other in (images(0, 1), images(1, 0), images(0, 0, 0)))


def test_loader_copies_batches_and_uses_no_global_random_numbers():
    data = ten()
    state = torch.get_rng_state()
    for inputs, _ in TensorLoader(data, 4, shuffle=False):
        inputs.zero_()
    assert torch.equal(torch.get_rng_state(), state)
    assert data.tensors[0].sum() == 45


def test_make_loaders_creates_a_tensor_loader_only_for_tensors():
    train, held_out = make_loaders(ten(), Subset(ten(), [7, 1, 2]), batch_size=4)
    assert isinstance(train, TensorLoader)
    assert labels(held_out) == [[7, 1, 2]]

    class Transformed(TensorDataset):
        """A subclass that changes its samples cannot be replaced by its tensors."""

        def __getitem__(self, index):
            return self.tensors[0][index] * 2, self.tensors[1][index]

    train, _ = make_loaders(Transformed(*ten().tensors), batch_size=10, shuffle=False)
    assert isinstance(train, DataLoader)
    assert next(iter(train))[0].flatten().tolist() == [2.0 * k for k in range(10)]


def noise(loader, epoch):
    loader.set_epoch(epoch)
    return [(inputs.tolist(), index.tolist()) for inputs, index in loader]


def test_dataloader_batches_are_a_function_of_seed_and_epoch():
    alone, _ = make_loaders(Noisy(), batch_size=4, seed=5)
    first, second = noise(alone, 0), noise(alone, 1)
    assert first != second
    assert sorted(k for _, index in first for k in index) == list(range(10))
    torch.manual_seed(1)
    assert noise(alone, 0) == first
    assert noise(alone, 1) == second
    assert noise(make_loaders(Noisy(), batch_size=4, seed=6)[0], 0) != first


def test_reading_samples_does_not_change_global_random_numbers():
    loader, _ = make_loaders(Noisy(), batch_size=4)
    draws = []
    for read in (lambda: None, lambda: list(loader)):
        seed_everything(0)
        read()
        draws.append((random.random(), np.random.random(), float(torch.rand(()))))
    assert draws[0] == draws[1]


def test_loader_calls_getitems_of_the_data_set():
    class WholeBatches(Noisy):
        def __getitems__(self, indices):
            return [(torch.zeros(1), index) for index in indices]

    loader, _ = make_loaders(WholeBatches(), batch_size=4)
    assert all(inputs.sum() == 0 for inputs, _ in loader)


def test_stream_is_loaded_in_its_own_order_and_without_a_length():
    loader, _ = make_loaders(Stream(), batch_size=3, shuffle=False)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2], [3, 4, 5], [6]]
    assert (known_length(loader), known_length(make_loaders(ten(), batch_size=3)[0])) == (None, 4)
    with refused("shuffle", ConflictError):
        make_loaders(Stream(), batch_size=3)


def test_batches_of_a_stream_are_a_function_of_seed_and_epoch():
    def read(epochs):
        loader, _ = make_loaders(NoisyStream(), batch_size=2, shuffle=False, seed=5)
        batches = {}
        for epoch in epochs:
            loader.set_epoch(epoch)
            batches[epoch] = []
            for batch in loader:
                torch.rand(3)  # training uses random numbers too
                batches[epoch].append([part.tolist() for part in batch])
        return batches

    before = random.getstate()
    all_three = read([0, 1, 2])
    assert random.getstate() == before
    assert read([2, 1]) == {2: all_three[2], 1: all_three[1]}
    assert [batches[0][0] for batches in all_three.values()] == [[0, 0], [1, 1], [2, 2]]
    numbers = [number for batches in all_three.values() for batch in batches for part in batch[1:] for number in part]
    assert len(set(numbers)) == 3 * 4 * 3


EMPTY = TensorDataset(torch.zeros(0, 1), torch.zeros(0))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"train": EMPTY}, "train.dataset"),
        ({"train": Subset(Noisy(), [])}, "train.dataset"),
        ({"train": ten(), "eval": EMPTY}, "eval.dataset"),
        ({"train": 3}, "train.dataset"),
        ({"train": ten(), "batch_size": 11, "drop_last": True}, "batch_size"),
        ({"train": ten(), "num_workers": 2}, "num_workers"),
        ({"train": Noisy(), "augment": RandomShift(1)}, "augment"),
        ({"train": ten(), "seed": -1}, "seed"),
        ({"train": ten(), "limit_train": 0}, "limit_train"),
        ({"train": ten(), "eval": ten(), "limit_eval": 0}, "limit_eval"),
        ({"train": Stream(), "shuffle": False, "limit_train": 1}, "limit_train"),
    ],
)
def test_error_for_an_invalid_argument_names_the_argument(arguments, field):
    with refused(field):
        make_loaders(**arguments)


@each("samples", [[torch.zeros(2), torch.zeros(3)], [(0, None), (1, None)], [{"x": 1}, {"y": 1}]])
def test_samples_that_do_not_fit_into_one_batch_give_a_one_line_error(samples):
    loader, _ = make_loaders(samples, batch_size=2)
    with pytest.raises(RunError, match="^2 samples of the data set do not fit into one batch: .*collate_fn") as caught:
        list(loader)
    assert "\n" not in str(caught.value)


def test_prefetch_factor_applies_only_to_workers():
    loader, _ = make_loaders(Noisy(), batch_size=4, num_workers=1, prefetch_factor=3)
    assert loader.prefetch_factor == 3
    with refused("prefetch_factor", ConflictError):
        make_loaders(Noisy(), batch_size=4, prefetch_factor=3)


@each("size", [0, 0.5, True, None])
def test_batch_size_must_be_at_least_one_in_every_loader(size):
    options = {"batch_size": size, "shuffle": False, "drop_last": False, "seed": 0}
    loaders = [
        lambda: TensorLoader(ten(), size),
        lambda: SeededSampler(10, size),
        lambda: SeededDataLoader(Stream(), **options),
        lambda: make_loaders(Noisy(), batch_size=size),
        lambda: make_loaders(Noisy(), Noisy(), eval_batch_size=size),
    ]
    for make in loaders:
        with pytest.raises(RangeError if type(size) is int else WrongTypeError, match="batch_size="):
            make()
    with refused("dataset", MismatchError):
        TensorLoader([torch.zeros(3), torch.zeros(4)], 2)


class Batched(list[int]):
    """Data with its own way to make a batch."""

    @staticmethod
    def collate_fn(samples):
        return [torch.tensor(samples)]


@each("limit", [None, 1])
def test_data_set_whose_collate_fn_is_none_has_the_batches_of_default_collate(limit):
    data = Batched(range(8))
    data.collate_fn = None
    loader, _ = make_loaders(data, batch_size=4, shuffle=False, limit_train=limit)
    assert next(iter(loader)).tolist() == ([0, 1, 2, 3] if limit is None else [0, 2, 4, 6])


@pytest.mark.parametrize("data", [TensorDataset(torch.arange(100)), Batched(range(100))])
def test_every_epoch_has_the_given_number_of_batches_of_the_same_samples(data):
    train, evaluation = make_loaders(data, data, batch_size=8, eval_batch_size=16, limit_train=3, limit_eval=1, seed=2)
    assert (len(train), len(evaluation)) == (3, 1)
    epochs = []
    for epoch in range(2):
        train.set_epoch(epoch)
        epochs.append([int(number) for (batch,) in train for number in batch])
    assert epochs[0] != epochs[1]  # shuffled
    # The samples have equal distances, because data sets are often sorted by class.
    assert sorted(epochs[0]) == sorted(epochs[1]) == [number * 100 // 24 for number in range(24)]
    assert [batch.tolist() for (batch,) in evaluation] == [[number * 100 // 16 for number in range(16)]]


def test_a_limit_above_the_size_does_not_change_the_data():
    data = ten()
    assert make_loaders(data, batch_size=5, limit_train=2)[0].dataset is data


def test_overfit_preset_evaluates_training_data_without_augmentation():
    digits = Digits("train")
    train, evaluation = make_loaders(
        digits, Digits("eval"), batch_size=8, limit_train=2, eval_on_train=True, augment=RandomShift(1), shuffle=False
    )
    eval_images = torch.cat([images for images, _ in evaluation])
    assert torch.equal(eval_images, torch.stack([digits[number * len(digits) // 16][0] for number in range(16)]))
    assert not torch.equal(eval_images, torch.cat([images for images, _ in train]))


def test_limited_data_set_has_a_different_description():
    whole = Digits("train")
    part = Limited(whole, 16).describe()
    assert part == {**whole.describe(), "samples": 16, "of_samples": len(whole)}
    assert Limited([1, 2, 3], 2).describe() == {"class": "list", "samples": 2, "of_samples": 3}
