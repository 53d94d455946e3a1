"""Ten thousand records: the page stays small, says what it leaves out, and the whole stays below a gigabyte."""

import json
import os
import re
import subprocess
import sys
import time

from report_study import accuracy, write_run

from ssr_hydra.report import build
from ssr_hydra.studies import from_csv

RECIPES, SSRS, SEEDS = 20, (0.25, 0.5, 1.0, 2.0, 4.0), 100


def test_study_of_ten_thousand_records_is_read_in_bounded_time(repo, tmp_path):
    # The test writes one run of each recipe and SSR. The other seeds are copies of it in which a few numbers differ.
    study = tmp_path / "large"
    for recipe in range(RECIPES):
        for ssr in SSRS:
            first = write_run(study / f"{recipe}-{ssr}-0", f"recipe_{recipe}", ssr, 0, 0.5)
            config = (first / ".hydra/config.yaml").read_text(encoding="utf-8")
            record = json.loads((first / "result.json").read_text(encoding="utf-8"))
            for seed in range(1, SEEDS):
                folder = study / f"{recipe}-{ssr}-{seed}"
                (folder / ".hydra").mkdir(parents=True)
                for name in ("hydra.yaml", "overrides.yaml"):
                    os.link(first / ".hydra" / name, folder / ".hydra" / name)
                (folder / ".hydra/config.yaml").write_text(
                    config.replace("seed: 0\n", f"seed: {seed}\n"), encoding="utf-8"
                )
                quality = accuracy(recipe, None, ssr, 1e-4 * ((seed * 37) % 101 - 50))
                record |= {"seed": seed, "metrics": {"eval/accuracy": quality}}
                record["evaluations"][-1]["metrics"] = record["metrics"]  # the record must not contradict itself
                (folder / "result.json").write_text(json.dumps(record), encoding="utf-8")
    code = f"""
import sys
sys.path.insert(0, {str(repo)!r})
from ssr_hydra.report import main
main([{str(study)!r}, "--out", {str(tmp_path / "report")!r}])
from pathlib import Path
print(Path("/proc/self/status").read_text() if sys.platform == "linux" else "", file=sys.stderr)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    for peak in re.findall(r"VmHWM:\s+(\d+) kB", process.stderr):
        assert int(peak) < 1_000_000
    report = json.loads((tmp_path / "report/report.json").read_text(encoding="utf-8"))
    assert (report["totals"]["runs"], report["totals"]["completed"], report["problems"]) == (10_000, 10_000, [])
    assert {row["n"] for row in report["table"]} == {SEEDS}
    page = (tmp_path / "report/report.html").read_text(encoding="utf-8")
    assert len(page) < 4e6
    assert "Only 3,000 of 10,000 runs are drawn as dots." in page
    assert "The metric during training: the mean over seeds" in page  # one curve for each recipe and SSR
    assert (tmp_path / "report/runs.csv").read_text(encoding="utf-8").count("\n") == 10_001


def _table(path, ratios, seeds, recipes):
    """A table of noisy rows. The curves of a third of its recipes cross."""
    with path.open("w", encoding="utf-8") as file:
        file.write("ssr,top1,seconds,method,seed\n")
        for recipe in range(recipes):
            for place in range(ratios):
                ssr = 0.01 * 1000 ** (place / ratios)
                for seed in range(seeds):
                    noise = 1e-3 * ((place * 37 + seed * 11 + recipe * 7) % 101 - 50)
                    file.write(f"{ssr:.9g},{accuracy(0, None, ssr, noise):.6f},{100 * ssr:.6g},m{recipe},{seed}\n")
    return path


def _seconds(path):
    """Return the CPU seconds that this process needs for a report. Other processes do not affect them."""
    before = time.process_time()
    build(from_csv(path, "ssr", "top1", "seconds", recipe="method", seed="seed"))
    return time.process_time() - before


def test_cost_of_a_report_is_linear_in_the_number_of_ssrs(tmp_path):
    small, large = (_seconds(_table(tmp_path / f"{count}.csv", count, 1, 3)) for count in (150, 1200))
    assert large < 24 * small  # 8 times as many SSRs; a quadratic cost would be 64 times as high


def test_table_of_a_million_rows_is_reported_in_bounded_time(repo, tmp_path):
    path = _table(tmp_path / "table.csv", 10, 10_000, 10)
    command = [sys.executable, "scripts/report.py", "--csv", str(path), "--ssr", "ssr", "--quality", "top1"]
    command += ["--seconds", "seconds", "--recipe", "method", "--seed", "seed", "--out", str(tmp_path / "report")]
    before = os.times()
    subprocess.run(command, check=True, capture_output=True, cwd=repo)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 60  # about 15 on a quiet machine
    with (tmp_path / "report/runs.csv").open("rb") as file:
        assert sum(1 for _ in file) == 1_000_001
