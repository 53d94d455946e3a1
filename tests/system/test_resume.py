"""Runs of the app that are killed, stopped and changed, and then started again."""

import json
import math
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkout import REPO
from checkpoint_helpers import newest
from cli_helpers import Answer, answer, run_in
from omegaconf import DictConfig, OmegaConf
from resume_lab import DIGITS, SIGNALS, arguments, scenarios
from warm import warm

from ssr_hydra.records import RunResult

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to a process of Windows")

Run = Callable[..., Answer]


def test_run_survives_kills_and_sigterm_at_random_points(tmp_path):
    counts = scenarios("kills:2,signals:1", tmp_path)  # tests/chaos: 30 kills, 20 SIGTERMs, 3 of each other signal
    assert counts["kills"]["kills"] == 2
    assert [counts["signals"][name]["stopped"] for name in SIGNALS] == [1, 0, 0, 0]


def test_repeating_a_killed_command_resumes_the_run(tmp_path):
    """``python train.py`` with two workers, killed by the clock of this test."""
    overrides = arguments("callbacks=[ema]", optimizer="adamw", data__num_workers=2, max_duration="4ep")
    command = (str(REPO / "train.py"), *overrides)
    (tmp_path / "whole").mkdir()
    assert warm.run(*command, cwd=tmp_path / "whole").returncode == 0
    here = tmp_path / "killed"
    here.mkdir()
    log, code = here / "run/metrics.jsonl", 0
    while code != -signal.SIGKILL:  # if this test was too slow, the run has completed
        assert code == 0
        shutil.rmtree(here / "run", ignore_errors=True)
        with warm.start(*command, cwd=here, stdout=None, stderr=None) as process:
            while not (log.exists() and log.read_bytes().count(b"\n") >= 12) and process.poll() is None:
                time.sleep(0.001)
            process.kill()
        code = process.wait()
    assert warm.run(*command, cwd=here).returncode == 0
    assert weights(here / "run") == weights(tmp_path / "whole/run")
    assert records(here / "run") == records(tmp_path / "whole/run")
    assert RunResult.load(here / "run").resumes == 1


@pytest.fixture
def app(in_tmp, capsys, clean_hydra):
    threads = torch.get_num_threads()
    yield lambda *overrides: answer(capsys, *overrides)
    torch.set_num_threads(threads)


def weights(run):
    """Return the weights in the last checkpoint."""
    return [tensor.numpy().tobytes() for tensor in newest(run / "checkpoints")[0].state["model"].values()]


def records(run, event=None):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [line for line in lines if line["event"] == event or (event is None and line["event"] != "resume")]
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in rows]


def rates(run, name="lr"):
    """Return the rates that each batch was trained with: the record of batch k has the rate of batch k - 1."""
    return {record["batch"] - 1: record[name] for record in records(run, "train")}


def files(run):
    return {
        str(path.relative_to(run)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in run.rglob("*")
        if path.is_file()
    }


def lab(*more, **values):
    """Return the overrides of a run of 4 epochs with 10 batches each."""
    settings = {"data": DIGITS, "scheduler": "cosine", "max_duration": "4ep", "checkpoint__interval": "1ep", **values}
    return [item for item in arguments(*more, **settings) if "t_warmup" not in item]


def refused(app, run, code, *overrides):
    """Check that a command is refused in one line and changes no file of a run. Return the error."""
    before = files(run)
    completed = app(*overrides)
    assert (completed.code, completed.err.count("\n")) == (code, 1)
    assert files(run) == before
    return completed.err


def cosine(tau):
    return (1 + math.cos(math.pi * min(tau, 1))) / 2


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of 4 epochs with all of its checkpoints."""
    folder = tmp_path_factory.mktemp("finished")
    run_in(folder, *lab(checkpoint__keep=9))
    return folder / "run"


@pytest.fixture
def finished_run(finished, in_tmp):
    """A copy of the finished run."""
    return Path(shutil.copytree(finished, in_tmp / "run"))


@pytest.fixture
def run(finished_run):
    """A copy of the run after 3 of its 4 epochs: it lacks its last checkpoint and its record."""
    shutil.rmtree(finished_run / "checkpoints/ba40")
    (finished_run / "result.json").unlink()
    return finished_run


def test_a_finished_run_is_not_trained_again(app, finished_run):
    before = files(finished_run)
    completed = app(*lab())
    assert (completed.code, completed.err) == (0, "")
    assert "nothing to train" in completed.out
    after = files(finished_run)
    added = after.pop("train.log")[1].removeprefix(before.pop("train.log")[1]).decode()
    assert added.count("\n") == 1  # one line about this command
    assert added.endswith("nothing to train\n")
    assert after == before


LATE = [("max_duration=2ep", "the checkpoint is at"), ("optimizer=adamw", "does not fit"), ("control=truncate", "")]


@pytest.mark.parametrize(("change", "message"), LATE, ids=[change for change, _ in LATE])
def test_run_folder_does_not_change_if_the_trainer_refuses_the_run(app, run, change, message):
    on_change = "rescale" if change.startswith("control") else "extend"  # the trainer refuses this
    error = refused(app, run, 2, *lab(), change, f"resume.on_change={on_change}")
    assert message in error
    assert "never" not in error


def test_extended_run_updates_its_config_and_continues_its_log(app, run):
    assert app(*lab(max_duration="5ep"), "resume.on_change=extend").code == 0
    assert "max_duration: 5ep" in (run / ".hydra/config.yaml").read_text()
    assert "pending" not in (run / ".hydra/hydra.yaml").read_text()
    assert [path.name for path in run.glob(".hydra*")] == [".hydra"]
    assert (run / "train.log").read_text().count("started: ") == 2  # held back until training begins


def test_sweep_in_the_folder_of_an_earlier_sweep_runs_only_new_jobs(app, in_tmp):
    overrides = [item for item in lab(max_duration="3ba") if not item.startswith("hydra.run.dir")]
    sweep = ("-m", "launcher=basic", "study_report=false", "hydra.sweep.dir=S", *overrides)
    assert app(*sweep, "optimizer.lr=0.1").code == 0
    before = files(in_tmp / "S/0")
    assert "Launching 1 jobs locally\n" in app(*sweep, "optimizer.lr=0.3,0.1").out
    assert files(in_tmp / "S/0") == before
    assert RunResult.load(in_tmp / "S/1").steps == 3
    error = refused(app, in_tmp / "S", 2, *sweep, "optimizer.lr=0.1,0.2", "data.batch_size=65")
    assert error.startswith("error: hydra.sweep.dir='S': holds a different study: ")
    assert not list((in_tmp / "S").rglob("*pending*"))


CHANGES = [
    ("ssr=0.5", "ssr was 1.0 and is 0.5"),
    ("scheduler=rex", "scheduler._target_ was 'ssr_hydra.schedulers.CosineAnnealingScheduler'"),
    ("optimizer=adamw", "optimizer._target_ was 'torch.optim.SGD' and is 'torch.optim.AdamW'"),
    ("data.batch_size=64", "data.batch_size was 130 and is 64"),
    ("trainer.threads=2", "trainer.threads was 1 and is 2"),
    ("+model.width=9", "model.width was missing and is 9"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[change for change, _ in CHANGES])
def test_error_for_a_different_run_shows_both_values_and_no_file_changes(app, run, change, words):
    error = refused(app, run, 2, *lab(), change)
    assert error.startswith("error: resume='auto': run contains a different run: ")
    assert words in error


def test_fields_that_do_not_affect_the_result_may_change(app, run):
    changes = ("trainer.log_interval=3ba", "name=other", "checkpoint.best=eval/loss", "callbacks=[throughput]")
    assert app(*lab(), *changes).code == 0
    assert RunResult.load(run).steps == 40


def test_renamed_data_with_the_same_content_is_accepted(app, in_tmp):
    rows = [f"{k / 7:.3f},{k % 5},{'abc'[k % 3]}\n" for k in range(30)]
    (in_tmp / "t.csv").write_text("x,y,kind\n" + "".join(rows))

    def given(path):
        text = f"data=arrays data.train.path={path} model=mlp model.in_features=2 model.num_classes=3 scheduler=cosine"
        return f"{text} max_duration=4ep checkpoint.interval=1ep hydra.run.dir=run trainer.progress=none".split()

    assert app(*given("t.csv")).code == 0
    # Write the config as an earlier release did, with different defaults and fewer options.
    config = in_tmp / "run/.hydra/config.yaml"
    described = OmegaConf.load(config)
    assert isinstance(described, DictConfig)
    described.data.train.update({"header": True, "delimiter": ","})
    for key in ("decimal", "na_values"):
        del described.data.train[key], described.data.eval[key]
    del described.data["eval_path"]
    OmegaConf.save(described, config)
    (in_tmp / "moved").mkdir()
    for path in (str(in_tmp / "t.csv"), "moved/trees.csv"):
        if path.startswith("moved"):
            (in_tmp / "t.csv").rename(path)
        completed = app(*given(path))
        assert (completed.code, completed.err) == (0, ""), path
        assert "nothing to train" in completed.out
    # A stopped run resumes as well.
    shutil.rmtree(in_tmp / "run/checkpoints/ba8")
    (in_tmp / "run/result.json").unlink()
    assert app(*given("./moved/trees.csv")).code == 0
    (in_tmp / "moved/trees.csv").write_text("x,y,kind\n" + "".join(rows).replace("\n0.", "\n1."))
    completed = app(*given("moved/trees.csv"))
    assert completed.code == 2
    assert "data.dataset.sha256 was " in completed.err


def test_run_with_resume_set_to_never_is_refused_in_a_used_folder(app, run):
    assert "resume=never starts a new run" in refused(app, run, 2, *lab(), "resume=never")


def test_damaged_checkpoint_is_reported_and_the_previous_checkpoint_is_used(app, run, finished):
    torn = run / "checkpoints/ba30/state.pt"
    torn.write_bytes(torn.read_bytes()[:-100])
    completed = app(*lab(trainer__progress="plain"))
    assert completed.code == 0, completed.err
    assert f"refused {torn}: it is truncated" in completed.out
    assert f"resumed from {run}/checkpoints/ba20 at batch 20" in completed.out
    assert weights(run) == weights(finished)
    assert records(run) == records(finished)


def test_a_run_without_a_good_checkpoint_is_an_error(app, run):
    for path in run.glob("checkpoints/*/state.pt"):
        path.write_bytes(b"")
    before = files(run)
    completed = app(*lab())
    assert (completed.code, completed.err.count("\n")) == (1, 1)
    assert completed.err.startswith(f"error: {run}/checkpoints: none of its checkpoints can be used: ")
    after = files(run)
    kept = [name for name in before if name.startswith("checkpoints") or name == "metrics.jsonl"]
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert "none of its checkpoints" in (RunResult.load(run).error or "")


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(app, run):
    shutil.rmtree(run / "checkpoints")
    completed = app(*lab(trainer__progress="plain"))
    assert completed.code == 0, completed.err
    assert "was stopped before its first checkpoint; this run starts from scratch" in completed.out
    assert [record["batch"] for record in records(run, "train")] == list(range(1, 41))


def test_restarted_run_writes_the_same_description_as_hydra(app, run, in_tmp):
    def description(folder):
        contents = {path.name: path.read_text() for path in (folder / ".hydra").iterdir()}
        contents["hydra.yaml"] = contents["hydra.yaml"].replace("    - hydra.output_subdir=.hydra\n", "")
        return contents

    shutil.rmtree(run / "checkpoints")
    assert app(*lab(), "name=again").code == 0
    written = description(run)
    shutil.rmtree(run)
    assert app(*lab(), "name=again").code == 0
    assert written == description(run)
    assert "name: again" in written["config.yaml"]


def test_run_resumes_if_the_end_of_its_log_was_lost(app, run, in_tmp):
    """The end of the log may be lost, so that it has fewer bytes than ``log_bytes`` of the checkpoint."""
    log = run / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:700])
    n_lines = log.read_bytes().count(b"\n")
    assert app(*lab()).code == 0
    batches = [record["batch"] for record in records(run, "train")]
    assert batches == [*range(1, n_lines + 1), *range(31, 41)]


def test_checkpoint_of_a_different_run_can_be_resumed_in_a_new_folder(app, run, in_tmp):
    before = files(run)
    completed = app(*lab("hydra.run.dir=new", "resume=run"))
    assert completed.code == 0, completed.err
    assert files(run) == before
    assert [record["batch"] for record in records(in_tmp / "new", "train")] == list(range(31, 41))
    # The same command again, like a requeued job: the run's own checkpoints have priority.
    assert "nothing to train" in app(*lab("hydra.run.dir=new", "resume=run")).out
    # A different run in that folder is refused, and the error lists the differences to its checkpoint.
    completed = app(*lab("hydra.run.dir=other", "resume=run", "optimizer.lr=0.3"))
    assert completed.code == 2
    assert "optimizers[0].groups[0].lr was 0.1 and is 0.3" in completed.err
    assert not (in_tmp / "other").exists()


def test_a_finished_run_is_extended_in_its_folder(app, finished_run):
    """Extend 4 epochs to 8, then to 10 with a larger learning rate. From batch 40 on, the new plan sets the rates."""
    completed = app(*lab(max_duration="8ep", trainer__progress="plain"), "resume.on_change=extend")
    assert completed.code == 0, completed.err
    assert "changed: run.max_duration was '4ep' and is '8ep'" in completed.out
    assert list(rates(finished_run)) == list(range(80))
    (resumed,) = records(finished_run, "resume")
    assert (resumed["batch"], resumed["changes"]) == (40, ["run.max_duration was '4ep' and is '8ep'"])
    # The same command again has no work left, with and without on_change.
    for more in ([], ["resume.on_change=extend"]):
        assert "nothing to train" in app(*lab(max_duration="8ep"), *more).out
    result = RunResult.load(finished_run)  # evaluated every 11 batches: 3 times and at 40, then 4 times and at 80
    assert (result.steps, result.max_duration, len(result.evaluations)) == (80, "8ep", 9)
    assert app(*lab(max_duration="8ep", optimizer__lr="0.2", ssr=1.25), "resume.on_change=extend").code == 0
    assert list(rates(finished_run)) == list(range(100))
    for batch, lr in rates(finished_run).items():
        peak, length = (0.1, 40) if batch < 40 else (0.1, 80) if batch < 80 else (0.2, 100)
        assert lr == pytest.approx(peak * cosine(batch / length), rel=1e-12, abs=1e-16), batch


def test_run_that_was_killed_after_a_config_change_can_be_changed_again(app, run):
    """Rescaled at batch 30 of 40 to 8 epochs, killed after 6 epochs, resumed, and rescaled to 7 epochs."""
    keep = {"checkpoint__keep": 9}
    assert app(*lab(max_duration="8ep", **keep), "resume.on_change=rescale").code == 0
    for number in (70, 80):
        shutil.rmtree(run / f"checkpoints/ba{number}")
    (run / "result.json").unlink()
    before = rates(run)
    assert app(*lab(max_duration="8ep", **keep)).code == 0  # the checkpoint already has the change
    assert rates(run) == before
    for number in (70, 80):
        shutil.rmtree(run / f"checkpoints/ba{number}")
    assert app(*lab(max_duration="7ep", **keep), "resume.on_change=rescale").code == 0
    lrs = rates(run)
    assert list(lrs) == list(range(70))
    for batch, lr in lrs.items():
        # At batch 60 the virtual time is 36. Its last 4 batches take the last 10 batches of the run.
        virtual = batch if batch < 30 else 30 + (batch - 30) / 5 if batch < 60 else 36 + (batch - 60) * 4 / 10
        assert lr == pytest.approx(0.1 * cosine(virtual / 40), rel=1e-12), batch


def test_resumed_run_uses_new_values_of_param_groups_and_scheduled_fields(app, in_tmp):
    """The learning rates of two param groups and the scheduled weight decay get their new values."""
    groups = ["param_groups=[no_decay]", "+scheduler@schedules.weight_decay=linear"]
    first = lab(*groups, max_duration="2ep", optimizer="adamw", optimizer__lr="0.01", optimizer__weight_decay="0.2")
    assert app(*first).code == 0
    second = lab(*groups, max_duration="4ep", optimizer="adamw", optimizer__lr="0.04", optimizer__weight_decay="0.1")
    completed = app(*second, "resume.on_change=extend")
    assert completed.code == 0, completed.err
    run = in_tmp / "run"
    assert list(rates(run)) == list(range(40))
    for batch, lrs in rates(run, "lrs").items():
        peak, length = (0.01, 20) if batch < 20 else (0.04, 40)
        assert set(lrs) == {"default", "no_decay"}
        assert list(lrs.values()) == pytest.approx([peak * cosine(batch / length)] * 2, rel=1e-12), batch
    for batch, decay in rates(run, "weight_decay").items():
        peak, length = (0.2, 20) if batch < 20 else (0.1, 40)
        assert decay["default"] == pytest.approx(peak * (1 - batch / length), rel=1e-12), batch


def test_run_repeated_from_its_saved_config_is_bitwise_equal(app, in_tmp):
    """Weights and records are bitwise equal. Only the command line can trust a package that the config names."""
    command = lab("callbacks=[ema]", "+callbacks.ema.decay=0.9", optimizer="adamw", ssr=0.5)
    assert app(*command).code == 0
    replay = ("--config-path", "run/.hydra", "--config-name", "config", "hydra.run.dir=again")
    refused = app(*replay)
    assert refused.code == 2
    assert refused.err.startswith("error: trust=['resume_lab']: can be set only on the command line")
    completed = app(*replay, "trust=[resume_lab]")
    assert completed.code == 0, completed.err
    assert weights(in_tmp / "again") == weights(in_tmp / "run")
    assert records(in_tmp / "again") == records(in_tmp / "run")
    first, second = (RunResult.load(in_tmp / name) for name in ("run", "again"))
    assert (first.config_hash, first.metrics, first.steps) == (second.config_hash, second.metrics, second.steps)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
