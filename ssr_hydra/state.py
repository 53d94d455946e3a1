"""The state of a run: the only input of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import RangeError, UnsupportedError, WrongTypeError
from ssr_hydra.time import Number, Time, TimeLike, Timestamp, TimeUnit, as_time, exact

if TYPE_CHECKING:
    import torch

__all__ = ["State"]


def _rate(value: Any, field: str) -> int | Fraction | None:
    """Return a rate above 0 as an exact number; None if ``value`` is None. ``value`` may be Composer's ``Time``."""
    if value is None:
        return None
    number = exact(getattr(value, "value", value), field)
    if number <= 0:
        raise RangeError(field, value, "must be above 0", f"leave out {field} if it is unknown")
    return number.numerator if number.denominator == 1 else number


class State:
    """The state of a run that a schedule reads: its counters, its length, and the rates that convert between units.

    Args:
        max_duration: The actual length of the run, after multiplication by ssr. Any unit except ``dur``.
        dataloader_len: Batches per epoch.
        samples_per_batch: Samples per batch; needed to convert samples to or from other units.
        tokens_per_batch: Tokens per batch; needed to convert tokens to or from other units.
        timestamp: The counters of the run.
        optimizers: The optimizers whose learning rates :func:`~ssr_hydra.optim.compile_composer_scheduler` sets.

    Raises:
        InputError: The length or a number per batch or epoch is not above 0, or the length is in ``dur``.

    Example:
        >>> state = State(max_duration="4ep", dataloader_len=10, timestamp=Timestamp(batch=10, epoch=1))
        >>> state.get_elapsed_duration()
        Time('0.25dur')
    """

    __slots__ = (
        "_dataloader_len",
        "_max_duration",
        "_samples_per_batch",
        "_tokens_per_batch",
        "optimizers",
        "timestamp",
    )

    def __init__(
        self,
        max_duration: TimeLike | None = None,
        dataloader_len: int | None = None,
        samples_per_batch: Number | None = None,
        tokens_per_batch: Number | None = None,
        timestamp: Timestamp | None = None,
        optimizers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = (),
    ) -> None:
        self.max_duration = max_duration
        self.dataloader_len = dataloader_len
        self.samples_per_batch = samples_per_batch
        self.tokens_per_batch = tokens_per_batch
        self.timestamp = Timestamp() if timestamp is None else timestamp
        if optimizers is None:
            optimizers = ()
        self.optimizers: Sequence[torch.optim.Optimizer] = (
            tuple(optimizers) if isinstance(optimizers, Sequence) else (optimizers,)
        )

    @property
    def max_duration(self) -> Time | None:
        """The actual length of the run, after multiplication by ssr. None if the length is unknown."""
        return self._max_duration

    @max_duration.setter
    def max_duration(self, value: TimeLike | None) -> None:
        time = None if value is None else as_time(value, "max_duration")
        if time is not None and time.unit is TimeUnit.DURATION:
            rule = "cannot be in dur, which is a fraction of max_duration"
            raise UnsupportedError("max_duration", str(value), rule, "write e.g. '10ep' or '1000ba'")
        if time is not None and time.value <= 0:
            raise RangeError("max_duration", str(value), "must be above 0", "write e.g. '10ep' or '1000ba'")
        self._max_duration = time

    @property
    def dataloader_len(self) -> int | None:
        """Batches per epoch, or None if unknown."""
        return self._dataloader_len

    @dataloader_len.setter
    def dataloader_len(self, value: int | None) -> None:
        number = _rate(value, "dataloader_len")
        if isinstance(number, Fraction):
            raise WrongTypeError("dataloader_len", value, "must be an integer", "round it")
        self._dataloader_len = number

    @property
    def samples_per_batch(self) -> int | Fraction | None:
        """Samples per batch, or None if unknown."""
        return self._samples_per_batch

    @samples_per_batch.setter
    def samples_per_batch(self, value: Number | None) -> None:
        self._samples_per_batch = _rate(value, "samples_per_batch")

    @property
    def tokens_per_batch(self) -> int | Fraction | None:
        """Tokens per batch, or None if unknown."""
        return self._tokens_per_batch

    @tokens_per_batch.setter
    def tokens_per_batch(self, value: Number | None) -> None:
        self._tokens_per_batch = _rate(value, "tokens_per_batch")

    @property
    def time(self) -> Timestamp:
        """The timestamp, under the name that older versions of Composer use."""
        return self.timestamp

    @property
    def timer(self) -> Timestamp:
        """The timestamp, under the name that the oldest versions of Composer use."""
        return self.timestamp

    def get_elapsed_duration(self) -> Time | None:
        """Return the completed fraction of the run, in ``dur``. Return None if ``max_duration`` is unknown.

        If the length is in epochs and ``dataloader_len`` is known, the fraction includes the finished batches of the
        current epoch. If ``dataloader_len`` is unknown, the fraction includes only finished epochs.
        """
        if self._max_duration is None:
            return None
        if self._max_duration.unit is TimeUnit.EPOCH and self._dataloader_len is not None:
            length = Time(self._max_duration.value, TimeUnit.BATCH) * self._dataloader_len
            return self.timestamp.get(TimeUnit.BATCH) / length
        elapsed: Time = self.timestamp.get(self._max_duration.unit) / self._max_duration
        return elapsed

    def __repr__(self) -> str:
        names = ("max_duration", "dataloader_len", "samples_per_batch", "tokens_per_batch")
        parts = (f"{name}={value}" for name in names if (value := getattr(self, name)) is not None)
        return f"State({', '.join((*parts, f'timestamp={self.timestamp!r}'))})"
