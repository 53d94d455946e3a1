"""The learning rates of a run, from schedulers of this package and of torch.

A scheduler's pace is ``batch`` or ``epoch``: the scheduler changes its learning rate at every batch or at every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra.errors import (
    ConflictError,
    InputError,
    MismatchError,
    MissingValueError,
    UnsupportedError,
    WrongTypeError,
    within,
)
from ssr_hydra.metrics import mode_of
from ssr_hydra.optim import compile_composer_scheduler
from ssr_hydra.optim.alpha import wrong_state
from ssr_hydra.optim.initial_values import begins
from ssr_hydra.optim.torch_rates import SchedulerEntry, TorchRates
from ssr_hydra.optim.torch_schedulers import Paced, read
from ssr_hydra.schedulers import Curve, bind
from ssr_hydra.schedulers.combinators import product
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, TorchScheduler
from ssr_hydra.torch_schedulers.base import BATCH, EPOCH
from ssr_hydra.torch_schedulers.moments import epoch_start

_Clock = Callable[[Timestamp], Timestamp]


class LearningRates:
    """Sets the learning rates of a run from its schedulers.

    ::

        lr_g(t) = torch_g(t) * product of alpha(t)        for every param group g

    ``torch_g`` is the learning rate that torch's schedulers set for the group. Without torch schedulers, it is the
    group's initial learning rate. ``alpha`` is the multiplier of a scheduler of this package.

    - A scheduler of this package (an object, or a function of (state) or (state, ssr)) returns alpha at the state's
      timestamp, before every batch.
    - A torch scheduler is an instance of torch's class, such an instance inside
      :class:`~ssr_hydra.optim.torch_schedulers.Paced`, or an object of :mod:`ssr_hydra.torch_schedulers`. An object of
      :mod:`ssr_hydra.torch_schedulers` sets the rates of all optimizers. ``LearningRates`` reads the scheduler's
      arguments once and computes its rates as a function of time: by default at the end of every epoch, or before
      every batch for a CyclicLR or OneCycleLR. Several torch schedulers of one optimizer are chained.
    - ``ReduceLROnPlateau`` changes its value after an evaluation.
    - If the arguments of a torch scheduler cannot be read, as for a user's class, ``LearningRates`` calls the ``step``
      method of the scheduler. This works only with ssr 1 and without a ``clock``.

    ``use_stepwise_scheduler`` is the pace of all schedulers that do not set their own pace: True means ``batch``, False
    means ``epoch``. :class:`~ssr_hydra.trainer.fields.FieldSchedules` explains ``clock`` and ``plan``.

    Raises:
        InputError: A scheduler cannot be used with this run, with its optimizers, or with another scheduler.
    """

    def __init__(
        self,
        schedulers: Any,
        state: State,
        ssr: Fraction,
        use_stepwise_scheduler: bool | None = None,
        *,
        clock: _Clock | None = None,
        plan: State | None = None,
    ) -> None:
        self._state, self._clock = state, clock
        plan = state if plan is None else plan
        entries, ours = _sort(schedulers, state.optimizers, use_stepwise_scheduler)
        as_it_is = ssr == 1 and clock is None
        for _, entry in entries:
            if entry.description is None and not as_it_is:
                raise _cannot_stretch(entry, ssr)
            _check_moves(entry, state, use_stepwise_scheduler)
        self._ours_by_batch = use_stepwise_scheduler is not False
        self._compiled: Any = None
        self._alpha_of: Curve | None = None
        self._alpha = 1.0
        self._torch: list[TorchRates] = []
        if ours and not entries:
            own_clock = clock if self._ours_by_batch else self._at_epoch_start
            self._compiled = compile_composer_scheduler(schedulers, state, ssr, clock=own_clock, plan=plan)
        else:
            if ours:
                self._alpha_of = product([_bind(item, field, plan, ssr) for field, item in ours])
            run, is_new = Run.of(plan, ssr), begins(state)
            for optimizer in state.optimizers:
                own = [entry for of, entry in entries if of is None or of is optimizer]
                if own or ours:
                    self._torch.append(TorchRates(optimizer, own, run, runs_as_it_is=as_it_is, is_new=is_new))
            self._set_all()

    @property
    def needs_evaluation(self) -> bool:
        """True if a scheduler depends on the metric of an evaluation."""
        return any(rates.needs_evaluation for rates in self._torch)

    @property
    def drives_momentum(self) -> bool:
        """True if a scheduler sets momentum (or the first beta) as well as the learning rate."""
        return any(rates.drives_momentum for rates in self._torch)

    def batch_ended(self) -> Callable[[], object]:
        """Return a function that sets the rates of the next batch. Call it after each change of ``state.timestamp``."""
        if self._compiled is not None:
            step: Callable[[], object] = self._compiled.step if self._ours_by_batch else _do_nothing
            return step
        by_batch = any(rates.moves_by(BATCH) for rates in self._torch)
        return self._batch_ended if by_batch or (self._alpha_of is not None and self._ours_by_batch) else _do_nothing

    def epoch_ended(self, *, again: bool = False) -> None:
        """Step the schedulers that change by epoch.

        If the loader has no length, the loop sets the rates of the next batch before it knows that the epoch has ended.
        With ``again=True``, this method sets the rates of that batch again.
        """
        if self._compiled is not None:
            if again or not self._ours_by_batch:
                self._compiled.step()
            return
        for rates in self._torch:
            rates.step(EPOCH)
            rates.refresh(EPOCH, self._epoch_start())
            if again:
                rates.refresh(BATCH, self._now())
        if again or not self._ours_by_batch:
            self._set_alpha()
        self._write()

    def evaluated(self, metric: float) -> None:
        """Pass the metric of an evaluation to the schedulers that depend on it."""
        if self.needs_evaluation:
            for rates in self._torch:
                rates.evaluated(metric, self._now())
            self._write()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of ReduceLROnPlateau and of schedulers whose arguments cannot be read; else {}."""
        states = [rates.state_dict() for rates in self._torch]
        return {"optimizers": states} if any(states) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load the result of :meth:`state_dict`, and set the rates.

        Before this call, the states of the optimizers and the timestamp must be loaded.
        """
        own = self.state_dict()
        if not isinstance(state, Mapping) or set(state) != set(own):
            raise wrong_state(state)
        if self._compiled is not None:
            # The compiled scheduler computes its rates when it loads a state, so load its current state.
            self._compiled.load_state_dict(self._compiled.state_dict())
            return
        states = state.get("optimizers", [{} for _ in self._torch])
        if len(states) != len(self._torch):
            rule = f"must have one state for each optimizer ({len(self._torch)}), but has {len(states)}"
            raise MismatchError("schedulers", state, rule, "resume with the optimizers of the checkpoint")
        for rates, memory in zip(self._torch, states, strict=True):
            rates.load_state_dict(memory)
        self._set_all()

    # --- time -----------------------------------------------------------------------------------------------------

    def _now(self) -> Timestamp:
        """Return the time at which to evaluate schedules: ``clock(timestamp)``; without a clock, the timestamp."""
        timestamp = self._state.timestamp
        return timestamp if self._clock is None else self._clock(timestamp)

    def _epoch_start(self) -> Timestamp:
        return self._at_epoch_start(self._state.timestamp)

    def _at_epoch_start(self, timestamp: Timestamp) -> Timestamp:
        timestamp = epoch_start(timestamp)
        return timestamp if self._clock is None else self._clock(timestamp)

    def _batch_ended(self) -> None:
        for rates in self._torch:
            rates.step(BATCH)
            rates.refresh(BATCH, self._now())
        if self._ours_by_batch:
            self._set_alpha()
        self._write()

    def _set_all(self) -> None:
        """Compute and set all learning rates for the current timestamp, without a step of any scheduler."""
        for rates in self._torch:
            rates.refresh(EPOCH, self._epoch_start())
            rates.refresh(BATCH, self._now())
        self._set_alpha()
        self._write()

    def _set_alpha(self) -> None:
        if self._alpha_of is not None:
            self._alpha = self._alpha_of(self._now() if self._ours_by_batch else self._epoch_start())

    def _write(self) -> None:
        for rates in self._torch:
            rates.write(self._alpha)


def torch_schedulers(schedulers: Any) -> list[LRScheduler]:
    """Return the schedulers that are instances of torch's ``LRScheduler``, including instances inside ``Paced``."""
    return [item for item in _without_pace(schedulers) if isinstance(item, LRScheduler)]


def _without_pace(schedulers: Any) -> list[Any]:
    items = schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]
    return [item.scheduler if isinstance(item, Paced) else item for item in items]


def _do_nothing() -> None:
    pass


def _sort(
    schedulers: Any, optimizers: Sequence[Optimizer], use_stepwise_scheduler: bool | None
) -> tuple[list[tuple[Optimizer | None, SchedulerEntry]], list[tuple[str, Any]]]:
    """Return torch's schedulers, each with its optimizer, and this package's schedulers, each with its field name.

    If a torch scheduler applies to all optimizers, its optimizer is None.
    """
    if schedulers is None:
        return [], []
    if isinstance(schedulers, Mapping):
        for name, item in schedulers.items():
            if isinstance(item, (LRScheduler, Paced, TorchScheduler, ReduceLROnPlateau)):
                rule = "cannot be in a mapping for param groups, because a torch scheduler changes all groups"
                raise ConflictError(f"schedulers.{name}", type(item).__name__, rule, "pass the scheduler in a list")
        return [], [(f"schedulers.{name}", item) for name, item in schedulers.items()]
    is_list = isinstance(schedulers, (list, tuple))
    entries: list[tuple[Optimizer | None, SchedulerEntry]] = []
    ours: list[tuple[str, Any]] = []
    for number, item in enumerate(schedulers if is_list else [schedulers]):
        field = f"schedulers[{number}]" if is_list else "schedulers"
        if isinstance(item, type):
            raise WrongTypeError(
                field, item.__name__, "must be a scheduler, not a class", f"write {item.__name__}(...)"
            )
        if isinstance(item, TorchScheduler):
            entries.append((None, SchedulerEntry(field, item, None, item.pace_in(use_stepwise_scheduler))))
        elif isinstance(item, ReduceLROnPlateau):
            entries.append((None, SchedulerEntry(field, item, None, EPOCH)))
        elif isinstance(item, (LRScheduler, Paced)):
            instance, pace = (item.scheduler, item.pace) if isinstance(item, Paced) else (item, None)
            entries.append((instance.optimizer, _entry(instance, field, optimizers, use_stepwise_scheduler, pace)))
        else:
            ours.append((field, item))
    return entries, ours


def follows_metric(schedulers: Any) -> bool:
    """Return whether a scheduler depends on the metrics of evaluations, as ``ReduceLROnPlateau`` does."""
    kinds = (ReduceLROnPlateau, lr_scheduler.ReduceLROnPlateau)
    return any(isinstance(item, kinds) for item in _without_pace(schedulers))


def with_modes(schedulers: Any, metric: str, *, evaluates: bool) -> Any:
    """Return the schedulers. In each ReduceLROnPlateau, replace ``mode=auto`` by the ``min`` or ``max`` of the metric.

    Raises:
        InputError: The run has no evaluations, or a mode does not fit the metric (:func:`~ssr_hydra.metrics.mode_of`).
    """
    if not follows_metric(schedulers):
        return schedulers
    if not evaluates:
        rule = "needs the metric of an evaluation"
        raise MissingValueError("schedulers", "ReduceLROnPlateau", rule, "give an eval_dataloader")
    is_list = isinstance(schedulers, (list, tuple))
    resolved = []
    for number, item in enumerate(schedulers if is_list else [schedulers]):
        field = f"schedulers[{number}].mode" if is_list else "schedulers.mode"
        if isinstance(item, ReduceLROnPlateau):
            item = replace(item, mode=mode_of(item.mode, metric, field))
        elif isinstance(item, lr_scheduler.ReduceLROnPlateau):
            mode_of(item.mode, metric, field)
        resolved.append(item)
    return resolved if is_list else resolved[0]


def _entry(
    item: LRScheduler, field: str, optimizers: Sequence[Optimizer], stepwise: bool | None, pace: str | None
) -> SchedulerEntry:
    name = type(item).__name__
    if type(item).__module__.startswith("ssr_hydra."):
        raise ConflictError(
            field,
            name,
            "must not be a scheduler that you step yourself, because the trainer steps schedulers",
            f"give the schedulers from which this {name} was created",
        )
    if all(item.optimizer is not optimizer for optimizer in optimizers):
        rule = "must be created for an optimizer of this trainer"
        raise MismatchError(field, name, rule, f"create the {name} with one of the trainer's optimizers")
    try:
        description = read(item, pace)
    except InputError:
        return SchedulerEntry(field, None, item, pace or (BATCH if stepwise else EPOCH))
    if isinstance(description, ReduceLROnPlateau):
        return SchedulerEntry(field, description, item, EPOCH)
    return SchedulerEntry(field, description, item, description.pace_in(stepwise))


def _check_moves(entry: SchedulerEntry, state: State, stepwise: bool | None) -> None:
    """Refuse a scheduler that does not set its own pace, if the run ends before its first step."""
    if isinstance(entry.description, TorchScheduler):
        batch, epoch = (
            f"set pace='{pace}'" if entry.instance is None else f"use Paced(scheduler, '{pace}')"
            for pace in (BATCH, EPOCH)
        )
        with within(entry.field):
            entry.description.check_moves(state, stepwise, f"{batch}, or {epoch} to keep one step per epoch")


def _cannot_stretch(entry: SchedulerEntry, ssr: Fraction) -> InputError:
    """Return the error for a torch scheduler whose rates cannot be stretched, because its arguments cannot be read."""
    assert entry.instance is not None
    action = f"be stretched to ssr {float(ssr):g}" if ssr != 1 else "follow the changed config of a resumed run"
    try:
        read(entry.instance)
    except InputError as error:
        inner = error if error.field == "scheduler" else error.within(type(entry.instance).__name__)
        rule = f"cannot {action}: it {error.rule}" if error.field == "scheduler" else f"cannot {action}: {inner}"
        fix = error.fix if ssr != 1 else error.fix.replace("run at ssr 1", "start a new run")
        return UnsupportedError(entry.field, type(entry.instance).__name__, rule, fix)
    raise AssertionError


def _bind(item: Any, field: str, plan: State, ssr: Fraction) -> Curve:
    with within(field):
        return bind(item, plan, ssr)
