"""Settings that every test uses: one thread per process, no display, no settings of this machine."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from checkout import REPO, SUPPORT
from hypothesis import HealthCheck, settings
from process_pairs import Pairs

# Set these variables before torch is imported anywhere. On two cores, two pytest workers are slower with two threads
# each than with one. Results depend on the number of threads, so all tests and their subprocesses use the same number.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["MPLBACKEND"] = "Agg"
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPO), str(SUPPORT)])  # for all processes that tests start
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each process would compile the package again
os.environ["WANDB__SERVICE_WAIT"] = os.environ["WANDB_INIT_TIMEOUT"] = "600"  # seconds for W&B's process to start

# Trackio reads its folder once, when it is imported. By default the folder is in the user's home.
_trackio = tempfile.TemporaryDirectory(prefix="trackio-")
os.environ["TRACKIO_DIR"] = _trackio.name

# A slow machine is not a bug, so only dedicated tests assert times. .ci/run tests the properties again, on more
# examples, with --hypothesis-profile=thorough.
_ours = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("quick", _ours, max_examples=12)
settings.register_profile("thorough", _ours, max_examples=120)
settings.load_profile("quick")

# A shell makes a background job ignore ctrl-C, and Python then installs no handler.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# When logging is configured again, absl's handler closes the stream that was sys.stderr when absl was imported, unless
# that stream is Python's own stderr. In a test, the stream is a file of pytest, and a sweep would close it.
# optax imports absl.
with suppress(ImportError):
    from absl import logging as absl_logging

    absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

pytest_plugins = ["app_fixtures", "fake_clock", "report_fixtures"]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test if a package that it needs is not installed. The reason names the package."""
    for mark in item.iter_markers("extra"):
        for package in mark.args:
            pytest.importorskip(package)


def pytest_collection_finish() -> None:
    """Exclude the imported objects from garbage collection, because each visit takes time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Give most tests of a file to one worker, so that their fixtures are created once."""
    if getattr(config.option, "numprocesses", None) and config.option.dist == "no":
        config.option.dist = "worksteal"


@pytest.fixture(scope="session")
def repo() -> Path:
    """Return the root of the checkout."""
    return REPO


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test in an empty folder, so that what it writes stays out of the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clean_hydra() -> Iterator[None]:
    """Reset Hydra's global state to that of a new process, before and after the test."""
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Restore torch's number of threads, which a run sets."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Runs of several processes."""
    return Pairs(tmp_path_factory.mktemp("pairs"))
