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
    "data_config",
]


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


def data_config(name: str, doc: str, train: Any, evaluation: Any, **defaults: Any) -> Any:
    """Create the config class for a choice of ``data``: a :class:`DataConfig` with its own types and defaults.

    Args:
        name: The name of the config class.
        doc: The docstring of the config class.
        train: The config of the training data. Its module must have the new config class as an attribute.
        evaluation: The config of the evaluation data.
        defaults: Values for other fields. An int or a config is the default of the field. A type is the type of a field
            whose default is null.
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
    return config_class(name, config_fields, type(train).__module__, doc, (DataConfig,))


def as_train(config: type, **own: Any) -> Any:
    """Return a config of evaluation data. Fields that are not in ``own`` refer to the training data's config."""
    assert is_dataclass(config)
    same = {item.name: f"${{..train.{item.name}}}" for item in fields(config) if item.init}
    return config(**same | own)


# as_train gives both splits the same settings. Otherwise the splits would overlap.
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


# For a custom class, add its arguments with a plus, such as `+model.width=3`, or in a YAML file.
CUSTOM = {"_target_": MISSING}

MODELS: dict[str, Any] = {"conv": ConvNetConfig, "mlp": MLPConfig, "vit": ViTConfig, "custom": CUSTOM}
"""Choices of the group ``model``."""

DATA: dict[str, Any] = {"digits": DigitsDataConfig, "arrays": ArraysDataConfig, "custom": DataConfig}
"""Choices of the group ``data``."""
