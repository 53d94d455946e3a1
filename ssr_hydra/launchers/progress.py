"""How far a sweep has come, in a line on the terminal whenever that changes."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ssr_hydra.launchers.heartbeat import clock_of
from ssr_hydra.launchers.jobs import Job, State, read_state

__all__ = ["Progress", "line"]

_SECONDS = 1.0
_SHARE = 0.05  # of one core, at most, goes into looking
_LENGTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


class Progress:
    """Within it, the folders of a sweep's jobs are looked at, and a line is printed when a job begins or ends.

    Args:
        folder: The study's.
        jobs: Those of the sweep.
        stream: Where to print.
        name: What the study is called.
        command: The command that continues the sweep.

    Attributes:
        states: How far each job has come, by its folder, when it was looked at last.
    """

    def __init__(self, folder: Path, jobs: Iterable[Job], stream: TextIO, name: str, command: str) -> None:
        self._folder, self._stream, self._name, self._command = folder, stream, name, command
        self._jobs = {job.folder: job for job in jobs}
        self._weights = _weights(self._jobs.values())
        self.states: dict[Path, State] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._shown = ""
        self._has_begun = False
        self._thread = threading.Thread(target=self._watch, name="sweep", daemon=True)
        self._began = time.monotonic()
        self._untimed: set[Path] = set()  # ends that the clock has not seen
        self.look()

    def __enter__(self) -> Progress:
        self.show()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        if kind is None or issubclass(kind, Exception):
            self.show()
        else:  # by ctrl-C or a signal
            done = sum(state.is_final for state in self.states.values())
            self.tell(f"stopped with {done} of {len(self.states)} jobs done; continue with\n  {self._command}")

    def look(self) -> Mapping[Path, State]:
        """Look at every job that may have come further."""
        with self._lock:
            now, looked_before = clock_of(self._folder), bool(self.states)
            for path in self._jobs:
                if path not in self.states or not self.states[path].is_final:
                    self.states[path] = read_state(path, now)
            ended = {path for path, state in self.states.items() if state.has_ended}
            if not looked_before:
                self._untimed = ended
            elif not self._has_begun and (State.RUNNING in self.states.values() or ended - self._untimed):
                # What came before is start-up, and jobs so short that nobody has seen how long they took.
                self._has_begun, self._began, self._untimed = True, time.monotonic(), ended
            self._untimed &= ended  # one that failed is tried again
            return dict(self.states)

    def show(self) -> None:
        """Print the line, unless it is what was printed last."""
        text = line(Counter(self.states.values()))
        if text == self._shown:
            return
        self._shown = text
        left = self._seconds_left()
        about = "" if left is None else f", about {_duration(left)} left"
        self.tell(f"{text}{about}")

    def tell(self, text: str) -> None:
        """Print a line about the study."""
        with suppress(OSError, ValueError):  # nobody reads it
            clear = "\r\x1b[2K" if self._stream.isatty() else ""  # of the progress bar of a job
            self._stream.write(f"{clear}{self._name}: {text}\n")
            self._stream.flush()

    def _seconds_left(self) -> float | None:
        """From how long a share of the work has taken; None until a job has ended while the clock ran."""
        ended = {path for path, state in self.states.items() if state.has_ended}
        done = sum(self._weights[path] for path in ended - self._untimed)
        left = sum(self._weights[path] for path, state in self.states.items() if not state.has_ended)
        if not done or not left:
            return None
        return (time.monotonic() - self._began) / done * left

    def _key(self) -> tuple[int, int, bool]:
        """What is worth a line of its own when it changes."""
        counts = Counter(self.states.values())
        return sum(count for state, count in counts.items() if state.has_ended), counts[State.DIED], self._has_begun

    def _watch(self) -> None:
        wait = _SECONDS
        shown, has_changed = self._key(), False
        while not self._over.wait(wait):
            began = time.monotonic()
            with suppress(OSError):
                self.look()
            # At the second look, when the job that follows has begun: a line for each end, and no more.
            if has_changed:
                self.show()
                shown = self._key()
            has_changed = self._key() != shown
            wait = max(_SECONDS, (time.monotonic() - began) / _SHARE)


def line(counts: Mapping[State, int]) -> str:
    """The counts in words.

    Example:
        >>> line({State.COMPLETED: 5, State.RUNNING: 2, State.DIVERGED: 1, State.WAITING: 4})
        '6 of 12 jobs done (1 diverged), 2 running'
    """
    total = sum(counts.values())
    ended = sum(count for state, count in counts.items() if state.has_ended)
    bad = [f"{counts[state]} {state.value}" for state in (State.FAILED, State.DIVERGED) if counts.get(state)]
    text = f"{ended} of {total} {'job' if total == 1 else 'jobs'} done"
    text += f" ({', '.join(bad)})" if bad else ""
    for state, word in ((State.RUNNING, "running"), (State.DIED, "died")):
        text += f", {counts[state]} {word}" if counts.get(state) else ""
    return text


def _weights(jobs: Iterable[Job]) -> dict[Path, float]:
    """How long each job is next to the others: ssr times max_duration, or ssr alone where these have several units."""
    described = {job.folder: job.description for job in jobs}
    lengths = {path: _LENGTH.fullmatch(each.max_duration) for path, each in described.items()}
    units = {None if found is None else found[2].lower() for found in lengths.values()}
    if len(units) > 1 or None in units:
        return {path: each.ssr for path, each in described.items()}
    return {path: each.ssr * float(found[1]) for path, each in described.items() if (found := lengths[path])}


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{hours} h"
