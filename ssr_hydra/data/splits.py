"""Which samples are held out: fixed by a seed of their own, so that runs of any seed are measured on the same ones."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_hydra.errors import InputError

__all__ = ["check_share", "check_split", "hold_out"]


def check_split(value: object) -> str:
    """``train`` or ``eval``, or an InputError."""
    if value not in ("train", "eval"):
        raise InputError("split", value, "there are two splits", "use 'train' or 'eval'")
    assert isinstance(value, str)
    return value


def check_share(value: object) -> float:
    """A share held out, or an InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise InputError("eval_fraction", value, "a share held out lies between 0 and 1", "try 0.2")
    return value


def hold_out(labels: NDArray[Any], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which samples are held out: the same share of every class, their total as near to the fraction as it can be.

    Args:
        labels: The class of each sample; all alike for a split that regards no classes.
        fraction: Share to hold out, between 0 and 1.
        seed: Which split of that size.

    Raises:
        InputError: A fraction outside (0, 1), or one that leaves either side empty.
    """
    total = round(check_share(fraction) * len(labels))
    if not 0 < total < len(labels):
        raise InputError("eval_fraction", fraction, f"neither side of {len(labels)} samples may be empty", "try 0.2")
    classes, counts = np.unique(labels, return_counts=True)
    exact = fraction * counts
    taken = np.floor(exact).astype(int)
    # The classes with the largest remainders give one more each, until the total is met.
    for index in np.argsort(-(exact - taken), kind="stable")[: max(0, total - int(taken.sum()))]:
        taken[index] += 1
    rng = random.Random(seed)  # random() is the one source that promises the same numbers in every release
    keys = np.array([rng.random() for _ in labels])
    held_out = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes, taken, strict=True):
        members = np.flatnonzero(labels == label)
        held_out[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    return held_out
