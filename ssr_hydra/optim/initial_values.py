"""The initial values of scheduled hyperparameters, such as the learning rate. Schedules multiply these values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ctypes import c_float
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

DEFAULT = "default"
"""Name of the schedule of a param group that does not name a schedule."""

_PART = re.compile(r"(\w*[a-z])([1-9])")

_Group = dict[str, Any]
_Left = Mapping[str | int, float]

# For each optimizer and hyperparameter, what this package's last two schedules wrote. The first mapping is that of the
# last schedule, and the second that of the schedule before. A mapping has either the alpha of each schedule (key: its
# name), or the number in each param group (key: its index). If a group has a different number, the user has set it. The
# second mapping is used while the first is empty, because the last schedule has not written anything yet.
_left: WeakKeyDictionary[Optimizer, dict[str, tuple[_Left, _Left | None]]] = WeakKeyDictionary()


def multiplied(value: Any, base: float, alpha: float) -> float:
    """Return ``base * alpha``, bitwise equal to LambdaLR's result. ``value`` is the current float or tensor."""
    if isinstance(value, Tensor) and value.dtype is not torch.float64:
        # The product of two float32 numbers is exact in float64. So the product is rounded only once, in the tensor.
        return base * c_float(alpha).value
    return base * alpha


def like(value: Any, number: float) -> Any:
    """Return ``number`` as a tensor like ``value`` if ``value`` is a tensor, else ``number`` itself."""
    return torch.full_like(value, number) if isinstance(value, Tensor) else number


def begins(state: Any) -> bool:
    """Return True if the run starts from the beginning, and False if it resumes."""
    return all(state.timestamp.get(unit).value == 0 for unit in ("ba", "sp", "tok"))


@dataclass(frozen=True)
class FieldPlace:
    """The place of a hyperparameter in a param group: a key, and an index if the value is a tuple."""

    key: str
    index: int | None = None

    @property
    def initial(self) -> FieldPlace:
        """The place of the initial value, such as ``initial_lr``."""
        return FieldPlace(f"initial_{self.key}", self.index)

    def get(self, group: _Group) -> Any:
        value = group[self.key]
        return value if self.index is None else value[self.index]

    def set(self, group: _Group, value: Any) -> None:
        if self.index is None:
            group[self.key] = value
            return
        parts = list(group[self.key])
        parts[self.index] = value
        group[self.key] = tuple(parts)

    def fill(self, group: _Group, number: float) -> None:
        """Set the number. Change a tensor in place, because CUDA graphs and compiled steps read this tensor."""
        value = self.get(group)
        if isinstance(value, Tensor):
            value.fill_(number)
        else:
            self.set(group, number)


def place_in_group(field: str, group: _Group) -> FieldPlace | None:
    """Return the place of a hyperparameter in a param group; None if the group does not have the hyperparameter.

    ``field`` is a key of the group, such as ``weight_decay``, or an element of a tuple, such as ``beta1`` for the first
    of ``betas``.
    """
    if field.startswith("initial_"):  # this package has stored this value, so it is not a setting
        return None
    if field in group and not isinstance(group[field], (tuple, list)):
        return FieldPlace(field)
    if (match := _PART.fullmatch(field)) is not None:
        stem, index = match[1], int(match[2]) - 1
        for key in (f"{stem}s", stem):
            if isinstance(group.get(key), (tuple, list)) and key != "params" and index < len(group[key]):
                return FieldPlace(key, index)
    return None


class Target(NamedTuple):
    """A param group that has the hyperparameter, and the place of the hyperparameter in the group."""

    group: _Group
    place: FieldPlace
    k: int  # the index of the optimizer
    i: int  # the index of the group in the optimizer

    def get(self) -> Any:
        return self.place.get(self.group)


class InitialValues:
    """The initial value of a hyperparameter of every param group, including groups that are added or loaded later.

    The initial learning rate of a group is its ``initial_lr``, or its ``lr`` if it has no ``initial_lr``. But if the
    user has changed the ``lr`` after an earlier schedule set it, a new schedule starts from the user's ``lr``.
    :meth:`settle` stores this ``lr`` as the group's ``initial_lr``. If the new schedule resumes a run, :meth:`forget`
    drops the user's ``lr``. Other hyperparameters work in the same way, with keys such as ``initial_weight_decay``. The
    initial values of a tuple are a tuple too, such as ``initial_betas``.

    torch keeps a group's ``initial_lr`` when the user changes the group's ``lr``. torch's LambdaLR multiplies the
    ``initial_lr``, so it ignores the user's ``lr``. torch's StepLR multiplies the current ``lr``, so it starts from the
    user's ``lr``.

    Args:
        optimizers: The optimizers, in order.
        field: The hyperparameter.
        begins: True if a run starts, so that the user's value becomes the initial value. False if a run resumes.

    Attributes:
        targets: The param groups that have the hyperparameter.
        values: The initial value of each target.
    """

    def __init__(self, optimizers: Sequence[Optimizer], field: str = "lr", *, begins: bool) -> None:
        self.targets: list[Target] = []
        self.values: list[float] = []
        self._field, self._is_lr = field, field == "lr"
        self._optimizers = tuple(optimizers)
        self._seen: list[tuple[list[_Group], int]] = []
        self._begins = begins
        lefts = [_left.get(optimizer, {}).get(field, (None, None)) for optimizer in optimizers]
        self._before = [left or before for left, before in lefts]
        # torch marks the step method of an optimizer that has a torch scheduler. The rates of this scheduler are
        # unknown.
        self._is_driven = [self._is_lr and hasattr(item.step, "_wrapped_by_lr_sched") for item in optimizers]
        self._set: list[tuple[Target, float]] = []

    def remember(self, left: _Left) -> None:
        """Store ``left``, the mapping to which this schedule writes its alphas or values, for the next schedule."""
        for optimizer, before in zip(self._optimizers, self._before, strict=True):
            _left.setdefault(optimizer, {})[self._field] = left, before

    def is_stale(self) -> bool:
        """Return whether a group was added or a state was loaded since the last :meth:`follow`."""
        return len(self._optimizers) != len(self._seen) or any(
            optimizer.param_groups is not groups or len(groups) != size
            for optimizer, (groups, size) in zip(self._optimizers, self._seen, strict=True)
        )

    def follow(self) -> list[float]:
        """Read the initial values of new groups, and return the initial values of all groups with the field."""
        old = {id(target.group): value for target, value in zip(self.targets, self.values, strict=False)}
        by_tensor = self._by_tensor()
        takes_set_values = self._begins and not self._seen
        self.values = []
        self.targets = [
            Target(group, place, k, i)
            for k, optimizer in enumerate(self._optimizers)
            for i, group in enumerate(optimizer.param_groups)
            if (place := place_in_group(self._field, group)) is not None
        ]
        for target in self.targets:
            value = old.get(id(target.group))
            if value is None:
                value = _initial(target.group, target.place, by_tensor)
            if takes_set_values and self._was_set(target, value):
                value = float(target.get())
                self._set.append((target, value))
            by_tensor[id(target.get())] = value
            self.values.append(value)
        self._seen = [(optimizer.param_groups, len(optimizer.param_groups)) for optimizer in self._optimizers]
        return self.values

    def _by_tensor(self) -> dict[int, Any]:
        """Return the initial values of the tensors in the known groups. The keys are the ids of the tensors.

        A new group may share a tensor with a known group, for example the optimizer's default ``lr``. The schedule has
        changed this tensor, so the new group needs the tensor's initial value.
        """
        by_tensor: dict[int, Any] = {}
        for target, value in zip(self.targets, self.values, strict=False):
            parts, initial = target.group[target.place.key], target.group.get(target.place.initial.key, ())
            by_tensor.update(zip(map(id, _parts(parts)), _parts(initial), strict=False))
            by_tensor[id(target.get())] = value
        return by_tensor

    def _was_set(self, target: Target, initial: float) -> bool:
        """Return whether the user has set the group's value after an earlier schedule wrote it."""
        value = float(target.get())
        if value == initial:
            return False
        if self._before[target.k] is None:
            return self._is_driven[target.k] and value != 0.0
        return not self._was_left(target, initial)

    def _was_left(self, target: Target, initial: float) -> bool:
        """Return whether the group's value is the one that this package's most recent schedule wrote."""
        value, left = target.get(), self._before[target.k] or {}
        alpha = left.get(str(target.group.get("schedule", DEFAULT)) if self._is_lr else DEFAULT)
        written = left.get(target.i) if alpha is None else multiplied(value, initial, alpha)
        return written is not None and float(value) == float(like(value, written))

    def correct(self, values: Sequence[float]) -> None:
        """Set the initial values to ``values``, except in groups whose value this package's last schedule wrote."""
        for position, (target, value) in enumerate(zip(self.targets, values, strict=True)):
            if not self._was_left(target, self.values[position]):
                self.values[position] = value
                self._set.append((target, value))
        self.settle()

    def settle(self) -> None:
        """Store the user's values as initial values in the groups, because the optimizer saves the groups."""
        for target, value in self._set:
            target.place.initial.set(target.group, like(target.get(), value))
        self._set = []

    def forget(self) -> None:
        """Drop the values that the user has set, and read the initial values of the groups again.

        Call this method if the schedule resumes, or is inside torch's SequentialLR.
        """
        if self._set:
            self._set, self._seen, self.targets, self._begins = [], [], [], False


def _initial(group: _Group, place: FieldPlace, by_tensor: Mapping[int, Any]) -> float:
    if place.initial.key not in group:
        value = group[place.key]
        parts = [_copy(part, by_tensor) for part in _parts(value)]
        group[place.initial.key] = parts[0] if place.index is None else tuple(parts)
    return float(place.initial.get(group))


def _copy(value: Any, by_tensor: Mapping[int, Any]) -> Any:
    if not isinstance(value, Tensor):
        return value
    return torch.full_like(value, float(by_tensor[id(value)])) if id(value) in by_tensor else value.detach().clone()


def _parts(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (tuple, list)) else (value,)
