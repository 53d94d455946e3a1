"""Classification models of torchvision, for images of any size and number of channels."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Collection, Mapping
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn

from ssr_hydra.errors import ConflictError, RunError, UnknownNameError, WrongTypeError, missing_package
from ssr_hydra.settings.base import count, did_you_mean
from ssr_hydra.settings.images import check_stem, unknown_model

_CLASSES_OF_WEIGHTS = 1000
_OWNED = ("weights", "progress", "num_classes", "aux_logits", "transform_input")


def torchvision_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    small_images: bool = False,
    weights: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Create a classification model of torchvision that returns logits [N, num_classes].

    Auxiliary classifiers (of GoogLeNet and Inception) are removed, so every model has one output.

    Args:
        name: A name from ``torchvision.models.list_models(module=torchvision.models)``, such as ``resnet50``.
        num_classes: Number of classes. If the pretrained weights have a different number of classes, the last layer
            gets random weights.
        in_channels: Channels of the images. If not 3, the first convolution is changed as in timm. For 1 channel, the
            weights of this convolution are summed over the three channels. For other numbers, the weights for the three
            channels are repeated and multiplied by ``3 / in_channels``.
        small_images: Whether to change the stem for images of about 32x32 pixels. The first convolution then has stride
            1 (and a 3x3 kernel instead of 7x7), and no pooling follows. Available for ResNets and related models,
            DenseNets, MobileNets, EfficientNets, RegNets and ShuffleNets.
        weights: Name of pretrained weights, such as ``DEFAULT`` or ``IMAGENET1K_V2``; None for random weights. The
            weights are downloaded once into torch's cache (``TORCH_HOME``). Their SHA-256 is checked at every use.
        options: Further arguments of torchvision's class, such as ``zero_init_residual`` or ``dropout``.

    Raises:
        InputError: torchvision is not installed, or the model, the name of the weights or an option is unknown.
            ``small_images`` is set for a model that does not support it, or together with ``weights``.
        RunError: The weights cannot be downloaded, or the file does not match the hash in its name.

    Example:
        >>> net = torchvision_model("resnet18", num_classes=10, small_images=True)
        >>> net(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Source: the stem for small images is from He et al. 2016, section 4.2.
    """
    try:
        from torchvision import models
    except ModuleNotFoundError as error:
        raise missing_package("name", name, "torchvision", "vision") from error
    names = models.list_models(module=models)
    if name not in names:
        raise unknown_model(name, did_you_mean(str(name), names))
    count(num_classes, "num_classes")
    count(in_channels, "in_channels")
    if small_images:
        check_stem(name, weights)
    settings = dict(options)
    check_options(settings, "torchvision_model", _OWNED)
    if name in ("googlenet", "inception_v3"):
        # Pretrained weights contain the auxiliary classifiers, which are removed below.
        settings["aux_logits"] = weights is not None
        if weights is None:
            settings.setdefault("init_weights", True)
    chosen = None if weights is None else _verified(models.get_model_weights(name), name, weights)
    try:
        classes = num_classes if chosen is None else _CLASSES_OF_WEIGHTS
        model: nn.Module = models.get_model(name, weights=chosen, num_classes=classes, **settings)
    except (TypeError, ValueError) as error:
        rule = " ".join(str(error).split()) or type(error).__name__
        raise WrongTypeError("options", dict(options), rule, "use arguments of torchvision's class") from error
    if name in ("googlenet", "inception_v3"):
        _without_auxiliaries(model)
    if chosen is not None and num_classes != classes:
        _replace_head(model, num_classes)
    if small_images:
        _replace_stem(model)
    if in_channels != 3:
        _adapt_channels(model, in_channels)
    return model


def check_options(options: Mapping[str, Any], function: str, owned: Collection[str]) -> None:
    """Refuse options that ``function`` sets itself."""
    if both := options.keys() & owned:
        rule = f"cannot be set in options, because {function} sets it"
        raise ConflictError(f"options.{min(both)}", options[min(both)], rule, "remove it from options")


def _verified(choices: Any, name: str, weights: str) -> Any:
    """Download and verify the file of the named weights. torchvision loads this file later."""
    members = choices.__members__  # __members__ also contains the alias DEFAULT
    if weights not in members:
        rule = f"is not a name of pretrained weights of {name}"
        raise UnknownNameError("weights", weights, rule, f"choose {' or '.join(members)}")
    url = members[weights].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(url).path).name
    promised = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if promised is None:
        raise RunError(f"the weights {weights} of {name} have no hash in {url}, so they cannot be verified")
    digest = promised[1]
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            # torch renames a temporary file after verification, so a killed process leaves no incomplete file.
            torch.hub.download_url_to_file(url, str(file), digest, progress=sys.stderr.isatty())
        except (OSError, HTTPException, RuntimeError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise RunError(
                f"cannot download the weights {weights} of {name} from {url} ({reason}); "
                f"without a network put the file at {file}, or set weights=null"
            ) from error
    check_hash(file, digest)
    return members[weights]


def check_hash(file: Path, expected: str) -> None:
    """Refuse a file whose SHA-256 does not start with ``expected``, the hash in its name."""
    with file.open("rb") as stream:
        digest = hashlib.sha256()
        for chunk in iter(lambda: stream.read(2**20), b""):
            digest.update(chunk)
    if not digest.hexdigest().startswith(expected):
        what = f"its SHA-256 starts with {digest.hexdigest()[:8]}"
        raise RunError(f"{file} does not match the hash in its name: {what}; delete it")


def _without_auxiliaries(model: Any) -> None:
    model.aux_logits = False
    for name in ("aux1", "aux2", "AuxLogits"):
        if hasattr(model, name):
            setattr(model, name, None)


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]


def _replace_stem(model: nn.Module) -> None:
    place, convolution = _convolutions(model)[0]
    convolution.stride = (1, 1)
    if convolution.kernel_size == (7, 7):
        small = nn.Conv2d(convolution.in_channels, convolution.out_channels, 3, padding=1, bias=False)
        # torchvision initializes the 7x7 convolution in the same way.
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        model.set_submodule(place, small)
    for pool in ("maxpool", "features.pool0"):
        if any(name == pool for name, _ in model.named_modules()):
            model.set_submodule(pool, nn.Identity())


def _adapt_channels(model: nn.Module, channels: int) -> None:
    place, old = _convolutions(model)[0]
    assert not isinstance(old.padding, str)
    new = nn.Conv2d(
        channels,
        old.out_channels,
        (old.kernel_size[0], old.kernel_size[1]),
        stride=(old.stride[0], old.stride[1]),
        padding=(old.padding[0], old.padding[1]),
        bias=old.bias is not None,
    )
    with torch.no_grad():
        if channels == 1:
            new.weight.copy_(old.weight.sum(1, keepdim=True))
        else:
            repeated = old.weight.repeat(1, math.ceil(channels / 3), 1, 1)[:, :channels]
            new.weight.copy_(repeated * (3 / channels))
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    model.set_submodule(place, new)
    if hasattr(model, "transform_input"):
        setattr(model, "transform_input", False)  # transform_input works only with three channels  # noqa: B010


def _replace_head(model: nn.Module, num_classes: int) -> None:
    """Replace the last layer by a new layer with ``num_classes`` outputs."""
    for place, layer in reversed(list(model.named_modules())):
        if isinstance(layer, nn.Linear) and layer.out_features == _CLASSES_OF_WEIGHTS:
            return model.set_submodule(place, nn.Linear(layer.in_features, num_classes))
        if isinstance(layer, nn.Conv2d) and layer.out_channels == _CLASSES_OF_WEIGHTS:
            return model.set_submodule(place, nn.Conv2d(layer.in_channels, num_classes, kernel_size=1))
    raise AssertionError("the model has no layer with 1,000 outputs")
