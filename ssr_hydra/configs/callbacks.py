"""Configs of loggers and callbacks."""

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "CALLBACKS",
    "LOGGERS",
    "CSVLoggerConfig",
    "EMAConfig",
    "MLflowLoggerConfig",
    "ProfilerConfig",
    "TensorBoardLoggerConfig",
    "ThroughputConfig",
    "WandbLoggerConfig",
]


@dataclass
class CSVLoggerConfig:
    """``logger=csv``: ``metrics.csv``, the records as a table."""

    _target_: str = field(default="ssr_hydra.callbacks.CSVLogger", init=False)


@dataclass
class TensorBoardLoggerConfig:
    """``logger=tensorboard``: event files in ``tensorboard/``; needs the extra ``tensorboard``."""

    _target_: str = field(default="ssr_hydra.callbacks.TensorBoardLogger", init=False)


@dataclass
class WandbLoggerConfig:
    """``logger=wandb``: Weights & Biases; needs the extra ``wandb``.

    Attributes:
        project: The project of the run.
        mode: ``online`` or ``offline``; null means ``WANDB_MODE``, or online.
        tags: Tags of the run.
        group: The group that shows the run together with others.
    """

    project: str = "ssr_hydra"
    mode: str | None = None
    tags: list[str] = field(default_factory=list)
    group: str | None = None
    _target_: str = field(default="ssr_hydra.callbacks.WandbLogger", init=False)


@dataclass
class MLflowLoggerConfig:
    """``logger=mlflow``: MLflow, at ``MLFLOW_TRACKING_URI`` or in ``mlflow/``; needs the extra ``mlflow``.

    Attributes:
        experiment: The MLflow experiment of the run.
    """

    experiment: str = "ssr_hydra"
    _target_: str = field(default="ssr_hydra.callbacks.MLflowLogger", init=False)


@dataclass
class EMAConfig:
    """``callbacks=ema``: a moving average of the weights.

    Attributes:
        decay: The decay of one update; null means 0.999, or the decay that follows from ``half_life``.
        half_life: The time after which a contribution has halved, such as ``0.05dur``; replaces ``decay``.
        interval: Batches between two updates.
        warmup: Whether the decay grows over the first updates.
        evaluate: Whether to evaluate the average instead of the weights.
    """

    decay: float | None = None
    half_life: str | None = None
    interval: int = 1
    warmup: bool = True
    evaluate: bool = True
    _target_: str = field(default="ssr_hydra.callbacks.EMA", init=False)


@dataclass
class ProfilerConfig:
    """``callbacks=profiler``: torch's profiler over a few batches, written to ``profile/``.

    Attributes:
        wait: Batches that are not profiled.
        warmup: Batches that are profiled and discarded.
        active: Batches that are profiled and written.
        repeat: Number of cycles.
        record_shapes: Whether to record the shapes of the operators' inputs.
        profile_memory: Whether to record allocations.
        with_stack: Whether to record the line of Python that called an operator.
        rows: Lines of the table.
    """

    wait: int = 5
    warmup: int = 2
    active: int = 5
    repeat: int = 1
    record_shapes: bool = False
    profile_memory: bool = False
    with_stack: bool = False
    rows: int = 30
    _target_: str = field(default="ssr_hydra.callbacks.Profiler", init=False)


@dataclass
class ThroughputConfig:
    """``callbacks=throughput``: samples, tokens and batches per second in the records."""

    _target_: str = field(default="ssr_hydra.callbacks.Throughput", init=False)


LOGGERS: dict[str, Any] = {
    "csv": CSVLoggerConfig,
    "tensorboard": TensorBoardLoggerConfig,
    "wandb": WandbLoggerConfig,
    "mlflow": MLflowLoggerConfig,
}
"""Choices of the group ``logger``, each in its own package ``logger.<name>``, so that you can choose several."""

CALLBACKS: dict[str, Any] = {"ema": EMAConfig, "profiler": ProfilerConfig, "throughput": ThroughputConfig}
"""Choices of the group ``callbacks``, each in its own package ``callbacks.<name>``, so that you can choose several."""
