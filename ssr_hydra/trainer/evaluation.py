"""The metrics of an evaluation: functions whose values are averaged, and objects that accumulate batches."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssr_hydra.errors import (
    ConflictError,
    MismatchError,
    MissingValueError,
    UnknownNameError,
    UserCodeError,
    WrongTypeError,
    callable_name,
    user_code_error,
)
from ssr_hydra.records import as_number
from ssr_hydra.trainer.first_batch import describe_value
from ssr_hydra.trainer.processes import Processes


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return for each sample whether the class with the largest logit is the target's class.

    Args:
        outputs: Logits [N, C] or [N, C, ...].
        targets: Classes [N] or [N, ...], or probabilities with the shape of the logits.

    Returns:
        Booleans [N] or [N, ...].

    Raises:
        InputError: The targets have a wrong shape, so torch would broadcast them and compare classes of different
            samples.

    Example:
        >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        tensor([ True, False])
    """
    if targets.is_floating_point():
        targets = targets.argmax(1)
    classes = outputs.argmax(1)
    if classes.shape != targets.shape:
        rule = f"must have the shape {list(classes.shape)} for outputs {list(outputs.shape)}"
        fix = f"correct the targets, or {removal('accuracy', accuracy)}"
        raise MismatchError("metrics.accuracy", f"targets {list(targets.shape)}", rule, fix)
    return classes == targets


class EvaluationMean:
    """The mean of a loss or metric over the samples of an evaluation.

    If a batch has a single value, the weight of this value is the number of the batch's samples. If a batch has a value
    per sample or token, each value has weight 1. A tensor of shape [1] is ambiguous. If any other batch of the
    evaluation has several values, the tensor counts as the value of one sample or token. Otherwise it counts as the
    single value of its batch.
    """

    def __init__(self) -> None:
        # The weighted sum of the values, and the sum of the weights, if a tensor of shape [1] has weight 1.
        self.total: Tensor | float = 0.0
        self.count = 0
        # If no batch has several values, the weight of a tensor of shape [1] is its batch's number of samples. Then add
        # these two numbers to `total` and `count`.
        self.more: Tensor | float = 0.0
        self.more_count = 0
        self.each = 0  # the number of batches that have several values

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
    """Return the result of a metric as a tensor. Accept a tensor, an array, a list of numbers, or a number."""
    values = returned
    if not isinstance(returned, Tensor):
        number = as_number(returned)
        with suppress(RuntimeError, TypeError, ValueError):
            if isinstance(returned, np.ndarray) and not np.iscomplexobj(returned):
                values = torch.from_numpy(np.array(returned, dtype=np.float64))
            elif number is not None or isinstance(returned, (list, tuple)):
                values = torch.as_tensor(returned if number is None else number, dtype=torch.float64)
    if not isinstance(values, Tensor) or values.is_complex():
        rule = f"must return one number for the batch, or one number per sample (got {describe_value(returned)})"
        raise WrongTypeError(f"metrics.{name}", callable_name(metric), rule, "change what the metric returns")
    return values.detach()


def removal(name: str, metric: Any) -> str:
    """Return the part of an error message that explains how to remove a metric."""
    origin = " of trainer=default" if metric is accuracy else ""
    return f"remove the metric {name}{origin} with trainer.metrics.{name}=null (in Python, pass metrics without {name})"


def call_metric(name: str, metric: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a metric's function. Replace a built-in exception by a UserCodeError that names the metric."""
    try:
        return function(*arguments)
    except Exception as error:
        if (named := user_code_error(f"metrics.{name}", metric, error)) is None:
            raise
        raise UserCodeError(f"{named}; {removal(name, metric)}") from error


def check_metrics(metrics: Any) -> dict[str, Any]:
    """Return the metrics as a dict from name to function or object. Refuse invalid metrics and names."""
    if not isinstance(metrics, Mapping):
        raise WrongTypeError(
            "metrics", metrics, "must be a mapping of names to functions", "write {'accuracy': accuracy}"
        )
    objects: dict[int, str] = {}
    for name, metric in metrics.items():
        if not isinstance(name, str) or not name or name == "loss":
            raise ConflictError("metrics", name, "the name must be a string other than 'loss'", "rename the metric")
        inner = metric
        while isinstance(inner, functools.partial):
            inner = inner.func
        if inspect.isclass(inner) and accumulates(inner):
            rule, fix = "must be an object, not its class", "create the object (in a config, remove _partial_)"
            raise WrongTypeError(f"metrics.{name}", callable_name(inner), rule, fix)
        if accumulates(metric):
            if (other := objects.setdefault(id(metric), name)) != name:
                rule = f"must be a separate object, because metrics.{other} already uses this object"
                raise ConflictError(f"metrics.{name}", callable_name(metric), rule, "create a second object")
        elif not callable(metric):
            rule = "must be a function of (outputs, targets), or an object with update, compute and reset"
            raise WrongTypeError(f"metrics.{name}", metric, rule, "give a function")
    return dict(metrics)


def accumulates(metric: Any) -> bool:
    """Return whether a metric has the methods ``update``, ``compute`` and ``reset``, as in torchmetrics."""
    return all(callable(getattr(metric, method, None)) for method in ("update", "compute", "reset"))


def check_metric_name(metric: str | None, field: str, metrics: Mapping[str, Any], *, evaluates: bool) -> None:
    """Refuse a setting whose value is the name of a metric that the run does not compute."""
    names = [*(f"eval/{name}" for name in metrics), "eval/loss", "train/loss"] if evaluates else ["train/loss"]
    # A metric object may return a mapping. The first evaluation checks the keys of this mapping.
    objects = [f"eval/{name}/" for name, each in metrics.items() if evaluates and accumulates(each)]
    if metric is not None and metric not in names and not str(metric).startswith(tuple(objects)):
        raise UnknownNameError(field, metric, "must be a metric of the run", f"use {' or '.join(names)}")


def check_reducible(metrics: Mapping[str, Any], world_size: int) -> None:
    """Refuse metric objects whose states several processes cannot combine."""
    for name, metric in metrics.items():
        if world_size == 1 or not accumulates(metric) or _syncs(metric):
            continue
        if _syncs(metric) is not None:
            rule, fix = f"must exchange its state between the {world_size} processes", "remove sync_on_compute=False"
            raise WrongTypeError(f"metrics.{name}", callable_name(metric), rule, fix)
        if not callable(getattr(metric, "merge_state", None)):
            rule = f"needs a method merge_state(metrics) to combine the batches of {world_size} processes"
            fix = "define merge_state, which adds the states of a list of other metrics, or use one process"
            raise WrongTypeError(f"metrics.{name}", callable_name(metric), rule, fix)


def _syncs(metric: Any) -> bool | None:
    """Return whether ``compute`` of a torchmetrics metric combines the states of all processes; None if unknown."""
    parts = list(metric.values()) if isinstance(metric, nn.ModuleDict) else [metric]
    flags = [getattr(part, "sync_on_compute", None) for part in parts]
    return None if not flags or None in flags else all(flags)


def reduced(name: str, metric: Any, processes: Processes, device: torch.device, batches: int) -> Any:
    """Return a metric object that has accumulated the batches of all processes.

    If there is only one process, or ``metric.compute`` combines the states of all processes, the function returns
    ``metric`` itself. Otherwise ``merge_state`` merges copies of all processes' metric objects on the CPU, in rank
    order.
    """
    if processes.world_size == 1:
        return metric
    if _syncs(metric):
        having = processes.sum([batches > 0], "an evaluation")[0]
        if having < processes.world_size:
            rule = f"needs evaluation data in every process (only {having} of {processes.world_size} have a batch)"
            fix = "evaluate on more samples, or use one process"
            raise MissingValueError(f"metrics.{name}", callable_name(metric), rule, fix)
        return metric
    move_metric(metric, torch.device("cpu"))
    first, *others = call_metric(name, metric, processes.gather, metric, "an evaluation")
    move_metric(metric, device)
    call_metric(name, metric, first.merge_state, others)
    return first


def move_metric(metric: Any, device: torch.device) -> None:
    """Move a metric object to a device, in place, if it has a method ``to``."""
    if callable(move := getattr(metric, "to", None)):
        move(device)


def computed(name: str, metric: Any, returned: Any) -> dict[str, float]:
    """Return a metric object's result as numbers by name: ``eval/<name>``, or ``eval/<name>/<key>`` for a mapping.

    Example:
        >>> computed("f1", None, torch.tensor(0.5)), computed("f1", None, {"macro": 0.5, "micro": 0.25})
        ({'eval/f1': 0.5}, {'eval/f1/macro': 0.5, 'eval/f1/micro': 0.25})
    """
    parts = returned if isinstance(returned, Mapping) else {"": returned}
    numbers = {f"eval/{name}/{key}" if key else f"eval/{name}": as_number(part) for key, part in parts.items()}
    values = {key: number for key, number in numbers.items() if number is not None}
    if not parts or len(values) < len(parts) or not all(isinstance(key, str) for key in parts):
        rule = f"compute() must return one number, or a mapping of names to numbers (got {describe_value(returned)})"
        fix = "average over the classes (in torchmetrics average=macro), or return a mapping"
        raise WrongTypeError(f"metrics.{name}", callable_name(metric), rule, fix)
    return values
