"""Kill processes that save checkpoints, and check the checkpoints that remain. checkpoint_helpers.kill runs this file.

    python checkpoint_killer.py steps|chains|writers FOLDER [COUNT]

The program has one thread, because it forks a process for every kill. A new process for every kill would import torch
each time.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from checkpoint_helpers import is_of, newest, save

from ssr_hydra.checkpoints import CheckpointStore, load, load_latest_good

_FILE_EVENTS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir")


def fork(work: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        try:
            work()
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            os._exit(3)
        os._exit(0)
    return process


def status_of(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def die_at(step: int, folder: Path) -> None:
    """Kill this process right before the step-th operation on files in this folder."""
    steps, fsync = itertools.count(), os.fsync

    def count(*_: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FILE_EVENTS and str(folder) in str(arguments[0]):
            count()

    def counted_fsync(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(hook)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def check(folder: Path, allowed: tuple[int, ...], best: int) -> int:
    """Check that the newest checkpoint is complete and allowed, none is refused, and the best one exists."""
    checkpoint, refused = newest(folder)
    assert not refused, refused
    batch = checkpoint.timestamp["batch"]
    assert batch in allowed, (batch, allowed, names(folder))
    assert is_of(checkpoint.state, batch)
    best_path = CheckpointStore(folder, best_mode="max").best()
    assert best_path is not None
    assert load(best_path).timestamp["batch"] == best, (best_path, best)
    return batch


def steps(folder: Path) -> dict[str, int]:
    """Kill a save before its first operation, a save before its second, and so on. Then save once without a kill."""
    points = {}
    for name, batch in (("next", 40), ("same", 30), ("earlier", 15)):
        for step in itertools.count():
            here = folder / f"{name}{step}"
            store = CheckpointStore(here, best_mode="max")
            for before, metric in ((10, 0.9), (20, 0.5), (30, 0.6)):
                save(store, before, metric)
            assert names(here) == ["ba10", "ba20", "ba30"]

            def work(here: Path = here, store: CheckpointStore = store, step: int = step, batch: int = batch) -> None:
                die_at(step, here)
                save(store, batch, 0.7)

            status = status_of(fork(work))
            assert status in (0, -signal.SIGKILL), status
            check(here, (batch,) if status == 0 else (30, batch), 10)
            save(store, 50, 0.8)
            assert len(names(here)) == 3, names(here)  # the last two and the best: no partial checkpoint remains
            assert names(here)[0] == "ba10"
            check(here, (50,), 10)
            if status == 0:
                break
        points[name] = step
    return points


def chains(folder: Path, number: int, kills: int = 8) -> dict[str, int]:
    """Kill processes that save without a pause. Each process continues from the files of the previous process."""
    draw, between, total = random.Random(0), 0, 0
    for chain in range(number):
        here, last_batch = folder / str(chain), 0
        for _ in range(kills):
            receive, send = os.pipe()

            def work(here: Path = here, last_batch: int = last_batch, send: int = send) -> None:
                store = CheckpointStore(here, best_mode="max")
                for batch in itertools.count(last_batch + 1):
                    save(store, batch, 1.0 / batch)  # the first checkpoint stays the best
                    os.write(send, batch.to_bytes(4, "little"))

            process = fork(work)
            os.close(send)
            select.select([receive], [], [])  # the process is saving
            time.sleep(draw.uniform(0, 0.03))
            os.kill(process, signal.SIGKILL)
            assert status_of(process) == -signal.SIGKILL
            messages = b"".join(iter(lambda receive=receive: os.read(receive, 4096), b""))
            os.close(receive)
            acknowledged = int.from_bytes(messages[-4:], "little")
            # The checkpoint of the last completed save(), or the next one, if the kill came before save() returned.
            last_batch = check(here, (acknowledged, acknowledged + 1), 1)
            between += any(name.startswith(".") or "." in name for name in names(here))
            total += 1
    return {"kills": total, "in the middle of a save": between}


def writers(folder: Path, min_reads: int = 50) -> dict[str, int]:
    """Let two processes save into one folder, at least 30 times each, while this process reads the folder."""
    enough, write_end = os.pipe()

    def work(offset: int) -> None:
        os.close(write_end)
        store = CheckpointStore(folder)
        for batch in itertools.count(offset, 2):
            save(store, batch)
            # Longer than the interval at which the other process tries the lock. Otherwise that process might never
            # get the lock.
            time.sleep(0.03)
            if batch >= 60 and select.select([enough], [], [], 0)[0]:  # the parent closes the pipe after enough reads
                break

    running, reads = {fork(lambda: work(1)), fork(lambda: work(2))}, 0
    while running:
        for process in tuple(running):
            finished, status = os.waitpid(process, os.WNOHANG)
            if finished:
                assert os.waitstatus_to_exitcode(status) == 0, status
                running.remove(process)
        latest = load_latest_good(folder)
        if latest is not None:
            assert not latest[1], latest[1]
            assert is_of(latest[0].state, latest[0].timestamp["batch"])
            reads += 1
            if reads == min_reads:
                os.close(write_end)
    assert len(names(folder)) == 2, names(folder)
    return {"reads": reads}


if __name__ == "__main__":
    torch.set_num_threads(1)
    scenarios: dict[str, Callable[..., dict[str, int]]] = {"steps": steps, "chains": chains, "writers": writers}
    print(json.dumps(scenarios[sys.argv[1]](Path(sys.argv[2]), *map(int, sys.argv[3:]))))
