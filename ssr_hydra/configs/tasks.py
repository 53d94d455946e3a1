"""Configs of the built-in models and data sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = [
    "DATA",
    "MODELS",
    "ConvNetConfig",
    "DataConfig",
    "DigitsConfig",
    "DigitsDataConfig",
    "MLPConfig",
    "RandomShiftConfig",
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
class DigitsConfig:
    """One split of the digits."""

    split: str = "train"
    eval_fraction: float = 1 / 3
    split_seed: int = 0
    _target_: str = field(default="ssr_hydra.data.Digits", init=False)


@dataclass
class RandomShiftConfig:
    """Shift every image of a batch by up to ``pixels``."""

    pixels: int = 1
    _target_: str = field(default="ssr_hydra.data.RandomShift", init=False)


@dataclass
class DataConfig:
    """The group ``data``: the data sets and how batches are made of them (``ssr_hydra.data.make_loaders``).

    ``data=custom`` leaves the data sets to the user: ``data.train._target_=my_package.MyDataset`` and its arguments.
    """

    train: Any = field(default_factory=lambda: {"_target_": MISSING})
    eval: Any = None
    batch_size: int = 16
    eval_batch_size: int = 256
    shuffle: bool = True
    drop_last: bool = False
    num_workers: int = 0
    augment: Any = None


@dataclass
class DigitsDataConfig(DataConfig):
    """``data=digits``: the two splits of scikit-learn's digits, training images shifted by up to a pixel."""

    train: DigitsConfig = field(default_factory=DigitsConfig)
    eval: DigitsConfig | None = field(
        default_factory=lambda: DigitsConfig(
            # The splits are disjoint only while both are cut the same way.
            split="eval",
            eval_fraction="${..train.eval_fraction}",  # type: ignore[arg-type]
            split_seed="${..train.split_seed}",  # type: ignore[arg-type]
        )
    )
    augment: RandomShiftConfig | None = field(default_factory=RandomShiftConfig)


# A target of the user's own: its arguments are added with a plus, `+model.width=3`, or written in a YAML.
_CUSTOM = {"_target_": MISSING}

MODELS: dict[str, Any] = {"conv": ConvNetConfig, "mlp": MLPConfig, "custom": _CUSTOM}
"""Choices of the group ``model``."""

DATA: dict[str, Any] = {"digits": DigitsDataConfig, "custom": DataConfig}
"""Choices of the group ``data``."""
