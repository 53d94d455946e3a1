"""Seeds for the random streams of a run, computed from the run's seed and counters such as the epoch."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ssr_hydra.settings.base import seed_number

# The uses of random numbers. fold() takes one of these numbers as its first counter.
ORDER_STREAM, AUGMENT_STREAM, SAMPLE_STREAM, WORKERS_STREAM = range(4)

_MASK = 2**64 - 1


def fold(seed: int, *counters: int) -> int:
    """Compute a new seed from a seed and counters.

    The function mixes the bits of each number with the finalizer of splitmix64 (Steele, Lea, Flood 2014). So
    ``fold(0, 1)`` and ``fold(1, 0)`` differ, and similar seeds, epochs and batches have unrelated random numbers.

    Args:
        seed: The run's seed.
        counters: Numbers that say what the new seed is for: one of the streams above, then an epoch, batch or sample.

    Returns:
        An int in [0, 2**63), which the generators of Python and torch accept as a seed.

    Example:
        >>> fold(0, 3) == fold(0, 3), fold(0, 3) == fold(0, 4)
        (True, False)
    """
    state = 0
    for number in (seed, *counters):
        # Without the mixing below, fold(0, 1) would equal fold(1, 0).
        state = (state + 0x9E3779B97F4A7C15 + (number & _MASK)) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, on every device.

    Args:
        seed: The run's seed, 0 to 2**63 - 1.

    Raises:
        InputError: The seed is out of range.

    Example:
        >>> seed_everything(0)
    """
    seed_number(seed)
    seed_global_rng(seed)
    torch.manual_seed(seed)


def seed_global_rng(seed: int) -> None:
    """Seed the CPU generators of Python, NumPy and torch. Data sets draw random numbers from these generators."""
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:  # if NumPy is not imported, no code has used its generator
        numpy.random.seed(seed & 0xFFFFFFFF)


class GlobalRng(NamedTuple):
    """The state of the global random generators of Python, NumPy and torch, including the GPUs in use."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor] | None
    mps: torch.Tensor | None

    @classmethod
    def now(cls) -> GlobalRng:
        numpy = sys.modules.get("numpy")
        return cls(
            python=random.getstate(),
            numpy=None if numpy is None else numpy.random.get_state(),
            cpu=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
            mps=torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        )

    def restore(self) -> None:
        random.setstate(self.python)
        torch.set_rng_state(self.cpu)
        if self.numpy is not None:
            sys.modules["numpy"].random.set_state(self.numpy)
        if self.cuda is not None:
            torch.cuda.set_rng_state_all(self.cuda)
        if self.mps is not None:
            torch.mps.set_rng_state(self.mps)


@contextmanager
def preserved_rng() -> Iterator[None]:
    """Restore the state of the global random generators at the end of the ``with`` block."""
    before = GlobalRng.now()
    try:
        yield
    finally:
        before.restore()
