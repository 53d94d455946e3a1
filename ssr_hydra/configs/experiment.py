"""The top level of an experiment, and its trainer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = ["TRAINERS", "CheckpointConfig", "ExperimentConfig", "ResumeConfig", "TrainerConfig"]


def _accuracy() -> dict[str, Any]:
    return {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}


@dataclass
class TrainerConfig:
    """``trainer=default``: how the run is trained and evaluated: arguments of ``ssr_hydra.Trainer``, and threads.

    Attributes:
        use_stepwise_scheduler: Null steps this package's schedulers before every batch, and torch's at their usual
            pace. True steps all by batch, and false all by epoch.
        loss: A callable of (outputs, targets), by ``_target_``; a function needs ``_partial_: true``. Null uses the
            model's own loss if a batch is a mapping, else cross entropy.
        metrics: A mapping from name to a callable of (outputs, targets) that returns one value per sample.
        eval_interval: Time between two evaluations; null evaluates only at the end. The end is always evaluated.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        progress: ``auto`` (a bar on a terminal, else plain lines), ``bar``, ``plain``, ``none``.
        objective: The final metric that the app returns, which a sweeper optimises; null for none.
        log_interval: Time between two lines of ``metrics.jsonl``.
        samples_per_batch: Samples per batch, for schedules that mix units; null asks the loader.
        tokens_per_batch: Tokens per batch, for schedules that mix units.
        iteration_length: Length of an iteration, for runs and schedules measured in ``iter``.
        get_num_samples_in_batch: A function that counts the samples of a batch, by ``_target_``.
        get_num_tokens_in_batch: A function that counts the tokens of a batch, by ``_target_``.
        threads: Threads of torch on the CPU. Another number changes the last bits of the result, so it is part of the
            run's description. Null leaves it to torch, which uses as many as the machine has cores.
        precision: ``fp32``, ``bf16`` or ``fp16``: autocast to that type, also in evaluation; fp16 scales the loss.
        accumulate: Number of parts of a batch for forward and backward, with one optimizer step for all.
        clip_grad_norm: The maximum norm of all gradients; null for none.
        clip_grad_value: The maximum absolute value of a gradient; null for none.
        compile: Whether to compile the model with ``torch.compile``.
        channels_last: Whether to use the memory format ``channels_last`` for images and convolutions.
        parallel: With several processes: ``ddp`` copies the model, ``fsdp`` shards it.
        loss_mean_over: Whether the loss of a batch is a mean over ``samples`` or ``tokens``. This sets the weights of
            the parts of a batch that is split over processes or accumulated.
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
    precision: str = "fp32"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    compile: bool = False
    channels_last: bool = False
    parallel: str = "ddp"
    loss_mean_over: str = "samples"


@dataclass
class CheckpointConfig:
    """The node ``checkpoint``: when to write checkpoints into the run's folder, and which to keep.

    Attributes:
        enabled: False writes none, even if the run is stopped.
        interval: Time between two checkpoints; null writes them only at the end and when the run is stopped.
        keep: How many of the newest to keep, 2 or more, so that a damaged one is never the only one.
        best: A metric, such as ``eval/accuracy``, whose best checkpoint is kept too; null for none.
        mode: Whether the best is the ``max`` or the ``min``; ``auto`` decides by the metric's name.
    """

    enabled: bool = True
    interval: str | None = "10m"
    keep: int = 2
    best: str | None = None
    mode: str = "auto"


@dataclass
class ResumeConfig:
    """The node ``resume``; ``resume=auto`` is short for ``resume.path=auto``.

    Attributes:
        path: ``auto`` continues the run in its own folder, ``never`` starts from scratch; else a path of a run or a
            checkpoint.
        on_change: What to do with a changed config: ``refuse`` it, ``extend`` (follow the new schedule at the true
            time), or ``rescale`` (stretch the rest of the schedule over the rest of the run).
    """

    path: str = "auto"
    on_change: str = "refuse"


@dataclass
class ExperimentConfig:
    """The whole config of a run.

    Attributes:
        name: Name of the run in records and reports; null uses the name of the data, such as ``digits``.
        ssr: Scale schedule ratio: stretches the schedule and the run's length.
        max_duration: Length of the run at ssr 1.
        seed: Seed of the weights, the order of the data, and the augmentation.
        control: ``truncate`` ends the run at ``max_duration * ssr`` with the schedule of the full run: a control.
        scheduler: Group ``scheduler``.
        optimizer: Group ``optimizer``.
        model: Group ``model``.
        data: Group ``data``.
        trainer: Group ``trainer``.
        param_groups: A mapping from name to rule: a selection of parameters, and their hyperparameters.
        schedules: A mapping from another hyperparameter (``weight_decay``, ``momentum``) to its scheduler.
        logger: Group ``logger``, several at once.
        callbacks: Group ``callbacks``, several at once.
        checkpoint: See :class:`CheckpointConfig`.
        resume: See :class:`ResumeConfig`; or the path alone.
        debug: The preset of the group ``debug``, which makes this a short trial run; null for a normal run.
    """

    name: str | None = None
    ssr: float = 1.0
    max_duration: str = "16ep"
    seed: int = 0
    control: str | None = None
    scheduler: Any = MISSING
    optimizer: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    trainer: Any = MISSING
    param_groups: dict[str, Any] = field(default_factory=dict)
    schedules: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    resume: Any = field(default_factory=ResumeConfig)
    debug: str | None = None


TRAINERS: dict[str, Any] = {
    "default": TrainerConfig,
    "regression": TrainerConfig(loss={"_target_": "torch.nn.MSELoss"}, metrics={}, objective="eval/loss"),
    "language": TrainerConfig(
        loss={"_target_": "ssr_hydra.models.next_token_loss", "_partial_": True},
        metrics={"bits_per_byte": {"_target_": "ssr_hydra.models.bits_per_byte", "_partial_": True}},
        objective="eval/bits_per_byte",
    ),
}
"""Choices of the group ``trainer``."""
