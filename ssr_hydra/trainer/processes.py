"""The processes that train one model together, and the few things that they tell each other."""

from __future__ import annotations

import atexit
import datetime
import gc
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ssr_hydra.errors import InputError, RunError
from ssr_hydra.records import config_hash

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["ALONE", "Launch", "LostProcessError", "Processes", "launched"]

# Below the ports that systems give to outgoing connections, which begin at 32768.
_FIRST_PORT, _PORTS = 15000, 17000
# How long to wait: for one that does not come, or has its part of the gradients not ready; and for one that reads
# data, evaluates or writes a checkpoint. One that is gone is seen at once.
_START, _SILENCE = datetime.timedelta(minutes=10), datetime.timedelta(minutes=30)
# How long one that fails waits to hear what rank 0 says of it, and rank 0 for those that have not heard yet.
_HEAR_SECONDS, _LINGER_SECONDS = 5.0, 2.0
_TOLD = "ssr_hydra/told"
_MOST_SHOWN = 6


class LostProcessError(RunError):
    """Another process of the run has ended, or cannot be reached."""

    def __init__(self, what: str, error: BaseException) -> None:
        # gloo says first where in its source it is, and last what might be typical.
        text = re.sub(r"^\[[^]]*\]\s*", "", " ".join(str(error).split())).partition(". ")[0]
        super().__init__(f"another process of this run has ended or cannot be reached, seen at {what} ({text[:200]})")


class Launch(NamedTuple):
    """What a launcher says about this process."""

    rank: int
    world_size: int
    local_rank: int


def launched(environment: Mapping[str, str] | None = None) -> Launch | None:
    """This process's place among several, as ``torchrun`` or Slurm's ``srun`` tells it; None for a process alone.

    Args:
        environment: Instead of the process's own.

    Raises:
        InputError: Numbers that do not fit together.

    Example:
        >>> launched({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
        Launch(rank=1, world_size=2, local_rank=1)
        >>> launched({}) is None
        True
    """
    environment = os.environ if environment is None else environment
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        # Set for the tasks of a step alone. A batch script has SLURM_NTASKS too, and is one process nevertheless.
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        if not all(name in environment for name in names):
            return None
    rank, world_size = _number(environment, names[0]), _number(environment, names[1])
    local_rank = _number(environment, names[2]) if names[2] in environment else rank
    if not rank < world_size:
        raise InputError(names[0], rank, f"must be below {names[1]}, {world_size}", "start it by torchrun or srun")
    return Launch(rank, world_size, local_rank) if world_size > 1 else None


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment[name]
    if not value.isdecimal():
        raise InputError(name, value, "must be a whole number", "start it by torchrun or srun")
    return int(value)


class Processes:
    """One process among those that train a model together; alone, everything here is trivial.

    What is told goes over gloo, on the CPU, whatever carries the gradients: nobody waits for a GPU.

    Args:
        rank: Number of this process.
        world_size: Number of processes.
        local_rank: Number of this process on its machine.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.world_size, self.local_rank = rank, world_size, local_rank
        self._group: Any = None
        self._store: Any = None  # of those that this has connected

    @classmethod
    def start(cls) -> Processes:
        """The processes that a launcher has started, connected; or this one alone.

        A process group that exists already is used, and left as it is.

        Raises:
            RunError: They do not find each other.
        """
        import torch
        import torch.distributed as dist

        place = launched()
        connected = dist.is_available() and dist.is_initialized()
        if connected:
            local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", dist.get_rank())))
            place = Launch(dist.get_rank(), dist.get_world_size(), local)
        if place is None or place.world_size == 1:
            return cls()
        own = cls(*place)
        if torch.cuda.is_available():
            torch.cuda.set_device(own.local_rank % torch.cuda.device_count())
        try:
            if not connected:
                own._connect()
            own._group = _message_group()
        except (RuntimeError, ValueError, OSError) as error:
            raise LostProcessError("the start", error) from error
        return own

    def _connect(self) -> None:
        """Find the others, where the environment says that rank 0 listens."""
        import torch
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        os.environ.update(_address(os.environ))
        store, _, _ = next(iter(rendezvous("env://", self.rank, self.world_size, timeout=_START)))
        # torchrun --max-restarts may keep its store, and with it the addresses of those that are no more.
        store = PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size, timeout=_START)
        self._store = store

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which shows the run and writes its records."""
        return self.rank == 0

    def sum(self, values: Sequence[int], what: str = "a batch") -> list[int]:
        """Each number summed over all processes, exactly: as int64.

        Raises:
            LostProcessError: Another process has ended.
        """
        if self.world_size == 1:
            return list(values)
        import torch

        return [int(number) for number in self._reduced(torch.tensor(values, dtype=torch.int64), what).tolist()]

    def sum_floats(self, values: Sequence[float], what: str = "a mean") -> list[float]:
        """Each number summed over all processes, as float64.

        Raises:
            LostProcessError: Another process has ended.
        """
        if self.world_size == 1:
            return list(values)
        import torch

        return [float(number) for number in self._reduced(torch.tensor(values, dtype=torch.float64), what).tolist()]

    def _reduced(self, tensor: torch.Tensor, what: str) -> torch.Tensor:
        import torch.distributed as dist

        try:
            dist.all_reduce(tensor, group=self._group)
        except RuntimeError as error:
            raise LostProcessError(what, error) from error
        return tensor

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor's mean over all processes, which take the way of the gradients: a GPU is not waited for."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, value: Any, what: str = "a checkpoint") -> list[Any]:
        """What every process has, by rank.

        Raises:
            LostProcessError: Another process has ended.
        """
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        try:
            dist.all_gather_object(values, value, group=self._group)
        except RuntimeError as error:
            raise LostProcessError(what, error) from error
        return values

    def check_same(self, described: Mapping[str, Any], free: str = r"(?!)") -> None:
        """Refuse to train together what was configured apart; every process raises the same error.

        Args:
            described: What this process does, as plain data.
            free: Pattern of the fields that may differ between processes; none by default.

        Raises:
            InputError: Naming the first field that differs, and all of them.
            LostProcessError: Another process has ended.
        """
        from ssr_hydra.checkpoints.description import differences

        if self.world_size == 1 or len(set(self.gather(config_hash(described), "the start"))) == 1:
            return
        first, *others = self.gather(described, "the start")
        for rank, other in enumerate(others, 1):
            if found := [item for item in differences(first, other) if not re.match(free, item.field)]:
                listed = ", ".join(f"{item.field}: {item.old!r} and {item.new!r}" for item in found[:_MOST_SHOWN])
                more = f", and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
                rule = f"must be the same in all processes of a run (process 0 and process {rank} have {listed}{more})"
                raise InputError(found[0].field, found[0].old, rule, "start all processes with the same settings")

    def from_main(self, value: Any, what: str = "the start") -> Any:
        """What rank 0 has.

        Raises:
            LostProcessError: Another process has ended.
        """
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        values = [value]
        try:
            dist.broadcast_object_list(values, src=0, group=self._group)
        except RuntimeError as error:
            raise LostProcessError(what, error) from error
        return values[0]

    def share_buffers(self, module: nn.Module) -> None:
        """Give every process rank 0's buffers (running means, say), which the processes do not average."""
        if self.world_size == 1:
            return
        import torch
        import torch.distributed as dist

        buffers = [buffer for buffer in module.buffers() if buffer.numel() and not hasattr(buffer, "device_mesh")]
        try:
            with torch.no_grad():
                for buffer in buffers:
                    dist.broadcast(buffer, src=0)
        except RuntimeError as error:
            raise LostProcessError("an evaluation", error) from error

    def stop(self) -> None:
        """Leave the others, if this is what connected them."""
        global _messages
        if self._store is not None:
            import torch.distributed as dist

            self._store = self._group = _messages = None
            # Models wrapped for several processes hold the group, in cycles: left to the interpreter's end, they would
            # be taken apart after what they hold.
            gc.collect()
            with suppress(RuntimeError):  # the others may have ended before
                dist.destroy_process_group()

    def fail(self, message: str, seconds: float | None = None) -> bool:
        """Leave the others because of an error; whether rank 0 has the same to say, now or in some seconds.

        Of what all have found out alike, a wrong argument for one, a person is then told once.

        Args:
            message: What there is to say; ``""`` is the same as anything.
            seconds: To wait for rank 0, which may not have come so far; None is a few.
        """
        store = self._store
        self.stop()
        if store is None:
            return False
        with _quiet(), suppress(RuntimeError):  # rank 0 has nothing to say, or is no more
            if self.is_main:
                store.set(_TOLD, message)
                # Where rank 0 keeps the store it does not go before the others have looked, if they are there.
                atexit.register(_linger, store, self.world_size)
                return False
            store.wait([_TOLD], datetime.timedelta(seconds=_HEAR_SECONDS if seconds is None else seconds))
            said = store.get(_TOLD).decode()
            store.set(f"{_TOLD}/{self.rank}", "")
            return message in ("", said)
        return False


def _linger(store: Any, world_size: int) -> None:
    with _quiet(), suppress(RuntimeError):
        store.wait([f"{_TOLD}/{rank}" for rank in range(1, world_size)], datetime.timedelta(seconds=_LINGER_SECONDS))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's store writes from C++ about a connection that has ended: pages, and no news."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


ALONE = Processes()
"""A process that trains alone."""

_messages: tuple[Any, Any] | None = None
"""The group of all processes, and the one made for their messages; one is enough for all runs of a process."""


def _message_group() -> Any:
    """Of its own, so that messages never wait for gradients, nor a CPU for a GPU."""
    global _messages
    import torch.distributed as dist

    everybody = dist.group.WORLD
    if _messages is None or _messages[0] is not everybody:
        _messages = everybody, dist.new_group(backend="gloo", timeout=_SILENCE)
    return _messages[1]


def _address(environment: Mapping[str, str]) -> dict[str, str]:
    """Where rank 0 listens: torchrun says it; of a step of Slurm it is worked out."""
    address = {name: environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if environment.get(name)}
    if "MASTER_ADDR" not in address:
        alone = environment.get("SLURM_STEP_NUM_NODES", "1") == "1"
        nodes = environment.get("SLURM_STEP_NODELIST", "")
        address["MASTER_ADDR"] = "127.0.0.1" if alone else _first_host(nodes) or socket.gethostname()
    if "MASTER_PORT" not in address:
        # Of steps that run side by side on a node, each has a port of its own.
        job, step = (environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        number = (int(job) if job.isdecimal() else 0) * 16 + (int(step) if step.isdecimal() else 0)
        address["MASTER_PORT"] = str(_FIRST_PORT + number % _PORTS)
    return address


def _first_host(nodes: str) -> str:
    """The first of Slurm's list of hosts: of ``gpu[03-06,9],cpu1`` it is ``gpu03``, of ``r[1-2]n[4,7]`` ``r1n4``."""
    first = re.match(r"(?:[^,\[]|\[[^]]*\])*", nodes)
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first[0] if first else "")
