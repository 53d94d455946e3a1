"""The base class of the torch schedulers that set learning rates from this package's schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra.errors import (
    ConflictError,
    InputError,
    MismatchError,
    MissingValueError,
    UnknownNameError,
    WrongTypeError,
    within,
)
from ssr_hydra.optim.initial_values import DEFAULT, FieldPlace, InitialValues, like, multiplied
from ssr_hydra.schedulers import Curve, SchedulerLike, bind
from ssr_hydra.schedulers.combinators import product
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, TorchScheduler

Schedulers = SchedulerLike | Sequence[SchedulerLike] | Mapping[str, SchedulerLike | Sequence[SchedulerLike]]
"""A scheduler, a sequence of schedulers whose alphas are multiplied, or a mapping from name to schedulers.

With a mapping, each param group names its schedule.
"""

_Group = dict[str, Any]
_LR = FieldPlace("lr")


def check_optimizer(optimizer: object, field: str) -> None:
    """Refuse a value that is not a torch optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise WrongTypeError(field, optimizer, "must be a torch optimizer", "pass e.g. torch.optim.SGD(...)")


def optimizers_of(state: Any) -> tuple[Optimizer, ...]:
    """Return the optimizers of a run. Raise an InputError if the run has no optimizer."""
    value = getattr(state, "optimizers", None)
    optimizers = () if value is None else tuple(value) if isinstance(value, Sequence) else (value,)
    if not optimizers:
        raise MissingValueError("optimizers", value, "must have at least one optimizer", "set state.optimizers")
    for i, optimizer in enumerate(optimizers):
        check_optimizer(optimizer, f"optimizers[{i}]")
    return optimizers


def wrong_state(state: object) -> InputError:
    """Return the error for a state dict that is not from the schedulers of this run."""
    rule = "must be the state of the schedulers of this run"
    return MismatchError("schedulers", state, rule, "resume with the schedulers of the checkpoint")


def is_count(value: object) -> bool:
    """Return whether a value from a state dict is an int >= 0."""
    return type(value) is int and value >= 0


def bind_all(schedulers: Schedulers, state: Any, ssr: Any) -> dict[str, Curve]:
    """Return the function of time of each schedule, by name. A schedule without a name is named ``"default"``."""
    if not isinstance(schedulers, Mapping):
        return {DEFAULT: _bind_product(schedulers, state, ssr, "schedulers")}
    if not schedulers:
        raise MissingValueError("schedulers", {}, "must have at least one schedule", f"write {{'{DEFAULT}': ...}}")
    for name in schedulers:
        if not isinstance(name, str):
            raise WrongTypeError("schedulers", name, "the names of schedules must be strings", f"write {str(name)!r}")
    return {name: _bind_product(part, state, ssr, f"schedulers.{name}") for name, part in schedulers.items()}


def _bind_product(part: SchedulerLike | Sequence[SchedulerLike], state: Any, ssr: Any, field: str) -> Curve:
    factors: dict[str, Any] = {field: part}
    if isinstance(part, Sequence) and not isinstance(part, (str, bytes)):
        factors = {f"{field}[{i}]": factor for i, factor in enumerate(part)}
    if not factors:
        raise MissingValueError(field, part, "must have at least one scheduler", "pass e.g. [LinearScheduler()]")
    curves = []
    for place, factor in factors.items():
        if isinstance(factor, (LRScheduler, TorchScheduler, ReduceLROnPlateau)):
            rule = "must be a scheduler of this package or a function, not a torch scheduler"
            fix = "pass the torch scheduler to Trainer(schedulers=...), or call its step() yourself"
            raise WrongTypeError(field, type(factor).__name__, rule, fix)
        # If there is only one schedule, its errors need not name it.
        with nullcontext() if place == "schedulers" else within(place):
            curves.append(bind(factor, state, ssr))
    return product(curves)


def set_lr(group: _Group, base: float, alpha: float) -> None:
    """Set the learning rate of a group to ``base * alpha``."""
    _LR.fill(group, multiplied(group["lr"], base, alpha))


class AlphaLR(LRScheduler, ABC):
    """Scheduler that sets ``lr = initial_lr * alpha`` in every param group of one or several optimizers.

    A subclass provides the current time. Each step computes alpha once per schedule.
    """

    base_lrs: list[float]  # type: ignore[assignment] # numbers, even if groups have tensors

    def __init__(self, optimizers: Sequence[Optimizer], curves: dict[str, Curve], *, begins: bool) -> None:
        self._optimizers = tuple(optimizers)
        self._initial = InitialValues(self._optimizers, begins=begins)
        self._alphas: dict[str | int, float] = {}
        self._take(curves)
        super().__init__(self._optimizers[0])

    def _take(self, curves: dict[str, Curve]) -> None:
        self._curves = curves
        self._initial.remember(self._alphas)
        # Fast path for one optimizer with one schedule: _groups lists its param groups. Otherwise, _groups is None.
        self._is_plain = len(self._optimizers) == 1 and list(curves) == [DEFAULT]
        self._curve = next(iter(curves.values()))
        self._groups: list[_Group] | None = None

    @abstractmethod
    def _now(self) -> Any:
        """Return the timestamp at which alpha is computed."""

    def _advance(self, epoch: int | None) -> None:
        """Count one step. torch's SequentialLR passes the number of steps, ``epoch``, instead."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is not None:
            self._resume()
        self._advance(epoch)
        self._set_lrs(self._now())

    def _resume(self) -> None:
        """Read the groups' ``initial_lr`` again, after SequentialLR or a checkpoint has set the current time."""
        self._initial.forget()
        self._groups = None

    def _begin(self) -> None:
        """At the first step, store the initial rates in the optimizers."""
        if self._now().get("ba").value <= 1:
            self._initial.settle()
        else:  # the run has been resumed after its first step
            self._resume()

    def _set_lrs(self, timestamp: Any) -> None:
        groups, bases = self.optimizer.param_groups, self.base_lrs
        if groups is not self._groups or len(groups) != len(bases):
            self._set_lrs_of_all(timestamp)
            return
        self._alphas[DEFAULT] = alpha = self._curve(timestamp)
        for group, base in zip(groups, bases):  # noqa: B905 - both have equal length, and strict costs time
            if group["lr"].__class__ is float:
                group["lr"] = base * alpha
            else:
                set_lr(group, base, alpha)

    def _set_lrs_of_all(self, timestamp: Any) -> None:
        if self._initial.is_stale():
            self._check_names()  # check before _initial changes, so that the next step raises the same error
            self._initial.values = self.base_lrs
            self.base_lrs = self._initial.follow()
        if self._is_plain:
            self._groups = self.optimizer.param_groups
        alphas = self._alphas
        alphas.update((name, curve(timestamp)) for name, curve in self._curves.items())
        for i, (group, base) in enumerate(zip(self._every_group(), self.base_lrs, strict=True)):
            set_lr(group, base, alphas[self._name_of(group, i)])

    def _every_group(self) -> Iterator[_Group]:
        for optimizer in self._optimizers:
            yield from optimizer.param_groups

    def _name_of(self, group: _Group, i: int) -> str:
        name = group.get("schedule", DEFAULT)
        if isinstance(name, str) and name in self._curves:
            return name
        field = f"param_groups[{i}].schedule"
        rule = f"unknown schedule (the schedules are {', '.join(map(repr, self._curves))})"
        raise UnknownNameError(field, name, rule, f"use the name of a schedule, or add a schedule named {name!r}")

    def _check_names(self) -> None:
        names: dict[int, str] = {}
        for i, group in enumerate(self._every_group()):
            name = self._name_of(group, i)
            if isinstance(group["lr"], Tensor) and names.setdefault(id(group["lr"]), name) != name:
                rule = "param groups with different schedules must not share one tensor"
                raise ConflictError(f"param_groups[{i}].lr", group["lr"], rule, "use a separate tensor for each group")

    def get_lr(self) -> list[float | Tensor]:
        """Compute the learning rate of every group at the current time."""
        timestamp = self._now()
        return self._rates({name: curve(timestamp) for name, curve in self._curves.items()})

    def get_last_lr(self) -> list[float | Tensor]:
        """Return the most recent learning rate of every group, in order of the optimizers and their groups."""
        return self._rates(self._alphas)

    def _rates(self, alphas: Mapping[Any, float]) -> list[float | Tensor]:
        rates: list[float | Tensor] = []
        for i, (group, base) in enumerate(zip(self._every_group(), self.base_lrs)):  # noqa: B905 - groups added later have no rate yet
            rates.append(like(group["lr"], multiplied(group["lr"], base, alphas[self._name_of(group, i)])))
        return rates
