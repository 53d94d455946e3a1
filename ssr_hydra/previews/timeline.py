"""The timeline of a run: for any time x of the run, the timestamp of a training loop at x."""

from __future__ import annotations

from fractions import Fraction

from ssr_hydra.errors import InputError, MissingRateError
from ssr_hydra.schedulers.run import RATES
from ssr_hydra.time import Time, Timestamp, TimeUnit

__all__ = ["Moment", "Timeline"]

_NANOSECONDS = 10**9
_COUNTED = {
    "batch": TimeUnit.BATCH,
    "epoch": TimeUnit.EPOCH,
    "sample": TimeUnit.SAMPLE,
    "token": TimeUnit.TOKEN,
    "nanoseconds": TimeUnit.SECOND,
    "iteration": TimeUnit.ITERATION,
}


class Timeline:
    """The timeline of one run, in the unit of its length.

    Args:
        unit: The unit of the axis, that of ``max_duration``.
        dataloader_len: Batches per epoch.
        samples_per_batch: Samples per batch.
        tokens_per_batch: Tokens per batch.

    Example:
        >>> moment = Timeline(TimeUnit.EPOCH, dataloader_len=Fraction(10)).at(Fraction(5, 2))
        >>> moment.epoch, moment.batch, moment.batch_in_epoch
        (Time('2ep'), Time('25ba'), Time('5ba'))
    """

    def __init__(
        self,
        unit: TimeUnit,
        dataloader_len: Fraction | None = None,
        samples_per_batch: Fraction | None = None,
        tokens_per_batch: Fraction | None = None,
    ) -> None:
        self.unit = unit
        self._epoch, self._sample, self._token = dataloader_len, samples_per_batch, tokens_per_batch
        in_batches = {
            TimeUnit.BATCH: Fraction(1),
            TimeUnit.EPOCH: dataloader_len,
            TimeUnit.SAMPLE: None if samples_per_batch is None else 1 / samples_per_batch,
            TimeUnit.TOKEN: None if tokens_per_batch is None else 1 / tokens_per_batch,
        }
        self._batches = in_batches.get(unit)

    def at(self, x: Fraction) -> Moment:
        """Return the timestamp at ``x``; counters without a rate that connects them with the axis are unset."""
        moment: Moment = object.__new__(Moment)
        moment._timeline = self
        counts = {self.unit: x}
        if self._batches is not None:
            batch = counts[TimeUnit.BATCH] = x * self._batches
            if self._epoch is not None:
                # As in a run: the number of finished epochs, and the counters within the current one.
                epoch = batch // self._epoch
                counts[TimeUnit.EPOCH] = Fraction(epoch)
                moment._batch_in_epoch = _whole(batch - epoch * self._epoch)
            if self._sample is not None:
                counts[TimeUnit.SAMPLE] = batch * self._sample
            if self._token is not None:
                counts[TimeUnit.TOKEN] = batch * self._token
        if TimeUnit.SECOND in counts:
            counts[TimeUnit.SECOND] *= _NANOSECONDS
        for name, unit in _COUNTED.items():
            if unit in counts:
                setattr(moment, f"_{name}", _whole(counts[unit]))
        return moment

    def unknown(self, name: str) -> InputError:
        """Return the error that says why the counter of that name is unknown."""
        unit = next((unit for stem, unit in _COUNTED.items() if stem in name), None)
        rates = [RATES[unit] for unit in (unit, self.unit) if unit in RATES]
        known = {"dataloader_len": self._epoch, "samples_per_batch": self._sample, "tokens_per_batch": self._token}
        missing = next((rate for rate in rates if known[rate] is None), None)
        if missing is None:
            rule = f"a run measured in {self.unit} does not say how far this counter is"
            raise InputError(f"timestamp.{name}", None, rule, "give the schedule's times in another unit")
        rule = f"the schedule reads {name}, and the run is measured in {self.unit}"
        return MissingRateError(missing, None, rule, f"give {missing}")


class Moment(Timestamp):
    """A timestamp whose unknown counters raise; a 0 would draw a wrong curve."""

    __slots__ = ("_timeline",)

    _timeline: Timeline

    def __getattr__(self, name: str) -> int:
        # Python calls this for unset slots.
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._timeline.unknown(name.lstrip("_"))

    def get(self, unit: TimeUnit | str) -> Time:
        for name, counted in _COUNTED.items():
            if TimeUnit(unit) is counted:
                getattr(self, f"_{name}")  # its own error, which the base class would take for that of an unknown unit
        return super().get(unit)


def _whole(value: Fraction) -> int:
    # Timestamps hold an int where they can; the annotation is the base class's, which has fractions too.
    return value.numerator if value.denominator == 1 else value  # type: ignore[return-value]
