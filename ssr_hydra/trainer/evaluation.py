"""Metrics of an evaluation: their values for a batch, and their means over all batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssr_hydra.errors import InputError, callable_name
from ssr_hydra.records import as_number
from ssr_hydra.trainer.first import describe_value
from ssr_hydra.trainer.processes import Processes

__all__ = ["EvaluationMean", "accuracy", "add_up", "check_metrics", "metric_values", "removal"]


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each sample whether the class with the largest logit is the target's class.

    Args:
        outputs: Logits [N, C] or [N, C, ...].
        targets: Classes [N] or [N, ...], or probabilities with the shape of the logits.

    Returns:
        Booleans [N] or [N, ...].

    Raises:
        InputError: The targets have a wrong shape, so torch would compare classes of different samples.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor([ True, False])
    """
    if targets.is_floating_point():
        targets = targets.argmax(1)
    classes = outputs.argmax(1)
    if classes.shape != targets.shape:
        rule = f"must have the shape {list(classes.shape)} for outputs {list(outputs.shape)}"
        fix = f"correct them, or {removal('accuracy', accuracy)}"
        raise InputError("metrics.accuracy", f"targets {list(targets.shape)}", rule, fix)
    return classes == targets


class EvaluationMean:
    """The mean of a loss or metric over the samples of an evaluation.

    If a batch has one value (a scalar), the weight of this value is the number of the batch's samples. If a batch has
    a value per sample or token, the weight of each value is 1. A tensor of shape [1] is ambiguous: it is read as the
    value of the batch, unless another batch has several values.

    Attributes:
        total, count: Weighted sum of the values, and sum of their weights. Each tensor of shape [1] has weight 1.
        more, more_count: The amounts to add to ``total`` and ``count`` if tensors of shape [1] are values of batches.
        each: The number of batches whose tensor of values has dimensions and a size other than 1.
    """

    def __init__(self) -> None:
        self.total: Tensor | float = 0.0
        self.more: Tensor | float = 0.0
        self.count = self.more_count = self.each = 0

    def add(self, values: Tensor, samples: int) -> None:
        """Add the values of a batch that has ``samples`` samples. The sums stay on the device of the values."""
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


def add_up(means: list[EvaluationMean], processes: Processes) -> None:
    """Replace the sums in each mean by the sums over all processes. A process without samples adds 0."""
    totals = processes.sum_floats([float(part) for mean in means for part in (mean.total, mean.more)], "an evaluation")
    counts = processes.sum([n for mean in means for n in (mean.count, mean.more_count, mean.each)], "an evaluation")
    for index, mean in enumerate(means):
        mean.total, mean.more = totals[2 * index : 2 * index + 2]
        mean.count, mean.more_count, mean.each = counts[3 * index : 3 * index + 3]


def metric_values(name: str, metric: Callable[..., Any], returned: Any) -> Tensor:
    """Return the result of a metric as a tensor.

    Args:
        name: The name of the metric, for errors.
        metric: The function of the metric, for errors.
        returned: The result: a tensor, an array, a list of numbers, or a number of Python or NumPy.

    Raises:
        InputError: The result has another type, or is complex.
    """
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


def removal(name: str, metric: Callable[..., Any]) -> str:
    """Return a hint for an error: how to remove a metric, and where the default metric comes from."""
    origin = f"{name} comes from trainer=default: " if metric is accuracy else ""
    return f"{origin}remove it by trainer.metrics.{name}=null (in Python by metrics={{...}} without it)"


def check_metrics(metrics: Any) -> dict[str, Callable[..., Tensor]]:
    """Return the metrics as a dict from name to function.

    Raises:
        InputError: ``metrics`` is not a mapping, or a metric is not a function or has an invalid name.
    """
    if not isinstance(metrics, Mapping):
        raise InputError("metrics", metrics, "must be a mapping of names to functions", "write {'accuracy': accuracy}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name or name == "loss":
            raise InputError("metrics", name, "must be a string other than 'loss'", "rename it")
        if not callable(metric):
            raise InputError(f"metrics.{name}", metric, "must be a function of (outputs, targets)", "give a function")
    return dict(metrics)
