"""The bench runs, and the step stays as cheap as it is said to be."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench_schedulers

    return bench_schedulers


@pytest.mark.slow
@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("groups", [1, 50])
def test_a_step_is_near_the_floor_and_well_below_torch(bench: Any, groups: int, tensors: bool) -> None:
    makers = [bench.floor_of_tensors if tensors else bench.floor, bench.scheduled_lr, bench.compiled, bench.lambda_lr]
    times = bench.measure([(maker, "", "") for maker in makers], groups, rounds=15, tensors=tensors)
    floor, scheduled, compiled, torchs = (statistics.median(seen) for seen in times)
    # Measured: at most 1.8 times the floor and 0.31 of LambdaLR.
    assert scheduled < 2.5 * floor
    assert compiled < 2.5 * floor
    assert max(scheduled, compiled) < 0.5 * torchs


@pytest.mark.slow
def test_the_bench_prints_its_table() -> None:
    command = [sys.executable, str(SCRIPTS / "bench.py"), "schedulers", "--rounds", "2"]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert "ScheduledLR.step" in result.stdout
    assert "torch LambdaLR" in result.stdout


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2), (["trainer"], 2)])
def test_the_dispatcher_names_what_it_can_measure(
    arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench

    assert bench.main(arguments) == status
    assert "schedulers" in capsys.readouterr().out
