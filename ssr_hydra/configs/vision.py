"""Configs of the vision models and data sets."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from ssr_hydra.configs.tasks import as_train, data_config
from ssr_hydra.settings.data import SPLITS
from ssr_hydra.settings.images import IMAGE_SETS

__all__ = [
    "TORCHVISION_MODELS",
    "TRANSFORMS",
    "VISION_DATA",
    "VISION_MODELS",
    "FakeDataConfig",
    "FakeDataDataConfig",
    "ImageFolderConfig",
    "ImageFolderDataConfig",
    "RandomCropFlipConfig",
    "SmallImagesConfig",
    "SmallImagesDataConfig",
    "TimmModelConfig",
    "TorchvisionModelConfig",
]

TORCHVISION_MODELS = tuple(
    (
        "alexnet convnext_base convnext_large convnext_small convnext_tiny densenet121 densenet161 densenet169 "
        "densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 "
        "efficientnet_b6 efficientnet_b7 efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 "
        "maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small "
        "regnet_x_16gf regnet_x_1_6gf regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf "
        "regnet_y_128gf regnet_y_16gf regnet_y_1_6gf regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf "
        "regnet_y_8gf resnet101 resnet152 resnet18 resnet34 resnet50 resnext101_32x8d resnext101_64x4d "
        "resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 "
        "squeezenet1_1 swin_b swin_s swin_t swin_v2_b swin_v2_s swin_v2_t vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn "
        "vgg19 vgg19_bn vit_b_16 vit_b_32 vit_h_14 vit_l_16 vit_l_32 wide_resnet101_2 wide_resnet50_2"
    ).split()
)
"""Names of torchvision's classification models, so that a name can be checked without importing torchvision."""

TRANSFORMS = tuple(
    (
        "AugMix AutoAugment CenterCrop ColorJitter Compose ConvertImageDtype ElasticTransform GaussianBlur "
        "GaussianNoise Grayscale Identity JPEG Normalize PILToTensor Pad RGB RandAugment RandomAdjustSharpness "
        "RandomAffine RandomApply RandomAutocontrast RandomChannelPermutation RandomChoice RandomCrop RandomEqualize "
        "RandomErasing RandomGrayscale RandomHorizontalFlip RandomInvert RandomOrder RandomPerspective "
        "RandomPhotometricDistort RandomPosterize RandomResize RandomResizedCrop RandomRotation RandomShortestSize "
        "RandomSolarize RandomVerticalFlip Resize ScaleJitter ToImage ToPILImage ToPureTensor TrivialAugmentWide"
    ).split()
)
"""Names of torchvision's v2 transforms that need no ``trust``, because they only compute on an image.

``Lambda`` is not in the list, because it can call any function.
"""


@dataclass
class TorchvisionModelConfig:
    """Config of ``model=torchvision``, which requires ``name``, and of choices that set ``name`` (``resnet50``)."""

    name: Annotated[str, TORCHVISION_MODELS] = MISSING
    num_classes: int = 1000
    in_channels: int = 3
    small_images: bool = False
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    _target_: str = field(default="ssr_hydra.models.torchvision_model", init=False)


@dataclass
class TimmModelConfig:
    """Config of ``model=timm``, which requires ``name``."""

    name: str = MISSING
    num_classes: int = 1000
    in_channels: int = 3
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    _target_: str = field(default="ssr_hydra.models.timm_model", init=False)


@dataclass
class RandomCropFlipConfig:
    """Pad and randomly crop every image of a batch, and flip each image with probability 1/2."""

    padding: int = 4
    flip: bool = True
    _target_: str = field(default="ssr_hydra.data.RandomCropFlip", init=False)


@dataclass
class SmallImagesConfig:
    """One split of CIFAR or MNIST, in memory."""

    name: Annotated[str, tuple(IMAGE_SETS)] = "cifar10"
    split: Annotated[str, SPLITS] = "train"
    root: str | None = None
    download: bool = True
    normalize: bool = True
    _target_: str = field(default="ssr_hydra.data.SmallImages", init=False)


SmallImagesDataConfig: Any = data_config(
    "SmallImagesDataConfig",
    "``data=cifar10``, ``cifar100``, ``mnist`` or ``fashion_mnist``.",
    SmallImagesConfig(),
    as_train(SmallImagesConfig, split="eval"),
    batch_size=128,
    eval_batch_size=1000,
    augment=RandomCropFlipConfig,
)


@dataclass
class FakeDataConfig:
    """One split of a generated data set of images."""

    size: int = 1000
    shape: list[int] = field(default_factory=lambda: [3, 32, 32])
    num_classes: int = 10
    split: Annotated[str, SPLITS] = "train"
    noise: float = 1.0
    data_seed: int = 0
    _target_: str = field(default="ssr_hydra.data.FakeData", init=False)


FakeDataDataConfig: Any = data_config(
    "FakeDataDataConfig",
    "``data=fake``: generated images, to try a model or an experiment without files.",
    FakeDataConfig(),
    as_train(FakeDataConfig, size=200, split="eval"),
)


@dataclass
class ImageFolderConfig:
    """One split of a data set of image files, in one folder per class."""

    root: str = MISSING
    folder: str = "train"
    classes_from: str = "train"
    transforms: dict[str, Any] = field(default_factory=dict)
    mean: list[float] | None = field(default_factory=lambda: [0.485, 0.456, 0.406])
    std: list[float] | None = field(default_factory=lambda: [0.229, 0.224, 0.225])
    _target_: str = field(default="ssr_hydra.data.ImageFolder", init=False)


def _transform(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"torchvision.transforms.v2.{name}", **arguments}


def _train_folder() -> ImageFolderConfig:
    transforms = {"crop": _transform("RandomResizedCrop", size=224), "flip": _transform("RandomHorizontalFlip")}
    return ImageFolderConfig(transforms=transforms)


def _eval_folder() -> Any:
    transforms = {"resize": _transform("Resize", size=256), "crop": _transform("CenterCrop", size=224)}
    return as_train(ImageFolderConfig, folder="val", transforms=transforms)


ImageFolderDataConfig: Any = data_config(
    "ImageFolderDataConfig",
    "``data=image_folder``: image files in ``train/<class>/`` and ``val/<class>/`` below ``data.train.root``.",
    _train_folder(),
    _eval_folder(),
    batch_size=64,
    eval_batch_size=256,
)


_MODELS = "resnet18 resnet34 resnet50 mobilenet_v3_small efficientnet_b0 convnext_tiny vit_b_16"

VISION_MODELS: dict[str, Any] = {
    "torchvision": TorchvisionModelConfig,
    "timm": TimmModelConfig,
    **{name: TorchvisionModelConfig(name=name) for name in _MODELS.split()},
}
"""Choices of the group ``model``."""


def _small(name: str, augment: RandomCropFlipConfig | None = None) -> Any:
    return SmallImagesDataConfig(train=SmallImagesConfig(name=name), augment=augment)


VISION_DATA: dict[str, Any] = {
    "cifar10": _small("cifar10", RandomCropFlipConfig()),
    "cifar100": _small("cifar100", RandomCropFlipConfig()),
    "mnist": _small("mnist"),
    "fashion_mnist": _small("fashion_mnist"),
    "image_folder": ImageFolderDataConfig,
    "imagenet": ImageFolderDataConfig(batch_size=256, num_workers=8),
    "fake": FakeDataDataConfig,
}
"""Choices of the group ``data``."""
