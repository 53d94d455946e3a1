"""The top level of an experiment, and its trainer."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

__all__ = ["APP_KEYS", "TRAINERS", "AppConfig", "CheckpointConfig", "ExperimentConfig", "ResumeConfig", "TrainerConfig"]


def _accuracy() -> dict[str, Any]:
    return {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}


@dataclass
class TrainerConfig:
    """``trainer=default``: how the run is carried out and measured; arguments of ``ssr_hydra.Trainer``, and threads.

    Attributes:
        use_stepwise_scheduler: Null steps our schedulers before every batch, and torch's at the pace they are written
            for; true steps all by batches, false all by epochs.
        loss: A callable of (outputs, targets), by ``_target_``; a function has ``_partial_: true`` beside it. Null is
            the model's own where a batch is a mapping, else cross entropy.
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
        precision: ``fp32``, ``bf16`` or ``fp16``: autocast to that type, in evaluation too; fp16 scales the loss.
        accumulate: Into how many parts a batch is split for forward and backward; one optimizer step for all.
        clip_grad_norm: Largest norm of all gradients together; null for none.
        clip_grad_value: Largest absolute value of a gradient; null for none.
        compile: Compile the model with ``torch.compile``.
        channels_last: Keep images and convolutions in the memory format ``channels_last``.
        parallel: With several processes: ``ddp`` copies the model, ``fsdp`` shards it.
        loss_mean_over: What the loss of a batch is a mean over, ``samples`` or ``tokens``: the weight of the parts of a
            batch that is split over processes or accumulated.
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
    """The node ``checkpoint``: when checkpoints are written into the run's folder, and which are kept.

    Attributes:
        enabled: False writes none, not even when the run is stopped.
        interval: Time between two; null is at the end alone, and when the run is stopped.
        keep: How many of the last are kept, 2 or more, so that a torn one is never the only one.
        best: A metric, such as ``eval/accuracy``, whose best checkpoint is kept as well; null for none.
        mode: Whether the best is the ``max`` or the ``min``; ``auto`` reads it from the metric's name.
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
        path: ``auto`` continues what the run's own folder holds, ``never`` starts anew; else the folder of a run, or a
            checkpoint.
        on_change: ``refuse`` a run that is not configured as the checkpoint's was; ``extend`` follows the new schedule
            at the true time; ``rescale`` the rest of the schedule over the rest of the time.
    """

    path: str = "auto"
    on_change: str = "refuse"


@dataclass
class ExperimentConfig:
    """Everything that describes a run.

    Attributes:
        name: What the run is called in records and reports; null calls it by its data, ``digits``.
        ssr: Scale schedule ratio: stretches the schedule and the run's length.
        max_duration: Length of the run at ssr 1.
        seed: Of the weights, the order of the data, and the augmentation.
        control: ``truncate`` ends the run at ``max_duration * ssr`` with the schedule of the whole: a control.
        scheduler: Of the group ``scheduler``.
        optimizer: Of the group ``optimizer``.
        model: Of the group ``model``.
        data: Of the group ``data``.
        trainer: Of the group ``trainer``.
        param_groups: Name to rule: which parameters, and the hyperparameters that are theirs.
        schedules: Name of another field of the param groups (``weight_decay``, ``momentum``) to its scheduler.
        logger: Of the group ``logger``, several at once.
        callbacks: Of the group ``callbacks``, several at once.
        checkpoint: See :class:`CheckpointConfig`.
        resume: See :class:`ResumeConfig`; or the path alone.
        debug: Which preset of the group ``debug`` made this a run that only tries something out; null for a real one.
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


@dataclass
class AppConfig(ExperimentConfig):
    """``base_config``: an experiment, and what the app is told besides; no run depends on these keys.

    Attributes:
        trust: Modules whose classes and functions the config may name by ``_target_``. Only the command line sets it.
        study: Name of a sweep's study: its folder is ``studies/NAME``, or the name itself if it contains a ``/``.
        study_code: ``any`` lets one study hold runs of different code; ``same`` refuses it.
        study_report: Whether a sweep ends with a report.
        plan: Whether a sweep only prints which of its jobs are done, missing or failed.
        workers: How many jobs of a sweep run at a time; null leaves it to the launcher.
    """

    trust: Any = field(default_factory=list)
    study: str | None = None
    study_code: str = "same"
    study_report: bool = True
    plan: bool = False
    workers: int | None = None


APP_KEYS = frozenset(AppConfig.__dataclass_fields__) - frozenset(ExperimentConfig.__dataclass_fields__)
"""Keys of the config that describe the app, not the experiment: no record or hash contains them."""

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
