"""Kill real sweeps, and run several sweeps of one study."""

import re
import signal
import time

import pytest
from real_sweeps import TWELVE, Lab, ended

from ssr_hydra.app.command_line import parse_command_line
from ssr_hydra.app.preflight import checked
from ssr_hydra.sweeps.job_status import JobState, read_state

SMALL = ("max_duration=4ba", "trainer.threads=1")


def finished(lab):
    """Return every file of the completed jobs with the time of its last change."""
    jobs = [path for path in lab.study.glob("[0-9]*") if read_state(path) is JobState.COMPLETED]
    files = [path for job in jobs for path in job.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("launcher", ["basic", "processes"])
def test_sweep_that_is_killed_three_times_ends_with_twelve_records(tmp_path, launcher):
    # The kills come after 1, 6 and 9 jobs, and two kills come while a job runs.
    lab, seeds = Lab(tmp_path), ",".join(map(str, TWELVE))
    arguments = (*SMALL, f"seed={seeds}", f"hydra/launcher={launcher}", "checkpoint.interval=1ba")
    for point in (1, 6, 9):
        begun, n_completed = len(lab.started()), len(lab.completed())
        # At most one more job can end before the kill, and the last job cannot end.
        free = min(max(point - n_completed, 0) + 1, 12 - n_completed - 1)
        (tmp_path / "hold").touch()
        process = lab.start(*arguments, held=f"{begun + free}:{tmp_path / 'hold'}")
        while process.poll() is None:
            now = len(lab.completed())
            if now >= point and (point % 2 == 0 or len(lab.started()) - begun > now - n_completed):
                break
            time.sleep(0.002)
        process.kill()
        process.wait()
        (tmp_path / "hold").unlink()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        while any(read_state(path) is JobState.RUNNING for path in lab.study.glob("[0-9]*")):
            time.sleep(0.05)  # a job in a separate process stops later than its killed sweep
        before = finished(lab)
        assert len(lab.completed()) >= point
    count = len(lab.started()) + 12 - len(lab.completed())  # only the missing jobs start
    for _ in range(2):
        answer = lab.sweep(*arguments)
        assert answer.code == 0, answer.err
        assert lab.completed() == list(TWELVE)
        assert len(lab.started()) == count
        after = finished(lab)
        assert {path: after[path] for path in before} == before  # completed jobs are unchanged
        before = after
    assert {record.steps for record in lab.records().values()} == {4}


def test_two_simultaneous_sweeps_of_one_study_run_each_job_once(tmp_path):
    # Two sweeps of twenty jobs each have ten jobs in common.
    lab, small = Lab(tmp_path), (*SMALL, "max_duration=1ba", "checkpoint.enabled=false", "hydra/launcher=basic")
    both = [lab.start(f"seed={','.join(map(str, side))}", *small) for side in (range(20), range(10, 30))]
    assert [ended(process).code for process in both] == [0, 0]
    assert sorted(lab.started()) == lab.completed() == list(range(30))


def test_a_thousand_jobs_are_checked_in_twenty_seconds_of_cpu(clean_hydra):
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


def test_error_names_the_full_disk_and_no_run_is_lost(tmp_path):
    # Limits on the size of files in bytes, for heartbeats, for Hydra's files of a job, and for checkpoints.
    lab, basic = Lab(tmp_path), (*SMALL, "hydra/launcher=basic")
    assert lab.sweep(*SMALL, "seed=0").code == 0
    before = finished(lab)
    for seed, limit in enumerate([0, 1_000, 4_000, 20_000], start=1):
        answer = lab.sweep(*basic, f"seed=0,{seed}", limits={"RLIMIT_FSIZE": limit})
        after = finished(lab)
        assert {path: after[path] for path in before} == before
        assert answer.code != 0, limit
        assert re.search(r"error: .*(File too large|cannot be written)", answer.err), answer.err
        assert "Traceback" not in answer.err
    assert lab.sweep(*SMALL, "seed=0,1,2,3,4").code == 0
    assert lab.completed() == list(range(5))
