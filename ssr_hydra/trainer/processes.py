"""The processes that train one model together, and the few things that they tell each other."""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ssr_hydra.errors import InputError, RunError

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["ALONE", "Launch", "LostProcessError", "Processes", "launched"]

_FIRST_PORT, _PORTS = 20000, 20000


class LostProcessError(RunError):
    """Another process of the run has ended, or cannot be reached."""

    def __init__(self, what: str, error: BaseException) -> None:
        text = " ".join(str(error).split())
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
        self._owned = False

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
        if not connected:
            _set_address()
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            try:
                dist.init_process_group(backend, rank=own.rank, world_size=own.world_size)
            except (RuntimeError, ValueError, OSError) as error:
                raise LostProcessError("the start", error) from error
            own._owned = True
        # A group of its own: messages never wait for gradients, and a hanging process is found in time.
        own._group = dist.new_group(backend="gloo", timeout=datetime.timedelta(minutes=30))
        return own

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
        if self._owned:
            import torch.distributed as dist

            self._owned = False
            with suppress(RuntimeError):  # the others may have ended before
                dist.destroy_process_group()


ALONE = Processes()
"""A process that trains alone."""


def _set_address() -> None:
    """Where rank 0 listens: torchrun says it; of Slurm it is worked out."""
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = _first_host(os.environ.get("SLURM_STEP_NODELIST", ""))
    if "MASTER_PORT" not in os.environ:
        job, step = (os.environ.get(name, "0") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        number = (int(job) if job.isdecimal() else 0) * 16 + (int(step) if step.isdecimal() else 0)
        os.environ["MASTER_PORT"] = str(_FIRST_PORT + number % _PORTS)


def _first_host(nodes: str) -> str:
    """The first of Slurm's list of hosts: ``gpu[03-06,9],cpu1`` begins with ``gpu03``."""
    if os.environ.get("SLURM_STEP_NUM_NODES", "1") == "1":
        return "127.0.0.1"
    prefix, bracket, rest = nodes.partition("[")
    if not bracket or "," in prefix:
        return prefix.partition(",")[0] or socket.gethostname()
    inside, _, suffix = rest.partition("]")
    return prefix + inside.partition(",")[0].partition("-")[0] + suffix.partition(",")[0]
