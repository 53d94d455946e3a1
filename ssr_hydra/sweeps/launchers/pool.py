"""Run a job in a worker process of joblib's pool. The worker ends when its sweep has ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from hydra.core.hydra_config import HydraConfig

from ssr_hydra.sweeps.launchers.child import OUTPUT, print_to, stop_process

__all__ = ["PoolTask"]

_SECONDS = 1.0
_gone = threading.Event()
_watch: threading.Thread | None = None


@dataclass(frozen=True)
class PoolTask:
    """A task function for joblib's workers, which by themselves do not notice that the sweep's process has died.

    If the sweep's process dies, the job writes a checkpoint and stops, and all workers end.

    Args:
        task: The task function that runs the job.
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
            with _printed() if os.getpid() != self.sweep else nullcontext():
                return self.task(config)
        finally:
            if _gone.is_set():  # end the worker, which would otherwise wait for more jobs
                os._exit(128 + signal.SIGTERM)


@contextmanager
def _printed() -> Iterator[None]:
    """In this block, the output of the job goes to a file in the job's folder."""
    path = Path(str(HydraConfig.get().runtime.output_dir)) / OUTPUT
    before = [os.dup(number) for number in (1, 2)]
    print_to(path)
    try:
        yield
    finally:
        for stream, number, own in zip((sys.stdout, sys.stderr), (1, 2), before, strict=True):
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
            os.dup2(own, number)
            os.close(own)
        with suppress(OSError):
            if not path.stat().st_size:
                path.unlink()


def _end_with(sweep: int) -> None:
    """Wait until the sweep's process has ended. Then end the other workers, and stop this process with a checkpoint."""
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
