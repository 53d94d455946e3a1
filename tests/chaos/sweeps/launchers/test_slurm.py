"""Real sweeps under Slurm: the Slurm of this machine, or a Slurm that scripts/slurm_one_node.sh starts."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from checkout import REPO
from real_sweeps import assert_one_failed, assert_same, ended, process_of, resumes, until

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")
SCRIPT = REPO / "scripts" / "slurm_one_node.sh"
SWEEP = ("launcher=slurm", "max_duration=4ba")
LONG = ("max_duration=200ba", "checkpoint.interval=20ba")


@pytest.fixture(scope="module")
def slurm():
    """Start Slurm for all test processes if needed. Return a file to lock."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "squeue") if _where(name) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian's slurm-wlm and munge)")
    place = Path(tempfile.gettempdir(), f"ssr-hydra-slurm-{os.getuid()}")
    ours = place.with_suffix(".ours")
    with place.with_suffix(".users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        if _sinfo() is None:
            if os.getuid() != 0:
                pytest.skip("Slurm does not run here, and starting it takes root")
            subprocess.run([SCRIPT, "start"], check=True, capture_output=True, text=True)
            ours.touch()
        fcntl.flock(users, fcntl.LOCK_SH)
        yield place.with_suffix(".lock")
        with suppress(BlockingIOError):  # another process still uses this Slurm and stops it later
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if ours.exists():
                subprocess.run([SCRIPT, "stop"], check=True, capture_output=True, text=True)
                ours.unlink()


@pytest.fixture
def lab(slurm, lab):
    """Return a lab. Only one test at a time uses Slurm."""
    with slurm.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lab
        lab.close()
        # Jobs continue after the sweep that started them has ended.
        for number in {path.name.split("_")[0] for path in lab.study.glob(".submitit/[0-9]*")}:
            subprocess.run(["scancel", "--quiet", number], check=False)
            subprocess.run(["scancel", "--quiet", "--signal=KILL", number], check=False)


def _where(name):
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")


def _sinfo():
    process = subprocess.run(["sinfo", "--noheader", "--format=%P %G"], capture_output=True, text=True, check=False)
    return process.stdout if process.returncode == 0 else None


def job_id(pid):
    """Return Slurm's id of the job of a process."""
    parts = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    variables = dict(part.split("=", 1) for part in parts if "=" in part)
    if "SLURM_ARRAY_TASK_ID" not in variables:
        return variables["SLURM_JOB_ID"]
    return f"{variables['SLURM_ARRAY_JOB_ID']}_{variables['SLURM_ARRAY_TASK_ID']}"


def submitted(lab):
    """Return the number of jobs that were submitted to Slurm."""
    return len([path for path in lab.study.glob(".submitit/[0-9]*") if list(path.glob("*_log.out"))])


def test_job_that_is_missing_in_the_slurm_queue_counts_as_ended():
    from ssr_hydra.sweeps.launchers.plugins import queue_watcher

    watcher = queue_watcher()
    watcher.register_job("7_0")
    watcher.register_job("7_1")
    assert watcher._make_command()[0] == "squeue"
    assert watcher.read_info(b"7_1\n9\n") == {
        "7_0": {"JobID": "7_0", "State": "COMPLETED"},
        "7_1": {"JobID": "7_1", "State": "RUNNING"},
    }
    watcher._finished = {"7_0", "7_1"}
    assert watcher._make_command() is None  # no command runs if there are no jobs


def test_only_the_job_that_always_kills_its_process_is_lost(lab):
    assert_one_failed(lab.sweep(*SWEEP, "seed=0,1,2", poison="1:always"), lab, 1, (0, 1, 2))


def test_job_that_is_killed_once_is_run_again(lab):
    answer = lab.sweep(*SWEEP, "seed=0,1", poison="0:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == [0, 1]
    assert sorted(lab.started()) == [0, 0, 1]
    assert {record.steps for record in lab.records().values()} == {4}
    assert submitted(lab) == 3
    assert "sacct" not in answer.err  # this command prints nothing without accounting


def test_job_that_is_requeued_without_a_signal_continues_from_its_last_checkpoint(lab):
    # Slurm kills the job without an earlier signal, as if the node failed.
    lab.slow.touch()
    sweep = lab.start("launcher=slurm", *LONG, "seed=0")
    pid = until(lambda: process_of(lab.study / "0"), "a checkpoint", sweep)
    name = job_id(pid)
    lab.held.touch()
    until(lab.holds.exists, "a batch that waits", sweep)
    subprocess.run(["scontrol", "requeue", name], check=True)
    os.kill(pid, signal.SIGKILL)  # immediately, not after the grace period of 30 seconds
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of the process", sweep)
    lab.held.unlink()
    lab.slow.unlink()
    answer = ended(sweep)
    assert answer.code == 0, answer.err
    assert lab.records()[0].resumes == 1
    (batch,) = resumes(lab.study / "0")
    assert batch % 20 == 0
    assert submitted(lab) == 1
    assert_same(lab.weights(), lab.uninterrupted(*LONG, "seed=0"))


def test_preempted_job_resumes_after_the_job_that_preempted_it(lab):
    if "urgent" not in (_sinfo() or ""):
        pytest.skip("this Slurm has no partition whose jobs preempt others")
    lab.slow.touch()
    sweep = lab.start("launcher=slurm", *LONG, "seed=0")
    until(lambda: process_of(lab.study / "0"), "a checkpoint", sweep)
    urgent = ["sbatch", "--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=sleep 2"]
    subprocess.run(urgent, check=True, capture_output=True, cwd=lab.folder)
    until(lambda: (lab.study / "0" / "result.json").exists(), "its record", sweep)
    lab.slow.unlink()
    answer = ended(sweep)
    assert answer.code == 0, answer.err
    assert {seed: record.resumes for seed, record in lab.records().items()} == {0: 1}
    assert submitted(lab) == 1
    assert_same(lab.weights(), lab.uninterrupted(*LONG, "seed=0"))


def test_sweep_does_not_wait_for_a_cancelled_job(lab):
    # A cancelled job that has not started leaves no file. Without accounting, only the queue shows that it has ended.
    lab.slow.touch()
    arguments = ("launcher=slurm", *LONG, "seed=0,1", "hydra.launcher.array_parallelism=1")
    sweep = lab.start(*arguments)
    pid = until(lambda: process_of(lab.study / "0") or process_of(lab.study / "1"), "a checkpoint", sweep)
    array, _, index = job_id(pid).partition("_")
    cancelled = 1 - int(index)
    subprocess.run(["scancel", f"{array}_{cancelled}"], check=True)
    lab.slow.unlink()
    answer = ended(sweep)
    assert answer.code == 1
    assert f"1 of 2 jobs did not complete: {cancelled} (seed={cancelled})" in answer.err
    assert "it was cancelled before it started" in answer.err  # a user cancelled the job, so it is not retried
    assert lab.completed() == [int(index)]
    answer = lab.sweep(*arguments)
    assert answer.code == 0, answer.err
    assert lab.completed() == [0, 1]
