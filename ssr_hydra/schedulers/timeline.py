"""The timeline of a run, which computes the timestamp at any time of the run."""

from __future__ import annotations

from fractions import Fraction
from functools import partial

from ssr_hydra.errors import InputError, MissingRateError, UnsupportedError
from ssr_hydra.schedulers.run import RATES
from ssr_hydra.time import Timestamp, TimeUnit
from ssr_hydra.time.derived import DerivedTimestamp
from ssr_hydra.time.timestamp import COUNTERS, NANOSECONDS, TOTALS


class Timeline:
    """The timeline of one run. Its times have the unit ``unit``, which is the unit of the run's length.

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

    def at(self, x: Fraction) -> Timestamp:
        """Return the timestamp at the time ``x``. Reading an unknown counter from it raises an error."""
        counts = {TOTALS[self.unit]: x}
        if self._batches is not None:
            batch = counts["batches"] = x * self._batches
            if self._epoch is not None:
                # As in a training loop: count finished epochs, and the batches of the current epoch.
                epoch = batch // self._epoch
                counts["epochs"] = Fraction(epoch)
                counts["batches_in_epoch"] = batch - epoch * self._epoch
            if self._sample is not None:
                counts["samples"] = batch * self._sample
            if self._token is not None:
                counts["tokens"] = batch * self._token
        if "nanoseconds" in counts:
            counts["nanoseconds"] *= NANOSECONDS
        return DerivedTimestamp((self, counts), _FUNCTIONS)

    def unknown(self, name: str) -> InputError:
        """Return the error that explains why the counter ``name`` is unknown."""
        unit = next((unit for unit, total in TOTALS.items() if name.startswith(total)), None)
        rates = [RATES[unit] for unit in (unit, self.unit) if unit in RATES]
        values = {"dataloader_len": self._epoch, "samples_per_batch": self._sample, "tokens_per_batch": self._token}
        missing = next((rate for rate in rates if values[rate] is None), None)
        if missing is None:
            rule = f"cannot be computed for a run that is measured in {self.unit}"
            raise UnsupportedError(f"timestamp.{name}", None, rule, "write the schedule's times in a different unit")
        rule = f"must be set, because the schedule reads timestamp.{name} and the run is measured in {self.unit}"
        return MissingRateError(missing, None, rule, f"set {missing}")


def _counter(name: str, source: tuple[Timeline, dict[str, Fraction]]) -> int:
    timeline, counts = source
    if name not in counts:
        raise timeline.unknown(name)
    count = counts[name]
    # Return an int if possible. Timestamp declares int, although counters may be fractions.
    return count.numerator if count.denominator == 1 else count  # type: ignore[return-value]


_FUNCTIONS = {name: partial(_counter, name) for name in COUNTERS}
