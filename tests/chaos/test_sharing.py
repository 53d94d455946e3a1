"""Kill sweeps that share steps, under several launchers. Results stay bitwise equal, and each step is trained once."""

import json
import shutil
import signal
from collections import Counter

import pytest
from checkout import REPO
from cli_helpers import Answer
from run_equality import assert_same
from warm import warm

TRAIN = str(REPO / "train.py")
KILLED = """
import os, signal
from ssr_hydra.app import main, prefix
prefix.{place} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
main.main()
"""
SMALL = (
    "scheduler=wsd",
    "scheduler.t_warmup=4ba",
    "scheduler.t_decay=0.25dur",
    "max_duration=24ba",
    "data.batch_size=200",
    "trainer.log_interval=5ba",
    "trainer.eval_interval=2ep",
    "checkpoint.interval=4ba",
    "trainer.progress=none",
    "study_report=false",
    "study_code=any",
    "callbacks=[ema]",
    "callbacks.ema.half_life=null",
    "callbacks.ema.decay=0.9",
    "trust=[sharing_lab]",
    "+callbacks.notes._target_=sharing_lab.Notes",
    "model=custom",
    "model._target_=sharing_lab.Net",
)
GRID = ("ssr=0.5,1,2", "seed=0")
# SSR 2 has 48 steps. SSR 0.5 and 1 share its first 10 and 19 steps, up to their last step at the peak.
SHARED = 48 + (12 - 10) + (24 - 19)


def sweep(folder, study, *typed, kill="", code=""):
    nested = not any("submitit" in each for each in typed)  # submitit starts Python itself
    environment = {"SHARING_STEPS": str(folder / f"{study}.steps"), "SHARING_KILL": kill}
    program = ("-c", code) if code else (TRAIN,)
    typed = (*program, "-m", f"study={study}", *SMALL, *GRID, *typed)
    process = warm.run(*typed, cwd=folder, env=environment, nested=nested)
    return Answer(process.returncode, process.stdout, process.stderr)


def trained(folder, study):
    """Return a count for each step of each job: the number of times that the step was trained."""
    return Counter((folder / f"{study}.steps").read_text().splitlines())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    answer = sweep(folder, "alone", "launcher=basic")
    assert answer.code == 0, answer.err
    return folder / "studies" / "alone"


def assert_all_same(study, alone):
    for number in range(3):
        assert json.loads((study / str(number) / "result.json").read_text())["status"] == "completed"
        assert_same_but_resumes(study / str(number), alone / str(number))


def assert_same_but_resumes(one, other):
    """Compare two jobs, but ignore the records that a killed job was resumed."""
    copy = one.with_name(f"{one.name}.copy")
    shutil.copytree(one, copy)
    records = [line for line in (copy / "metrics.jsonl").read_text().splitlines() if '"event":"resume"' not in line]
    (copy / "metrics.jsonl").write_text("".join(f"{line}\n" for line in records))
    try:
        assert_same(copy, other, ignored=("resumes",))
    finally:
        shutil.rmtree(copy)


def test_sweep_that_is_killed_three_times_trains_each_step_once(tmp_path, alone):
    # SSR 2 is killed before and after it publishes a checkpoint, and SSR 1 is killed after it takes shared steps.
    points = ["2 0 3", "2 0 11", "1 0 23"]
    for point in points:
        killed = sweep(tmp_path, "s", "launcher=basic", "share=true", kill=point)
        assert killed.code != 0
        assert (tmp_path / f"s.steps.{point}.killed").exists(), killed.err
        if point == "2 0 11":  # as if the kill came just before the checkpoint was published
            (published,) = (tmp_path / "studies/s/shared/points").glob("*-ba10")
            published.rename(published.with_name(f".{published.name}.1.new"))
    answer = sweep(tmp_path, "s", "launcher=basic", "share=true")
    assert answer.code == 0, answer.err
    steps = trained(tmp_path, "s")
    assert len(steps) == SHARED
    assert sum(steps.values()) - len(steps) <= 4 * len(points)  # each kill repeats only the steps since a checkpoint
    assert_all_same(tmp_path / "studies" / "s", alone)


def test_job_killed_while_copying_shared_steps_equals_the_job_trained_alone(tmp_path, alone):
    # The kills come after the job has copied the metrics log, and before it has written its first checkpoint.
    for place in ("Taken.write", "CheckpointStore.save"):
        killed = sweep(tmp_path, "s", "launcher=basic", "share=true", code=KILLED.format(place=place))
        assert killed.code == -signal.SIGKILL, killed.err
        job = tmp_path / "studies/s/1"
        assert (job / "metrics.jsonl").exists()
        assert not list(job.glob("checkpoints/*"))
    answer = sweep(tmp_path, "s", "launcher=basic", "share=true")
    assert answer.code == 0, answer.err
    assert set(trained(tmp_path, "s").values()) == {1}
    assert_all_same(tmp_path / "studies" / "s", alone)


@pytest.mark.parametrize(
    ("launcher", "workers", "kill"),
    [
        ("processes", 1, "2 0 15"),
        ("processes", 3, ""),
        ("processes", 3, "2 0 15"),
        pytest.param("joblib", 2, "2 0 15", marks=pytest.mark.extra("hydra_plugins.hydra_joblib_launcher")),
        pytest.param("submitit_local", 2, "2 0 15", marks=pytest.mark.extra("hydra_plugins.hydra_submitit_launcher")),
    ],
)
def test_jobs_share_steps_under_every_launcher(tmp_path, alone, launcher, workers, kill):
    """The job that trains the shared steps may be killed while others wait for it."""
    answer = sweep(tmp_path, "s", f"launcher={launcher}", f"workers={workers}", "share=true", kill=kill)
    assert answer.code == 0, answer.err
    steps = trained(tmp_path, "s")
    assert len(steps) == SHARED
    assert sum(steps.values()) <= SHARED + 4 * bool(kill)  # a kill repeats the steps since the last checkpoint
    assert_all_same(tmp_path / "studies" / "s", alone)
