"""Data sets of images in memory: CIFAR and MNIST, and generated images for trial runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset

from ssr_hydra.data.describe import describe_tensors
from ssr_hydra.data.seeding import fold
from ssr_hydra.data.splits import check_split
from ssr_hydra.errors import PathError, RunError, WrongTypeError, missing_package
from ssr_hydra.settings.base import count as check_count
from ssr_hydra.settings.base import not_negative, one_of
from ssr_hydra.settings.base import seed_number as check_seed
from ssr_hydra.settings.images import IMAGE_SETS, ImageSet

_TIMEOUT = 30.0  # seconds that a download waits for the server


class SmallImages(TensorDataset):
    """CIFAR-10, CIFAR-100, MNIST or Fashion-MNIST, held in memory as float32 and normalized by channel.

    The ``eval`` split has the test images. torchvision reads the files, and checks the MD5 of downloads. For CIFAR, it
    checks the MD5 before every use, because the files are pickles. An interrupted download leaves no incomplete data
    set. The training images of CIFAR take 614 MB of memory, and those of MNIST take 188 MB.

    Args:
        name: ``cifar10``, ``cifar100``, ``mnist`` or ``fashion_mnist``.
        split: ``"train"`` or ``"eval"``.
        root: Folder of the data sets and downloads. None means ``$SSR_HYDRA_DATA``, or ``~/.cache/ssr_hydra`` if the
            variable is not set.
        download: Whether to download missing files.
        normalize: Whether to normalize each channel by its mean and standard deviation in the training images. If
            false, pixels are in [0, 1].

    Raises:
        InputError: torchvision is not installed, the data set or split is unknown, or the data set is missing and
            ``download`` is false.
        RunError: The download failed, or the files are damaged.

    Example:
        >>> SmallImages("cifar10", root="nothing_here", download=False)
        Traceback (most recent call last):
        ssr_hydra.errors.PathError: root='nothing_here': does not have cifar10 (looked for ...

    Source: Krizhevsky 2009; LeCun, Cortes, Burges 1998; Xiao, Rasul, Vollgraf 2017.
    """

    def __init__(
        self,
        name: str = "cifar10",
        split: str = "train",
        root: str | None = None,
        download: bool = True,
        normalize: bool = True,
    ) -> None:
        one_of(name, "name", tuple(IMAGE_SETS))
        self.name, self.split = name, check_split(split)
        self.part, self.partition = split, {"name": name}
        image_set = IMAGE_SETS[name]
        images, labels = _read_images(image_set, name, split, _root(root), download)
        # Describe the original bytes, because they do not depend on ``normalize``.
        self._description = describe_tensors(f"{name} {split}", (images, labels)) | {"normalize": normalize}
        self.num_classes = image_set.num_classes
        pixels = images.to(torch.float32)
        if normalize:
            mean, std = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (image_set.mean, image_set.std))
            pixels.sub_(mean).div_(std)
        else:
            pixels.div_(255)
        super().__init__(pixels, labels)

    def describe(self) -> dict[str, Any]:
        """Return the name, the number of samples, a SHA-256 of the pixels and labels, and the option ``normalize``."""
        return dict(self._description)

    def __repr__(self) -> str:
        shape = list(self.tensors[0].shape[1:])
        return f"SmallImages({self.name!r}, split={self.split!r}: {len(self)} images of {shape})"


def _root(root: object) -> Path:
    if root is None:
        return Path(os.environ.get("SSR_HYDRA_DATA") or "~/.cache/ssr_hydra").expanduser()
    if not isinstance(root, str) or not root or "\0" in root:
        raise PathError("root", root, "must be the path of a folder", "write null for the default")
    return Path(root).expanduser()


def _read_images(image_set: ImageSet, name: str, split: str, root: Path, download: bool) -> tuple[Tensor, Tensor]:
    """Return pixels [N, C, H, W] as bytes, and classes [N]."""
    try:
        from torchvision import datasets
    except ModuleNotFoundError as error:
        raise missing_package("name", name, "torchvision", "vision") from error
    cls = getattr(datasets, image_set.cls)
    folder = root / image_set.folder
    if not folder.exists():
        if not download:
            rule = f"does not have {name} (looked for {folder})"
            fix = f"set download=true, or set root to the folder that contains {image_set.folder}"
            raise PathError("root", os.fspath(root), rule, fix)
        _download(cls, name, root, folder)
    try:
        dataset = cls(os.fspath(root), train=split == "train", download=False)
        images, labels = torch.as_tensor(dataset.data), torch.as_tensor(dataset.targets, dtype=torch.int64)
    except Exception as error:  # a truncated file can cause any error
        reason = " ".join(str(error).split()[:12]) or type(error).__name__
        what = f"{folder} is damaged and cannot be read as {name} ({reason})"
        raise RunError(f"{what}; delete it to download it again") from error
    expected = image_set.samples[split]
    if len(images) != expected or len(labels) != expected or not 0 <= int(labels.min()) <= int(labels.max()) < 100:
        raise RunError(f"{folder} has {len(images)} images instead of {expected}; delete it to download it again")
    return images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous(), labels


def _download(cls: Any, name: str, root: Path, folder: Path) -> None:
    from filelock import FileLock

    urls = [cls.url] if hasattr(cls, "url") else list(cls.mirrors)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"), TemporaryDirectory(prefix=".incomplete-", dir=root) as half:
            if folder.exists():  # another process has downloaded the data
                return
            timeout = socket.getdefaulttimeout()
            socket.setdefaulttimeout(_TIMEOUT)
            try:
                cls(half, download=True)
            finally:
                socket.setdefaulttimeout(timeout)
            (Path(half) / folder.name).rename(folder)
    except (OSError, HTTPException, RuntimeError) as error:  # torchvision raises RuntimeError for a wrong MD5
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"cannot download {name} from {' or '.join(urls)} ({reason[:200]}); without a network, copy the folder "
            f"{folder.name} from another machine to {root}, or try data=fake"
        ) from error


class FakeData(TensorDataset):
    """Generated images to try out a model or an experiment: a coarse pattern for each class, plus noise.

    A model can learn the classes. The class of image ``i`` is ``i % num_classes``. The images are the same on every
    machine.

    Args:
        size: Number of images.
        shape: Shape of one image, [C, H, W].
        num_classes: Number of classes.
        split: ``"train"`` or ``"eval"``. The two splits have the same patterns, but different noise.
        noise: Standard deviation of the noise. The standard deviation of the patterns is 1.
        data_seed: Seed of patterns and noise. The run's seed has no effect on the images.

    Raises:
        InputError: A number is below 1, the shape is not [C, H, W], or the noise is below 0.

    Example:
        >>> images = FakeData(size=20, shape=[1, 8, 8])
        >>> images
        FakeData(split='train': 20 images of [1, 8, 8], 10 classes)
        >>> images[13][1]
        tensor(3)
    """

    def __init__(
        self,
        size: int = 1000,
        shape: Sequence[int] = (3, 32, 32),
        num_classes: int = 10,
        split: str = "train",
        noise: float = 1.0,
        data_seed: int = 0,
    ) -> None:
        check_count(size, "size")
        if isinstance(shape, str) or not isinstance(shape, Sequence) or len(shape) != 3:
            raise WrongTypeError("shape", shape, "must be channels, height and width", "write e.g. [3, 32, 32]")
        channels, height, width = (check_count(value, f"shape[{place}]") for place, value in enumerate(shape))
        self.num_classes, self.split = check_count(num_classes, "num_classes"), check_split(split)
        not_negative(noise, "noise")
        check_seed(data_seed, "data_seed")
        self.part = split
        self.partition = {"shape": list(shape), "num_classes": num_classes, "data_seed": data_seed}

        def draw(stream: int, *sizes: int) -> Tensor:
            return torch.randn(sizes, generator=torch.Generator().manual_seed(fold(data_seed, stream)))

        labels = torch.arange(size) % num_classes
        coarse = draw(0, num_classes, channels, min(height, 8), min(width, 8))
        images = draw(1 if split == "train" else 2, size, channels, height, width).mul_(noise)
        for pixels, classes in zip(torch.split(images, 256), torch.split(labels, 256), strict=True):
            # pixels is a view of images, so this line changes images.
            pixels += F.interpolate(coarse[classes], size=(height, width))
        super().__init__(images, labels)

    def describe(self) -> dict[str, Any]:
        """Return the name, the number of samples, and a SHA-256 of the images and labels."""
        return describe_tensors(f"fake {self.split}", self.tensors)

    def __repr__(self) -> str:
        shape = list(self.tensors[0].shape[1:])
        return f"FakeData(split={self.split!r}: {len(self)} images of {shape}, {self.num_classes} classes)"
