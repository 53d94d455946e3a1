"""Runs of several warm processes that connect to each other like the processes of torchrun.

``pairs.run("module:function", argument=1)`` calls the function in ``world`` processes. It returns the value, the exit
code and the output of each process.
"""

from __future__ import annotations

import importlib
import pickle
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warm import Process, warm


@dataclass
class Ended:
    """How the processes of a run have ended, by rank.

    A code below 0 is the signal that killed a process. ``late`` says that the processes were killed at the timeout.
    """

    codes: list[int]
    values: list[Any]
    outs: list[str]
    errs: list[str]
    seconds: float
    late: bool = False


class Pairs:
    """Starts runs in subfolders of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def run(
        self,
        function: str | Callable[..., Any],
        *,
        world: int = 2,
        signalled: tuple[int, int] | None = None,
        when: Callable[[], bool] = lambda: True,
        timeout: float = 300,
        fails: bool = False,
        env: dict[str, str] | None = None,
        **arguments: Any,
    ) -> Ended:
        """Call a function in ``world`` processes.

        Args:
            function: A function of a test helper, or ``module:name``.
            world: Number of processes.
            signalled: A rank, and the signal that this rank gets when ``when`` returns True.
            when: A function that returns whether to send the signal now.
            timeout: Seconds until all processes are killed, for a run that never ends.
            fails: Whether a process is expected to fail.
            env: Additional environment variables.
            arguments: The arguments of the function.
        """
        if not isinstance(function, str):
            function = f"{function.__module__}:{function.__name__}"
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        # Keep the port bound until all processes have ended, so that no other program gets this port. With
        # SO_REUSEADDR, rank 0 may still listen on it.
        with ExitStack() as stack:
            port = stack.enter_context(socket.socket())
            port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.bind(("127.0.0.1", 0))
            began = time.monotonic()
            processes = []
            for rank in range(world):
                place = {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port.getsockname()[1]),
                }  # fmt: skip
                outputs = [stack.enter_context((folder / f"{name}{rank}").open("w")) for name in ("out", "err")]
                call = ("-c", "import process_pairs; process_pairs.call()", function, str(folder), str(rank))
                settings = {"cwd": Path.cwd(), "env": {**(place if world > 1 else {}), **(env or {})}, "nested": False}
                processes.append(warm.start(*call, stdout=outputs[0], stderr=outputs[1], **settings))
            late = _watch(processes, began, signalled, when, timeout)
            ended = Ended([process.wait() for process in processes], [], [], [], time.monotonic() - began, late)
        for rank in range(world):
            value = folder / f"value{rank}"
            ended.values.append(pickle.loads(value.read_bytes()) if value.exists() else None)
            ended.outs.append((folder / f"out{rank}").read_text())
            ended.errs.append((folder / f"err{rank}").read_text())
        if not fails:
            assert ended.codes == [0] * world, f"{ended.codes}\n" + "\n".join([*ended.outs, *ended.errs])
        return ended


def _watch(
    processes: list[Process], began: float, signalled: tuple[int, int] | None, when: Callable[[], bool], timeout: float
) -> bool:
    """Send the signal when it is due. Return True if the processes were killed at the timeout."""
    while any(process.poll() is None for process in processes):
        if time.monotonic() - began > timeout:
            for process in processes:
                process.kill()
            return True
        if signalled is not None and when():
            rank, number = signalled
            processes[rank].send_signal(number)
            signalled = None
        time.sleep(0.002)
    return False


def call() -> None:
    """Call the function in a child process, and write its result to a file."""
    function, folder, rank = sys.argv[1:]
    module, _, name = function.partition(":")
    arguments = pickle.loads(Path(folder, "arguments").read_bytes())
    value = getattr(importlib.import_module(module), name)(**arguments)
    Path(folder, f"value{rank}").write_bytes(pickle.dumps(value))
