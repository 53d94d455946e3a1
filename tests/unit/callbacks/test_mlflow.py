"""A real store, in the folder of the run."""

import json
import math

import pytest
from callback_helpers import StubTrainer, log_records, result, train

from ssr_hydra.callbacks import Events, MLflowLogger
from ssr_hydra.errors import RunError

pytestmark = pytest.mark.extra("mlflow", "sqlalchemy")


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def write(folder, *records, status="completed", **options):
    log_records(MLflowLogger(experiment="été"), folder, *records, ends=result(status), **options)


def local(folder):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow/mlflow.db")


def runs(store):
    mlflow_runs = store.search_runs([store.get_experiment_by_name("été").experiment_id])
    return sorted(mlflow_runs, key=lambda run: run.info.start_time)


def history(store, run, name):
    return sorted((item.step, item.value) for item in store.get_metric_history(run.info.run_id, name))


def test_resume_continues_the_mlflow_run_and_a_new_start_creates_a_new_run(tmp_path, capfd, monkeypatch):
    # One store for all runs, because MLflow needs more than a second to create its tables.
    config = {"ssr": 0.5, "data": {"eval": None, "x": ["a"]}, "long": "x" * 7000, **{f"k{n}": n for n in range(120)}}
    config |= {"a*": 1, "a?": 2}  # MLflow accepts neither name, and both become a_
    evaluation = {"event": "eval", "batch": 20, "eval/a=b": 0.5, "eval/loss": math.nan}
    write(tmp_path, train(10, lrs=[0.5, 0.25]), train(20), evaluation, status="failed", config=config)
    assert capfd.readouterr().err == ""
    store = local(tmp_path)
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status, run.data.tags["error"]) == ("été <b>", "FAILED", "ValueError: x")
    assert history(store, run, "train/loss") == [(10, 0.1), (20, 0.05)]
    assert history(store, run, "lr/1") == [(10, 0.25)]
    assert history(store, run, "eval/a_b") == [(20, 0.5)]
    assert history(store, run, "sample") == [(10, 160), (20, 320)]
    assert math.isnan(history(store, run, "eval/loss")[0][1])
    params = run.data.params
    assert (params["ssr"], params["data.eval"], params["data.x_0_"], len(params["long"])) == ("0.5", "null", "a", 6000)
    assert (len(params), params["a_"]) == (125, "2")

    write(tmp_path, train(20), evaluation, train(30), batch=10, config=config)
    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert history(store, run, "train/loss") == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert history(store, run, "eval/a_b") == [(20, 0.5)]

    write(tmp_path, train(10))
    old, new = runs(store)
    assert new.data.tags["resumed_from"] == old.info.run_id == run.info.run_id
    assert history(store, new, "train/loss") == [(10, 0.1)]

    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    write(tmp_path / "other", train(10))
    assert len(runs(store)) == 3
    assert not (tmp_path / "other/mlflow").exists()
    assert json.loads((tmp_path / "other/mlflow.json").read_text())["place"] == f"{uri} été"


def test_unusable_store_gives_a_one_line_error(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    events = Events(loggers={"mlflow": MLflowLogger()})
    with pytest.raises(RunError, match="^logger mlflow failed at fit_start: .*nonsense"):
        events.fire("fit_start", StubTrainer(tmp_path))
    events.close()
