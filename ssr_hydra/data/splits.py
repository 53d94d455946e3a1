"""Split a data set into training and evaluation samples. The seed of the split is not the run's seed."""

from __future__ import annotations

import random
import reprlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssr_hydra.errors import ConflictError, MismatchError, RangeError
from ssr_hydra.settings.base import fraction, one_of, seed_number
from ssr_hydra.settings.data import SPLITS


def check_split(split: object, eval_fraction: object = 0.5, split_seed: object = 0) -> str:
    """Check the name, the fraction and the seed of a split, and return the name."""
    fraction(eval_fraction, "eval_fraction")
    seed_number(split_seed, "split_seed")
    return one_of(split, "split", SPLITS)


def hold_out(labels: NDArray[Any], share: float, seed: int) -> NDArray[np.bool_]:
    """Select samples to hold out, with about the same fraction of every class.

    Args:
        labels: The class of each sample.
        share: Fraction of the samples to hold out, between 0 and 1.
        seed: Seed of the split.

    Returns:
        A mask of the held-out samples. Their number is ``round(share * len(labels))``.
    """
    total = round(fraction(share, "eval_fraction") * len(labels))
    if not 0 < total < len(labels):
        rule = f"must leave samples for training and samples for evaluation (total number of samples: {len(labels)})"
        raise RangeError("eval_fraction", share, rule, "write 0.5" if len(labels) > 1 else "use at least two samples")
    classes, counts = np.unique(labels, return_counts=True)
    exact = share * counts
    n_held_out = np.floor(exact).astype(int)
    # Round up for the classes with the largest remainders, until the total is reached.
    for index in np.argsort(-(exact - n_held_out), kind="stable")[: max(0, total - int(n_held_out.sum()))]:
        n_held_out[index] += 1
    rng = random.Random(seed)  # random() returns the same numbers in every release of Python
    keys = np.array([rng.random() for _ in labels])
    held_out = np.zeros(len(labels), dtype=bool)
    for label, count in zip(classes, n_held_out, strict=True):
        members = np.flatnonzero(labels == label)
        held_out[members[np.argsort(keys[members], kind="stable")[:count]]] = True
    return held_out


def check_apart(train: Any, evaluation: Any, field: str = "eval", of: str = "training data") -> None:
    """Refuse evaluation or test data that may overlap the training data.

    The function checks only data sets with the attributes ``partition`` and ``part``, such as built-in data sets.
    ``partition`` has the settings of the split, and must be equal in both data sets. ``part`` is the name of a part of
    the split, such as ``train``, and must differ. ``field`` and ``of`` name the two data sets in errors.
    """
    if type(train) is not type(evaluation) or not hasattr(train, "partition"):
        return
    for key, value in train.partition.items():
        other = evaluation.partition[key]
        if other != value:
            why = "so that the two data sets have the same classes and no common samples"
            rule = f"must be equal to {key} of the {of} ({reprlib.repr(value)}), {why}"
            fix = f"set {field}.{key} to the value of the {of}"
            if key == "path":
                fix = f"for a separate evaluation file, set eval_path={other!r} for both data sets"
            if field == "test" and key in ("path", "eval_path"):
                fix = "to test on a different file, write data.test=test.csv (in Python, use Arrays.other)"
            raise MismatchError(f"{field}.{key}", other, rule, fix)
    if evaluation.part == train.part:
        fix = "to evaluate on the training data, set eval_on_train" if field == "eval" else "use other samples"
        raise ConflictError(field, train.part, f"must not be the {of}", fix)
