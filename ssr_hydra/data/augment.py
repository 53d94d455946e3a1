"""Augmentation of whole batches: a few tensor operations for all images at once, not a Python call for each."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ssr_hydra.data.seeding import check_count
from ssr_hydra.errors import InputError

__all__ = ["Augment", "RandomShift"]


class Augment(Protocol):
    """What a batch augmentation is: a function of the inputs and of the generator that it draws from."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """The augmented batch, drawing random numbers from ``generator`` and from nowhere else."""
        ...


class RandomShift:
    """Shift every image by up to ``pixels`` in each direction, all (2 pixels + 1)^2 shifts alike.

    Pixels that enter at the border are zero. ``pixels=0`` leaves the images as they are.

    Args:
        pixels: The largest shift, in pixels, 0 or more.

    Raises:
        InputError: ``pixels`` is no whole number, or negative; or the batch is not shaped [N, C, H, W].

    Example:
        >>> shift = RandomShift(pixels=1)
        >>> shift(torch.zeros(16, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([16, 1, 8, 8])
    """

    def __init__(self, pixels: int = 1) -> None:
        self.pixels = check_count(pixels, "pixels", least=0, example=1)

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Images [N, C, H, W], each shifted on its own."""
        if inputs.ndim != 4:
            raise InputError(
                "augment", tuple(inputs.shape), "RandomShift takes images shaped [N, C, H, W]", "give augment=null"
            )
        if self.pixels == 0:
            return inputs
        p, n = self.pixels, inputs.shape[0]
        height, width = inputs.shape[2:]
        # Every window of the padded image is a view; picking one for each image is the only copy.
        windows = F.pad(inputs, (p, p, p, p)).unfold(2, height, 1).unfold(3, width, 1)
        down, right = torch.randint(2 * p + 1, (2, n), generator=generator, device=generator.device).to(inputs.device)
        return windows[torch.arange(n, device=inputs.device), :, down, right]

    def __repr__(self) -> str:
        return f"RandomShift(pixels={self.pixels})"
