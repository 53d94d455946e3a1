"""The clock of a scheduler in a custom training loop. It counts steps, and computes the counters that are read."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import MissingValueError, RangeError
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp, exact
from ssr_hydra.time.derived import SteppedTimestamp
from ssr_hydra.time.timestamp import NANOSECONDS


class _Total:
    """The number of samples or tokens since the start of the run, and since the start of the epoch.

    ``rate`` is the expected number per batch, or 0 if it is unknown. ``told`` is the number of batches for which the
    caller passed a number to ``step``. ``extra`` is the sum of (passed number - rate) over these batches.
    ``extra_in_epoch`` is the same sum over the batches of one epoch, ``epoch``.
    """

    __slots__ = ("epoch", "extra", "extra_in_epoch", "has_rate", "name", "rate", "told")

    extra: int | Fraction
    extra_in_epoch: int | Fraction

    def __init__(self, name: str, rate: int | Fraction | None) -> None:
        self.name, self.has_rate, self.rate = name, rate is not None, rate or 0
        self.reset(0, 0)

    def reset(self, total: int | Fraction, batch: int, n_passed: int | None = None) -> None:
        """Set the number of samples or tokens in the first ``batch`` batches.

        A ``total`` of 0 means ``rate * batch``. ``n_passed`` is the new value of ``told``. None means all ``batch``
        batches, or 0 if ``total`` is 0.
        """
        self.extra = total - batch * self.rate if total else 0
        self.told = (batch if total else 0) if n_passed is None else n_passed
        self.epoch, self.extra_in_epoch = -1, 0

    def set_epoch(self, epoch: int, total: int | Fraction, batch: int) -> None:
        """Set the number of samples or tokens in the first ``batch`` batches of the current epoch."""
        if self.told:
            self.epoch, self.extra_in_epoch = epoch, total - batch * self.rate

    def check(self, amount: Any) -> int | Fraction:
        """Return the number of samples or tokens of a batch as an exact number >= 0."""
        number = amount if type(amount) is int else exact(amount, self.name)
        if number < 0:
            raise RangeError(self.name, amount, "must be >= 0", "pass a number >= 0")
        return number

    def add(self, number: int | Fraction, epoch: int) -> None:
        """Count one batch of ``epoch`` that has ``number`` samples or tokens."""
        if epoch != self.epoch:
            self.epoch, self.extra_in_epoch = epoch, 0
        self.extra += number - self.rate
        self.extra_in_epoch += number - self.rate
        self.told += 1

    def total(self, batch: int) -> int | Fraction:
        return self.extra + batch * self.rate

    def in_epoch(self, epoch: int, batch_in_epoch: int) -> int | Fraction:
        return (self.extra_in_epoch if epoch == self.epoch else 0) + batch_in_epoch * self.rate

    def read(self, batch: int) -> int | Fraction:
        """Return the number in the first ``batch`` batches. Raise an InputError if the number is unknown."""
        if not self.has_rate and self.told != batch:
            rule = f"must be set, because the schedule or the run is measured in {self.name}"
            raise MissingValueError(self.name, None, rule, f"call step({self.name}=...) or give {self.name}_per_batch")
        return self.total(batch)


class StepClock:
    """The clock of a run in a custom training loop.

    A step adds 1 to ``now.batches``. The other counters are computed when a schedule reads them: seconds from the
    system's clock, and the others as sums over the past batches. Reading an unknown counter raises an error.

    Args:
        state: The state of the run. The clock reads its ``dataloader_len``, ``samples_per_batch`` and
            ``tokens_per_batch``, and sets its ``timestamp`` to ``now``.

    Attributes:
        now: The current timestamp. Each step changes the counters of this object.
    """

    def __init__(self, state: State) -> None:
        self._samples = _Total("samples", state.samples_per_batch)
        self._tokens = _Total("tokens", state.tokens_per_batch)
        self._dataloader_len = state.dataloader_len
        self.now = SteppedTimestamp(self, _FUNCTIONS)
        self.set(Timestamp())
        state.timestamp = self.now

    def tell(self, samples: Any, tokens: Any) -> None:
        """Count the samples and tokens of the batch that ends now. None means the expected number per batch."""
        epoch = 0 if self._dataloader_len is None else self.now.batches // self._dataloader_len
        counted = [(self._samples, samples), (self._tokens, tokens)]
        checked = [(amount, amount.check(number)) for amount, number in counted if number is not None]
        for amount, number in checked:  # an error above leaves both totals unchanged
            amount.add(number, epoch)

    def set(self, timestamp: Timestamp, n_passed: tuple[int, int] | None = None) -> None:
        """Set the current time.

        Args:
            timestamp: The new time.
            n_passed: The new value of :attr:`told`. None means all batches, or 0 if ``timestamp`` has no samples (or
                no tokens).
        """
        self.now.batches = batches = timestamp.batches
        of_samples, of_tokens = (None, None) if n_passed is None else n_passed
        self._samples.reset(timestamp.samples, batches, of_samples)
        self._tokens.reset(timestamp.tokens, batches, of_tokens)
        if self._dataloader_len is not None:
            epoch, batch = divmod(batches, self._dataloader_len)
            if batch == timestamp.batches_in_epoch:
                self._samples.set_epoch(epoch, timestamp.samples_in_epoch, batch)
                self._tokens.set_epoch(epoch, timestamp.tokens_in_epoch, batch)
        self._nanoseconds = timestamp.nanoseconds
        self._read_at = batches
        self._origin = time.perf_counter_ns() - self._nanoseconds

    @property
    def told(self) -> tuple[int, int]:
        """The number of batches for which the caller passed ``samples`` to ``step``, and the number for ``tokens``."""
        return self._samples.told, self._tokens.told

    def epochs(self) -> int:
        if self._dataloader_len is None:
            rule = "must be set, because the schedule or the run is measured in epochs"
            raise MissingValueError("dataloader_len", None, rule, "give the number of batches per epoch")
        return self.now.batches // self._dataloader_len

    def batches_in_epoch(self) -> int:
        return self.now.batches - self.epochs() * (self._dataloader_len or 0)

    def nanoseconds(self) -> int:
        """Return the training time in nanoseconds. All calls during one batch return the same time."""
        if self._read_at != self.now.batches:
            self._nanoseconds = time.perf_counter_ns() - self._origin
            self._read_at = self.now.batches
        return self._nanoseconds

    def samples(self) -> Any:
        return self._samples.read(self.now.batches)

    def tokens(self) -> Any:
        return self._tokens.read(self.now.batches)

    def samples_in_epoch(self) -> Any:
        return self._samples.in_epoch(self.epochs(), self.batches_in_epoch())

    def tokens_in_epoch(self) -> Any:
        return self._tokens.in_epoch(self.epochs(), self.batches_in_epoch())

    def snapshot(self) -> Timestamp:
        """Return the current time as an immutable timestamp. Unknown counters are 0."""
        batches, epoch, batch = self.now.batches, 0, 0
        if self._dataloader_len is not None:
            epoch, batch = divmod(batches, self._dataloader_len)
        token, seconds = self._tokens.total(batches), Fraction(self.nanoseconds(), NANOSECONDS)
        return Timestamp(
            epoch=epoch,
            batch=batches,
            sample=self._samples.total(batches),
            token=token,
            epoch_in_iteration=epoch,
            token_in_iteration=token,
            batch_in_epoch=batch if self._dataloader_len is not None else batches,
            sample_in_epoch=self._samples.in_epoch(epoch, batch),
            token_in_epoch=self._tokens.in_epoch(epoch, batch),
            seconds=seconds,
            iteration_seconds=seconds,
        )


def _none(clock: StepClock) -> int:  # noqa: ARG001
    return 0


_FUNCTIONS: dict[str, Callable[[StepClock], int]] = {
    "iterations": _none,
    "epochs": StepClock.epochs,
    "samples": StepClock.samples,
    "tokens": StepClock.tokens,
    "epochs_in_iteration": StepClock.epochs,
    "tokens_in_iteration": StepClock.tokens,
    "batches_in_epoch": StepClock.batches_in_epoch,
    "samples_in_epoch": StepClock.samples_in_epoch,
    "tokens_in_epoch": StepClock.tokens_in_epoch,
    "nanoseconds": StepClock.nanoseconds,
    "iteration_nanoseconds": StepClock.nanoseconds,
    "epoch_nanoseconds": _none,
    "batch_nanoseconds": _none,
}
