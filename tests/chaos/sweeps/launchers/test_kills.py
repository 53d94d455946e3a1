"""Real sweeps under joblib, Ray and submitit's local executor; a job kills its own process never, once or always."""

from __future__ import annotations

import pytest
from launcher_lab import TWELVE, VICTIMS, Lab, assert_one_failed

SEEDS = {"joblib": TWELVE, "ray": TWELVE[:4], "submitit_local": TWELVE[:4]}


def under(launcher: str, *more: object) -> object:
    plugin = launcher.removesuffix("_local")
    return pytest.param(launcher, *more, marks=pytest.mark.extra(f"hydra_plugins.hydra_{plugin}_launcher"))


def sweep(launcher: str) -> tuple[str, ...]:
    return (f"launcher={launcher}", f"seed={','.join(map(str, SEEDS[launcher]))}", "max_duration=4ba")


@pytest.mark.parametrize("launcher", [under(launcher) for launcher in SEEDS])
def test_every_job_has_its_record(lab: Lab, launcher: str) -> None:
    answer = lab.sweep(*sweep(launcher))
    assert answer.code == 0, answer.err
    records = lab.records()
    assert sorted(records) == list(SEEDS[launcher])
    assert {record.steps for record in records.values()} == {4}
    if launcher == "joblib":
        assert {record.hardware["threads"] for record in records.values()} == {1}  # whatever the pool has set
    assert sorted(map(int, lab.starts.read_text().split())) == list(SEEDS[launcher])


@pytest.mark.parametrize(
    ("launcher", "victim"),
    # joblib's pool breaks when a worker dies: workers killed with it are suspects too, until they have run alone.
    [*(under("joblib", victim) for victim in VICTIMS), under("ray", 1), under("submitit_local", 1)],
)
def test_job_that_always_kills_its_process_is_the_only_one_lost(lab: Lab, launcher: str, victim: int) -> None:
    assert_one_failed(lab.sweep(*sweep(launcher), poison=f"{victim}:always"), lab, victim, SEEDS[launcher])


@pytest.mark.parametrize(("launcher", "victim"), [under("joblib", 5), under("ray", 0), under("submitit_local", 0)])
def test_job_that_is_killed_once_is_run_again(lab: Lab, launcher: str, victim: int) -> None:
    answer = lab.sweep(*sweep(launcher), poison=f"{victim}:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == list(SEEDS[launcher])
    if launcher != "joblib":  # which restarts the workers that were killed with it as well
        assert sorted(map(int, lab.starts.read_text().split())) == sorted([*SEEDS[launcher], victim])
