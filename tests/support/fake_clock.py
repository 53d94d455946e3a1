"""A clock for tests that moves only when told to."""

from __future__ import annotations

import time

import pytest


class Clock:
    """The time of the process, which passes only when it is told to."""

    def __init__(self) -> None:
        self.milliseconds = 0

    def sleep(self, milliseconds: int) -> None:
        """Let time pass."""
        self.milliseconds += milliseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in the place of the process's."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.milliseconds / 1000)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: clock.milliseconds * 10**6)
    return clock
