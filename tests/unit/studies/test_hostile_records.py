"""Damaged or artificial records are reported and left out, without a traceback or waiting."""

import json
import os
from pathlib import Path

import pytest
from study_runs import METRIC, config, raw, record, write_run

from ssr_hydra.report import build, report_text
from ssr_hydra.studies import load
from ssr_hydra.sweeps.heartbeat import Pulse
from ssr_hydra.sweeps.job_status import JobState, read_identity, read_state

CHANGES = [
    {"steps": "many"}, {"ssr": [1.0]}, {"train_seconds": "3 s"}, {"total_seconds": {"a": 1}}, {"metrics": [0.9]},
    {"metrics": {METRIC: [0.9]}}, {"metrics": {METRIC: "0.9"}}, {"error": ["a"]}, {"name": {"a": "b"}},
    {"versions": "3"}, {"hardware": [1]}, {"evaluations": {"a": 1}}, {"status": ["completed"]},
    {"evaluations": [{"timestamp": "now", "metrics": {}}]},
]  # fmt: skip


def texts():
    contents = [json.dumps({**raw(record(seed=9)), **change}) for change in CHANGES]
    deep = "[" * 1000 + "]" * 1000
    contents += [json.dumps(raw(record(seed=9))).replace('"metrics": {', f'"metrics": {deep}, "rest": {{', 1)]
    whole = json.dumps(raw(record(seed=9)))
    contents += ["", whole[:200], whole + whole[:20], whole.replace('"seed": 9', '"seed": 10')]
    return [*contents, "[" * 100_000, '{"a":' * 100_000, "\x00" * 100, "NaN", '"text"']


@pytest.fixture
def study(tmp_path):
    """Return the folder of a study with two complete runs, which must be read in every test."""
    folder = tmp_path / "study"
    for seed in (0, 1):
        write_run(folder / f"whole{seed}", record(seed=seed), config(seed=seed))
    return folder


def shown(study):
    """Return the text of the report about a study."""
    loaded = load(study)
    content = build(loaded)
    assert len(loaded.completed) == 2
    return report_text(content, 200)


def test_damaged_records_are_reported_and_left_out(study):
    damaged = {f"damaged{number}": text for number, text in enumerate(texts())}
    for name, text in damaged.items():
        (write_run(study / name, None, config(seed=9)) / "result.json").write_text(text, encoding="utf-8")
    shown(study)
    problems = {Path(problem.where).name: problem for problem in load(study).problems}
    assert problems.keys() == damaged.keys()
    for name, problem in problems.items():
        assert read_state(study / name) in (JobState.WAITING, JobState.COMPLETED), name
        assert problem.kind in ("torn", "invalid"), name
        assert len(problem.reason) <= 300, name


@pytest.mark.parametrize(
    "name", ["result.json", "job.json", "heartbeat.json", ".hydra/config.yaml", ".hydra/hydra.yaml"]
)
def test_pipe_in_place_of_a_file_does_not_block_reading(study, name):
    folder = write_run(study / "damaged", record(seed=9), config(seed=9))
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    loaded = load(study)
    assert len(loaded.completed) >= 2
    assert all(problem.where.endswith("damaged") for problem in loaded.problems)
    read_state(folder)
    read_identity(folder)


def test_pipe_in_place_of_a_study_or_a_log_does_not_block_reading(study):
    os.mkfifo(study / "study.json")
    os.mkfifo(study / "whole0/metrics.jsonl")
    shown(study)
    assert build(load(study)).rates.drawn == []  # learning rates are read from the log


def test_huge_record_is_not_read(study):
    folder = write_run(study / "damaged", None, config(seed=9))
    with (folder / "result.json").open("wb") as file:
        file.truncate(1 << 40)  # a sparse tebibyte
    (problem,) = load(study).problems
    assert problem.reason == "must be a complete JSON record (result.json has more than 67,108,864 bytes)"
    assert "damaged" in shown(study)


@pytest.mark.parametrize("content", [{"pid": "../1"}, {"pid": "\x00"}, {"machine": 3}, {"attempt": "x"}, [1]])
def test_invalid_heartbeat_file_is_ignored(tmp_path, content):
    pulse = {"machine": "m", "pid": 1, "started": "1", "attempt": 1}
    path = tmp_path / "heartbeat.json"
    path.write_text(json.dumps(pulse | content if isinstance(content, dict) else content), encoding="utf-8")
    assert Pulse.read(path) is None


def test_names_are_escaped_for_the_terminal(study):
    name = "a\x1b]0;title\x07\x1b[2Jb"
    run_record = record(seed=9, status="failed", error=f"RuntimeError: {name}", metrics={}, evaluations=[])
    write_run(study / name, run_record, config(seed=9), overrides=[f"name={name}"])
    assert shown(study).replace("\n", "").isprintable()
