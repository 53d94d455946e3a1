"""Schedules of hyperparameters other than the learning rate: weight decay, momentum, or other numbers of a group."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssr_hydra.errors import InputError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.optim.alpha import bind_all, optimizers_of
from ssr_hydra.optim.initial_rates import begins, rate
from ssr_hydra.rules import BELOW_ONE, check_schedules, no_effect
from ssr_hydra.schedulers import Curve, SchedulerLike
from ssr_hydra.time import Number

_Group = dict[str, Any]
_PART = re.compile(r"(\w*[a-z])([1-9])")

# The last multiplier (alpha) of each scheduled field of an optimizer. It shows who set the field: a schedule or a user.
_left: WeakKeyDictionary[Optimizer, dict[str, float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Place:
    """The place of a field in a param group: a key, and an index if the value is a tuple."""

    key: str
    index: int | None = None

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


@dataclass
class _Target:
    """One scheduled field of one param group."""

    group: _Group
    place: _Place
    initial: float
    field: str

    def value(self) -> float:
        return float(self.place.get(self.group))

    def is_left(self, alpha: float) -> bool:
        """Return whether the current value of the field is the initial value times ``alpha``."""
        now = self.place.get(self.group)
        value = rate(now, self.initial, alpha)
        return float(now) == (float(torch.full_like(now, value)) if isinstance(now, Tensor) else value)

    def set(self, alpha: float) -> None:
        now = self.place.get(self.group)
        value = rate(now, self.initial, alpha)
        if value >= 1 and self.place.key in BELOW_ONE:
            rule = f"must be below 1, but is alpha ({alpha:g}) times the initial value ({self.initial:g})"
            raise RangeError(f"schedules.{self.field}", value, rule, "lower the schedule's peak")
        if isinstance(now, Tensor):  # change the tensor in place, because captured graphs and compiled steps read it
            now.fill_(value)
        else:
            self.place.set(self.group, value)


def by_group(
    numbers: Sequence[float], groups: Sequence[_Group], optimizers: Iterable[Optimizer]
) -> list[float] | dict[str, float]:
    """Return ``numbers`` (one per group) as a dict with the groups' names; as a list if no group has a name.

    A group without a name gets its index as its name. If two groups are named ``a``, the second becomes ``a-2``.
    """
    every = [group for optimizer in optimizers for group in optimizer.param_groups]
    if not any(group.get("name") for group in every):
        return list(numbers)
    names: dict[str, int] = {}
    for index, group in enumerate(every):
        base = str(group.get("name") or index)
        candidates = itertools.chain((base,), (f"{base}-{count}" for count in itertools.count(2)))
        names[next(name for name in candidates if name not in names)] = id(group)
    called = {identity: name for name, identity in names.items()}
    return {called[id(group)]: number for group, number in zip(groups, numbers, strict=True)}


class FieldSchedules:
    """Sets hyperparameters other than the learning rate to the values of their schedules.

    ::

        x_g(t) = initial_x_g * alpha_ssr(t)        for every group g that has the field x

    Batch k uses the value at timestamp k. The constructor sets the value for the current timestamp. Call :meth:`step`
    after every change of ``state.timestamp``.

    A param group stores the initial value next to the field (``initial_weight_decay``, ``initial_betas``), as torch
    stores ``initial_lr``. There is no other state: to resume, load the optimizer and set the timestamp. If the user
    sets a field after a run, a new run uses this value as the initial value.

    A field is a key of the param groups (``weight_decay``, ``momentum``, ``eps``), or an element of a tuple, counted
    from 1: ``beta1`` and ``beta2`` of ``betas``, ``eta1`` of ``etas``.

    Args:
        schedules: A mapping from field to a scheduler, or to several schedulers whose multipliers are multiplied. The
            mapping may be empty.
        state: The run: ``timestamp``, ``max_duration`` (already scaled by ssr), ``optimizers``, and the numbers of
            batches per epoch, of samples per batch, and of tokens per batch.
        ssr: The scale schedule ratio.
        clock: A function from the state's timestamp to the time at which schedules are evaluated; None means the
            timestamp itself.
        plan: The run whose length and rates (such as batches per epoch) the schedules use; None means ``state``.

    Raises:
        InputError: A field is ``lr``, exists in no group, is not a number, or is 0 in all groups; or a schedule does
            not fit the run. :meth:`step` raises this error if alpha moves a field out of its valid range.

    Example:
        >>> from ssr_hydra.schedulers import LinearScheduler
        >>> from ssr_hydra.state import State
        >>> optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], weight_decay=0.5)
        >>> state = State(max_duration="4ba", optimizers=optimizer)
        >>> fields = FieldSchedules({"weight_decay": LinearScheduler()}, state)
        >>> for _ in range(3):
        ...     state.timestamp = state.timestamp.to_next_batch()
        ...     fields.step()
        >>> optimizer.param_groups[0]["weight_decay"], fields.values()
        (0.125, {'weight_decay': 0.125})
    """

    def __init__(
        self,
        schedules: Mapping[str, SchedulerLike | Sequence[SchedulerLike]],
        state: Any,
        ssr: Number = 1.0,
        clock: Callable[[Any], Any] | None = None,
        plan: Any = None,
    ) -> None:
        check_schedules(schedules)
        self._state, self._clock = state, clock
        self._curves = _bind(schedules, state if plan is None else plan, ssr)
        self._seen: list[tuple[list[_Group], int]] = []
        self._targets: dict[str, list[_Target]] = {}
        self._alphas: dict[str, float] = {}
        if self._curves:
            optimizers_of(state)
        self.step()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the scheduled fields."""
        return tuple(self._curves)

    def step(self) -> None:
        """Set the fields to their values at ``state.timestamp``. Find new param groups first, if there are any."""
        if not self._curves:
            return
        if self._is_stale():
            self._follow()
        timestamp = self._state.timestamp
        if self._clock is not None:
            timestamp = self._clock(timestamp)
        for field, curve in self._curves.items():
            self._alphas[field] = alpha = curve(timestamp)
            for target in self._targets[field]:
                target.set(alpha)

    def values(self) -> dict[str, float | list[float] | dict[str, float]]:
        """Return each field's value: a number if it is equal in all groups, else the result of :func:`by_group`."""
        by_field: dict[str, float | list[float] | dict[str, float]] = {}
        for field, targets in self._targets.items():
            numbers, groups = [target.value() for target in targets], [target.group for target in targets]
            is_equal = len(set(numbers)) == 1
            by_field[field] = numbers[0] if is_equal else by_group(numbers, groups, self._state.optimizers)
        return by_field

    def _is_stale(self) -> bool:
        """Return whether a param group was added, or the groups were replaced when an optimizer's state was loaded."""
        optimizers = self._state.optimizers
        return len(optimizers) != len(self._seen) or any(
            optimizer.param_groups is not groups or len(groups) != size
            for optimizer, (groups, size) in zip(optimizers, self._seen, strict=True)
        )

    def _follow(self) -> None:
        """Find the scheduled fields in every param group, and their initial values."""
        optimizers = self._state.optimizers
        for field in self._curves:
            if any(_is_count(field, optimizer) for optimizer in optimizers):
                rule = "is a whole number, which cannot be multiplied by alpha, because alpha is a fraction"
                raise WrongTypeError(f"schedules.{field}", field, rule, "schedule another field")
        groups = [
            (f"optimizers[{k}].param_groups[{i}]" if len(optimizers) > 1 else f"param_groups[{i}]", group)
            for k, optimizer in enumerate(optimizers)
            for i, group in enumerate(optimizer.param_groups)
        ]
        self._targets = {field: list(self._targets_of(field, groups)) for field in self._curves}
        if not self._seen and begins(self._state):
            self._take_set_values()
        for optimizer in optimizers:
            _left[optimizer] = self._alphas
        self._seen = [(optimizer.param_groups, len(optimizer.param_groups)) for optimizer in optimizers]

    def _take_set_values(self) -> None:
        """If the user has changed a field after a schedule set it, use the current value as the initial value."""
        left = {id(g): _left.get(optimizer, {}) for optimizer in self._state.optimizers for g in optimizer.param_groups}
        for target in itertools.chain(*self._targets.values()):
            alpha = left[id(target.group)].get(target.field)
            if alpha is not None and not target.is_left(alpha):
                target.initial, now = target.value(), target.place.get(target.group)
                memory = replace(target.place, key=f"initial_{target.place.key}")
                memory.set(target.group, now.clone() if isinstance(now, Tensor) else now)

    def _targets_of(self, field: str, groups: Sequence[tuple[str, _Group]]) -> Iterator[_Target]:
        entries = [
            (path, group, place) for path, group in groups if (place := _place_in_group(field, group)) is not None
        ]
        if not entries:
            fix = f"use one of {', '.join(sorted({name for _, group in groups for name in _fields(group)}))}"
            raise UnknownNameError(f"schedules.{field}", field, "no param group has this field", fix)
        # A new param group may share a tensor with an old group, such as the optimizer's default value. A schedule may
        # have changed this tensor, so use the initial value of the old group.
        initial_by_id = {
            id(value): target.initial
            for target in self._targets.get(field, ())
            if isinstance(value := target.place.get(target.group), Tensor)
        }
        targets = []
        for path, group, place in entries:
            value = place.get(group)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number and not (isinstance(value, Tensor) and value.numel() == 1):
                content = f"a tensor of {value.numel()}" if isinstance(value, Tensor) else repr(value)
                rule = f"must be a single number, but {path} has {content}"
                raise WrongTypeError(f"schedules.{field}", field, rule, "schedule another field")
            memory = replace(place, key=f"initial_{place.key}")
            if memory.key not in group:
                group[memory.key] = _kept(group[place.key], initial_by_id)
            targets.append(_Target(group, place, float(memory.get(group)), field))
        if not any(target.initial for target in targets):
            raise no_effect(field)
        yield from targets


def _bind(
    schedules: Mapping[str, SchedulerLike | Sequence[SchedulerLike]], state: Any, ssr: Number
) -> dict[str, Curve]:
    for field, part in schedules.items():
        if (not callable(part) and not isinstance(part, (list, tuple))) or isinstance(part, type):
            type_name = part.__name__ if isinstance(part, type) else type(part).__name__
            rule = "must be a scheduler of this package, or a function of (state) or (state, ssr)"
            raise WrongTypeError(f"schedules.{field}", type_name, rule, "use a scheduler such as LinearScheduler()")
    if not schedules:
        return {}
    try:
        return bind_all(schedules, state, ssr)
    except InputError as error:  # bind_all calls the argument "schedulers" in its errors, but here it is "schedules"
        name = re.sub(r"^schedulers\b", "schedules", error.field)
        raise error.renamed(name) from None


def _place_in_group(field: str, group: _Group) -> _Place | None:
    """Return the place of a field in a param group; None if the group does not have the field."""
    if field.startswith("initial_"):  # this package has stored this value, so it is not a setting
        return None
    if field in group and not isinstance(group[field], (tuple, list)):
        return _Place(field)
    if (match := _PART.fullmatch(field)) is not None:
        stem, index = match[1], int(match[2]) - 1
        for key in (f"{stem}s", stem):
            if isinstance(group.get(key), (tuple, list)) and key != "params" and index < len(group[key]):
                return _Place(key, index)
    return None


def _is_count(field: str, optimizer: Optimizer) -> bool:
    """Return whether an optimizer declares an argument as an int, such as ``ns_steps`` of Muon."""
    parameter = inspect.signature(type(optimizer)).parameters.get(field)
    return parameter is not None and parameter.annotation in (int, "int", int | None, "int | None")


def _kept(value: Any, initial_by_id: Mapping[int, float]) -> Any:
    """Return a copy of a field's value, to store it as the initial value."""
    if isinstance(value, (tuple, list)):
        return tuple(_kept(part, initial_by_id) for part in value)
    if not isinstance(value, Tensor):
        return value
    return torch.full_like(value, initial_by_id[id(value)]) if id(value) in initial_by_id else value.clone()


def _fields(group: _Group) -> Iterator[str]:
    """Yield the names of a param group's fields that can be scheduled."""
    for key, value in group.items():
        if key in ("params", "lr", "param_names") or key.startswith("initial_"):
            continue
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        if all(isinstance(part, (int, float, Tensor)) and not isinstance(part, bool) for part in parts):
            stem = key.removesuffix("s") if key != "eps" else key
            yield from (
                (f"{stem}{i}" for i in range(1, len(parts) + 1)) if isinstance(value, (tuple, list)) else (key,)
            )
