"""The script of the documentation's study."""

import json

from checkout import REPO
from warm import warm


def test_the_script_trains_only_the_missing_runs(tmp_path):
    command = (str(REPO / "scripts/study.py"), "--quick", "--task", "digits", "--out", "s")
    first = warm.run(*command, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    records = {path: path.stat().st_mtime_ns for path in tmp_path.glob("s/digits/*/*/*/result.json")}
    assert len(records) == 2 * 2 * 2 + 2 * 2  # ssrs x seeds x warmups, and the truncated controls
    lost = sorted(records)[0]
    lost.unlink()
    second = warm.run(*command, cwd=tmp_path)
    assert second.returncode == 0, second.stderr
    now = {path: path.stat().st_mtime_ns for path in tmp_path.glob("s/digits/*/*/*/result.json")}
    assert now.keys() == records.keys()
    assert [path for path in now if now[path] != records[path]] == [lost]
    report = json.loads((tmp_path / "s/digits/report/report.json").read_text(encoding="utf-8"))
    assert {row["recipe"] for row in report["table"]} == {"multistep_warmup"}
    assert report["problems"] == []
