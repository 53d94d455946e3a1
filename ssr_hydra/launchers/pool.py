"""A job in a worker of joblib's pool: the worker ends when its sweep is gone, instead of waiting for more jobs."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

from ssr_hydra.launchers.child import stop_process

__all__ = ["PoolTask"]

_SECONDS = 1.0
_gone = threading.Event()
_watch: threading.Thread | None = None


@dataclass(frozen=True)
class PoolTask:
    """The task of a job, for workers that the sweep's process starts and that do not notice its death.

    If the sweep's process dies, the job stops with a checkpoint, and its worker ends, with the idle ones.

    Args:
        task: Runs the job.
        sweep: Process id of the sweep.
    """

    task: Any
    sweep: int

    def __call__(self, config: Any) -> Any:
        """Run the job."""
        global _watch
        if _watch is None and os.getpid() != self.sweep:
            _watch = threading.Thread(target=_end_with, args=(self.sweep,), name="sweep", daemon=True)
            _watch.start()
        try:
            return self.task(config)
        finally:
            if _gone.is_set():  # the pool would wait for more, or for somebody to take the result
                os._exit(128 + signal.SIGTERM)


def _end_with(sweep: int) -> None:
    """End this process and the other workers of the pool when the process that started them is gone."""
    workers: list[psutil.Process] = []
    while os.getppid() == sweep:
        with suppress(psutil.Error):
            workers = psutil.Process(sweep).children()
        time.sleep(_SECONDS)
    _gone.set()
    for worker in workers:
        with suppress(psutil.Error):  # it has ended
            if worker.pid != os.getpid():
                worker.terminate()
    stop_process()
