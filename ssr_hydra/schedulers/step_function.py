"""A schedule as a plain function of the step, for training loops and libraries that do not use this package's types."""

from __future__ import annotations

import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import RangeError, WrongTypeError
from ssr_hydra.schedulers.protocol import SchedulerLike, bind_to
from ssr_hydra.schedulers.run import Run
from ssr_hydra.schedulers.timeline import Timeline
from ssr_hydra.state import State
from ssr_hydra.time import Number, TimeLike, TimeUnit, check_ssr


def as_function(
    scheduler: SchedulerLike,
    max_duration: TimeLike | None,
    *,
    ssr: Number = 1.0,
    dataloader_len: int | None = None,
    samples_per_batch: Number | None = None,
    tokens_per_batch: Number | None = None,
) -> Callable[[Any], float]:
    """Return a schedule as a plain function ``step -> alpha``, with ``alpha_ssr(k) = alpha(k / ssr)``.

    Args:
        scheduler: A scheduler of this package, or a function of ``(state)`` or ``(state, ssr)``.
        max_duration: The length of the run before scaling by ``ssr``; None if the schedule does not need it.
        ssr: The scale schedule ratio.
        dataloader_len: Batches per epoch, used if ``max_duration`` or a time of the schedule is in epochs.
        samples_per_batch: Samples per batch, used if ``max_duration`` or a time of the schedule is in samples.
        tokens_per_batch: Tokens per batch, used if ``max_duration`` or a time of the schedule is in tokens.

    Returns:
        A function from the number of finished steps, an int >= 0, to the multiplier of the learning rate. The function
        raises an ``InputError`` if its argument is not an int >= 0.

    Raises:
        InputError: An argument is invalid, a time of the schedule cannot be converted, or the schedule reads seconds.
        MissingRateError: A time needs ``max_duration``, ``dataloader_len``, ``samples_per_batch`` or
            ``tokens_per_batch``, but this argument is None.

    Example:
        >>> from ssr_hydra.schedulers import LinearWithWarmupScheduler
        >>> alpha = as_function(LinearWithWarmupScheduler("2ba"), "20ba", ssr=0.5)
        >>> [alpha(step) for step in (0, 1, 2, 6, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    ratio = check_ssr(ssr)
    state = State(max_duration, dataloader_len, samples_per_batch, tokens_per_batch)
    if state.max_duration is not None:
        state.max_duration = state.max_duration * ratio
    run = Run.of(state, ratio)
    timeline = Timeline(TimeUnit.BATCH, run.dataloader_len, run.samples_per_batch, run.tokens_per_batch)
    curve = bind_to(scheduler, run)

    def alpha(step: Any) -> float:
        try:
            count = operator.index(step)
        except TypeError:
            raise WrongTypeError("step", step, "must be a whole number", "pass the number of steps so far") from None
        if count < 0:
            raise RangeError("step", step, "must be >= 0", "pass the number of steps so far")
        return curve(timeline.at(Fraction(count)))

    alpha(0)  # if the schedule needs an unknown rate, raise the error now, and not in the first step
    return alpha
