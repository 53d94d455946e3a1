"""Schedules of hyperparameters other than the learning rate: weight decay, momentum, or other numbers of a group."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from ssr_hydra.errors import InputError, RangeError, UnknownNameError, WrongTypeError
from ssr_hydra.optim.alpha import bind_all, optimizers_of
from ssr_hydra.optim.initial_values import DEFAULT, InitialValues, begins, multiplied, place_in_group
from ssr_hydra.rules import BELOW_ONE, check_schedules, no_effect
from ssr_hydra.schedulers import Curve, SchedulerLike
from ssr_hydra.time import Number

_Group = dict[str, Any]


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
    stores ``initial_lr``. To resume, load the optimizer's state and set the timestamp; this class has no state of its
    own. If the user changes a field after a run, the next run uses the changed value as the initial value.

    A field is a key of the param groups (``weight_decay``, ``momentum``, ``eps``), or an element of a tuple, counted
    from 1: ``beta1`` and ``beta2`` of ``betas``, ``eta1`` of ``etas``.

    Args:
        schedules: A mapping from field to a scheduler, or to several schedulers whose multipliers are multiplied. The
            mapping may be empty.
        state: State of the run: ``timestamp``, ``max_duration`` (already multiplied by ssr), ``optimizers``, and the
            numbers of batches per epoch, of samples per batch, and of tokens per batch.
        ssr: The scale schedule ratio.
        clock: A function from the state's timestamp to the time at which schedules are evaluated; None means the
            timestamp itself.
        plan: A state whose length and rates (such as batches per epoch) the schedules use; None means ``state``.

    Raises:
        InputError: A field is ``lr``, exists in no group, is not a number, or is 0 in all groups; or a schedule does
            not fit the run. :meth:`step` raises this error if the schedule would set a field to an invalid value, such
            as a momentum of 1.

    Example:
        >>> import torch
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
        self._initial: dict[str, InitialValues] = {}
        self._alphas: dict[str, dict[str | int, float]] = {field: {} for field in self._curves}
        if self._curves:
            self._optimizers = optimizers_of(state)
            self._initial = {
                field: InitialValues(self._optimizers, field, begins=begins(state)) for field in self._curves
            }
        self.step()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the scheduled fields."""
        return tuple(self._curves)

    def step(self) -> None:
        """Set the fields, also those of newly added param groups, to their values at ``state.timestamp``."""
        if not self._curves:
            return
        if any(initial.is_stale() for initial in self._initial.values()):
            self._follow()
        timestamp = self._state.timestamp
        if self._clock is not None:
            timestamp = self._clock(timestamp)
        for field, curve in self._curves.items():
            self._alphas[field][DEFAULT] = alpha = curve(timestamp)
            initial = self._initial[field]
            for target, base in zip(initial.targets, initial.values, strict=True):
                value = multiplied(target.get(), base, alpha)
                if value >= 1 and target.place.key in BELOW_ONE:
                    rule = f"must be below 1, but the schedule multiplies the initial value ({base:g}) by {alpha:g}"
                    raise RangeError(f"schedules.{field}", value, rule, "lower the schedule's peak")
                target.place.fill(target.group, value)

    def values(self) -> dict[str, float | list[float] | dict[str, float]]:
        """Return each field's value: a number if it is equal in all groups, else the result of :func:`by_group`."""
        by_field: dict[str, float | list[float] | dict[str, float]] = {}
        for field, initial in self._initial.items():
            numbers = [float(target.get()) for target in initial.targets]
            groups = [target.group for target in initial.targets]
            by_field[field] = numbers[0] if len(set(numbers)) == 1 else by_group(numbers, groups, self._optimizers)
        return by_field

    def _follow(self) -> None:
        """Find the scheduled fields in every param group, and their initial values."""
        for field in self._curves:
            if any(_is_count(field, optimizer) for optimizer in self._optimizers):
                rule = "is a whole number, which cannot be multiplied by alpha, because alpha is a fraction"
                raise WrongTypeError(f"schedules.{field}", field, rule, "schedule another field")
        for field, initial in self._initial.items():
            self._check_groups(field)
            if not any(initial.follow()):
                raise no_effect(field)
            initial.settle()
            initial.remember(self._alphas[field])

    def _check_groups(self, field: str) -> None:
        """Refuse a field that no param group has, or that is not a single number in a param group."""
        groups = {
            f"optimizers[{k}].param_groups[{i}]" if len(self._optimizers) > 1 else f"param_groups[{i}]": group
            for k, optimizer in enumerate(self._optimizers)
            for i, group in enumerate(optimizer.param_groups)
        }
        values = {path: place.get(group) for path, group in groups.items() if (place := place_in_group(field, group))}
        if not values:
            fix = f"use one of {', '.join(sorted({name for group in groups.values() for name in _fields(group)}))}"
            raise UnknownNameError(f"schedules.{field}", field, "no param group has this field", fix)
        for path, value in values.items():
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number and not (isinstance(value, Tensor) and value.numel() == 1):
                content = f"a tensor of {value.numel()}" if isinstance(value, Tensor) else repr(value)
                rule = f"must be a single number, but {path} has {content}"
                raise WrongTypeError(f"schedules.{field}", field, rule, "schedule another field")


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


def _is_count(field: str, optimizer: Optimizer) -> bool:
    """Return whether an optimizer declares an argument as an int, such as ``ns_steps`` of Muon."""
    parameter = inspect.signature(type(optimizer)).parameters.get(field)
    return parameter is not None and parameter.annotation in (int, "int", int | None, "int | None")


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
