"""The workers of a loader while signals ask their run to stop."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from ssr_hydra.trainer.interrupts import STOP_SIGNALS, StopRequest

__all__ = ["shielded"]


class _Shield:
    """A ``worker_init_fn`` that has a worker pass over signals to stop, until training is over.

    A time limit, a scheduler that preempts a job and ctrl-C reach every process of a job. A worker that ended by them
    would fail the very step that is to be finished before the checkpoint.

    Args:
        init: The loader's own ``worker_init_fn``, or None.
        over: Shared with the workers: 1 when training is over, and a signal ends them.
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
            # As torch's own handler of SIGTERM, which this one replaces: if the signal killed the worker, torch would
            # raise an error in the main process, where multiprocessing ends the workers at its exit.
            os._exit(0)


@contextmanager
def shielded(*loaders: Any) -> Iterator[None]:
    """Within it, the workers that loaders start outlive signals to stop; afterwards they end by them.

    Args:
        loaders: Those of torch that have workers are meant; of others nothing is known.
    """
    meant = [loader for loader in loaders if isinstance(loader, DataLoader) and loader.num_workers > 0]
    if not meant:
        yield
        return
    over = multiprocessing.RawValue("b", 0)
    before = [loader.worker_init_fn for loader in meant]
    for loader, init in zip(meant, before, strict=True):
        loader.worker_init_fn = _Shield(init, over)
    # Until its init is called, a forked worker has the handlers of this process.
    outlive = functools.partial(_goes_on, over)
    StopRequest.children_outlive.append(outlive)
    try:
        yield
    finally:
        over.value = 1
        StopRequest.children_outlive.remove(outlive)
        for loader, init in zip(meant, before, strict=True):
            loader.worker_init_fn = init


def _goes_on(over: Any) -> bool:
    return not over.value
