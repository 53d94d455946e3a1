"""The bench runs. What it measures is for people to read: a test that times anything fails on somebody's machine."""

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import REPO

SCRIPTS = REPO / "scripts"


@pytest.mark.slow
def test_the_bench_prints_its_table() -> None:
    command = [sys.executable, str(SCRIPTS / "bench.py"), "schedulers", "--rounds", "2"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ScheduledLR.step" in result.stdout
    assert "torch LambdaLR" in result.stdout


@pytest.mark.slow
def test_the_startup_bench_prints_a_ratio_for_each_way_to_look() -> None:
    command = [sys.executable, str(SCRIPTS / "bench.py"), "startup", "--rounds", "1"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["--cfg job", "--help", "--shell-completion query=bash"]
    assert all(float(line.split()[-1]) > 0 for line in lines[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "row", "columns"),
    [
        (["features", "--rounds", "1"], "EMA of the weights", 2),
        (["throughput", "--rounds", "1", "--steps", "2", "--batch", "4"], "bf16 + channels_last", 3),
    ],
)
def test_a_bench_prints_its_rows(arguments: list[str], row: str, columns: int) -> None:
    command = [sys.executable, str(SCRIPTS / "bench.py"), *arguments]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (line,) = [line for line in lines if line.startswith(row)]
    assert all(float(number.replace(",", "")) > 0 for number in line.split()[-columns:])


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), ([], 2), (["trainer"], 2)])
def test_the_dispatcher_names_what_it_can_measure(
    arguments: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(SCRIPTS)
    import bench

    assert bench.main(arguments) == status
    assert "schedulers" in capsys.readouterr().out
