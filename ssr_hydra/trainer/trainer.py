"""The :class:`Trainer`, for use from Python."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssr_hydra.callbacks.events import Events
from ssr_hydra.checkpoints import Checkpoint
from ssr_hydra.data.loaders import known_length
from ssr_hydra.errors import MissingValueError
from ssr_hydra.files import check_path
from ssr_hydra.optim.groups import check_module
from ssr_hydra.records import RunResult, config_hash
from ssr_hydra.settings import CheckpointSettings, CountSettings, ResumeSettings, StepSettings, setting_of
from ssr_hydra.settings.base import PROGRESS, flag, function, one_of
from ssr_hydra.settings.base import seed_number as check_seed
from ssr_hydra.settings.data import EVALUATED
from ssr_hydra.state import State
from ssr_hydra.time import Number, TimeLike, as_time, check_ssr
from ssr_hydra.trainer.argument_checks import (
    check_control,
    check_fields_are_free,
    check_loader,
    check_optimizers,
    check_same_length,
    step_settings,
)
from ssr_hydra.trainer.argument_checks import samples_per_batch as loader_samples_per_batch
from ssr_hydra.trainer.deadlines import make_deadlines, scaled
from ssr_hydra.trainer.description import describe_optimizer, describe_run, shared_description
from ssr_hydra.trainer.evaluation import check_metric_name, check_reducible
from ssr_hydra.trainer.fields import FieldSchedules
from ssr_hydra.trainer.fit_run import FitRun
from ssr_hydra.trainer.hardware import choose_device
from ssr_hydra.trainer.learning_rates import LearningRates, with_modes
from ssr_hydra.trainer.loop import Loop
from ssr_hydra.trainer.loss_watch import LossWatch
from ssr_hydra.trainer.parallel import is_sharded, wrapped
from ssr_hydra.trainer.processes import Processes
from ssr_hydra.trainer.resuming import Resuming
from ssr_hydra.trainer.saving import BestSoFar, check_exportable, restore_weights
from ssr_hydra.trainer.step import TrainStep, autocast
from ssr_hydra.trainer.task import Task


class Trainer:
    """Trains a model for ``max_duration * ssr``, with learning rates that follow schedules of training time.

    Before batch k, the trainer sets the learning rate to ``lr_initial * alpha_ssr(t)``, where ``t`` is the timestamp
    after the first k batches, and ``alpha_ssr`` is the multiplier of the scheduler. If there are several schedulers,
    ``alpha_ssr`` is the product of their multipliers. The run ends at the first batch boundary at or after
    ``max_duration * ssr``, even in the middle of an epoch.

    Args:
        model: Any module. The trainer moves the module to the device in place.
        train_dataloader: An iterable of batches that can be read once per epoch, such as a DataLoader. A batch is a
            pair ``(inputs, targets)`` or a mapping. The loss of a pair is ``loss(model(inputs), targets)``, and the
            loss of a mapping is ``loss(model(**batch), batch)``; see :class:`~ssr_hydra.trainer.task.Task`. If the
            loader has a method ``set_epoch``, the trainer calls this method before every epoch. If the loader has no
            length, times such as ``max_duration`` cannot be fractions of an epoch.
        eval_dataloader: An iterable of batches that the trainer reads at every evaluation. With None, the trainer does
            not evaluate.
        test_dataloader: An iterable of batches that the trainer reads once, after training. The names of the metrics
            start with ``test/``. With None, the trainer does not test.
        optimizers: One optimizer or several. All of them step after each batch. None means the optimizers of the torch
            schedulers; without torch schedulers it means SGD (lr 0.1, Nesterov momentum 0.9, fused).
        schedulers: A scheduler of :mod:`ssr_hydra.schedulers`, a function of ``(state)`` or ``(state, ssr)``, a torch
            scheduler, or a list of these. Or a mapping from names to schedulers of this package: then the key
            ``schedule`` of a param group is the name of the group's scheduler (``default`` if the group has no such
            key). None keeps the learning rates constant.
        max_duration: Length of the run before scaling, such as ``"20ep"``, ``"2000ba"``, ``"1e6sp"`` or ``"10m"``.
        ssr: The scale schedule ratio. It stretches the schedules and the length of the run.
        use_stepwise_scheduler: With True, all schedulers step by batch. With False, all schedulers step by epoch. With
            None, this package's schedulers step by batch, and torch's schedulers step at their usual pace: OneCycleLR
            and CyclicLR by batch, all others by epoch.
        loss: A function of (outputs, targets) that returns a scalar. None means cross entropy if a batch is a pair, and
            the model's own loss if a batch is a mapping.
        metrics: A mapping from name to metric. A metric is a function of (outputs, targets) that returns one value per
            sample, or an object with ``update``, ``compute`` and ``reset``, as in torchmetrics. None means accuracy
            with the default loss, and no metrics with any other loss.
        eval_interval: Time between evaluations, not scaled by ssr. The trainer also evaluates at the end of the run.
            With None, it evaluates only at the end.
        device: ``auto`` (CUDA, else MPS, else CPU), or a device.
        seed: Seed for Python, NumPy and torch at the start of training. With None, the trainer does not seed them. The
            seed does not set the initial weights of the model. It sets the order of the data only if the loader has
            neither a seed nor a generator; :func:`ssr_hydra.data.make_loaders` returns loaders with a seed.
        progress: ``auto`` (a bar on a terminal, else plain lines), ``bar``, ``plain`` or ``none``.
        run_dir: Folder for ``metrics.jsonl``, ``result.json`` and ``checkpoints/``; with None, the trainer writes
            nothing.
        name: Name of the run, for records and progress.
        config: The config of the run, as plain data. The record contains a hash of this config.
        objective: The most important final metric, such as ``"eval/accuracy"``. ``ReduceLROnPlateau`` depends on this
            metric, or on ``"eval/loss"`` if the objective is None.
        log_interval: Time between records of loss and learning rate in ``metrics.jsonl``. On a GPU, or with several
            processes, the trainer notices a NaN or infinite loss only when it writes a record, evaluates, or writes a
            checkpoint.
        counts: How to count samples, tokens and iterations. A :class:`~ssr_hydra.settings.CountSettings`, or a mapping
            of its arguments.
        precision: ``fp32``, ``bf16`` or ``fp16``. A shortcut for ``precision`` in ``step``.
        step: The settings of a step: accumulation, clipping, compilation, several processes. A
            :class:`~ssr_hydra.settings.StepSettings`, or a mapping of its arguments.
        schedules: A mapping from hyperparameters other than the learning rate (such as ``weight_decay`` or
            ``momentum``) to their schedulers.
        callbacks: Objects with methods for events, as a list or as a mapping from name to object
            (:class:`ssr_hydra.callbacks.Events`).
        loggers: Callbacks that get every record, as a list or as a mapping from name to object.
        checkpoint: When to write checkpoints, and which ones to keep. A
            :class:`~ssr_hydra.settings.CheckpointSettings`, or a mapping of its arguments. Checkpoints need a
            ``run_dir``.
        resume: The checkpoint from which the run starts, and how a run with a changed config continues. A
            :class:`~ssr_hydra.settings.ResumeSettings`, a mapping of its arguments, or the path of the checkpoint.
        control: ``truncate`` ends the run at ``max_duration * ssr``, but keeps the schedule of the full
            ``max_duration``. A comparison with a normal run shows the effect of stretching the schedule. With None,
            ssr stretches the schedule too.

    If there are several processes (started by torchrun or srun), every process must create the same trainer. "Batch"
    then means the samples of one step in all processes together. Rank 0 shows the progress of the run and writes its
    records.

    Attributes:
        state: Time, length and optimizers of the run, for the schedulers. ``state.max_duration`` is already scaled by
            ssr.
        model, name, config, run_dir: The arguments with these names.
        device: The device of training.
        is_main: Whether this process is rank 0.
        resumed_from: The checkpoint from which the run continues, or None.
        jobs_beside: A function that returns how many other jobs of the same sweep ran on this machine during the run,
            on average. The record contains this number.
        checkpoints_at: Numbers of batches after which the run writes a checkpoint, in addition to ``checkpoint``.
        code: A mapping from package or module to a digest of its source code, for the record. ``ssr-train`` sets it.

    Raises:
        InputError: An argument is invalid. The trainer raises this error before training starts. The error names field,
            value, rule and fix.

    Example:
        >>> from ssr_hydra.data import Digits, make_loaders
        >>> from ssr_hydra.models import MLP
        >>> from ssr_hydra.schedulers import LinearScheduler
        >>> train, held_out = make_loaders(Digits("train"), Digits("eval"))
        >>> model = MLP()
        >>> trainer = Trainer(
        ...     model, train, held_out, torch.optim.SGD(model.parameters(), lr=0.1), [LinearScheduler()],
        ...     max_duration="2ep", ssr=0.5, progress="none", device="cpu",
        ... )
        >>> result = trainer.fit()
        >>> result.status, result.steps, result.samples, sorted(result.metrics)
        ('completed', 75, 1198, ['eval/accuracy', 'eval/loss', 'train/loss'])
    """

    def __init__(
        self,
        model: nn.Module,
        train_dataloader: Iterable[Any],
        eval_dataloader: Iterable[Any] | None = None,
        optimizers: Optimizer | Sequence[Optimizer] | None = None,
        schedulers: Any = None,
        max_duration: TimeLike = "1ep",
        *,
        ssr: Number = 1.0,
        use_stepwise_scheduler: bool | None = None,
        loss: Callable[..., Tensor] | None = None,
        metrics: Mapping[str, Any] | None = None,
        eval_interval: TimeLike | None = "1ep",
        device: str | torch.device = "auto",
        seed: int | None = None,
        progress: str = "auto",
        run_dir: str | Path | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        objective: str | None = None,
        log_interval: TimeLike | None = "10ba",
        counts: CountSettings | Mapping[str, Any] | None = None,
        precision: str | None = None,
        step: StepSettings | Mapping[str, Any] | None = None,
        schedules: Mapping[str, Any] | None = None,
        callbacks: Mapping[str, object] | Sequence[object] | None = None,
        loggers: Mapping[str, object] | Sequence[object] | None = None,
        checkpoint: CheckpointSettings | Mapping[str, Any] | None = None,
        resume: ResumeSettings | Mapping[str, Any] | str | Path = "auto",
        control: str | None = None,
        test_dataloader: Iterable[Any] | None = None,
    ) -> None:
        # Check all arguments here, before training. The cheap checks come first.
        ratio = check_ssr(ssr)
        length = as_time(max_duration, "max_duration")
        seed = None if seed is None else check_seed(seed)
        plain = {"ssr": float(ratio), "max_duration": length.to_timestring(), "seed": seed, "control": control}
        one_of(progress, "progress", PROGRESS)
        self.name, self.config = name, config
        hashed = config_hash(config)
        self.run_dir = None if run_dir is None else check_path(run_dir, "run_dir")
        check_control(control, ratio)
        if use_stepwise_scheduler is not None:
            flag(use_stepwise_scheduler, "use_stepwise_scheduler")
        function(loss, "loss")
        counts = setting_of(CountSettings, counts, "counts")
        settings = step_settings(step, precision)
        checkpointing = setting_of(CheckpointSettings, checkpoint, "checkpoint")
        resuming_from = ResumeSettings.of(resume)
        check_module(model)
        if (export := checkpointing.export) is not None:
            if self.run_dir is None:
                raise MissingValueError(
                    "checkpoint.export", export, "is written to the folder of the run, which is not set", "give run_dir"
                )
            check_exportable(model, "checkpoint.export", export)
        processes = Processes.start()
        self.is_main = processes.is_main
        self.device = choose_device(device, processes)
        self.model = model.to(self.device)
        # The storage of shards is flat, so channels_last does not apply to them.
        if settings.channels_last and not is_sharded(model):
            model.to(memory_format=torch.channels_last)
        loaders = {"train": train_dataloader, "eval": eval_dataloader, "test": test_dataloader}
        for split, loader in loaders.items():
            if loader is not None or split == "train":
                check_loader(loader, f"{split}_dataloader")
        self._loaders, evaluates = loaders, eval_dataloader is not None
        check_same_length(train_dataloader, "train_dataloader", processes)
        per_batch = loader_samples_per_batch(train_dataloader, processes)
        task = Task(
            model,
            loss,
            metrics,
            self.device,
            counts.get_num_samples_in_batch,
            counts.get_num_tokens_in_batch,
            channels_last=settings.channels_last,
            loss_mean_over=settings.loss_mean_over,
        )
        check_reducible(task.metrics, processes.world_size)
        task.needed = {"objective": objective, "checkpoint.best": checkpointing.best}
        for field, metric in task.needed.items():
            check_metric_name(metric, field, task.metrics, evaluates=evaluates)
        schedulers = with_modes(schedulers, objective or "eval/loss", evaluates=evaluates)
        self.state = state = State(
            max_duration=scaled(length, ratio),
            dataloader_len=known_length(train_dataloader),
            samples_per_batch=per_batch if counts.samples_per_batch is None else counts.samples_per_batch,
            tokens_per_batch=counts.tokens_per_batch,
            optimizers=check_optimizers(optimizers, schedulers, model, loss),
        )
        events = Events(callbacks, loggers, self.is_main)
        deadlines = make_deadlines(state, eval_interval, log_interval, counts.iteration_length, checkpointing.interval)
        saves = checkpointing.enabled and self.run_dir is not None
        if not saves:
            deadlines.checkpoint = None  # otherwise the loop would check this deadline after every batch
        description = describe_run(
            state,
            run=plain,
            counts=counts,
            schedulers=schedulers,
            schedules=schedules,
            use_stepwise_scheduler=use_stepwise_scheduler,
            model=model,
            loader=train_dataloader,
            loss=loss,
            step=settings,
            device=self.device.type,
            processes=processes.world_size,
            objective=objective,
            eval_interval=eval_interval,
            evaluation=eval_dataloader,
        )
        processes.check_same(
            shared_description(
                description,
                train_dataloader,
                eval_interval=eval_interval,
                log_interval=log_interval,
                iteration_length=counts.iteration_length,
                objective=objective,
                metrics=list(task.metrics),
                evaluates=evaluates,
                tests=test_dataloader is not None,
                checkpoint=vars(checkpointing),
                run_dir=self.run_dir is not None,
                on_change=resuming_from.on_change,
                parallel=settings.parallel,
                compile=settings.compile,
            )
        )
        resuming = Resuming(self.run_dir, resuming_from, processes, checkpointing.enabled, hashed)
        self.resumed_from = resuming.path
        self.jobs_beside: Callable[[], float] = lambda: 0.0
        self.code: Mapping[str, str] = {}
        self.checkpoints_at: Collection[int] = ()
        saved_code = None if resuming.checkpoint is None else resuming.checkpoint.state.get("code")
        self.code_before: Mapping[str, str] = saved_code if isinstance(saved_code, dict) else {}
        plan = state
        if control is not None:  # control=truncate: the schedules follow the full length
            rates = state.dataloader_len, state.samples_per_batch, state.tokens_per_batch
            plan, ratio = State(length, *rates), Fraction(1)
        time_map = resuming.restore(model, state, plan, ratio, description)
        # After resume.on_change=rescale, the schedules still follow the length of the original run. The time map
        # converts the time of this run to the time of the original run.
        clock = None if time_map.is_identity else time_map
        plan = time_map.plan(state)
        learning_rates = LearningRates(schedulers, state, time_map.ssr, use_stepwise_scheduler, clock=clock, plan=plan)
        schedules = schedules or {}
        check_fields_are_free(schedules, learning_rates.drives_momentum)
        fields = FieldSchedules(schedules, state, time_map.ssr, clock, plan)
        if resuming.path is None:  # only now do the param groups have ``initial_lr``
            description["optimizers"] = [describe_optimizer(optimizer) for optimizer in state.optimizers]
        if resuming.checkpoint is not None:
            with resuming.checkpoint.part("rates") as held_rates:
                learning_rates.load_state_dict(held_rates)
        task.train_model = wrapped(model, settings.parallel, processes, self.device)
        if settings.compile:
            task.train_model.compile()
        task.evaluates_under = autocast(settings.precision, self.device)
        self._loop = loop = Loop(
            step=TrainStep(task, state.optimizers, LossWatch(self.device, processes), settings, processes),
            state=state,
            rates=learning_rates,
            fields=fields,
            train=train_dataloader,
            evaluation=eval_dataloader,
            plan=deadlines,
            objective=objective or "eval/loss",
            events=events,
            owner=self,
            saves=saves,
            is_best=BestSoFar(checkpointing),
        )
        self._run = FitRun(
            trainer=self,
            loop=loop,
            resuming=resuming,
            checkpointing=checkpointing,
            test=test_dataloader,
            time_map=time_map,
            description=description,
            objective=objective,
            progress=progress,
            record={**plain, "config_hash": hashed},
        )
        self._started = False

    def on(self, event: str, function: Callable[..., object]) -> None:
        """Call a function at an event of the run, such as ``trainer.on("batch_end", f)`` for ``f(trainer, loss)``.

        Raises:
            InputError: The event is unknown, or ``function`` is not a function.
        """
        self._loop.events.on(event, function)

    def fit(self) -> RunResult:
        """Train to the end, evaluate, and write the records.

        If ``run_dir`` already has the record of this run, return that record without training.

        Returns:
            The record of the run, as in ``result.json``.

        Raises:
            DivergedError: A loss, or a weight at the end, was NaN or infinite. The record's status is ``diverged``.
            InputError: Another run has written to the folder, or an epoch does not have the loader's length.
            RuntimeError: ``fit`` was called before.
            Exception: Any other error of training. The record's status is ``failed``, or ``stopped`` if a signal
                stopped the run.
        """
        if self._started:
            raise RuntimeError("fit() was called before; create a new Trainer for another run")
        self._started = True
        return self._run.run()

    @property
    def frac_done(self) -> float:
        """The completed fraction of the run, from 0 to 1."""
        return self._loop.plan.end.share(self.state.timestamp)

    def evaluate(self, split: str = "eval") -> dict[str, float]:
        """Compute ``eval/loss`` and the metrics of the current model over ``eval_dataloader``, as in the run.

        The method also calls the ``eval_start`` and ``eval_end`` of callbacks. So if a callback makes the run evaluate
        averaged weights, this method evaluates averaged weights too. If the trainer has resumed from a checkpoint, the
        method first loads the state of the callbacks from this checkpoint.

        Args:
            split: ``eval``, or ``test`` for ``test/loss`` and the metrics over ``test_dataloader``.

        Raises:
            InputError: The trainer has no loader for ``split``.
        """
        loader = self._loaders[one_of(split, "split", EVALUATED)]
        if loader is None:
            field, purpose = f"{split}_dataloader", "an evaluation" if split == "eval" else "a test"
            raise MissingValueError(field, None, f"must be set for {purpose}", f"give {field}")
        if not self._started:
            self._run.load_callbacks()
        return self._loop.measure(loader, split=split)

    def load(self, checkpoint: Checkpoint, *, callbacks: bool = True) -> None:
        """Load a checkpoint's weights, and the state of callbacks, to evaluate or export the model.

        To continue training, use ``Trainer(resume=...)``, which loads the whole state.

        Args:
            checkpoint: A checkpoint of this trainer's model.
            callbacks: Whether to load the state of callbacks.

        Raises:
            CheckpointError: The weights or the callbacks' state are missing, or do not match this trainer.
        """
        with checkpoint.part("model"):
            restore_weights(self.model, checkpoint.state)
        if callbacks:
            with checkpoint.part("callbacks") as states:
                self._loop.events.load_state_dict(states)
