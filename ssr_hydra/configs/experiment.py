"""The top level of an experiment, and its trainer."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from ssr_hydra.configs.derive import config_of
from ssr_hydra.settings import CheckpointSettings, CountSettings, ResumeSettings, StepSettings

__all__ = ["APP_KEYS", "TRAINERS", "AppConfig", "CheckpointConfig", "ExperimentConfig", "ResumeConfig", "TrainerConfig"]


def _accuracy() -> dict[str, Any]:
    return {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}


@dataclass
class _TrainerConfig:
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
        threads: Threads of torch on the CPU. Another number changes the last bits of the result, so it is part of the
            run's description. Null leaves it to torch, which uses as many as the machine has cores.

    The keys of :class:`~ssr_hydra.settings.CountSettings` (functions by ``_target_``) and of
    :class:`~ssr_hydra.settings.StepSettings` follow: ``samples_per_batch``, ``precision``, ``accumulate`` ...
    """

    use_stepwise_scheduler: bool | None = None
    loss: Any = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    metrics: dict[str, Any] = field(default_factory=_accuracy)
    eval_interval: str | None = "1ep"
    device: str = "auto"
    progress: str = "auto"
    objective: str | None = "eval/accuracy"
    log_interval: str | None = "10ba"
    threads: int | None = 1


_COUNTED = config_of(CountSettings, name="_CountConfig", module=__name__, bases=(_TrainerConfig,))
TrainerConfig: Any = config_of(StepSettings, name="TrainerConfig", module=__name__, bases=(_COUNTED,))
CheckpointConfig: Any = config_of(CheckpointSettings, name="CheckpointConfig", module=__name__)
ResumeConfig: Any = config_of(ResumeSettings, name="ResumeConfig", module=__name__)


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
        checkpoint: See :class:`~ssr_hydra.settings.CheckpointSettings`.
        resume: See :class:`~ssr_hydra.settings.ResumeSettings`; or the path alone.
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


@dataclass
class AppConfig(ExperimentConfig):
    """``base_config``: an experiment and the app's own settings. No run depends on the latter.

    Attributes:
        trust: Modules whose classes and functions the config may name by ``_target_``. Only the command line sets it.
        study: Name of a sweep's study: its folder is ``studies/NAME``, or the name itself if it contains a ``/``.
        study_code: ``any`` lets one study hold runs of different code; ``same`` refuses it.
        study_report: Whether a sweep ends with a report.
        plan: Whether a sweep only prints which of its jobs are done, missing or failed.
        workers: How many jobs of a sweep run at a time; null leaves it to the launcher.
        share: Whether the jobs of a sweep train steps that are the same in several jobs only once.
        share_keep: Which checkpoints of shared steps a study keeps, so that later jobs can start there: ``ends`` the
            last one before the own part of each job, ``all`` also those before, ``none`` no checkpoints. Also written
            as ``share.keep``.
    """

    trust: Any = field(default_factory=list)
    study: str | None = None
    study_code: str = "same"
    study_report: bool = True
    plan: bool = False
    workers: int | None = None
    share: bool = False
    share_keep: str = "ends"


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
