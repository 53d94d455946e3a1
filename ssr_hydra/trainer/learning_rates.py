"""Who sets the learning rate, and when: ours before every batch, torch's at the end of epochs or batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ssr_hydra.errors import InputError
from ssr_hydra.optim import compile_composer_scheduler
from ssr_hydra.schedulers import Curve, bind
from ssr_hydra.state import State

__all__ = ["LearningRates", "torch_schedulers"]

_OURS_INSTEAD = {
    "ConstantLR": "PiecewiseLinearScheduler",
    "CosineAnnealingLR": "CosineAnnealingScheduler",
    "CosineAnnealingWarmRestarts": "CosineAnnealingWarmRestartsScheduler",
    "ExponentialLR": "ExponentialScheduler",
    "LinearLR": "LinearScheduler",
    "MultiStepLR": "MultiStepScheduler",
    "OneCycleLR": "OneCycleScheduler",
    "PolynomialLR": "PolynomialScheduler",
    "SequentialLR": "SequentialScheduler",
    "StepLR": "StepScheduler",
}


class LearningRates:
    """The schedulers of a run, each at its own pace.

    Ours (scheduler objects, functions of (state) or (state, ssr)) multiply the optimizers' learning rates by alpha at
    the state's timestamp, before every batch. torch's step at the end of every epoch. ``use_stepwise_scheduler=False``
    puts ours on epochs too, True puts torch's on batches. Where both drive a run, ours multiply the rate that torch's
    have set: torch's step on a rate without alpha, so that recursive ones such as ExponentialLR compute what they would
    alone. ``ReduceLROnPlateau`` steps after each evaluation.

    Args:
        schedulers: One scheduler, a list that mixes any, a mapping of name to ours, or None.
        state: The run; its optimizers are those that are driven.
        ssr: The scale schedule ratio, for ours.
        use_stepwise_scheduler: True: all per batch; False: all per epoch; None: each its own way.

    Raises:
        InputError: A torch scheduler with ssr other than 1, of a foreign optimizer or in a mapping; a schedule that
            does not fit the run.
    """

    def __init__(
        self, schedulers: Any, state: State, ssr: Fraction, use_stepwise_scheduler: bool | None = None
    ) -> None:
        self._state = state
        torchs, ours = _sort(schedulers, state.optimizers, ssr)
        self._plateaus = [item for item in torchs if isinstance(item, ReduceLROnPlateau)]
        self._torchs = [item for item in torchs if not isinstance(item, ReduceLROnPlateau)]
        self._refresh: Callable[[], object] | None = None
        if ours and torchs:
            self._curves = [_bind(item, number, state, ssr) for number, item in ours]
            self._rates = [(group, _copy(group["lr"])) for opt in state.optimizers for group in opt.param_groups]
            self._refresh = self._multiply
            self._multiply()
        elif ours:
            self._refresh = compile_composer_scheduler(schedulers, state, ssr).step
        ours_by_batch = use_stepwise_scheduler is not False
        self._by_batch: list[Callable[[], object]] = []
        self._by_epoch: list[Callable[[], object]] = []
        if self._torchs:
            (self._by_batch if use_stepwise_scheduler else self._by_epoch).append(self._step_torch)
        if self._refresh is not None:
            (self._by_batch if ours_by_batch else self._by_epoch).append(self._refresh)
        self._ours_by_batch = ours_by_batch

    @property
    def needs_evaluation(self) -> bool:
        """Whether a scheduler steps on an evaluation's metric."""
        return bool(self._plateaus)

    def batch_ended(self) -> Callable[[], object]:
        """The function that sets the rate of the next batch, whose timestamp the state holds already."""
        if len(self._by_batch) == 1:  # in almost every run: no call more than needed
            return self._by_batch[0]

        def step_all() -> None:
            for step in self._by_batch:
                step()

        return step_all

    def epoch_ended(self, *, again: bool = False) -> None:
        """Step what steps by epochs; with ``again``, the batch's end was told before the epoch's was known."""
        for step in self._by_epoch:
            step()
        if again and self._ours_by_batch and self._refresh is not None:
            self._refresh()

    def evaluated(self, metric: float) -> None:
        """Give a metric to the schedulers that wait for a plateau."""
        if self._plateaus:
            with self._torch_rates():
                for plateau in self._plateaus:
                    plateau.step(metric)

    def _step_torch(self) -> None:
        with self._torch_rates():
            for scheduler in self._torchs:
                scheduler.step()

    @contextmanager
    def _torch_rates(self) -> Iterator[None]:
        """The rates without alpha, for torch's schedulers to change."""
        if self._refresh is None:
            yield
            return
        for group, rate in self._rates:
            _set(group, rate)
        yield
        self._rates = [(group, _copy(group["lr"])) for group, _ in self._rates]
        self._multiply()

    def _multiply(self) -> None:
        alpha = 1.0
        for curve in self._curves:
            alpha *= curve(self._state.timestamp)
        for group, rate in self._rates:
            _set(group, rate * alpha)


def torch_schedulers(schedulers: Any) -> list[LRScheduler]:
    """Those of an argument's schedulers that are torch's."""
    items = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    return [item for item in items if isinstance(item, LRScheduler)]


def _sort(
    schedulers: Any, optimizers: Sequence[Optimizer], ssr: Fraction
) -> tuple[list[LRScheduler], list[tuple[int, Any]]]:
    """torch's schedulers, and ours with their places."""
    if schedulers is None:
        return [], []
    if isinstance(schedulers, Mapping):
        for name, item in schedulers.items():
            if isinstance(item, LRScheduler):
                rule = (
                    "a mapping names schedules that param groups choose; a torch scheduler drives its whole optimizer"
                )
                raise InputError(f"schedulers.{name}", type(item).__name__, rule, "give it in a list")
        return [], list(enumerate(schedulers.values()))
    items = list(schedulers) if isinstance(schedulers, (list, tuple)) else [schedulers]
    torchs, ours = [], []
    for number, item in enumerate(items):
        field = f"schedulers[{number}]" if isinstance(schedulers, (list, tuple)) else "schedulers"
        if isinstance(item, type):
            raise InputError(field, item.__name__, "a scheduler, not its class", f"write {item.__name__}(...)")
        if isinstance(item, LRScheduler):
            torchs.append(_checked(item, field, optimizers, ssr))
        else:
            ours.append((number, item))
    return torchs, ours


def _bind(item: Any, number: int, state: State, ssr: Fraction) -> Curve:
    try:
        return bind(item, state, ssr)
    except InputError as error:
        raise error.within(f"schedulers[{number}]") from None


def _checked(item: LRScheduler, field: str, optimizers: Sequence[Optimizer], ssr: Fraction) -> LRScheduler:
    name = type(item).__name__
    if type(item).__module__.startswith("ssr_hydra."):
        raise InputError(field, name, "it is bound to a clock of its own", "give the schedule that it was made from")
    if all(item.optimizer is not optimizer for optimizer in optimizers):
        rule = "it was made for an optimizer that this trainer does not run"
        raise InputError(field, name, rule, "make it for one of optimizers")
    if ssr != 1:
        instead = _OURS_INSTEAD.get(name)
        rule = f"a torch scheduler counts its own calls and cannot be stretched to ssr {float(ssr):g}"
        fix = "use one of ssr_hydra.schedulers, or ssr 1" if instead is None else f"use {instead}, or ssr 1"
        raise InputError(field, name, rule, fix)
    return item


def _copy(rate: Any) -> Any:
    return rate.clone() if isinstance(rate, Tensor) else rate


def _set(group: dict[str, Any], rate: Any) -> None:
    # In place, so that a captured or compiled optimizer step sees it.
    if isinstance(group["lr"], Tensor):
        group["lr"].copy_(rate)
    else:
        group["lr"] = rate
