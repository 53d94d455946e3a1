import json
import os

import pytest
from sweep_records import record

from ssr_hydra.records import RunResult
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, Heartbeat
from ssr_hydra.sweeps.job_status import (
    JOB,
    JobDescription,
    JobState,
    StudyJob,
    describe,
    read_identity,
    read_state,
    record_lost,
)

VALUES = {
    "name": "a",
    "ssr": 0.5,
    "seed": 0,
    "max_duration": "16ep",
    "control": None,
    "optimizer": {"lr": 0.1},
    "data": {"batch_size": 16, "num_workers": 0, "prefetch_factor": None},
    "trainer": {"objective": "eval/accuracy", "progress": "auto", "threads": None},
    "logger": {},
    "checkpoint": {"keep": 3},
    "resume": {"path": "auto"},
}


def changed(path, value):
    values = json.loads(json.dumps(VALUES))
    *keys, last = path.split(".")
    node = values
    for key in keys:
        node = node[key]
    node[last] = value
    return dict(values)


def test_only_keys_that_affect_the_result_change_the_job_identity():
    before = describe(VALUES)
    free = "name", "data.num_workers", "data.prefetch_factor", "trainer.progress", "checkpoint.keep", "resume.path"
    for path in (*free, "logger.csv"):
        after = describe(changed(path, "x"))
        assert (after.identity == before.identity, after.config_hash == before.config_hash) == (True, False), path
    affecting = "ssr", "seed", "control", "max_duration", "optimizer.lr", "trainer.threads", "trainer.names", "resumes"
    for path in affecting:
        assert describe(changed(path, 2)).identity != before.identity, path


def test_state_of_a_job_is_read_from_its_folder(tmp_path):
    assert read_state(tmp_path / "missing") is JobState.WAITING
    assert read_state(tmp_path) is JobState.WAITING
    with Heartbeat(tmp_path / HEARTBEAT):
        assert read_state(tmp_path) is JobState.RUNNING
        record(tmp_path, "failed")  # from an earlier attempt
        assert read_state(tmp_path) is JobState.RUNNING
        left = (tmp_path / HEARTBEAT).read_text()
    assert read_state(tmp_path) is JobState.FAILED
    (tmp_path / HEARTBEAT).write_text(json.dumps({**json.loads(left), "started": "1"}))
    assert read_state(tmp_path) is JobState.DIED
    for status in ("completed", "diverged"):  # the record was written before the process was killed
        record(tmp_path, status)
        assert read_state(tmp_path) is JobState(status)
    (tmp_path / "result.json").write_text('{"status": "completed"')  # torn
    assert read_state(tmp_path) is JobState.DIED


def test_identity_of_a_job_is_read_from_its_folder(tmp_path):
    assert read_identity(tmp_path) is None
    for torn in ("", "{", "{}", "[]", '{"identity": 1}'):
        (tmp_path / JOB).write_text(torn)
        assert read_identity(tmp_path) is None
    (tmp_path / JOB).write_text(json.dumps({"identity": "a", "sweep": "b", "pid": os.getpid()}))
    assert read_identity(tmp_path) == ("a", "b")


LOST = ((), JobDescription("i", "h", name="digits", ssr=0.5, max_duration="16ep", seed=3, control="truncate"))


def test_steps_of_a_lost_job_are_read_from_its_log(tmp_path):
    when = {"epoch": 0, "batch": 40, "sample": 640, "token": 0, "train_seconds": 1.25}
    lines = [{"event": "train", **when, "batch": 20}, {"event": "eval", **when}]
    (tmp_path / "metrics.jsonl").write_text(
        "".join(json.dumps(line) + "\n" for line in lines) + '{"event": "train", "ba'
    )
    record_lost(StudyJob(*LOST, tmp_path), "killed")
    record = RunResult.load(tmp_path)
    assert (record.status, record.error) == ("failed", "killed")
    assert (record.steps, record.samples, record.tokens, record.train_seconds) == (40, 640, 0, 1.25)
    assert (record.name, record.ssr, record.max_duration, record.seed) == ("digits", 0.5, "16ep", 3)
    assert (record.config_hash, record.control) == ("h", "truncate")


@pytest.mark.parametrize("content", [None, "{", "[1]\n", '{"event": "resume"}\n', '{"batch": "x"}\n', "pipe"])
def test_lost_job_that_never_started_has_no_steps(tmp_path, content):
    if content == "pipe":
        os.mkfifo(tmp_path / "metrics.jsonl")
    elif content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    record_lost(StudyJob(*LOST, tmp_path), "killed")
    assert RunResult.load(tmp_path).steps == 0
