"""What is computed from a batch: the loss for training, and loss and metrics for evaluation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.data.seeded import Padding
from ssr_hydra.data.seeding import preserved_rng
from ssr_hydra.errors import InputError, UserCodeError, callable_name, user_code_error
from ssr_hydra.records import as_number
from ssr_hydra.trainer.first import check_loss, describe_value, first_batch, one_number
from ssr_hydra.trainer.parallel import in_step, is_sharded
from ssr_hydra.trainer.processes import ALONE, Processes

__all__ = ["Task", "accuracy"]

_TOKEN_TYPES = (torch.int64, torch.int32)


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each sample whether the largest logit is that of the target's class.

    Args:
        outputs: Logits [N, C] or [N, C, ...].
        targets: Classes [N] or [N, ...], or probabilities of the shape of the logits.

    Returns:
        Booleans [N] or [N, ...].

    Raises:
        InputError: The classes have another shape, so they would be compared with those of other samples.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor([ True, False])
    """
    if targets.is_floating_point():
        targets = targets.argmax(1)
    classes = outputs.argmax(1)
    if classes.shape != targets.shape:
        rule = f"must have the shape {list(classes.shape)} for outputs {list(outputs.shape)}"
        fix = f"correct them, or {_removal('accuracy', accuracy)}"
        raise InputError("metrics.accuracy", f"targets {list(targets.shape)}", rule, fix)
    return classes == targets


class _Mean:
    """The mean of a loss or metric over the samples of an evaluation.

    One number for a batch counts as often as the batch has samples. A value per sample or token counts once. A single
    value in a tensor of shape [1] is ambiguous: it counts as the batch's number, unless another batch has several
    values.

    Attributes:
        total, count: Sum and number of the values.
        more, more_count: What a batch's single value adds if it is the batch's number.
        each: How many batches have several values, or none.
    """

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.more: Tensor | float = 0.0
        self.count = self.more_count = self.each = 0

    def add(self, values: Tensor, samples: int) -> None:
        """Add the values of a batch. Sums stay on the device until the end."""
        precise = torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no float64
        if values.ndim == 0:
            self.total, self.count = self.total + values.to(precise) * samples, self.count + samples
            return
        total = values.sum(dtype=precise)
        self.total, self.count = self.total + total, self.count + values.numel()
        if values.numel() == 1:
            self.more, self.more_count = self.more + total * (samples - 1), self.more_count + samples - 1
        else:
            self.each += 1

    def value(self) -> float:
        """Return the mean, or NaN if there are no values."""
        total, count = self.total, self.count
        if not self.each:
            total, count = total + self.more, count + self.more_count
        return float(total) / count if count else math.nan


class Task:
    """Model, loss and metrics, and how they read a batch.

    A batch is a pair ``(inputs, targets)`` or a mapping. For a pair, the call is ``model(inputs)``, or
    ``model(*inputs)`` if the inputs are a tuple or list, or ``model(**inputs)`` if they are a mapping; then
    ``loss(outputs, targets)``. For a mapping, it is ``model(**batch)``, then ``loss(outputs, batch)``. Without a loss,
    the model computes its own: ``outputs.loss`` or ``outputs["loss"]``.

    Args:
        model: The model, on its device.
        loss: A function of (outputs, targets) that returns a scalar. None means cross entropy, or for a mapping the
            model's own loss.
        metrics: A mapping from name to a function of (outputs, targets) that returns one value per sample, or one for
            the batch, which then counts as often as the batch has samples. None means accuracy with the default loss,
            else no metrics.
        device: The device to which batches are moved.
        count_samples: A function of the batch; None counts the first dimension of its first tensor.
        count_tokens: A function of the batch. None counts the ones of ``attention_mask`` or the ``input_ids`` of a
            mapping, and the numbers in inputs [N, L] of int64 or int32; anything else has no tokens.
        channels_last: Whether to pass images to the model in that memory format.
        loss_mean_over: Whether the loss of a batch is a mean over ``samples`` or ``tokens``.

    Attributes:
        given_loss: The ``loss`` argument.
        train_model: The model for training, possibly wrapped for several processes.
        evaluates_under: A context for the forward passes of evaluation: autocast, if training uses it.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Tensor] | None,
        metrics: Mapping[str, Callable[..., Tensor]] | None,
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
        self.metrics = _check_metrics(metrics)
        self._count_samples, self._count_tokens = count_samples, count_tokens
        self._by_tokens = loss_mean_over == "tokens"
        while isinstance(loss, functools.partial):
            loss = loss.func
        self._num_averaged: Callable[[Any], int] | None = getattr(loss, "num_averaged", None)
        # Moving a batch costs more than this check on the CPU, where it almost never happens.
        self._move = device.type != "cpu" or channels_last
        self._channels_last = channels_last
        self._can_be_plain = not self._move and count_samples is None and count_tokens is None
        self._plain = False  # the first batch is validated
        self._is_new = True
        self._evaluation_error: Exception | None = None

    def loss(self, batch: Any) -> tuple[Tensor, int, int]:
        """Return the loss of a training batch, and its number of samples and tokens."""
        if self._plain and type(batch) in (tuple, list) and len(batch) == 2:
            inputs, targets = batch
            if type(inputs) is Tensor and inputs.is_floating_point():  # most batches: nothing left to check
                return self._loss_of(self.train_model(inputs), targets), inputs.size(0), 0
        samples, tokens = self.count(batch)
        return self.training_loss(batch), samples, tokens

    def training_loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch, or of a part of one, computed with the training model."""
        if self._is_new:
            return self._first_loss(batch)
        loss = self._compute(batch, self.train_model)[0]
        return loss if loss.ndim == 0 or loss.numel() != 1 else loss.reshape(())

    def _first_loss(self, batch: Any) -> Tensor:
        with self._looking_after(batch, "train_dataloader"):
            loss, outputs, _ = self._compute(batch, self.train_model)
            check_loss(loss, self._loss, outputs)
        error, self._evaluation_error = self._evaluation_error, None
        if error is not None:  # raised here, because an error of training comes first
            raise error
        self._is_new, self._plain = False, self._can_be_plain and loss.ndim == 0
        return loss.reshape(())

    def _looking_after(self, batch: Any, field: str) -> AbstractContextManager[None]:
        return first_batch(field, batch, self.model, self._loss, is_own=self.given_loss is None)

    @staticmethod
    def length(batch: Any) -> int:
        """Return the first dimension of a batch's first tensor, along which it can be split."""
        return _samples(batch if isinstance(batch, Mapping) else _pair(batch)[0])

    def count(self, batch: Any) -> tuple[int, int]:
        """Return samples and tokens of a batch, read before it is moved, so that the device is not waited for."""
        inputs = batch if isinstance(batch, Mapping) else _pair(batch)[0]
        count, count_tokens = self._count_samples, self._count_tokens
        samples = _samples(inputs) if count is None else _whole(count(batch), "get_num_samples_in_batch", count)
        tokens = (
            _tokens(inputs)
            if count_tokens is None
            else _whole(count_tokens(batch), "get_num_tokens_in_batch", count_tokens)
        )
        return samples, tokens

    def weigh(self, batch: Any) -> tuple[int, int, int]:
        """Return samples, tokens and weight of a batch; the weight is the number of values in the mean of its loss."""
        samples, tokens = self.count(batch)
        if not self._by_tokens:
            return samples, tokens, samples
        return samples, tokens, tokens if self._num_averaged is None else int(self._num_averaged(batch))

    def _compute(self, batch: Any, model: nn.Module) -> tuple[Tensor, Any, Any]:
        """Return loss, outputs and targets."""
        if isinstance(batch, Mapping):
            batch = self._to_device(batch)
            outputs = model(**batch)
            if self.given_loss is not None:
                return self._loss_of(outputs, batch), outputs, batch
            return _own_loss(outputs), outputs, batch
        inputs, targets = _pair(batch)
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

    def _metric_of(self, name: str, outputs: Any, targets: Any) -> Tensor:
        metric = self.metrics[name]
        try:
            returned = metric(outputs, targets)
        except Exception as error:
            if (named := user_code_error(f"metrics.{name}", metric, error)) is None:
                raise
            raise UserCodeError(f"{named}; {_removal(name, metric)}") from error
        return _values(name, metric, returned)

    def try_evaluation(self, loader: Iterable[Any], processes: Processes = ALONE) -> None:
        """Compute loss and metrics of a loader's first batch, without side effects.

        An error is raised later, after the first batch of training was checked, but before its step.

        Args:
            loader: As for :meth:`evaluate`. A loader that can be read only once is skipped.
            processes: The processes of the run.
        """
        if isinstance(loader, Iterator):
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
        if isinstance(value, Tensor):
            if self._channels_last and value.ndim == 4:
                return value.to(self.device, non_blocking=True, memory_format=torch.channels_last)
            return value.to(self.device, non_blocking=True)
        if isinstance(value, Mapping):
            return {key: self._to_device(item) for key, item in value.items()}
        if callable(move := getattr(value, "to", None)):  # a packed sequence, for example, moves itself
            return move(self.device)
        if isinstance(value, (tuple, list)):
            make = getattr(type(value), "_make", type(value))  # the constructor of a named tuple takes separate fields
            return make([self._to_device(item) for item in value])
        return value

    @torch.no_grad()
    def evaluate(
        self,
        loader: Iterable[Any],
        processes: Processes = ALONE,
        each_batch: Callable[[], object] | None = None,
        batches: int | None = None,
    ) -> dict[str, float]:
        """Return ``eval/loss`` and ``eval/<metric>`` over a loader, independent of the sizes of the batches.

        The loss is weighted by its number of samples or tokens in each batch. A metric with one number per batch counts
        as often as the batch has samples. A metric with values per sample or token counts each value once.

        The model is in evaluation mode during the call. Afterwards the modes of all modules and the global random
        state are restored.

        Args:
            loader: With several processes, each reads its own part of the batches.
            processes: The processes that evaluate together.
            each_batch: Called before every batch; an exception ends the evaluation.
            batches: The number of batches to read; None reads all.

        Raises:
            InputError: The loader has no batch.
        """
        modes = [(module, module.training) for module in self.model.modules()]
        means = {name: _Mean() for name in (*(f"eval/{name}" for name in self.metrics), "eval/loss")}
        is_new = True
        self.model.eval()
        try:
            with preserved_rng():
                together = processes.world_size > 1 and is_sharded(self.model)
                for number, given in enumerate(in_step(loader, processes) if together else loader, 1):
                    if each_batch is not None:
                        each_batch()
                    batch = given.batch if isinstance(given, Padding) else given
                    samples, _, weight = self.weigh(batch)
                    with self._looking_after(batch, "eval_dataloader") if is_new else nullcontext():
                        found = self._evaluated(batch, is_padding=isinstance(given, Padding))
                    is_new = False
                    for name, values in found.items():
                        count = weight if name == "eval/loss" else samples
                        if count:  # a mean over nothing is NaN
                            means[name].add(values, count)
                    if number == batches:
                        break
        finally:
            for module, mode in modes:
                module.training = mode
        if processes.world_size > 1:
            _add_up(list(means.values()), processes)
        if not means["eval/loss"].count:
            raise InputError(
                "eval_dataloader",
                type(loader).__name__,
                "must have at least one batch",
                "give a loader that can be read repeatedly",
            )
        return {name: mean.value() for name, mean in means.items()}

    def _evaluated(self, batch: Any, *, is_padding: bool) -> dict[str, Tensor]:
        """Add metrics and loss of a batch. A padding batch, which is only computed along with others, adds nothing."""
        with self.evaluates_under:
            loss, outputs, targets = self._compute(batch, self.model)
        if is_padding:
            return {}
        found = {f"eval/{name}": self._metric_of(name, outputs, targets) for name in self.metrics}
        return {**found, "eval/loss": one_number(loss, self._loss)}


def _add_up(means: list[_Mean], processes: Processes) -> None:
    """Sum over all processes. A process with an empty part adds nothing."""
    totals = processes.sum_floats([float(part) for mean in means for part in (mean.total, mean.more)], "an evaluation")
    counts = processes.sum([n for mean in means for n in (mean.count, mean.more_count, mean.each)], "an evaluation")
    for index, mean in enumerate(means):
        mean.total, mean.more = totals[2 * index : 2 * index + 2]
        mean.count, mean.more_count, mean.each = counts[3 * index : 3 * index + 3]


def _values(name: str, metric: Callable[..., Any], returned: Any) -> Tensor:
    """Return the value of a metric as a tensor: a number of any kind, or an array or list of numbers."""
    values = returned
    if not isinstance(returned, Tensor):
        number = as_number(returned)
        with suppress(RuntimeError, TypeError, ValueError):
            if isinstance(returned, np.ndarray) and not np.iscomplexobj(returned):
                values = torch.from_numpy(np.array(returned, dtype=np.float64))
            elif number is not None or isinstance(returned, (list, tuple)):
                values = torch.as_tensor(returned if number is None else number, dtype=torch.float64)
    if not isinstance(values, Tensor) or values.is_complex():
        rule = f"must return one number for the batch, or one per sample (got {describe_value(returned)})"
        raise InputError(f"metrics.{name}", callable_name(metric), rule, "change its result")
    return values.detach()


def _removal(name: str, metric: Callable[..., Any]) -> str:
    """Return how to remove a metric, and where it comes from if the user did not name it."""
    origin = f"{name} comes from trainer=default: " if metric is accuracy else ""
    return f"{origin}remove it by trainer.metrics.{name}=null (in Python by metrics={{...}} without it)"


def _whole(returned: Any, field: str, function: Callable[..., Any]) -> int:
    """Return the result of a counting function: an integer of any kind."""
    if type(returned) is int and returned >= 0:  # the usual case
        return returned
    number = as_number(returned)
    if number is None or not number.is_integer() or number < 0:
        rule = f"must return an integer >= 0 (got {describe_value(returned)})"
        raise InputError(field, callable_name(function), rule, "change its result")
    return int(number)


def _pair(batch: Any) -> tuple[Any, Any]:
    try:
        if isinstance(batch, (tuple, list)):
            inputs, targets = batch
            return inputs, targets
    except ValueError:
        pass
    kind = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, (tuple, list)) else type(batch).__name__
    raise InputError("train_dataloader", kind, "must be a pair (inputs, targets) or a mapping", "change its collate_fn")


def _first_tensor(inputs: Any) -> Tensor | None:
    if isinstance(inputs, Tensor):
        return inputs
    parts = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, (tuple, list)) else ()
    return next((found for part in parts if (found := _first_tensor(part)) is not None), None)


def _samples(inputs: Any) -> int:
    tensor = inputs if type(inputs) is Tensor else _first_tensor(inputs)
    if tensor is None or tensor.ndim == 0:
        rule = "must have a tensor with a first dimension to count its samples"
        raise InputError("train_dataloader", type(inputs).__name__, rule, "give get_num_samples_in_batch")
    return tensor.size(0)


def _tokens(inputs: Any) -> int:
    if isinstance(inputs, Tensor):
        return inputs.numel() if inputs.dtype in _TOKEN_TYPES and inputs.ndim == 2 else 0
    if isinstance(inputs, Mapping):
        if isinstance(mask := inputs.get("attention_mask"), Tensor):
            return int(mask.sum())
        if isinstance(ids := inputs.get("input_ids"), Tensor):
            return ids.numel()
    return 0


def _own_loss(outputs: Any) -> Tensor:
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if not isinstance(loss, Tensor):
        rule = "is needed for a batch that is a mapping, unless the model returns its loss"
        raise InputError("loss", None, rule, "give loss=f(outputs, batch)")
    return loss


def _check_metrics(metrics: Any) -> dict[str, Callable[..., Tensor]]:
    if not isinstance(metrics, Mapping):
        raise InputError("metrics", metrics, "must be a mapping of names to functions", "write {'accuracy': accuracy}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name or name == "loss":
            raise InputError("metrics", name, "must be a string other than 'loss'", "rename it")
        if not callable(metric):
            raise InputError(f"metrics.{name}", metric, "must be a function of (outputs, targets)", "give a function")
    return dict(metrics)
