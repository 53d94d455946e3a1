"""The processes that train one model together, and the messages that they exchange."""

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

from ssr_hydra.errors import MismatchError, RangeError, RunError, UserCodeError, WrongTypeError
from ssr_hydra.records import config_hash

if TYPE_CHECKING:
    import torch
    from torch import nn

# The range 15000-31999. Operating systems use ports from 32768 on for outgoing connections.
_FIRST_PORT, _PORTS = 15000, 17000
# _START limits the time to connect, and to exchange gradients. _SILENCE limits the time to wait for a message: it is
# longer, because the sender may evaluate or save first.
_START, _SILENCE = datetime.timedelta(minutes=10), datetime.timedelta(minutes=30)
# A failing process waits _HEAR_SECONDS for the error of rank 0. Rank 0 waits _LINGER_SECONDS for the other processes to
# read its error.
_HEAR_SECONDS, _LINGER_SECONDS = 5.0, 2.0
_TOLD = "ssr_hydra/told"
_MOST_SHOWN = 6


class LostProcessError(RunError):
    """Another process of the run has ended, or cannot be reached."""

    def __init__(self, what: str, error: BaseException) -> None:
        # A message of gloo starts with a line of gloo's source code and ends with a general hint. Remove both.
        text = re.sub(r"^\[[^]]*\]\s*", "", " ".join(str(error).split())).partition(". ")[0]
        super().__init__(f"another process of this run has ended or cannot be reached, seen at {what} ({text[:200]})")


# Parts of torch's messages about a gradient exchange that failed because another process has ended.
_SIGNS_OF_LOSS = ("connection closed by peer", "connection reset", "broken pipe", "timed out waiting", "nccl", "gloo")


def lost_process(error: BaseException, processes: Processes) -> LostProcessError | None:
    """Return a short error if ``error`` says that gradients cannot be exchanged with another process, else None."""
    if isinstance(error, UserCodeError) and error.__cause__ is not None:
        error = error.__cause__
    if processes.world_size == 1 or not isinstance(error, RuntimeError) or isinstance(error, RunError):
        return None
    text = str(error).lower()
    return LostProcessError("the gradients", error) if any(sign in text for sign in _SIGNS_OF_LOSS) else None


@contextmanager
def _noticing_losses(what: str) -> Iterator[None]:
    """In the ``with`` block, replace a RuntimeError of torch (the sign of a lost process) by a LostProcessError."""
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(what, error) from error


class RankAndSize(NamedTuple):
    """The rank of this process, the number of processes, and the rank on this machine. A launcher sets them."""

    rank: int
    world_size: int
    local_rank: int


def launched(environment: Mapping[str, str] | None = None) -> RankAndSize | None:
    """Return this process's rank and the number of processes, as ``torchrun`` or Slurm's ``srun`` sets them.

    Return None if there is only one process. ``environment`` defaults to the environment variables of this process.

    Example:
        >>> launched({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"})
        RankAndSize(rank=1, world_size=2, local_rank=1)
        >>> launched({}) is None
        True
    """
    environment = os.environ if environment is None else environment
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    if "RANK" not in environment or "WORLD_SIZE" not in environment:
        # Slurm sets these variables only in the tasks of a step, but SLURM_NTASKS also in a batch script.
        names = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID")
        if not all(name in environment for name in names):
            return None
    for name in names:
        if not (value := environment.get(name, "0")).isdecimal():
            fix = f"start the run with torchrun or srun, which set {name}"
            raise WrongTypeError(name, value, "must be a whole number", fix)
    rank, world_size = int(environment[names[0]]), int(environment[names[1]])
    if not rank < world_size:
        rule = f"must be below {names[1]}, {world_size}"
        raise RangeError(names[0], rank, rule, "start the run with torchrun or srun")
    return RankAndSize(rank, world_size, int(environment.get(names[2], rank))) if world_size > 1 else None


class Processes:
    """This process in a group of processes that train a model together, and the communication in this group.

    A single process does not communicate. Messages use gloo on the CPU, even if gradients use NCCL, so messages never
    wait for a GPU. If another process has ended, a method raises a :class:`LostProcessError`. The message of this error
    contains the method's argument ``what``, which says what the run was doing, such as ``"an evaluation"``.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.world_size, self.local_rank = rank, world_size, local_rank
        self._group: Any = None
        self._store: Any = None  # torch's key-value store, if this object has connected the processes

    @classmethod
    def start(cls) -> Processes:
        """Connect the processes that a launcher has started, or use the existing process group of torch.

        Without a launcher, return this process alone. :meth:`stop` does not destroy a group that existed before.

        Raises:
            RunError: The processes cannot connect.
        """
        import torch
        import torch.distributed as dist

        place = launched()
        connected = dist.is_available() and dist.is_initialized()
        if connected:
            local = int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", dist.get_rank())))
            place = RankAndSize(dist.get_rank(), dist.get_world_size(), local)
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
        """Connect to the other processes, through rank 0's address in the environment variables."""
        import torch
        import torch.distributed as dist
        from torch.distributed.distributed_c10d import PrefixStore
        from torch.distributed.rendezvous import rendezvous

        os.environ.update(_address(os.environ))
        store, _, _ = next(iter(rendezvous("env://", self.rank, self.world_size, timeout=_START)))
        # After a restart, torchrun --max-restarts may keep the old store. A new prefix hides the old addresses.
        store = PrefixStore(f"attempt{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.world_size, timeout=_START)
        self._store = store

    @property
    def is_main(self) -> bool:
        """True if this process is rank 0, which shows the progress of the run and writes its records."""
        return self.rank == 0

    def sum(self, values: Sequence[int], what: str = "a batch") -> list[int]:
        """Return the exact sum of each number over all processes, in int64."""
        return list(values) if self.world_size == 1 else self._summed(values, "int64", what)

    def sum_floats(self, values: Sequence[float], what: str = "a mean") -> list[float]:
        """Return the sum of each number over all processes, in float64."""
        return list(values) if self.world_size == 1 else self._summed(values, "float64", what)

    def _summed(self, values: Sequence[float], dtype: str, what: str) -> list[Any]:
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, dtype=getattr(torch, dtype))
        with _noticing_losses(what):
            dist.all_reduce(tensor, group=self._group)
        return list(tensor.tolist())

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor's mean over all processes. It uses the gradients' backend and does not wait for the GPU."""
        if self.world_size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.clone()
        dist.all_reduce(total)
        return total / self.world_size

    def gather(self, value: Any, what: str = "a checkpoint") -> list[Any]:
        """Return the list of the values of all processes, in the order of their ranks."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.world_size
        with _noticing_losses(what):
            dist.all_gather_object(values, value, group=self._group)
        return values

    def check_same(self, described: Mapping[str, Any], free: str = r"(?!)") -> None:
        """Raise the same InputError in every process if the processes have different settings.

        A field whose name matches the regular expression ``free`` may differ.
        """
        from ssr_hydra.checkpoints.description import differences

        if self.world_size == 1 or len(set(self.gather(config_hash(described), "the start"))) == 1:
            return
        first, *others = self.gather(described, "the start")
        for rank, other in enumerate(others, 1):
            if mismatches := [item for item in differences(first, other) if not re.match(free, item.field)]:
                listed = ", ".join(f"{item.field}: {item.old!r} and {item.new!r}" for item in mismatches[:_MOST_SHOWN])
                more = f", and {len(mismatches) - _MOST_SHOWN} more" if len(mismatches) > _MOST_SHOWN else ""
                rule = f"must be the same in all processes of a run (process 0 and process {rank} have {listed}{more})"
                fix = "start all processes with the same settings"
                raise MismatchError(mismatches[0].field, mismatches[0].old, rule, fix)

    def from_main(self, value: Any, what: str = "the start") -> Any:
        """Return rank 0's value in every process."""
        if self.world_size == 1:
            return value
        import torch.distributed as dist

        values = [value]
        with _noticing_losses(what):
            dist.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def share_buffers(self, module: nn.Module) -> None:
        """Copy rank 0's buffers of a module (such as running means) to every process. The buffers are not averaged."""
        if self.world_size == 1:
            return
        import torch
        import torch.distributed as dist

        buffers = [buffer for buffer in module.buffers() if buffer.numel() and not hasattr(buffer, "device_mesh")]
        with _noticing_losses("an evaluation"), torch.no_grad():
            for buffer in buffers:
                dist.broadcast(buffer, src=0)

    def stop(self) -> None:
        """Disconnect this process, if this object has connected it."""
        global _messages
        if self._store is not None:
            import torch.distributed as dist

            self._store = self._group = _messages = None
            gc.collect()  # free wrapped models, which have reference cycles, before the group is destroyed
            with suppress(RuntimeError):  # the other processes may already have ended
                dist.destroy_process_group()

    def fail(self, message: str, seconds: float | None = None) -> bool:
        """Disconnect because of an error. Return True if rank 0 reports an error with the same ``message``.

        On rank 0, return False. If ``message`` is ``""``, any error of rank 0 counts. Rank 0 may fail later than this
        process, so wait at most ``seconds`` for the error of rank 0; None means 5 seconds.
        """
        store = self._store
        self.stop()
        if store is None:
            return False
        with _quiet(), suppress(RuntimeError):  # rank 0 has no error, or has ended
            if self.is_main:
                store.set(_TOLD, message)
                atexit.register(_linger, store, self.world_size)  # rank 0 may host the store that others still read
                return False
            store.wait([_TOLD], datetime.timedelta(seconds=_HEAR_SECONDS if seconds is None else seconds))
            reported = store.get(_TOLD).decode()
            store.set(f"{_TOLD}/{self.rank}", "")
            return message in ("", reported)
        return False


def _linger(store: Any, world_size: int) -> None:
    with _quiet(), suppress(RuntimeError):
        store.wait([f"{_TOLD}/{rank}" for rank in range(1, world_size)], datetime.timedelta(seconds=_LINGER_SECONDS))


@contextmanager
def _quiet() -> Iterator[None]:
    """In the ``with`` block, discard stderr, to which torch's store writes long messages about closed connections."""
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    stderr_copy = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr_copy, 2)
        os.close(stderr_copy)
        os.close(nowhere)


ALONE = Processes()
"""A single process that trains alone."""

_messages: tuple[Any, Any] | None = None
"""The group of all processes, and the group for messages. All runs of a process share these groups."""


def _message_group() -> Any:
    global _messages
    import torch.distributed as dist

    everybody = dist.group.WORLD
    if _messages is None or _messages[0] is not everybody:
        _messages = everybody, dist.new_group(backend="gloo", timeout=_SILENCE)
    return _messages[1]


def _address(environment: Mapping[str, str]) -> dict[str, str]:
    """Return MASTER_ADDR and MASTER_PORT from ``environment``, or values computed from Slurm's variables."""
    address = {name: environment[name] for name in ("MASTER_ADDR", "MASTER_PORT") if environment.get(name)}
    if "MASTER_ADDR" not in address:
        alone = environment.get("SLURM_STEP_NUM_NODES", "1") == "1"
        nodes = environment.get("SLURM_STEP_NODELIST", "")
        address["MASTER_ADDR"] = "127.0.0.1" if alone else _first_host(nodes) or socket.gethostname()
    if "MASTER_PORT" not in address:
        # Slurm steps that run on one node at the same time need different ports.
        job, step = (environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
        number = (int(job) if job.isdecimal() else 0) * 16 + (int(step) if step.isdecimal() else 0)
        address["MASTER_PORT"] = str(_FIRST_PORT + number % _PORTS)
    return address


def _first_host(nodes: str) -> str:
    """Return the first host of a Slurm list: ``gpu03`` for ``gpu[03-06,9],cpu1``, ``r1n4`` for ``r[1-2]n[4,7]``."""
    first = re.match(r"(?:[^,\[]|\[[^]]*\])*", nodes)
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first[0] if first else "")
