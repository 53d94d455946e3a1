"""Facts about the built-in image data sets and torchvision's models, for checks that do not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ssr_hydra.errors import ConflictError, InputError, UnknownNameError


class ImageSet(NamedTuple):
    """A data set of images.

    Args:
        shape: Channels, height and width of an image.
        num_classes: Number of classes.
        samples: Number of images in each split.
        cls: Name of the class in torchvision.
        folder: The folder of the files, below the root of torchvision's data sets.
        mean: The mean of each channel of the training images, in [0, 1].
        std: The standard deviation of each channel.
    """

    shape: tuple[int, ...]
    num_classes: int
    samples: Mapping[str, int] = {}
    cls: str = ""
    folder: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


_RGB, _GREY = (3, 32, 32), (1, 28, 28)
_CIFAR, _MNIST = {"train": 50_000, "eval": 10_000}, {"train": 60_000, "eval": 10_000}
_CIFAR10 = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
_CIFAR100 = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)

IMAGE_SETS = {
    "cifar10": ImageSet(_RGB, 10, _CIFAR, "CIFAR10", "cifar-10-batches-py", *_CIFAR10),
    "cifar100": ImageSet(_RGB, 100, _CIFAR, "CIFAR100", "cifar-100-python", *_CIFAR100),
    "mnist": ImageSet(_GREY, 10, _MNIST, "MNIST", "MNIST", (0.1307,), (0.3081,)),
    "fashion_mnist": ImageSet(_GREY, 10, _MNIST, "FashionMNIST", "FashionMNIST", (0.2860,), (0.3530,)),
}
"""The data sets of ``SmallImages``."""

DIGITS = 1797
"""Number of images in ``Digits``."""

# Models whose name starts with one of these words can have a stem (their first layers) for small images. Their usual
# stem has a strided convolution, and often a pooling layer.
_WITH_STEM = ("resnet", "resnext", "wide_resnet", "densenet", "mobilenet", "efficientnet", "regnet", "shufflenet")


def unknown_model(name: object, fix: str) -> InputError:
    """Return the error for a name that is not a model of torchvision."""
    return UnknownNameError("name", name, "is not a classification model of torchvision", fix)


def check_stem(name: str, weights: object) -> None:
    """Refuse ``small_images=True`` for a model without a stem for small images, or with pretrained weights."""
    if not name.startswith(_WITH_STEM):
        rule = f"cannot be used with {name}, which has no stem for small images"
        raise ConflictError(
            "small_images", True, rule, f"set small_images=false, or choose a model of {', '.join(_WITH_STEM)}"
        )
    if weights is not None:
        rule = "cannot be used with pretrained weights, which were trained with the stem for large images"
        raise ConflictError("small_images", True, rule, "set weights=null or small_images=false")
