"""A clock for tests that changes only on request."""

from __future__ import annotations

import time

import pytest


class Clock:
    """The time of the process, which changes only on request."""

    def __init__(self) -> None:
        self.milliseconds = 0

    def sleep(self, milliseconds: int) -> None:
        """Advance the time."""
        self.milliseconds += milliseconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of the process."""
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.milliseconds / 1000)
    monkeypatch.setattr(time, "perf_counter_ns", lambda: clock.milliseconds * 10**6)
    return clock
