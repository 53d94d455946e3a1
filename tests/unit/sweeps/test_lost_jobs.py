from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.job_status import JobDescription, StudyJob
from ssr_hydra.sweeps.lost_jobs import record_lost

JOB = ((), JobDescription("i", "h", name="digits", ssr=0.5, max_duration="16ep", seed=3, control="truncate"))


def test_the_log_tells_how_far_a_lost_job_had_come(tmp_path: Path) -> None:
    when = {"epoch": 0, "batch": 40, "sample": 640, "token": 0, "train_seconds": 1.25}
    lines = [{"event": "train", **when, "batch": 20}, {"event": "eval", **when}]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"event": "train", "ba'
    )
    record_lost(StudyJob(*JOB, tmp_path), "killed")
    record = RunResult.load(tmp_path)
    assert (record.status, record.error) == ("failed", "killed")
    assert (record.steps, record.samples, record.tokens, record.train_seconds) == (40, 640, 0, 1.25)
    assert (record.name, record.ssr, record.max_duration, record.seed) == ("digits", 0.5, "16ep", 3)
    assert (record.config_hash, record.control) == ("h", "truncate")


@pytest.mark.parametrize("content", [None, "", "\n", "{", "[1]\n", '{"event": "resume"}\n'])
def test_a_job_that_had_not_begun(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    record_lost(StudyJob(*JOB, tmp_path), "killed")
    assert RunResult.load(tmp_path).steps == 0
