"""Validation of the first batch of training and of each evaluation. Later batches are not validated."""

from __future__ import annotations

import functools
import inspect
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssr_hydra.errors import (
    FirstBatchError,
    InputError,
    MismatchError,
    UserCodeError,
    WrongTypeError,
    callable_name,
    described_error,
)
from ssr_hydra.records import as_number

# Torch's pointwise losses give this warning if outputs and targets have different shapes. The pattern does not match a
# target of one number, because broadcasting this number cannot compare an output with the target of another sample.
_SPREAD = r"Using a target size \(torch\.Size\(\[(?!(?:1(?:, )?)*\]\))"
# Torch and Python raise these types of errors if shapes or types do not fit. Only user code raises other types.
_FIT = (AssertionError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
_LONGEST = 300
_REGRESSION = "choose trainer=regression (in Python loss=F.mse_loss)"


@contextmanager
def first_batch(
    field: str, batch: Any, model: nn.Module, loss: Callable[..., Any], *, is_own: bool = False
) -> Iterator[None]:
    """Explain errors of the ``with`` block, which computes the outputs, loss and metrics of the first batch.

    ``is_own`` is True if the user set no loss: if a batch is a mapping, the model must then return the loss. Exceptions
    of a class that the user has defined are not changed.

    Raises:
        InputError: Outputs and targets have different shapes, and torch would broadcast them.
        FirstBatchError: The batch does not fit the model, the loss or a metric.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=_SPREAD, category=UserWarning)
        try:
            yield
        except UserWarning as warning:
            if re.match(_SPREAD, str(warning)) is None:
                raise
            raise _spread(field, str(warning)) from None
        except (*_FIT, UserCodeError) as error:
            if type(error) not in (*_FIT, UserCodeError):
                raise
            message, cause = described_error(error), cast(BaseException, error)
            if isinstance(error, UserCodeError) and error.__cause__ is not None:
                message, cause = str(error), error.__cause__
            if message.startswith("metrics."):
                raise FirstBatchError(f"{message}; the first batch of {field} has {_described(batch)}") from cause
            hint = _hint(cause, batch, model, loss, is_own=is_own)
            raise FirstBatchError(f"{field}, first batch ({_described(batch)}): {message}; {hint}") from cause


def check_loss(loss: Any, function: Callable[..., Any], outputs: Any) -> None:
    """Refuse a training loss that is not one number, has no gradient, or is always 0."""
    one_number(loss, function)
    if not isinstance(loss, Tensor) or (torch.is_grad_enabled() and not loss.requires_grad):
        rule = f"must be a tensor with a gradient (got {describe_value(loss)})"
        fix = "compute the loss from the model's outputs, without item() or detach()"
        raise WrongTypeError("loss", callable_name(function), rule, fix)
    if _is_cross_entropy(function) and isinstance(outputs, Tensor) and outputs.ndim > 1 and outputs.size(1) == 1:
        rule = "must have several outputs: cross entropy over one class is always 0"
        fix = f"give the model one output per class, or {_REGRESSION}"
        raise MismatchError("model", f"outputs {list(outputs.shape)}", rule, fix)


def one_number(loss: Any, function: Callable[..., Any]) -> Tensor:
    """Return a loss as a tensor without dimensions. The loss may be a tensor with one value, or a number."""
    if isinstance(loss, Tensor) and loss.numel() == 1:
        return loss.reshape(())
    number = as_number(loss)
    if number is None:
        rule = f"must be one number (got {describe_value(loss)})"
        raise WrongTypeError("loss", callable_name(function), rule, "give a loss that averages over the batch")
    return torch.tensor(number, dtype=torch.float64)


def _spread(field: str, warning: str) -> InputError:
    targets, outputs = (f"[{shape}]" for shape in re.findall(r"torch\.Size\(\[([\d, ]*)\]\)", warning)[:2])
    rule = "targets and outputs of a loss or metric must have equal shapes, because torch broadcasts unequal shapes"
    example = " (in the data set: targets[:, None])" if outputs == f"{targets[:-1]}, 1]" else ""
    fix = f"change the targets to the shape {outputs}{example}, or change the outputs to the shape {targets}"
    return MismatchError(field, f"targets {targets}, outputs {outputs}", rule, fix)


def _described(batch: Any) -> str:
    """Return the keys, shapes and types of a batch as text of at most 300 characters."""
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        text = f"inputs {describe_value(batch[0])}, targets {describe_value(batch[1])}"
    else:
        text = describe_value(batch)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def describe_value(value: Any) -> str:
    """Return a text with the type and shape of each tensor in a nested value, and the type of every other object."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {describe_value(item)}' for key, item in value.items())}}}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(describe_value, value))})"
    return type(value).__name__


def _hint(error: BaseException, batch: Any, model: nn.Module, loss: Callable[..., Any], *, is_own: bool) -> str:
    loss = _unbound(loss)
    try:
        accepts = str(inspect.signature(model.forward)).partition(" ->")[0]
    except (TypeError, ValueError):
        accepts = "other arguments"
    if isinstance(batch, Mapping):
        home = getattr(loss, "__module__", None) or type(loss).__module__
        is_call = isinstance(error, TypeError) and "argument" in str(error) and "forward" in str(error)
        if not is_call and not is_own and home.startswith("torch.") and isinstance(error, (AttributeError, TypeError)):
            rule = "the loss of a mapping is called with (outputs, batch), but this loss compares outputs with targets"
            return f"{rule}: set loss to null if the model returns its own loss, or use pairs (inputs, targets)"
        fix = ": rename the batch's keys" if is_call else ""
        return f"a mapping is passed as model(**batch), and forward accepts {accepts}{fix}"
    inputs, targets = batch
    if isinstance(error, TypeError) and isinstance(inputs, (tuple, list, Mapping)):
        way = "**inputs" if isinstance(inputs, Mapping) else "*inputs"
        return f"these inputs are passed as model({way}), and forward accepts {accepts}"
    frames = traceback.extract_tb(error.__traceback__)
    if _is_cross_entropy(loss) and any(frame.name == "cross_entropy" for frame in frames):
        if isinstance(targets, Tensor) and targets.is_floating_point():
            rule = "cross entropy needs classes (int64), or probabilities with the shape of the outputs"
            return f"{rule}; for numeric targets, {_REGRESSION}"
        return "cross entropy needs outputs [N, C] and classes from 0 to C - 1, int64 of shape [N]"
    weights = next((parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()), None)
    dtype = inputs.dtype if isinstance(inputs, Tensor) and inputs.is_floating_point() else weights
    if weights is not None and dtype != weights and "dtype" in str(error):
        return f"inputs must have the type of the weights: inputs.to({weights})"
    return "if the batch is wrong, change the data set or its collate_fn"


def _unbound(loss: Any) -> Any:
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss


def _is_cross_entropy(loss: Any) -> bool:
    loss = _unbound(loss)
    return loss is F.cross_entropy or isinstance(loss, nn.CrossEntropyLoss)
