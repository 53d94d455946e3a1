"""Kill jobs of real sweeps under joblib, Ray and submitit's local executor."""

import pytest
from real_sweeps import TWELVE, assert_one_failed

SEEDS = {"joblib": TWELVE, "ray": TWELVE[:4], "submitit_local": TWELVE[:4]}


def under(launcher, *more):
    plugin = launcher.removesuffix("_local")
    return pytest.param(launcher, *more, marks=pytest.mark.extra(f"hydra_plugins.hydra_{plugin}_launcher"))


def sweep(launcher):
    return (f"launcher={launcher}", f"seed={','.join(map(str, SEEDS[launcher]))}", "max_duration=4ba")


@pytest.mark.parametrize(
    ("launcher", "victim"),
    # If a worker dies, joblib ends all workers. Then each of their jobs runs alone.
    [under("joblib", 5), under("ray", 1), under("submitit_local", 1)],
)
def test_only_the_job_that_always_kills_its_process_is_lost(lab, launcher, victim):
    assert_one_failed(lab.sweep(*sweep(launcher), poison=f"{victim}:always"), lab, victim, SEEDS[launcher])


@pytest.mark.parametrize(("launcher", "victim"), [under("joblib", 5), under("ray", 0), under("submitit_local", 0)])
def test_job_that_is_killed_once_is_run_again(lab, launcher, victim):
    answer = lab.sweep(*sweep(launcher), poison=f"{victim}:once")
    assert answer.code == 0, answer.err
    assert lab.completed() == list(SEEDS[launcher])
    records = lab.records().values()
    assert {record.steps for record in records} == {4}
    if launcher == "joblib":
        assert {record.hardware["threads"] for record in records} == {1}  # joblib may set more threads
    if launcher != "joblib":  # joblib also starts the jobs of the other workers again
        assert sorted(lab.started()) == sorted([*SEEDS[launcher], victim])
