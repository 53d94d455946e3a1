"""Augmentation of whole batches of images by a few tensor operations."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ssr_hydra.errors import MismatchError
from ssr_hydra.settings.base import count as check_count


class Augment(Protocol):
    """Protocol of a batch augmentation: a function of the inputs and a random generator."""

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return the augmented batch. Draw random numbers only from ``generator``."""
        ...


class RandomShift:
    """Shift every image at random by up to ``pixels``, horizontally and vertically.

    All (2 pixels + 1)^2 shifts have equal probability. The new pixels at the border are zero. ``pixels=0`` does not
    change the images.

    Args:
        pixels: The largest shift, in pixels, 0 or more.

    Raises:
        InputError: ``pixels`` is not an integer >= 0, or the batch does not have the shape [N, C, H, W].

    Example:
        >>> shift = RandomShift(pixels=1)
        >>> shift(torch.zeros(16, 1, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([16, 1, 8, 8])
    """

    def __init__(self, pixels: int = 1) -> None:
        self.pixels = check_count(pixels, "pixels", least=0)

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return images [N, C, H, W], each with its own random shift."""
        return _shifted(inputs, self.pixels, generator, "RandomShift")

    def __repr__(self) -> str:
        return f"RandomShift(pixels={self.pixels})"


class RandomCropFlip:
    """Pad every image with zeros, crop it at a random position, and flip it at random. This is usual for CIFAR.

    The crop has the size of the original image. All (2 padding + 1)^2 positions have equal probability.

    Args:
        padding: Pixels of padding on each side, 0 or more. With 0, images are not cropped.
        flip: Whether to mirror each image horizontally with probability 1/2.

    Raises:
        InputError: ``padding`` is not an integer >= 0, or the batch does not have the shape [N, C, H, W].

    Example:
        >>> augment = RandomCropFlip(padding=4)
        >>> augment(torch.zeros(16, 3, 32, 32), torch.Generator().manual_seed(0)).shape
        torch.Size([16, 3, 32, 32])

    Source: He et al. 2016, section 4.2.
    """

    def __init__(self, padding: int = 4, flip: bool = True) -> None:
        self.padding, self.flip = check_count(padding, "padding", least=0), flip

    def __call__(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        """Return images [N, C, H, W], each with its own random crop and flip."""
        images = _shifted(inputs, self.padding, generator, "RandomCropFlip")
        if not self.flip:
            return images
        chosen = torch.randint(2, (len(images), 1, 1, 1), generator=generator, device=generator.device)
        return torch.where(chosen.to(images.device, torch.bool), images.flip(3), images)

    def __repr__(self) -> str:
        return f"RandomCropFlip(padding={self.padding}, flip={self.flip})"


def _shifted(images: Tensor, pixels: int, generator: torch.Generator, augment: str) -> Tensor:
    """Pad each image with zeros, and crop it at a random position to its original size."""
    if images.ndim != 4:
        rule = f"{augment} needs images of shape [N, C, H, W]"
        raise MismatchError("augment", tuple(images.shape), rule, "set augment=null")
    if pixels == 0:
        return images
    p, n = pixels, images.shape[0]
    height, width = images.shape[2:]
    # unfold() returns views of all windows. Only the selection of one window per image copies data.
    windows = F.pad(images, (p, p, p, p)).unfold(2, height, 1).unfold(3, width, 1)
    down, right = torch.randint(2 * p + 1, (2, n), generator=generator, device=generator.device).to(images.device)
    return windows[torch.arange(n, device=images.device), :, down, right]
