"""Sweeps from the command line, in this process."""

import pytest
import torch  # noqa: F401  # its first import starts a process
from omegaconf import OmegaConf
from refusals import refused as refuses

from ssr_hydra.errors import ConflictError
from ssr_hydra.sweeps.launchers.traits import TRAITS
from ssr_hydra.sweeps.sweeper import _set_workers

SMALL = ("max_duration=1ba", "trainer.progress=none", "study_report=false", "launcher=basic", "study=s")


@pytest.mark.parametrize(
    ("name", "setting"), [("processes", "workers"), ("joblib", "n_jobs"), ("submitit_slurm", "array_parallelism")]
)
def test_key_workers_sets_the_matching_option_of_each_launcher(name, setting):
    cfg = OmegaConf.create({"hydra": {"launcher": {setting: 7}}})
    _set_workers(cfg, TRAITS[name], None)
    assert cfg.hydra.launcher == {setting: 7}
    _set_workers(cfg, TRAITS[name], 3)
    assert cfg.hydra.launcher == {setting: 3}


@pytest.mark.parametrize(("name", "workers"), [("ray", 2), ("ray", 1), ("basic", 2)])
def test_key_workers_is_refused_for_a_launcher_without_a_matching_option(name, workers):
    cfg = OmegaConf.create({"hydra": {"launcher": {}, "runtime": {"choices": {"hydra/launcher": name}}}})
    with refuses("workers", ConflictError):
        _set_workers(cfg, TRAITS[name], workers)
    _set_workers(cfg, TRAITS["basic"], 1)  # this launcher always has one worker


def test_key_workers_is_refused_for_a_single_run(refused):
    rule = "works only in a sweep, but this is a single run"
    assert refused("workers=2") == f"error: workers='2': {rule}; add -m, or remove workers\n"


@pytest.mark.parametrize(
    ("folder", "own"),
    [
        ("runs/${hydra.job.num}", "runs/0"),
        ("runs/x${oc.select:hydra.job.num,y}", "runs/x0"),
        ("runs/${hydra.runtime.choices.scheduler}", "runs/linear"),
        ("runs/${scheduler._target_}", "runs/ssr_hydra.schedulers.LinearScheduler"),
    ],
)
def test_sweep_folder_that_would_differ_between_jobs_is_refused(refused, folder, own):
    message = refused("-m", "scheduler=linear,rex", "seed=1,2", f"hydra.sweep.dir={folder}")
    assert message.startswith(f"error: hydra.sweep.dir='{folder}': must be the same for all jobs of a sweep (got {own}")
    assert message.endswith(", or move them to hydra.sweep.subdir\n")


def test_escaped_interpolation_in_a_folder_name_is_refused(refused):
    for kind, more in (("sweep", ["-m"]), ("run", [])):
        message = refused(*more, f"hydra.{kind}.dir=runs/\\${{hydra.job.num}}")
        assert message.startswith(f"error: hydra.{kind}.dir='runs/${{hydra.job.num}}': must not contain ${{ after its")


def test_name_of_a_job_folder_may_contain_swept_values(app, in_tmp):
    # References to the job are resolved in each job, not once for the sweep.
    answer = app("-m", "seed=0,1", "hydra.sweep.subdir=s${seed}_${hydra.job.num}", *SMALL)
    assert answer.code == 0, answer.err
    assert sorted(path.parent.name for path in in_tmp.glob("studies/s/*/result.json")) == ["s0_0", "s1_1"]


def test_max_batch_size_below_one_is_refused(refused):
    message = refused("-m", "seed=0,1", "hydra.sweeper.max_batch_size=0", *SMALL)
    assert message == "error: hydra.sweeper.max_batch_size=0: must be a whole number of at least 1; write e.g. 1\n"
