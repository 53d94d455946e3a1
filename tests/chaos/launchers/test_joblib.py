"""Real sweeps under joblib, whose pool breaks when one of its workers dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from launcher_lab import TWELVE, VICTIMS, Lab, assert_one_failed, until

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher")

SWEEP = ("launcher=joblib", f"seed={','.join(map(str, TWELVE))}", "max_duration=4ba")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path)
    yield made
    made.close()


def test_every_job_has_its_record(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP)
    assert answer.code == 0, answer.err
    records = lab.records()
    assert sorted(records) == list(TWELVE)
    assert {record.steps for record in records.values()} == {4}
    assert {record.hardware["threads"] for record in records.values()} == {1}  # whatever the pool has set
    assert sorted(lab.starts.read_text().split(), key=int) == [str(seed) for seed in TWELVE]


@pytest.mark.parametrize("victim", VICTIMS)
def test_one_that_always_kills_its_worker_is_the_only_one_lost(lab: Lab, victim: int) -> None:
    # Workers that are killed with it are suspects too; that they are no culprits is found out by running them alone.
    assert_one_failed(lab.sweep(*SWEEP, poison=f"{victim}:always"), lab, victim)


def test_workers_end_within_seconds_when_the_sweep_is_killed(lab: Lab) -> None:
    # Three workers for two jobs: the idle one would wait for five minutes.
    arguments = ("launcher=joblib", "hydra.launcher.n_jobs=3", "seed=0,1", "max_duration=1h")
    sweep = lab.start(*arguments)
    until(lambda: len(list(lab.study.glob("*/metrics.jsonl"))) == 2, "two jobs that train", sweep)
    workers = psutil.Process(sweep.pid).children(recursive=True)
    assert len(workers) >= 3
    sweep.kill()
    sweep.communicate()
    _, left = psutil.wait_procs(workers, timeout=30)
    assert left == []
    for record in lab.records().values():
        assert record.status == "stopped"
        assert str(record.error).startswith("terminated by SIGTERM, with a checkpoint at batch ")


def test_one_that_is_killed_once_is_run_again(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP, poison="5:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == list(TWELVE)
