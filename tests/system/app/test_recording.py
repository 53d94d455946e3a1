"""Every end of a job is recorded, logged and shown by the exit code."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from checkout import REPO
from cli_helpers import Answer
from refusals import refused
from warm import warm

from ssr_hydra.app import recording as job
from ssr_hydra.app.recording import recorded
from ssr_hydra.errors import ConflictError, InputError
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat, is_alive
from ssr_hydra.trainer import RunResult

App = Callable[..., Answer]
TRAIN = str(REPO / "train.py")
QUICK = ("max_duration=4ba", "trainer.progress=none")


def test_table_of_a_sweep_lists_refused_jobs(app, in_tmp):
    answer = app("-m", "optimizer=muon,adamw", "launcher=basic", "study_report=false", *QUICK, "hydra.sweep.dir=sweep")
    assert answer.code == 1
    assert "1 of 2 jobs did not complete: 0 (optimizer=muon" in answer.err
    assert [RunResult.load(in_tmp / f"sweep/{number}").status for number in (0, 1)] == ["failed", "completed"]
    assert "2 jobs in sweep: 1 failed, 1 completed" in answer.out
    assert "optimizer=muon" in answer.out


def test_refused_input_writes_no_record_and_records_of_different_runs_stay(tmp_path):
    with pytest.raises(InputError), recorded({}, tmp_path):
        raise InputError("a", 1, "must be 2", "write 2")
    assert not list(tmp_path.iterdir())
    (tmp_path / "result.json").write_text("theirs")
    with pytest.raises(ZeroDivisionError), recorded({}, tmp_path):
        raise ZeroDivisionError
    assert (tmp_path / "result.json").read_text() == "theirs"


@pytest.mark.parametrize(
    ("number", "code", "error"),
    [
        (signal.SIGTERM, 143, "terminated by SIGTERM"),
        (signal.SIGHUP, 129, "terminated by SIGHUP"),
        (signal.SIGINT, 130, "KeyboardInterrupt: interrupted"),
    ],
)
def test_stopped_run_is_recorded_and_prints_the_command_to_continue(tmp_path, number, code, error):
    place = "hydra.run.dir=runs/${seed}"  # the printed command has the value of seed
    arguments = (TRAIN, "max_duration=1h", "trainer.progress=none", place, "resume=never")
    with warm.start(*arguments, cwd=tmp_path, stdout=None) as process:
        log = tmp_path / "runs/0/metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.1)
        process.send_signal(number)
        _, output = process.communicate(timeout=300)
    record = RunResult.load(tmp_path / "runs/0")
    assert "started: max_duration=1h" in (tmp_path / "runs/0/train.log").read_text()
    suffix = f", with a checkpoint at batch {record.steps}"
    assert (process.returncode, record.status, record.error) == (code, "stopped", error + suffix)
    assert record.steps > 0
    assert (tmp_path / f"runs/0/checkpoints/ba{record.steps}").is_dir()
    assert output == (
        f"{error.removeprefix('KeyboardInterrupt: ')}{suffix}; continue with\n"
        f"  {warm.python} {TRAIN} max_duration=1h trainer.progress=none hydra.run.dir=runs/0 resume=auto\n"
    )
    more = f"max_duration={record.steps + 1}ba resume.on_change=extend checkpoint.best=null"
    completed = subprocess.run(
        f"{output.splitlines()[1]} {more}", shell=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert (completed.returncode, completed.stderr) == (0, "")
    again = RunResult.load(tmp_path / "runs/0")
    assert (again.status, again.steps, again.resumes) == ("completed", record.steps + 1, 1)


def test_job_is_refused_while_a_job_runs_in_its_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "sweep_dir", lambda: tmp_path)
    with (
        Heartbeat(tmp_path / HEARTBEAT),
        refused("run_dir", ConflictError),
        recorded({}, tmp_path),
    ):
        raise AssertionError
    with recorded({}, tmp_path):
        assert is_alive(tmp_path / HEARTBEAT)
    assert not (tmp_path / HEARTBEAT).exists()


def test_requeued_job_waits_for_the_heartbeat_of_the_previous_machine_to_expire(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "sweep_dir", lambda: tmp_path)
    sign = tmp_path / HEARTBEAT
    sign.write_text(json.dumps({"machine": "elsewhere", "pid": 1, "started": "1", "attempt": 1}))
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 3:  # so old that the heartbeat has expired
            os.utime(sign, (1, 1))

    # Count only the sleeps of this module, because other threads sleep too. Stop its clock, so that a slow machine does
    # not change the result.
    monkeypatch.setattr(job, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: 0.0))
    with recorded({}, tmp_path):
        assert len(waited) == 3
        assert is_alive(sign)
