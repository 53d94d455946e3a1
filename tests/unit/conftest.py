"""A unit test starts no process. Tests that start processes belong to tests/system."""

import multiprocessing.process
import multiprocessing.util
import platform
import sys
from pathlib import Path

import pytest

_STARTS = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"})
_HERE = Path(__file__).parent
_running = []  # the unit test that this process runs, if any


def _refuse(what):
    if _running:
        pytest.fail(f"{what} in a unit test; tests that start processes are in tests/system")


def _audit(event, arguments, starts=_STARTS):
    if event in starts:  # an argument, because Python deletes the variables of modules before it ends
        _refuse(f"{event}{arguments[:1] if arguments else ''}")


def _spawn(*arguments):
    _refuse("multiprocessing's spawn")  # it makes the same call as Popen, but without an audit event
    return _real_spawn(*arguments)


platform.processor()  # starts uname once in each process; MLflow needs it
sys.addaudithook(_audit)
_real_spawn, multiprocessing.util.spawnv_passfds = multiprocessing.util.spawnv_passfds, _spawn


def pytest_collection_modifyitems():
    """Import torch before the first test, because the import may start /sbin/ldconfig.

    The controller of xdist collects no tests, so it does not import torch.
    """
    import torch  # noqa: F401


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Refuse processes from the set-up of a test to its end, in fixtures of the session too."""
    if item.path.is_relative_to(_HERE):  # pytest calls this for tests of other folders as well
        _running.append(item.nodeid)
    try:
        return (yield)
    finally:
        _running.clear()


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    """Prevent tests from calling ``nvidia-smi``, which is a process, to find GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
