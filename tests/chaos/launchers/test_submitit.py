"""Real sweeps under submitit's local executor, which runs a job as Slurm would."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher_lab import Lab, assert_one_failed, assert_same, ended, process_of, resumes, until

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")

SEEDS = (0, 1, 2, 3)
SWEEP = ("launcher=submitit_local", "seed=0,1,2,3", "max_duration=4ba")
LONG = ("max_duration=200ba", "checkpoint.interval=20ba", "seed=0")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, nested=False)  # submitit starts its jobs with python -m
    yield made
    made.close()


def test_every_job_has_its_record(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP)
    assert answer.code == 0, answer.err
    records = lab.records()
    assert sorted(records) == list(SEEDS)
    assert {record.steps for record in records.values()} == {4}
    assert sorted(lab.starts.read_text().split()) == ["0", "1", "2", "3"]


def test_one_that_always_kills_its_process_is_the_only_one_lost(lab: Lab) -> None:
    assert_one_failed(lab.sweep(*SWEEP, poison="1:always"), lab, 1, SEEDS)


def test_one_that_is_killed_once_is_run_again(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP, poison="0:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == list(SEEDS)
    assert sorted(lab.starts.read_text().split()) == ["0", "0", "1", "2", "3"]


def test_a_preempted_job_goes_on_by_itself_to_the_same_weights(lab: Lab) -> None:
    lab.slow.touch()
    sweep = lab.start("launcher=submitit_local", *LONG)
    os.kill(until(lambda: process_of(lab.study / "0"), "a checkpoint", sweep), signal.SIGUSR2)
    until(lambda: (lab.study / "0" / "result.json").exists(), "the record of the part before", sweep)
    lab.slow.unlink()
    answer = ended(sweep)
    assert answer.code == 0, answer.err
    assert lab.records()[0].resumes == 1
    # It stopped at its next batch, with a checkpoint of its own: no step was done twice.
    (batch,) = resumes(lab.study / "0")
    assert f"terminated by SIGUSR2, with a checkpoint at batch {batch}" in (lab.study / "0/train.log").read_text()
    assert_same(lab.weights(), lab.uninterrupted(*LONG))
