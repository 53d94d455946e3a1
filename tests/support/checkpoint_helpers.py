"""Small checkpoints, which a test can damage a thousand times per second, and a simulated full disk."""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ssr_hydra.checkpoints import Checkpoint, CheckpointStore, load_latest_good

DESCRIPTION = {"run": {"ssr": 0.5, "max_duration": "10ep"}, "optimizers": [{"class": "SGD", "lr": 0.1}]}


def make_state(batch: int, numbers: int = 8) -> dict[str, Any]:
    """Return a state whose values all depend on the batch, so that a test detects a mixture of two states."""
    return {
        "model": {"weight": torch.full((numbers,), float(batch)), "steps": torch.tensor(batch)},
        "rng": {"python": [3, tuple(range(batch, batch + 5)), None], "torch": torch.get_rng_state()[:16]},
        "name": "été",
        "lr": 0.1,
        "on": True,
    }


def save(store: CheckpointStore, batch: int, metric: float | None = None, numbers: int = 8) -> Path:
    return store.save(
        make_state(batch, numbers), timestamp={"batch": batch, "epoch": 1}, description=DESCRIPTION, metric=metric
    )


def saved(folder: Path, *batches: int, **options: Any) -> CheckpointStore:
    """Return a store to which these batches were saved, in this order."""
    store = CheckpointStore(folder, **options)
    for batch in batches:
        save(store, batch)
    return store


def newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Return the newest good checkpoint of a folder, and the messages about the refused ones."""
    latest = load_latest_good(folder)
    assert latest is not None, list(folder.iterdir())
    return latest


def is_of(state: dict[str, Any], batch: int) -> bool:
    weight = state["model"]["weight"]
    return (
        bool((weight == float(batch)).all())
        and state["model"]["steps"].item() == batch
        and state["rng"]["python"][1] == tuple(range(batch, batch + 5))
    )


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """In the ``with`` block, a write beyond ``size`` bytes of a file fails, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # Python could write a partial bytecode file
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        yield
    finally:
        sys.dont_write_bytecode = bytecode
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def kill(scenario: str, folder: Path, *count: int) -> dict[str, int]:
    """Run a scenario of checkpoint_killer.py, which checks the files after the kills."""
    from checkout import SUPPORT
    from warm import warm

    arguments = (scenario, str(folder), *map(str, count))
    process = warm.run(str(SUPPORT / "checkpoint_killer.py"), *arguments, cwd=folder, timeout=1200)
    assert process.returncode == 0, process.stderr
    counts: dict[str, int] = json.loads(process.stdout)
    return counts
