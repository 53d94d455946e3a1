"""Descriptions of data sets. A resumed run uses the descriptions to detect changed data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def digest(parts: Iterable[bytes | memoryview]) -> str:
    """Return the SHA-256 of the concatenated parts."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()


def describe_tensors(name: str, tensors: Iterable[Tensor]) -> dict[str, Any]:
    """Return the name, the number of samples, and a SHA-256 of the values, types and shapes."""
    tensors = tuple(tensors)
    parts: list[bytes | memoryview] = []
    for tensor in tensors:
        parts.append(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        if tensor.numel():  # NumPy has no bfloat16, so read bytes
            parts.append(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data.cast("B"))
    return {"name": name, "samples": len(tensors[0]), "sha256": digest(parts)}
