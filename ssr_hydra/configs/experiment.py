"""The configs of the trainer, of a whole experiment, of the app, and of Hydra's launchers and sweepers."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from omegaconf import MISSING

from ssr_hydra.configs.derive import Duration, Object, config_of
from ssr_hydra.schedulers.protocol import SchedulerLike
from ssr_hydra.settings import CheckpointSettings, CountSettings, ResumeSettings, StepSettings
from ssr_hydra.settings.base import PROGRESS

DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?", re.ASCII)
CONTROLS = ("truncate",)
STUDY_CODES = ("same", "any")
KEEPS = ("all", "ends", "none")


def _accuracy() -> dict[str, Any]:
    return {"accuracy": {"_target_": "ssr_hydra.trainer.accuracy", "_partial_": True}}


@dataclass
class _TrainerConfig:
    """``trainer=default``: how a run is trained and evaluated.

    All keys except ``threads`` are arguments of ``ssr_hydra.Trainer`` or of its settings.

    Attributes:
        use_stepwise_scheduler: Whether schedulers step before every batch (true) or every epoch (false). With null,
            this package's schedulers and torch's OneCycleLR and CyclicLR step every batch. Torch's other schedulers
            step every epoch.
        loss: The ``_target_`` of a callable of (outputs, targets). A function also needs ``_partial_: true``. Null
            means the model's own loss if a batch is a mapping, and otherwise cross entropy.
        metrics: A mapping from name to metric. A metric is a callable of (outputs, targets) that returns one value per
            sample, or an object with ``update``, ``compute`` and ``reset``, such as ``torchmetrics.F1Score``.
        eval_interval: Time between two evaluations. The run also evaluates at its end. Null means only at its end.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        progress: ``auto`` (a bar on a terminal, otherwise plain lines), ``bar``, ``plain``, ``none``.
        objective: The metric whose final value the app returns. A sweeper can optimize this value. Null means that the
            app returns no metric.
        log_interval: Time between two lines of ``metrics.jsonl``.
        threads: Number of torch's CPU threads. This number changes the last bits of the results. Null means torch's
            default, which is the number of cores.

    The node also has the keys of :class:`~ssr_hydra.settings.CountSettings` and
    :class:`~ssr_hydra.settings.StepSettings`, such as ``samples_per_batch``, ``precision`` and ``accumulate``. For a
    key that needs a function, write a mapping with the ``_target_`` of the function.
    """

    use_stepwise_scheduler: bool | None = None
    loss: Object = field(default_factory=lambda: {"_target_": "torch.nn.CrossEntropyLoss"})
    metrics: Annotated[dict[str, Any], Mapping[str, Callable[..., Any] | None]] = field(default_factory=_accuracy)
    eval_interval: Duration | None = "1ep"
    device: Annotated[str, DEVICE] = "auto"
    progress: Annotated[str, PROGRESS] = "auto"
    objective: str | None = "eval/accuracy"
    log_interval: Duration | None = "10ba"
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
        ssr: Scale schedule ratio. It stretches the schedule and the length of the run.
        max_duration: Length of the run at ssr 1.
        seed: Seed of the weights, the order of the data, and the augmentation.
        control: ``truncate`` for a control run: it ends at ``max_duration * ssr``, but SSR does not stretch its
            schedule. Null for a normal run.
        scheduler: A choice of the group ``scheduler``.
        optimizer: A choice of the group ``optimizer``.
        model: A choice of the group ``model``.
        data: A choice of the group ``data``.
        trainer: A choice of the group ``trainer``.
        param_groups: A mapping from name to rule. A rule selects parameters and sets their hyperparameters.
        schedules: A mapping from a hyperparameter other than lr (``weight_decay``, ``momentum``) to its scheduler.
        logger: Any number of choices of the group ``logger``.
        callbacks: Any number of choices of the group ``callbacks``.
        checkpoint: See :class:`~ssr_hydra.settings.CheckpointSettings`.
        resume: See :class:`~ssr_hydra.settings.ResumeSettings`. ``resume=PATH`` is short for ``resume.path=PATH``.
        debug: A preset of the group ``debug``, which shortens the run to a trial run; null for a normal run.
    """

    name: str | None = None
    ssr: float = 1.0
    max_duration: Duration = "16ep"
    seed: int = 0
    control: Annotated[str | None, CONTROLS] = None
    scheduler: Any = MISSING
    optimizer: Any = MISSING
    model: Any = MISSING
    data: Any = MISSING
    trainer: Any = MISSING
    param_groups: dict[str, Any] = field(default_factory=dict)
    schedules: Annotated[dict[str, Any], Mapping[str, SchedulerLike | Sequence[SchedulerLike]]] = field(
        default_factory=dict
    )
    logger: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    resume: Annotated[Any, ResumeConfig | str] = field(default_factory=ResumeConfig)
    debug: str | None = None


@dataclass
class AppConfig(ExperimentConfig):
    """``base_config``: the config of an experiment, and the settings of the app, which are not part of a run's config.

    Attributes:
        trust: Modules whose classes and functions the config may name by ``_target_``. Only the command line can set
            ``trust``.
        study: Name of a sweep's study. The study's folder is ``studies/NAME``, or ``NAME`` if it contains a ``/``.
        study_code: ``any`` allows runs of different code versions in one study. ``same`` allows only one version.
        study_report: Whether a sweep ends with a report.
        plan: Whether a sweep only prints which of its jobs are done, missing or failed, and runs no job.
        workers: Number of jobs of a sweep that run at a time; null for the launcher's default.
        share: Whether a sweep trains the first steps only once for jobs whose first steps are equal.
        share_keep: Which checkpoints of shared steps a study keeps for later jobs: ``ends`` (for each job, only the
            checkpoint at the end of its shared steps), ``all``, or ``none``. The command line also accepts
            ``share.keep``.
        zip: Swept keys whose values are paired instead of combined: a list of keys, or several lists of keys.
    """

    trust: Any = field(default_factory=list)
    study: str | None = None
    study_code: Annotated[str, STUDY_CODES] = "same"
    study_report: bool = True
    plan: bool = False
    workers: int | None = None
    share: bool = False
    share_keep: Annotated[str, KEEPS] = "ends"
    zip: Any = None


APP_KEYS = tuple(key for key in AppConfig.__dataclass_fields__ if key not in ExperimentConfig.__dataclass_fields__)
"""Keys of the config for the app, not for the experiment. Records and hashes do not contain these keys."""


@dataclass
class ProcessLauncherConfig:
    """``hydra/launcher=processes``: run each job in a separate process, several jobs at a time.

    The fields are the arguments of :class:`ssr_hydra.sweeps.launchers.processes.ProcessLauncher`.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.ProcessLauncher", init=False)
    workers: int | None = None
    threads: int | None = None
    gpus: Any = "auto"
    gpus_per_job: int = 1


@dataclass
class StudySweeperConfig:
    """``hydra/sweeper=study``: run the missing jobs of a study.

    Attributes:
        max_batch_size: Maximum number of jobs that the launcher gets at a time; null for all jobs.
        params: A sweep in a config file, as a mapping from each swept key to its values. Values on the command line
            replace values in ``params``.
    """

    _target_: str = field(default="hydra_plugins.ssr_hydra.StudySweeper", init=False)
    max_batch_size: int | None = None
    params: Any = None


LAUNCHERS: dict[str, Any] = {"processes": ProcessLauncherConfig}
"""A mapping from a choice of the group ``hydra/launcher`` to its config."""

SWEEPERS: dict[str, Any] = {"study": StudySweeperConfig}
"""A mapping from a choice of the group ``hydra/sweeper`` to its config."""


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

_BY_TASK = (
    "AUROC Accuracy AveragePrecision CalibrationError CohenKappa ExactMatch F1Score FBetaScore HammingDistance "
    "HingeLoss JaccardIndex LogAUC MatthewsCorrCoef NegativePredictiveValue Precision Recall Specificity"
).split()
_OF_NUMBERS = (
    "ConcordanceCorrCoef CosineSimilarity CriticalSuccessIndex ExplainedVariance KLDivergence KendallRankCorrCoef "
    "LogCoshError MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogError MinkowskiDistance "
    "NormalizedRootMeanSquaredError PearsonCorrCoef R2Score RelativeSquaredError SpearmanCorrCoef "
    "SymmetricMeanAbsolutePercentageError TweedieDevianceScore WeightedMeanAbsolutePercentageError"
).split()
_MISSING = {"BinaryExactMatch", "MultilabelCalibrationError", "MultilabelCohenKappa", "MultilabelHingeLoss"}
_CLASSIFICATION = {f"{task}{name}" for task in ("", "Binary", "Multiclass", "Multilabel") for name in _BY_TASK}
TORCHMETRICS = frozenset(
    [
        *(f"torchmetrics.{name}" for name in (*_BY_TASK, *_OF_NUMBERS, "MetricCollection", "text.Perplexity")),
        *(f"torchmetrics.regression.{name}" for name in _OF_NUMBERS),
        *(f"torchmetrics.classification.{name}" for name in _CLASSIFICATION - _MISSING),
    ]
)
"""Names of torchmetrics' classes that need no ``trust``, because they only compute numbers from outputs and targets."""
