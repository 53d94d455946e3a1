"""The top level of an experiment, and its trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = ["TRAINERS", "ExperimentConfig", "TrainerConfig"]


def _accuracy() -> dict[str, Any]:
    return {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}


@dataclass
class TrainerConfig:
    """``trainer=default``: how the run is carried out and measured; arguments of ``ssr_hydra.Trainer``, and threads.

    Attributes:
        use_stepwise_scheduler: Null steps our schedulers before every batch and torch's after every epoch.
        loss: A callable of (outputs, targets), by ``_target_``; a function has ``_partial_: true`` beside it.
        metrics: Name -> a callable of (outputs, targets) that gives one value per sample, likewise.
        eval_interval: Time between two evaluations; null is at the end alone, which is always evaluated.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        progress: ``auto`` (a bar on a terminal, plain lines elsewhere), ``bar``, ``plain``, ``none``.
        objective: The final metric that the app returns, which a sweeper optimises; null for none.
        log_interval: Time between two lines of ``metrics.jsonl``.
        samples_per_batch: For schedules that mix units; null asks the loader.
        tokens_per_batch: Likewise.
        iteration_length: Length of an iteration, for runs and schedules measured in ``iter``.
        get_num_samples_in_batch: Counts the samples of a batch, by ``_target_``.
        get_num_tokens_in_batch: Counts its tokens, likewise.
        threads: Threads of torch on the CPU. Another number gives other bits, so it is part of the run's description;
            null leaves it to torch, which takes as many as the machine has cores.
    """

    use_stepwise_scheduler: bool | None = None
    loss: Any = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    metrics: dict[str, Any] = field(default_factory=_accuracy)
    eval_interval: str | None = "1ep"
    device: str = "auto"
    progress: str = "auto"
    objective: str | None = "eval/accuracy"
    log_interval: str | None = "10ba"
    samples_per_batch: float | None = None
    tokens_per_batch: float | None = None
    iteration_length: str | None = None
    get_num_samples_in_batch: Any = None
    get_num_tokens_in_batch: Any = None
    threads: int | None = 1


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


TRAINERS: dict[str, Any] = {
    "default": TrainerConfig,
    "regression": TrainerConfig(loss={"_target_": "torch.nn.MSELoss"}, metrics={}, objective="eval/loss"),
}
"""Choices of the group ``trainer``."""
