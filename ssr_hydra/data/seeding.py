"""Seeds for parts of a run, derived from the run's seed and counters."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ssr_hydra.settings.base import seed_number

__all__ = [
    "AUGMENT_STREAM",
    "ORDER_STREAM",
    "SAMPLE_STREAM",
    "WORKERS_STREAM",
    "GlobalRng",
    "fold",
    "preserved_rng",
    "seed_everything",
    "seed_global_rng",
]

# The random streams of one seed; the numbers must differ.
ORDER_STREAM, AUGMENT_STREAM, SAMPLE_STREAM, WORKERS_STREAM = range(4)

_MASK = 2**64 - 1


def fold(seed: int, *counters: int) -> int:
    """Derive a new seed from a seed and counters.

    Each number goes through the finalizer of splitmix64 (Steele, Lea, Flood 2014), so ``fold(0, 1)`` and ``fold(1, 0)``
    differ, and the streams of neighbouring seeds, epochs and batches do not overlap. The order of the samples in epoch
    ``e`` and the augmentation of its batch ``k`` depend only on such seeds. So a resume needs no random state for them,
    and other uses of random numbers do not change them.

    Args:
        seed: The run's seed.
        counters: Numbers of the part: an epoch, a batch, a sample.

    Returns:
        An int in [0, 2**63), which all random generators here accept.

    Example:
        >>> fold(0, 3) == fold(0, 3), fold(0, 3) == fold(0, 4)
        (True, False)
    """
    state = 0
    for number in (seed, *counters):
        # Mix before adding the next number: with sums of seed and epoch, neighbouring seeds would share streams.
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
    """Seed Python's, NumPy's and torch's CPU generators, which data sets use."""
    random.seed(seed)
    torch.default_generator.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:  # code that has not imported NumPy cannot use its generator
        numpy.random.seed(seed & 0xFFFFFFFF)


class GlobalRng(NamedTuple):
    """The state of Python's, NumPy's and torch's global generators, and of the GPUs in use."""

    python: Any
    numpy: Any
    cpu: torch.Tensor
    cuda: list[torch.Tensor] | None
    mps: torch.Tensor | None

    @classmethod
    def now(cls) -> GlobalRng:
        """Return the current state."""
        numpy = sys.modules.get("numpy")
        return cls(
            python=random.getstate(),
            numpy=None if numpy is None else numpy.random.get_state(),
            cpu=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
            mps=torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
        )

    def restore(self) -> None:
        """Restore the state."""
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
    """Restore Python's, NumPy's and torch's global generators (and those of GPUs in use) at the end of a block."""
    before = GlobalRng.now()
    try:
        yield
    finally:
        before.restore()
