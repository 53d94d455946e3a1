"""Compute the training loss of a batch, and the loss and metrics of an evaluation."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.data.seeded import Padding
from ssr_hydra.data.seeding import preserved_rng
from ssr_hydra.errors import ConflictError, MissingValueError, UnknownNameError, user_code_error
from ssr_hydra.trainer.batches import counted, map_parts, num_samples, num_tokens, pair_of, returned_loss
from ssr_hydra.trainer.evaluation import (
    EvaluationMean,
    accumulates,
    accuracy,
    add_up,
    call_metric,
    check_metrics,
    computed,
    metric_values,
    move_metric,
    reduced,
)
from ssr_hydra.trainer.first_batch import check_loss, first_batch, one_number
from ssr_hydra.trainer.parallel import in_step, is_sharded
from ssr_hydra.trainer.processes import ALONE, Processes


class Task:
    """Model, loss and metrics, and the calls that compute them from a batch.

    A batch is a pair ``(inputs, targets)`` or a mapping.

    - Pair: The task calls ``model(inputs)``. If the inputs are a tuple or list, the call is ``model(*inputs)``. If the
      inputs are a mapping, the call is ``model(**inputs)``. The loss is ``loss(outputs, targets)``.
    - Mapping: The task calls ``model(**batch)``. The loss is ``loss(outputs, batch)``. If no loss is given, the
      model must compute the loss, as ``outputs.loss`` or ``outputs["loss"]``.

    The arguments are those of the :class:`~ssr_hydra.trainer.Trainer` and of its settings ``counts`` and ``step``.

    Attributes:
        given_loss: The ``loss`` argument.
        train_model: The model for training, possibly wrapped for several processes.
        evaluates_under: A context manager for the forward passes of evaluation: autocast, if training uses it.
        needed: The name of the metric that each setting needs, by setting. Each evaluation must compute these metrics.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor] | None,
        metrics: Mapping[str, Any] | None,
        device: torch.device,
        count_samples: Callable[[Any], int] | None = None,
        count_tokens: Callable[[Any], int] | None = None,
        channels_last: bool = False,
        loss_mean_over: str = "samples",
    ) -> None:
        self.model, self.device = model, device
        self.train_model = model
        self.evaluates_under: AbstractContextManager[Any] = nullcontext()
        self.given_loss, self._loss = loss, F.cross_entropy if loss is None else loss
        if metrics is None:
            metrics = {"accuracy": accuracy} if loss is None else {}
        self.metrics = check_metrics(metrics)
        self._objects = {name: metric for name, metric in self.metrics.items() if accumulates(metric)}
        for metric in self._objects.values():
            move_metric(metric, device)
        self._updates = 0  # the number of batches that the metric objects have received in this evaluation
        self.needed: Mapping[str, str | None] = {}
        self._count_samples, self._count_tokens = count_samples, count_tokens
        self._by_tokens = loss_mean_over == "tokens"
        while isinstance(loss, functools.partial):
            loss = loss.func
        self._num_averaged: Callable[[Any], int] | None = getattr(loss, "num_averaged", None)
        self._aligned: Callable[..., Any] | None = getattr(loss, "aligned", None)
        # On the CPU a batch is not moved: the calls of Tensor.to would cost time without an effect.
        self._move = device.type != "cpu" or channels_last
        self._channels_last = channels_last
        self._can_be_plain = not self._move and count_samples is None and count_tokens is None
        self._plain = False  # whether loss() may use its fast path; False until the first batch was validated
        self._is_new = True
        self._evaluation_error: Exception | None = None

    def loss(self, batch: Any) -> tuple[Tensor, int, int]:
        """Return the loss of a training batch, and its number of samples and tokens."""
        if self._plain and type(batch) in (tuple, list) and len(batch) == 2:
            inputs, targets = batch
            if type(inputs) is Tensor and inputs.is_floating_point():  # a fast path for most batches
                return self._loss_of(self.train_model(inputs), targets), inputs.size(0), 0
        samples, tokens = self.count(batch)
        return self.training_loss(batch), samples, tokens

    def training_loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch, or of a part of a batch, computed with the training model."""
        if self._is_new:
            return self._first_loss(batch)
        loss = self._compute(batch, self.train_model)[0]
        return loss if loss.ndim == 0 or loss.numel() != 1 else loss.reshape(())

    def _first_loss(self, batch: Any) -> Tensor:
        with self._looking_after(batch, "train_dataloader"):
            loss, outputs, _ = self._compute(batch, self.train_model)
            check_loss(loss, self._loss, outputs)
        error, self._evaluation_error = self._evaluation_error, None
        if error is not None:  # raised only here, so that an error of training is reported first
            raise error
        self._is_new, self._plain = False, self._can_be_plain and loss.ndim == 0
        return loss.reshape(())

    def _looking_after(self, batch: Any, field: str) -> AbstractContextManager[None]:
        return first_batch(field, batch, self.model, self._loss, is_own=self.given_loss is None)

    @staticmethod
    def length(batch: Any) -> int:
        """Return the size of the first dimension of a batch's first tensor."""
        return num_samples(batch if isinstance(batch, Mapping) else pair_of(batch)[0])

    def count(self, batch: Any) -> tuple[int, int]:
        """Return the numbers of samples and tokens of a batch. If the batch is on a GPU, this may wait for the GPU."""
        inputs = batch if isinstance(batch, Mapping) else pair_of(batch)[0]
        count, count_tokens = self._count_samples, self._count_tokens
        samples = num_samples(inputs) if count is None else counted(count(batch), "get_num_samples_in_batch", count)
        tokens = (
            num_tokens(inputs)
            if count_tokens is None
            else counted(count_tokens(batch), "get_num_tokens_in_batch", count_tokens)
        )
        return samples, tokens

    def weigh(self, batch: Any) -> tuple[int, int, int]:
        """Return samples, tokens and weight of a batch. The weight is the number of values that its loss averages."""
        samples, tokens = self.count(batch)
        if not self._by_tokens:
            return samples, tokens, samples
        return samples, tokens, tokens if self._num_averaged is None else int(self._num_averaged(batch))

    def _compute(self, batch: Any, model: nn.Module) -> tuple[Tensor, Any, Any]:
        """Return the loss, outputs and targets of a batch. For a mapping, the targets are the batch itself."""
        if isinstance(batch, Mapping):
            batch = self._to_device(batch)
            outputs = model(**batch)
            if self.given_loss is not None:
                return self._loss_of(outputs, batch), outputs, batch
            return returned_loss(outputs), outputs, batch
        inputs, targets = pair_of(batch)
        if self._move:
            inputs, targets = self._to_device(inputs), self._to_device(targets)
        if isinstance(inputs, Tensor):
            outputs = model(inputs)
        elif isinstance(inputs, Mapping):
            outputs = model(**inputs)
        else:
            outputs = model(*inputs)
        return self._loss_of(outputs, targets), outputs, targets

    def _loss_of(self, outputs: Any, targets: Any) -> Tensor:
        try:
            return self._loss(outputs, targets)
        except Exception as error:
            if (named := user_code_error("loss", self._loss, error)) is None:
                raise
            raise named from error

    def _computed(self, processes: Processes, *, is_trial: bool) -> dict[str, dict[str, float]]:
        """Return the results of the metric objects. If ``is_trial`` (only a few batches), omit objects that fail."""
        results = {}
        for name, metric in self._objects.items():
            whole = reduced(name, metric, processes, self.device, self._updates)
            try:
                with warnings.catch_warnings():
                    if is_trial:
                        warnings.simplefilter("ignore")
                    returned = call_metric(name, metric, whole.compute)
            except Exception as error:
                # One batch may be too little for a metric, for example if it needs samples of both classes. An error
                # with a different cause occurs again in the first complete evaluation.
                if is_trial and isinstance(error.__cause__, (ArithmeticError, RuntimeError, ValueError)):
                    continue
                raise
            results[name] = processes.from_main(computed(name, metric, returned), "an evaluation")
        return results

    def try_evaluation(self, loader: Iterable[Any], processes: Processes = ALONE) -> None:
        """Compute loss and metrics of the first evaluation batch before training, and restore all random states.

        This method stores an error instead of raising it. :meth:`training_loss` validates the first training batch, and
        then raises the stored error.
        """
        if isinstance(loader, Iterator):  # an iterator can be read only once
            return
        owners = (loader, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None))
        generators = [getattr(owner, "generator", None) for owner in owners]
        states = [(item, item.get_state()) for item in generators if isinstance(item, torch.Generator)]
        try:
            self.evaluate(loader, processes, batches=1)
        except Exception as error:
            self._evaluation_error = error
        finally:
            for generator, state in states:
                generator.set_state(state)

    def _to_device(self, value: Any) -> Any:
        def moved(part: Any) -> Any:
            if isinstance(part, Tensor):
                is_image = self._channels_last and part.ndim == 4
                memory_format = torch.channels_last if is_image else torch.preserve_format
                return part.to(self.device, non_blocking=True, memory_format=memory_format)
            return part.to(self.device) if callable(getattr(part, "to", None)) else part

        return map_parts(value, moved)

    @torch.no_grad()
    def evaluate(
        self,
        loader: Iterable[Any],
        processes: Processes = ALONE,
        each_batch: Callable[[], object] | None = None,
        batches: int | None = None,
        split: str = "eval",
    ) -> dict[str, float]:
        """Return the loss and the metrics over all batches of a loader, by name: ``eval/loss`` and ``eval/<metric>``.

        The loss of a batch is weighted by the batch's samples or tokens. If a metric returns one value for a batch,
        this value is weighted by the batch's samples. If it returns a value per sample or token, each has weight 1.
        For a metric object, the method calls ``reset``, then ``update`` with every batch, then ``compute``. If the
        loss has an attribute ``aligned``, as :func:`~ssr_hydra.models.next_token_loss` has, ``update`` gets the results
        of ``loss.aligned(outputs, targets)``.

        At the end, the method restores the global random state, and the training or evaluation mode of each module.

        Args:
            loader: The batches. With several processes, each process passes its own part of the batches.
            processes: The processes that evaluate together.
            each_batch: A function to call before every batch. It may end the evaluation with an exception.
            batches: The largest number of batches to read. None means all batches. With a number, the method omits
                the metric objects that fail, because a few batches may be too little for them.
            split: The first part of the metrics' names: ``eval`` or ``test``.

        Raises:
            InputError: The loader has no batch, a metric object returns something other than numbers, or a metric in
                ``needed`` was not computed.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        functions = [f"eval/{name}" for name in self.metrics if name not in self._objects]
        means = {name: EvaluationMean() for name in (*functions, "eval/loss")}
        for name, metric in self._objects.items():
            call_metric(name, metric, metric.reset)
        self._updates = 0
        is_new = True
        self.model.eval()
        try:
            with preserved_rng():
                together = processes.world_size > 1 and is_sharded(self.model)
                for number, item in enumerate(in_step(loader, processes) if together else loader, 1):
                    if each_batch is not None:
                        each_batch()
                    batch = item.batch if isinstance(item, Padding) else item
                    samples, _, weight = self.weigh(batch)
                    with self._looking_after(batch, f"{split}_dataloader") if is_new else nullcontext():
                        batch_metrics = self._evaluated(batch, is_padding=isinstance(item, Padding))
                    is_new = False
                    for name, values in batch_metrics.items():
                        count = weight if name == "eval/loss" else samples
                        if count:  # the loss of a batch without samples or tokens is NaN
                            means[name].add(values, count)
                    if number == batches:
                        break
                if processes.world_size > 1:
                    add_up(list(means.values()), processes)
                results = self._computed(processes, is_trial=batches is not None) if means["eval/loss"].count else {}
        finally:
            for module, mode in modes:
                module.training = mode
        if not means["eval/loss"].count:
            rule, fix = "must have at least one batch", "give a loader that can be read repeatedly"
            raise MissingValueError(f"{split}_dataloader", type(loader).__name__, rule, fix)
        evaluated: dict[str, float] = {}
        for name in self.metrics:
            key = f"eval/{name}"
            numbers = results.get(name, {}) if name in self._objects else {key: means[key].value()}
            if duplicates := evaluated.keys() & numbers:
                rule = "is also the name of another metric"
                raise ConflictError(f"metrics.{name}", min(duplicates), rule, "rename one of the two metrics")
            evaluated.update(numbers)
        evaluated["eval/loss"] = means["eval/loss"].value()
        for field, needed in self.needed.items() if len(results) == len(self._objects) else ():
            if needed is not None and needed.startswith("eval/") and needed not in evaluated:
                raise UnknownNameError(field, needed, "must be a metric of the run", f"use {' or '.join(evaluated)}")
        return {f"{split}/{name.removeprefix('eval/')}": value for name, value in evaluated.items()}

    def _evaluated(self, batch: Any, *, is_padding: bool) -> dict[str, Tensor]:
        """Return the metrics and the loss of a batch, by name. Return an empty dict for a padding batch."""
        with self.evaluates_under:
            loss, outputs, targets = self._compute(batch, self.model)
        if is_padding:
            return {}
        aligned = (outputs, targets)
        if self._objects and self._aligned is not None:
            aligned = self._aligned(outputs, targets)
        values: dict[str, Tensor] = {}
        for name, metric in self.metrics.items():
            if name in self._objects:
                call_metric(name, metric, metric.update, *aligned)
            else:
                values[f"eval/{name}"] = metric_values(
                    name, metric, call_metric(name, metric, metric, outputs, targets)
                )
        self._updates += 1
        return {**values, "eval/loss": one_number(loss, self._loss)}
