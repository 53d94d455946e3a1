"""Seeded loaders: a fast loader for tensors in memory, and torch's DataLoader for other data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, Subset, TensorDataset, default_collate

from ssr_hydra.data.augment import Augment
from ssr_hydra.data.seeded import NamedCollate, Padding, SeededDataLoader, epoch_order, num_batches, share
from ssr_hydra.data.seeding import AUGMENT_STREAM, fold
from ssr_hydra.data.splits import check_apart
from ssr_hydra.errors import (
    ConflictError,
    InputError,
    MismatchError,
    MissingValueError,
    RangeError,
    RunError,
    WrongTypeError,
)
from ssr_hydra.settings import DataSettings
from ssr_hydra.settings.base import count as check_count
from ssr_hydra.settings.base import seed_number as check_seed


class TensorLoader:
    """A fast loader of tensors in memory. It reads a whole batch at once, not one sample after another.

    The order of the samples in an epoch is a function of (seed, epoch). The augmentation of a batch is a function of
    (seed, epoch, batch). Every batch is a copy, so a model may change it in place. Each process gets a part of each
    batch.

    Args:
        dataset: A ``TensorDataset``, a ``Subset`` of a ``TensorDataset``, or a sequence of tensors of equal length.
        batch_size: Samples per batch. The last batch of an epoch may be smaller.
        shuffle: Whether each epoch has a new order. If false, every epoch has the order of the data set.
        drop_last: Whether to drop the last batch of an epoch if it is not full.
        seed: Seed of the order and the augmentation.
        augment: A function of (inputs, generator) for the first tensor of each batch.
        device: The device of the data and the batches. The data is moved to the device once.
        rank: Rank of this process.
        world_size: Number of processes that share each batch.

    Raises:
        InputError: The data set is empty or does not consist of tensors of equal length. ``batch_size`` is below 1, or
            ``drop_last`` leaves no batches.

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
            rule = "must be tensors of equal length"
            raise MismatchError("dataset", type(dataset).__name__, rule, "use a DataLoader for other data")
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
        return num_batches(self._length, self.batch_size, self.drop_last)

    @property
    def global_batch_size(self) -> int:
        """The number of samples per batch, summed over all processes."""
        return self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration. Each complete iteration increases the epoch by one."""
        self.seek(epoch)

    def seek(self, epoch: int, batch: int = 0) -> None:
        """Set the epoch and the batch at which the next iteration starts."""
        self.epoch, self._start = epoch, batch

    def __iter__(self) -> Iterator[Any]:
        epoch, augment, start = self.epoch, self.augment, self._start
        order = epoch_order(self._length, self.seed, epoch) if self.shuffle else torch.arange(self._length)
        # The order is computed on the CPU, so it is the same for every device.
        order = order[start * self.batch_size : len(self) * self.batch_size].to(self.device)
        draws = torch.Generator(self.device) if augment is not None else None
        for number, index in enumerate(torch.split(order, self.batch_size), start):
            batch = tuple([tensor.index_select(0, index) for tensor in self._tensors])
            if augment is not None and draws is not None:
                draws.manual_seed(fold(self.seed, AUGMENT_STREAM, epoch, number))
                batch = (augment(batch[0], draws), *batch[1:])
            yield batch if self.world_size == 1 else self._share_of(batch)
        self.epoch, self._start = epoch + 1, 0

    def _share_of(self, batch: tuple[Tensor, ...]) -> Any:
        # The caller has augmented the whole batch, so random numbers do not depend on the number of processes.
        begin, end = share(len(batch[0]), self.rank, self.world_size)
        if begin == end:
            return Padding(tuple([tensor[:1] for tensor in batch]))
        return tuple([tensor[begin:end] for tensor in batch])


def known_length(loader: Any) -> int | None:
    """Return the number of batches of a loader. Return None if the loader has no length, as for a stream.

    Example:
        >>> known_length([1, 2]), known_length(iter([1, 2]))
        (2, None)
    """
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None


def _stacked(samples: list[Any]) -> Any:
    """Make a batch with torch's ``default_collate``. If this fails, raise a RunError with a fix."""
    try:
        return default_collate(samples)
    except (KeyError, RuntimeError, TypeError) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        fix = "return tensors of equal shape, or give the data set a method collate_fn that makes a batch"
        raise RunError(f"{len(samples)} samples of the data set do not fit into one batch: {text}; {fix}") from None


def make_loaders(
    train: Any,
    eval: Any = None,
    *,
    augment: Augment | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    **settings: Any,
) -> tuple[Any, Any]:
    """Create the training loader and the evaluation loader of a run. The batches depend only on (seed, epoch).

    The loader of a ``TensorDataset``, such as :class:`Digits`, is a fast :class:`TensorLoader`. The loader of any other
    data set is torch's ``DataLoader``, with the ``collate_fn`` of the data set if there is one.

    Args:
        train: The data set to train on.
        eval: The data set to evaluate on, without shuffling and augmentation; None for no evaluation.
        augment: Augmentation of whole batches, only for data in memory. Other data sets must augment each sample
            themselves. They can use the global random generators of Python, NumPy and torch, which the loader seeds.
        seed: The run's seed.
        device: The device of training. Data in memory is moved to the device once.
        rank: Rank of this process.
        world_size: Number of processes that share each batch.
        settings: Arguments of :class:`~ssr_hydra.settings.DataSettings`, such as ``batch_size`` or ``num_workers``.

    Returns:
        The training loader, and the evaluation loader (None without evaluation).

    Raises:
        InputError: A data set is empty. A setting is out of range, or cannot be used with the data. The training and
            evaluation data of a built-in data set overlap.

    Example:
        >>> from ssr_hydra.data import Digits, RandomShift
        >>> train, evaluation = make_loaders(Digits("train"), Digits("eval"), batch_size=32, augment=RandomShift(1))
        >>> len(train), len(evaluation)
        (38, 3)
    """
    check_seed(seed)
    chosen = DataSettings(**settings)
    for field in ("batch_size", "eval_batch_size"):
        if getattr(chosen, field) < world_size:
            rule = f"must be at least the number of processes, {world_size}"
            raise RangeError(field, getattr(chosen, field), rule, f"use {world_size} or more")

    check_apart(train, eval)
    train = _limited(train, chosen.limit_train, chosen.batch_size, "limit_train")
    eval = train if chosen.eval_on_train else eval
    eval = None if eval is None else _limited(eval, chosen.limit_eval, chosen.eval_batch_size, "limit_eval")
    workers = chosen.num_workers

    def loader(dataset: Any, field: str, size: int, shuffled: bool, drop: bool, augmented: Augment | None) -> Any:
        try:
            if _tensors_of(dataset) is not None:
                return TensorLoader(dataset, size, shuffled, drop, seed, augmented, device, rank, world_size)
            if isinstance(dataset, IterableDataset):
                if shuffled:
                    raise ConflictError("shuffle", True, "must be False for an IterableDataset", "set shuffle=False")
            elif not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
                rule = "must support len() and indexing"
                raise WrongTypeError("dataset", type(dataset).__name__, rule, "pass a torch Dataset")
            else:
                _check_length(len(dataset), size, drop)
            if augmented is not None:
                rule = "needs tensors in memory, but this data set is read sample by sample"
                raise MismatchError("augment", augmented, rule, "set augment=None, and augment samples in the data set")
            return SeededDataLoader(
                dataset,
                batch_size=size,
                shuffle=shuffled,
                drop_last=drop,
                seed=seed,
                rank=rank,
                world_size=world_size,
                num_workers=workers,
                prefetch_factor=chosen.prefetch_factor,
                collate_fn=_stacked if getattr(dataset, "collate_fn", None) is None else NamedCollate(dataset),
                pin_memory=torch.device(device).type == "cuda",
                # Workers of a stream must start again in each epoch to get the epoch and the seed.
                persistent_workers=workers > 0 and not isinstance(dataset, IterableDataset),
            )
        except InputError as error:
            raise error.within(field) if error.field == "dataset" else error from None

    if workers and all(_tensors_of(dataset) is not None for dataset in (train, eval) if dataset is not None):
        raise ConflictError("num_workers", workers, "must be 0 for data in memory", "set num_workers=0")
    train_loader = loader(train, "train", chosen.batch_size, chosen.shuffle, chosen.drop_last, augment)
    eval_loader = None if eval is None else loader(eval, "eval", chosen.eval_batch_size, False, False, None)
    return train_loader, eval_loader


class Limited(Subset[Any]):
    """Evenly spaced samples of a data set, because the first samples of a sorted data set may have only one class.

    Example:
        >>> Limited(list("abcdefgh"), 3).indices
        [0, 2, 5]
    """

    def __init__(self, dataset: Any, samples: int) -> None:
        length = len(dataset)
        super().__init__(dataset, [number * length // samples for number in range(samples)])
        if hasattr(dataset, "collate_fn"):
            self.collate_fn = dataset.collate_fn

    def describe(self) -> dict[str, Any]:
        """Return the description of the whole data set, its number of samples, and the number of selected samples."""
        describe = getattr(self.dataset, "describe", None)
        whole = describe() if callable(describe) else {"class": type(self.dataset).__qualname__}
        return {**whole, "of_samples": len(self.dataset), "samples": len(self)}  # type: ignore[arg-type]


def _limited(dataset: Any, batches: int | None, batch_size: int, field: str) -> Any:
    """Return at most ``batches`` batches of a data set. If ``batches`` is None, return the data set unchanged."""
    if batches is None:
        return dataset
    samples = check_count(batches, field) * check_count(batch_size, "batch_size")
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        rule = "needs a data set with a length, but this data set is a stream"
        raise ConflictError(field, batches, rule, f"set {field} to null, and max_duration to a few batches")
    return Limited(dataset, samples) if samples < len(dataset) else dataset


def _tensors_of(dataset: Any) -> tuple[Tensor, ...] | None:
    """Return the tensors of a TensorDataset, or of a Subset of a TensorDataset. Return None for other data sets."""
    if isinstance(dataset, Subset):
        tensors = _tensors_of(dataset.dataset)
        index = torch.as_tensor(dataset.indices, dtype=torch.int64)
        return None if tensors is None else tuple(tensor[index] for tensor in tensors)
    # A subclass with a custom __getitem__ may transform the samples, so do not read its tensors.
    if isinstance(dataset, TensorDataset) and type(dataset).__getitem__ is TensorDataset.__getitem__:
        return dataset.tensors
    return None


def _equally_long(dataset: Any) -> tuple[Tensor, ...] | None:
    """Return a list of tensors of equal length as a tuple. Return None for other data."""
    if not isinstance(dataset, (list, tuple)):
        return None
    lengths = {len(item) if isinstance(item, Tensor) and item.ndim > 0 else None for item in dataset}
    return tuple(dataset) if len(lengths) == 1 and None not in lengths else None


def _check_length(length: int, batch_size: int, drop_last: bool) -> None:
    if length == 0:
        raise MissingValueError("dataset", length, "must have at least one sample", "use a data set with samples")
    if drop_last and length < batch_size:
        rule = f"must be at most {length}, the number of samples, if drop_last is true"
        raise RangeError("batch_size", batch_size, rule, "use a smaller batch_size")
