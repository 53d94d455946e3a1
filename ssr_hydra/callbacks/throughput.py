"""Callback that adds the speed of training to the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

_RATES = {"sample": "samples_per_second", "token": "tokens_per_second", "batch": "batches_per_second"}


@dataclass(eq=False)
class Throughput:
    """Add the training speed to each training record. The speed covers the time since the previous training record.

    ``throughput/samples_per_second = (samples now - samples then) / (train_seconds now - train_seconds then)``, where
    "then" is the previous training record. Batches and tokens per second have the same formula. The time excludes
    evaluations and checkpoints. The first record after a start has no speed.

    Example:
        >>> throughput = Throughput()
        >>> record = {"event": "train", "batch": 10, "sample": 160, "token": 0, "train_seconds": 0.5}
        >>> throughput.log(None, dict(record))
        >>> record = {"event": "train", "batch": 20, "sample": 320, "token": 0, "train_seconds": 1.0}
        >>> throughput.log(None, record)
        >>> record["throughput/samples_per_second"], record["throughput/batches_per_second"]
        (320.0, 20.0)
    """

    main_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._then: dict[str, Any] | None = None

    def log(self, trainer: Any, record: dict[str, Any]) -> None:
        """Add the speed to a training record."""
        del trainer
        if record.get("event") != "train":
            return
        then = self._then
        self._then = {name: record[name] for name in (*_RATES, "train_seconds")}
        if then is None:
            return
        seconds = record["train_seconds"] - then["train_seconds"]
        for name, rate in _RATES.items():
            if seconds > 0 and (name != "token" or record[name] > 0):
                record[f"throughput/{rate}"] = (record[name] - then[name]) / seconds
