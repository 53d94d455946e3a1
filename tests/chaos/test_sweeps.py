"""Kill real sweeps, and run several sweeps of one study."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checkout import REPO
from cli_helpers import Answer
from warm import Process, warm

from ssr_hydra.app.command_line import parse_command_line
from ssr_hydra.app.preflight import checked
from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import JobState, read_state

TRAIN = str(REPO / "train.py")
# study_code=any allows edits of the code while these tests run.
SMALL = ("max_duration=4ba", "trainer.progress=none", "trainer.threads=1", "study_report=false", "study_code=any")
TWELVE = "seed=0,1,2,3,4,5,6,7,8,9,10,11"
POISON = ("+callbacks.poison._target_=sweep_lab.Poison", "trust=[sweep_lab]")

Sweep = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Sweep:
    """Return a function that starts a sweep of the study ``s``. See ``sweep_lab`` for ``poison`` and ``held``."""

    def run(*arguments: str, poison: str = "", held: str = "", **settings: Any) -> Process:
        environment = {
            "SWEEP_STARTS": str(tmp_path / "starts"),
            "SWEEP_POISON": poison,
            "SWEEP_HELD": held,
            # With a limit on the size of files, Python would write incomplete bytecode, which cannot be imported.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return warm.start(TRAIN, "-m", "study=s", *SMALL, *arguments, cwd=tmp_path, env=environment, **settings)

    return run


def ended(process: Process) -> Answer:
    out, err = process.communicate(timeout=900)
    return Answer(process.wait(), out, err)


def records(folder: Path) -> dict[int, RunResult]:
    """Return the record of each job by its seed."""
    results = [RunResult.load(path) for path in (folder / "studies/s").glob("*/result.json")]
    by_seed = {record.seed: record for record in results if record.seed is not None}
    assert len(by_seed) == len(results)
    return by_seed


def finished(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file of the completed jobs with the time of its last change."""
    jobs = [path for path in (folder / "studies/s").glob("[0-9]*") if read_state(path) is JobState.COMPLETED]
    files = [path for job in jobs for path in job.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def completed(folder: Path) -> int:
    return sum(read_state(path) is JobState.COMPLETED for path in (folder / "studies/s").glob("[0-9]*"))


@pytest.mark.parametrize("launcher", ["basic", "processes"])
def test_sweep_that_is_killed_three_times_ends_with_twelve_records(start: Sweep, tmp_path: Path, launcher: str) -> None:
    # The kills come after 1, 6 and 9 jobs, and two kills come while a job runs.
    arguments = (TWELVE, f"hydra/launcher={launcher}", "checkpoint.interval=1ba", *POISON)
    hold = tmp_path / "hold"
    for point in (1, 6, 9):
        begun, n_completed = len(starts(tmp_path)), completed(tmp_path)
        # At most one more job can end before the kill, and the last job cannot end.
        free = min(max(point - n_completed, 0) + 1, 12 - n_completed - 1)
        hold.touch()
        process = start(*arguments, held=f"{begun + free}:{hold}")
        while process.poll() is None:
            began = len(starts(tmp_path)) - begun
            now = completed(tmp_path)
            if now >= point and (point % 2 == 0 or began > now - n_completed):
                break
            time.sleep(0.002)
        process.kill()
        process.wait()
        hold.unlink()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        while any(read_state(path) is JobState.RUNNING for path in (tmp_path / "studies/s").glob("[0-9]*")):
            time.sleep(0.05)  # a job in a separate process stops later than its killed sweep
        before = finished(tmp_path)
        assert completed(tmp_path) >= point
    count = len(starts(tmp_path))
    missing = 12 - sum(path.name == "result.json" for path in before)
    answer = ended(start(*arguments))
    assert answer.code == 0, answer.err
    after = finished(tmp_path)
    assert {path: after[path] for path in before} == before  # completed jobs are unchanged
    assert len(starts(tmp_path)) == count + missing  # only the missing jobs start
    assert {seed: record.status for seed, record in records(tmp_path).items()} == dict.fromkeys(range(12), "completed")
    assert {record.steps for record in records(tmp_path).values()} == {4}
    again = ended(start(*arguments))
    assert (again.code, len(starts(tmp_path))) == (0, count + missing)  # no jobs are left
    assert finished(tmp_path) == after


def starts(folder: Path) -> list[str]:
    path = folder / "starts"
    return path.read_text().split() if path.exists() else []


def test_two_simultaneous_sweeps_of_one_study_run_each_job_once(start: Sweep, tmp_path: Path) -> None:
    # Two sweeps of twenty jobs each have ten jobs in common.
    small = ("max_duration=1ba", "checkpoint.enabled=false", "hydra/launcher=basic", *POISON)
    both = [start(f"seed={','.join(map(str, side))}", *small) for side in (range(20), range(10, 30))]
    assert [ended(process).code for process in both] == [0, 0]
    assert sorted(map(int, starts(tmp_path))) == list(range(30))
    assert set(records(tmp_path)) == set(range(30))


def test_a_thousand_jobs_are_checked_in_twenty_seconds_of_cpu(clean_hydra: None) -> None:
    began = time.process_time()
    line = parse_command_line(
        [
            "-m", "scheduler=cosine,wsd,linear,step,rex", "optimizer.lr=.1,.2,.3,.4,.5,.6,.7,.8,.9,1",
            "ssr=0.25,0.5,1,2", "seed=range(5)",
        ]
    )  # fmt: skip
    with checked(line, "id") as preflight:
        assert preflight.sweep is not None
        assert len(preflight.sweep.jobs) == 1000
    assert time.process_time() - began < 20


def test_error_names_the_full_disk_and_no_run_is_lost(start: Sweep, tmp_path: Path) -> None:
    # Limits on the size of files in bytes, for heartbeats, for Hydra's files of a job, and for checkpoints.
    assert ended(start("seed=0")).code == 0
    before = finished(tmp_path)
    for seed, limit in enumerate([0, 1_000, 4_000, 20_000], start=1):
        answer = ended(start(f"seed=0,{seed}", "hydra/launcher=basic", limits={"RLIMIT_FSIZE": limit}))
        after = finished(tmp_path)
        assert {path: after[path] for path in before} == before
        assert answer.code != 0, limit
        assert re.search(r"error: .*(File too large|cannot be written)", answer.err), answer.err
        assert "Traceback" not in answer.err
    assert ended(start("seed=0,1,2,3,4")).code == 0
    assert set(records(tmp_path)) == set(range(5))
