"""Loss and metrics of next-token prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ssr_hydra.data.text import IGNORED
from ssr_hydra.errors import MismatchError, WrongTypeError


def next_token_loss(outputs: Any, targets: Any) -> Tensor:
    """Return the mean cross entropy, in nats, of the predicted tokens.

    If the batch is a pair ``(inputs, targets)``, ``targets`` [N, L] has the next token of each position. If the batch
    is a mapping, as for Hugging Face models, ``labels`` equal ``input_ids``, and this function shifts the labels by one
    position. If the batch is a mapping and the model returns its own ``loss``, this function returns that loss. A
    target of -100 is ignored.

    Args:
        outputs: Logits [N, L, C], or a mapping or object with ``logits`` and optionally ``loss``.
        targets: Targets [N, L], or a batch with ``labels``.

    Raises:
        InputError: The shapes of logits and targets do not match, or ``targets`` is a mapping without ``labels``.

    Example:
        >>> import torch
        >>> next_token_loss(torch.zeros(2, 5, 256), torch.zeros(2, 5, dtype=torch.int64))  # log(256)
        tensor(5.5452)
    """
    if not isinstance(targets, Tensor):
        own = _part(outputs, "loss")
        if isinstance(own, Tensor):
            return own
    logits, labels = _aligned(outputs, targets)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


def _num_averaged(batch: Any) -> int:
    """Return the number of targets in a batch that :func:`next_token_loss` averages over."""
    if not isinstance(batch, Mapping):
        return int((batch[1] != IGNORED).sum())
    labels = batch.get("labels")
    return 0 if labels is None else int((labels[:, 1:] != IGNORED).sum())


# The trainer weights each part of a batch by this number of targets.
next_token_loss.num_averaged = _num_averaged  # type: ignore[attr-defined]
# The trainer passes the aligned tensors to metric objects, such as torchmetrics' Perplexity.
next_token_loss.aligned = lambda outputs, targets: _aligned(outputs, targets)  # type: ignore[attr-defined]


def bits_per_byte(outputs: Any, targets: Any) -> Tensor:
    """Return the cross entropy of every predicted byte in bits, which is the code length of an ideal compressor.

    The trainer averages the values over bytes, not over samples or batches. If a token is not a byte, the values are
    bits per token.

    Args:
        outputs: See :func:`next_token_loss`.
        targets: See :func:`next_token_loss`.

    Returns:
        A flat tensor with one value for each target that is not -100.

    Raises:
        InputError: See :func:`next_token_loss`.

    Example:
        >>> import torch
        >>> bits_per_byte(torch.zeros(1, 3, 256), torch.tensor([[7, 8, -100]]))
        tensor([8., 8.])
    """
    logits, labels = _aligned(outputs, targets)
    logits, labels = logits.flatten(0, 1), labels.flatten()
    nats = F.cross_entropy(logits.float(), labels, ignore_index=IGNORED, reduction="none")
    return nats[labels != IGNORED] / math.log(2)


def _aligned(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Return logits [N, L, C] and targets [N, L]. The target of a position is the next token."""
    logits = outputs if isinstance(outputs, Tensor) else _part(outputs, "logits")
    shifted = not isinstance(targets, Tensor)
    labels = _part(targets, "labels") if shifted else targets
    if not isinstance(labels, Tensor):
        rule = "must be a tensor of shape [N, L], or a mapping with the key 'labels'"
        raise WrongTypeError("targets", type(targets).__name__, rule, "pass a tensor or {'labels': tensor}")
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != labels.shape:
        actual = tuple(logits.shape) if isinstance(logits, Tensor) else type(outputs).__name__
        rule = f"must be logits [N, L, C] for targets of shape {list(labels.shape)}"
        raise MismatchError("outputs", actual, rule, "choose a language model for this data")
    return (logits[:, :-1], labels[:, 1:]) if shifted else (logits, labels)


def _part(outputs: Any, name: str) -> Any:
    return outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
