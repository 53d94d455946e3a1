"""From alpha to learning rates: what every scheduler of this package does to a torch optimizer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra.errors import InputError
from ssr_hydra.optim.initial_rates import DEFAULT, InitialRates, rate
from ssr_hydra.schedulers import Curve, SchedulerLike, bind
from ssr_hydra.schedulers.combinators import product
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, TorchScheduler

__all__ = [
    "AlphaLR",
    "Schedulers",
    "bind_all",
    "check_optimizer",
    "is_count",
    "set_lr",
]

Schedulers = SchedulerLike | Sequence[SchedulerLike] | Mapping[str, SchedulerLike | Sequence[SchedulerLike]]
"""A scheduler, several that multiply, or a mapping of names that param groups choose from."""

_Group = dict[str, Any]


def check_optimizer(optimizer: object, field: str) -> None:
    """Refuse what is no torch optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise InputError(field, optimizer, "must be a torch optimizer", "pass e.g. torch.optim.SGD(...)")


def is_count(value: object) -> bool:
    """Whether it is a number of batches, as a state dict holds them."""
    return type(value) is int and value >= 0


def bind_all(schedulers: Schedulers, state: Any, ssr: Any) -> dict[str, Curve]:
    """Every schedule by name, resolved against the run; one without a name is the default."""
    if not isinstance(schedulers, Mapping):
        return {DEFAULT: _bind_product(schedulers, state, ssr, "schedulers")}
    if not schedulers:
        raise InputError("schedulers", {}, "must name at least one schedule", f"write {{'{DEFAULT}': ...}}")
    for name in schedulers:
        if not isinstance(name, str):
            raise InputError("schedulers", name, "the names of schedules must be strings", f"write {str(name)!r}")
    return {name: _bind_product(part, state, ssr, f"schedulers.{name}") for name, part in schedulers.items()}


def _bind_product(part: SchedulerLike | Sequence[SchedulerLike], state: Any, ssr: Any, field: str) -> Curve:
    for torchs in part if isinstance(part, (list, tuple)) else [part]:
        if isinstance(torchs, (LRScheduler, TorchScheduler, ReduceLROnPlateau)):
            rule = "must be a scheduler of this package or a function: torch's are not driven from here"
            fix = "pass it to Trainer(schedulers=...), alone or in a list, or step torch's own scheduler yourself"
            raise InputError(field, type(torchs).__name__, rule, fix)
    if not isinstance(part, Sequence) or isinstance(part, (str, bytes)):
        # The only schedule there is needs no name in an error.
        return bind(part, state, ssr) if field == "schedulers" else _bind_named(part, state, ssr, field)
    if not part:
        raise InputError(field, part, "must hold at least one scheduler", "pass e.g. [LinearScheduler()]")
    return product([_bind_named(factor, state, ssr, f"{field}[{i}]") for i, factor in enumerate(part)])


def _bind_named(scheduler: SchedulerLike, state: Any, ssr: Any, field: str) -> Curve:
    try:
        return bind(scheduler, state, ssr)
    except InputError as error:
        raise error.within(field) from None


def set_lr(group: _Group, base: float, alpha: float) -> None:
    """A tensor keeps its place in memory: a captured graph or a compiled step reads it there."""
    lr = group["lr"]
    if isinstance(lr, Tensor):
        lr.fill_(rate(lr, base, alpha))
    else:
        group["lr"] = rate(lr, base, alpha)


class AlphaLR(LRScheduler, ABC):
    """Sets ``lr = initial_lr * alpha`` in every param group of one or several optimizers.

    Subclasses know the time: they call :meth:`_set_lrs` with it, and say in :meth:`_advance` how it moves.

    alpha is computed once per step and schedule, however many groups there are, and the learning rates that
    ``get_last_lr`` lists are made when somebody asks.
    """

    base_lrs: list[float]  # type: ignore[assignment] # numbers, also where the groups have tensors

    def __init__(self, optimizers: Sequence[Optimizer], curves: dict[str, Curve], *, begins: bool) -> None:
        self._optimizers = tuple(optimizers)
        self._initial = InitialRates(self._optimizers, begins=begins)
        self._alphas: dict[str | int, float] = {}
        self._take(curves)
        super().__init__(self._optimizers[0])

    def _take(self, curves: dict[str, Curve]) -> None:
        self._curves = curves
        for optimizer in self._optimizers:
            self._initial.remember(optimizer, self._alphas)
        # The common case has a path of its own: one optimizer whose groups all follow one schedule. _groups is the list
        # of groups that has been looked through, in that case alone.
        self._is_plain = len(self._optimizers) == 1 and list(curves) == [DEFAULT]
        self._curve = next(iter(curves.values()))
        self._groups: list[_Group] | None = None

    # --- time ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _now(self) -> Any:
        """The timestamp that the learning rates are to follow."""

    def _advance(self, epoch: int | None) -> None:
        """Count one step, or begin at ``epoch`` where torch's SequentialLR asks for it."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch

    def _update_lr(self, epoch: int | None = None) -> None:
        if epoch is not None:
            self._resume()
        self._advance(epoch)
        self._set_lrs(self._now())

    def _resume(self) -> None:
        """Take the initial rates that the optimizers keep: another scheduler or a checkpoint says where time is."""
        self._initial.forget()
        self._groups = None

    def _begin(self) -> None:
        """Keep the initial rates with the optimizers, as their first step is done."""
        if self._now().get("ba").value <= 1:
            self._initial.settle()
        else:  # the state was moved to where another run was
            self._resume()

    # --- learning rates -----------------------------------------------------------------------------------------

    def _set_lrs(self, timestamp: Any) -> None:
        groups, bases = self.optimizer.param_groups, self.base_lrs
        if groups is not self._groups or len(groups) != len(bases):
            self._set_lrs_of_all(timestamp)
            return
        self._alphas[DEFAULT] = alpha = self._curve(timestamp)
        for group, base in zip(groups, bases):  # noqa: B905 - of equal length, and strict costs
            if group["lr"].__class__ is float:
                group["lr"] = base * alpha
            else:
                set_lr(group, base, alpha)

    def _set_lrs_of_all(self, timestamp: Any) -> None:
        if self._initial.is_stale():
            self._check_names()  # first, so that a group that is refused is refused again by the next step
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
        """The schedule that a group follows."""
        name = group.get("schedule", DEFAULT)
        if isinstance(name, str) and name in self._curves:
            return name
        field = f"param_groups[{i}].schedule"
        rule = f"is no schedule; there is {', '.join(map(repr, self._curves))}"
        raise InputError(field, name, rule, f"name one of these, or pass schedulers={{{name!r}: ...}}")

    def _check_names(self) -> None:
        names: dict[int, str] = {}
        for i, group in enumerate(self._every_group()):
            name = self._name_of(group, i)
            if isinstance(group["lr"], Tensor) and names.setdefault(id(group["lr"]), name) != name:
                rule = "groups of different schedules share one tensor as their lr"
                raise InputError(f"param_groups[{i}].lr", group["lr"], rule, "give each group a tensor of its own")

    def get_lr(self) -> list[float | Tensor]:
        """The learning rate of every group at the present time, computed anew."""
        timestamp = self._now()
        return self._rates({name: curve(timestamp) for name, curve in self._curves.items()})

    def get_last_lr(self) -> list[float | Tensor]:
        """The learning rate of every group (of every optimizer, in order) as it was set last."""
        return self._rates(self._alphas)

    def _rates(self, alphas: Mapping[Any, float]) -> list[float | Tensor]:
        rates: list[float | Tensor] = []
        for i, (group, base) in enumerate(zip(self._every_group(), self.base_lrs)):  # noqa: B905 - late groups wait
            lr = group["lr"]
            value = rate(lr, base, alphas[self._name_of(group, i)])
            rates.append(torch.full_like(lr, value) if isinstance(lr, Tensor) else value)
        return rates
