"""A web server on this machine that replaces the servers of data and weights; a small CIFAR-10."""

from __future__ import annotations

import functools
import hashlib
import pickle
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssr_hydra.data import vision as module


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of a folder. Yield the address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def images_of(count: int, *shape: int) -> Any:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


@contextmanager
def small_cifar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve an archive in the format of CIFAR-10 with 10 images per batch, and let torchvision expect its hashes."""
    datasets = pytest.importorskip("torchvision.datasets")
    inner = folder / "cifar-10-batches-py"
    inner.mkdir(parents=True)
    hashes = {}
    for number, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        data = {
            "data": images_of(10 + (name == "test_batch"), 3072)[:10],
            "labels": [(k + number) % 10 for k in range(10)],
        }
        (inner / name).write_bytes(pickle.dumps(data))
    (inner / "batches.meta").write_bytes(pickle.dumps({"label_names": [str(k) for k in range(10)]}))
    hashes = {file.name: md5(file.read_bytes()) for file in inner.iterdir()}
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(inner, inner.name)
    cls = datasets.CIFAR10
    monkeypatch.setattr(cls, "tgz_md5", md5((folder / "cifar-10-python.tar.gz").read_bytes()))
    monkeypatch.setattr(cls, "train_list", [[f"data_batch_{k}", hashes[f"data_batch_{k}"]] for k in range(1, 6)])
    monkeypatch.setattr(cls, "test_list", [["test_batch", hashes["test_batch"]]])
    monkeypatch.setattr(cls, "meta", cls.meta | {"md5": hashes["batches.meta"]})
    image_set = module.IMAGE_SETS["cifar10"]
    monkeypatch.setitem(module.IMAGE_SETS, "cifar10", image_set._replace(samples={"train": 50, "eval": 10}))
    with served(folder) as address:
        monkeypatch.setattr(cls, "url", f"{address}/cifar-10-python.tar.gz")
        yield
