"""Limit a data set to a number of samples, for short trial runs."""

from __future__ import annotations

from typing import Any

from torch.utils.data import IterableDataset, Subset

from ssr_hydra.errors import ConflictError
from ssr_hydra.settings.base import count as check_count


class Limited(Subset[Any]):
    """A selection of samples at equal distances: sample ``i`` has the index ``i * len(dataset) // samples``.

    ``Limited`` does not simply select the first samples, because data sets are often sorted by class.

    Args:
        dataset: A map-style data set with at least ``samples`` samples.
        samples: Number of samples to select.

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


def limited(dataset: Any, batches: int | None, batch_size: int, field: str) -> Any:
    """Return at most ``batches`` batches of a data set. If ``batches`` is None, return the data set unchanged."""
    if batches is None:
        return dataset
    samples = check_count(batches, field) * check_count(batch_size, "batch_size")
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        rule = "needs a data set with a length, but this data set is a stream"
        raise ConflictError(field, batches, rule, f"set {field} to null, and max_duration to a few batches")
    return Limited(dataset, samples) if samples < len(dataset) else dataset
