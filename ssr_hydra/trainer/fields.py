"""Schedules of what is no learning rate: weight decay, momentum, any number in an optimizer's param groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssr_hydra.errors import InputError
from ssr_hydra.optim.alpha import bind_all
from ssr_hydra.optim.initial_rates import begins, rate
from ssr_hydra.rules import BELOW_ONE
from ssr_hydra.schedulers import Curve, SchedulerLike
from ssr_hydra.time import Number

__all__ = ["FieldSchedules", "by_group"]

_Group = dict[str, Any]
_PART = re.compile(r"(\w*[a-z])([1-9])")

# The multiplier of each field that an optimizer's last schedules wrote: it tells a value that they left from one that
# the user has set.
_left: WeakKeyDictionary[Optimizer, dict[str, float]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Place:
    """Where a field is in a group: under a key, and in a tuple there at an index."""

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
    """One field of one group."""

    group: _Group
    place: _Place
    initial: float
    field: str

    def is_left(self, alpha: float) -> bool:
        """Whether the field has the value that ``alpha`` gives."""
        now = self.place.get(self.group)
        value = rate(now, self.initial, alpha)
        return float(now) == (float(torch.full_like(now, value)) if isinstance(now, Tensor) else value)

    def set(self, alpha: float) -> None:
        now = self.place.get(self.group)
        value = rate(now, self.initial, alpha)
        if value >= 1 and self.place.key in BELOW_ONE:
            rule = f"must be below 1, and alpha is {alpha:g} times the initial {self.initial:g}"
            raise InputError(f"schedules.{self.field}", value, rule, "lower the schedule's peak")
        if isinstance(now, Tensor):  # a captured graph or a compiled step reads it where it is
            now.fill_(value)
        else:
            self.place.set(self.group, value)


def by_group(
    numbers: Sequence[float], groups: Sequence[_Group], optimizers: Iterable[Optimizer]
) -> list[float] | dict[str, float]:
    """Return a number of each group by the group's name; a list if no group of the optimizers has a name.

    A group without a name is called by its number, and a second one of a name ``NAME-2``.

    Example:
        >>> weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
        >>> optimizer = torch.optim.SGD([{"params": weights[:1], "name": "body"}, {"params": weights[1:]}], lr=0.1)
        >>> by_group([0.1, 0.2], optimizer.param_groups, [optimizer])
        {'body': 0.1, '1': 0.2}
    """
    every = [group for optimizer in optimizers for group in optimizer.param_groups]
    if not any(group.get("name") for group in every):
        return list(numbers)
    names: dict[str, int] = {}
    for index, group in enumerate(every):
        name = base = str(group.get("name") or index)
        count = 1
        while name in names:
            count += 1
            name = f"{base}-{count}"
        names[name] = id(group)
    called = {identity: name for name, identity in names.items()}
    return {called[id(group)]: number for group, number in zip(groups, numbers, strict=True)}


class FieldSchedules:
    """Drives hyperparameters of param groups, other than the learning rate, by schedules of training time.

    ::

        x_g(t) = initial_x_g * alpha_ssr(t)        for every group g that has the field x

    The value of batch k is the one at timestamp k: set here for the present timestamp, and from then on by
    :meth:`step`, which is called after ``state.timestamp`` has moved. A group keeps what alpha multiplies beside the
    field (``initial_weight_decay``, ``initial_betas``), as it does ``initial_lr``, so that it is saved with the
    optimizer; nothing else is state, and loading needs nothing but an optimizer that was loaded and a timestamp. At the
    start of a run, a value that the user has set since another schedule wrote the field is what alpha multiplies.

    A field is a key of the groups (``weight_decay``, ``momentum``, ``eps``), or a part of a tuple, counted from 1:
    ``beta1`` and ``beta2`` of ``betas``, ``eta1`` of ``etas``.

    Args:
        schedules: Name of a field to its scheduler, or to several that multiply. None at all costs nothing.
        state: The run: ``timestamp``, ``max_duration`` (which carries ssr already), the rates, and ``optimizers``.
        ssr: The scale schedule ratio.
        clock: Gives the time that schedules follow for the state's timestamp; None is that very time.
        plan: The run that schedules are bound to, where it is another than ``state``.

    Raises:
        InputError: ``lr``, a field that no group has, one that is no number or is 0 in all of them, a schedule that
            does not fit the run; also later, from :meth:`step`, where alpha leads a field out of its bounds.

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
        if not isinstance(schedules, Mapping):
            rule = "must be a mapping of fields to schedulers"
            raise InputError("schedules", schedules, rule, "write {'weight_decay': ...}")
        self._state, self._clock = state, clock
        self._curves = _bind(schedules, state if plan is None else plan, ssr)
        self._seen: list[tuple[list[_Group], int]] = []
        self._targets: dict[str, list[_Target]] = {}
        self._alphas: dict[str, float] = {}
        if self._curves and not state.optimizers:
            raise InputError("optimizers", state.optimizers, "must have at least one optimizer", "set state.optimizers")
        self.step()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that are driven."""
        return tuple(self._curves)

    def step(self) -> None:
        """Set the fields for ``state.timestamp``: call it after the timestamp has moved, or an optimizer was loaded."""
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
        """The present value of every field; if the groups differ, as :func:`by_group` has them."""
        shown: dict[str, float | list[float] | dict[str, float]] = {}
        for field, targets in self._targets.items():
            numbers = [float(target.place.get(target.group)) for target in targets]
            alike = len(set(numbers)) == 1
            shown[field] = (
                numbers[0] if alike else by_group(numbers, [each.group for each in targets], self._state.optimizers)
            )
        return shown

    def _is_stale(self) -> bool:
        """Whether groups were added, or a list of groups was replaced, as loading an optimizer's state does."""
        optimizers = self._state.optimizers
        return len(optimizers) != len(self._seen) or any(
            optimizer.param_groups is not groups or len(groups) != size
            for optimizer, (groups, size) in zip(optimizers, self._seen, strict=True)
        )

    def _follow(self) -> None:
        """Find the fields in every group, and what alpha multiplies there."""
        optimizers = self._state.optimizers
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
        """Begin with the values that the user has set since another schedule wrote them."""
        left = {id(g): _left.get(optimizer, {}) for optimizer in self._state.optimizers for g in optimizer.param_groups}
        for field, targets in self._targets.items():
            for target in targets:
                alpha = left[id(target.group)].get(field)
                if alpha is not None and not target.is_left(alpha):
                    target.initial = float(target.place.get(target.group))
                    memory = replace(target.place, key=f"initial_{target.place.key}")
                    now = target.place.get(target.group)
                    memory.set(target.group, now.clone() if isinstance(now, Tensor) else now)

    def _targets_of(self, field: str, groups: Sequence[tuple[str, _Group]]) -> Iterator[_Target]:
        found = [(path, group, place) for path, group in groups if (place := _place(field, group)) is not None]
        if not found:
            names = sorted({name for _, group in groups for name in _fields(group)})
            raise InputError(f"schedules.{field}", field, "no param group has it", f"use one of {', '.join(names)}")
        # A tensor that groups share, such as the default of an optimizer to which a group was added late, is written to
        # from the first step on: what was read first is its initial value.
        known = {
            id(value): target.initial
            for target in self._targets.get(field, ())
            if isinstance(value := target.place.get(target.group), Tensor)
        }
        targets = []
        for path, group, place in found:
            value = place.get(group)
            if isinstance(value, bool) or not isinstance(value, (int, float, Tensor)):
                rule = f"{path} has {value!r}, which is no number"
                raise InputError(f"schedules.{field}", field, rule, "drive another field")
            if isinstance(value, Tensor) and value.numel() != 1:
                rule = f"{path} has a tensor of {value.numel()} numbers"
                raise InputError(f"schedules.{field}", field, rule, "drive a field of one")
            memory = replace(place, key=f"initial_{place.key}")
            if memory.key not in group:
                group[memory.key] = _kept(group[place.key], known)
            targets.append(_Target(group, place, float(memory.get(group)), field))
        if not any(target.initial for target in targets):
            rule = "every param group has 0, and 0 times anything is 0"
            raise InputError(f"schedules.{field}", field, rule, f"give the optimizer a {field} above 0")
        yield from targets


def _bind(
    schedules: Mapping[str, SchedulerLike | Sequence[SchedulerLike]], state: Any, ssr: Number
) -> dict[str, Curve]:
    for field, part in schedules.items():
        if field == "lr":
            raise InputError("schedules.lr", field, "the learning rate is what the scheduler drives", "use scheduler")
        if (not callable(part) and not isinstance(part, (list, tuple))) or isinstance(part, type):
            shown = part.__name__ if isinstance(part, type) else type(part).__name__
            rule = "must be a scheduler of this package, or a function of (state) or (state, ssr)"
            raise InputError(f"schedules.{field}", shown, rule, "pass e.g. LinearScheduler()")
    if not schedules:
        return {}
    try:
        return bind_all(schedules, state, ssr)
    except InputError as error:  # bind_all speaks of an argument of its own name
        name = re.sub(r"^schedulers\b", "schedules", error.field)
        raise type(error)(name, error.value, error.rule, error.fix) from None


def _place(field: str, group: _Group) -> _Place | None:
    """Where a group has a field; None where it has not."""
    if field.startswith("initial_"):  # what this package keeps there itself
        return None
    if field in group and not isinstance(group[field], (tuple, list)):
        return _Place(field)
    if (match := _PART.fullmatch(field)) is not None:
        stem, index = match[1], int(match[2]) - 1
        for key in (f"{stem}s", stem):
            if isinstance(group.get(key), (tuple, list)) and key != "params" and index < len(group[key]):
                return _Place(key, index)
    return None


def _kept(value: Any, known: Mapping[int, float]) -> Any:
    """A copy that stays as it is; of a tuple the whole, whatever part of it is driven."""
    if isinstance(value, (tuple, list)):
        return tuple(_kept(part, known) for part in value)
    if not isinstance(value, Tensor):
        return value
    return torch.full_like(value, known[id(value)]) if id(value) in known else value.clone()


def _fields(group: _Group) -> Iterator[str]:
    """The names of what can be driven in a group."""
    for key, value in group.items():
        if key in ("params", "lr", "param_names") or key.startswith("initial_"):
            continue
        parts = list(value) if isinstance(value, (tuple, list)) else [value]
        if all(isinstance(part, (int, float, Tensor)) and not isinstance(part, bool) for part in parts):
            stem = key.removesuffix("s") if key != "eps" else key
            yield from (
                (f"{stem}{i}" for i in range(1, len(parts) + 1)) if isinstance(value, (tuple, list)) else (key,)
            )
