"""Timestamps that compute a counter only when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from ssr_hydra.time.timestamp import SLOT_OF, Timestamp

SourceT = TypeVar("SourceT")


class DerivedTimestamp(Timestamp, Generic[SourceT]):
    """A timestamp that computes a counter only when the counter is read.

    Args:
        source: The object from which the counters are computed.
        functions: A mapping from the name of a counter, such as ``"batches"``, to a function that computes the counter
            from the source. The function raises an error if the counter is unknown. Reading a counter without a
            function raises an ``AttributeError``.
    """

    __slots__ = ("_functions", "_source")

    def __init__(self, source: SourceT, functions: Mapping[str, Callable[[SourceT], int]]) -> None:
        self._source, self._functions = source, functions

    def _compute(self, name: str) -> int:
        try:
            function = self._functions[name]
        except KeyError:
            raise AttributeError(name) from None
        return function(self._source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._source, self._functions)


def _computed(name: str) -> property:
    return property(lambda timestamp: timestamp._compute(name))


for _name, _slot in SLOT_OF.items():
    setattr(DerivedTimestamp, _slot, _computed(_name))


class SteppedTimestamp(DerivedTimestamp[SourceT]):
    """A derived timestamp that stores its number of batches. A training step increments this number."""

    __slots__ = ()

    batches: int
    batches = _batch = Timestamp.__dict__["_batch"]
