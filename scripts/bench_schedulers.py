"""Measure the cost of one step of a learning-rate scheduler, compared with a lower bound and with other libraries.

The schedule is a cosine with linear warmup over a million batches, with one and with fifty param groups. The lower
bound ("floor") is the necessary work: a closure computes alpha, and a loop assigns ``group["lr"] = base * alpha``. The
rounds of all schedulers are interleaved in one process, so that noise of the machine affects all of them. Time is the
thread's processor time, which other processes do not increase. Ratios are medians over the ratios of the rounds; they
are more reliable than the microseconds.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR

from ssr_hydra.optim import ScheduledLR, compile_composer_scheduler
from ssr_hydra.schedulers import CosineAnnealingWithWarmupScheduler
from ssr_hydra.state import State

_WARMUP, _BATCHES, _LR = 100, 1_000_000, 0.1
_SCHEDULE = CosineAnnealingWithWarmupScheduler(f"{_WARMUP}ba")

Step = Callable[[], Any]


def _alpha(batch: int) -> float:
    if batch < _WARMUP:
        return batch / _WARMUP
    return 0.5 * (1.0 + math.cos(math.pi * (batch - _WARMUP) / (_BATCHES - _WARMUP)))


def floor(optimizer: Optimizer) -> Step:
    """Return a step that does only the necessary work."""
    bases = [group["lr"] for group in optimizer.param_groups]
    batch = 0

    def step() -> None:
        nonlocal batch
        batch += 1
        alpha = _alpha(batch)
        for group, base in zip(optimizer.param_groups, bases):  # noqa: B905 - the floor has no checks
            group["lr"] = base * alpha

    return step


def floor_of_tensors(optimizer: Optimizer) -> Step:
    """Return the same step for learning rates that are tensors: compute in float, and fill the tensor in place."""
    bases = [float(group["lr"]) for group in optimizer.param_groups]
    batch = 0

    def step() -> None:
        nonlocal batch
        batch += 1
        alpha = _alpha(batch)
        for group, base in zip(optimizer.param_groups, bases):  # noqa: B905
            group["lr"].fill_(base * alpha)

    return step


def scheduled_lr(optimizer: Optimizer) -> Step:
    """Return a step of ScheduledLR with its own clock."""
    return ScheduledLR(optimizer, _SCHEDULE, max_duration=f"{_BATCHES}ba").step


def compiled(optimizer: Optimizer) -> Step:
    """Return a call of the compiled scheduler alone, at a time after the warmup."""
    state = State(f"{_BATCHES}ba", optimizers=optimizer)
    scheduler = compile_composer_scheduler(_SCHEDULE, state)
    state.timestamp = state.timestamp.copy(batch=2 * _WARMUP)
    return scheduler.step


def compiled_and_timestamp(optimizer: Optimizer) -> Step:
    """Return a call of the compiled scheduler that also moves its timestamp, like a trainer does."""
    state = State(f"{_BATCHES}ba", optimizers=optimizer)
    scheduler = compile_composer_scheduler(_SCHEDULE, state)

    def step() -> None:
        state.timestamp = state.timestamp.to_next_batch(64)
        scheduler.step()

    return step


def timm(optimizer: Optimizer) -> Step:
    """Return a step of timm's CosineLRScheduler: ``step_update``."""
    from timm.scheduler import CosineLRScheduler

    scheduler = CosineLRScheduler(optimizer, t_initial=_BATCHES, warmup_t=_WARMUP, t_in_epochs=False)
    batch = 0

    def step() -> None:
        nonlocal batch
        batch += 1
        scheduler.step_update(batch)

    return step


def transformers(optimizer: Optimizer) -> Step:
    """Return a step of transformers' get_cosine_schedule_with_warmup."""
    from transformers import get_cosine_schedule_with_warmup

    step: Step = get_cosine_schedule_with_warmup(optimizer, _WARMUP, _BATCHES).step
    return step


def composer(optimizer: Optimizer) -> Step:
    """Return a call of Composer's compiled CosineAnnealingWithWarmupScheduler, at a time after the warmup."""
    from composer import State as ComposerState
    from composer.devices import DeviceCPU
    from composer.optim import CosineAnnealingWithWarmupScheduler as Scheduler
    from composer.optim.scheduler import compile_composer_scheduler as compile_theirs

    state = ComposerState(
        model=torch.nn.Linear(1, 1),
        rank_zero_seed=0,
        run_name="bench",
        device=DeviceCPU(),
        max_duration=f"{_BATCHES}ba",
        optimizers=optimizer,
    )
    state.timestamp = state.timestamp.copy(batch=2 * _WARMUP)
    step: Step = compile_theirs(Scheduler(f"{_WARMUP}ba"), state).step
    return step


def _sequential(optimizer: Optimizer) -> Step:
    warmup = LinearLR(optimizer, start_factor=0.01, total_iters=_WARMUP)
    decay = CosineAnnealingLR(optimizer, _BATCHES - _WARMUP)
    return SequentialLR(optimizer, [warmup, decay], milestones=[_WARMUP]).step


# The function that makes a step, the distribution that it needs, and the printed name.
_Bench = tuple[Callable[[Optimizer], Step], str, str]
_OURS: list[_Bench] = [(scheduled_lr, "", "ScheduledLR.step"), (compiled, "", "compiled.step")]
_TORCH: list[_Bench] = [
    (lambda optimizer: LambdaLR(optimizer, _alpha).step, "", "torch LambdaLR"),
    (lambda optimizer: CosineAnnealingLR(optimizer, _BATCHES).step, "", "torch CosineAnnealingLR"),
]
_FLOATS: list[_Bench] = [
    (floor, "", "floor: closure + assignment"),
    *_OURS,
    (compiled_and_timestamp, "", "compiled.step + timestamp"),
    *_TORCH,
    (_sequential, "", "torch SequentialLR"),
    (lambda o: OneCycleLR(o, _LR, total_steps=_BATCHES, cycle_momentum=False).step, "", "torch OneCycleLR"),
    (timm, "timm", "timm CosineLRScheduler"),
    (transformers, "transformers", "transformers cosine"),
    (composer, "mosaicml", "Composer, compiled"),
]
_TENSORS: list[_Bench] = [(floor_of_tensors, "", "floor: closure + fill_"), *_OURS, *_TORCH]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _optimizer(groups: int, tensors: bool) -> Optimizer:
    def lr() -> Any:
        return torch.tensor(_LR) if tensors else _LR

    parts = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr()} for _ in range(groups)]
    return torch.optim.SGD(parts, lr=_LR)


def measure(benches: list[_Bench], groups: int, rounds: int, *, tensors: bool = False) -> list[list[float]]:
    """Return for each scheduler the microseconds per step of each round. Rounds are interleaved, about 2 ms each."""
    steps = []
    for make, _, _ in benches:
        optimizer = _optimizer(groups, tensors)
        steps.append(make(optimizer))
        optimizer.step()  # torch's schedulers warn if no optimizer has stepped
    sizes = []
    for step in steps:
        for _ in range(2 * _WARMUP):  # after the warmup, where most steps of a run are
            step()
        begin = time.thread_time()
        for _ in range(20):
            step()
        sizes.append(max(5, int(2e-3 * 20 / (time.thread_time() - begin))))
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, size, microseconds in zip(steps, sizes, times, strict=True):
            begin = time.thread_time()
            for _ in range(size):
                step()
            microseconds.append((time.thread_time() - begin) / size * 1e6)
    return times


def table(benches: list[_Bench], one: list[list[float]], fifty: list[list[float]]) -> str:
    """Return a table of microseconds, ratios to the floor, and ratios to ScheduledLR, for one and for fifty groups."""

    def ratio(times: list[float], base: list[float]) -> float:
        return statistics.median(a / b for a, b in zip(times, base, strict=True))

    ours = next(i for i, bench in enumerate(benches) if bench[0] is scheduled_lr)
    head = f"{'':<30}{'1 param group':^30}{'50 param groups':^30}"
    lines = [head, f"{'one step':<30}" + f"{'us':>10}{'x floor':>10}{'x ours':>10}" * 2]
    for (_, _, label), *columns in zip(benches, one, fifty, strict=True):
        cells = ""
        for times, every in zip(columns, (one, fifty), strict=True):
            cells += (
                f"{statistics.median(times):>10.2f}{ratio(times, every[0]):>10.2f}{ratio(times, every[ours]):>10.2f}"
            )
        lines.append(f"{label:<30}{cells}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=101, help="interleaved rounds of each (%(default)s)")
    rounds = parser.parse_args(argv).rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    present = [bench for bench in _FLOATS if not bench[1] or _version(bench[1]) is not None]
    absent = [bench[1] for bench in _FLOATS if bench not in present]
    versions = {name: _version(name) for name in ("torch", *(bench[1] for bench in present if bench[1]))}
    print(f"Python {sys.version.split()[0]}, {', '.join(f'{name} {version}' for name, version in versions.items())}")
    print(f"not installed: {', '.join(absent)}\n" if absent else "")
    print(table(present, measure(present, 1, rounds), measure(present, 50, rounds)))
    print("\nlearning rates that are tensors")
    print(
        table(
            _TENSORS,
            measure(_TENSORS, 1, rounds, tensors=True),
            measure(_TENSORS, 50, max(5, rounds // 5), tensors=True),
        )
    )
    return 0
