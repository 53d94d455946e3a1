"""Check that model, loss, metrics and units of time fit the kind of data: text, images, class labels or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssr_hydra.app.built_ins import TAKES, check_classes, check_shape
from ssr_hydra.errors import MismatchError
from ssr_hydra.time import as_time

_ARRAYS, _FOLDERS = "ssr_hydra.data.Arrays", "ssr_hydra.data.ImageFolder"
_TEXTS = ("ssr_hydra.data.StdlibBytes", "ssr_hydra.data.StdlibDocuments")
_IMAGES = (_FOLDERS, *(f"ssr_hydra.data.{name}" for name in ("Digits", "FakeData", "SmallImages")))
_TEXT_MODELS = ("ssr_hydra.models.ByteMLP", "ssr_hydra.models.ByteTransformer")
_BYTES = 256
# Losses and metrics that fit only one kind of target: text, classes or numbers.
_OF_TEXT = ("ssr_hydra.models.next_token_loss", "ssr_hydra.models.bits_per_byte")
_OF_CLASSES = (
    *(f"torch.nn.{name}" for name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")),
    "ssr_hydra.trainer.accuracy",
)
_OF_NUMBERS = tuple(f"torch.nn.{name}" for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"))


def check_task(values: Mapping[str, Any]) -> None:
    """Refuse a built-in model, loss or metric that does not fit the kind of the built-in data.

    For images, also refuse a length or an interval in tokens, because a run on images counts no tokens.
    """
    train, model, trainer = values["data"]["train"], values["model"], values["trainer"]
    target, is_table = train["_target_"], train["_target_"] == _ARRAYS
    if target in _TEXTS:
        if model["_target_"] in TAKES:
            rule = "is a model for images, but the data is text"
            raise MismatchError("model._target_", model["_target_"], rule, "e.g. model=byte_transformer")
        if model["_target_"] in _TEXT_MODELS and model["vocab_size"] < _BYTES:
            rule = f"must be at least {_BYTES}, because a byte has {_BYTES} values"
            raise MismatchError("model.vocab_size", model["vocab_size"], rule, f"set model.vocab_size={_BYTES}")
        rule = "is for data with one class per sample, but the data is text"
        wrong = ("torch.nn.CrossEntropyLoss", "ssr_hydra.trainer.accuracy")
        _refuse_functions(trainer, wrong, rule, "choose trainer=language", "._target_")
    elif target in _IMAGES:
        if model["_target_"] in _TEXT_MODELS:
            rule = "is a model for text, but the data is images"
            raise MismatchError("model._target_", model["_target_"], rule, "e.g. data=stdlib_bytes")
        rule = "is for text, but the data is images"
        _refuse_functions(trainer, _OF_TEXT, rule, "choose trainer=default", "._target_")
        if trainer["get_num_tokens_in_batch"] is None:
            _refuse_tokens(values)
    if is_table and train.get("task", "classification") == "regression":
        rule = "is for classes, but the targets of data.train are numbers"
        fix = "choose trainer=regression, or data.train.task=classification"
        _refuse_functions(trainer, _OF_CLASSES, rule, fix)
    elif is_table or target in _IMAGES:
        rule = "is for numbers, but the targets of data.train are classes"
        fix = f"choose trainer=default{', or data.train.task=regression' if is_table else ''}"
        _refuse_functions(trainer, _OF_NUMBERS, rule, fix)


def _refuse_functions(trainer: Mapping[str, Any], wrong: Sequence[str], rule: str, fix: str, key: str = "") -> None:
    nodes = {"trainer.loss": trainer["loss"] or {"_target_": "torch.nn.CrossEntropyLoss"}}  # null means this loss
    nodes.update((f"trainer.metrics.{name}", node) for name, node in trainer["metrics"].items())
    for path, node in nodes.items():
        if node["_target_"] in wrong:
            raise MismatchError(f"{path}{key}", node["_target_"], rule, fix)


def _refuse_tokens(values: Mapping[str, Any]) -> None:
    trainer, checkpoint = values["trainer"], values["checkpoint"]
    times = {"max_duration": values["max_duration"]}
    if isinstance(checkpoint, Mapping):
        times["checkpoint.interval"] = checkpoint.get("interval")
    times.update((f"trainer.{key}", trainer[key]) for key in ("eval_interval", "log_interval", "iteration_length"))
    for field, value in times.items():
        if value is not None and as_time(value, field).unit.value == "tok":
            rule = "cannot be in tokens, because the data is images"
            raise MismatchError(field, value, rule, "use another unit, or set trainer.get_num_tokens_in_batch")


def check_built(values: Mapping[str, Any], train: Any, evaluation: Any = None) -> None:
    """Refuse a built-in model that does not fit the table or the folder of images, which has now been read."""
    model, target = values["model"], values["data"]["train"]["_target_"]
    takes = TAKES.get(str(model["_target_"]))
    if takes is None or target not in (_ARRAYS, _FOLDERS) or len(train) == 0:
        return
    if target == _FOLDERS:
        if "in_channels" in takes and model.get("in_channels", 3) != 3:
            rule = "must be 3, the number of channels of the images"
            raise MismatchError("model.in_channels", model["in_channels"], rule, "set model.in_channels=3")
        check_classes(model, len(train.classes))
        return
    check_shape(model, train.tensors[0].shape[1:])
    if train.num_classes is None:
        outputs = int(train.tensors[1].shape[1])
        if model.get("num_classes") != outputs:
            rule = f"must be {outputs}, the number of targets in a sample"
            raise MismatchError("model.num_classes", model.get("num_classes"), rule, f"set model.num_classes={outputs}")
        return
    check_classes(model, max(train.num_classes, getattr(evaluation, "num_classes", 0)))
