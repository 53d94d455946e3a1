"""torch's DataLoader with an order and random numbers that depend only on (seed, epoch)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, IterDataPipe, Sampler

from ssr_hydra.data.seeding import (
    ORDER_STREAM,
    SAMPLE_STREAM,
    WORKERS_STREAM,
    GlobalRng,
    fold,
    preserved_rng,
    seed_global_rng,
)
from ssr_hydra.errors import InputError, RunError, UserCodeError, callable_name, described_error
from ssr_hydra.settings.base import count as check_count


class Padding(NamedTuple):
    """A dummy batch for a process that gets no samples, because every process must take part in every step."""

    batch: Any


def share(samples: int, rank: int, world_size: int) -> tuple[int, int]:
    """Return the range of a batch's samples that a process gets. The sizes of the ranges differ by at most one.

    Returns:
        The index of the first sample, and the index after the last sample.

    Example:
        >>> share(7, 0, 2), share(7, 1, 2), share(1, 1, 2)
        ((0, 4), (4, 7), (1, 1))
    """
    each, rest = divmod(samples, world_size)
    begin = rank * each + min(rank, rest)
    return begin, begin + each + (rank < rest)


def num_batches(length: int, batch_size: int, drop_last: bool) -> int:
    """Return the number of batches of an epoch."""
    return length // batch_size if drop_last else -(-length // batch_size)


def epoch_order(length: int, seed: int, epoch: int) -> torch.Tensor:
    """Return the order of the samples in a shuffled epoch."""
    return torch.randperm(length, generator=torch.Generator().manual_seed(fold(seed, ORDER_STREAM, epoch)))


class _Key(NamedTuple):
    """The index of a sample, and the seed of its random numbers. The sampler passes both to the data set."""

    sample: int
    seed: int


class SeededSampler(Sampler[list[_Key]]):
    """A sampler whose batches depend only on (seed, epoch). Every sample has its own seed.

    Args:
        length: Number of samples in the data set.
        batch_size: Samples per batch. The last batch of an epoch may be smaller.
        shuffle: Whether each epoch has a new order. If false, the order is 0, 1, 2 ...
        drop_last: Whether to drop the last batch of an epoch if it is not full.
        seed: Seed from which the order and the samples' seeds are computed.
        rank: Rank of this process.
        world_size: Number of processes that share each batch.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.length, self.batch_size = length, check_count(batch_size, "batch_size")
        self.shuffle, self.drop_last = shuffle, drop_last
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return num_batches(self.length, self.batch_size, self.drop_last)

    def size(self, batch: int) -> int:
        """Return the number of samples in a batch, summed over all processes."""
        return min(self.batch_size, self.length - batch * self.batch_size)

    def __iter__(self) -> Iterator[list[_Key]]:
        order: Sequence[int] = range(self.length)
        if self.shuffle:
            order = epoch_order(self.length, self.seed, self.epoch).tolist()
        epoch_seed = fold(self.seed, SAMPLE_STREAM, self.epoch)
        for batch in range(self.start, len(self)):
            begin, end = share(self.size(batch), self.rank, self.world_size)
            first = batch * self.batch_size
            keys = order[first + begin : first + end] if end > begin else order[first : first + 1]  # for Padding
            yield [_Key(index, fold(epoch_seed, index)) for index in keys]


class SeededDataset(Dataset[Any]):
    """A data set whose random numbers, including augmentation, depend only on (seed, epoch, sample).

    Before each sample, the class seeds the global generators of Python, NumPy and torch. If the data set has
    ``__getitems__``, the class seeds them only once per batch. After each batch, it restores their state. So the random
    numbers do not depend on the number of workers. Each seeding takes about 30 us.

    Args:
        dataset: A map-style data set.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # make_loaders has checked that there is a length

    def __getitem__(self, key: _Key) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[_Key]) -> Any:
        whole_batch = getattr(self.dataset, "__getitems__", None)
        index: int | None = None  # None while the data set reads the batch as a whole
        with (
            preserved_rng(),
            _named_errors(lambda: "a batch" if index is None else f"sample {index}", self.dataset),
        ):
            if whole_batch is not None:
                seed_global_rng(keys[0].seed)
                return whole_batch([key.sample for key in keys])
            samples = []
            for index, seed in keys:
                seed_global_rng(seed)
                samples.append(self.dataset.__getitem__(index))
            return samples


class NamedStream(IterableDataset[Any]):
    """A stream whose errors name the number of the sample and the class of the stream.

    Args:
        dataset: The stream.
    """

    def __init__(self, dataset: IterableDataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # as in torch, a stream may have a length

    def __iter__(self) -> Iterator[Any]:
        with _named_errors(lambda: "the iterator", self.dataset):
            samples = iter(self.dataset)
        count = 0
        with _named_errors(lambda: f"sample {count}", self.dataset):
            for sample in samples:
                yield sample
                count += 1

    def set_epoch(self, epoch: int) -> None:
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)


class NamedCollate:
    """The ``collate_fn`` of a data set. Its errors name the class of the data set.

    Args:
        dataset: A data set with a ``collate_fn``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __call__(self, samples: list[Any]) -> Any:
        with _named_errors(lambda: "collate_fn", self.dataset):
            return self.dataset.collate_fn(samples)


@contextmanager
def _named_errors(part: Callable[[], str], dataset: Any) -> Iterator[None]:
    """Convert an exception of the user's data set to a UserCodeError that names the data set and ``part()``."""
    try:
        yield
    except (InputError, RunError, MemoryError):
        raise
    except Exception as error:
        place = f"{part()} of the data set ({callable_name(dataset)})"
        raise UserCodeError(f"{place}: {described_error(error)}") from error


class SeededDataLoader(DataLoader[Any]):
    """torch's DataLoader with :meth:`seek`. Order and random numbers depend only on (seed, epoch).

    With a map-style data set, an epoch can start at any batch. With a stream, the loader reads and discards the batches
    before the start. If there are several processes, the stream itself must give each process different samples.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        batch_size: int,
        shuffle: bool,
        drop_last: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        self.seed, self.epoch, self._start = seed, 0, 0
        self.rank, self.world_size = rank, world_size
        self.global_batch_size = check_count(batch_size, "batch_size")
        if isinstance(dataset, IterableDataset):
            begin, end = share(batch_size, rank, world_size)
            options.update(batch_size=end - begin, drop_last=drop_last)
            # Do not wrap a data pipe: torch seeds its shuffling only if the data pipe itself is the data set.
            dataset = dataset if isinstance(dataset, IterDataPipe) else NamedStream(dataset)
        else:
            length = len(dataset)  # type: ignore[arg-type]  # make_loaders has checked that there is a length
            sampler = SeededSampler(length, batch_size, shuffle, drop_last, seed, rank, world_size)
            options["batch_sampler"] = sampler
            dataset = SeededDataset(dataset)
        super().__init__(dataset, generator=torch.Generator(), **options)

    def set_epoch(self, epoch: int) -> None:
        self.seek(epoch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Set the epoch and the batch at which the next iteration starts."""
        self.epoch, self._start = epoch, batch

    def __iter__(self) -> Any:
        # torch draws the workers' seeds from this generator. A stream in a worker gets no other seed.
        self.generator.manual_seed(fold(self.seed, WORKERS_STREAM, self.epoch))
        start, self._start = self._start, 0
        sampler = self.batch_sampler
        if isinstance(sampler, SeededSampler):
            sampler.epoch, sampler.start = self.epoch, start
        elif hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        batches: Iterator[Any] = super().__iter__()
        if self.num_workers > 0:
            batches = _without_worker_traceback(batches)
        if isinstance(sampler, SeededSampler):
            return batches if self.world_size == 1 else self._with_padding(batches, sampler, start)
        # Without workers, a stream runs in this process. So give the stream a separate random state.
        if self.num_workers == 0:
            batches = _with_own_rng(batches, fold(self.seed, WORKERS_STREAM, self.epoch))
        return itertools.islice(batches, start, None) if start else batches

    def _with_padding(self, batches: Iterator[Any], sampler: SeededSampler, start: int) -> Iterator[Any]:
        for number, batch in enumerate(batches, start):
            begin, end = share(sampler.size(number), self.rank, self.world_size)
            yield batch if end > begin else Padding(batch)


def _without_worker_traceback(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches. If a worker raises a RunError, remove the traceback that torch adds to its message.

    A UserCodeError keeps the original error, with the worker's traceback, as its cause.
    """
    try:
        yield from batches
    except RunError as error:
        kind = type(error)
        last = str(error).rstrip().splitlines()[-1]
        raise kind(last.partition(f"{kind.__name__}: ")[2] or last) from (error if kind is UserCodeError else None)


def _with_own_rng(batches: Iterator[Any], seed: int) -> Iterator[Any]:
    """Read the batches with a separate random state. After each batch, restore the global random state."""
    with preserved_rng():
        seed_global_rng(seed)
        own = GlobalRng.now()
    end = object()
    while True:
        with preserved_rng():
            own.restore()
            batch = next(batches, end)
            own = GlobalRng.now()
        if batch is end:
            return
        yield batch
