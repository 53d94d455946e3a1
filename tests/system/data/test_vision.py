"""Processes that download the same data set simultaneously."""

import multiprocessing
import sys

import pytest
from local_server import small_cifar

from ssr_hydra.data import SmallImages


def _load(root, results, all_run):
    all_run.wait(300)
    results.put(SmallImages("cifar10", root=root).describe()["sha256"])


@pytest.mark.skipif(sys.platform == "win32", reason="the processes inherit the server's address by fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_processes_that_download_simultaneously_get_the_same_data(tmp_path, monkeypatch):
    root = tmp_path / "root"
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    all_run = context.Barrier(3)  # the server forks no process while one of its threads answers a request
    processes = [context.Process(target=_load, args=(str(root), results, all_run)) for _ in range(3)]
    with small_cifar(tmp_path / "served", monkeypatch):
        for process in processes:
            process.start()
        contents = {results.get(timeout=300) for _ in processes}
        for process in processes:
            process.join(300)
    assert len(contents) == 1
    assert sorted(path.name for path in root.iterdir()) == [".lock", "cifar-10-batches-py"]
