"""Settings: how a run creates its batches."""

from __future__ import annotations

from dataclasses import dataclass

from ssr_hydra.errors import ConflictError
from ssr_hydra.settings.base import count, flag

# The allowed values of text arguments of the built-in data sets. EVALUATED lists the splits that a trainer can
# evaluate. LAYOUTS maps each layout to the number of dimensions of an array of samples.
SPLITS = ("train", "eval")
EVALUATED = ("eval", "test")
TASKS = ("classification", "regression")
DTYPES = ("float32", "float64", "int64")
LAYOUTS = {"hw": 3, "hwc": 4, "chw": 4}
DECIMALS = (".", ",")

_MOST_WORKERS = 1024


@dataclass(frozen=True)
class DataSettings:
    """How a run creates its batches: keywords of :func:`~ssr_hydra.data.make_loaders`, and keys of the node ``data``.

    Args:
        batch_size: Samples per training batch, over all processes.
        eval_batch_size: Samples per evaluation batch, over all processes.
        shuffle: Whether to shuffle the training data in every epoch. Must be False for an ``IterableDataset``.
        drop_last: Whether to drop the last training batch of an epoch if this batch is not full. Evaluation keeps its
            last batch.
        num_workers: Number of processes that read samples. Must be 0 for data in memory.
        prefetch_factor: Number of batches that each worker loads in advance; None means torch's default, 2.
        limit_train: Number of batches to train on in each epoch, for trial runs. Every epoch uses the same samples,
            which are spread evenly over the data set. None means all batches.
        limit_eval: Number of batches to evaluate on; None means all batches.
        eval_on_train: Whether to evaluate on the training data instead of the evaluation data, to see whether a model
            can overfit.

    Raises:
        InputError: A value is out of range, or ``prefetch_factor`` is set without workers.

    Example:
        >>> DataSettings(batch_size=0)
        Traceback (most recent call last):
        ssr_hydra.errors.RangeError: batch_size=0: must be a whole number of at least 1; write e.g. 1
    """

    batch_size: int = 16
    eval_batch_size: int = 256
    shuffle: bool = True
    drop_last: bool = False
    num_workers: int = 0
    prefetch_factor: int | None = None
    limit_train: int | None = None
    limit_eval: int | None = None
    eval_on_train: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "eval_batch_size"):
            count(getattr(self, name), name, 1)
        for name in ("shuffle", "drop_last", "eval_on_train"):
            flag(getattr(self, name), name)
        count(self.num_workers, "num_workers", 0, _MOST_WORKERS)
        for name in ("limit_train", "limit_eval", "prefetch_factor"):
            if getattr(self, name) is not None:
                count(getattr(self, name), name, 1)
        if self.prefetch_factor is not None and self.num_workers == 0:
            fix = "set num_workers, or set prefetch_factor to null"
            raise ConflictError("prefetch_factor", self.prefetch_factor, "has no effect without workers", fix)
