"""Check built-in data and models before they are created: names, arguments, and whether the model fits the data."""

from __future__ import annotations

import importlib.util
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssr_hydra.app.check_values import check_fields
from ssr_hydra.app.targets import DATA_CONFIGS, EXTRAS, walk
from ssr_hydra.configs import TORCHVISION_MODELS
from ssr_hydra.errors import (
    ConflictError,
    MismatchError,
    MissingValueError,
    PathError,
    RangeError,
    UnknownNameError,
    missing_package,
    within,
)
from ssr_hydra.settings.base import count, did_you_mean, fraction, one_of
from ssr_hydra.settings.data import SPLITS
from ssr_hydra.settings.images import DIGITS, IMAGE_SETS, ImageSet, check_stem, unknown_model

# The smallest allowed values of integer arguments.
_LEAST_COUNTS = {"length": 1, "max_length": 2, "limit": 1, "split_seed": 0}


def check_known(values: Mapping[str, Any]) -> None:
    """Refuse invalid arguments of built-in data and of torchvision's models."""
    for path, node in walk(values):
        if not isinstance(node, Mapping) or "_target_" not in node:
            continue
        target = str(node["_target_"])
        if target in DATA_CONFIGS:
            check_fields(node, DATA_CONFIGS[target], path, is_complete=False)
            one_of(node.get("split", "train"), f"{path}.split", SPLITS)
            fraction(node.get("eval_fraction", 0.5), f"{path}.eval_fraction")
            for key, least in _LEAST_COUNTS.items():
                if node.get(key) is not None:
                    count(node[key], f"{path}.{key}", least)
        if target == "ssr_hydra.data.Digits" and known_samples(node) in (0, DIGITS):
            rule = "must leave images for both training and evaluation"
            raise RangeError(f"{path}.eval_fraction", node["eval_fraction"], rule, f"set {path}.eval_fraction=0.2")
        if target == "ssr_hydra.data.SmallImages":
            _check_small_images(node, path)
        elif target == "ssr_hydra.models.torchvision_model":
            _check_torchvision_model(node, path)
        package = _NEEDS.get(target, target.partition(".")[0])
        if package in EXTRAS and importlib.util.find_spec(package) is None:
            raise missing_package(path, node.get("name", target), package, EXTRAS[package])
    _check_loading(values["data"])
    _check_apart(values["data"])


def _check_loading(data: Mapping[str, Any]) -> None:
    """Refuse values of ``data`` that the data loaders would otherwise refuse only after reading the data."""
    targets = [data[split]["_target_"] for split in ("train", "eval") if data[split] is not None]
    if data["num_workers"] and all(target in _IN_MEMORY for target in targets):
        rule = "must be 0, because this data is in memory and needs no workers"
        raise ConflictError("data.num_workers", data["num_workers"], rule, "set data.num_workers=0")
    if data["augment"] is not None and targets[0] == "ssr_hydra.data.ImageFolder":
        rule = "works only with data in memory, but this data is read from folders"
        raise ConflictError(
            "data.augment",
            data["augment"]["_target_"],
            rule,
            "set data.augment=null, and add the augmentation to data.train.transforms",
        )


# If data.train and data.eval have the same built-in class, these arguments must be equal. Otherwise the two data sets
# could have common samples, or different numbers for the same class.
_COMMON = ("name", "eval_fraction", "split_seed", "shape", "num_classes", "data_seed")


def _check_apart(data: Mapping[str, Any]) -> None:
    train, evaluation = data["train"], data["eval"]
    if evaluation is None or evaluation["_target_"] != train["_target_"] or not train["_target_"].startswith(_HOME):
        return
    for key in _COMMON if train.get("eval_path") is None else ():
        if key in train and train[key] != evaluation.get(key, train[key]):
            rule = (
                f"must be equal to data.train.{key} ({train[key]!r}), so that the two data sets have the same class "
                "numbers and no common samples"
            )
            raise MismatchError(
                f"data.eval.{key}", evaluation[key], rule, f"remove data.eval.{key} to use data.train.{key}"
            )
    part = "folder" if train["_target_"] == _FOLDERS else "split"
    same_root = part == "split" or os.path.realpath(train["root"]) == os.path.realpath(evaluation["root"])
    if same_root and part in train and train[part] == evaluation.get(part):
        rule = "must not be the training data"
        raise ConflictError(
            f"data.eval.{part}", evaluation[part], rule, f"remove data.eval.{part}, or set data.eval_on_train=true"
        )


def with_two_sources(data: Any) -> Any:
    """Return ``data``, prepared for evaluation data in a separate file or folder.

    For a table, several keys, such as ``data.eval_path`` and ``data.eval.path``, can name the evaluation file. The
    result has this file as ``eval_path`` in ``data.train`` and ``data.eval``. If ``data.eval.root`` of a folder of
    images differs from ``data.train.root``, the result has a ``data.eval.classes_from``, so that the evaluation data
    uses the class numbers of the training folder.
    """
    train = data.get("train") if isinstance(data, Mapping) else None
    if not isinstance(train, Mapping) or train.get("_target_") not in (_ARRAYS, _FOLDERS):
        return data
    data, evaluation = dict(data), data.get("eval")
    evaluates = isinstance(evaluation, Mapping) and evaluation.get("_target_") == train["_target_"]
    if train["_target_"] == _FOLDERS:
        classes = train.get("classes_from", "train")
        is_default = evaluates and evaluation.get("classes_from", "train") == classes
        root = train.get("root")
        if is_default and isinstance(root, str) and not _is_same_path(evaluation.get("root"), root):
            data["eval"] = {**evaluation, "classes_from": str(Path(root).expanduser().resolve() / classes)}
        return data
    named = {"data.eval_path": data.pop("eval_path", None), "data.train.eval_path": train.get("eval_path")}
    if evaluates:
        named["data.eval.eval_path"] = evaluation.get("eval_path")
        if _is_same_path(evaluation.get("path"), train.get("path")):
            data["eval"] = evaluation = {**evaluation, "path": train.get("path")}
        else:
            named["data.eval.path"] = evaluation.get("path")
    paths = {field: path for field, path in named.items() if path is not None}
    if not paths:
        return data
    (first, path), *others = paths.items()
    if not evaluates and first == "data.eval_path":
        rule = "has no effect without data.eval, which reads this file"
        raise MissingValueError(first, path, rule, "remove data.eval_path or data.eval=null")
    for field, other in others:
        if not _is_same_path(other, path):
            raise MismatchError(
                field, other, f"must be the same file as {first} ({path!r})", f"set only one of {first} and {field}"
            )
    data["train"] = {**train, "eval_path": path}
    if evaluates:
        data["eval"] = {**evaluation, "path": train.get("path"), "eval_path": path}
    return data


def _is_same_path(one: object, other: object) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return one == other
    try:
        return os.path.realpath(Path(one).expanduser()) == os.path.realpath(Path(other).expanduser())
    except ValueError:  # no file can have this name
        return one == other


_HOME = "ssr_hydra.data."
_ARRAYS, _FOLDERS = f"{_HOME}Arrays", f"{_HOME}ImageFolder"
_IN_MEMORY = tuple(f"ssr_hydra.data.{name}" for name in ("Arrays", "Digits", "FakeData", "SmallImages"))
_NEEDS = {
    "ssr_hydra.data.SmallImages": "torchvision",
    "ssr_hydra.data.ImageFolder": "torchvision",
    "ssr_hydra.models.torchvision_model": "torchvision",
    "ssr_hydra.models.timm_model": "timm",
}


def _check_small_images(node: Mapping[str, Any], path: str) -> None:
    name, root = node.get("name", "cifar10"), node.get("root")
    if name not in IMAGE_SETS:
        raise UnknownNameError(f"{path}.name", name, "is not a known data set", did_you_mean(str(name), IMAGE_SETS))
    # Accept download=false, which writes no file, and root=null, which means $SSR_HYDRA_DATA or the default folder.
    if root is None or not node.get("download", True):
        return
    own = Path(os.environ.get("SSR_HYDRA_DATA") or "~/.cache/ssr_hydra").expanduser()
    folder = Path(os.path.realpath(Path(root).expanduser()))
    # A config from someone else must not choose where this package writes files.
    if not any(folder.is_relative_to(os.path.realpath(place)) for place in (Path.cwd(), own)):
        rule = "must be inside the working directory or $SSR_HYDRA_DATA, because the data is downloaded into root"
        fix = f"set SSR_HYDRA_DATA={root} in the environment, or {path}.download=false if the files are already there"
        raise PathError(f"{path}.root", root, rule, fix)


def _check_torchvision_model(node: Mapping[str, Any], path: str) -> None:
    name = node.get("name")
    if name not in TORCHVISION_MODELS:
        raise unknown_model(name, did_you_mean(str(name), TORCHVISION_MODELS)).within(path)
    for key in ("num_classes", "in_channels"):
        count(node.get(key, 1), f"{path}.{key}", 1)
    if node.get("small_images") is True:
        with within(path):
            check_stem(str(name), node.get("weights"))


def data_name(data: Any) -> str | None:
    """Return the name of the data, which is the default name of the run; None if the data is invalid.

    Example:
        >>> data_name({"train": {"_target_": "my_package.NightSky"}})
        'night_sky'
    """
    train = data.get("train") if isinstance(data, Mapping) else None
    target = train.get("_target_") if isinstance(train, Mapping) else None
    if not isinstance(target, str) or not isinstance(train, Mapping):
        return None
    if target == "ssr_hydra.data.SmallImages":
        return str(train.get("name", "cifar10"))
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", target.rpartition(".")[2]).lower()


def _images(node: Mapping[str, Any]) -> ImageSet | None:
    """Return the image shape, the number of classes and the images per split; None if the data must be loaded first."""
    target = node["_target_"]
    if target == "ssr_hydra.data.Digits":
        held_out = round(float(node.get("eval_fraction", 1 / 3)) * DIGITS)
        return ImageSet((1, 8, 8), 10, {"train": DIGITS - held_out, "eval": held_out})
    if target == "ssr_hydra.data.SmallImages":
        return IMAGE_SETS[node.get("name", "cifar10")]
    if target == "ssr_hydra.data.FakeData":
        size = int(node.get("size", 1000))
        shape = tuple(node.get("shape", (3, 32, 32)))
        return ImageSet(shape, node.get("num_classes", 10), {"train": size, "eval": size})
    return None


def known_samples(node: Mapping[str, Any]) -> int | None:
    """Return the number of samples of a data set; None if the number is unknown before the data is loaded."""
    images = _images(node)
    return None if images is None else images.samples.get(node.get("split", "train"))


def check_fit(data: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Refuse a built-in model that does not fit the images or the number of classes of built-in data."""
    images = _images(data["train"])
    if images is None or len(images.shape) != 3 or math.prod(images.shape) <= 0:
        return
    augment = data["augment"]
    may_resize = augment is not None and not str(augment["_target_"]).startswith("ssr_hydra.")
    if model["_target_"] == "ssr_hydra.models.torchvision_model" and not may_resize:
        _check_size(model, images.shape)
    if model["_target_"] in TAKES:
        check_shape(model, images.shape)
        check_classes(model, images.num_classes)


def check_shape(model: Mapping[str, Any], shape: Sequence[int]) -> None:
    """Refuse a built-in model that does not fit ``shape``, the shape of a sample of the data."""
    takes = TAKES[model["_target_"]]
    sizes = {"in_features": math.prod(shape)}
    if "in_features" not in takes:
        if len(shape) != 3:
            rule = f"is a model for images, but a sample of the data has the shape {list(shape)}"
            fix = f"use model=mlp model.in_features={math.prod(shape)}, or set data.train.shape and data.train.layout"
            raise MismatchError("model._target_", model["_target_"], rule, fix)
        sizes = {"in_channels": shape[0], "image_size": shape[1]}
    for key in takes:
        if model.get(key, sizes[key]) != sizes[key]:
            rule = f"must match the data, whose samples have the shape {list(shape)}"
            raise MismatchError(f"model.{key}", model[key], rule, f"set model.{key}={sizes[key]}")


def check_classes(model: Mapping[str, Any], classes: int) -> None:
    """Refuse a model with fewer outputs than the data has classes."""
    outputs = model.get("num_classes")
    if isinstance(outputs, int) and outputs < classes:
        rule = f"must be at least {classes}, the number of classes of the data"
        raise MismatchError("model.num_classes", outputs, rule, f"set model.num_classes={classes}")


LEAST = {
    "alexnet": 63, "convnext": 32, "densenet": 29, "googlenet": 15, "inception_v3": 75, "squeezenet1_0": 21,
    "squeezenet1_1": 17, "vgg": 32,
}  # fmt: skip
"""A mapping from the start of a torchvision model's name to the smallest image size that the model accepts."""
# Torchvision models whose names start with these keys accept only one image size. The values are the options that set
# this size.
_FIXED = {"vit_": "image_size", "maxvit_": "input_size"}
_DEFAULT_SIZE = 224


def _check_size(model: Mapping[str, Any], shape: tuple[int, ...]) -> None:
    """Refuse images that are too small for a torchvision model, or that do not have the model's fixed image size."""
    name, (_, height, width) = str(model["name"]), shape
    what = f"but the images of the data are {' x '.join(map(str, shape))}"
    least = next((size for start, size in LEAST.items() if name.startswith(start)), 1)
    if min(height, width) < least and model.get("small_images") is not True:
        rule = f"needs images of at least {least} x {least}, {what}"
        raise MismatchError("model.name", name, rule, "choose a different model, e.g. model=resnet18")
    option = next((option for start, option in _FIXED.items() if name.startswith(start)), None)
    options = model.get("options") or {}
    if option is None or model.get("weights") is not None or not isinstance(options, Mapping):
        return  # pretrained weights fix the image size
    size = options.get(option, _DEFAULT_SIZE)
    if isinstance(size, int) and (height, width) != (size, size):
        rule = f"needs images of {size} x {size}, {what}"
        patch = int(match[1]) if (match := re.fullmatch(r"vit_\w_(\d+)", name)) else 0
        fits = patch and height == width and height % patch == 0
        override = f"{'' if option in options else '+'}model.options.image_size={height}"
        fix = f"set {override}, or choose model=vit" if fits else "choose a different model, e.g. model=vit"
        raise MismatchError("model.name", name, rule, fix)


TAKES = {
    "ssr_hydra.models.ConvNet": ("in_channels",),
    "ssr_hydra.models.MLP": ("in_features",),
    "ssr_hydra.models.ViT": ("in_channels", "image_size"),
    "ssr_hydra.models.torchvision_model": ("in_channels",),
    "ssr_hydra.models.timm_model": ("in_channels",),
}
"""A mapping from the target of a built-in model to the names of its arguments that must match the data."""
