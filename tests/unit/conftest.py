"""A unit test starts no process. Tests that start processes belong to tests/system."""

from __future__ import annotations

import multiprocessing.process
import multiprocessing.util
import platform
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

_STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"})
_HERE = Path(__file__).parent
_running: list[str] = []  # the unit test that this process runs, if any


def _refuse(what: str) -> None:
    if _running:
        pytest.fail(f"{what} in a unit test; tests that start processes are in tests/system")


def _audit(event: str, arguments: tuple[Any, ...], starts: frozenset[str] = _STARTS) -> None:
    if event in starts:  # an argument, because Python deletes the variables of modules before it ends
        _refuse(f"{event}{arguments[:1] if arguments else ''}")


def _spawn(*arguments: Any) -> int:
    _refuse("multiprocessing's spawn")  # it makes the same call as Popen, but without an audit event
    return _real_spawn(*arguments)


platform.processor()  # starts uname once in each process; MLflow needs it
sys.addaudithook(_audit)
_real_spawn, multiprocessing.util.spawnv_passfds = multiprocessing.util.spawnv_passfds, _spawn


def pytest_collection_modifyitems() -> None:
    """Import torch before the first test, because the import may start /sbin/ldconfig.

    The controller of xdist collects no tests, so it does not import torch.
    """
    import torch  # noqa: F401


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Refuse processes from the set-up of a test to its end, in fixtures of the session too."""
    if item.path.is_relative_to(_HERE):  # pytest calls this for tests of other folders as well
        _running.append(item.nodeid)
    try:
        return (yield)
    finally:
        _running.clear()


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent tests from calling ``nvidia-smi``, which is a process, to find GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
