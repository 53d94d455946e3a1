"""A data set of image files, with one folder per class. It reads one image at a time."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssr_hydra.data.describe import digest
from ssr_hydra.errors import (
    MismatchError,
    MissingValueError,
    PathError,
    RunError,
    WrongTypeError,
    missing_package,
)
from ssr_hydra.settings.base import number as check_number
from ssr_hydra.settings.base import positive

_MOST_SIZES = 10_000


class ImageFolder(Dataset[tuple[Tensor, int]]):
    """Images in ``root/folder/<class>/...``, the layout of ImageNet. The workers of a DataLoader read the images.

    The number of a class is its position among the sorted folders in ``root/classes_from``, so a class has the same
    number in every split. A validation folder may have fewer classes, but no additional classes.

    The data set decodes an image to RGB and applies the ``transforms`` in order. If the image is then not a float
    tensor, the data set converts it to float32 in [0, 1]. At the end, the data set normalizes the image by ``mean`` and
    ``std``. Random transforms depend only on (seed, epoch, sample).

    Args:
        root: The folder of the data set.
        folder: The folder of the split in ``root``, such as ``train`` or ``val``.
        classes_from: The folder whose subfolders are the classes. Use an absolute path if it is not in ``root``.
        transforms: A mapping from name to transform of ``torchvision.transforms.v2``. None skips the
            transform with this name. After the transforms, all images must have the same size.
        mean: Values to subtract from the channels; None subtracts nothing. The default is ImageNet's mean.
        std: Divisors of the channels; None does not divide. The default is ImageNet's standard deviation.

    Raises:
        InputError: torchvision is not installed, or a transform cannot be called. A folder is missing, has no classes
            or no images, or has a class that ``classes_from`` does not have.

    Example:
        >>> ImageFolder("nothing_here")
        Traceback (most recent call last):
        ssr_hydra.errors.PathError: root='nothing_here': has no folder train; ...
    """

    def __init__(
        self,
        root: str,
        folder: str = "train",
        classes_from: str = "train",
        transforms: Mapping[str, Callable[[Any], Any] | None] = MappingProxyType({}),
        mean: Sequence[float] | None = (0.485, 0.456, 0.406),
        std: Sequence[float] | None = (0.229, 0.224, 0.225),
    ) -> None:
        try:
            from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset
        except ModuleNotFoundError as error:
            raise missing_package("root", root, "torchvision", "vision") from error
        for field, value in (("root", root), ("folder", folder), ("classes_from", classes_from)):
            if not isinstance(value, str) or not value or "\0" in value:
                raise PathError(field, value, "must be the name of a folder", "write e.g. train")
        for name, transform in transforms.items():
            # `_partial_: true` in a config creates a functools.partial, not a transform.
            if transform is not None and (not callable(transform) or isinstance(transform, functools.partial)):
                fix = "write e.g. a class of torchvision.transforms.v2"
                raise WrongTypeError(f"transforms.{name}", transform, "must be a transform", fix)
        self.transforms = tuple(transform for transform in transforms.values() if transform is not None)
        self._options: Any = {"classes_from": classes_from, "transforms": transforms, "mean": mean, "std": std}
        self._mean, self._std = _per_channel("mean", mean), _per_channel("std", std)
        base = Path(root).expanduser()
        self.root, self.folder = root, folder
        self.classes = _folders(base, classes_from, root)
        number = {name: index for index, name in enumerate(self.classes)}
        for name in _folders(base, folder, root):
            if name not in number:
                rule = f"must not have the class {name!r}, because {base / classes_from} does not have this class"
                fix = "remove the class, or set classes_from to a folder with all classes"
                raise MismatchError("folder", folder, rule, fix)
        try:
            samples = make_dataset(os.fspath(base / folder), number, extensions=IMG_EXTENSIONS, allow_empty=True)
        except OSError as error:
            raise PathError("root", root, f"cannot be read: {error}", "check its permissions") from None
        if not samples:
            fix = f"add images ({' '.join(IMG_EXTENSIONS)})"
            raise MissingValueError("root", root, f"contains no images in {base / folder}", fix)
        # Reference counting writes to a list, so every worker would copy its memory. So store two arrays.
        prefix = len(os.fsencode(base / folder)) + 1
        self._names = np.array([os.fsencode(path)[prefix:] for path, _ in samples])
        self._labels = np.array([label for _, label in samples])
        self._base = base / folder
        self.part, self.partition = os.path.realpath(self._base), {"classes_from": self.classes}

    def other(self, folder: str) -> ImageFolder:
        """Return a test set: the images of ``folder``, with the classes and transforms of this data set.

        Args:
            folder: The name of the folder in ``root``, or an absolute path.

        Raises:
            InputError: The folder is missing, has no images, or has a class that the training data does not have.
        """
        return ImageFolder(self.root, folder, **self._options)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image
        from torchvision.transforms.v2 import functional

        path = self._path(self._names[index])
        try:
            with Image.open(path) as file:
                image: Any = file.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # Pillow raises these errors for a broken image
            raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        for transform in self.transforms:
            image = transform(image)
        tensor = image if isinstance(image, Tensor) else functional.pil_to_tensor(image)
        tensor = tensor.as_subclass(Tensor)
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.float32) / 255
        if self._mean is not None:
            tensor = tensor - self._mean
        if self._std is not None:
            tensor = tensor / self._std
        return tensor, int(self._labels[index])

    def _path(self, name: bytes) -> Path:
        return self._base / os.fsdecode(bytes(name))

    def describe(self) -> dict[str, Any]:
        """Return the name, the number of samples, and a SHA-256 of file names, labels and at most 10,000 file sizes."""
        step = -(-len(self) // _MOST_SIZES)
        sizes = [self._path(name).stat().st_size for name in self._names[::step]]
        parts = [b"\0".join(self._names.tolist()), self._labels.tobytes(), repr(sizes).encode()]
        return {"name": f"{self.root} {self.folder}", "samples": len(self), "sha256": digest(parts)}

    def __repr__(self) -> str:
        return f"ImageFolder({self.root!r}, folder={self.folder!r}: {len(self)} images, {len(self.classes)} classes)"


def _folders(base: Path, folder: str, root: str) -> list[str]:
    try:
        names = sorted(entry.name for entry in os.scandir(base / folder) if entry.is_dir())
    except OSError:
        fix = f"create {(base / folder).absolute()}, or correct root"
        raise PathError("root", root, f"has no folder {folder}", fix) from None
    if not names:
        raise MissingValueError("root", root, f"has no classes in {base / folder}", "create one folder per class")
    return names


def _per_channel(field: str, values: Sequence[float] | None) -> Tensor | None:
    if values is None:
        return None
    if len(values) != 3:
        raise WrongTypeError(field, values, "must be three numbers, one per channel", f"write null for no {field}")
    numbers = [check_number(value, f"{field}[{index}]") for index, value in enumerate(values)]
    if field == "std":
        for index, value in enumerate(numbers):
            positive(value, f"std[{index}]")
    return torch.tensor(numbers, dtype=torch.float32).view(3, 1, 1)
