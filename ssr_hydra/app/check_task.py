"""Check that loss and metrics fit the targets of the data, and that the model fits the data after it was read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ssr_hydra.app.built_ins import TAKES, check_classes, check_sizes
from ssr_hydra.errors import InputError

__all__ = ["check_built", "check_task"]

_ARRAYS, _FOLDERS = "ssr_hydra.data.Arrays", "ssr_hydra.data.ImageFolder"
_CLASSES = (_FOLDERS, *(f"ssr_hydra.data.{name}" for name in ("Digits", "FakeData", "SmallImages")))
_OF_CLASSES = (
    *(f"torch.nn.{name}" for name in ("CrossEntropyLoss", "NLLLoss", "MultiMarginLoss")),
    "ssr_hydra.trainer.accuracy",
)
_OF_NUMBERS = tuple(f"torch.nn.{name}" for name in ("MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss"))


def check_task(values: Mapping[str, Any]) -> None:
    """Refuse a loss for classes if the targets are numbers, and a loss for numbers if the targets are classes.

    Only the targets of built-in data are known. Cross entropy over one class is always 0, and the mean squared
    difference between class numbers and logits is meaningless. With both losses the model would learn nothing.

    Args:
        values: The experiment as plain values. The types in its data and trainer have been checked.
    """
    train, trainer = values["data"]["train"], values["trainer"]
    table = train["_target_"] == _ARRAYS
    if table and train.get("task", "classification") == "regression":
        wrong, rule, fix = _OF_CLASSES, "is for classes, and the targets of data.train are numbers", "regression"
        other = ", or data.train.task=classification"
    elif table or train["_target_"] in _CLASSES:
        wrong, rule, fix = _OF_NUMBERS, "is for numbers, and the targets of data.train are classes", "default"
        other = ", or data.train.task=regression" if table else ""
    else:
        return
    places = {"trainer.loss": trainer["loss"] or {"_target_": "torch.nn.CrossEntropyLoss"}}  # the default for pairs
    places.update((f"trainer.metrics.{name}", node) for name, node in trainer["metrics"].items())
    for path, node in places.items():
        if node["_target_"] in wrong:
            raise InputError(path, node["_target_"], rule, f"choose trainer={fix}{other}")


def check_built(values: Mapping[str, Any], train: Any, evaluation: Any = None) -> None:
    """Refuse a built-in model that does not fit a table or a folder of images that has been read.

    Args:
        values: The checked experiment as plain values.
        train: The data set for training.
        evaluation: The data set for evaluation; None if there is none.
    """
    model, target = values["model"], values["data"]["train"]["_target_"]
    takes = TAKES.get(str(model["_target_"]))
    if takes is None or target not in (_ARRAYS, _FOLDERS) or len(train) == 0:
        return
    if target == _FOLDERS:
        if "in_channels" in takes and model.get("in_channels", 3) != 3:
            rule = "an image of the data has 3 channels"
            raise InputError("model.in_channels", model["in_channels"], rule, "set model.in_channels=3")
        check_classes(model, len(train.classes))
        return
    _check_shape(model, takes, [int(size) for size in train.tensors[0].shape[1:]])
    if train.num_classes is None:
        outputs = int(train.tensors[1].shape[1])
        if model.get("num_classes") != outputs:
            rule = f"a sample of the data has {outputs} target{'' if outputs == 1 else 's'}, each of them an output"
            raise InputError("model.num_classes", model.get("num_classes"), rule, f"set model.num_classes={outputs}")
        return
    check_classes(model, max(train.num_classes, getattr(evaluation, "num_classes", 0)))


def _check_shape(model: Mapping[str, Any], takes: tuple[str, ...], shape: list[int]) -> None:
    numbers = math.prod(shape)
    if "in_features" in takes:
        if model["in_features"] != numbers:
            rule = f"a sample of the data has {numbers} number{'' if numbers == 1 else 's'}"
            raise InputError("model.in_features", model["in_features"], rule, f"set model.in_features={numbers}")
        return
    if len(shape) != 3:
        rule = f"takes images, and a sample of the data is shaped {shape}"
        fix = f"use model=mlp model.in_features={numbers}, or set data.train.shape and data.train.layout"
        raise InputError("model._target_", model["_target_"], rule, fix)
    sizes = {"in_channels": shape[0], "image_size": shape[1]}
    check_sizes(model, {key: sizes[key] for key in takes}, shape)
