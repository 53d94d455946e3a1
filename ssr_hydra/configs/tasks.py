"""Configs of the built-in models and data sets."""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from omegaconf import MISSING

__all__ = [
    "DATA",
    "MODELS",
    "ArraysConfig",
    "ArraysDataConfig",
    "ConvNetConfig",
    "DataConfig",
    "DigitsConfig",
    "DigitsDataConfig",
    "MLPConfig",
    "RandomShiftConfig",
    "ViTConfig",
    "as_train",
]


@dataclass
class ConvNetConfig:
    """``model=conv``."""

    in_channels: int = 1
    num_classes: int = 10
    widths: list[int] = field(default_factory=lambda: [8, 16])
    _target_: str = field(default="ssr_hydra.models.ConvNet", init=False)


@dataclass
class MLPConfig:
    """``model=mlp``."""

    in_features: int = 64
    hidden: list[int] = field(default_factory=lambda: [128])
    num_classes: int = 10
    _target_: str = field(default="ssr_hydra.models.MLP", init=False)


@dataclass
class ViTConfig:
    """``model=vit``."""

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
    """One split of the digits."""

    split: str = "train"
    eval_fraction: float = 1 / 3
    split_seed: int = 0
    _target_: str = field(default="ssr_hydra.data.Digits", init=False)


@dataclass
class ArraysConfig:
    """One split of the user's arrays or table."""

    path: str = MISSING
    eval_path: str | None = None
    split: str = "train"
    inputs: list[str] | None = None
    targets: list[str] | None = None
    task: str = "classification"
    header: bool | None = None
    delimiter: str | None = None
    decimal: str = "."
    na_values: list[str] | None = None
    shape: list[int] | None = None
    layout: str | None = None
    dtype: str = "float32"
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
class DataConfig:
    """The group ``data``: the data sets, and how their batches are made (``ssr_hydra.data.make_loaders``).

    ``data=custom`` has no data sets: set ``data.train._target_=my_package.MyDataset`` and its arguments.
    """

    train: Any = field(default_factory=lambda: {"_target_": MISSING})
    eval: Any = None
    batch_size: int = 16
    eval_batch_size: int = 256
    shuffle: bool = True
    drop_last: bool = False
    num_workers: int = 0
    augment: Any = None
    prefetch_factor: int | None = None
    limit_train: int | None = None
    limit_eval: int | None = None
    eval_on_train: bool = False


def as_train(config: type, **own: Any) -> Any:
    """Return the config of the evaluation data; by default its values follow those of the training data."""
    assert is_dataclass(config)
    same = {item.name: f"${{..train.{item.name}}}" for item in fields(config) if item.init}
    return config(**same | own)


@dataclass
class DigitsDataConfig(DataConfig):
    """``data=digits``: the two splits of scikit-learn's digits; training images are shifted by up to one pixel."""

    train: DigitsConfig = field(default_factory=DigitsConfig)
    eval: DigitsConfig | None = field(
        # The splits are disjoint only if both are cut in the same way.
        default_factory=lambda: as_train(DigitsConfig, split="eval")
    )
    augment: RandomShiftConfig | None = field(default_factory=RandomShiftConfig)


@dataclass
class ArraysDataConfig(DataConfig):
    """``data=arrays``: ``data.train.path`` is the file; a fifth of it is held out for evaluation.

    ``data.eval_path``, or ``data.eval.path``, is a separate file to evaluate on.
    """

    train: ArraysConfig = field(default_factory=ArraysConfig)
    eval: ArraysConfig | None = field(default_factory=lambda: as_train(ArraysConfig, split="eval"))
    eval_path: str | None = None


# A custom target: add its arguments with a plus, `+model.width=3`, or write them into a YAML file.
_CUSTOM = {"_target_": MISSING}

MODELS: dict[str, Any] = {"conv": ConvNetConfig, "mlp": MLPConfig, "vit": ViTConfig, "custom": _CUSTOM}
"""Choices of the group ``model``."""

DATA: dict[str, Any] = {"digits": DigitsDataConfig, "arrays": ArraysDataConfig, "custom": DataConfig}
"""Choices of the group ``data``."""
