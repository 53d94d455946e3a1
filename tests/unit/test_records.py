import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from checkpoint_helpers import largest_file
from refusals import refused

from ssr_hydra.errors import ConflictError, InputError, PathError, RunError, WrongTypeError
from ssr_hydra.files import write_atomically
from ssr_hydra.metrics_log import METRICS, MetricsLog, evaluation_record, read_evaluations
from ssr_hydra.records import RunResult, config_hash, refuse_finished

KEYS = (
    "status error name ssr max_duration seed steps samples tokens train_seconds total_seconds metrics evaluations "
    "config_hash versions hardware data resumes control conditions code"
).split()


def result(**changes):
    values = {
        "status": "completed",
        "error": None,
        "name": "été <b>",
        "ssr": 0.5,
        "max_duration": "20ep",
        "seed": 0,
        "steps": 600,
        "samples": 9584,
        "tokens": 0,
        "train_seconds": 1.5,
        "total_seconds": 2.0,
        "metrics": {"eval/accuracy": 0.96},
        "evaluations": [{"timestamp": {"batch": 600}, "metrics": {"eval/accuracy": 0.96}, "seconds": 0.1}],
    }
    return RunResult(**{**values, **changes})


TEXT = result().to_json()


def test_result_is_saved_with_exactly_the_promised_keys_and_loaded_unchanged(tmp_path):
    path = result().save(tmp_path)
    assert list(json.loads(path.read_text("utf-8"))) == KEYS
    assert RunResult.load(path) == result() == RunResult.load(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_non_finite_numbers_are_null(tmp_path):
    bad = result(metrics={"eval/loss": math.nan, "x": math.inf}, evaluations=[{"metrics": {"y": -math.inf}}])
    read = RunResult.load(bad.save(tmp_path))
    assert read.metrics == {"eval/loss": None, "x": None}
    assert read.evaluations == [{"metrics": {"y": None}}]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", TEXT[:-5], TEXT.replace('"ssr"', '"more": 1, "ssr"'), TEXT.replace("completed", "running")],
)
def test_incomplete_records_are_refused(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match="result"):
        RunResult.load(tmp_path)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    with MetricsLog(tmp_path / "new" / "folder") as log:
        log.write({"batch": 1, "loss": 0.5})
        assert lines(tmp_path / "new" / "folder") == [{"batch": 1, "loss": 0.5}]
        log.write({"batch": 2, "loss": math.nan})
        assert lines(tmp_path / "new" / "folder")[1] == {"batch": 2, "loss": None}


@pytest.mark.parametrize(
    ("status", "steps", "hashed", "is_refused"),
    [
        ("completed", 600, "a", True),
        ("failed", 0, None, False),
        ("failed", 1, None, True),
        ("stopped", 5, "a", False),
        ("stopped", 5, "b", True),
    ],
)
def test_folder_of_a_run_is_refused_unless_the_run_may_start_again(tmp_path, status, steps, hashed, is_refused):
    before = result(status=status, error="E", steps=steps, config_hash="a").save(tmp_path).read_bytes()
    with refused("run_dir", ConflictError) if is_refused else nullcontext():
        refuse_finished(tmp_path, hashed=hashed)
    assert (tmp_path / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    "error", ["KeyboardInterrupt: interrupted", "terminated by SIGTERM, with a checkpoint at batch 7"]
)
def test_stopped_run_of_an_earlier_release_is_read_as_stopped(tmp_path, error):
    # Earlier releases wrote the status `failed` for these.
    (tmp_path / "result.json").write_text(result(status="failed", error=error).to_json())
    assert RunResult.load(tmp_path).status == "stopped"
    result(status="failed", error=f"ValueError: {error}").save(tmp_path)
    assert RunResult.load(tmp_path).status == "failed"


def test_resumed_run_keeps_log_lines_up_to_the_checkpoint(tmp_path):
    with MetricsLog(tmp_path) as log:
        log.write({"batch": 1})
        size = log.sync()
        log.write({"batch": 2})
    with MetricsLog(tmp_path, size) as log:
        log.write({"batch": 3})
    assert lines(tmp_path) == [{"batch": 1}, {"batch": 3}]
    # The end of the file may be lost if the machine crashed: complete lines are kept, a truncated one is not.
    with MetricsLog(tmp_path, size + 5) as log:
        log.write({"batch": 4})
    assert lines(tmp_path) == [{"batch": 1}, {"batch": 4}]


@pytest.mark.skipif(sys.platform == "win32", reason="no file-size limit")
def test_full_disk_is_reported_with_path_and_size(tmp_path):
    with MetricsLog(tmp_path) as log, largest_file(40):
        log.write({"batch": 1})
        with pytest.raises(OSError, match="cannot write [0-9]+ bytes") as caught:
            for batch in range(2, 9):
                log.write({"batch": batch})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")


def test_config_hash_depends_on_values_and_not_on_the_order_of_keys():
    assert config_hash(None) is None
    a = config_hash({"ssr": 1.0, "model": {"widths": [8, 16]}})
    assert a == config_hash({"model": {"widths": [8, 16]}, "ssr": 1.0})
    assert a != config_hash({"model": {"widths": [16, 8]}, "ssr": 1.0})
    # Canonical JSON, so that other programs can compute the hash.
    assert a == hashlib.sha256(b'{"model":{"widths":[8,16]},"ssr":1.0}').hexdigest()


@pytest.mark.parametrize("config", [{"lr": math.nan}, {"path": Path()}, {"x": {1, 2}}])
def test_config_in_a_record_must_be_plain_data(config):
    with refused("config", WrongTypeError):
        config_hash(config)


def test_invalid_evaluations_of_a_log_are_refused(tmp_path):
    clocks = {"epoch": 1, "batch": 4, "sample": 16, "token": 0, "train_seconds": 0.5}
    evaluation = {"timestamp": clocks, "metrics": {"eval/loss": 0.25, "eval/x": None}, "seconds": 0.1}
    with MetricsLog(tmp_path) as log:
        log.write({"event": "train", **clocks})
        log.write(evaluation_record(evaluation))
    path = tmp_path / METRICS
    size = path.stat().st_size
    odd = [{"batch": "four"}, {"eval/loss": "low"}, {"eval/loss": [1]}, {"train_seconds": -1}]
    lines = [json.dumps({**evaluation_record(evaluation), **item}, separators=(",", ":")) for item in odd]
    deep = '{"event":"eval","x":' + "[" * 10**5
    path.write_text("\n".join([path.read_text() + deep, *lines, '{"event":"eval"', lines[0][:30]]))
    assert read_evaluations(path, 10**9) == [evaluation]
    assert read_evaluations(path, size - 1) == []
    assert read_evaluations(tmp_path, 10**9) == read_evaluations(tmp_path / "none", 10**9) == []


@pytest.mark.parametrize("link", [Path.hardlink_to, Path.symlink_to])
def test_resume_does_not_change_a_log_that_is_linked(tmp_path, link):
    with MetricsLog(tmp_path / "elsewhere") as log:
        log.write({"batch": 10})
        first = log.sync()
        log.write({"batch": 20})
    before = log.path.read_bytes()
    (tmp_path / "run").mkdir()
    link(tmp_path / "run" / METRICS, log.path)
    with MetricsLog(tmp_path / "run", keep=first) as resumed:
        resumed.write({"batch": 21})
    assert log.path.read_bytes() == before
    assert lines(tmp_path / "run") == [{"batch": 10}, {"batch": 21}]
    assert [file.is_symlink() for file in (tmp_path / "run").iterdir()] == [False]


def test_pipe_in_place_of_the_log_is_refused(tmp_path):
    os.mkfifo(tmp_path / METRICS)
    with refused("run_dir", PathError):
        MetricsLog(tmp_path)


HARMS = {
    "moved": lambda path: path.parent.rename(path.parent.with_name("moved")),
    "removed": lambda path: shutil.rmtree(path.parent),
    "cut": lambda path: os.truncate(path, 5),
    "replaced": lambda path: write_atomically(path, path.read_bytes()),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_run_ends_at_the_next_record_if_its_log_is_lost(tmp_path, harm):
    with MetricsLog(tmp_path / "run") as log:
        log.write({"batch": 10})
        harm(log.path)
        with pytest.raises(RunError, match=re.escape(str(log.path))):
            log.write({"batch": 20})
        with pytest.raises(RunError, match=re.escape(str(log.path))):
            log.sync()


def _no_locks(descriptor, operation):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_second_run_is_refused_on_a_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    with MetricsLog(tmp_path) as log:
        log.write({"batch": 1})
        with refused("run_dir", ConflictError):
            MetricsLog(tmp_path)
        log.write({"batch": 2})
    assert [file.name for file in tmp_path.iterdir()] == [METRICS]
    with MetricsLog(tmp_path, keep=100) as log:  # the lock is gone with the first run
        assert log.sync() == len(b'{"batch":1}\n{"batch":2}\n')


def test_soft_lock_of_a_dead_process_does_not_block_a_resume(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    with MetricsLog(tmp_path):
        (lock,) = set(tmp_path.iterdir()) - {tmp_path / METRICS}
        text = lock.read_text()
    assert str(os.getpid()) in text
    dead = 2**22 - 3  # larger than all process numbers by default
    lock.write_text(text.replace(str(os.getpid()), str(dead)))
    with MetricsLog(tmp_path) as log:
        log.write({"batch": 1})
