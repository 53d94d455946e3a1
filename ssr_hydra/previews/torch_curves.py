"""torch's schedulers as curves of alpha, so that one figure can show torch's and this package's schedulers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ssr_hydra.errors import InputError, MissingValueError, UnsupportedError
from ssr_hydra.schedulers import Curve, Scheduler
from ssr_hydra.schedulers.run import Run
from ssr_hydra.time import Time, TimeUnit
from ssr_hydra.torch_schedulers import ReduceLROnPlateau, TorchScheduler
from ssr_hydra.torch_schedulers.base import BATCH
from ssr_hydra.torch_schedulers.combined import together
from ssr_hydra.torch_schedulers.moments import epoch_start

_COUNTS = ("step_size", "milestones", "total_iters", "T_max", "T_0", "step_size_up", "step_size_down", "total_steps")


@dataclass(frozen=True)
class TorchCurve(Scheduler):
    """The learning rate that torch schedulers set in one param group, divided by the optimizer's learning rate.

    Args:
        schedulers: For each scheduler: its path, the scheduler itself, and its pace (``"batch"`` or ``"epoch"``).
        lr: The optimizer's learning rate. alpha is the scheduled learning rate divided by ``lr``.
        times: All times in the schedulers' arguments. Numbers of steps are converted to batches or epochs.
        functions: All functions in the schedulers.

    Raises:
        InputError: A scheduler depends on a metric, or the learning rate is unknown.

    Example:
        >>> from ssr_hydra.state import State
        >>> from ssr_hydra.time import Timestamp
        >>> from ssr_hydra.torch_schedulers import StepLR
        >>> curve = TorchCurve.of([("scheduler", StepLR(1, 0.5))], 0.1, None).bind(State("4ep", dataloader_len=10))
        >>> curve(Timestamp(epoch=2, batch=25, batch_in_epoch=5))
        0.25
    """

    schedulers: tuple[tuple[str, TorchScheduler, str], ...]
    lr: float
    times: tuple[Time, ...]
    functions: tuple[Callable[..., Any], ...]

    @classmethod
    def of(cls, schedulers: list[tuple[str, Any]], lr: float | None, use_stepwise_scheduler: bool | None) -> TorchCurve:
        """Create the curve of one or several schedulers, from pairs (path, scheduler)."""
        for path, scheduler in schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                rule = "has no curve without a run, because it depends on a metric"
                raise UnsupportedError(
                    path, "ReduceLROnPlateau", rule, "choose a different scheduler, e.g. scheduler=torch_cosine"
                )
        if lr is None:
            rule = "must be set, because alpha is the learning rate of the torch scheduler divided by optimizer.lr"
            raise MissingValueError("optimizer.lr", None, rule, "set optimizer.lr")
        entries = tuple((path, item, item.pace_in(use_stepwise_scheduler)) for path, item in schedulers)
        walked = [part for _, item, pace in entries for part in _walk(item, pace)]
        return cls(
            entries,
            lr,
            tuple(part for part in walked if isinstance(part, Time)),
            tuple(part for part in walked if not isinstance(part, Time)),
        )

    def curve(self, run: Run) -> Curve:
        try:
            courses = together(self.schedulers, run)
        except InputError as error:
            # Remove the prefix "scheduler.", because errors of this package's schedulers do not have it.
            raise error.renamed(error.field.removeprefix("scheduler.")) from None

        def alpha(timestamp: Any) -> float:
            rate = self.lr
            for _, course, pace in courses:
                (rate,) = course.rates(timestamp if pace == BATCH else epoch_start(timestamp), [rate])
            return rate / self.lr

        return alpha


def _walk(part: Any, pace: str) -> Iterator[Any]:
    """Yield each time and each function in the arguments of a torch scheduler and of its inner schedulers."""
    unit = TimeUnit.BATCH if pace == BATCH else TimeUnit.EPOCH
    if isinstance(part, TorchScheduler):
        yield Time(1, unit)  # one step of the scheduler
        for item in fields(part):
            value = getattr(part, item.name)
            values = value if item.name == "milestones" else (value,)
            if item.name in _COUNTS:
                yield from (n if isinstance(n, Time) else Time(n, unit) for n in values if n is not None)
            elif callable(value):
                yield value
            else:
                yield from _walk(value, pace)
    elif isinstance(part, (list, tuple, Mapping)):
        for inner in part.values() if isinstance(part, Mapping) else part:
            if callable(inner):
                yield inner
            yield from _walk(inner, pace)
