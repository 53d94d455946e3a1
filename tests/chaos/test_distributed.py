"""Training in several processes that are killed many times, restarted by torchrun, or compiled."""

import re

import distributed_ends as ends
import distributed_models as models
import pytest
import torch
from checkout import REPO
from warm import warm

from ssr_hydra.trainer import RunResult

# --standalone lets torchrun choose a free port. torchrun checks its processes each second.
TORCHRUN = "-m torch.distributed.run --standalone --nproc-per-node=2 --monitor-interval=1".split()


@pytest.mark.parametrize(("parallel", "kills"), [("ddp", 10), ("fsdp", 4)])
def test_run_whose_processes_are_killed_has_a_bitwise_equal_result(pairs, tmp_path, parallel, kills):
    ends.check_kills(pairs, tmp_path, parallel, kills)


def test_torchrun_restarts_killed_processes(pairs, tmp_path):
    arguments = [
        str(REPO / "train.py"),
        "trainer.progress=plain",
        "trainer.device=cpu",
        "trainer.threads=1",
        "ssr=0.2",
        "checkpoint.interval=5ba",
        "trainer.log_interval=1ba",
    ]
    runs = [tmp_path / "whole", tmp_path / "run"]
    pairs.run(ends.app, arguments=[*arguments[1:], f"hydra.run.dir={runs[0]}"])
    killer = ["+callbacks.killer._target_=distributed_ends.KillOnce", "trust=[distributed_ends]"]
    again = warm.run(
        *TORCHRUN, "--max-restarts=1", *arguments, *killer, f"hydra.run.dir={runs[1]}", cwd=tmp_path,
        env={"KILLED": str(tmp_path / "killed")},
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "killed").exists()
    # Either rank 0 notices the dead process, or torchrun notices it first and sends SIGTERM to rank 0.
    assert re.search("LostProcessError: another process|terminated by SIGTERM", (runs[1] / "train.log").read_text())
    assert "resumed from " in again.stdout
    assert "Traceback" not in again.stderr
    assert RunResult.load(runs[1]).resumes == 1
    one, two = (ends.state_of(run) for run in runs)
    assert one[0] == two[0]
    assert one[2] == two[2]
    assert all(torch.equal(a, b) for a, b in zip(one[1], two[1], strict=True))


def test_compiled_model_trains_like_an_uncompiled_model(pairs):
    runs = [pairs.run(models.compiled, compile=on).values[0] for on in (False, True)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-4)
