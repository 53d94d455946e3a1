"""Functions that end processes of a run, and check the messages. process_pairs.py calls them."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import torch
from distributed_cases import Seen, Slow, StopAt, digits, rank_of, rates, ticking
from torch import Tensor

from ssr_hydra.checkpoints import load_latest_good
from ssr_hydra.trainer.interrupts import TerminatedError
from ssr_hydra.trainer.processes import LostProcessError, Processes


class KillAfter:
    """Kills this process some milliseconds after a given number of batches, at any point."""

    def __init__(self, batches: int, seconds: float) -> None:
        self._left, self._seconds = batches, seconds

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        self._left -= 1
        if self._left == 0:
            kill = threading.Timer(self._seconds, os.kill, (os.getpid(), signal.SIGKILL))
            kill.daemon = True
            kill.start()


class KillOnce:
    """Kills rank 1 at the end of batch 40, unless the file that ``KILLED`` names exists."""

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        killed = Path(os.environ["KILLED"])
        if rank_of()[0] == 1 and trainer.state.timestamp.batch == 40 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def killable(folder: Path, parallel: str, length: int, kill: tuple[int, int, float] | None = None) -> Any:
    """Resume a run at its last checkpoint, and kill one of its processes."""
    callbacks = [KillAfter(*kill[1:])] if kill is not None and kill[0] == rank_of()[0] else []
    options: dict[str, Any] = {"checkpoint": {"interval": "2ba"}, "callbacks": callbacks}
    trainer = digits(folder, f"{length}ba", parallel, dropout=True, **options)
    trainer.fit()
    state = trainer.state.timestamp.state_dict()
    return state["batch"], trainer.state.optimizers[0].param_groups[0]["lr"]


def state_of(folder: Path) -> tuple[Any, list[Any], list[Any]]:
    latest = load_latest_good(folder / "checkpoints")
    assert latest is not None
    state = latest[0].state
    counters = {key: value for key, value in state["timestamp"].items() if "nanoseconds" not in key}
    tensors = [*state["model"].values()]
    for optimizer in state["optimizers"]:
        tensors += [value for items in optimizer["state"].values() for value in items.values()]
    randoms = [numbers["cpu"] for numbers in state["random"]]
    return counters, tensors + randoms, rates(folder)


def check_kills(pairs: Any, folder: Path, parallel: str, kills: int) -> None:
    """Kill the two processes in turn at random moments. Check that the result equals that of a run without kills."""
    length = 20 * (kills + 1)
    options: dict[str, Any] = {"parallel": parallel, "length": length}
    pairs.run(killable, folder=folder / "whole", **options)
    draw, batches = random.Random(0), []
    for number in range(kills):
        victim = number % 2
        kill = (victim, draw.randint(1, 18), draw.uniform(0.0, 0.02))
        ended = pairs.run(killable, folder=folder / "run", kill=kill, fails=True, **options)
        assert not ended.late  # the other process has also ended, without a timeout
        assert ended.codes[victim] == -signal.SIGKILL
        assert ended.codes[1 - victim] == 1
        assert "LostProcessError: another process of this run has ended" in ended.errs[1 - victim]
        latest = load_latest_good(folder / "run" / "checkpoints")
        batches.append(0 if latest is None else latest[0].timestamp["batch"])
    assert batches == sorted(batches)
    assert 0 < batches[-1] < length  # the run continued from checkpoints and had steps left
    pairs.run(killable, folder=folder / "run", **options)
    counters, tensors, rates = state_of(folder / "run")
    expected = state_of(folder / "whole")
    assert counters == expected[0]
    assert rates == expected[2]
    assert len(rates) == length
    assert len(tensors) == len(expected[1]) > 10
    assert all(torch.equal(one, two) for one, two in zip(tensors, expected[1], strict=True))


def lose_peer(folder: Path) -> Any:
    """Return the error of rank 0 after rank 1 is killed in its fifth batch."""
    rank, _ = rank_of()
    callbacks = [StopAt(5, signal.SIGKILL)] if rank == 1 else []
    trainer = digits(folder, callbacks=callbacks, checkpoint={"interval": "2ba"})
    try:
        trainer.fit()
    except LostProcessError as error:
        return str(error)
    return None


def ends(
    duration: str,
    stop_rank: int | None = None,
    number: int = signal.SIGTERM,
    folder: Path | None = None,
    ticks: int = 0,
) -> Any:
    rank, _ = rank_of()
    recorder = Seen()
    callbacks: list[Any] = [recorder] if ticks else [recorder, Slow(0.002 * (1 + rank))]
    if stop_rank == rank:
        callbacks.append(StopAt(5, number))
    trainer = digits(folder, duration=duration, callbacks=callbacks, warmup="0.1dur")
    if ticks:
        ticking(trainer, ticks * (1 + rank))
    message = ""
    try:
        trainer.fit()
    except (TerminatedError, KeyboardInterrupt) as error:
        message = f"{type(error).__name__}: {error}"
    when = trainer.state.timestamp.state_dict()
    return {"when": when, "lrs": recorder.lrs, "losses": recorder.losses, "times": recorder.times, "said": message}


def patient() -> None:
    """Remove the time limit for which failing processes wait for each other, so that a slow machine changes nothing."""
    from ssr_hydra.trainer import processes

    processes._HEAR_SECONDS = processes._LINGER_SECONDS = 200


def told(messages: list[str]) -> Any:
    rank, _ = rank_of()
    if messages[0] != "nothing":
        patient()
    processes = Processes.start()
    if rank == 0 and messages[0] == "nothing":
        processes.from_main(processes.sum([1])[0])
        time.sleep(1.5)
        return None
    processes.from_main(processes.sum([1])[0])
    return processes.fail(messages[rank], 1 if messages[0] == "nothing" else None)


def basics() -> Any:
    """Return the values that the processes exchange."""
    rank, _ = rank_of()
    processes, again = Processes.start(), Processes.start()
    mean = processes.mean(torch.tensor([1.0 + rank, 4.0]))
    values = {
        "sum": processes.sum([2**62 - rank, rank, -1]),
        "floats": processes.sum_floats([0.1, float(rank)]),
        "gather": processes.gather({"rank": rank}),
        "main": processes.from_main(f"I am {rank}"),
        "mean": mean.tolist(),
        "one group": processes._group is again._group,
        "is_main": processes.is_main,
    }
    processes.stop()
    return {**values, "stopped": not torch.distributed.is_initialized()}


def app(arguments: list[str], all_fail: bool = False) -> Any:
    """Run the app. If all processes fail, each process waits for the others."""
    from ssr_hydra.app.main import main

    if all_fail:
        patient()
    main(arguments)


def slow_app(arguments: list[str]) -> Any:
    """Run the app with rank 1 two seconds behind rank 0."""
    import time

    from ssr_hydra.app import main

    call_hydra = main._call_hydra

    def call_late(argv: Any) -> None:
        time.sleep(2 * rank_of()[0])
        call_hydra(argv)

    main._call_hydra = call_late
    patient()
    main.main(arguments)


def absent() -> Any:
    """End one of two processes before it connects to the other."""
    import datetime

    from ssr_hydra.trainer import processes

    rank, _ = rank_of()
    if rank == 1:
        os._exit(7)
    processes._START = datetime.timedelta(seconds=2)
    try:
        Processes.start()
    except LostProcessError as error:
        return str(error)
    return None


def lost(rank_that_ends: int) -> Any:
    """Return the error message of a process when the other process ends."""
    rank, _ = rank_of()
    processes = Processes.start()
    processes.sum([1])
    if rank == rank_that_ends:
        os._exit(7)
    try:
        processes.sum([1], "a batch")
    except LostProcessError as error:
        return str(error)
    return None
