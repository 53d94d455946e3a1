"""The clock of schedules after a resume with changes. (Skeleton: signatures hold, bodies follow.)"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, Timestamp

__all__ = ["TimeMap"]


class TimeMap:
    """Where schedules read: the plan that they are bound to, and the time on it for a timestamp of the run.

    A rescaled run keeps the axis of the plan it began with (its max_duration, ssr and rates), so that every schedule is
    continuous where it was resumed, whatever units it has: schedules are bound to ``plan(state)`` and ``ssr`` and read
    at ``map(timestamp)``. In a run that was never changed both are the run's own.

        fresh run:                     map = TimeMap.planned(state, ssr)
        resumed, nothing changed:      map = TimeMap.from_state_dict(saved)
        resumed, on_change=extend:     map = saved_map.extended(state, ssr)      # state: the new run's, at the timestamp
        resumed, on_change=rescale:    map = saved_map.rescaled(state, ssr)      # of the checkpoint
        every checkpoint:              state["time_map"] = map.state_dict()      # plain
        binding:                       bind(scheduler, map.plan(state), map.ssr)
        every step:                    plan_state.timestamp = map(timestamp)     # the timestamp itself if is_identity
    """

    ssr: Fraction
    max_duration: Time
    is_identity: bool

    @classmethod
    def planned(cls, state: State, ssr: Number) -> TimeMap:
        """The map of a run that goes as planned."""
        raise NotImplementedError

    def extended(self, state: State, ssr: Number) -> TimeMap:
        """As planned from the start: the new schedule at the true time; InputError if it would be over already."""
        raise NotImplementedError

    def rescaled(self, state: State, ssr: Number) -> TimeMap:
        """The rest of the schedule over the rest of the run; InputError if either has no rest."""
        raise NotImplementedError

    def plan(self, state: State) -> State:
        """The state that schedules are bound to, at the mapped time of ``state.timestamp``."""
        raise NotImplementedError

    def __call__(self, timestamp: Timestamp) -> Timestamp:
        """The time on the plan."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """As plain strings and numbers."""
        raise NotImplementedError

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> TimeMap:
        """From :meth:`state_dict`; InputError where it is none."""
        raise NotImplementedError
