"""Models of timm, for any number of classes and channels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from ssr_hydra.errors import RunError, UnknownNameError, UnsupportedError, WrongTypeError, missing_package
from ssr_hydra.models.vision import check_hash, check_options
from ssr_hydra.settings.base import count, did_you_mean

_OWNED = (
    "cache_dir checkpoint_path exportable in_chans no_jit num_classes pretrained pretrained_cfg pretrained_cfg_overlay "
    "scriptable"
).split()


def timm_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    weights: str | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """Create a model of timm that returns logits [N, num_classes].

    Args:
        name: A name from ``timm.list_models()``, such as ``resnet18`` or ``vit_tiny_patch16_224``.
        num_classes: Number of classes. If the pretrained weights have a different number of classes, the last layer
            gets random weights.
        in_channels: Channels of the images. If it is not 3, timm adapts the first convolution.
        weights: Name of pretrained weights, such as ``DEFAULT`` or ``a1_in1k``; None for random weights. The weights
            are downloaded once into the cache of the Hugging Face Hub (``HF_HOME``). Their SHA-256 is checked at every
            use.
        options: Further arguments of timm's class, such as ``drop_path_rate`` or ``img_size``.

    Raises:
        InputError: timm is not installed, or the model, the name of the weights or an option is unknown.
        RunError: The weights cannot be downloaded, or the file does not match its SHA-256.

    Example:
        >>> import torch
        >>> net = timm_model("resnet18", num_classes=10, in_channels=1)  # doctest: +SKIP
        >>> net(torch.zeros(2, 1, 32, 32)).shape  # doctest: +SKIP
        torch.Size([2, 10])
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise missing_package("name", name, "timm", "timm") from error
    names = timm.list_models()
    if name not in names:
        fix = did_you_mean(str(name), names)
        stem, _, tag = str(name).partition(".")
        if tag and stem in names:
            fix = f"write name={stem} weights={tag}"
        raise UnknownNameError("name", name, "is not a model of timm", fix)
    count(num_classes, "num_classes")
    count(in_channels, "in_channels")
    check_options(options, "timm_model", _OWNED)
    settings: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels, **options}
    if weights is not None:
        config = _config_of(timm, name, weights)
        overlay = {"file": str(_verified(config.hf_hub_id, name, weights)), "hf_hub_id": None}
        settings |= {"pretrained": True, "pretrained_cfg": config.tag, "pretrained_cfg_overlay": overlay}
    try:
        model: nn.Module = timm.create_model(name, **settings)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        rule = " ".join(str(error).split()) or type(error).__name__
        raise WrongTypeError("options", dict(options), rule, "use arguments of timm's class") from error
    return model


def _config_of(timm: Any, name: str, weights: str) -> Any:
    """Return timm's description of the named weights. ``DEFAULT`` means timm's default weights of this model."""
    tags = [tag.partition(".")[2] for tag in timm.list_pretrained(f"{name}.*")]
    if weights != "DEFAULT" and weights not in tags:
        fix = f"choose {' or '.join(['DEFAULT', *tags])}" if tags else "set weights=null"
        raise UnknownNameError("weights", weights, f"is not a name of pretrained weights of {name}", fix)
    config = timm.get_pretrained_cfg(name if weights == "DEFAULT" else f"{name}.{weights}")
    if config is None or not config.hf_hub_id:
        rule = f"must be null, because timm has no weights of {name} on the Hub"
        raise UnsupportedError("weights", weights, rule, "set weights=null")
    return config


def _verified(repository: str, name: str, weights: str) -> Path:
    """Download and verify the file of the weights."""
    from huggingface_hub import hf_hub_download

    try:
        file = Path(hf_hub_download(repository, "model.safetensors"))
    except Exception as error:  # the libraries that download have their own error types
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"cannot download the weights {weights} of {name} from the Hugging Face Hub ({reason[:300]}); "
            f"without a network copy the Hub's cache (HF_HOME), or set weights=null"
        ) from error
    target = file.resolve()  # the path is a link to a file whose name is the SHA-256 of its content
    check_hash(target, target.name)
    return file
