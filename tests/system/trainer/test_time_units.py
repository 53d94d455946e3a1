"""A budget of seconds on the real clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import command

from ssr_hydra.records import RunResult

SMALL = ("model.width=4", "model.hidden=8", "trainer.progress=none", "trainer.log_interval=1ba", "hydra.run.dir=run")


def test_wall_clock_budget_with_a_warmup_works_in_a_new_process(in_tmp: Path) -> None:
    settings = ("max_duration=0.5s", "scheduler=linear_warmup", "scheduler.t_warmup=0.1s")
    found = command("-m", "ssr_hydra", "experiment=byte_lm", *settings, *SMALL, cwd=in_tmp)
    assert found.code == 0, found.err
    lines = [json.loads(line) for line in (in_tmp / "run/metrics.jsonl").read_text().splitlines()]
    result = RunResult.load(in_tmp / "run")
    stood = 0.0
    for record in lines:
        if record["event"] == "train":
            alpha = stood / 0.1 if stood < 0.1 else (0.5 - stood) / 0.4
            assert record["lr"] == pytest.approx(1e-2 * alpha, rel=1e-9, abs=1e-15)
        stood = record["train_seconds"]
    assert result.train_seconds == stood >= 0.5
    assert result.tokens == 128 * result.steps
