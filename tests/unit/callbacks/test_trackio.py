"""Real runs of the real package, on this machine."""

import math

import pytest
from callback_helpers import log_records, train
from refusals import refused

from ssr_hydra.callbacks import TrackioLogger

pytestmark = pytest.mark.extra("trackio")


@pytest.fixture(autouse=True)
def project(monkeypatch, tmp_path):
    # tests/conftest.py sets TRACKIO_DIR: one store for all tests, so each test has its own project.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return f"été {tmp_path.name}"


def write(folder, project, *records, **options):
    log_records(TrackioLogger(project), folder, *records, **options)


def stored(project):
    """Return the name, the config and the records of each run, in the order of their start."""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs = sorted(trackio.Api().runs(project), key=lambda run: str((run.config or {})["_Created"]))
    return [(run.name, run.config or {}, SQLiteStorage.get_logs(project, run.name)) for run in runs]


def test_resume_continues_the_trackio_run_and_a_new_start_creates_a_new_run(tmp_path, project, capfd):
    config = {"ssr": 0.5, "data": {"eval": None}}
    evaluation = {"event": "eval", "batch": 20, "eval/accuracy": 0.5, "eval/loss": math.nan, "eval/top": math.inf}
    write(tmp_path, project, train(10), train(20, lrs=[0.5, 0.25]), evaluation, config=config)
    ((name, logged_config, records),) = stored(project)
    assert name.startswith("été <b>-")
    assert (logged_config["ssr"], logged_config["data"]) == (0.5, {"eval": None})
    assert [record["step"] for record in records] == [10, 20, 20]
    clocks = {"epoch": 1, "batch": 10, "sample": 160, "token": 0, "train_seconds": 1.25}
    assert {**clocks, "train/loss": 0.1, "lr": 0.1}.items() <= records[0].items()
    assert records[1]["lr/1"] == 0.25
    assert math.isnan(records[2]["eval/loss"])
    assert records[2]["eval/top"] == math.inf

    write(tmp_path, project, train(20), evaluation, train(30), batch=10, config=config)
    ((again, _, records),) = stored(project)
    assert again == name
    assert [record["step"] for record in records] == [10, 20, 20, 30]

    write(tmp_path, project, train(10), config=config)
    _, (new, logged_config, records) = stored(project)
    assert new != name
    assert logged_config["resumed_from"] == name
    assert [record["step"] for record in records] == [10]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("project", [" ", 3])
def test_invalid_project_is_refused(project):
    with refused("project"):
        TrackioLogger(project)
