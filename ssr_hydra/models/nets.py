"""A small convolutional network and a multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ssr_hydra.errors import WrongTypeError
from ssr_hydra.settings.base import count

_GROUPS = 4


class ConvNet(nn.Module):
    """Convolutional network: 3x3 convolutions with GroupNorm, 2x2 average pooling, and a linear layer.

    Each convolution except the first halves the height and width of the image. GroupNorm has no running statistics. So
    a batch may have any size, and training and evaluation compute the same values.

    Args:
        in_channels: Channels of the images.
        num_classes: Number of classes.
        widths: Channels of each convolution, multiples of 4.

    Raises:
        InputError: A size is below 1, or a width is not a multiple of 4.

    Example:
        >>> import torch
        >>> ConvNet()(torch.zeros(16, 1, 8, 8)).shape
        torch.Size([16, 10])
    """

    def __init__(self, in_channels: int = 1, num_classes: int = 10, widths: Sequence[int] = (8, 16)) -> None:
        super().__init__()
        count(in_channels, "in_channels")
        count(num_classes, "num_classes")
        layers: list[nn.Module] = []
        channels = in_channels
        for number, width in enumerate(_check_widths("widths", widths, _GROUPS)):
            # GroupNorm has a bias, so the convolution needs none.
            layers.append(nn.Conv2d(channels, width, 3, stride=1 if number == 0 else 2, padding=1, bias=False))
            layers += [nn.GroupNorm(_GROUPS, width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.classifier = nn.Linear(4 * channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, num_classes] of images [N, in_channels, H, W]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class MLP(nn.Module):
    """Multilayer perceptron: linear layers, with a ReLU after each layer except the last.

    The model flattens inputs of any shape.

    Args:
        in_features: Number of values in one sample.
        hidden: Width of each hidden layer. With an empty list, the model is linear.
        num_classes: Number of classes.

    Raises:
        InputError: A size is below 1.

    Example:
        >>> import torch
        >>> MLP()(torch.zeros(16, 1, 8, 8)).shape
        torch.Size([16, 10])
    """

    def __init__(self, in_features: int = 64, hidden: Sequence[int] = (128,), num_classes: int = 10) -> None:
        super().__init__()
        count(in_features, "in_features")
        count(num_classes, "num_classes")
        layers: list[nn.Module] = [nn.Flatten()]
        for width in _check_widths("hidden", hidden, 1, allow_none=True):
            layers += [nn.Linear(in_features, width), nn.ReLU()]
            in_features = width
        self.layers = nn.Sequential(*layers, nn.Linear(in_features, num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits [N, num_classes] of inputs [N, ...]. Each sample has ``in_features`` values."""
        logits: Tensor = self.layers(inputs)
        return logits


def _check_widths(field: str, widths: Any, multiple: int, allow_none: bool = False) -> list[int]:
    # OmegaConf's lists are sequences but not subclasses of list.
    if isinstance(widths, str) or not isinstance(widths, Sequence) or (len(widths) == 0 and not allow_none):
        raise WrongTypeError(field, widths, "must be a list of layer widths", f"write e.g. [{multiple * 8}]")
    for number, width in enumerate(widths):
        count(width, f"{field}[{number}]", multiple=multiple)
    return list(widths)
