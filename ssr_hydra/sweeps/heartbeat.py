"""A heartbeat file: a process touches the file while it runs, and removes the file when it ends.

Only a killed process leaves its heartbeat file behind.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from ssr_hydra.files import read_bounded, write_atomically

HEARTBEAT = "heartbeat.json"
"""Name of the heartbeat file in a job's folder."""

SILENT_SECONDS = 40.0
"""Seconds without a heartbeat after which a process on another machine counts as dead."""

_INTERVAL = 5.0
_LOOK_SECONDS = 1.0  # minimum seconds between two counts of jobs
_SHARE = 0.02  # counting jobs may take at most this fraction of the time
_STEP = 0.01  # progress is written each time this fraction of the run is completed
_MOST_BYTES = 100_000


@dataclass(frozen=True)
class Pulse:
    """The content of a heartbeat file: the process that writes the file, and the progress of the job."""

    machine: str  # host name, boot id, and the namespace of process ids
    pid: int
    started: str  # the start time of the process, because a later process may have the same id
    attempt: int = 1  # 1 plus the number of earlier attempts that were killed
    frac_done: float | None = field(default=None, compare=False)  # the completed fraction of the run; None if unknown

    @classmethod
    def read(cls, path: Path) -> Pulse | None:
        """Return the content of a heartbeat file; None if the file does not exist or is incomplete."""
        try:
            pulse = cls(**json.loads(read_bounded(path, _MOST_BYTES)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = [isinstance(item, str) for item in (pulse.machine, pulse.started)]
        kinds += [type(item) is int for item in (pulse.pid, pulse.attempt)]
        kinds += [pulse.frac_done is None or type(pulse.frac_done) in (int, float)]
        return pulse if all(kinds) else None


class Heartbeat:
    """In the ``with`` block, a heartbeat file shows that this process is alive.

    Args:
        path: The heartbeat file.
        count_others: A function that counts the other jobs on this machine. A thread calls this function repeatedly.

    Attributes:
        attempt: The number of this attempt: 1 plus the number of earlier attempts that were killed.
        frac_done: A function that returns the completed fraction of the run; None to write no progress.

    Raises:
        WriteError: The file cannot be written.
    """

    def __init__(self, path: Path, count_others: Callable[[], int] | None = None) -> None:
        self.path = path
        self.attempt = 1
        self.frac_done: Callable[[], float] | None = None
        self._count_others = count_others or (lambda: 0)
        self._counts = Counter[int]()  # how often the thread counted 0, 1, 2 ... other jobs
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        before = Pulse.read(self.path)
        self.attempt = 1 if before is None else before.attempt + 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._pulse = Pulse(_machine(), os.getpid(), _started(os.getpid()) or "", self.attempt)
        self._write(sync=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._over.set()
        try:
            self._thread.join()
        finally:  # remove the file also after a second ctrl-C
            with suppress(OSError):
                self.path.unlink(missing_ok=True)

    def begin(self) -> None:
        """Start the measurement that :meth:`jobs_beside` returns. Call this method when training starts."""
        self._counts = Counter([self._count_others()])

    def jobs_beside(self) -> float:
        """Return the mean number of other jobs that ran on this machine since :meth:`begin`."""
        self._counts[self._count_others()] += 1
        counts = dict(self._counts)  # a copy, because the thread may add a number of jobs during the sum
        return sum(count * times for count, times in counts.items()) / sum(counts.values())

    def _write(self, *, sync: bool = False) -> None:
        write_atomically(self.path, json.dumps(asdict(self._pulse)) + "\n", sync=sync)

    def _beat(self) -> None:
        wait, beaten = _LOOK_SECONDS, time.monotonic()
        while not self._over.wait(min(wait, _INTERVAL)):
            began = time.monotonic()
            with suppress(OSError):  # the run continues if the disk is briefly unavailable
                if self._has_advanced():
                    self._write()
                    beaten = began
                elif began - beaten > _INTERVAL - _LOOK_SECONDS:
                    os.utime(self.path)
                    beaten = began
            self._counts[self._count_others()] += 1
            wait = max(_LOOK_SECONDS, (time.monotonic() - began) / _SHARE)

    def _has_advanced(self) -> bool:
        if self.frac_done is None:
            return False
        frac = self.frac_done()
        if abs(frac - (self._pulse.frac_done or 0.0)) < _STEP:
            return False
        self._pulse = replace(self._pulse, frac_done=frac)
        return True


def is_alive(path: Path, now: float | None = None) -> bool:
    """Return whether the process that wrote a heartbeat file is alive.

    If the file is from this machine, look for a process with the id and start time in the file. If it is from a
    different machine, or has no start time, check that the time of the file differs from ``now`` by less than
    ``SILENT_SECONDS``. So a date in the far future means that the process is not alive. ``now`` defaults to the result
    of :func:`clock_of`.
    """
    pulse = Pulse.read(path)
    if pulse is None:
        return False
    if pulse.machine == _machine() and pulse.started:
        return _started(pulse.pid) == pulse.started
    with suppress(OSError):
        last = path.stat().st_mtime
        return abs((clock_of(path.parent) if now is None else now) - last) < SILENT_SECONDS
    return False


def count_living(folder: Path, depth: int, own: Path) -> int:
    """Count the jobs of a study that run on this machine, except the job whose heartbeat file is ``own``.

    The folders of the jobs are ``depth`` levels below the study's folder.
    """
    try:
        signs = [path for path in folder.glob("/".join(["*"] * depth + [HEARTBEAT])) if path != own]
        return sum(not is_elsewhere(path) and is_alive(path) for path in signs)
    except OSError:  # the disk is briefly unavailable
        return 0


def is_elsewhere(path: Path) -> bool:
    """Return whether a process on a different machine wrote the heartbeat file."""
    pulse = Pulse.read(path)
    return pulse is not None and pulse.machine != _machine()


def clock_of(folder: Path) -> float:
    """Return the current time by the clock that sets file times in a folder. It may be the clock of a file server."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock-") as file:
        os.utime(file.name)
        return Path(file.name).stat().st_mtime


@lru_cache(maxsize=1)
def _machine() -> str:
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def _started(pid: int) -> str | None:
    """Return the start time of process ``pid`` on this machine; None if it does not run, "" if the time is unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None if Path("/proc/self/stat").exists() else ""
    except OSError:
        return ""
    # The process name is in parentheses and may contain any character. The first field after the name is the state of
    # the process. The twentieth field after the name is the start time.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
