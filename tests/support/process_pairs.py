"""Runs of two processes, cheaply: a server that has imported torch once and forks the processes of every run.

The client is :class:`Pairs`: ``pairs.run("module:function", argument=1)`` calls the function in ``world`` processes
that find each other as torchrun's would, and gives back what each returned, how it ended and what it printed.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Ended:
    """How the processes of a run have ended, by rank.

    A code below 0 is the signal that killed a process; ``late`` says that they had to be, because they did not end.
    """

    codes: list[int]
    values: list[Any]
    outs: list[str]
    errs: list[str]
    seconds: float
    late: bool = False


class Pairs:
    """The client, and owner, of a server."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        self._server = subprocess.Popen(
            [sys.executable, str(Path(__file__)), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self,
        function: str | Callable[..., Any],
        *,
        world: int = 2,
        hit: tuple[int, float] | None = None,
        send: tuple[int, int, float] | None = None,
        when: Path | None = None,
        timeout: float = 300,
        fails: bool = False,
        env: dict[str, str] | None = None,
        **arguments: Any,
    ) -> Ended:
        """Call a function in ``world`` processes.

        Args:
            function: Of a test helper: itself, or ``module:name``.
            world: Number of processes.
            hit: A rank, and after how many seconds it is killed.
            send: A rank, a signal, and after how many seconds it gets that.
            when: The seconds are counted from when this exists.
            timeout: Seconds until all are killed: it bounds a run that hangs, and is no measure of a slow machine.
            fails: Whether one of them is expected to.
            env: More of the environment.
            arguments: Of the function.
        """
        if not isinstance(function, str):
            function = f"{function.__module__}:{function.__name__}"
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        (folder / "arguments").write_bytes(pickle.dumps(arguments))
        signalled = (hit[0], int(signal.SIGKILL), hit[1]) if hit is not None else send
        asked = {
            "function": function,
            "world": world,
            "folder": str(folder),
            "signal": signalled,
            "when": None if when is None else str(when),
            "timeout": timeout,
            "env": env or {},
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        ended = Ended(answer["codes"], [], [], [], answer["seconds"], answer["late"])
        for rank in range(world):
            value = folder / f"value{rank}"
            ended.values.append(pickle.loads(value.read_bytes()) if value.exists() else None)
            ended.outs.append((folder / f"out{rank}").read_text())
            ended.errs.append((folder / f"err{rank}").read_text())
        if not fails:
            assert ended.codes == [0] * world, f"{ended.codes}\n" + "\n".join([*ended.outs, *ended.errs])
        return ended

    def close(self) -> None:
        """End the server."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(120)
        self._server.stdout.close()


# ---- the server

_BEFORE = (
    "ssr_hydra.trainer",
    "ssr_hydra.build.app",
    "ssr_hydra.build.loader",
    "torch._dynamo",  # DDP imports it
    "torch.distributed.fsdp",
    "sklearn.datasets",
)
"""What a run would import; nothing of it starts a thread, which a fork would lose."""


def serve() -> None:
    """Answer one question a line."""
    import torch

    torch.set_num_threads(1)
    for name in _BEFORE:
        importlib.import_module(name)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    # Held until all have ended: a port that was only looked up would be free for anybody until rank 0 listens. Bound in
    # this way it is given away to nobody who asks for any port, and rank 0, who asks for this very one, may share it.
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        return _ended(asked, held.getsockname()[1])


def _ended(asked: dict[str, Any], port: int) -> dict[str, Any]:
    """Fork the processes of a run, and wait until they have ended."""
    began, world = time.monotonic(), asked["world"]
    processes = {_fork(asked, rank, port): rank for rank in range(world)}
    ranks = {rank: process for process, rank in processes.items()}
    codes: dict[int, int] = {}
    due, number, victim = float("inf"), 0, 0
    if asked["signal"] is not None:
        victim, number, after = asked["signal"]
        due = began + after if asked["when"] is None else float("inf")
    late = False
    while processes:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            codes[processes.pop(process)] = os.waitstatus_to_exitcode(status)
            continue
        now = time.monotonic()
        if number and due == float("inf") and Path(asked["when"]).exists():
            due = now + asked["signal"][2]
        if number and now >= due:
            if ranks[victim] in processes:
                os.kill(ranks[victim], number)
            number = 0
        if now - began > asked["timeout"]:
            late = True
            for process in processes:
                os.kill(process, signal.SIGKILL)
        time.sleep(0.002)
    return {"codes": [codes[rank] for rank in range(world)], "seconds": time.monotonic() - began, "late": late}


def _fork(asked: dict[str, Any], rank: int, port: int) -> int:
    process = os.fork()
    if process:
        return process
    folder, code = Path(asked["folder"]), 1
    try:
        for number, name in ((1, f"out{rank}"), (2, f"err{rank}")):
            descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        random.seed()
        if asked["world"] > 1:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(asked["world"]),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
            )
        os.environ.update(asked["env"])
        module, _, name = asked["function"].partition(":")
        arguments = pickle.loads((folder / "arguments").read_bytes())
        value = getattr(importlib.import_module(module), name)(**arguments)
        (folder / f"value{rank}").write_bytes(pickle.dumps(value))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return 0


if __name__ == "__main__":
    serve()
