"""Check that built-in models, losses and units of time fit the kind of data: text or images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssr_hydra.app.check_values import check_arguments, check_held_out
from ssr_hydra.configs import StdlibBytesConfig, StdlibDocumentsConfig
from ssr_hydra.errors import InputError
from ssr_hydra.settings.base import count

__all__ = ["check_language"]

_TEXTS: dict[str, Any] = {config._target_: config for config in (StdlibBytesConfig, StdlibDocumentsConfig)}
_IMAGES = tuple(f"ssr_hydra.data.{name}" for name in ("Digits", "FakeData", "ImageFolder", "SmallImages"))
_TEXT_MODELS = ("ssr_hydra.models.ByteMLP", "ssr_hydra.models.ByteTransformer")
_IMAGE_MODELS = tuple(
    f"ssr_hydra.models.{name}" for name in ("ConvNet", "MLP", "ViT", "timm_model", "torchvision_model")
)
_TEXT_FUNCTIONS = ("ssr_hydra.models.next_token_loss", "ssr_hydra.models.bits_per_byte")
_IMAGE_FUNCTIONS = ("torch.nn.CrossEntropyLoss", "ssr_hydra.trainer.accuracy")
_BYTES = 256


def check_language(values: Mapping[str, Any]) -> None:
    """Refuse invalid text data, models and losses for images on text data, and models and losses for text on images.

    Args:
        values: The experiment as plain values. The types in its targets, data, model and trainer have been checked.

    Raises:
        InputError: An argument of the text data is invalid; a model, loss or metric is made for the other kind of
            data; or a time is in tokens although the data has no tokens, so the run would never reach that time.
    """
    data, model, trainer = values["data"], values["model"], values["trainer"]
    for split in ("train", "eval", "test"):
        if isinstance(data.get(split), Mapping) and data[split]["_target_"] in _TEXTS:
            _check_text(data[split], f"data.{split}")
    target = data["train"]["_target_"]
    if target in _TEXTS:
        if model["_target_"] in _IMAGE_MODELS:
            rule = "classifies images, and the data is text"
            raise InputError("model._target_", model["_target_"], rule, "e.g. model=byte_transformer")
        if model["_target_"] in _TEXT_MODELS and model["vocab_size"] < _BYTES:
            rule = f"bytes are {_BYTES} different tokens"
            raise InputError("model.vocab_size", model["vocab_size"], rule, f"set model.vocab_size={_BYTES}")
        fix = "choose trainer=language"
        _check_functions(trainer, _IMAGE_FUNCTIONS, "is for one class per sample, and the data is text", fix)
    elif target in _IMAGES:
        if model["_target_"] in _TEXT_MODELS:
            rule = "reads tokens, and the data is images"
            raise InputError("model._target_", model["_target_"], rule, "e.g. data=stdlib_bytes")
        _check_functions(trainer, _TEXT_FUNCTIONS, "is for text, and the data is images", "choose trainer=default")
        if trainer["get_num_tokens_in_batch"] is None:
            _check_no_tokens(values)


def _check_functions(trainer: Mapping[str, Any], wrong: tuple[str, ...], rule: str, fix: str) -> None:
    places = {"trainer.loss": trainer["loss"] or {"_target_": "torch.nn.CrossEntropyLoss"}}  # the default for pairs
    places.update((f"trainer.metrics.{name}", node) for name, node in trainer["metrics"].items())
    for path, node in places.items():
        if node["_target_"] in wrong:
            raise InputError(f"{path}._target_", node["_target_"], rule, fix)


def _check_no_tokens(values: Mapping[str, Any]) -> None:
    from ssr_hydra.time import as_time

    trainer, checkpoint = values["trainer"], values["checkpoint"]
    times = {"max_duration": values["max_duration"]}
    if isinstance(checkpoint, Mapping):
        times["checkpoint.interval"] = checkpoint.get("interval")
    times.update((f"trainer.{key}", trainer[key]) for key in ("eval_interval", "log_interval", "iteration_length"))
    for field, value in times.items():
        if value is not None and as_time(value, field).unit.value == "tok":
            rule = "the data is images, which have no tokens to count"
            raise InputError(field, value, rule, "use another unit, or set trainer.get_num_tokens_in_batch")


def _check_text(node: Mapping[str, Any], path: str) -> None:
    check_arguments(node, _TEXTS[node["_target_"]], path)
    check_held_out(node, path, 0.1)
    for key, least in (("length", 1), ("max_length", 2), ("limit", 1), ("split_seed", 0)):
        if node.get(key) is not None:
            count(node[key], f"{path}.{key}", least)
