"""The clock of a scheduler that is stepped by itself, in somebody's own loop."""

from __future__ import annotations

import time
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import InputError
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp, exact

__all__ = ["Clock"]

_NANOSECONDS = 10**9


class _Amount:
    """Samples or tokens seen: the rate times the batches, plus what single batches had more (or less) than the rate."""

    __slots__ = ("_mark", "_mark_epoch", "extra", "name", "rate", "told")

    def __init__(self, name: str, rate: int | Fraction | None) -> None:
        self.name = name
        self.rate = rate
        self.extra: int | Fraction = 0
        self.told = 0
        self._mark: int | Fraction = 0
        self._mark_epoch = -1

    def reset(self, total: int | Fraction, batch: int, told: int | None = None) -> None:
        """Stand at ``total`` after ``batch`` batches; 0 where nobody counted, which the rate then makes up for."""
        self.extra = total - batch * (self.rate or 0) if total else 0
        # Batches whose amount was given.
        self.told = (batch if total else 0) if told is None else told
        self._mark, self._mark_epoch = self.extra, -1

    def set_epoch(self, epoch: int, total: int | Fraction, batch: int) -> None:
        """Of the total, so much was counted in ``batch`` batches of the present epoch."""
        if self.told == 0:
            return
        self._mark = self.extra - (total - batch * (self.rate or 0))
        self._mark_epoch = epoch

    def check(self, amount: Any) -> int | Fraction:
        """The amount of a batch, exact and not negative."""
        number = amount if type(amount) is int else exact(amount, self.name)
        if number < 0:
            raise InputError(self.name, amount, "a batch cannot hold less than nothing", "count from 0")
        return number

    def add(self, number: int | Fraction, epoch: int) -> None:
        """One batch of ``number`` in ``epoch``."""
        if epoch != self._mark_epoch:
            self._mark, self._mark_epoch = self.extra, epoch
        self.extra += number - (self.rate or 0)
        self.told += 1

    def is_known(self, batch: int) -> bool:
        return self.rate is not None or self.told == batch

    def total(self, batch: int) -> int | Fraction:
        return self.extra + batch * (self.rate or 0)

    def in_epoch(self, epoch: int, batch_in_epoch: int) -> int | Fraction:
        begin = self._mark if epoch == self._mark_epoch else self.extra
        return self.extra - begin + batch_in_epoch * (self.rate or 0)

    def read(self, batch: int) -> int | Fraction:
        """The total, for a schedule: one that was not told has to be asked for, or the schedule would stand still."""
        if not self.is_known(batch):
            rule = f"the schedule or the run is measured in {self.name}, and step() was not told how many"
            raise InputError(self.name, None, rule, f"call step({self.name}=...) or give {self.name}_per_batch")
        return self.total(batch)


class Clock(Timestamp):
    """A timestamp that moves.

    A step adds 1 to the batches and nothing else; every other counter follows from them when it is read, so that a
    schedule pays for what it reads. One that cannot be known raises, where a plain counter would stand at 0.

    Args:
        state: The rates of the run; the clock becomes its timestamp.
    """

    __slots__ = ("_dataloader_len", "_origin", "_read_at", "_samples", "_seconds", "_tokens")

    # Plain slots of Timestamp that stay: _batch, which moves, and those that are always 0 here.
    def __init__(self, state: State) -> None:
        self._samples = _Amount("samples", state.samples_per_batch)
        self._tokens = _Amount("tokens", state.tokens_per_batch)
        self._dataloader_len = state.dataloader_len
        self._iteration = self._epoch_nanoseconds = self._batch_nanoseconds = 0
        self.set(Timestamp())
        state.timestamp = self

    def tell(self, samples: Any, tokens: Any) -> None:
        """What the batch that is about to be counted held; None for the rate."""
        epoch = 0 if self._dataloader_len is None else self._batch // self._dataloader_len
        told = [
            (amount, amount.check(n))
            for amount, n in ((self._samples, samples), (self._tokens, tokens))
            if n is not None
        ]
        for amount, number in told:  # both are checked before one is counted
            amount.add(number, epoch)

    def set(self, timestamp: Timestamp, told: tuple[int, int] | None = None) -> None:
        """Move to a time; ``told`` is how many batches told their samples and their tokens.

        Without ``told`` a count is either whole or, at 0, was not kept: it follows from the rate then.
        """
        self._batch = timestamp._batch
        of_samples, of_tokens = (None, None) if told is None else told
        self._samples.reset(timestamp._sample, self._batch, of_samples)
        self._tokens.reset(timestamp._token, self._batch, of_tokens)
        if self._dataloader_len is not None:
            epoch, batch = divmod(self._batch, self._dataloader_len)
            if batch == timestamp._batch_in_epoch:
                self._samples.set_epoch(epoch, timestamp._sample_in_epoch, batch)
                self._tokens.set_epoch(epoch, timestamp._token_in_epoch, batch)
        self._seconds = timestamp._nanoseconds
        self._read_at = self._batch
        self._origin = time.perf_counter_ns() - self._seconds

    @property
    def told(self) -> tuple[int, int]:
        """How many batches told their samples and their tokens."""
        return self._samples.told, self._tokens.told

    def _get_epoch(self) -> int:
        if self._dataloader_len is None:
            rule = "the schedule or the run is measured in epochs, and the length of one is not known"
            raise InputError("dataloader_len", None, rule, "give dataloader_len, the batches per epoch")
        return self._batch // self._dataloader_len

    def _get_batch_in_epoch(self) -> int:
        return self._batch - self._get_epoch() * (self._dataloader_len or 0)

    def _get_nanoseconds(self) -> int:
        # Read once per batch, so that all who ask between two steps hear the same.
        if self._read_at != self._batch:
            self._seconds = time.perf_counter_ns() - self._origin
            self._read_at = self._batch
        return self._seconds

    _epoch = _epoch_in_iteration = property(_get_epoch)
    _batch_in_epoch = property(_get_batch_in_epoch)
    _sample = property(lambda self: self._samples.read(self._batch))
    _token = _token_in_iteration = property(lambda self: self._tokens.read(self._batch))
    _sample_in_epoch = property(lambda self: self._samples.in_epoch(self._epoch, self._batch_in_epoch))
    _token_in_epoch = property(lambda self: self._tokens.in_epoch(self._epoch, self._batch_in_epoch))
    _nanoseconds = _iteration_nanoseconds = property(_get_nanoseconds)

    def snapshot(self) -> Timestamp:
        """The time as a timestamp that stays; 0 for what is not known."""
        epoch, batch = 0, 0
        if self._dataloader_len is not None:
            epoch, batch = divmod(self._batch, self._dataloader_len)
        token, seconds = self._tokens.total(self._batch), Fraction(self._nanoseconds, _NANOSECONDS)
        return Timestamp(
            epoch=epoch,
            batch=self._batch,
            sample=self._samples.total(self._batch),
            token=token,
            epoch_in_iteration=epoch,
            token_in_iteration=token,
            batch_in_epoch=batch if self._dataloader_len is not None else self._batch,
            sample_in_epoch=self._samples.in_epoch(epoch, batch),
            token_in_epoch=self._tokens.in_epoch(epoch, batch),
            seconds=seconds,
            iteration_seconds=seconds,
        )
