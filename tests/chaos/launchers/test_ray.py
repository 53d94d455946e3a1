"""Real sweeps under Ray, on a cluster that is started for the sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher_lab import Lab, assert_one_failed

pytestmark = [pytest.mark.extra("hydra_plugins.hydra_ray_launcher")]

SEEDS = (0, 1, 2, 3)
SWEEP = ("launcher=ray", "seed=0,1,2,3", "max_duration=4ba")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path, nested=False)
    yield made
    made.close()


def test_every_job_has_its_record(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP)
    assert answer.code == 0, answer.err
    records = lab.records()
    assert sorted(records) == list(SEEDS)
    assert {record.steps for record in records.values()} == {4}
    assert sorted(lab.starts.read_text().split()) == ["0", "1", "2", "3"]


def test_one_that_always_kills_its_worker_is_the_only_one_lost(lab: Lab) -> None:
    assert_one_failed(lab.sweep(*SWEEP, poison="1:always"), lab, 1, SEEDS)


def test_one_that_is_killed_once_is_run_again(lab: Lab) -> None:
    answer = lab.sweep(*SWEEP, poison="0:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == list(SEEDS)
    assert sorted(lab.starts.read_text().split()) == ["0", "0", "1", "2", "3"]
