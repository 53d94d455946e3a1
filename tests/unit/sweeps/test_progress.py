import io
import re
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sweep_records import Terminal, record

from ssr_hydra.sweeps import progress as progress_module
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat
from ssr_hydra.sweeps.job_status import JobDescription, JobState, StudyJob
from ssr_hydra.sweeps.progress import SweepProgress, line

COMMAND = "ssr-train -m study=first"


class Clock:
    """The clock of the progress, which a test sets."""

    seconds = 1000.0


@pytest.fixture
def now(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "_SECONDS", 3600)  # only the tests read and print the status, not the thread
    folder = tmp_path / "first"
    folder.mkdir()
    return folder


def jobs(folder, *runs):
    """Return a job for each pair of ssr and max_duration."""
    study_jobs = []
    for number, (ssr, length) in enumerate(runs):
        description = JobDescription(str(number), "", ssr=ssr, max_duration=length, objective="eval/loss")
        study_jobs.append(StudyJob(("ssr=0.5", f"seed={number}"), description, folder / str(number)))
        study_jobs[-1].folder.mkdir()
    return study_jobs


def end(job, status="completed", error="E"):
    record(job.folder, status, error, seconds=2.5, metrics={"eval/loss": 0.123456})


def test_progress_line_shows_the_number_of_jobs_in_each_state():
    assert line({JobState.WAITING: 1}) == "0 of 1 job done"
    counts = {
        JobState.COMPLETED: 3,
        JobState.FAILED: 2,
        JobState.DIVERGED: 1,
        JobState.RUNNING: 4,
        JobState.DIED: 5,
        JobState.WAITING: 6,
    }
    assert line(counts) == "6 of 21 jobs done (2 failed, 1 diverged), 4 running, 5 died"
    assert line({JobState.COMPLETED: 1, JobState.STOPPED: 2}) == "1 of 3 jobs done, 2 stopped"


def test_progress_prints_a_line_for_each_job_that_ends(study):
    stream = io.StringIO()
    before, one, two, three, four = study_jobs = jobs(study, *[(1, "")] * 5)
    end(before)
    with SweepProgress(study, study_jobs, stream, COMMAND) as progress:
        with Heartbeat(one.folder / HEARTBEAT):
            progress.look()
            progress._show()
        end(one)
        progress.look()
        progress._show()
        progress._show()
        end(two, "failed", "ValueError: over\ntwo lines")
        end(three, "stopped", "terminated by SIGTERM")
        end(four)  # three jobs end between two checks, and each line has its own count
    lines = [re.sub("  about .*", "", each) for each in stream.getvalue().splitlines()]
    assert lines == [
        "first: 1 of 5 jobs done",
        "first: 2/5  1  eval/loss 0.1235  2.50 s  seed=1",
        "first: 3/5  2  failed  2.50 s  seed=2: ValueError: over two lines",
        "first: 3/5  3  stopped  2.50 s  seed=3: terminated by SIGTERM",
        "first: 4/5  4  eval/loss 0.1235  2.50 s  seed=4",
        "first: 4 of 5 jobs done (1 failed), 1 stopped",
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_bars_and_lines_fit_the_width_of_the_terminal(study, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    study_jobs = [
        StudyJob(
            (f"optimizer.weight_decay={n}" * 5,), JobDescription(str(n), "", objective="eval/loss"), study / str(n)
        )
        for n in range(3)
    ]
    with ExitStack() as stack, SweepProgress(study, study_jobs, stream, COMMAND, live=True) as progress:
        for job in study_jobs[:2]:
            job.folder.mkdir()
            beat = stack.enter_context(Heartbeat(job.folder / HEARTBEAT))
            beat._pulse = replace(beat._pulse, frac_done=0.25)
            beat._write()
        progress.look()
        progress._show()
        end(study_jobs[0])
        progress.look()
        progress._show()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    lines = [each.strip("\r") for each in text.splitlines()]
    assert max(map(len, lines)) <= columns
    assert any(re.match(r"  1 \(optimizer.weight_decay=1.*… .* 25%$", each) for each in lines)
    assert any(re.match(r"first: 0 of 3 jobs done, 2 running .* 17%$", each) for each in lines)  # (0.25 + 0.25) / 3
    assert any(each.startswith("first: 1/3  0  eval/loss 0.1235  2.50 s  optimizer.weight") for each in lines)
    assert stream.getvalue().endswith("first: 1 of 3 jobs done, 1 running\n")


@pytest.mark.parametrize(
    ("runs", "left"),
    [
        ([(0.5, "4ep"), (1, "4ep"), (2, "4ep")], 60),  # six times the work of the first run is left
        ([(1, "1ep"), (1, "4ep")], 40),
        ([(1, "100ba"), (1, "0.05ba")], 0.005),
        ([(1, "1ep"), (1, "400ba")], 10),  # the number of batches of an epoch is unknown here, so only ssr counts
        ([(1, ""), (1, "4ep")], 10),
    ],
)
def test_remaining_time_is_estimated_from_ssr_and_max_duration(study, now, runs, left):
    before, first, *others = study_jobs = jobs(study, (8, runs[0][1]), *runs)
    end(before)  # a job that completed earlier does not count
    progress = SweepProgress(study, study_jobs, io.StringIO(), COMMAND)
    assert progress._seconds_left() is None
    now.seconds += 10
    end(first)
    progress.look()
    assert progress._seconds_left() == pytest.approx(left)
    for job in others:
        end(job)
    progress.look()
    assert progress._seconds_left() is None


@pytest.mark.parametrize("status", ["failed", "stopped", "diverged"])
def test_remaining_time_counts_completed_jobs_from_the_start_of_the_first_job(study, now, status):
    early, again, *_ = study_jobs = jobs(study, *[(1, "")] * 4)
    end(again, "failed")  # the sweep retries this job
    progress = SweepProgress(study, study_jobs, io.StringIO(), COMMAND)
    now.seconds += 3600  # the jobs wait in a queue
    progress.look()
    end(early, status)
    progress.look()
    assert progress._seconds_left() is None
    now.seconds += 5
    end(again)
    progress.look()
    assert progress._seconds_left() == 5 * 2  # two jobs are left


@pytest.mark.parametrize(
    ("seconds", "text"), [(99.4, "99 s"), (100, "2 min"), (5960, "99 min"), (5971, "1.7 h"), (3_600_000, "1000.0 h")]
)
def test_remaining_time_has_a_suitable_unit(seconds, text):
    assert progress_module._duration(seconds) == text


def test_closed_stream_does_not_end_a_sweep(study):
    stream = io.StringIO()
    stream.close()
    with SweepProgress(study, jobs(study, (1, "")), stream, COMMAND):
        pass


def test_message_of_a_stopped_sweep_says_how_to_continue(study):
    stream = io.StringIO()
    one, two = jobs(study, (1, ""), (1, ""))
    end(one)
    with pytest.raises(KeyboardInterrupt), SweepProgress(study, [one, two], stream, COMMAND):
        end(two, "stopped")
        raise KeyboardInterrupt
    last = stream.getvalue().splitlines()[-2:]
    assert last == ["first: stopped with 1 of 2 jobs done; continue with", "  ssr-train -m study=first"]
