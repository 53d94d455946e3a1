"""A torch scheduler that reads the time from a state, which the caller updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from ssr_hydra.errors import MismatchError
from ssr_hydra.optim.alpha import AlphaLR, Schedulers, bind_all, is_count, optimizers_of
from ssr_hydra.optim.initial_values import begins
from ssr_hydra.time import Number


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
        super().__init__(optimizers_of(state), bind_all(*self._bound), begins=begins(state))

    def _now(self) -> Any:
        timestamp = self._state.timestamp
        return timestamp if self._clock is None else self._clock(timestamp)

    def step(self) -> None:  # type: ignore[override]
        """Set the learning rates for ``state.timestamp``. Call this method after each change of the timestamp."""
        if self._step_count < 2:  # let torch's step() check that the optimizer has stepped first
            if self._step_count == 1:
                self._begin()
            super().step()
            return
        self._step_count += 1
        self.last_epoch += 1
        timestamp = self._state.timestamp  # repeat the code of _now() here, because a call costs time
        self._set_lrs(timestamp if self._clock is None else self._clock(timestamp))

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps. The state of the run stores the time, and optimizers store the initial rates."""
        return {"last_epoch": self.last_epoch, "_step_count": self._step_count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the number of steps, and compute the learning rates from the state's timestamp.

        Before this call, load the optimizers and the state's timestamp.
        """
        names = ("last_epoch", "_step_count")
        if not isinstance(state_dict, Mapping) or not all(is_count(state_dict.get(name)) for name in names):
            rule = f"must have the counts {' and '.join(names)}"
            raise MismatchError("state_dict", state_dict, rule, "load a scheduler's state_dict()")
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
    """Create a torch ``LRScheduler`` that sets ``lr = initial_lr * alpha(state.timestamp)`` in ``state.optimizers``.

    ::

        lr_g(t) = initial_lr_g * product of alpha_ssr(t) over the schedulers

    ``initial_lr_g`` is the ``lr`` that param group g has when you create the first scheduler of its optimizer. If you
    later set the ``lr`` and create a new scheduler, the new scheduler starts from this ``lr``.

    This function sets the learning rates for the current ``state.timestamp``. Call ``step()`` after each change of
    ``state.timestamp`` to set them for the new timestamp.

    A new param group gets its learning rate at the next step. The scheduler changes tensor learning rates in place. If
    ``schedulers`` is a mapping, the key ``"schedule"`` of a param group names its schedule. A group without this key
    uses the schedule ``"default"``.

    Args:
        schedulers: A scheduler, a sequence of schedulers whose alphas are multiplied, or a mapping from name to
            schedulers.
        state: The state of the run: ``timestamp``, ``max_duration`` (already multiplied by ssr), ``optimizers``, and
            ``dataloader_len``, ``samples_per_batch`` and ``tokens_per_batch`` if schedules need them. Composer's own
            state works too.
        ssr: The scale schedule ratio.
        clock: A function that converts ``state.timestamp`` to the timestamp that the schedules read. None means that
            they read ``state.timestamp`` itself.
        plan: A state from which the schedules read ``max_duration``, ``dataloader_len``, ``samples_per_batch`` and
            ``tokens_per_batch``. None means ``state``.

    Returns:
        One scheduler for all optimizers. ``get_last_lr()`` returns the learning rates of all groups in order. The
        scheduler's ``state_dict`` has no learning rates: ``load_state_dict`` computes them from the state's timestamp.

    Raises:
        InputError: ``state`` has no optimizer, a time cannot be converted, or a group names an unknown schedule.

    Example:
        >>> import torch
        >>> from ssr_hydra import LinearScheduler, State
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
