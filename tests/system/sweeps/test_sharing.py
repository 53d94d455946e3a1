"""Sweeps whose jobs share steps: each job is bitwise the same as alone, and each shared step is trained once."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import Answer, run_in
from run_equality import assert_same
from sharing_lab import RICH, SMALL, WSD

from ssr_hydra.checkpoints.store import CheckpointStore
from ssr_hydra.studies import load as load_study
from ssr_hydra.sweeps.sharing.orders import Point, Taken, cost_of, taken_in

App = Callable[..., Answer]


def sweep(app, study, *typed, code=0):
    answer = app("-m", f"study={study}", *typed)
    assert answer.code == code, answer.err
    return answer


def steps_of(answer):
    """Return the steps of a plan with and without sharing."""
    match = re.search(r"steps: ([\d,]+) with shared prefixes, ([\d,]+) without", answer.out)
    assert match is not None, answer.out
    return int(match[1].replace(",", "")), int(match[2].replace(",", ""))


def jobs_of(study):
    """Return the folders of a study's jobs by their overrides, without overrides about studies."""
    folders = {}
    for path in Path("studies", study).glob("*/job.json"):
        overrides = json.loads(path.read_text())["overrides"]
        folders[" ".join(each for each in overrides if re.match(r"ssr=|seed=|scheduler=", each))] = path.parent
    return folders


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """Return studies with published checkpoints at steps 10 and 19, and with a run of 48 steps trained alone."""
    folder = tmp_path_factory.mktemp("trunk")
    run_in(folder, "-m", "study=s", *SMALL, *WSD, "ssr=0.5,1", "share=true")
    run_in(folder, "-m", "study=alone", *SMALL, *WSD, "ssr=2")
    return folder / "studies"


def test_every_job_that_shares_steps_equals_the_job_trained_alone(app, in_tmp):
    """The jobs have batch norm, dropout, augmentation, a smaller last batch, EMA and a scheduled weight decay."""
    grid = ("scheduler=wsd,multistep_warmup,cosine_warmup", "ssr=0.5,1", "scheduler.t_warmup=4ba")
    shared = sweep(app, "shared", *SMALL, *RICH, *grid, "seed=0,1", "share=true")
    sweep(app, "alone", *SMALL, *RICH, *grid, "seed=1")
    # Without a decay in common, all six jobs of a seed share the warmup of 4 steps and the first step after it.
    with_sharing, without = steps_of(shared)
    assert without == 2 * 3 * (12 + 24)
    assert with_sharing < without - 2 * 5 * 4
    mine, theirs = jobs_of("shared"), jobs_of("alone")
    assert (len(mine), len(theirs)) == (12, 6)
    for name, folder in theirs.items():
        assert_same(mine[name], folder)


def test_added_ssr_starts_from_checkpoints_of_an_earlier_sweep(app, in_tmp):
    first = sweep(app, "s", *SMALL, *WSD, "ssr=0.5,1", "share=true")
    assert "cost of the study: 26 steps in" in first.out
    # The decay of SSR 0.5 begins at step 9 of 12; its first step is still at the peak.
    assert steps_of(first) == (24 + 12 - 10, 36)
    planned = sweep(app, "s", *SMALL, *WSD, "ssr=0.5,1,2", "share=true", "plan=true")
    grown = sweep(app, "s", *SMALL, *WSD, "ssr=0.5,1,2", "share=true", "share.keep=none")
    # A longer run differs from SSR 1 after step 18, at which the decay of SSR 1 begins.
    assert steps_of(planned) == steps_of(grown) == (48 - 19, 48)
    sweep(app, "alone", *SMALL, *WSD, "ssr=2")
    assert_same(Path("studies/s/2"), Path("studies/alone/0"))
    assert "cost of the study: 55 steps" in grown.out  # 26 and 29
    study = load_study("studies/s")
    assert (len(study.frame), study.problems) == (3, ())  # a kept checkpoint is not a run
    assert study.totals()["train_seconds"] > study.totals()["trained_seconds"] > 0
    assert not list(Path("studies/s/shared").glob("points/*"))
    record = json.loads(Path("studies/s/2/result.json").read_text())
    records = [json.loads(path.read_text()) for path in Path("studies/s/shared/taken").iterdir()]
    assert max(each["train_seconds"] for each in records) < record["train_seconds"]


def test_jobs_share_no_steps_if_a_callback_may_depend_on_the_run_length(app, in_tmp):
    nudge = ("trust=[sharing_lab]", "+callbacks.nudge._target_=sharing_lab.Nudge")
    refused = sweep(app, "s", *SMALL, *WSD, *nudge, "ssr=0.5,1", "share=true", "plan=true")
    assert "2 jobs share no steps: callbacks.nudge (sharing_lab.Nudge) may depend on the length" in refused.out
    notes = ("trust=[sharing_lab]", "+callbacks.notes._target_=sharing_lab.Notes")
    assert steps_of(sweep(app, "s", *SMALL, *WSD, *notes, "ssr=0.5,1", "share=true", "plan=true")) == (26, 36)


def test_damaged_checkpoint_is_refused_until_removed(app, in_tmp):
    sweep(app, "s", *SMALL, *WSD, "ssr=0.5,1", "share=true")
    (damaged,) = Path("studies/s/shared/points").glob("*-ba19")
    with (damaged / "checkpoints/ba19/state.pt").open("r+b") as file:
        file.truncate(100)
    failed = sweep(app, "s", *SMALL, *WSD, "ssr=2", "share=true", code=1)
    assert "checkpoints/ba19/state.pt: it is truncated: 100 bytes of" in failed.err
    assert f"; remove {damaged.resolve()}; then this job trains all of its steps" in failed.err
    shutil.rmtree(damaged)
    # SSR 2 shares 10 steps with SSR 0.5.
    assert steps_of(sweep(app, "s", *SMALL, *WSD, "ssr=2", "share=true")) == (48 - 10, 48)
    # A job that trains all of its steps again counts as a job without shared steps.
    shutil.rmtree("studies/s/0")
    shutil.rmtree("studies/s/2")
    shutil.rmtree("studies/s/shared/points")
    sweep(app, "s", *SMALL, *WSD, "ssr=0.5")
    assert cost_of(Path("studies/s")) is None


def test_repeated_command_completes_a_job_that_ended_while_copying_shared_steps(app, in_tmp, trunk, monkeypatch):
    """The job ends after it has copied the metrics log, and before it has written its first checkpoint."""
    shutil.copytree(trunk, "studies")
    job, save = Path("studies/s/2"), CheckpointStore.save
    place: Any
    # The decay of SSR 2 begins at step 36, so the first job that completes publishes 37 steps. The last is at the peak.
    for place, name, error, code, share, steps in (
        (Point, "copy_records", OSError("the disk is gone"), 1, "share=true", 19),
        (Taken, "write", KeyboardInterrupt(), 130, "share=true", 37),
        (CheckpointStore, "save", KeyboardInterrupt(), 130, "share=false", 0),
    ):
        act = getattr(place, name)

        def end(*arguments, act=act, error=error, **_):
            if act is not save:  # the job ends before it saves: a checkpoint is never incomplete
                act(*arguments)
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(place, name, end)
            sweep(app, "s", *SMALL, *WSD, "ssr=2", "share=true", code=code)
        assert (job / "metrics.jsonl").exists()
        assert not list(job.glob("checkpoints/*"))
        sweep(app, "s", *SMALL, *WSD, "ssr=2", share)
        assert_same(job, Path("studies/alone/0"))
        assert taken_in([job]).steps == steps
        shutil.rmtree(job)


def test_shared_steps_from_different_data_or_thread_counts_are_refused(app, in_tmp, keep_threads):
    images = torch.rand(1198, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.save(images, "images.pt")
    own = ("trust=[sharing_lab]", "data=custom", "data.train._target_=sharing_lab.stored_images")
    own = (*own, "+data.eval._target_=sharing_lab.stored_images", "trainer.threads=null")
    torch.set_num_threads(1)
    sweep(app, "s", *SMALL, *WSD, *own, "ssr=0.5,1", "share=true")
    torch.save(images.flip(0), "images.pt")
    torch.set_num_threads(2)
    failed = sweep(app, "s", *SMALL, *WSD, *own, "ssr=2", "share=true", "resume.on_change=extend", code=1)
    assert "share=True: cannot be used, because the config of the shared steps differs:" in failed.err
    assert "data.dataset.tensors[0] was" in failed.err
    assert "threads was 1 and is 2; " in failed.err
    assert "cost of the study: 26 steps in" in failed.out  # without the failed job
    shutil.rmtree("studies/s/2/checkpoints")
    sweep(app, "s", *SMALL, *WSD, *own, "ssr=2")


def test_launcher_that_cannot_share_steps_is_refused_in_one_line(app, in_tmp):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    answer = app("-m", "ssr=0.5,1", "share=true", "hydra/launcher=submitit_slurm")
    assert answer.code == 2
    assert answer.err.startswith("error: share=True: cannot be used with launcher=submitit_slurm; choose launcher=")
