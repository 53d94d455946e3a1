"""The parts of a batch, and the number of its samples and tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ssr_hydra.errors import MissingValueError, RangeError, WrongTypeError, callable_name
from ssr_hydra.records import as_number
from ssr_hydra.trainer.first_batch import describe_value

_TOKEN_TYPES = (torch.int64, torch.int32)


def pair_of(batch: Any) -> tuple[Any, Any]:
    """Return the inputs and targets of a batch."""
    kind = type(batch).__name__
    if isinstance(batch, (tuple, list)):
        if len(batch) == 2:
            return batch[0], batch[1]
        kind = f"{kind} of {len(batch)}"
    rule = "must return batches that are pairs (inputs, targets) or mappings"
    raise WrongTypeError("train_dataloader", kind, rule, "change its collate_fn")


def map_parts(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return a copy of nested mappings, tuples and lists, with ``function(leaf)`` instead of each leaf.

    A leaf is any other object, or a tuple with a method ``to``, such as a packed sequence.
    """
    if isinstance(value, Mapping):
        return {key: map_parts(item, function) for key, item in value.items()}
    if isinstance(value, (tuple, list)) and not hasattr(value, "to"):
        # _make of a named tuple takes a list; the constructor takes separate fields.
        make = getattr(type(value), "_make", type(value))
        return make([map_parts(item, function) for item in value])
    return function(value)


def _first_tensor(inputs: Any) -> Tensor | None:
    if isinstance(inputs, Tensor):
        return inputs
    parts = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, (tuple, list)) else ()
    return next((tensor for part in parts if (tensor := _first_tensor(part)) is not None), None)


def num_samples(inputs: Any) -> int:
    """Return the number of samples: the size of the first dimension of the first tensor in the inputs."""
    tensor = inputs if type(inputs) is Tensor else _first_tensor(inputs)
    if tensor is None or tensor.ndim == 0:
        rule = "must return inputs with at least one dimension, because the first dimension counts the samples"
        raise WrongTypeError("train_dataloader", type(inputs).__name__, rule, "give get_num_samples_in_batch")
    return tensor.size(0)


def num_tokens(inputs: Any) -> int:
    """Return the number of tokens in the inputs.

    For a mapping, count the ones in ``attention_mask``, else the elements of ``input_ids``. For a tensor [N, L] of
    int64 or int32, return N * L. For other inputs, return 0.
    """
    if isinstance(inputs, Tensor):
        return inputs.numel() if inputs.dtype in _TOKEN_TYPES and inputs.ndim == 2 else 0
    if isinstance(inputs, Mapping):
        if isinstance(mask := inputs.get("attention_mask"), Tensor):
            return int(mask.sum())
        if isinstance(ids := inputs.get("input_ids"), Tensor):
            return ids.numel()
    return 0


def counted(returned: Any, field: str, function: Callable[..., Any]) -> int:
    """Return the result of a user's counting function as an int."""
    if type(returned) is int and returned >= 0:  # the usual case
        return returned
    number = as_number(returned)
    if number is None or not number.is_integer() or number < 0:
        rule = f"must return an integer >= 0 (got {describe_value(returned)})"
        raise RangeError(field, callable_name(function), rule, "change what the function returns")
    return int(number)


def returned_loss(outputs: Any) -> Tensor:
    """Return the loss in a model's outputs: ``outputs["loss"]`` or ``outputs.loss``."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
    if not isinstance(loss, Tensor):
        rule = "must be set if a batch is a mapping and the model returns no loss"
        raise MissingValueError("loss", None, rule, "give loss=f(outputs, batch)")
    return loss
