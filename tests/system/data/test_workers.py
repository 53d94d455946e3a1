"""Workers of a loader read the same data as the process itself."""

import random
import re
from typing import Any

import numpy as np
import pytest
import torch
from resume_lab import Noisy, NoisyStream
from torch.utils.data import Dataset, IterableDataset

from ssr_hydra.data import ImageFolder, StdlibDocuments, make_loaders
from ssr_hydra.errors import RunError, UserCodeError


def epochs(data, workers, numbers=(0, 1), **settings):
    """Return the batches of these epochs, in this order."""
    loader, _ = make_loaders(data, batch_size=4, seed=5, num_workers=workers, **settings)
    read = {}
    for number in numbers:
        loader.set_epoch(number)
        read[number] = [torch.utils._pytree.tree_map(torch.Tensor.tolist, batch) for batch in loader]
    return read


def images(folder):
    image = pytest.importorskip("PIL.Image")
    transforms = pytest.importorskip("torchvision.transforms.v2")
    for name in ("ant", "bee"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (9, 9, 3), dtype=np.uint8)
            image.fromarray(pixels).save(folder / "train" / name / f"{number}.png")
    return ImageFolder(str(folder), transforms={"crop": transforms.RandomResizedCrop([4, 4], antialias=True)})


class Broken(Dataset[Any]):
    """Data that raises an error for each sample."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise self.error


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_an_unreadable_file_is_one_line_with_and_without_workers(workers):
    with pytest.raises(RunError) as caught:
        epochs(Broken(RunError("a/b.png cannot be read: truncated")), workers)
    assert str(caught.value) == "a/b.png cannot be read: truncated"


@pytest.mark.parametrize("workers", [0, 1])
def test_error_of_a_custom_data_set_names_the_sample_and_the_line(workers):
    with pytest.raises(UserCodeError) as caught:
        epochs(Broken(KeyError("label")), workers)
    line = Broken.__getitem__.__code__.co_firstlineno + 1
    cause = f"KeyError: 'label' (test_workers.py, line {line})"
    # The order of the four samples is random.
    assert re.fullmatch(rf"sample [0-3] of the data set \(Broken\): {re.escape(cause)}", str(caught.value))
    assert "KeyError" in f"{caught.value.__cause__!r}"  # for the traceback in a log


class BrokenStream(IterableDataset[int]):
    """A stream whose third sample raises an error."""

    def __iter__(self):
        yield from (1, 2)
        raise ValueError("bad shard")


class BrokenCollate(Dataset[int]):
    """Data with a collate_fn that raises an error."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return index

    def collate_fn(self, samples):
        raise ValueError("bad shard")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("data", "part", "line"),
    [
        (BrokenStream(), "sample 2", BrokenStream.__iter__.__code__.co_firstlineno + 2),
        (BrokenCollate(), "collate_fn", BrokenCollate.collate_fn.__code__.co_firstlineno + 1),
    ],
)
def test_error_of_a_stream_or_collate_fn_names_the_part_and_the_line(workers, data, part, line):
    with pytest.raises(UserCodeError) as caught:
        epochs(data, workers, shuffle=False)
    cause = f"ValueError: bad shard (test_workers.py, line {line})"
    assert str(caught.value) == f"{part} of the data set ({type(data).__name__}): {cause}"


@pytest.mark.parametrize("name", ["numbers", "images", "text"])
def test_batches_do_not_depend_on_the_number_of_workers(tmp_path, name):
    data = {
        "numbers": Noisy,  # draws from every global generator
        "images": lambda: images(tmp_path),
        "text": lambda: StdlibDocuments("eval", max_length=100, limit=10),  # has its own collate_fn
    }[name]()
    alone = epochs(data, 0)
    assert epochs(data, 2) == alone
    assert epochs(data, 2, (1, 0)) == alone  # the same worker processes, with the epochs in a different order


def test_batches_of_a_stream_in_workers_depend_only_on_seed_and_epoch():
    before = random.getstate()
    first = epochs(NoisyStream(), 1, (0, 1, 2), shuffle=False)
    assert random.getstate() == before
    assert epochs(NoisyStream(), 1, (2, 1), shuffle=False) == {number: first[number] for number in (1, 2)}
    (batches,) = zip(*(first[number] for number in (0, 1, 2)), strict=True)
    assert [batch[0] for batch in batches] == [[0] * 4, [1] * 4, [2] * 4]
    assert len({number for batch in batches for part in batch[1:] for number in part}) == 3 * 4 * 3
