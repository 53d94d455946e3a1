"""The top level of an experiment, and its trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = ["TRAINERS", "ExperimentConfig", "TrainerConfig"]


@dataclass
class TrainerConfig:
    """``trainer=default``: how the run is carried out and measured.

    Attributes:
        loss: A callable of (outputs, targets), by ``_target_``.
        metrics: Name -> a callable of (outputs, targets) that gives one value per sample.
        eval_interval: Time between two evaluations; there is always one at the end.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        threads: Threads of torch on the CPU. Another number gives other bits, so it is part of the run's description;
            null leaves it to torch, which takes as many as the machine has cores.
        progress: ``auto`` (a bar on a terminal, lines elsewhere), ``bar``, ``lines``, ``off``.
        use_stepwise_scheduler: Whether torch's own schedulers step per batch; null: the trainer's default.
        objective: The metric that the app returns, which a sweeper optimises.
    """

    loss: Any = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    metrics: dict[str, Any] = field(default_factory=dict)
    eval_interval: str = "1ep"
    device: str = "auto"
    threads: int | None = 1
    progress: str = "auto"
    use_stepwise_scheduler: bool | None = None
    objective: str | None = "eval/accuracy"


@dataclass
class ExperimentConfig:
    """Everything that describes a run.

    Attributes:
        name: What the run is called in records and reports.
        ssr: Scale schedule ratio: stretches the schedule and the run's length.
        max_duration: Length of the run at ssr 1.
        seed: Of the weights, the order of the data, and the augmentation.
        scheduler: Of the group ``scheduler``.
        optimizer: Of the group ``optimizer``.
        model: Of the group ``model``.
        data: Of the group ``data``.
        trainer: Of the group ``trainer``.
    """

    name: str = "default"
    ssr: float = 1.0
    max_duration: str = "16ep"
    seed: int = 0
    scheduler: Any = MISSING
    optimizer: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    trainer: Any = MISSING


TRAINERS: dict[str, Any] = {"default": TrainerConfig}
"""Choices of the group ``trainer``."""
