"""The 1,797 handwritten digits that scikit-learn contains: real data that needs no download."""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import TensorDataset

from ssr_hydra.data.describe import describe_tensors
from ssr_hydra.data.splits import check_split, hold_out


class Digits(TensorDataset):
    """Handwritten digits, 8x8 pixels in 17 shades of grey, ten classes (UCI, Alpaydin and Kaynak 1998).

    The two splits are disjoint, cover the whole set, and are stratified by class. They depend only on
    ``eval_fraction`` and ``split_seed``, so runs with different seeds are evaluated on the same images. By default
    there are 1,198 training images (75 batches of 16) and 599 evaluation images.

    Args:
        split: ``"train"`` or ``"eval"``.
        eval_fraction: Fraction of the images to hold out, between 0 and 1.
        split_seed: Seed of the split.

    Raises:
        InputError: The split is unknown, or the fraction is outside (0, 1) or leaves a split empty.

    Example:
        >>> Digits("train")
        Digits(split='train': 1198 of 1797 images, 599 held out)
        >>> image, label = Digits("eval")[0]
        >>> image.shape, image.dtype
        (torch.Size([1, 8, 8]), torch.float32)

    Source: ``sklearn.datasets.load_digits``. Pixels are divided by 16, so they are in [0, 1].
    """

    def __init__(self, split: str = "train", eval_fraction: float = 1 / 3, split_seed: int = 0) -> None:
        check_split(split, eval_fraction, split_seed)
        images, labels = _read_digits()
        held_out = hold_out(labels, eval_fraction, split_seed)
        self.split, self.total = split, len(labels)
        self.part, self.partition = split, {"eval_fraction": eval_fraction, "split_seed": split_seed}
        chosen = held_out if split == "eval" else ~held_out
        super().__init__(
            torch.from_numpy(images[chosen].reshape(-1, 1, 8, 8).astype(np.float32) / 16),
            torch.from_numpy(labels[chosen].astype(np.int64)),
        )

    def describe(self) -> dict[str, Any]:
        """Return the name, the number of samples, and a SHA-256 of the images and labels."""
        return describe_tensors(f"digits {self.split}", self.tensors)

    def __repr__(self) -> str:
        size = len(self)
        rest = "held out" if self.split == "train" else "to train on"
        return f"Digits(split={self.split!r}: {size} of {self.total} images, {self.total - size} {rest})"


def _read_digits() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pixels [1797, 64] from 0 to 16 and labels [1797]."""
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pip install scikit-learn, which contains the digits", name="sklearn")
    # Importing sklearn.datasets takes a second. Reading the file takes only 20 ms.
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        with gzip.open(file, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
        return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits  # for a scikit-learn without this file

    digits = load_digits()
    return digits.data, digits.target
