"""The jobs that a sweep launches, and the number of launches. Launchers and jobs are simulated in this process."""

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from sweep_records import Killed, Terminal, ended_at, jobs, record

from ssr_hydra import files
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps import heartbeat, progress
from ssr_hydra.sweeps import study_launcher as study
from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat, Pulse
from ssr_hydra.sweeps.job_status import JobDescription, JobState, LostJobError, read_state
from ssr_hydra.sweeps.study_launcher import StudyLauncher, SweepError

Act = Callable[[Path], JobReturn]
Jobs = Sequence[Sequence[str]]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch):
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(study, "_GRACE_SECONDS", 0.1)


class Scripted:
    """A launcher with an unknown name. ``acts`` are the functions of its jobs."""

    def __init__(self, folder, acts=None):
        self.folder, self.acts = folder, acts or {}
        self.launches = []
        self.threads = set()

    def launch(self, jobs, first):
        self.threads.add(threading.current_thread() is threading.main_thread())
        self.launches.append([overrides[0] for overrides in jobs])
        return self.run(jobs)

    def run(self, jobs):
        return [self.one(overrides) for overrides in jobs]

    def one(self, overrides):
        return self.acts.get(overrides[0], complete)(self.place(overrides))

    def place(self, overrides):
        """Return the folder of a job by the last of its overrides."""
        key, _, value = overrides[-1].partition("=")
        assert key == "hydra.sweep.subdir"
        return self.folder / value.strip("'")


class ProcessLauncher(Scripted):
    """Has the name of the launcher that starts a process for each job."""


class LocalLauncher(Scripted):
    """Has the name of a launcher that starts all jobs immediately."""


class Pool(Scripted):
    """Runs three jobs at a time. If one job dies, the three jobs die, and the launch raises an error."""

    def run(self, jobs):
        returns = []
        for start in range(0, len(jobs), 3):
            now = jobs[start : start + 3]
            if any(self.acts.get(overrides[0]) is die for overrides in now):
                for overrides in now:
                    die(self.place(overrides))
                raise RuntimeError("the pool is broken")
            returns += [self.one(overrides) for overrides in now]
        return returns


def complete(folder):
    with Heartbeat(folder / HEARTBEAT):
        record(folder)
    return JobReturn(status=JobStatus.COMPLETED)


def fail(folder):
    record(folder, "failed", "ValueError: of its own")
    return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("of its own"))


def diverge(folder):
    record(folder, "diverged", "DivergedError: NaN")
    return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("NaN"))


def die(folder):
    """Leave the files of a killed process."""
    before = Pulse.read(folder / HEARTBEAT)
    with Heartbeat(folder / HEARTBEAT):
        left = json.loads((folder / HEARTBEAT).read_text())
    left |= {"started": "1", "attempt": 1 if before is None else before.attempt + 1}
    (folder / HEARTBEAT).write_text(json.dumps(left))
    return JobReturn(status=JobStatus.FAILED, _return_value=RuntimeError("killed by SIGKILL"))


def die_early(folder):
    """Die before the first heartbeat."""
    del folder
    return JobReturn(status=JobStatus.FAILED, _return_value=LostJobError("killed by SIGKILL"))


def never_start(folder):
    del folder
    return JobReturn(status=JobStatus.FAILED, _return_value=ImportError("no such module"))


def once(act):
    """Call ``act`` the first time, and complete the job the second time."""
    times = Counter[Path]()

    def do(folder):
        times[folder] += 1
        return act(folder) if times[folder] == 1 else complete(folder)

    return do


def launcher(inner, names, stream=None):
    folder = StudyFolder(inner.folder)
    plan = folder.assign(jobs(names))
    return StudyLauncher(inner, folder, plan, stream or io.StringIO(), command="ssr-train -m study=s")


def sweep(inner, names, stream=None):
    """Run a job for each name."""
    study_launcher = launcher(inner, names, stream)
    study_launcher.run()
    return study_launcher


def statuses(folder):
    names = {path.parent: json.loads(path.read_text())["overrides"][0] for path in folder.glob("*/job.json")}
    return {name: RunResult.load(path).status for path, name in names.items()}


def test_completed_job_is_not_run_again(tmp_path):
    study_launcher = sweep(ProcessLauncher(tmp_path, {"b": fail, "d": diverge}), "abcd")
    failures = r"1 \(b\): ValueError: of its own; 3 \(d\): DivergedError: NaN; to run only the failed jobs again: ssr"
    with pytest.raises(SweepError, match=rf"^2 of 4 jobs did not complete: {failures}"):
        study_launcher.check()
    second = ProcessLauncher(tmp_path)
    study_launcher = sweep(second, "abcde")
    assert second.launches == [["b", "e"]]
    with pytest.raises(SweepError, match=r"^1 of 5 jobs did not complete: 3 \(d\): DivergedError: NaN; a diverged run"):
        study_launcher.check()
    nothing = ProcessLauncher(tmp_path)
    sweep(nothing, "ac").check()
    assert nothing.launches == []


# Seed and identity of five jobs in the order of their numbers. Seed 1 comes first, as typed; within a seed the order is
# that of the identities: a, b, c of seed 1 are jobs 2, 4, 0, and b, d of seed 0 are jobs 1, 3.
SEEDED = {"v": (1, "c"), "w": (0, "b"), "x": (1, "a"), "y": (0, "d"), "z": (1, "b")}


@pytest.mark.parametrize(
    ("kind", "settings", "launches"),
    [
        (ProcessLauncher, {"at_a_time": 2}, ["xzvwy"]),
        (ProcessLauncher, {"batch": 2}, ["xz", "vw", "y"]),
        (LocalLauncher, {"at_a_time": 2}, ["xz", "vw", "y"]),
    ],
)
def test_jobs_run_seed_by_seed_in_the_order_of_their_identities(tmp_path, kind, settings, launches):
    inner, folder = kind(tmp_path), StudyFolder(tmp_path)
    jobs = [((name,), JobDescription(f"{identity}{seed}", "", seed=seed)) for name, (seed, identity) in SEEDED.items()]
    StudyLauncher(inner, folder, folder.assign(jobs), io.StringIO(), command="", **settings).run()
    assert ["".join(names) for names in inner.launches] == launches
    folders = {path.parent.name: json.loads(path.read_text())["overrides"][0] for path in tmp_path.glob("*/job.json")}
    assert folders == {"0": "v", "1": "w", "2": "x", "3": "y", "4": "z"}  # Hydra's numbers


def test_killed_job_is_retried_at_most_three_times(tmp_path):
    inner, stream = ProcessLauncher(tmp_path, {"b": die, "c": once(die)}), io.StringIO()
    sweep(inner, "abc", stream)
    again = [line for line in stream.getvalue().splitlines() if "run again" in line]
    assert again == [
        f"{tmp_path.name}: job {job} died and is run again: {attempt} of 3"
        for job, attempt in (("1 (b)", 1), ("2 (c)", 1), ("1 (b)", 2), ("1 (b)", 3))
    ]
    assert inner.launches == [["a", "b", "c"], ["b", "c"], ["b"], ["b"]]
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    assert RunResult.load(tmp_path / "1").error == "killed by SIGKILL, 4 times"
    again = ProcessLauncher(tmp_path)
    sweep(again, "abc")  # the next command starts to count from zero
    assert again.launches == [["b"]]


def test_deaths_in_earlier_sweeps_count_and_a_job_that_died_runs_last(tmp_path):
    launcher(ProcessLauncher(tmp_path), "abc")
    for job in (0, 0, 0, 0, 1):
        die(tmp_path / str(job))
    inner = ProcessLauncher(tmp_path)
    study_launcher = sweep(inner, "abc")
    assert inner.launches == [["c", "b"]]
    with pytest.raises(SweepError, match=r"0 \(a\): its process ended without .* probably killed, 4 times"):
        study_launcher.check()


def test_jobs_that_were_running_in_a_broken_pool_are_retried_alone(tmp_path):
    inner = Pool(tmp_path, {"b": die})
    sweep(inner, "abcde")
    assert inner.launches[:2] == [["a", "b", "c", "d", "e"], ["d", "e"]]  # the jobs that had not started
    assert sorted(inner.launches[2:], key=lambda names: names != ["b"]) == [["b"]] * 3 + [["a"], ["c"]]
    assert statuses(tmp_path) == {name: "failed" if name == "b" else "completed" for name in "abcde"}
    assert inner.threads == {False}


def test_jobs_that_did_not_start_are_launched_together_after_deaths_in_a_pool(tmp_path):
    # A job may fail to start any number of times because another job died. It is always launched with the others.
    names = [f"{number}{letter}" for number in range(5) for letter in "xyz"]
    inner = Pool(tmp_path, {f"{number}x": die for number in range(5)})
    sweep(inner, [*names, "last"])
    assert [len(batch) for batch in inner.launches[:6]] == [16, 13, 10, 7, 4, 1]
    assert inner.launches[5] == ["last"]
    assert statuses(tmp_path) == {name: "failed" if name[1] == "x" else "completed" for name in [*names, "last"]}


def test_job_that_breaks_the_pool_before_starting_does_not_end_the_sweep(tmp_path):
    def unlucky(folder):
        raise RuntimeError("the pool is broken")

    sweep(Scripted(tmp_path, {"b": unlucky}), "abc")
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    error = RunResult.load(tmp_path / "1").error
    assert error == "it was launched and never started (RuntimeError: the pool is broken), 4 times"


def test_error_of_a_launcher_that_starts_no_job_ends_the_sweep(tmp_path):
    def missing(folder):
        raise OSError("there is no sbatch")

    with pytest.raises(OSError, match="there is no sbatch"):
        sweep(Scripted(tmp_path, {"a": missing}), "ab")


def test_job_that_a_sweep_names_twice_is_launched_once_and_retried(tmp_path):
    inner, stream, folder = ProcessLauncher(tmp_path, {"ssr=1": once(die)}), io.StringIO(), StudyFolder(tmp_path)
    plan = folder.assign([((text,), JobDescription("a", "")) for text in ("ssr=1", "ssr=1.0")])
    StudyLauncher(inner, folder, plan, stream, command="").run()
    assert inner.launches == [["ssr=1"]] * 2
    assert "job 0 (ssr=1.0) died and is run again: 1 of 3" in stream.getvalue()


def test_deaths_before_and_after_the_first_heartbeat_are_counted_together(tmp_path):
    deaths = iter([die_early, die, die_early, die_early])
    acts = {"b": lambda folder: next(deaths)(folder), "c": once(die_early)}
    inner, stream = ProcessLauncher(tmp_path, acts), io.StringIO()
    sweep(inner, "abc", stream)
    assert inner.launches == [["a", "b", "c"], ["b", "c"], ["b"], ["b"]]
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    assert RunResult.load(tmp_path / "1").error == "killed by SIGKILL, 4 times"
    assert stream.getvalue().count("job 1 (b) died and is run again: ") == 3


def test_a_job_that_never_starts_is_recorded_with_the_reason(tmp_path):
    launcher(ProcessLauncher(tmp_path), "a")
    die(tmp_path / "0")
    inner = ProcessLauncher(tmp_path, {"a": never_start, "b": never_start})
    sweep(inner, "ab")
    assert [RunResult.load(tmp_path / job).error for job in "01"] == ["ImportError: no such module"] * 2
    assert read_state(tmp_path / "0") is JobState.FAILED  # and not a dead job, which would be retried without end
    assert sorted(inner.launches[0]) == ["a", "b"]
    assert len(inner.launches) == 1


def test_sweep_does_not_wait_for_a_launcher_that_waits_for_dead_jobs(tmp_path):
    # As in Slurm without accounting: the launcher does not learn that a job has died.
    release = threading.Event()

    class Hanging(Scripted):
        def run(self, jobs):
            returns = super().run(jobs)
            if len(self.launches) == 1:
                release.wait(300)
            return returns

    inner = Hanging(tmp_path, {"b": once(die)})
    sweep(inner, "ab")
    release.set()
    assert statuses(tmp_path) == {"a": "completed", "b": "completed"}
    assert inner.launches == [["a", "b"], ["b"]]


@pytest.mark.parametrize("interrupts", [False, True], ids=["returns early", "ctrl-C"])
def test_sweep_waits_for_running_jobs(tmp_path, interrupts):
    begun, left, ended = threading.Event(), threading.Event(), threading.Event()

    def work():
        with Heartbeat(tmp_path / "0" / HEARTBEAT):
            begun.set()
            left.wait(300)
            time.sleep(0.05)
            ended.set()  # first, because the sweep may end before the next line
            record(tmp_path / "0", "completed")

    def leave(folder):
        threading.Thread(target=work).start()
        begun.wait(300)
        left.set()
        if interrupts:
            raise KeyboardInterrupt
        return JobReturn(status=JobStatus.UNKNOWN)

    inner = ProcessLauncher(tmp_path, {"a": leave})
    with pytest.raises(KeyboardInterrupt) if interrupts else nullcontext():
        sweep(inner, "ab")
    assert ended.is_set()
    assert inner.launches == [["a", "b"]]
    assert (tmp_path / "1/result.json").exists() is not interrupts


def start(inner, names):
    """Run a sweep in a thread, and wait until it has launched its own jobs."""
    thread = threading.Thread(target=launcher(inner, names).run)
    thread.start()
    while not inner.launches:
        assert thread.is_alive()
        time.sleep(0.005)
    return thread


def test_waiting_sweep_takes_over_the_unfinished_jobs_of_a_sweep_that_dies(tmp_path):
    inner, other = ProcessLauncher(tmp_path), StudyFolder(tmp_path)
    with Heartbeat(other.sign):
        other.assign(jobs("abcd"))
        fail(tmp_path / "1")
        record(tmp_path / "2", "stopped", "KeyboardInterrupt: interrupted, with a checkpoint at batch 8")
        thread = start(inner, "abcde")
        record(tmp_path / "0")
        time.sleep(0.05)
        assert inner.launches == [["e"]]
    thread.join(300)
    assert inner.launches == [["e"], ["c", "d"]]
    assert statuses(tmp_path) == {name: "failed" if name == "b" else "completed" for name in "abcde"}


def test_job_that_a_different_sweep_completes_late_is_not_run_again(tmp_path, monkeypatch):
    # This sweep checks the jobs, then the other sweep completes them and ends, then this sweep checks the other sweep.
    inner, other = ProcessLauncher(tmp_path), StudyFolder(tmp_path)
    sign, take_over = Heartbeat(other.sign), StudyFolder.take_over

    def late(folder, jobs):
        record(tmp_path / "0", "completed")
        fail(tmp_path / "1")
        sign.__exit__(None, None, None)
        return take_over(folder, jobs)

    with sign:
        other.assign(jobs("ab"))
        monkeypatch.setattr(StudyFolder, "take_over", late)
        sweep(inner, "abc")
    assert inner.launches == [["c"]]
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}


def test_sweep_waits_for_running_jobs_of_a_killed_sweep(tmp_path):
    # Jobs of a dead sweep stop by themselves and record their end. Before that, their folders are in use.
    launcher(ProcessLauncher(tmp_path), "abc")
    inner = ProcessLauncher(tmp_path)
    signs = [Heartbeat(tmp_path / job / HEARTBEAT) for job in "01"]
    with signs[0], signs[1]:
        thread = start(inner, "abc")
        assert inner.launches == [["c"]]
        record(tmp_path / "0", "stopped", "terminated by SIGTERM, with a checkpoint at batch 8")
        record(tmp_path / "1", "completed")
    thread.join(300)
    assert inner.launches == [["c"], ["a"]]
    assert set(statuses(tmp_path).values()) == {"completed"}


OPERATIONS = (Path, "mkdir"), (files, "create"), (Path, "replace"), (Path, "unlink"), (threading.Thread, "join")


@pytest.mark.parametrize("error", [Killed, KeyboardInterrupt])
def test_repeated_command_continues_a_sweep_interrupted_at_any_file_operation(tmp_path, monkeypatch, error):
    """A sweep is killed at each operation. Or ctrl-C stops job b, and a second ctrl-C comes at each later operation."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(heartbeat, "_INTERVAL", 3600)  # no operations of threads
    monkeypatch.setattr(progress, "_SECONDS", 3600)
    first = []

    def stop(folder):
        record(folder, "stopped", "KeyboardInterrupt: interrupted")
        first.append(operations.total())
        raise KeyboardInterrupt

    def command(folder, *, stops=False):
        inner = ProcessLauncher(folder, {"b": stop} if stops else {})
        stream = Terminal() if stops else io.StringIO()
        try:
            with Heartbeat(StudyFolder(folder).sign):
                sweep(inner, "ab", stream)
        finally:
            if stops:
                assert stream.getvalue().count("\x1b[?25l") == 1  # the cursor is hidden
                assert stream.getvalue().count("\x1b[?25h") == 1  # and shown again
        return "".join(name for names in inner.launches for name in sorted(names))

    stops = error is KeyboardInterrupt
    with ended_at(10**6, error, *OPERATIONS) as operations, suppress(KeyboardInterrupt):
        command(tmp_path / "whole", stops=stops)
    for point in range(*first, operations.total()):
        folder = tmp_path / str(point)
        with ended_at(point, error, *OPERATIONS), suppress(error):
            command(folder, stops=stops)
        for sign in (*folder.glob(".sweeps/*.json"), *folder.glob(f"*/{HEARTBEAT}")):  # the process has ended
            sign.write_text(sign.read_text().replace('"started": "', '"started": "9'))
        complete = [path for path in folder.glob("[0-9]") if read_state(path) is JobState.COMPLETED]
        before = {path: path.read_bytes() for job in complete for path in job.iterdir() if path.name != HEARTBEAT}
        assert command(folder) == "ab"[len(complete) :], point  # only the missing jobs start
        assert {path: path.read_bytes() for path in before} == before, point
        assert statuses(folder) == {"a": "completed", "b": "completed"}, point
