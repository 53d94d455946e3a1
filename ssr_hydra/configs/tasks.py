"""Configs of the built-in models and data sets."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from typing import Annotated, Any

from omegaconf import MISSING

from ssr_hydra.configs.derive import Object, config_class, config_of
from ssr_hydra.settings import DataSettings
from ssr_hydra.settings.data import DECIMALS, DTYPES, LAYOUTS, SPLITS, TASKS
from ssr_hydra.settings.images import IMAGE_SETS

__all__ = [
    "DATA",
    "LANGUAGE_DATA",
    "LANGUAGE_MODELS",
    "MODELS",
    "TORCHVISION_MODELS",
    "TRANSFORMS",
    "VISION_DATA",
    "VISION_MODELS",
    "ArraysConfig",
    "ArraysDataConfig",
    "ByteMLPConfig",
    "ByteTransformerConfig",
    "ConvNetConfig",
    "DataConfig",
    "DigitsConfig",
    "DigitsDataConfig",
    "FakeDataConfig",
    "FakeDataDataConfig",
    "ImageFolderConfig",
    "ImageFolderDataConfig",
    "MLPConfig",
    "RandomCropFlipConfig",
    "RandomShiftConfig",
    "SmallImagesConfig",
    "SmallImagesDataConfig",
    "StdlibBytesConfig",
    "StdlibBytesDataConfig",
    "StdlibDocumentsConfig",
    "StdlibDocumentsDataConfig",
    "TimmModelConfig",
    "TorchvisionModelConfig",
    "ViTConfig",
    "as_train",
    "data_config",
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
class ConvNetConfig:
    """Config of ``model=conv``."""

    in_channels: int = 1
    num_classes: int = 10
    widths: list[int] = field(default_factory=lambda: [8, 16])
    _target_: str = field(default="ssr_hydra.models.ConvNet", init=False)


@dataclass
class MLPConfig:
    """Config of ``model=mlp``."""

    in_features: int = 64
    hidden: list[int] = field(default_factory=lambda: [128])
    num_classes: int = 10
    _target_: str = field(default="ssr_hydra.models.MLP", init=False)


@dataclass
class ViTConfig:
    """Config of ``model=vit``."""

    image_size: int = 32
    patch_size: int = 4
    in_channels: int = 3
    num_classes: int = 10
    width: int = 192
    depth: int = 6
    num_heads: int = 3
    mlp_width: int = 768
    dropout: float = 0.0
    _target_: str = field(default="ssr_hydra.models.ViT", init=False)


@dataclass
class DigitsConfig:
    """One split of scikit-learn's digits."""

    split: Annotated[str, SPLITS] = "train"
    eval_fraction: float = 1 / 3
    split_seed: int = 0
    _target_: str = field(default="ssr_hydra.data.Digits", init=False)


@dataclass
class ArraysConfig:
    """One split of a user's arrays or table."""

    path: str = MISSING
    eval_path: str | None = None
    split: Annotated[str, SPLITS] = "train"
    inputs: list[str] | None = None
    targets: list[str] | None = None
    task: Annotated[str, TASKS] = "classification"
    header: bool | None = None
    delimiter: str | None = None
    decimal: Annotated[str, DECIMALS] = "."
    na_values: list[str] | None = None
    shape: list[int] | None = None
    layout: Annotated[str | None, tuple(LAYOUTS)] = None
    dtype: Annotated[str, DTYPES] = "float32"
    divide_by: float = 1.0
    standardize: bool = False
    eval_fraction: float = 0.2
    split_seed: int = 0
    _target_: str = field(default="ssr_hydra.data.Arrays", init=False)


@dataclass
class RandomShiftConfig:
    """Shift every image of a batch by up to ``pixels``."""

    pixels: int = 1
    _target_: str = field(default="ssr_hydra.data.RandomShift", init=False)


@dataclass
class _DataConfig:
    """The group ``data``: the data sets, and the settings of their batches (see ``ssr_hydra.data.make_loaders``).

    ``data=custom`` has no data set: set ``data.train._target_=my_package.MyDataset`` and the arguments of the class.
    The node also has the keys of :class:`~ssr_hydra.settings.DataSettings`, such as ``batch_size`` and ``num_workers``.

    The key ``test`` is the data set that the run evaluates once, at its end. Its value is a file for ``data=arrays``, a
    folder for ``data=image_folder``, or the ``_target_`` of any data set.
    """

    train: Object = field(default_factory=lambda: {"_target_": MISSING})
    eval: Object = None
    test: Annotated[Any, Callable[..., Any] | str | None] = None
    augment: Object = None


DataConfig: Any = config_of(DataSettings, name="DataConfig", module=__name__, bases=(_DataConfig,))


def data_config(name: str, doc: str, train: Any, evaluation: Any, module: str | None = None, **defaults: Any) -> Any:
    """Create the config class for a choice of ``data``: a subclass of :class:`DataConfig` with new types and defaults.

    Args:
        name: The name of the config class.
        doc: The docstring of the config class.
        train: The config of the training data.
        evaluation: The config of the evaluation data.
        module: The name of the module that has the config class as an attribute; by default the module of the class
            of ``train``.
        defaults: Other fields. A value that is an int or a config is the field's default. A value that is a type is
            the field's type, and the default is null.
    """
    config_fields: list[tuple[str, Any, Any]] = [
        ("train", type(train), field(default_factory=partial(copy.deepcopy, train))),
        ("eval", type(evaluation) | None, field(default_factory=partial(copy.deepcopy, evaluation))),
    ]
    for key, value in defaults.items():
        if isinstance(value, int):
            config_fields.append((key, int, field(default=value)))
        elif isinstance(value, type):
            config_fields.append((key, value | None, field(default=None)))
        else:
            config_fields.append((key, type(value) | None, field(default_factory=partial(copy.deepcopy, value))))
    return config_class(name, config_fields, module or type(train).__module__, doc, (DataConfig,))


def as_train(config: type, **own: Any) -> Any:
    """Return a config of evaluation data. Fields that are not in ``own`` refer to the training data's fields."""
    assert is_dataclass(config)
    same = {item.name: f"${{..train.{item.name}}}" for item in fields(config) if item.init}
    return config(**same | own)


# as_train gives both splits the same settings. With different settings, such as split_seed, the splits would overlap.
DigitsDataConfig: Any = data_config(
    "DigitsDataConfig",
    "``data=digits``: the two splits of scikit-learn's digits; training images are shifted by up to one pixel.",
    DigitsConfig(),
    as_train(DigitsConfig, split="eval"),
    augment=RandomShiftConfig(),
)
ArraysDataConfig: Any = data_config(
    "ArraysDataConfig",
    """``data=arrays``: ``data.train.path`` is the user's file. A fifth of its rows is used only for evaluation.

    Alternatively, ``data.eval_path`` or ``data.eval.path`` is a separate file for evaluation.
    """,
    ArraysConfig(),
    as_train(ArraysConfig, split="eval"),
    eval_path=str,
)


# ---- vision


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


# ---- language


@dataclass
class ByteMLPConfig:
    """Config of ``model=byte_mlp``."""

    vocab_size: int = 256
    context: int = 6
    width: int = 32
    hidden: int = 288
    _target_: str = field(default="ssr_hydra.models.ByteMLP", init=False)


@dataclass
class ByteTransformerConfig:
    """Config of ``model=byte_transformer``."""

    vocab_size: int = 256
    width: int = 64
    depth: int = 2
    num_heads: int = 4
    mlp_width: int = 256
    dropout: float = 0.0
    tied: bool = True
    rope_base: float = 100.0
    _target_: str = field(default="ssr_hydra.models.ByteTransformer", init=False)


@dataclass
class StdlibBytesConfig:
    """One split of the source code of Python's standard library, as windows of bytes."""

    split: Annotated[str, SPLITS] = "train"
    length: int = 64
    eval_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    _target_: str = field(default="ssr_hydra.data.StdlibBytes", init=False)


@dataclass
class StdlibDocumentsConfig:
    """One split of the source code of Python's standard library, as documents of different lengths."""

    split: Annotated[str, SPLITS] = "train"
    max_length: int = 256
    eval_fraction: float = 0.1
    split_seed: int = 0
    limit: int | None = None
    _target_: str = field(default="ssr_hydra.data.StdlibDocuments", init=False)


StdlibBytesDataConfig: Any = data_config(
    "StdlibBytesDataConfig",
    "``data=stdlib_bytes``: windows of bytes. Evaluation uses 1,024 windows, spread over all held-out files.",
    StdlibBytesConfig(),
    as_train(StdlibBytesConfig, split="eval", limit=1024),
    eval_batch_size=64,
)
StdlibDocumentsDataConfig: Any = data_config(
    "StdlibDocumentsDataConfig",
    "``data=stdlib_documents``: documents of different lengths. Each batch is padded to its longest document.",
    StdlibDocumentsConfig(),
    as_train(StdlibDocumentsConfig, split="eval", limit=512),
    eval_batch_size=64,
)


# For a custom class, add its arguments with a plus, such as `+model.width=3`, or in a YAML file.
CUSTOM = {"_target_": MISSING}

_TORCHVISION = "resnet18 resnet34 resnet50 mobilenet_v3_small efficientnet_b0 convnext_tiny vit_b_16"

VISION_MODELS: dict[str, Any] = {
    "torchvision": TorchvisionModelConfig,
    "timm": TimmModelConfig,
    **{name: TorchvisionModelConfig(name=name) for name in _TORCHVISION.split()},
}
"""Choices of the group ``model`` for images."""

LANGUAGE_MODELS: dict[str, Any] = {"byte_mlp": ByteMLPConfig, "byte_transformer": ByteTransformerConfig}
"""Choices of the group ``model`` for text."""

MODELS: dict[str, Any] = {
    "conv": ConvNetConfig,
    "mlp": MLPConfig,
    "vit": ViTConfig,
    "custom": CUSTOM,
    **VISION_MODELS,
    **LANGUAGE_MODELS,
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
"""Choices of the group ``data`` with images."""

LANGUAGE_DATA: dict[str, Any] = {"stdlib_bytes": StdlibBytesDataConfig, "stdlib_documents": StdlibDocumentsDataConfig}
"""Choices of the group ``data`` with text."""

DATA: dict[str, Any] = {
    "digits": DigitsDataConfig,
    "arrays": ArraysDataConfig,
    "custom": DataConfig,
    **VISION_DATA,
    **LANGUAGE_DATA,
}
"""Choices of the group ``data``."""
