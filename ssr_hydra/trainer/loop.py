"""The loop: torch's own five lines, on the clock that schedules read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch.optim import Optimizer

from ssr_hydra.errors import InputError
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp, TimeUnit
from ssr_hydra.trainer.deadlines import Deadline
from ssr_hydra.trainer.learning_rates import LearningRates
from ssr_hydra.trainer.progress import Progress, Snapshot
from ssr_hydra.trainer.task import Task
from ssr_hydra.trainer.watch import DivergedError, LossWatch

__all__ = ["Loop", "Plan"]

_Record = dict[str, Any]


@dataclass
class Plan:
    """When things are due in a run. None is never, but for evaluation, which always ends a run that has data for it."""

    end: Deadline
    evaluation: Deadline | None
    log: Deadline | None
    iteration: Deadline | None = None

    def all(self) -> list[Deadline]:
        """Those that there are."""
        return [due for due in (self.end, self.evaluation, self.log, self.iteration) if due is not None]

    def next_batch(self) -> int:
        """Before which batch nothing can be due: 0 where a deadline is not counted in batches."""
        return min(due.batch for due in self.all())


class Loop:
    """Trains to the end of the plan, keeping state, learning rates, clock and records in step.

    For each batch: forward, backward, step; then the timestamp moves on, what is due is done, and the learning rate of
    the next batch is set from the new timestamp. So the rate of batch k is alpha at timestamp k.

    Args:
        task: Model and loss.
        state: The run; its timestamp is replaced after every batch.
        rates: The schedulers.
        train: Batches to train on.
        evaluation: Batches to evaluate on, or None.
        plan: When things are due.
        progress: Where the run is shown.
        record: Takes each record of ``metrics.jsonl``.
        objective: Metric for schedulers that wait for a plateau.
    """

    def __init__(
        self,
        task: Task,
        state: State,
        rates: LearningRates,
        train: Iterable[Any],
        evaluation: Iterable[Any] | None,
        plan: Plan,
        progress: Progress,
        record: Callable[[_Record], None],
        objective: str,
    ) -> None:
        self._task, self._state, self._rates, self._plan = task, state, rates, plan
        self._train, self._evaluation = train, evaluation
        self._progress, self._record, self._objective = progress, record, objective
        self._optimizers: tuple[Optimizer, ...] = tuple(state.optimizers)
        self._watch = LossWatch(task.device)
        self._next_show: float = 0  # the first batch is looked at
        self._wake = 0  # nothing is due before this batch
        self._ended = False
        self._evaluated_at = -1
        self.metrics: dict[str, float] = {}
        self.evaluations: list[_Record] = []

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far."""
        return self._state.timestamp._nanoseconds / 1e9

    def run(self) -> None:
        """Train to the end.

        Raises:
            DivergedError: A loss was not finite.
            InputError: The loader gives other batches than it promised.
        """
        task, state, rates, watch = self._task, self._state, self._rates, self._watch
        loss_of, clock, add = task.loss, time.perf_counter_ns, watch.add
        optimizers, step_rates = self._optimizers, rates.batch_ended()
        length = state.dataloader_len
        if not task.model.training:
            task.model.train()
        timestamp = state.timestamp
        # Starting the loader's workers is start-up, not training; so is the first use of the device.
        batches = self._batches(timestamp._epoch)
        self._synchronize()
        then = clock()
        while True:
            epoch = timestamp._epoch
            for batch in batches:
                if timestamp._epoch != epoch:
                    raise self._wrong_length(timestamp, "more")
                for optimizer in optimizers:
                    optimizer.zero_grad()
                loss, samples, tokens = loss_of(batch)
                add(loss, timestamp._batch)
                loss.backward()  # type: ignore[no-untyped-call]
                for optimizer in optimizers:
                    optimizer.step()
                now = clock()
                timestamp = timestamp.to_next_batch(samples, tokens, (now - then) * 1e-9)
                then = now
                epoch_ended = timestamp._batch_in_epoch == length
                if epoch_ended:
                    timestamp = timestamp.to_next_epoch()
                state.timestamp = timestamp
                if timestamp._batch >= self._wake or now >= self._next_show:
                    timestamp, then = self._do_what_is_due(timestamp, now)
                if epoch_ended:
                    rates.epoch_ended()
                step_rates()
                if self._ended:
                    return
            if length is None:
                timestamp, then = self._end_of_epoch(then)
                if self._ended:
                    return
            elif timestamp._epoch == epoch:
                raise self._wrong_length(timestamp, "fewer")
            batches = self._batches(timestamp._epoch)

    def _batches(self, epoch: int) -> Iterator[Any]:
        """The batches of an epoch, in the order that belongs to it."""
        for part in (self._train, getattr(self._train, "sampler", None), getattr(self._train, "batch_sampler", None)):
            set_epoch = getattr(part, "set_epoch", None)
            if set_epoch is not None:
                set_epoch(epoch)
        return iter(self._train)

    def _end_of_epoch(self, then: int) -> tuple[Timestamp, int]:
        """The end of an epoch whose length was not known before."""
        state = self._state
        if state.timestamp._batch_in_epoch == 0:
            rule = f"it gave no batch in epoch {state.timestamp._epoch}"
            fix = "give a loader that can be read again and again, not an iterator"
            raise InputError("train_dataloader", type(self._train).__name__, rule, fix)
        state.timestamp = state.timestamp.to_next_epoch()
        timestamp, then = self._do_what_is_due(state.timestamp, then)
        self._rates.epoch_ended(again=True)
        return timestamp, then

    def _do_what_is_due(self, timestamp: Timestamp, now: int) -> tuple[Timestamp, int]:
        """Log, evaluate, show: what is due at a batch boundary.

        Time has been counted up to ``now``. Returns the timestamp, which may have moved on in iterations and seconds,
        and up to where time is counted then, which evaluation moves.
        """
        plan = self._plan
        showing = now >= self._next_show
        if self._next_show == 0:
            self._look_at_first_batch(timestamp)
            showing = False
        if plan.iteration is not None and plan.iteration.reached(timestamp):  # first: others may be due by iterations
            self._state.timestamp = timestamp = timestamp.to_next_iteration()
            plan.iteration.renew(timestamp)
        ended = plan.end.reached(timestamp)
        evaluating = ended or (plan.evaluation is not None and plan.evaluation.reached(timestamp))
        logging = evaluating or (plan.log is not None and plan.log.reached(timestamp))
        if logging:
            self._log(timestamp)
        if evaluating:
            now = self._evaluate(timestamp, now)
        elif showing:
            self._show()
        self._wake, self._ended = plan.next_batch(), ended
        return self._state.timestamp, now

    def _look_at_first_batch(self, timestamp: Timestamp) -> None:
        """A run on the clock of tokens would never end if none were counted."""
        self._next_show = time.perf_counter_ns() + self._progress.interval * 1e9
        for due in self._plan.all():
            if due.time.unit is TimeUnit.TOKEN and timestamp._token == 0:
                rule = "the batches hold no tokens that could be counted"
                raise InputError(due.field, str(due.time), rule, "give get_num_tokens_in_batch, or use another unit")

    def _log(self, timestamp: Timestamp) -> None:
        if self._plan.log is not None:
            self._plan.log.renew(timestamp)
        loss = self._watch.flush(timestamp._batch)
        rates = [float(group["lr"]) for optimizer in self._optimizers for group in optimizer.param_groups]
        record: _Record = {"event": "train", **self._when(), "train/loss": loss, "lr": rates[0]}
        if len(rates) > 1:
            record["lrs"] = rates
        self._record(record)

    def _evaluate(self, timestamp: Timestamp, now: int) -> int:
        """Evaluate, outside of the time of training; returns the time from which training is counted again."""
        if timestamp._batch == self._evaluated_at:  # the end of the run, right after an evaluation
            return now
        self._synchronize()
        waited = time.perf_counter_ns() - now  # for the device to finish training: that is training
        started = time.perf_counter()
        self._evaluated_at = timestamp._batch
        if self._plan.evaluation is not None and self._plan.evaluation.reached(timestamp):
            self._plan.evaluation.renew(timestamp)
        self._state.timestamp = timestamp = timestamp.copy(seconds=Fraction(timestamp._nanoseconds + waited, 10**9))
        metrics = {"train/loss": self._watch.since_evaluation()}
        if self._evaluation is not None:
            metrics = {**self._task.evaluate(self._evaluation), **metrics}
            seconds = time.perf_counter() - started
            self.evaluations.append({"timestamp": self._when(), "metrics": dict(metrics), "seconds": seconds})
            self._record({"event": "eval", **self._when(), **metrics, "eval_seconds": seconds})
        self.metrics = metrics
        loss = metrics.get("eval/loss", 0.0)
        if loss - loss != 0.0:  # NaN or infinite
            raise DivergedError("eval/loss", loss, timestamp._batch)
        if self._evaluation is not None:
            self._rates.evaluated(metrics[self._objective])
        self._show(evaluated=self._evaluation is not None)
        return time.perf_counter_ns()

    def _when(self) -> _Record:
        timestamp = self._state.timestamp
        return {
            "epoch": timestamp._epoch,
            "batch": timestamp._batch,
            "sample": timestamp._sample,
            "token": timestamp._token,
            "train_seconds": timestamp._nanoseconds / 1e9,
        }

    def _show(self, *, evaluated: bool = False) -> None:
        state, plan = self._state, self._plan
        timestamp = state.timestamp
        self._progress.update(
            Snapshot(
                share=plan.end.share(timestamp),
                step=timestamp._batch,
                steps=plan.end.steps(state),
                epoch=timestamp._epoch,
                lr=float(self._optimizers[0].param_groups[0]["lr"]),
                loss=self._watch.last,
                train_seconds=self.train_seconds,
                metrics=self.metrics,
            ),
            evaluated=evaluated,
        )
        self._next_show = time.perf_counter_ns() + self._progress.interval * 1e9

    def _synchronize(self) -> None:
        device = self._task.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()

    def _wrong_length(self, timestamp: Timestamp, how: str) -> InputError:
        given = "" if how == "more" else f" ({timestamp._batch_in_epoch})"
        rule = f"its length is {self._state.dataloader_len} batches, and it gave {how}{given}"
        fix = "make its len() true: schedules and the run's end are computed from it"
        return InputError("train_dataloader", type(self._train).__name__, rule, fix)
