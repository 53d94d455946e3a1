"""The initial learning rates of param groups, which schedules multiply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ctypes import c_float
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

DEFAULT = "default"
"""Name of the schedule of a param group that does not name a schedule."""

_Group = dict[str, Any]
_Left = Mapping[str | int, float]

# The values that this package's most recent scheduler wrote for each optimizer: either the alpha of each schedule (key:
# its name), or the learning rate of each param group (key: its index). If the learning rate of a group differs from the
# value in _left, the user has set the learning rate.
_left: WeakKeyDictionary[Optimizer, _Left] = WeakKeyDictionary()


def rate(lr: Any, base: float, alpha: float) -> float:
    """Return ``base * alpha``, bitwise equal to LambdaLR's result. ``lr`` is the current rate: a float or a tensor."""
    if isinstance(lr, Tensor) and lr.dtype is not torch.float64:
        # The product of two float32 numbers is exact in float64. So the product is rounded only once, in the tensor.
        return base * c_float(alpha).value
    return base * alpha


def begins(state: Any) -> bool:
    """Return True if the run starts from the beginning, and False if it resumes."""
    return all(state.timestamp.get(unit).value == 0 for unit in ("ba", "sp", "tok"))


class InitialRates:
    """The initial learning rate of every param group, including groups that are added or loaded later.

    The initial rate of a group is its ``initial_lr``, or its ``lr`` if it has no ``initial_lr``. But if the user has
    changed the ``lr`` after an earlier schedule set it, a new schedule starts from the user's ``lr``. :meth:`settle`
    stores this ``lr`` as the group's ``initial_lr``. If the new schedule resumes a run, :meth:`forget` drops the user's
    ``lr``.

    torch keeps a group's ``initial_lr`` when the user changes the group's ``lr``. torch's LambdaLR multiplies the
    ``initial_lr``, so it ignores the user's ``lr``. torch's StepLR multiplies the current ``lr``, so it starts from the
    user's ``lr``.

    Args:
        optimizers: The optimizers, in order.
        begins: True if a run starts, so that the user's ``lr`` becomes the initial rate. False if a run resumes.
    """

    def __init__(self, optimizers: Sequence[Optimizer], *, begins: bool) -> None:
        self.values: list[float] = []
        self._optimizers = tuple(optimizers)
        self._seen: list[tuple[list[_Group], int]] = []
        self._begins = begins
        self._before = [_left.get(optimizer) for optimizer in optimizers]
        # torch marks the step method of an optimizer that has a torch scheduler. The rates of this scheduler are
        # unknown.
        self._is_driven = [hasattr(optimizer.step, "_wrapped_by_lr_sched") for optimizer in optimizers]
        self._set: list[tuple[_Group, float]] = []

    def remember(self, optimizer: Optimizer, left: _Left) -> None:
        """Register ``left``, to which this schedule writes its alphas or rates. The next schedule reads ``left``."""
        _left[optimizer] = left

    def is_stale(self) -> bool:
        """Return whether, since the last :meth:`follow`, a group was added or a loaded state replaced the groups."""
        current = [(optimizer.param_groups, len(optimizer.param_groups)) for optimizer in self._optimizers]
        return len(current) != len(self._seen) or any(
            groups is not old_groups or size != old_size
            for (groups, size), (old_groups, old_size) in zip(current, self._seen, strict=True)
        )

    def follow(self) -> list[float]:
        """Read the initial rates of new groups, and return the initial rates of all groups."""
        values: list[float] = []
        rates_by_id: dict[int, float] = {}  # keys are the ids of tensors used as lr
        current = []
        position = 0
        for k, optimizer in enumerate(self._optimizers):
            groups = optimizer.param_groups
            old_groups, old_size = self._seen[k] if self._seen else (None, 0)
            n_old = old_size if groups is old_groups and old_size <= len(groups) else 0
            for i, group in enumerate(groups):
                value = self.values[position + i] if i < n_old else _initial_lr(group, rates_by_id)
                if self._begins and not self._seen and self._was_set(k, i, group, value):
                    value = float(group["lr"])
                    self._set.append((group, value))
                values.append(value)
                rates_by_id[id(group["lr"])] = value
            position += old_size
            current.append((groups, len(groups)))
        self._seen, self.values = current, values
        return values

    def _was_set(self, k: int, i: int, group: _Group, initial: float) -> bool:
        """Return whether the user has set the group's lr after an earlier schedule wrote it."""
        lr = float(group["lr"])
        if lr == initial:
            return False
        if self._before[k] is None:
            return self._is_driven[k] and lr != 0.0
        return not self._was_left(k, i, group, initial)

    def _was_left(self, k: int, i: int, group: _Group, initial: float) -> bool:
        """Return whether the group's lr is the rate that this package's most recent schedule wrote."""
        lr, left = group["lr"], self._before[k] or {}
        alpha = left.get(str(group.get("schedule", DEFAULT)))
        written = left.get(i) if alpha is None else rate(lr, initial, alpha)
        if written is None:
            return False
        return float(lr) == (float(torch.full_like(lr, written)) if isinstance(lr, Tensor) else written)

    def correct(self, values: Sequence[float]) -> None:
        """Set the initial rates to ``values``, except in groups whose lr this package's most recent schedule wrote."""
        position = 0
        for k, optimizer in enumerate(self._optimizers):
            for i, group in enumerate(optimizer.param_groups):
                if not self._was_left(k, i, group, self.values[position]):
                    self.values[position] = values[position]
                    self._set.append((group, values[position]))
                position += 1
        self.settle()

    def settle(self) -> None:
        """Copy the user's rates to ``initial_lr``, because the optimizer saves ``initial_lr``."""
        for group, value in self._set:
            lr = group["lr"]
            group["initial_lr"] = torch.full_like(lr, value) if isinstance(lr, Tensor) else value
        self._set = []

    def forget(self) -> None:
        """Drop the rates that the user has set, and read the groups' ``initial_lr`` again.

        Call this method if the schedule resumes, or is part of another schedule.
        """
        if self._set:
            self._set, self._seen, self._begins = [], [], False


def _initial_lr(group: _Group, rates_by_id: Mapping[int, float]) -> float:
    lr = group["lr"]
    if "initial_lr" not in group:
        # A new group may share a tensor lr with other groups. The schedule has changed this tensor, so use its initial
        # value.
        group["initial_lr"] = torch.full_like(lr, rates_by_id.get(id(lr), float(lr))) if isinstance(lr, Tensor) else lr
    return float(group["initial_lr"])
