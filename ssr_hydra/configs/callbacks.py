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
        project: The project that the run appears in.
        mode: ``online`` or ``offline``; null is what ``WANDB_MODE`` says, else online.
        tags: Of the run.
        group: Under which it is shown together with others.
    """

    project: str = "ssr_hydra"
    mode: str | None = None
    tags: list[str] = field(default_factory=list)
    group: str | None = None
    _target_: str = field(default="ssr_hydra.callbacks.WandbLogger", init=False)


@dataclass
class MLflowLoggerConfig:
    """``logger=mlflow``: MLflow, by ``MLFLOW_TRACKING_URI`` or in ``mlflow/``; needs the extra ``mlflow``.

    Attributes:
        experiment: The experiment that the run appears in.
    """

    experiment: str = "ssr_hydra"
    _target_: str = field(default="ssr_hydra.callbacks.MLflowLogger", init=False)


@dataclass
class EMAConfig:
    """``callbacks=ema``: a moving average of the weights.

    Attributes:
        decay: Of one update; null is 0.999, or what ``half_life`` gives.
        half_life: After which time a contribution has halved, such as ``0.05dur``, in the place of a decay.
        interval: Batches between two updates.
        warmup: Let the decay grow over the first updates.
        evaluate: Evaluate with the average in the place of the weights.
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
        wait: Batches that are left alone.
        warmup: Batches that are profiled and thrown away.
        active: Batches that are profiled and written.
        repeat: How many times over.
        record_shapes: Keep the shapes of the operators' inputs.
        profile_memory: Keep what is allocated and freed.
        with_stack: Keep which line of Python called an operator.
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
"""Choices of the group ``logger``, each stored in the package ``logger.<name>``, so that several can be chosen."""

CALLBACKS: dict[str, Any] = {"ema": EMAConfig, "profiler": ProfilerConfig, "throughput": ThroughputConfig}
"""Choices of the group ``callbacks``, each stored in the package ``callbacks.<name>``."""
