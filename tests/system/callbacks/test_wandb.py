"""Real runs of the real package, offline."""

import json
import math

import pytest
from callback_helpers import history_of_wandb, log_records, records_of_wandb, result, train
from refusals import refused

from ssr_hydra.callbacks import WandbLogger

pytestmark = pytest.mark.extra("wandb")


@pytest.fixture(autouse=True)
def _alone(monkeypatch, tmp_path):
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")


def write(folder, *records, status="completed", **options):
    earlier = set(folder.glob("wandb/offline-run-*"))
    logger = WandbLogger(project="p", mode="offline", tags=["a", "b"])
    log_records(logger, folder, *records, ends=result(status), **options)
    (run_folder,) = set(folder.glob("wandb/offline-run-*")) - earlier
    return run_folder


def started(folder):
    return next(record.run for record in records_of_wandb(folder) if record.WhichOneof("record_type") == "run")


def config_of(run):
    return {tuple(item.nested_key) or item.key: json.loads(item.value_json) for item in run.config.update}


def exit_codes(folder):
    records = records_of_wandb(folder)
    return [record.exit.exit_code for record in records if record.WhichOneof("record_type") == "exit"]


def test_numbers_are_logged_at_the_right_batch_with_the_counters(tmp_path):
    evaluation = {"event": "eval", "batch": 20, "eval/accuracy": 0.5, "eval/loss": math.nan}
    run_folder = write(tmp_path, train(10), train(20, lrs=[0.5, 0.25]), evaluation, config={"ssr": 0.5})
    first, second = history_of_wandb(run_folder)
    clocks = {"_step": 10, "epoch": 1, "batch": 10, "sample": 160, "token": 0, "train_seconds": 1.25}
    assert first == {**clocks, "train/loss": 0.1, "lr": 0.1}
    # Training and evaluation at one batch are one row.
    assert (second["_step"], second["lr/0"], second["lr/1"], second["eval/accuracy"]) == (20, 0.5, 0.25, 0.5)
    assert second["eval/loss"] in ("NaN", None) or math.isnan(second["eval/loss"])
    run = started(run_folder)
    assert (run.display_name, run.project, list(run.tags)) == ("été <b>", "p", ["a", "b"])
    assert config_of(run)["ssr"] == 0.5
    assert exit_codes(run_folder) == [0]


def test_resumed_run_continues_the_same_wandb_run_and_sends_no_record_twice(tmp_path):
    first = write(tmp_path, train(10), train(20), status="failed")
    second = write(tmp_path, train(20), train(30), batch=10)
    assert started(first).run_id == started(second).run_id == json.loads((tmp_path / "wandb.json").read_text())["id"]
    assert [row["_step"] for folder in (first, second) for row in history_of_wandb(folder)] == [10, 20, 30]
    assert exit_codes(first) == [1]


def test_restarted_run_is_a_new_run_that_names_the_old_run(tmp_path):
    first, second = write(tmp_path, train(10)), write(tmp_path, train(10))
    assert started(first).run_id != started(second).run_id
    assert config_of(started(second))["resumed_from"] == started(first).run_id
    assert [row["_step"] for row in history_of_wandb(second)] == [10]


def test_wandb_sends_no_records_without_numbers(tmp_path):
    assert history_of_wandb(write(tmp_path, {"event": "resume", "batch": 10, "checkpoint": "x"})) == []


@pytest.mark.parametrize("arguments", [{"mode": "disabled"}, {"mode": ""}, {"project": " "}, {"group": 3}])
def test_invalid_arguments_of_the_logger_are_refused(arguments):
    with refused(next(iter(arguments))):
        WandbLogger(**arguments)
