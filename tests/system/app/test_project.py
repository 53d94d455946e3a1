"""A new project works immediately: its test trains a model, and a sweep of its experiment completes."""

import json

from cli_helpers import command


def test_new_project_runs_a_sweep_and_passes_its_test(in_tmp):
    assert command("-m", "ssr_hydra", "--new", "new_lab", cwd=in_tmp).code == 0
    folder = in_tmp / "new_lab"
    swept = command("train.py", "-m", "experiment=waves", "max_duration=4ba", "ssr=0.5,1", "study=first", cwd=folder)
    assert swept.code == 0, swept.err
    records = [json.loads(path.read_text()) for path in (folder / "studies/first").glob("*/result.json")]
    assert sorted((each["name"], each["status"], each["steps"]) for each in records) == [
        ("waves", "completed", 2),  # 4 batches at ssr 0.5
        ("waves", "completed", 4),
    ]
    assert all(set(each["metrics"]) >= {"eval/accuracy", "eval/top2"} for each in records)

    (folder / "conf/model/wide.yaml").write_text("defaults: [net, _self_]\nwidth: 64\n")
    assert command("train.py", "--schema", ".schema", cwd=folder).code == 0
    assert '"wide"' in (folder / ".schema/experiment.json").read_text()

    tested = command("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert tested.code == 0, tested.out
    assert "2 passed" in tested.out
