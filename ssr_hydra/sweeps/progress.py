"""Print the progress of a sweep: a line for each job that ends, and on a terminal a bar for each running job."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from ssr_hydra.errors import visible
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Pulse, clock_of
from ssr_hydra.sweeps.job_status import JobState, StudyJob, columns_of, read_state
from ssr_hydra.time import as_time
from ssr_hydra.trainer.progress import clock_text

_SECONDS = 1.0
_BAR_WIDTH = 20
_SHARE = 0.05  # the largest fraction of the time that this process may spend on reading the status of jobs


class SweepProgress:
    """In the ``with`` block, read the folders of a sweep's jobs and print a line for each job that ends.

    With ``live``, this class also draws progress bars on a terminal: one for each running job, and one for the sweep.
    ``live`` must be False if the jobs print to this terminal.
    """

    def __init__(
        self, folder: Path, jobs: Iterable[StudyJob], stream: TextIO, command: str, *, live: bool = False
    ) -> None:
        self._folder, self._stream, self._name, self._command = folder, stream, folder.name, command
        self._jobs = {job.folder: job for job in jobs}
        self._weights = _weights(self._jobs.values())
        columns = columns_of([job.overrides for job in self._jobs.values()])
        self._shared, self._words = columns.shared, {path: columns.words(row) for row, path in enumerate(self._jobs)}
        self._area = _Area.on(stream) if live else None
        self.states: dict[Path, JobState] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="sweep", daemon=True)
        self._before: set[Path] = set()  # jobs that earlier sweeps completed
        self.look()
        self._before, self._began = self._completed(), time.monotonic()

    def __enter__(self) -> SweepProgress:
        self._told = {path for path, state in self.states.items() if state.has_ended}
        self._summarize()
        if self._area is not None:
            self._area.start()
        self._show()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        try:
            self._thread.join()
            self.look()
            self._show()
        finally:  # a second ctrl-C must not leave the terminal without a cursor
            if self._area is not None:
                self._area.stop()
        if kind is None or issubclass(kind, Exception):
            self._summarize()
        else:  # ctrl-C or a signal has stopped the sweep
            n_final = sum(state.is_final for state in self.states.values())
            self.tell(f"stopped with {n_final} of {len(self.states)} jobs done; continue with\n  {self._command}")

    def _summarize(self) -> None:
        self.tell(line(Counter(self.states.values())))

    def look(self) -> None:
        """Read the status of each job whose last known status is not final."""
        with self._lock:
            now, began = clock_of(self._folder), time.monotonic()
            for path in self._jobs:
                if path not in self.states or not self.states[path].is_final:
                    self.states[path] = read_state(path, now)
            if JobState.RUNNING not in self.states.values() and self._completed() == self._before:
                self._began = began  # do not measure the time before the first job starts: jobs may wait in a queue

    def _completed(self) -> set[Path]:
        return {path for path, state in self.states.items() if state is JobState.COMPLETED}

    def _show(self) -> None:
        """Print the jobs that have ended since the last call, and draw the bars."""
        self._told = {path for path in self._told if self.states[path].has_ended}  # forget jobs that are being retried
        for path, state in self.states.items():
            if state.has_ended and path not in self._told:
                self._told.add(path)
                self.tell(self._end_of(path), crop=True)
        if self._area is not None:
            self._area.draw(self._name, self._bars(), self.states.values(), self._left())

    def _end_of(self, path: Path) -> str:
        """Return the line for a job that has ended: its status, metric, training time, overrides and error."""
        n_ended = sum(self.states[each] is not JobState.STOPPED for each in self._told)
        words = [f"{n_ended}/{len(self.states)}", path.name]
        error = None
        with suppress(OSError, ValueError):
            record = RunResult.load(path)
            name, error = self._jobs[path].description.objective, record.error
            value = record.metrics.get(name or "")
            words += [record.status] if record.status != "completed" else []
            words += [f"{name} {value:.4g}"] if value is not None else []
            words += [clock_text(record.train_seconds)] if record.steps else []
        words.append(self._words[path] if error is None else f"{self._words[path]}: {' '.join(error.split())}")
        words += [self._left()] if self._area is None else []
        return "  ".join(filter(None, words))

    def _left(self) -> str:
        left = self._seconds_left()
        return "" if left is None else f"about {_duration(left)} left"

    def _bars(self) -> list[tuple[str, float | None]]:
        """Return the label of each running job, and the completed fraction of its run (None if unknown)."""
        running = [path for path, state in self.states.items() if state is JobState.RUNNING]
        pulses = {path: Pulse.read(path / HEARTBEAT) for path in running}
        return [(f"{path.name} ({self._words[path]})", pulse.frac_done) for path, pulse in pulses.items() if pulse]

    def tell(self, text: str, *, crop: bool = False) -> None:
        """Print the study's name and a text. With ``crop``, cut the line to the width of the terminal."""
        text = "\n".join(map(visible, f"{self._name}: {text}".split("\n")))
        with suppress(OSError, ValueError):  # the output cannot be written
            is_terminal = self._stream.isatty()
            width = shutil.get_terminal_size().columns
            if crop and is_terminal and len(text) > width:
                text = f"{text[: width - 1]}…"
            if self._area is not None and self._area.is_drawn:
                self._area.tell(text)
                return
            clear = "\r\x1b[2K" if is_terminal else ""  # if this line shows the progress bar of a job, erase the bar
            self._stream.write(f"{clear}{text}\n")
            self._stream.flush()

    def _seconds_left(self) -> float | None:
        """Return the estimated seconds until the sweep ends; None if no job has completed or all jobs have ended."""
        # Count only completed jobs, because other jobs may have trained only a small part of their steps.
        completed = sum(self._weights[path] for path in self._completed() - self._before)
        left = sum(self._weights[path] for path, state in self.states.items() if not state.has_ended)
        return (time.monotonic() - self._began) / completed * left if completed and left else None

    def _watch(self) -> None:
        wait = _SECONDS
        while not self._over.wait(wait):
            began = time.monotonic()
            with suppress(OSError):
                self.look()
                self._show()
            wait = max(_SECONDS, (time.monotonic() - began) / _SHARE)


class _Area:
    """Progress bars in the lowest lines of a terminal. Other output is printed above the bars."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
        )

    @classmethod
    def on(cls, stream: TextIO) -> _Area | None:
        """Return the area for a terminal; None if the stream is not a terminal or cannot redraw lines."""
        with suppress(OSError, ValueError, AttributeError):
            if stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
                return cls(stream)
        return None

    @property
    def is_drawn(self) -> bool:
        return self._live.is_started

    def start(self) -> None:
        with suppress(OSError, ValueError):  # the terminal may have been closed
            self._live.start()

    def stop(self) -> None:
        with suppress(OSError, ValueError):
            self._live.stop()

    def tell(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(text), soft_wrap=True)

    def draw(self, name: str, bars: Sequence[tuple[str, float | None]], states: Iterable[JobState], left: str) -> None:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        counts = Counter(states)
        total, ended = sum(counts.values()), sum(count for state, count in counts.items() if state.has_ended)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(width=_BAR_WIDTH)
        grid.add_column(no_wrap=True, justify="right", width=5)
        grid.expand = True
        most = max(1, self._console.height - 4)
        for label, frac in bars[:most]:
            percent = "" if frac is None else f"{frac:.0%}"
            grid.add_row(Text(visible(f"  {label}")), ProgressBar(1.0, frac or 0.0, _BAR_WIDTH), Text(percent))
        if len(bars) > most:
            grid.add_row(Text(f"  and {len(bars) - most} more"), "", "")
        frac = (ended + sum(part or 0.0 for _, part in bars)) / total if total else 1.0
        head = ", ".join(filter(None, [f"{name}: {line(counts)}", left]))
        grid.add_row(Text(visible(head)), ProgressBar(1.0, frac, _BAR_WIDTH), Text(f"{frac:.0%}"))
        with suppress(OSError, ValueError):
            self._live.update(grid, refresh=True)


def line(counts: Mapping[JobState, int]) -> str:
    """Return a text with the number of jobs in each status.

    Example:
        >>> line({JobState.COMPLETED: 5, JobState.RUNNING: 2, JobState.DIVERGED: 1, JobState.WAITING: 4})
        '6 of 12 jobs done (1 diverged), 2 running'
    """
    total = sum(counts.values())
    ended = sum(count for state, count in counts.items() if state.has_ended and state is not JobState.STOPPED)
    bad = [f"{counts[state]} {state.value}" for state in (JobState.FAILED, JobState.DIVERGED) if counts.get(state)]
    text = f"{ended} of {total} {'job' if total == 1 else 'jobs'} done"
    text += f" ({', '.join(bad)})" if bad else ""
    for state, word in ((JobState.STOPPED, "stopped"), (JobState.RUNNING, "running"), (JobState.DIED, "died")):
        text += f", {counts[state]} {word}" if counts.get(state) else ""
    return text


def _weights(jobs: Iterable[StudyJob]) -> dict[Path, float]:
    """Return the relative length of each job: ssr times max_duration.

    If jobs have no ``max_duration``, or their units differ, return the ssr of each job.
    """
    described = {job.folder: job.description for job in jobs}
    times = {path: as_time(each.max_duration, "max_duration") for path, each in described.items() if each.max_duration}
    if len(times) < len(described) or len({time.unit for time in times.values()}) > 1:
        return {path: each.ssr for path, each in described.items()}
    return {path: each.ssr * float(times[path].value) for path, each in described.items()}


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), round(seconds / 3600, 1)
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes} min" if minutes < 100 else f"{hours} h"
