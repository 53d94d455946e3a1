"""The workers of a loader while signals ask the run to stop."""

import os
import signal
import sys

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ssr_hydra.trainer.interrupts import StopRequest, terminable
from ssr_hydra.trainer.workers import shielded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no signals to a process of Windows")


class Pids(Dataset[Tensor]):
    """Return the id of the process that reads a sample."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.tensor(os.getpid())


def mark(worker):
    torch.manual_seed(worker)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_keep_reading_after_a_signal_and_end_with_training(number):
    loader = DataLoader(Pids(), 1, num_workers=2, worker_init_fn=mark, prefetch_factor=2, persistent_workers=True)
    with shielded(loader, None, [1, 2]):
        assert loader.worker_init_fn is not mark
        batches = iter(loader)
        workers = {int(next(batches)), int(next(batches))}
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker, number)
        assert {int(batch) for batch in batches} == workers  # no worker has ended
    assert loader.worker_init_fn is mark
    children = list(loader._iterator._workers)
    loader._iterator._shutdown_workers()
    for child in children:  # torch waits for workers, but only for some seconds
        child.join(120)
    assert all(not child.is_alive() for child in children)


def test_signal_after_training_ends_a_worker_with_exit_code_0():
    """multiprocessing ends workers by SIGTERM when the main process exits, and torch raises if a signal killed one."""
    loader = DataLoader(Pids(), 1, num_workers=1, persistent_workers=True)
    with shielded(loader):
        batches = iter(loader)
        (worker,) = {int(batch) for batch in batches}
    child = loader._iterator._workers[0]
    os.kill(worker, signal.SIGTERM)
    child.join(120)
    assert child.exitcode == 0


def test_loaders_without_workers_are_not_changed():
    loader = DataLoader(Pids(), 1)
    with shielded(loader, None):
        assert loader.worker_init_fn is None


def test_newly_forked_worker_survives_a_signal():
    # Before its init function runs, a worker has the handlers of this process.
    loader = DataLoader(Pids(), 1, num_workers=1)
    with StopRequest() as stop:
        with shielded(loader):
            assert ends(signal.SIGTERM) == 0
        assert ends(signal.SIGTERM) == -signal.SIGTERM
        assert stop.number == 0


def test_process_forked_by_a_job_dies_by_sigterm():
    with terminable():
        assert ends(signal.SIGTERM) == -signal.SIGTERM


def ends(number):
    """Return how a forked process ends after an immediate signal; 0 if the process ignores it."""
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), number)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
