"""Run folders and studies that version 0.1 wrote can still be reported, evaluated and resumed."""

import json
import math
import shutil
from pathlib import Path

import pytest
from cli_helpers import answer

from ssr_hydra.app.evaluate import evaluate
from ssr_hydra.studies import load, summary

STORED = Path(__file__).resolve().parent / "stored" / "0.1"


@pytest.fixture
def app(in_tmp, capsys, clean_hydra):
    shutil.copytree(STORED, in_tmp, dirs_exist_ok=True)
    return lambda *arguments: answer(capsys, *arguments)


def test_stored_study_is_read_completely():
    study = load(STORED / "study")
    assert study.problems == ()
    assert len(study.frame) == 8
    report = json.loads((STORED / "study" / "report" / "report.json").read_text())
    then = {(row["recipe"], row["ssr"]): row["mean"] for row in report["table"]}
    now = {(row.recipe, row.ssr): row.mean for row in summary(study).itertuples()}
    assert now == pytest.approx(then)


def test_stored_run_evaluates_to_its_recorded_metrics():
    result = json.loads((STORED / "run" / "result.json").read_text())
    evaluation = evaluate(STORED / "run")
    assert evaluation.metrics["eval/accuracy"] == pytest.approx(result["metrics"]["eval/accuracy"], abs=0.01)


def test_stopped_run_of_the_stored_format_continues_from_its_checkpoint(app, in_tmp):
    completed = app("hydra.run.dir=stopped", "ssr=0.5", "scheduler=wsd", "checkpoint.interval=50ba")
    assert (completed.code, completed.err) == (0, "")
    result = json.loads(Path("stopped/result.json").read_text())
    assert (result["status"], result["steps"], result["resumes"]) == ("completed", 600, 1)
    records = [json.loads(line) for line in Path("stopped/metrics.jsonl").read_text().splitlines()]
    rates = {record["batch"]: record["lr"] for record in records if record["event"] == "train"}
    # Either version writes a record for each tenth batch and for the end of each epoch of 75 batches. Of 600 batches,
    # the first 30 warm up linearly to 0.1 and the last 60 decay to 0 as 1 - sqrt(frac). Record b has the rate of batch
    # b - 1, counted from 0.
    expected = {
        b: 0.1 * min(1.0, (b - 1) / 30, 1 - math.sqrt(max(0.0, (b - 1 - 540) / 60)))
        for b in {*range(10, 601, 10), *range(75, 601, 75)}
    }
    assert rates == pytest.approx(expected)
