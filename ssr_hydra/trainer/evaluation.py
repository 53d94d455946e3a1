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
        fix = f"correct them, or {removal('accuracy', accuracy)}"
        raise InputError("metrics.accuracy", f"targets {list(targets.shape)}", rule, fix)
    return classes == targets


class EvaluationMean:
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


def add_up(means: list[EvaluationMean], processes: Processes) -> None:
    """Sum over all processes. A process with an empty part adds nothing."""
    totals = processes.sum_floats([float(part) for mean in means for part in (mean.total, mean.more)], "an evaluation")
    counts = processes.sum([n for mean in means for n in (mean.count, mean.more_count, mean.each)], "an evaluation")
    for index, mean in enumerate(means):
        mean.total, mean.more = totals[2 * index : 2 * index + 2]
        mean.count, mean.more_count, mean.each = counts[3 * index : 3 * index + 3]


def metric_values(name: str, metric: Callable[..., Any], returned: Any) -> Tensor:
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


def removal(name: str, metric: Callable[..., Any]) -> str:
    """Return how to remove a metric, and where it comes from if the user did not name it."""
    origin = f"{name} comes from trainer=default: " if metric is accuracy else ""
    return f"{origin}remove it by trainer.metrics.{name}=null (in Python by metrics={{...}} without it)"


def check_metrics(metrics: Any) -> dict[str, Callable[..., Tensor]]:
    """Return the metrics by name. An InputError names a metric that is not a function or has no valid name."""
    if not isinstance(metrics, Mapping):
        raise InputError("metrics", metrics, "must be a mapping of names to functions", "write {'accuracy': accuracy}")
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name or name == "loss":
            raise InputError("metrics", name, "must be a string other than 'loss'", "rename it")
        if not callable(metric):
            raise InputError(f"metrics.{name}", metric, "must be a function of (outputs, targets)", "give a function")
    return dict(metrics)
