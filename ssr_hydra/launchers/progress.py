"""How far a sweep has come, in a line on the terminal whenever that changes."""

from __future__ import annotations

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


class Progress:
    """Within it, the folders of a sweep's jobs are looked at, and a line is printed when a job begins or ends.

    Args:
        folder: The study's.
        jobs: Those of the sweep.
        stream: Where to print.
        name: What the study is called.

    Attributes:
        states: How far each job has come, by its folder, when it was looked at last.
    """

    def __init__(self, folder: Path, jobs: Iterable[Job], stream: TextIO, name: str) -> None:
        self._folder, self._stream, self._name = folder, stream, name
        self._jobs = {job.folder: job for job in jobs}
        self.states: dict[Path, State] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._shown = ""
        self._has_begun = False
        self._thread = threading.Thread(target=self._watch, name="sweep", daemon=True)
        self._began = time.monotonic()
        self._ended_before: frozenset[Path] = frozenset()
        self.look()
        self._ended_before = frozenset(path for path, state in self.states.items() if state.is_final)

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
            rest = "the same command goes on with the rest"
            self.tell(f"stopped with {done} of {len(self.states)} jobs done; {rest}")

    def look(self) -> Mapping[Path, State]:
        """Look at every job that may have come further."""
        with self._lock:
            now = clock_of(self._folder)
            for path in self._jobs:
                if path not in self.states or not self.states[path].is_final:
                    self.states[path] = read_state(path, now)
            if not self._has_begun and State.RUNNING in self.states.values():
                self._has_begun, self._began = True, time.monotonic()  # what came before is start-up
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
        """From how long a share of the work has taken, the length of a run counting as its work."""
        done = sum(self._weight(path) for path, state in self.states.items() if self._is_new_end(path, state))
        left = sum(self._weight(path) for path, state in self.states.items() if not state.has_ended)
        if not done or not left:
            return None
        return (time.monotonic() - self._began) / done * left

    def _key(self) -> tuple[int, int, bool]:
        """What is worth a line of its own when it changes."""
        counts = Counter(self.states.values())
        return sum(count for state, count in counts.items() if state.has_ended), counts[State.DIED], self._has_begun

    def _weight(self, path: Path) -> float:
        return self._jobs[path].description.ssr

    def _is_new_end(self, path: Path, state: State) -> bool:
        return state.has_ended and path not in self._ended_before

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


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{hours} h"
