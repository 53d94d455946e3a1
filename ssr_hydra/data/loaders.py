"""Batches as a function of (seed, epoch): from memory where the data is in memory, else by torch's DataLoader."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, Subset, TensorDataset

from ssr_hydra.data.augment import Augment
from ssr_hydra.data.limits import limited
from ssr_hydra.data.seeding import GlobalRng, check_count, check_seed, fold, preserved_rng, seed_global_rng
from ssr_hydra.data.splits import check_apart
from ssr_hydra.errors import InputError

__all__ = [
    "Padding",
    "SeededDataLoader",
    "SeededDataset",
    "SeededSampler",
    "TensorLoader",
    "known_length",
    "make_loaders",
    "share",
]

# The streams that are drawn from one seed; the numbers only have to differ.
_ORDER, _AUGMENT, _SAMPLE, _WORKERS = range(4)


class Padding(NamedTuple):
    """What a process gets in place of an empty share of a batch: a sample that weighs nothing and is not counted.

    Processes compute together, so none may sit out a batch that is smaller than their number.
    """

    batch: Any


def share(samples: int, rank: int, world_size: int) -> tuple[int, int]:
    """Which samples of a batch are a process's: contiguous shares, in order, whose sizes differ by one at most.

    Args:
        samples: Size of the batch.
        rank: Number of the process, from 0.
        world_size: Number of processes.

    Returns:
        The first sample, and the one after the last.

    Example:
        >>> share(7, 0, 2), share(7, 1, 2), share(1, 1, 2)
        ((0, 4), (4, 7), (1, 1))
    """
    each, rest = divmod(samples, world_size)
    begin = rank * each + min(rank, rest)
    return begin, begin + each + (rank < rest)


class TensorLoader:
    """Batches of tensors that lie in memory: an index_select for each tensor, where a DataLoader collates samples.

    The order of epoch ``e`` is a function of (seed, e), the augmentation of its batch ``k`` of (seed, e, k). Every
    batch is a fresh copy, so a model may change it in place.

    With several processes a batch is the same as with one, augmentation included, and each process gets its
    :func:`share` of it.

    Args:
        dataset: A ``TensorDataset``, a ``Subset`` of one, or a sequence of equally long tensors.
        batch_size: Samples per batch; the last batch of an epoch holds the rest.
        shuffle: A new order in every epoch; else the order of the data set.
        drop_last: Leave out a last batch that is not full.
        seed: Of order and augmentation.
        augment: A function of (inputs, generator), applied to the first tensor of each batch.
        device: Where the data lies and the batches come from; moved there once.
        rank: Number of this process.
        world_size: Number of processes that share each batch.

    Raises:
        InputError: A data set that is empty or not made of equally long tensors; a batch size below 1; no batch at all.

    Example:
        >>> loader = TensorLoader([torch.arange(10.0), torch.arange(10)], batch_size=4, shuffle=False)
        >>> len(loader), [len(inputs) for inputs, _ in loader]
        (3, [4, 4, 2])
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        augment: Augment | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        tensors = _tensors_of(dataset) or _equally_long(dataset)
        if tensors is None:
            raise InputError("dataset", type(dataset).__name__, "tensors of one length", "use a DataLoader for others")
        self.dataset = dataset
        self.batch_size = check_count(batch_size, "batch_size")
        self.shuffle, self.drop_last, self.seed, self.augment = shuffle, drop_last, check_seed(seed), augment
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.epoch = self._start = 0
        self._tensors = tuple(tensor.to(self.device) for tensor in tensors)
        self._length = len(tensors[0])
        _check_length(self._length, self.batch_size, drop_last)

    def __len__(self) -> int:
        whole, rest = divmod(self._length, self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    @property
    def global_batch_size(self) -> int:
        """Samples per batch, those of all processes together."""
        return self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is; an iteration that runs to its end counts on by itself."""
        self.seek(epoch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Say at which batch of which epoch the next iteration begins."""
        self.epoch, self._start = epoch, batch

    def __iter__(self) -> Iterator[Any]:
        epoch, augment, start = self.epoch, self.augment, self._start
        if self.shuffle:
            generator = torch.Generator().manual_seed(fold(self.seed, _ORDER, epoch))
            order = torch.randperm(self._length, generator=generator)
        else:
            order = torch.arange(self._length)
        # The order is drawn on the CPU, so that it is the same on every device.
        order = order[start * self.batch_size : len(self) * self.batch_size].to(self.device)
        draws = torch.Generator(self.device) if augment is not None else None
        for number, index in enumerate(torch.split(order, self.batch_size), start):
            batch = tuple([tensor.index_select(0, index) for tensor in self._tensors])
            if augment is not None and draws is not None:
                draws.manual_seed(fold(self.seed, _AUGMENT, epoch, number))
                batch = (augment(batch[0], draws), *batch[1:])
            yield batch if self.world_size == 1 else self._share_of(batch)
        self.epoch, self._start = epoch + 1, 0

    def _share_of(self, batch: tuple[Tensor, ...]) -> Any:
        # The whole batch was augmented, since only then the draws do not depend on the number of processes.
        begin, end = share(len(batch[0]), self.rank, self.world_size)
        if begin == end:
            return Padding(tuple([tensor[:1] for tensor in batch]))
        return tuple([tensor[begin:end] for tensor in batch])


class _Key(NamedTuple):
    """What the sampler hands to the data set: which sample, and the seed for whatever is random about it."""

    sample: int
    seed: int


class SeededSampler(Sampler[list[_Key]]):
    """The batches of epoch ``e`` as a function of (seed, e), with a seed for every sample.

    Args:
        length: Number of samples in the data set.
        batch_size: Samples per batch; the last batch of an epoch holds the rest.
        shuffle: A new order in every epoch; else 0, 1, 2 ...
        drop_last: Leave out a last batch that is not full.
        seed: Of the order and of the samples.
        rank: Number of this process.
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
        whole, rest = divmod(self.length, self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def size(self, batch: int) -> int:
        """Samples of a batch, those of all processes together."""
        return min(self.batch_size, self.length - batch * self.batch_size)

    def __iter__(self) -> Iterator[list[_Key]]:
        if self.shuffle:
            generator = torch.Generator().manual_seed(fold(self.seed, _ORDER, self.epoch))
            order: Sequence[int] = torch.randperm(self.length, generator=generator).tolist()
        else:
            order = range(self.length)
        epoch_seed = fold(self.seed, _SAMPLE, self.epoch)
        for batch in range(self.start, len(self)):
            begin, end = share(self.size(batch), self.rank, self.world_size)
            first = batch * self.batch_size
            keys = order[first + begin : first + end] if end > begin else order[first : first + 1]  # see Padding
            yield [_Key(index, fold(epoch_seed, index)) for index in keys]


class SeededDataset(Dataset[Any]):
    """A data set whose random numbers, augmentation included, are a function of (seed, epoch, sample).

    Before a sample is read, Python's, NumPy's and torch's global generators are seeded for it; afterwards they are put
    back, so that a loader without workers does not move the random numbers of training. The data are then the same for
    any number of workers, and an epoch can be entered in its middle. It costs some 30 us a sample.

    Args:
        dataset: A map-style data set.
    """

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]  # map-style sets have a length; checked in make_loaders

    def __getitem__(self, key: _Key) -> Any:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[_Key]) -> Any:
        """The samples of one batch; DataLoader calls this where it exists."""
        whole_batch = getattr(self.dataset, "__getitems__", None)
        with preserved_rng():
            if whole_batch is not None:
                seed_global_rng(keys[0].seed)
                return whole_batch([key.sample for key in keys])
            samples = []
            for index, seed in keys:
                seed_global_rng(seed)
                samples.append(self.dataset[index])
            return samples


class SeededDataLoader(DataLoader[Any]):
    """torch's DataLoader with :meth:`seek`: order, samples and workers follow (seed, epoch).

    A map-style data set can be entered at any batch. A stream cannot be entered but at its beginning, so what lies
    before is read and passed over; and with several processes it is the stream that gives each its own samples.
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
        else:
            length = len(dataset)  # type: ignore[arg-type]  # map-style sets have one; checked in make_loaders
            sampler = SeededSampler(length, batch_size, shuffle, drop_last, seed, rank, world_size)
            options["batch_sampler"] = sampler
            dataset = SeededDataset(dataset)
        super().__init__(dataset, generator=torch.Generator(), **options)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next iteration is."""
        self.seek(epoch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Say at which batch of which epoch the next iteration begins."""
        self.epoch, self._start = epoch, batch

    def __iter__(self) -> Any:
        # Workers take their base seed from this generator; an IterableDataset has no other source.
        self.generator.manual_seed(fold(self.seed, _WORKERS, self.epoch))
        start, self._start = self._start, 0
        sampler = self.batch_sampler
        if isinstance(sampler, SeededSampler):
            sampler.epoch, sampler.start = self.epoch, start
            whole: Iterator[Any] = super().__iter__()
            return whole if self.world_size == 1 else self._with_padding(whole, sampler, start)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        batches: Iterator[Any] = super().__iter__()
        # Workers have random numbers of their own, and samples of a map-style set are seeded one by one; what is left
        # is a stream read in this process, which would share its random numbers with training.
        if self.num_workers == 0:
            batches = _with_own_rng(batches, fold(self.seed, _WORKERS, self.epoch))
        return itertools.islice(batches, start, None) if start else batches

    def _with_padding(self, batches: Iterator[Any], sampler: SeededSampler, start: int) -> Iterator[Any]:
        for number, batch in enumerate(batches, start):
            begin, end = share(sampler.size(number), self.rank, self.world_size)
            yield batch if end > begin else Padding(batch)


def _with_own_rng(batches: Iterator[Any], seed: int) -> Iterator[Any]:
    """The batches, drawn from global random numbers that go on from batch to batch and that nobody else sees."""
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


def known_length(loader: Any) -> int | None:
    """Batches of a loader, or None: torch's ``DataLoader`` has a ``len()`` that raises for a stream without one.

    Example:
        >>> known_length([1, 2]), known_length(iter([1, 2]))
        (2, None)
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def make_loaders(
    train: Any,
    eval: Any = None,
    batch_size: int = 16,
    eval_batch_size: int = 256,
    shuffle: bool = True,
    drop_last: bool = False,
    num_workers: int = 0,
    augment: Augment | None = None,
    prefetch_factor: int | None = None,
    limit_train: int | None = None,
    limit_eval: int | None = None,
    eval_on_train: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
) -> tuple[Any, Any]:
    """The two loaders of a run, whose every batch is a function of (seed, epoch).

    Data sets that are tensors in memory (a ``TensorDataset``, :class:`Digits`) come from a :class:`TensorLoader`, which
    is several times faster; every other data set from torch's ``DataLoader``, which makes batches by the data set's own
    ``collate_fn`` where it has one.

    Args:
        train: The data set to train on.
        eval: The data set to evaluate on, in its own order and without augmentation; or None.
        batch_size: Samples per training batch, those of all processes together.
        eval_batch_size: Samples per evaluation batch, likewise.
        shuffle: Shuffle the training data anew in every epoch. An ``IterableDataset`` has to be given False.
        drop_last: Leave out a last training batch that is not full. Evaluation sees every sample.
        num_workers: Processes that read samples; for data sets in memory there is nothing to read and it has to be 0.
        augment: Whole-batch augmentation of data in memory. Other data sets augment their samples themselves, with
            Python's, NumPy's or torch's global random numbers, which are seeded for each sample.
        prefetch_factor: Batches that each worker has ready; None is torch's, 2.
        limit_train: Train on as many samples as fill this many batches, spread evenly over the data set and the same in
            every epoch; None for all. For trying something out.
        limit_eval: Evaluate on as many, likewise.
        eval_on_train: Evaluate on what is trained on, and not on ``eval``: to see a model learn by heart.
        seed: The run's seed.
        device: Where training happens; data in memory moves there once.
        rank: Number of this process.
        world_size: Number of processes that share each batch.

    Returns:
        The training loader, and the evaluation loader or None.

    Raises:
        InputError: An empty data set, a batch size below 1, an argument that would be ignored; or built-in evaluation
            data that overlap the training data.

    Example:
        >>> from ssr_hydra.data import Digits, RandomShift
        >>> train, evaluation = make_loaders(Digits("train"), Digits("eval"), augment=RandomShift(1))
        >>> len(train), len(evaluation)
        (75, 3)
    """
    check_seed(seed)
    workers = check_count(num_workers, "num_workers", least=0, example=0)
    check_count(batch_size, "batch_size")
    check_count(eval_batch_size, "eval_batch_size")
    if prefetch_factor is not None:
        check_count(prefetch_factor, "prefetch_factor", example=2)
        if workers == 0:
            rule = "without workers nothing is read ahead"
            raise InputError("prefetch_factor", prefetch_factor, rule, "give num_workers, or prefetch_factor=None")
    for field, size in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
        if size < world_size:
            rule = f"is shared by {world_size} processes, and one of them would have nothing to do"
            raise InputError(field, size, rule, f"give {world_size} or more")

    check_apart(train, eval)
    train = limited(train, limit_train, batch_size, "limit_train")
    eval = train if eval_on_train else eval
    eval = None if eval is None else limited(eval, limit_eval, eval_batch_size, "limit_eval")

    def loader(dataset: Any, field: str, size: int, shuffled: bool, drop: bool, augmented: Augment | None) -> Any:
        try:
            if _tensors_of(dataset) is not None:
                return TensorLoader(dataset, size, shuffled, drop, seed, augmented, device, rank, world_size)
            if isinstance(dataset, IterableDataset):
                if shuffled:
                    raise InputError(
                        "shuffle", True, "an IterableDataset has an order of its own", "give shuffle=False"
                    )
            elif not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
                raise InputError(
                    "dataset", type(dataset).__name__, "a data set has len() and [index]", "give a torch Dataset"
                )
            else:
                _check_length(len(dataset), size, drop)
            if augmented is not None:
                raise InputError(
                    "augment",
                    augmented,
                    "augments whole batches of tensors in memory, and this data set is read sample by sample",
                    "augment in the data set itself, with augment=None",
                )
            return SeededDataLoader(
                dataset,
                batch_size=size,
                shuffle=shuffled,
                drop_last=drop,
                seed=seed,
                rank=rank,
                world_size=world_size,
                num_workers=workers,
                prefetch_factor=prefetch_factor,
                collate_fn=getattr(dataset, "collate_fn", None),  # samples of different length know how they are padded
                pin_memory=torch.device(device).type == "cuda",
                # A stream's epoch and random numbers only reach workers that start with the epoch.
                persistent_workers=workers > 0 and not isinstance(dataset, IterableDataset),
            )
        except InputError as error:
            raise error.within(field) if error.field == "dataset" else error from None

    if workers and all(_tensors_of(dataset) is not None for dataset in (train, eval) if dataset is not None):
        raise InputError("num_workers", workers, "data in memory is not read by workers", "give num_workers=0")
    train_loader = loader(train, "train", batch_size, shuffle, drop_last, augment)
    eval_loader = None if eval is None else loader(eval, "eval", eval_batch_size, False, False, None)
    return train_loader, eval_loader


def _tensors_of(dataset: Any) -> tuple[Tensor, ...] | None:
    """The tensors that a data set consists of, sample by sample as its ``__getitem__`` gives them; or None."""
    if isinstance(dataset, Subset):
        tensors = _tensors_of(dataset.dataset)
        index = torch.as_tensor(dataset.indices, dtype=torch.int64)
        return None if tensors is None else tuple(tensor[index] for tensor in tensors)
    # A subclass with a __getitem__ of its own (a transform, say) is more than its tensors.
    if isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__:
        return dataset.tensors
    return None


def _equally_long(dataset: Any) -> tuple[Tensor, ...] | None:
    """The tensors of a plain sequence of them."""
    if not isinstance(dataset, (list, tuple)) or not dataset:
        return None
    if not all(isinstance(tensor, Tensor) and tensor.ndim > 0 for tensor in dataset):
        return None
    return tuple(dataset) if len({len(tensor) for tensor in dataset}) == 1 else None


def _check_length(length: int, batch_size: int, drop_last: bool) -> None:
    if length == 0:
        raise InputError("dataset", length, "the data set is empty", "give one with at least one sample")
    if drop_last and length < batch_size:
        raise InputError(
            "batch_size", batch_size, f"drop_last leaves no batch of {length} samples", "give a smaller batch_size"
        )
