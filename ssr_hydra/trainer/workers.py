"""Keep the workers of a DataLoader alive when a signal asks the run to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from ssr_hydra.trainer.interrupts import STOP_SIGNALS, StopRequest


class _Shield:
    """A ``worker_init_fn`` that makes a worker ignore stop signals until training is over.

    Ctrl-C or a time limit sends a signal to every process. If workers ended, the run could not finish its last step.
    """

    def __init__(self, init: Callable[[int], object] | None, over: Any) -> None:
        self._init, self._over = init, over

    def __call__(self, worker: int) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._asked)
        if self._init is not None:
            self._init(worker)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self._over.value:
            # At the exit of the main process, multiprocessing sends SIGTERM to the workers. Exit with code 0, like
            # torch's own handler. If the signal killed a worker, torch would raise an error in the main process.
            os._exit(0)


@contextmanager
def shielded(*loaders: Any) -> Iterator[None]:
    """In the ``with`` block, the loaders' workers ignore stop signals. After the block, a stop signal ends them."""
    shielded_loaders = [loader for loader in loaders if isinstance(loader, DataLoader) and loader.num_workers > 0]
    if not shielded_loaders:
        yield
        return
    over = multiprocessing.RawValue("b", 0)
    before = [loader.worker_init_fn for loader in shielded_loaders]
    for loader, init in zip(shielded_loaders, before, strict=True):
        loader.worker_init_fn = _Shield(init, over)

    def outlive() -> bool:  # a forked worker has the signal handlers of this process until its worker_init_fn is called
        return not over.value

    StopRequest.children_outlive.append(outlive)
    try:
        yield
    finally:
        over.value = 1
        StopRequest.children_outlive.remove(outlive)
        for loader, init in zip(shielded_loaders, before, strict=True):
            loader.worker_init_fn = init
