"""The trainer, as one calls it from Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ssr_hydra.data.loaders import known_length
from ssr_hydra.data.seeding import check_seed, seed_everything
from ssr_hydra.errors import InputError
from ssr_hydra.state import State
from ssr_hydra.time import Number, TimeLike, TimeUnit, as_time, check_ssr
from ssr_hydra.trainer.deadlines import Deadline, scaled
from ssr_hydra.trainer.hardware import choose_device, hardware, versions
from ssr_hydra.trainer.interrupts import reason
from ssr_hydra.trainer.learning_rates import LearningRates, torch_schedulers
from ssr_hydra.trainer.loop import Loop, Plan
from ssr_hydra.trainer.progress import Progress, check_progress, choose_progress, summary
from ssr_hydra.trainer.records import MetricsLog, RunResult, config_hash, refuse_finished
from ssr_hydra.trainer.task import Task
from ssr_hydra.trainer.watch import DivergedError

__all__ = ["Trainer"]


class Trainer:
    """Trains a model for ``max_duration * ssr``, its learning rate following schedules of training time.

    The learning rate of batch k is ``lr_initial * alpha_ssr(timestamp k)``, set before that batch; schedules multiply.
    The run ends at the first batch boundary at or after ``max_duration * ssr``, within an epoch if need be.

    Args:
        model: Any module. It is moved to the device in place.
        train_dataloader: Any iterable of batches that can be read once per epoch, such as a DataLoader. A batch is a
            pair ``(inputs, targets)``, computed as ``loss(model(inputs), targets)``, or a mapping, computed as
            ``loss(model(**batch), batch)`` (:class:`~ssr_hydra.trainer.task.Task` has the details). Its ``set_epoch``
            is called where it has one. Without a length it serves runs that are not measured in parts of epochs.
        eval_dataloader: Likewise, read at every evaluation.
        optimizers: One, or several that all step after each batch. None is the optimizer of the torch schedulers if
            there are any, else SGD (lr 0.1, Nesterov momentum 0.9, fused).
        schedulers: A scheduler of :mod:`ssr_hydra.schedulers`, a function of ``(state)`` or ``(state, ssr)``, a torch
            scheduler, or a list that mixes them; or a mapping of names to ours, of which each param group chooses one
            by its key ``schedule``. None keeps the learning rates constant.
        max_duration: Length before scaling, such as ``"20ep"``, ``"2000ba"``, ``"1e6sp"`` or ``"10m"``.
        ssr: The scale schedule ratio; stretches schedules and length alike.
        use_stepwise_scheduler: None steps ours before every batch and torch's after every epoch; True steps all by
            batches; False steps all by epochs.
        loss: A function of (outputs, targets) that returns a scalar; None is cross entropy.
        metrics: Name to function of (outputs, targets) that returns a value for each sample. None is accuracy with the
            default loss, and none with another.
        eval_interval: How often to evaluate, not scaled by ssr; None is at the end alone, which is always evaluated.
        device: ``auto`` (CUDA, else MPS, else CPU), or a device.
        seed: Seeds Python, NumPy and torch when training starts; None leaves them as they are. The order of the data is
            the loader's matter (:func:`ssr_hydra.data.make_loaders`), the initial weights the model's.
        progress: ``auto`` (a bar on a terminal, else plain lines), ``bar``, ``plain`` or ``none``.
        run_dir: Folder for ``metrics.jsonl`` and ``result.json``; None writes nothing.
        name: Of the run, for people.
        config: What the run was configured with, as plain data; its hash goes into the record.
        objective: Which of the final metrics counts, such as ``"eval/accuracy"``; ``ReduceLROnPlateau`` follows it
            (``"eval/loss"`` if None).
        log_interval: How often to write loss and learning rate to ``metrics.jsonl``; off the CPU, also how often the
            loss is checked to be finite.
        samples_per_batch: For schedules that mix units; None asks the loader for its ``batch_size``.
        tokens_per_batch: Likewise.
        iteration_length: Length of an iteration, for runs and schedules measured in ``iter``.
        get_num_samples_in_batch: Counts the samples of a batch; None reads the first dimension of its first tensor.
        get_num_tokens_in_batch: Counts its tokens; None counts ``attention_mask`` or ``input_ids`` of a mapping, and
            the numbers in inputs [N, L] of int64 or int32, and takes anything else to have none.

    Attributes:
        state: The run as schedules see it; ``state.max_duration`` carries ssr.
        model: The model.

    Raises:
        InputError: Anything that cannot be meant, before training starts; it names field, value, rule and fix.

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
        metrics: Mapping[str, Callable[..., Tensor]] | None = None,
        eval_interval: TimeLike | None = "1ep",
        device: str | torch.device = "auto",
        seed: int | None = None,
        progress: str = "auto",
        run_dir: str | Path | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        objective: str | None = None,
        log_interval: TimeLike | None = "10ba",
        samples_per_batch: Number | None = None,
        tokens_per_batch: Number | None = None,
        iteration_length: TimeLike | None = None,
        get_num_samples_in_batch: Callable[[Any], int] | None = None,
        get_num_tokens_in_batch: Callable[[Any], int] | None = None,
    ) -> None:
        # Everything that can be refused is refused here, the cheap things first.
        ratio = check_ssr(ssr)
        self._ssr, self._max_duration = float(ratio), as_time(max_duration, "max_duration")
        self._seed = None if seed is None else check_seed(seed)
        check_progress(progress)
        self._progress = progress
        self._name, self._config_hash = name, config_hash(config)
        self._run_dir = None if run_dir is None else Path(run_dir)
        if self._run_dir is not None:
            refuse_finished(self._run_dir)
        for field, value in (("loss", loss), *_hooks(get_num_samples_in_batch, get_num_tokens_in_batch)):
            if value is not None and not callable(value):
                raise InputError(field, value, "must be a function", "give a function, or leave it out")
        if use_stepwise_scheduler not in (None, True, False):
            rule = "True, False or None"
            raise InputError("use_stepwise_scheduler", use_stepwise_scheduler, rule, "leave it out")
        if not isinstance(model, nn.Module):
            raise InputError("model", type(model).__name__, "must be a torch.nn.Module", "wrap it in one")
        self._device = choose_device(device)
        self.model = model.to(self._device)
        self._train = _check_loader(train_dataloader, "train_dataloader")
        self._eval = None if eval_dataloader is None else _check_loader(eval_dataloader, "eval_dataloader")
        self._task = Task(model, loss, metrics, self._device, get_num_samples_in_batch, get_num_tokens_in_batch)
        self._objective = self._check_objective(objective)
        self.state = State(
            max_duration=scaled(self._max_duration, ratio),
            dataloader_len=known_length(train_dataloader),
            samples_per_batch=_batch_size(train_dataloader) if samples_per_batch is None else samples_per_batch,
            tokens_per_batch=tokens_per_batch,
            optimizers=_check_optimizers(optimizers, schedulers, model),
        )
        self._plan = self._make_plan(eval_interval, log_interval, iteration_length)
        self._rates = LearningRates(schedulers, self.state, ratio, use_stepwise_scheduler)
        if self._rates.needs_evaluation and self._eval is None:
            rule = "ReduceLROnPlateau follows an evaluation, and there is no eval_dataloader"
            raise InputError("schedulers", "ReduceLROnPlateau", rule, "give an eval_dataloader")
        self._started = False

    def fit(self) -> RunResult:
        """Train to the end, evaluate, and write the records.

        Returns:
            What the run did, as ``result.json`` holds it.

        Raises:
            DivergedError: A loss was NaN or infinite; the record's status is ``diverged``.
            InputError: The folder is in use or holds a finished run; the loader is not what it promised.
            RuntimeError: Called a second time.
            Exception: Whatever training raised, after a record with status ``failed``; so for an interrupt.
        """
        if self._started:
            raise RuntimeError("fit() was called before: make a new Trainer for another run")
        self._started = True
        began = time.perf_counter()
        log: AbstractContextManager[MetricsLog | None]
        log = nullcontext() if self._run_dir is None else MetricsLog(self._run_dir)
        with log as metrics_log:
            progress = choose_progress(self._progress, self._name or "training")
            loop = Loop(
                self._task,
                self.state,
                self._rates,
                self._train,
                self._eval,
                self._plan,
                progress,
                _write_nothing if metrics_log is None else metrics_log.write,
                self._objective or "eval/loss",
            )
            try:
                with self._deterministic():
                    if self._seed is not None:
                        seed_everything(self._seed)
                    loop.run()
            except BaseException as error:
                # An interrupt is recorded as well: a run that was stopped is not a run that is still going.
                status = "diverged" if isinstance(error, DivergedError) else "failed"
                self._finish(self._result(loop, began, status, error), progress)
                raise
            result = self._result(loop, began, "completed", None)
            self._finish(result, progress)
            return result

    def _deterministic(self) -> AbstractContextManager[Any]:
        """On CUDA a seeded run asks cuDNN for kernels that repeat their bits; on the CPU they do so anyway."""
        if self._seed is None or self._device.type != "cuda":
            return nullcontext()
        cudnn = torch.backends.cudnn
        flags: AbstractContextManager[Any] = cudnn.flags(
            enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=cudnn.allow_tf32
        )
        return flags

    def _finish(self, result: RunResult, progress: Progress) -> None:
        progress.close()
        if self._run_dir is not None:
            result.save(self._run_dir)
        progress.tell(summary(result, self._run_dir, self._objective))

    def _result(self, loop: Loop, began: float, status: str, error: BaseException | None) -> RunResult:
        timestamp = self.state.timestamp
        return RunResult(
            status=status,
            error=None if error is None else reason(error),
            name=self._name,
            ssr=self._ssr,
            max_duration=self._max_duration.to_timestring(),
            seed=self._seed,
            steps=timestamp._batch,
            samples=timestamp._sample,
            tokens=timestamp._token,
            train_seconds=loop.train_seconds,
            total_seconds=time.perf_counter() - began,
            metrics=dict(loop.metrics),
            evaluations=list(loop.evaluations),
            config_hash=self._config_hash,
            versions=versions(),
            hardware=hardware(self._device),
        )

    def _make_plan(
        self, eval_interval: TimeLike | None, log_interval: TimeLike | None, iteration_length: TimeLike | None
    ) -> Plan:
        def every(interval: TimeLike | None, field: str) -> Deadline | None:
            if interval is None:
                return None
            due = Deadline(interval, self.state, field, repeats=True)
            if due.time.unit is TimeUnit.ITERATION and iteration_length is None:
                raise _no_iterations(field, interval)
            return due

        end = Deadline(_given(self.state.max_duration), self.state, "max_duration")
        if end.time.unit is TimeUnit.ITERATION and iteration_length is None:
            raise _no_iterations("max_duration", self._max_duration)
        iteration = every(iteration_length, "iteration_length")
        if iteration is not None and iteration.time.unit is TimeUnit.ITERATION:
            rule = "an iteration is not measured in iterations"
            raise InputError("iteration_length", str(iteration.time), rule, "write e.g. '2ep' or '100ba'")
        return Plan(end, every(eval_interval, "eval_interval"), every(log_interval, "log_interval"), iteration)

    def _check_objective(self, objective: str | None) -> str | None:
        known = ["train/loss"]
        if self._eval is not None:
            known = [*(f"eval/{name}" for name in self._task.metrics), "eval/loss", *known]
        if objective is not None and objective not in known:
            raise InputError("objective", objective, "a metric that the run computes", f"use {' or '.join(known)}")
        return objective


def _hooks(samples: Any, tokens: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    return ("get_num_samples_in_batch", samples), ("get_num_tokens_in_batch", tokens)


def _write_nothing(record: Mapping[str, Any]) -> None:
    del record  # a run without a folder


def _given(value: Any) -> Any:
    assert value is not None
    return value


def _no_iterations(field: str, value: TimeLike) -> InputError:
    rule = "iterations are counted where their length is given"
    return InputError(field, str(value), rule, "give iteration_length, or use another unit")


def _check_loader(loader: Any, field: str) -> Iterable[Any]:
    if not isinstance(loader, Iterable) or isinstance(loader, (str, bytes, Mapping)):
        raise InputError(field, type(loader).__name__, "an iterable of batches", "give a DataLoader")
    if known_length(loader) == 0:
        raise InputError(field, type(loader).__name__, "it has no batch", "check the data set and drop_last")
    return loader


def _batch_size(loader: Any) -> int | None:
    """Samples per batch as torch's loaders tell it; not every loader does, and not every size is a number."""
    for part in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(part, "batch_size", None)
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return size
    return None


def _check_optimizers(optimizers: Any, schedulers: Any, model: nn.Module) -> tuple[Optimizer, ...]:
    if optimizers is None:
        found = {id(item.optimizer): item.optimizer for item in torch_schedulers(schedulers)}
        if found:
            return tuple(found.values())
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not parameters:
            raise InputError("model", type(model).__name__, "it has no parameter to train", "give optimizers")
        fused = parameters[0].device.type in ("cpu", "cuda", "mps")
        return (torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, fused=fused),)
    given = tuple(optimizers) if isinstance(optimizers, (list, tuple)) else (optimizers,)
    for optimizer in given:
        if not isinstance(optimizer, Optimizer):
            rule = "a torch.optim.Optimizer, or a list of them"
            raise InputError("optimizers", type(optimizer).__name__, rule, "build it with model.parameters()")
        if isinstance(optimizer, torch.optim.LBFGS):
            rule = "it evaluates the loss several times a step, and this loop does so once"
            raise InputError("optimizers", "LBFGS", rule, "use a first-order optimizer")
    if not given:
        raise InputError("optimizers", optimizers, "at least one", "leave it out for the default")
    return given
