"""Log a job of the app, handle SIGTERM, and record errors that occur before training.

This module does not import torch, because a job may fail while importing torch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.check import plain
from ssr_hydra.errors import ConflictError, InputError, RunError, UserCodeError
from ssr_hydra.files import WriteError
from ssr_hydra.records import RESULT, RunResult, config_hash
from ssr_hydra.sweeps.heartbeat import HEARTBEAT, SILENT_SECONDS, Heartbeat, count_living, is_alive, is_elsewhere
from ssr_hydra.sweeps.pending import Pending
from ssr_hydra.trainer.interrupts import reason, status_of, terminable
from ssr_hydra.versions import versions

if TYPE_CHECKING:
    from ssr_hydra.trainer import Trainer


def hydra_run_dir() -> str | None:
    """Return the output folder of Hydra's job; None if Hydra runs no job."""
    cfg: Any = HydraConfig.instance().cfg
    folder = None if cfg is None else OmegaConf.select(cfg, "hydra.runtime.output_dir")  # None until a job runs
    return None if folder is None else str(folder)


class RecordedJob(NamedTuple):
    """A job of the app: its description and its heartbeat."""

    pending: Pending  # the job's description, which is published when training starts
    heartbeat: Heartbeat | None  # None outside of a sweep

    def follow(self, trainer: Trainer) -> None:
        """When training starts, publish the job's description. From then on, report progress in the heartbeat."""
        trainer.on("fit_start", self.pending.publish)
        if self.heartbeat is not None:
            heartbeat = self.heartbeat
            trainer.on("fit_start", lambda _: heartbeat.begin())
            heartbeat.frac_done = lambda: trainer.frac_done
            trainer.jobs_beside = heartbeat.jobs_beside


@contextmanager
def recorded(cfg: DictConfig | Mapping[str, Any], run_dir: str | Path | None) -> Iterator[RecordedJob]:
    """Write a ``result.json`` in ``run_dir`` if the job fails in this block before its training starts.

    The trainer records errors that occur during training. Invalid input is recorded only in a sweep, because the other
    jobs of the sweep continue. If Hydra runs the job, SIGTERM has the same effect as ctrl-C.

    Until training starts, :class:`~ssr_hydra.sweeps.pending.Pending` protects an earlier run in the same folder.
    """
    with _alive(run_dir) as heartbeat, _recorded(cfg, run_dir) as pending:
        yield RecordedJob(pending, heartbeat)


@contextmanager
def _alive(run_dir: str | Path | None) -> Iterator[Heartbeat | None]:
    """In the ``with`` block, keep a heartbeat file in the folder of a sweep's job."""
    study = sweep_dir()
    if run_dir is None or study is None:
        yield None
        return
    path = Path(run_dir) / HEARTBEAT
    # This process may replace a process that died on a different machine. Wait until the old heartbeat has expired.
    until = time.monotonic() + SILENT_SECONDS
    while is_elsewhere(path) and is_alive(path) and time.monotonic() < until:
        time.sleep(1)
    if is_alive(path):
        rule = "is in use by another process, which runs this job"
        raise ConflictError("run_dir", str(run_dir), rule, "wait until that process ends, or stop it")
    depth = max(1, len(path.parent.absolute().parts) - len(study.parts))
    with Heartbeat(path, lambda: count_living(study, depth, path)) as heartbeat:
        yield heartbeat


@contextmanager
def _recorded(cfg: DictConfig | Mapping[str, Any], run_dir: str | Path | None) -> Iterator[Pending]:
    in_app = hydra_run_dir() is not None
    hydra: Any = HydraConfig.instance().cfg
    pending = Pending(hydra_run_dir(), cfg, hydra)
    with terminable() if in_app else nullcontext():
        overrides = "" if hydra is None else " ".join(hydra.hydra.overrides.task)
        log(logging.INFO, f"started: {overrides or 'no overrides'}")
        try:
            yield pending
        except BaseException as error:
            if isinstance(error, InputError) and pending.waits:
                pending.drop()
                raise
            is_known = isinstance(error, (InputError, RunError)) or not isinstance(error, Exception)
            is_known = is_known and not isinstance(error, UserCodeError)  # log the traceback of an error in custom code
            log(logging.ERROR, f"{status_of(error)}: {reason(error)}", None if is_known else error)
            if run_dir is not None and _leaves_record(error):
                # Report the first error, even if the disk is too full to write the record.
                with suppress(OSError):
                    _record(cfg, Path(run_dir), error)
            pending.drop(failed=True)
            raise
        if pending.waits:
            pending.drop()
            log(logging.INFO, "nothing to train")


def _leaves_record(error: BaseException) -> bool:
    if isinstance(error, InputError):
        return sweep_dir() is not None and error.field != "run_dir"
    # A WriteError occurs after training, so a record with 0 steps would be false.
    return not isinstance(error, WriteError)


def log(level: int, text: str, error: BaseException | None = None) -> None:
    """Write to the log files, such as ``train.log``, but not to the terminal."""
    trace = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("ssr_hydra", level, __file__, 0, text, None, trace)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and level >= handler.level:
            handler.handle(record)
            if error is not None:
                error._log = Path(handler.baseFilename).name  # type: ignore[attr-defined]


def sweep_dir() -> Path | None:
    """Return the absolute folder of the sweep that runs this job; None outside of a sweep."""
    cfg: Any = HydraConfig.instance().cfg
    if cfg is None or cfg.hydra.mode != RunMode.MULTIRUN:
        return None
    return Path(str(cfg.hydra.runtime.cwd)) / str(cfg.hydra.sweep.dir)


def _record(cfg: DictConfig | Mapping[str, Any], folder: Path, error: BaseException) -> None:
    """Write a record of a job that has not trained, unless its folder already has a record."""
    if (folder / RESULT).exists():
        return
    try:
        values = plain(cfg)
        hashed = config_hash(values)
    except InputError:
        values, hashed = {}, None
    folder.mkdir(parents=True, exist_ok=True)
    RunResult(
        status=status_of(error),
        error=reason(error),
        name=values.get("name"),
        ssr=values.get("ssr", 1.0),
        max_duration=str(values.get("max_duration", "")),
        seed=values.get("seed"),
        steps=0,
        samples=0,
        tokens=0,
        train_seconds=0.0,
        total_seconds=0.0,
        config_hash=hashed,
        versions=versions(),
    ).save(folder)
