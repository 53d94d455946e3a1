"""Schedules bound to a state that somebody else moves: the trainer's way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra.errors import InputError
from ssr_hydra.optim.alpha import AlphaLR, Schedulers, bind_all, check_optimizer, is_count
from ssr_hydra.optim.initial_rates import begins
from ssr_hydra.time import Number

__all__ = ["CompiledScheduler", "compile_composer_scheduler"]


class CompiledScheduler(AlphaLR):
    """The scheduler that :func:`compile_composer_scheduler` returns."""

    def __init__(
        self,
        schedulers: Schedulers,
        state: Any,
        ssr: Number = 1.0,
        clock: Callable[[Any], Any] | None = None,
        plan: Any = None,
    ) -> None:
        self._bound = (schedulers, state if plan is None else plan, ssr)
        self._state, self._clock = state, clock
        given = getattr(state, "optimizers", None)
        optimizers = () if given is None else tuple(given) if isinstance(given, Sequence) else (given,)
        if not optimizers:
            raise InputError("optimizers", given, "there is no optimizer to drive", "set state.optimizers")
        for i, optimizer in enumerate(optimizers):
            check_optimizer(optimizer, f"optimizers[{i}]")
        super().__init__(optimizers, bind_all(*self._bound), begins=begins(state))

    def _now(self) -> Any:
        timestamp = self._state.timestamp
        return timestamp if self._clock is None else self._clock(timestamp)

    def step(self) -> None:  # type: ignore[override]
        """Set the learning rates for ``state.timestamp``: call it after the timestamp has moved."""
        if self._step_count < 2:  # torch's check that the optimizer steps first
            if self._step_count == 1:
                self._begin()
            super().step()
            return
        self._step_count += 1
        self.last_epoch += 1
        timestamp = self._state.timestamp  # _now(), at the cost of no call
        self._set_lrs(timestamp if self._clock is None else self._clock(timestamp))

    def state_dict(self) -> dict[str, Any]:
        """The number of steps. Time is the state's to keep, initial learning rates are the optimizer's."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the number of steps, and compute the learning rates anew from the state's timestamp.

        Load the optimizers and the state's timestamp first.

        Raises:
            InputError: For what is no scheduler's state; nothing is changed then.
        """
        names = ("last_epoch", "_step_count")
        if not isinstance(state_dict, Mapping) or not all(is_count(state_dict.get(name)) for name in names):
            rule = f"must hold the counts {' and '.join(names)}"
            raise InputError("state_dict", state_dict, rule, "load a scheduler's state_dict()")
        self.last_epoch, self._step_count = state_dict["last_epoch"], state_dict["_step_count"]
        self._resume()
        self._set_lrs(self._now())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_curves", "_curve", "_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._take(bind_all(*self._bound))


def compile_composer_scheduler(
    schedulers: Schedulers,
    state: Any,
    ssr: Number = 1.0,
    *,
    clock: Callable[[Any], Any] | None = None,
    plan: Any = None,
) -> LRScheduler:
    """A torch ``LRScheduler`` that sets ``lr = initial_lr * alpha(state.timestamp)`` in all of a state's optimizers.

    ::

        lr_g(t) = initial_lr_g * product of alpha_ssr(t) over the schedulers

    ``initial_lr_g`` is the group's ``lr`` when its first schedule is made, or the ``lr`` that was set since then.

    The learning rate of batch k is alpha at timestamp k: it is set for the present timestamp here, and from then on by
    ``step()``, which is called after ``state.timestamp`` has moved. alpha is computed once per step and schedule.

    Groups that are added later follow from the next step on, learning rates that are tensors are changed in place, and
    with a mapping of schedules a param group chooses its own by the key ``"schedule"`` (``"default"`` without one).

    Args:
        schedulers: A scheduler, several that multiply, or a mapping of names to either.
        state: The run: ``timestamp``, ``max_duration`` (which carries ssr already), the rates, and ``optimizers``.
            Composer's own state will do.
        ssr: The scale schedule ratio.
        clock: Gives the time that schedules follow for the state's timestamp; None is that very time.
        plan: The run that schedules are bound to, where it is another than ``state``.

    Returns:
        One scheduler for all the optimizers; ``get_last_lr()`` lists their groups in order. Its ``state_dict`` holds no
        learning rates: loaded, it computes them from the state's timestamp.

    Raises:
        InputError: If there is no optimizer, a time cannot be resolved, or a group names a schedule that is not there.

    Example:
        >>> import torch
        >>> from ssr_hydra.schedulers import LinearScheduler
        >>> from ssr_hydra.state import State
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        >>> state = State(max_duration="4ba", optimizers=optimizer)
        >>> scheduler = compile_composer_scheduler(LinearScheduler(), state)
        >>> for _ in range(3):
        ...     optimizer.step()
        ...     state.timestamp = state.timestamp.to_next_batch()
        ...     scheduler.step()
        >>> scheduler.get_last_lr()
        [0.125]

    Source: MosaicML Composer's ``compile_composer_scheduler``.
    """
    return CompiledScheduler(schedulers, state, ssr, clock, plan)
