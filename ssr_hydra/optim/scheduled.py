"""A torch scheduler with its own clock, for any training loop."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

from torch.optim import Optimizer

from ssr_hydra.errors import InputError, MissingValueError, WrongTypeError
from ssr_hydra.optim.alpha import AlphaLR, Schedulers, bind_all, check_optimizer, is_count
from ssr_hydra.optim.clock import StepClock
from ssr_hydra.schedulers.run import Counter, Run
from ssr_hydra.state import State
from ssr_hydra.time import Number, Time, TimeLike, Timestamp, TimeUnit, check_ssr


class ScheduledLR(AlphaLR):
    """A torch ``LRScheduler`` that has its own clock, for schedules in any unit of time.

    ::

        lr_g(t) = initial_lr_g * product of alpha_ssr(t) over the schedulers

    ``initial_lr_g`` is the ``lr`` that param group g has when you create the optimizer's first scheduler. If you later
    set the ``lr`` and create a new scheduler, the new scheduler starts from this ``lr``.

    Call ``step()`` after each optimizer step. SSR stretches the schedule and the run. The run ends after
    ``max_duration * ssr``; see :attr:`max_duration` and :attr:`is_done`.

    Args:
        optimizer: The optimizer. The key ``"schedule"`` of a param group may name the group's schedule.
        schedulers: A scheduler, a sequence of schedulers whose alphas are multiplied, or a mapping from name to
            schedulers. A group that does not name a schedule uses the schedule ``"default"``.
        max_duration: Length of the run *before* scaling, in any unit except ``dur``; None if no schedule needs it.
        dataloader_len: Batches per epoch; with gradient accumulation, optimizer steps per epoch.
        samples_per_batch: Samples per batch, used if ``step()`` is called without ``samples``.
        tokens_per_batch: Tokens per batch, used if ``step()`` is called without ``tokens``.
        ssr: The scale schedule ratio.

    Raises:
        InputError: A time cannot be converted, for example epochs without ``dataloader_len``; or a group names an
            unknown schedule.

    The clock counts all seconds since the creation of this object, including evaluation and other work between steps.
    In a resumed run, it adds the seconds in the checkpoint. The clocks of several processes differ slightly. If all
    processes need equal seconds, use :func:`~ssr_hydra.optim.compile_composer_scheduler`, which reads the seconds of a
    ``State``.

    Example:
        >>> import torch
        >>> from ssr_hydra.schedulers import CosineAnnealingWithWarmupScheduler
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
        >>> scheduler = ScheduledLR(optimizer, CosineAnnealingWithWarmupScheduler("2ba"), max_duration="12ba", ssr=0.5)
        >>> rates = []
        >>> while not scheduler.is_done:
        ...     rates.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     scheduler.step()
        >>> [round(rate, 4) for rate in rates]
        [0.0, 0.25, 0.5, 0.4268, 0.25, 0.0732]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Schedulers,
        *,
        max_duration: TimeLike | None,
        dataloader_len: int | None = None,
        samples_per_batch: Number | None = None,
        tokens_per_batch: Number | None = None,
        ssr: Number = 1.0,
    ) -> None:
        check_optimizer(optimizer, "optimizer")
        sigma = check_ssr(ssr)
        state = State(max_duration, dataloader_len, samples_per_batch, tokens_per_batch, optimizers=(optimizer,))
        if state.max_duration is not None:
            state.max_duration = state.max_duration * sigma
        self._clock = StepClock(state)
        self._bound = (schedulers, state, sigma)
        self._end: Counter | None = None
        super().__init__((optimizer,), bind_all(*self._bound), begins=True)

    # torch calls the number of steps last_epoch. torch's SequentialLR sets last_epoch, which must set the clock too.
    @property
    def last_epoch(self) -> int:
        """Number of batches since the start of the run."""
        return self._clock.now.batches

    @last_epoch.setter
    def last_epoch(self, value: int) -> None:
        self._clock.now.batches = value
        self._resume()

    @property
    def max_duration(self) -> Time | None:
        """The actual length of the run, after multiplication by ssr; None if it is unknown."""
        return self._bound[1].max_duration

    @property
    def timestamp(self) -> Timestamp:
        """The current time. Unknown counters are 0.

        Assign a timestamp to set the time and the learning rates. If its number of samples or tokens is 0, the clock
        computes this number from ``samples_per_batch`` or ``tokens_per_batch``.

        Raises:
            InputError: The assigned value is not a timestamp, or it has epochs but no batches.
        """
        return self._clock.snapshot()

    @timestamp.setter
    def timestamp(self, value: Timestamp) -> None:
        if not isinstance(value, Timestamp):
            raise WrongTypeError("timestamp", value, "must be a Timestamp", "write e.g. Timestamp(batch=100)")
        if value.batches == 0 and value.epochs > 0:
            rule = "must have batches, because epochs are computed from batches"
            raise MissingValueError("timestamp", str(value), rule, "write e.g. Timestamp(batch=100)")
        self._resume()
        self._clock.set(value)
        self._set_lrs(self._clock.now)

    @property
    def is_done(self) -> bool:
        """True if the run has reached ``max_duration * ssr``. False if it has not, or if the length is unknown.

        Raises:
            InputError: The length has a unit that cannot be counted, for example epochs without ``dataloader_len``.
        """
        if self._end is None:
            run = Run.of(self._bound[1])
            if run.max_duration is None:
                return False
            end = run.resolve(run.max_duration, "max_duration", scale=False)
            self._end = run.clock(end.unit, "max_duration", end)
        return self._end.read(self._clock.now) * self._end.factor >= self._end.points[1]

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole run: ``max_duration * ssr`` in steps, rounded up.

        The number is computed from ``dataloader_len``, ``samples_per_batch`` or ``tokens_per_batch``. Arguments of
        ``step()`` do not change it.

        Raises:
            AttributeError: The length is unknown, in seconds, or in a unit that cannot be converted to steps. So
                ``hasattr(scheduler, "total_steps")``, which frameworks use, is False.
        """
        run = Run.of(self._bound[1])
        end = run.length()
        if end is not None:
            with suppress(InputError):
                return math.ceil(run.convert(end, TimeUnit.BATCH, "max_duration").value)
        raise AttributeError(f"total_steps is unknown: max_duration={run.max_duration} has no known number of steps")

    def _now(self) -> Timestamp:
        return self._clock.now

    def _advance(self, epoch: int | None) -> None:
        if epoch is None:
            self._clock.now.batches += 1
        else:
            self._clock.set(Timestamp(batch=epoch))

    def step(self, *, samples: int | None = None, tokens: int | None = None) -> None:  # type: ignore[override]
        """Count one batch, and set the learning rates for the next batch.

        Args:
            samples: Samples of the batch; None means ``samples_per_batch``.
            tokens: Tokens of the batch; None means ``tokens_per_batch``.

        Raises:
            InputError: A schedule has a unit that cannot be counted, for example epochs without ``dataloader_len``.
        """
        if samples is not None or tokens is not None:
            self._clock.tell(samples, tokens)
        if self._step_count < 2:  # let torch's step() check that the optimizer has stepped first
            if self._step_count == 1:
                self._begin()
            super().step()
            return
        self._step_count += 1
        now = self._clock.now
        now.batches += 1
        self._set_lrs(now)

    def state_dict(self) -> dict[str, Any]:
        """Return the time as plain numbers. Save the optimizer's ``state_dict()`` too: it has the initial rates."""
        return {
            "timestamp": self.timestamp.state_dict(),
            "told": list(self._clock.told),
            "_step_count": self._step_count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the time, and compute the learning rates from it. Load the optimizer's state before this call.

        Raises:
            InputError: ``state_dict`` is damaged, or is not the state of a ScheduledLR; this object then does not
                change. Or a schedule needs samples or tokens that the saved run did not count.
        """
        try:
            timestamp, steps = state_dict["timestamp"], state_dict["_step_count"]
            of_samples, of_tokens = state_dict["told"]
            is_valid = len(state_dict) == 3 and all(map(is_count, (of_samples, of_tokens, steps)))
        except (TypeError, KeyError, ValueError):
            is_valid = False
        if not is_valid:
            fix = "load a state_dict() of a ScheduledLR, or set scheduler.timestamp = Timestamp(batch=...)"
            raise WrongTypeError("state_dict", state_dict, "must be the state of a ScheduledLR", fix)
        self._clock.set(Timestamp.from_state_dict(timestamp), (of_samples, of_tokens))
        self._step_count = steps
        self._resume()
        self._set_lrs(self._clock.now)

    def __repr__(self) -> str:
        schedulers, state, ssr = self._bound
        length = "None" if state.max_duration is None else f"'{state.max_duration * (1 / ssr)}'"
        run = f"max_duration={length}, ssr={float(ssr):g}, batch={self.last_epoch}"
        return f"{type(self).__name__}({schedulers!r}, {run})"

    def __getstate__(self) -> dict[str, Any]:
        skipped = ("_curves", "_curve", "_groups", "_clock", "_bound", "_end")
        attributes = {name: value for name, value in self.__dict__.items() if name not in skipped}
        schedulers, state, ssr = self._bound
        run = (state.max_duration, state.dataloader_len, state.samples_per_batch, state.tokens_per_batch)
        return {**attributes, "run": (schedulers, ssr, run), "clock": (self.timestamp, self._clock.told)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        attributes = dict(state)
        schedulers, ssr, run = attributes.pop("run")
        clock = attributes.pop("clock")
        self.__dict__.update(attributes)
        bound = State(*run)
        bound.optimizers = self._optimizers
        self._clock = StepClock(bound)
        self._clock.set(*clock)
        self._bound = (schedulers, bound, ssr)
        self._end = None
        self._take(bind_all(*self._bound))
