from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest

from ssr_hydra.launchers.heartbeat import HEARTBEAT, Heartbeat
from ssr_hydra.launchers.jobs import Description, Job, State
from ssr_hydra.launchers.progress import Progress, line
from ssr_hydra.records import RunResult


def done(folder: Path, status: str = "completed") -> None:
    error = None if status == "completed" else "E"
    RunResult(status, error, None, 1.0, "1ep", 0, 1, 1, 0, 1.0, 1.0).save(folder)


def jobs(folder: Path, *ssrs: float) -> list[Job]:
    found = [Job((), Description(str(n), "", ssr=ssr), folder / str(n)) for n, ssr in enumerate(ssrs)]
    for job in found:
        job.folder.mkdir()
    return found


def test_the_counts_in_words() -> None:
    assert line({State.WAITING: 1}) == "0 of 1 job done"
    counts = {State.COMPLETED: 3, State.FAILED: 2, State.DIVERGED: 1, State.RUNNING: 4, State.DIED: 5, State.WAITING: 6}
    assert line(counts) == "6 of 21 jobs done (2 failed, 1 diverged), 4 running, 5 died"


def test_a_line_when_something_has_changed_and_none_otherwise(tmp_path: Path) -> None:
    stream = io.StringIO()
    one, two, three = jobs(tmp_path, 1, 1, 1)
    with Progress(tmp_path, [one, two, three], stream, "first") as progress:
        progress.show()
        done(one.folder)
        progress.look()
        progress.show()
        progress.show()
        with Heartbeat(two.folder / HEARTBEAT):
            progress.look()
            progress.show()
        done(two.folder, "failed")
    lines = [re.sub(", about .*", "", each) for each in stream.getvalue().splitlines()]
    assert lines == [
        "first: 0 of 3 jobs done",
        "first: 1 of 3 jobs done",
        "first: 1 of 3 jobs done, 1 running",
        "first: 2 of 3 jobs done (1 failed)",
    ]


def test_what_is_left_is_told_by_the_length_of_the_runs(tmp_path: Path) -> None:
    # ssr 0.5 took 10 s; 1 and 2 are left, six times as long: 60 s. What was done before tells nothing.
    before, short, long, longer = jobs(tmp_path, 8, 0.5, 1, 2)
    done(before.folder)
    progress = Progress(tmp_path, [before, short, long, longer], io.StringIO(), "x")
    assert progress._seconds_left() is None
    progress._began = time.monotonic() - 10
    done(short.folder)
    progress.look()
    left = progress._seconds_left()
    assert left is not None
    assert 59.9 < left < 70
    done(long.folder)
    done(longer.folder)
    progress.look()
    assert progress._seconds_left() is None


def test_a_stream_that_nobody_reads_ends_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    stream.close()
    with Progress(tmp_path, jobs(tmp_path, 1), stream, "x"):
        pass


def test_a_sweep_that_is_stopped_says_how_to_go_on(tmp_path: Path) -> None:
    stream = io.StringIO()
    one, two = jobs(tmp_path, 1, 1)
    done(one.folder)
    with pytest.raises(KeyboardInterrupt), Progress(tmp_path, [one, two], stream, "first"):
        done(two.folder, "failed")  # as its record says until it is taken up again
        raise KeyboardInterrupt
    last = stream.getvalue().splitlines()[-1]
    assert last == "first: stopped with 1 of 2 jobs done; the same command goes on with the rest"
