from __future__ import annotations

import io
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

from ssr_hydra.records import RunResult
from ssr_hydra.sweeps import study_launcher as study
from ssr_hydra.sweeps.folder import StudyFolder
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat, Pulse
from ssr_hydra.sweeps.job_status import JobDescription, JobState, LostJobError, StudyJob, describe, read_state
from ssr_hydra.sweeps.study_launcher import RETRIES, Planner, StudyLauncher, SweepError, run_order

Act = Callable[[Path], JobReturn]


class Scripted(Launcher):
    """A launcher whose jobs do what a test says, in this process; ``breaks`` ends a launch as a broken pool does."""

    def __init__(self, folder: Path, acts: dict[str, Act] | None = None) -> None:
        self.folder, self.acts = folder, acts or {}
        self.launches: list[list[str]] = []
        self.threads: set[bool] = set()

    def setup(self, **_: Any) -> None: ...

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.threads.add(threading.current_thread() is threading.main_thread())
        self.launches.append([item for overrides in job_overrides for item in overrides[:-1]])
        return [self.one(tuple(overrides)) for overrides in job_overrides]

    def one(self, overrides: tuple[str, ...]) -> JobReturn:
        return self.acts.get(overrides[0], complete)(self.place(overrides))

    def place(self, overrides: tuple[str, ...]) -> Path:
        """The folder that the study gives a job, by the last of its overrides."""
        key, _, value = overrides[-1].partition("=")
        assert key == "hydra.sweep.subdir"
        return self.folder / value.strip("'")


class ProcessLauncher(Scripted):
    """By its name one that keeps jobs apart, and is called in the main thread."""


class LocalLauncher(Scripted):
    """By its name one that starts all jobs at once."""


class Pool(Scripted):
    """One death is everybody's: the launch raises, and jobs that were running die with it."""

    at_a_time = 3

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        self.threads.add(threading.current_thread() is threading.main_thread())
        self.launches.append([item for overrides in job_overrides for item in overrides[:-1]])
        returns: list[JobReturn] = []
        for start in range(0, len(job_overrides), self.at_a_time):
            now = [tuple(overrides) for overrides in job_overrides[start : start + self.at_a_time]]
            if any(self.acts.get(overrides[0]) is die for overrides in now):
                for overrides in now:
                    die(self.place(overrides))
                raise RuntimeError("the pool is broken")
            returns += [self.one(overrides) for overrides in now]
        return returns


def record(folder: Path, status: str, error: str | None = None) -> None:
    RunResult(status, error, None, 1.0, "1ep", 0, 1, 1, 0, 1.0, 1.0, {"loss": 0.25}).save(folder)


def complete(folder: Path) -> JobReturn:
    with Heartbeat(folder / HEARTBEAT):
        record(folder, "completed")
    return JobReturn(status=JobStatus.COMPLETED)


def fail(folder: Path) -> JobReturn:
    record(folder, "failed", "ValueError: of its own")
    return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("of its own"))


def diverge(folder: Path) -> JobReturn:
    record(folder, "diverged", "DivergedError: NaN")
    return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("NaN"))


def die(folder: Path) -> JobReturn:
    """Leave what a killed process leaves."""
    before = Pulse.read(folder / HEARTBEAT)
    with Heartbeat(folder / HEARTBEAT):
        left = json.loads((folder / HEARTBEAT).read_text())
    left |= {"started": "1", "attempt": 1 if before is None else before.attempt + 1}
    (folder / HEARTBEAT).write_text(json.dumps(left))
    return JobReturn(status=JobStatus.FAILED, _return_value=RuntimeError("killed by SIGKILL"))


def die_early(folder: Path) -> JobReturn:
    """Die before the first sign of life, as the launcher sees it."""
    del folder
    return JobReturn(status=JobStatus.FAILED, _return_value=LostJobError("killed by SIGKILL"))


def unborn(folder: Path) -> JobReturn:
    del folder
    return JobReturn(status=JobStatus.FAILED, _return_value=ImportError("no such module"))


def once(act: Act) -> Act:
    """The first time one thing, then another."""
    times = Counter[Path]()

    def do(folder: Path) -> JobReturn:
        times[folder] += 1
        return act(folder) if times[folder] == 1 else complete(folder)

    return do


def launcher(inner: Scripted, stream: io.StringIO | None = None, **options: Any) -> StudyLauncher:
    folder = StudyFolder(inner.folder)

    def describe_by_name(overrides: tuple[str, ...]) -> JobDescription:
        return JobDescription(" ".join(overrides), "", objective="loss")

    def open_folder(jobs: Iterable[tuple[str, ...]]) -> None:
        del jobs

    planner = Planner(describe_by_name, None, open_folder, "ssr-train -m study=s")
    return StudyLauncher(inner, folder, planner, stream or io.StringIO(), **options)


def jobs(*names: str) -> list[list[str]]:
    return [[name] for name in names]


def statuses(folder: Path) -> dict[str, str]:
    found = {path.parent: json.loads(path.read_text())["overrides"][0] for path in folder.glob("*/job.json")}
    return {name: RunResult.load(path).status for path, name in found.items()}


def test_what_is_done_is_not_run_again_and_its_value_is_told(tmp_path: Path) -> None:
    first = ProcessLauncher(tmp_path, {"b": fail, "d": diverge})
    launcher(first).launch(jobs("a", "b", "c", "d"), 0)
    second = ProcessLauncher(tmp_path, {})
    outer = launcher(second)
    returns = outer.launch(jobs("a", "b", "c", "d", "e"), 0)
    assert second.launches == [["b", "e"]]
    assert [job.status for job in returns] == [JobStatus.COMPLETED] * 3 + [JobStatus.FAILED, JobStatus.COMPLETED]
    assert [job._return_value for job in returns[:3]] == [0.25] * 3
    with pytest.raises(SweepError, match=r"^1 of 5 jobs did not complete: 3 \(d\): DivergedError: NaN; a run"):
        outer.check()
    nothing = ProcessLauncher(tmp_path, {})
    launcher(nothing).launch(jobs("a", "c", "d"), 0)
    assert nothing.launches == []


def test_failures_do_not_end_a_sweeper_that_stops_at_the_first(tmp_path: Path) -> None:
    outer = launcher(ProcessLauncher(tmp_path, {"a": fail}), returns_failures=False)
    returns = outer.launch(jobs("a", "b"), 0)
    assert [job.status for job in returns] == [JobStatus.COMPLETED] * 2
    assert returns[0]._return_value is None
    with pytest.raises(SweepError, match=r"^1 of 2 jobs did not complete: 0 \(a\): ValueError: of its own; "):
        outer.check()


# Seed and identity of five jobs in the order of their numbers. Seed 1 comes first, as typed; within a seed the order is
# that of the identities: a, b, c of seed 1 are jobs 2, 4, 0, and b, d of seed 0 are jobs 1, 3.
SEEDED = {"v": (1, "c"), "w": (0, "b"), "x": (1, "a"), "y": (0, "d"), "z": (1, "b")}


def seeded(overrides: tuple[str, ...]) -> JobDescription:
    seed, identity = SEEDED[overrides[0]]
    return JobDescription(f"{identity}{seed}", "", seed=seed)


@pytest.mark.parametrize(("batch", "launches"), [(None, ["xzvwy"]), (2, ["xz", "vw", "y"])])
def test_jobs_run_seed_by_seed_in_the_order_of_their_identities(
    tmp_path: Path, batch: int | None, launches: list[str]
) -> None:
    inner = ProcessLauncher(tmp_path)
    planner = Planner(seeded, None, lambda jobs: None, "")
    StudyLauncher(inner, StudyFolder(tmp_path), planner, io.StringIO(), batch=batch).launch(jobs(*SEEDED), 0)
    assert ["".join(names) for names in inner.launches] == launches
    folders = {path.parent.name: json.loads(path.read_text())["overrides"][0] for path in tmp_path.glob("*/job.json")}
    assert folders == {"0": "v", "1": "w", "2": "x", "3": "y", "4": "z"}  # the numbers are Hydra's


def test_order_of_jobs_mixes_the_ratios_of_a_seed(tmp_path: Path) -> None:
    values = [{"ssr": ssr, "seed": seed} for ssr in (0.25, 0.5, 1, 2, 4, 8) for seed in (0, 1)]
    numbered = [StudyJob((), describe(each), tmp_path / str(number)) for number, each in enumerate(values)]
    order = [int(job.folder.name) for job in run_order(numbered)]
    assert [number % 2 for number in order] == [0] * 6 + [1] * 6
    assert order[:6] != sorted(order[:6])
    assert [number + 1 for number in order[:6]] != order[6:]  # each seed has an order of its own
    assert order == [int(job.folder.name) for job in run_order(numbered)]


def test_a_launcher_that_starts_all_at_once_is_given_a_few_at_a_time(tmp_path: Path) -> None:
    inner = LocalLauncher(tmp_path, {"b": once(die)})
    launcher(inner, at_a_time=2).launch(jobs("a", "b", "c", "d", "e"), 0)
    assert inner.launches == [["a", "b"], ["c", "d"], ["e", "b"]]


def test_a_death_is_tried_again_three_times_and_no_more(tmp_path: Path) -> None:
    inner, stream = ProcessLauncher(tmp_path, {"b": die, "c": once(die)}), io.StringIO()
    outer = launcher(inner, stream)
    outer.launch(jobs("a", "b", "c"), 0)
    again = [line for line in stream.getvalue().splitlines() if "run again" in line]
    assert again == [
        f"{tmp_path.name}: job {job} died and is run again: {attempt} of 3"
        for job, attempt in (("1 (b)", 1), ("2 (c)", 1), ("1 (b)", 2), ("1 (b)", 3))
    ]
    assert inner.launches == [["a", "b", "c"], ["b", "c"], ["b"], ["b"]]
    assert len(inner.launches) == 1 + RETRIES
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    assert RunResult.load(tmp_path / "1").error == "killed by SIGKILL, 4 times"
    again = ProcessLauncher(tmp_path, {})
    launcher(again).launch(jobs("a", "b", "c"), 0)  # the next command begins to count anew
    assert again.launches == [["b"]]


def test_where_jobs_share_a_process_a_death_comes_last_the_next_time(tmp_path: Path) -> None:
    # What the first sweep, which died with its job b, has left.
    ahead = ProcessLauncher(tmp_path, {})
    launcher(ahead).launch(jobs("a"), 0)
    StudyFolder(tmp_path).assign([((name,), JobDescription(name, "")) for name in ("b", "c")])
    die(tmp_path / "1")
    inner = ProcessLauncher(tmp_path, {})
    launcher(inner).launch(jobs("a", "b", "c"), 0)
    assert inner.launches == [["c", "b"]]


def test_deaths_that_were_counted_by_sweeps_that_died_too(tmp_path: Path) -> None:
    StudyFolder(tmp_path).assign([(("a",), JobDescription("a", ""))])
    for _ in range(1 + RETRIES):
        die(tmp_path / "0")
    inner = ProcessLauncher(tmp_path, {})
    outer = launcher(inner)
    outer.launch(jobs("a", "b"), 0)
    assert inner.launches == [["b"]]
    with pytest.raises(
        SweepError, match=r"0 \(a\): its process ended without a result; it was probably killed, 4 times"
    ):
        outer.check()


def test_the_jobs_of_a_broken_pool_are_tried_alone_so_that_the_guilty_is_found(tmp_path: Path) -> None:
    inner = Pool(tmp_path, {"b": die})
    outer = launcher(inner)
    outer.launch(jobs("a", "b", "c", "d", "e"), 0)
    assert inner.launches[:2] == [["a", "b", "c", "d", "e"], ["d", "e"]]  # those that had not begun, together
    assert sorted(inner.launches[2:], key=lambda names: names != ["b"]) == [["b"]] * 3 + [["a"], ["c"]]
    assert statuses(tmp_path) == {name: "failed" if name == "b" else "completed" for name in "abcde"}
    assert inner.threads == {False}


def test_a_launcher_that_starts_nothing_ends_the_sweep_with_what_it_says(tmp_path: Path) -> None:
    class Broken(Scripted):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            raise OSError("there is no sbatch")

    with pytest.raises(OSError, match="there is no sbatch"):
        launcher(Broken(tmp_path)).launch(jobs("a", "b"), 0)


def test_a_job_that_never_begins_is_recorded_with_the_reason(tmp_path: Path) -> None:
    inner = ProcessLauncher(tmp_path, {"a": unborn})
    launcher(inner).launch(jobs("a", "b"), 0)
    assert RunResult.load(tmp_path / "0").error == "ImportError: no such module"
    assert inner.launches == [["a", "b"]]


def test_a_job_that_dies_before_its_first_sign_of_life_is_tried_again(tmp_path: Path) -> None:
    inner, stream = ProcessLauncher(tmp_path, {"b": die_early, "c": once(die_early)}), io.StringIO()
    launcher(inner, stream).launch(jobs("a", "b", "c"), 0)
    assert inner.launches == [["a", "b", "c"], ["b", "c"], ["b"], ["b"]]
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    assert RunResult.load(tmp_path / "1").error == "killed by SIGKILL, 4 times"
    assert stream.getvalue().count("job 1 (b) died and is run again: ") == 3


def test_deaths_before_and_after_the_first_sign_of_life_count_together(tmp_path: Path) -> None:
    acts = iter([die, die_early, die, die_early])
    inner = ProcessLauncher(tmp_path, {"a": lambda folder: next(acts)(folder)})
    launcher(inner).launch(jobs("a"), 0)
    assert inner.launches == [["a"]] * 4
    assert RunResult.load(tmp_path / "0").error == "killed by SIGKILL, 4 times"


def test_a_job_that_died_before_and_now_does_not_begin_has_failed(tmp_path: Path) -> None:
    StudyFolder(tmp_path).assign([(("a",), JobDescription("a", ""))])
    die(tmp_path / "0")
    launcher(ProcessLauncher(tmp_path, {"a": unborn})).launch(jobs("a"), 0)
    assert RunResult.load(tmp_path / "0").error == "ImportError: no such module"
    assert read_state(tmp_path / "0") is JobState.FAILED  # and not one that died, which is tried without end


def test_a_launcher_that_waits_for_the_dead_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As Slurm does without accounting: nobody tells it that a job has died.
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(study, "_GRACE_SECONDS", 0.1)
    release = threading.Event()

    class Hanging(Scripted):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            returns = super().launch(job_overrides, initial_job_idx)
            if len(self.launches) == 1:
                release.wait(300)
            return returns

    inner = Hanging(tmp_path, {"b": once(die)})
    returns = launcher(inner).launch(jobs("a", "b"), 0)
    release.set()
    assert [job.status for job in returns] == [JobStatus.COMPLETED] * 2
    assert inner.launches == [["a", "b"], ["b"]]


def test_a_launcher_that_comes_back_early_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    seen: list[float] = []

    def later(folder: Path) -> JobReturn:
        def run() -> None:
            with Heartbeat(folder / HEARTBEAT):
                time.sleep(0.3)
                seen.append(time.monotonic())
                record(folder, "completed")

        threading.Thread(target=run).start()
        while not (folder / HEARTBEAT).exists():
            time.sleep(0.01)
        return JobReturn(status=JobStatus.UNKNOWN)

    inner = ProcessLauncher(tmp_path, {"a": later})
    returns = launcher(inner).launch(jobs("a"), 0)
    assert len(seen) == 1
    assert inner.launches == [["a"]]
    assert returns[0].status is JobStatus.COMPLETED


def test_ctrl_c_waits_for_the_checkpoints_of_running_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    ended = threading.Event()

    def interrupted(folder: Path) -> JobReturn:
        def run() -> None:
            with Heartbeat(folder / HEARTBEAT):
                begun.set()
                time.sleep(0.3)
                ended.set()  # within it: when it is over, the sweep may leave before another line is run

        begun = threading.Event()
        threading.Thread(target=run).start()
        begun.wait()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launcher(ProcessLauncher(tmp_path, {"a": interrupted})).launch(jobs("a", "b"), 0)
    assert ended.is_set()
    assert not (tmp_path / "1/result.json").exists()


def test_jobs_of_another_sweep_are_waited_for_and_taken_over_when_it_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    other = StudyFolder(tmp_path)
    inner = ProcessLauncher(tmp_path, {})
    with Heartbeat(other.sign):
        other.assign([((name,), JobDescription(name, "")) for name in ("a", "b")])
        mine = launcher(inner)
        thread = threading.Thread(target=lambda: mine.launch(jobs("a", "b", "c"), 0))
        thread.start()
        while not (tmp_path / "2/result.json").exists():  # its own
            time.sleep(0.01)
        record(tmp_path / "0", "completed")  # the other's work
        assert thread.is_alive()
    thread.join(300)
    assert inner.launches == [["c"], ["b"]]


def test_a_job_that_another_sweep_ends_last_of_all_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The other sweep ends its jobs, and itself, between this one's look at them and its look at that sweep.
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    other = StudyFolder(tmp_path)
    inner = ProcessLauncher(tmp_path, {})
    mine = launcher(inner)
    sign = Heartbeat(other.sign)
    take_over = StudyFolder.take_over

    def late(folder: StudyFolder, jobs: Iterable[StudyJob]) -> list[StudyJob]:
        record(tmp_path / "0", "completed")
        fail(tmp_path / "1")
        sign.__exit__(None, None, None)
        return take_over(folder, jobs)

    with sign:
        other.assign([((name,), JobDescription(name, "")) for name in ("a", "b")])
        monkeypatch.setattr(StudyFolder, "take_over", late)
        mine.launch(jobs("a", "b", "c"), 0)
    assert inner.launches == [["c"]]
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}


def test_what_a_killed_sweep_has_left_running_is_waited_for_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Jobs whose sweep is gone stop by themselves, with a record that says so. One that is launched before they have
    # would find its folder in use.
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    dead = StudyFolder(tmp_path)
    left = dead.assign([((name,), JobDescription(name, "")) for name in ("a", "b", "c")]).mine
    inner = ProcessLauncher(tmp_path, {})
    mine = launcher(inner)
    with Heartbeat(left[0].folder / HEARTBEAT), Heartbeat(left[1].folder / HEARTBEAT):
        thread = threading.Thread(target=lambda: mine.launch(jobs("a", "b", "c"), 0))
        thread.start()
        while not (left[2].folder / "result.json").exists():
            time.sleep(0.01)
        assert inner.launches == [["c"]]
        record(left[0].folder, "stopped", "terminated by SIGTERM, with a checkpoint at batch 8")
        record(left[1].folder, "completed")
    thread.join(300)
    assert inner.launches == [["c"], ["a"]]
    assert set(statuses(tmp_path).values()) == {"completed"}


def test_a_job_that_failed_in_another_sweep_stays_failed_and_a_stopped_job_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "_POLL_SECONDS", 0.02)
    other = StudyFolder(tmp_path)
    inner = ProcessLauncher(tmp_path, {})
    with Heartbeat(other.sign):
        other.assign([((name,), JobDescription(name, "")) for name in ("a", "b")])
        fail(tmp_path / "0")
        record(tmp_path / "1", "stopped", "KeyboardInterrupt: interrupted, with a checkpoint at batch 8")
        thread = threading.Thread(target=lambda: launcher(inner).launch(jobs("a", "b", "c"), 0))
        thread.start()
        while not (tmp_path / "2/result.json").exists():
            time.sleep(0.01)
        time.sleep(0.1)
        assert inner.launches == [["c"]]
    thread.join(300)
    assert inner.launches == [["c"], ["b"]]
    assert statuses(tmp_path) == {"a": "failed", "b": "completed", "c": "completed"}


def test_many_deaths_in_a_pool_leave_the_others_together(tmp_path: Path) -> None:
    # What did not begin because of another's death is launched with the others, however often that happens.
    names = [f"{number}{letter}" for number in range(6) for letter in "xyz"]
    inner = Pool(tmp_path, {f"{number}x": die for number in range(6)})
    launcher(inner).launch(jobs(*names, "last"), 0)
    assert [len(batch) for batch in inner.launches if len(batch) > 1] == [19, 16, 13, 10, 7, 4]
    assert inner.launches[6] == ["last"]
    assert statuses(tmp_path) == {name: "failed" if name[1] == "x" else "completed" for name in [*names, "last"]}


def test_a_job_that_breaks_the_pool_before_it_begins_does_not_end_the_sweep(tmp_path: Path) -> None:
    class Breaking(Scripted):
        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            returns = []
            self.launches.append([item for overrides in job_overrides for item in overrides[:-1]])
            for overrides in job_overrides:
                if overrides[0] == "b":
                    raise RuntimeError("the pool is broken")
                returns.append(self.one(tuple(overrides)))
            return returns

    inner = Breaking(tmp_path)
    launcher(inner).launch(jobs("a", "b", "c"), 0)
    assert statuses(tmp_path) == {"a": "completed", "b": "failed", "c": "completed"}
    error = RunResult.load(tmp_path / "1").error
    assert error == "it was launched 4 times and never began (RuntimeError: the pool is broken)"


def test_progress_is_shown(tmp_path: Path) -> None:
    stream = io.StringIO()
    launcher(ProcessLauncher(tmp_path, {"b": fail}), stream).launch(jobs("a", "b"), 0)
    lines = stream.getvalue().splitlines()
    assert lines[0] == f"{tmp_path.name}: 0 of 2 jobs done"
    assert lines[-1] == f"{tmp_path.name}: 2 of 2 jobs done (1 failed)"
