"""Records of several processes, and of a killed process."""

import json
import os
import signal
import sys
import time
from subprocess import PIPE

import pytest
import torch
from torch import nn
from warm import warm

from ssr_hydra.data import TensorLoader
from ssr_hydra.errors import InputError
from ssr_hydra.metrics_log import MetricsLog
from ssr_hydra.trainer import Trainer


def records(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_second_run_in_the_folder_is_refused_while_the_first_is_running(tmp_path):
    code = f"""
import pathlib, sys
from ssr_hydra.metrics_log import MetricsLog
log = MetricsLog(pathlib.Path({str(tmp_path)!r})); log.write({{"mine": 1}})
print("ready", flush=True); sys.stdin.read()
"""
    with warm.start("-c", code, cwd=tmp_path, stdin=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(InputError, match="another run is writing"):
            MetricsLog(tmp_path)
        assert records(tmp_path) == [{"mine": 1}]
        other.kill()
        other.wait()
    MetricsLog(tmp_path).close()  # the kernel has released the lock


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_run_leaves_complete_lines_and_no_result(tmp_path):
    code = f"""
from ssr_hydra.data import Digits, make_loaders
from ssr_hydra.models import MLP
from ssr_hydra.trainer import Trainer
train, _ = make_loaders(Digits("train"))
options = dict(device="cpu", progress="none", log_interval="1ba")
Trainer(MLP(), train, max_duration="1h", run_dir={str(tmp_path)!r}, **options).fit()
"""
    with warm.start("-c", code, cwd=tmp_path) as process:
        log = tmp_path / "metrics.jsonl"
        while not (log.exists() and log.stat().st_size > 20_000):
            assert process.poll() is None
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    content = log.read_text()
    for line in content[: content.rindex("\n")].splitlines():
        json.loads(line)
    assert not (tmp_path / "result.json").exists()
    model, data = nn.Linear(4, 3), TensorLoader([torch.randn(12, 4), torch.arange(12) % 3], 2)
    options = {"run_dir": tmp_path, "device": "cpu", "progress": "none"}
    Trainer(model, data, max_duration="1ep", **options).fit()  # a run in the same folder starts again
    assert [record["event"] for record in records(tmp_path)] == ["train"]
