"""Logger for MLflow, which uses MLflow's client."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ssr_hydra.callbacks.sent import Sent, ServiceLogger
from ssr_hydra.callbacks.values import flat, require_extra, run_folder
from ssr_hydra.records import RunResult

_LONGEST_PARAM = 6000
_PARAMS_AT_ONCE = 100


@dataclass(eq=False)
class MLflowLogger(ServiceLogger):
    """Log to MLflow.

    The logger sends records to the server in ``MLFLOW_TRACKING_URI``. Without this variable, the logger writes
    to ``mlflow/mlflow.db`` in the run's folder. Only the environment can set the server; a config cannot.

    Every number of a record, and the counters ``epoch``, ``sample``, ``token`` and ``train_seconds``, are metrics. The
    step of a metric is the number of batches. The values of the config are MLflow params.

    MLflow cannot delete records. So ``mlflow.json`` in the run's folder stores the id of the MLflow run and the batch
    number of the last sent record. A resumed run uses this file to send no record twice. The logger starts a new MLflow
    run in two cases: training restarts from the beginning, or the run resumes with a changed config and MLflow already
    has records of batches after the checkpoint. The tag ``resumed_from`` of the new MLflow run names the old MLflow
    run.

    Args:
        experiment: The MLflow experiment of the run; created if missing.

    Raises:
        InputError: The package ``mlflow`` is not installed.

    Example:
        >>> from ssr_hydra.callbacks import Events
        >>> events = Events(loggers={"mlflow": MLflowLogger(experiment="digits")})
    """

    experiment: str = "ssr_hydra"

    def __post_init__(self) -> None:
        require_extra("mlflow")
        self._client: Any = None
        self._status = "FAILED"  # MLflow's status of a run that ends without fit_end

    def fit_start(self, trainer: Any) -> None:
        """Start a new MLflow run. If training resumes, continue its earlier MLflow run if possible."""
        from mlflow.tracking import MlflowClient

        folder = run_folder(trainer, "mlflow")
        uri = os.environ.get("MLFLOW_TRACKING_URI") or ""
        place = uri or "local"
        if not uri:
            (folder / "mlflow").mkdir(exist_ok=True)
            uri = f"sqlite:///{(folder / 'mlflow' / 'mlflow.db').resolve().as_posix()}"
        sent = Sent(folder / "mlflow.json", f"{place} {self.experiment}", trainer.config)
        run_id = sent.resume(trainer.state.timestamp.batches)
        with _quiet():
            client = MlflowClient(tracking_uri=uri)
            if run_id is None:
                experiment = client.get_experiment_by_name(self.experiment)
                identity = client.create_experiment(self.experiment) if experiment is None else experiment.experiment_id
                run_id = client.create_run(identity, run_name=trainer.name).info.run_id
                _describe(client, run_id, trainer.config, sent.previous)
            else:
                client.update_run(run_id, status="RUNNING")
        sent.start(run_id)
        self._client, self._sent = client, sent

    def _send(self, values: dict[str, float], batch: int) -> None:
        from mlflow.entities import Metric

        assert self._sent is not None
        now = int(time.time() * 1000)
        metrics = [
            Metric(_allowed(name), float(value), now, batch) for name, value in values.items() if name != "batch"
        ]
        self._client.log_batch(self._sent.id, metrics=metrics)

    def fit_end(self, trainer: Any, result: RunResult) -> None:
        """Send the run's status and error to MLflow."""
        del trainer
        if self._client is not None and self._sent is not None:
            self._status = {"completed": "FINISHED", "stopped": "KILLED"}.get(result.status, "FAILED")
            self._client.set_tag(self._sent.id, "status", result.status)
            if result.error is not None:
                self._client.set_tag(self._sent.id, "error", result.error)

    def close(self) -> None:
        """End the MLflow run."""
        if self._client is not None and self._sent is not None:
            client, self._client = self._client, None
            client.set_terminated(self._sent.id, status=self._status)


def _describe(client: Any, run: str, config: Mapping[str, Any] | None, previous: str | None) -> None:
    from mlflow.entities import Param

    # Two keys can have the same allowed name, but MLflow refuses a name twice.
    values = {_allowed(name): str(value)[:_LONGEST_PARAM] for name, value in flat(config).items()}
    params = [Param(name, value) for name, value in values.items()]
    for start in range(0, len(params), _PARAMS_AT_ONCE):
        client.log_batch(run, params=params[start : start + _PARAMS_AT_ONCE])
    if previous is not None:
        client.set_tag(run, "resumed_from", previous)


def _allowed(name: str) -> str:
    """Replace each character that MLflow does not accept in a name."""
    return "".join(sign if sign.isalnum() or sign in "_-./ " else "_" for sign in name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress MLflow's messages about the tables of a new database."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
