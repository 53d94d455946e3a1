"""The training loop: torch's usual training step, plus training time, evaluation, records and checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch.optim import Optimizer

from ssr_hydra.callbacks.events import Events
from ssr_hydra.errors import InputError, MismatchError, MissingValueError
from ssr_hydra.files import WriteError
from ssr_hydra.metrics_log import evaluation_record
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp, TimeUnit
from ssr_hydra.time.timestamp import NANOSECONDS
from ssr_hydra.trainer.deadlines import Deadlines
from ssr_hydra.trainer.fields import FieldSchedules, by_group
from ssr_hydra.trainer.interrupts import AgreedStop, StopRequest
from ssr_hydra.trainer.learning_rates import LearningRates
from ssr_hydra.trainer.loss_watch import DivergedError
from ssr_hydra.trainer.progress import ProgressDisplay, Snapshot
from ssr_hydra.trainer.rereading import Rereading
from ssr_hydra.trainer.saving import BestSoFar
from ssr_hydra.trainer.step import TrainStep

_Record = dict[str, Any]


class _Stopped(BaseException):
    """A signal ended an evaluation. The resumed run repeats the evaluation."""


@dataclass(eq=False)
class Loop:
    """Trains to the end of the run, and keeps timestamp, learning rates, training clock and records consistent.

    For each batch, the loop takes a step, moves the timestamp, runs the events that are due, sets the learning rate of
    the next batch from the new timestamp, and then writes a checkpoint if one is due. So the learning rate of batch k
    is ``initial_lr * alpha(timestamp k)``.

    Attributes:
        metrics: The metrics of the latest evaluation, with ``train/loss``.
        evaluations: The timestamps and metrics of all evaluations.
    """

    step: TrainStep
    state: State  # the loop replaces the timestamp of the state after every batch
    rates: LearningRates
    fields: FieldSchedules
    train: Iterable[Any]
    evaluation: Iterable[Any] | None
    plan: Deadlines
    objective: str  # the metric for ReduceLROnPlateau
    events: Events
    owner: Any  # the trainer, which listeners get as their first argument
    saves: bool  # whether the run writes checkpoints
    is_best: BestSoFar

    # FitRun sets these attributes before the loop runs.
    progress: ProgressDisplay = field(init=False)
    stop: StopRequest | AgreedStop = field(init=False)
    record: Callable[[_Record], None] = field(init=False)  # gets each record of metrics.jsonl
    save: Callable[[], object] = field(init=False)  # writes a checkpoint
    # Returns the nanoseconds of compilation since the last call; None if the model is not compiled.
    compile_time: Callable[[], int] | None = None

    def __post_init__(self) -> None:
        self.task, self.watch, self.processes = self.step.task, self.step.watch, self.step.processes
        self._optimizers: tuple[Optimizer, ...] = tuple(self.state.optimizers)
        is_shared = self.train is self.evaluation
        self._rereading = (
            None if hasattr(self.train, "seek") else Rereading(self.train, saves=self.saves, is_shared=is_shared)
        )
        self._next_show: float = 0  # the clock time of the next progress update; 0 before the first batch
        # No event is due until the number of batches is _wake or the training time is _wake_time (nanoseconds).
        self._wake: float = 0
        self._wake_time: float = 0
        self._ended = self._saving = self._after = False
        self._evaluated_at, self._pending = -1, False
        self.metrics: dict[str, float] = {}
        self.evaluations: list[_Record] = []

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far."""
        return self.state.timestamp.nanoseconds / 1e9

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop, except the timestamp."""
        self.watch.settle(self.state.timestamp.batches)
        return {
            "watch": self.watch.state_dict(),
            "metrics": dict(self.metrics),
            "evaluations": len(self.evaluations),  # the number is enough, because metrics.jsonl stores the evaluations
            "evaluated_at": self._evaluated_at,
            "pending": self._pending,
        }

    def reading(self) -> dict[str, Any] | None:
        """Return this process's loader state for a checkpoint; None if the loader has ``seek`` and needs no state."""
        within = self.state.timestamp.batches_in_epoch > 0
        return None if self._rereading is None else self._rereading.state_dict(within=within)

    def load_reading(self, state: Mapping[str, Any] | None) -> None:
        """Resume the loader from the result of :meth:`reading`."""
        if self._rereading is not None and state is not None:
            self._rereading.load_state_dict(state)

    def load_state_dict(self, state: Mapping[str, Any], evaluations: list[_Record]) -> None:
        """Load the result of :meth:`state_dict`. The timestamp of the run must already be loaded.

        Raises:
            TypeError: A value in ``state`` has a wrong type.
        """
        timestamp = self.state.timestamp
        metrics, evaluated_at, pending = dict(state["metrics"]), state["evaluated_at"], state["pending"]
        are_numbers = all(type(value) in (int, float) for value in metrics.values())
        if not are_numbers or type(evaluated_at) is not int or type(pending) is not bool:
            raise TypeError("its metrics, evaluated_at or pending have a wrong type")
        self.watch.load_state_dict(state["watch"], timestamp.batches)
        self.metrics, self.evaluations = metrics, evaluations
        self._evaluated_at, self._pending = evaluated_at, pending
        self.plan.continued(timestamp)

    def run(self) -> None:
        """Train to the end of the run.

        Raises:
            DivergedError: A loss was NaN or infinite, or a weight was NaN or infinite at the end of the run.
            InputError: An epoch has more or fewer batches than the loader's length.
            KeyboardInterrupt, TerminatedError: A signal asked the run to stop.
        """
        task, state = self.task, self.state
        clock, stop = time.perf_counter_ns, self.stop
        agree = stop.agree if isinstance(stop, AgreedStop) else None
        listeners = self.events.listeners("batch_end")
        # If one process has listeners, all processes must keep the loss, because they compute its mean together.
        self.step.keeps_loss = self.processes.sum([len(listeners)])[0] > 0
        step, set_rates = self.step.function(), self._set_rates()
        compile_time = self.compile_time
        length = state.dataloader_len
        if not task.model.training:
            task.model.train()
        timestamp = state.timestamp
        if self._is_over(timestamp):
            return
        if self.evaluation is not None:
            # Do not compile the model here: torch would compile it for the shapes of the evaluation batch first.
            with nullcontext() if compile_time is None else torch.compiler.set_stance("force_eager"):
                task.try_evaluation(self.evaluation, self.processes)
        # The start of the loader's workers and the first use of the device do not count as training time.
        batches = self._batches(timestamp.epochs, timestamp.batches_in_epoch)
        self._synchronize()
        then = clock()
        while True:
            epoch = timestamp.epochs
            for batch in batches:
                if timestamp.epochs != epoch:
                    raise self._wrong_length(timestamp, "more")
                samples, tokens = step(batch, timestamp.batches)
                if compile_time is not None:
                    then += compile_time()
                now = clock()
                spent = now - then if agree is None else agree(now - then)
                timestamp = timestamp.to_next_batch(samples, tokens, spent * 1e-9)
                then = now
                epoch_ended = timestamp.batches_in_epoch == length
                if epoch_ended:
                    timestamp = timestamp.to_next_epoch()
                state.timestamp = timestamp
                for listener in listeners:
                    listener(self.owner, self.step.loss)
                if (
                    timestamp.batches >= self._wake
                    or timestamp.nanoseconds >= self._wake_time
                    or now >= self._next_show
                    or stop.number
                ):
                    timestamp, then = self._do_what_is_due(timestamp, now)
                if epoch_ended:
                    self._end_epoch()
                set_rates()
                if self._after:
                    then = self._save_and_leave(then)
                    if self._ended:
                        return
            if length is None:
                timestamp, then = self._end_of_epoch(then)
                if self._ended:
                    return
            elif timestamp.epochs == epoch:
                raise self._wrong_length(timestamp, "fewer")
            batches = self._batches(timestamp.epochs, timestamp.batches_in_epoch)

    def _set_rates(self) -> Callable[[], object]:
        """Return the function that sets the hyperparameters of the next batch."""
        set_rates, set_fields = self.rates.batch_ended(), self.fields.step

        def set_all() -> None:
            set_rates()
            set_fields()

        return set_all if self.fields.fields else set_rates

    def _is_over(self, timestamp: Timestamp) -> bool:
        """Do the evaluation and checkpoint that were due when the run stopped. Return True at the end of the run."""
        over = self.plan.end.reached(timestamp)
        self._saving = self._ended = over and timestamp.batches > 0
        if self._pending or (over and self._evaluated_at != timestamp.batches):
            self._evaluate(timestamp, time.perf_counter_ns())
            if not self._pending:
                self._saving |= self.is_best(self.metrics)
        if self._ended and not self._pending:
            self._check_weights(timestamp)
        if self._saving or self._pending:
            self._save_and_leave(0)
        return over

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Return an iterator over an epoch's batches, in the epoch's order, without the first ``start`` batches."""
        if self._rereading is None:
            self.train.seek(epoch, start)  # type: ignore[attr-defined]
            batches = iter(self.train)
        else:
            batches = self._rereading.batches(epoch, start)
        if self.processes.world_size > 1:
            return self._together(batches)
        if self._next_show == 0:  # before the first batch
            first = list(itertools.islice(batches, 1))
            for batch in first:
                self._check_tokens(self.task.count(batch)[1])
            batches = itertools.chain(first, batches)
        return batches

    def _check_tokens(self, tokens: int) -> None:
        """Refuse a first batch without tokens if a time such as max_duration is in tokens: it would never come."""
        due = next((due for due in self.plan.all() if due.time.unit is TimeUnit.TOKEN), None)
        if due is not None and tokens == 0:
            rule = "is in tokens, but the batches have no tokens to count"
            raise MissingValueError(due.field, str(due.time), rule, "give get_num_tokens_in_batch, or use another unit")

    # --- several processes --------------------------------------------------------------------------------------------

    def _together(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches, and sum their counts over processes. The epoch ends when any process has no batch left."""
        processes, step, epoch = self.processes, self.step, self.state.timestamp.epochs
        end = object()
        while True:
            batch = next(batches, end)
            counts = (0, 0, 0) if batch is end else step.count(batch)
            samples, tokens, weight, having = processes.sum((*counts, batch is not end))
            if having < processes.world_size:
                timestamp = self.state.timestamp
                if having and self.state.dataloader_len is not None:
                    raise self._wrong_length(timestamp, "fewer" if timestamp.epochs == epoch else "more")
                return
            if self._next_show == 0:
                self._check_tokens(tokens)
            step.total = (samples, tokens, weight)
            yield batch

    # --- deadlines ----------------------------------------------------------------------------------------------------

    def _end_epoch(self, *, again: bool = False) -> None:
        self.rates.epoch_ended(again=again)
        self.events.fire("epoch_end", self.owner)

    def _end_of_epoch(self, then: int) -> tuple[Timestamp, int]:
        """Handle the end of an epoch of unknown length.

        ``then`` is the argument ``now`` of :meth:`_do_what_is_due`. The return values are the same.
        """
        state = self.state
        if state.timestamp.batches_in_epoch == 0:
            rule = f"must have a batch in every epoch, but had none in epoch {state.timestamp.epochs}"
            fix = "give a loader that can be read repeatedly, not an iterator"
            raise MissingValueError("train_dataloader", type(self.train).__name__, rule, fix)
        state.timestamp = state.timestamp.to_next_epoch()
        timestamp, then = self._do_what_is_due(state.timestamp, then)
        self._end_epoch(again=True)
        self.fields.step()
        if self._after:
            then = self._save_and_leave(then)
        return timestamp, then

    def _do_what_is_due(self, timestamp: Timestamp, now: int) -> tuple[Timestamp, int]:
        """Log, evaluate and show progress if due. ``timestamp`` includes the training time until ``now``.

        Return the current timestamp, and the clock time from which training time counts again.
        """
        plan = self.plan
        showing = now >= self._next_show
        if self._next_show == 0:
            self._next_show = time.perf_counter_ns() + self.progress.interval * 1e9
            showing = False
        # Count iterations first, because other deadlines may be in iterations.
        if plan.iteration is not None and plan.iteration.reached(timestamp):
            self.state.timestamp = timestamp = timestamp.to_next_iteration()
            plan.iteration.renew(timestamp)
        ended = plan.end.reached(timestamp)
        evaluating = ended or (plan.evaluation is not None and plan.evaluation.reached(timestamp))
        logging = evaluating or (plan.log is not None and plan.log.reached(timestamp))
        if logging:
            now += self._log(timestamp)
        if evaluating:
            now = self._evaluate(timestamp, now)
        elif showing:
            self._show()
        if ended:
            self._check_weights(timestamp)
        saving = plan.saves_at(timestamp.batches) or ended
        saving = saving or (plan.checkpoint is not None and plan.checkpoint.reached(timestamp))
        if self._evaluated_at == timestamp.batches:
            saving = saving or self.is_best(self.metrics)
        if saving and plan.checkpoint is not None:
            plan.checkpoint.renew(timestamp)
        self._saving = saving
        self._wake, self._wake_time, self._ended = plan.next_batch(), plan.next_time(), ended
        self._after = saving or bool(self.stop.number)
        return self.state.timestamp, now

    def _check_weights(self, timestamp: Timestamp) -> None:
        """Raise an error if a weight is NaN or infinite after the last step, because no later loss would show it."""
        if (name := self.step.not_finite()) is not None:
            raise DivergedError(f"the weight {name}", math.nan, timestamp.batches)

    def _save_and_leave(self, then: int) -> int:
        """Write a checkpoint if one is due or the run must stop. End the run if a stop signal has arrived.

        The timestamp includes the training time until ``then``. Return ``then`` plus the time of saving, because saving
        does not count as training time.
        """
        stop = self.stop
        leaving = bool(stop.number) and not (self._ended and not self._pending)
        saving = self.saves and (self._saving or leaving)
        if saving:
            self._synchronize()
        waited = time.perf_counter_ns()
        after = ""
        if saving:
            after = f", with a checkpoint at batch {self.state.timestamp.batches}"
            try:
                self.save()
            except WriteError as error:
                if not leaving:
                    raise
                # Stop anyway, because the run can still resume from the previous checkpoint.
                after = f", without a checkpoint: {error}"
        self._saving = self._after = False
        if leaving:
            stop.leave(after)
        # The wait for the device, before ``waited``, counts as training time. The time of saving does not count.
        return then + time.perf_counter_ns() - waited

    def _log(self, timestamp: Timestamp) -> int:
        """Write a record of training. Return the nanoseconds of writing, which do not count as training."""
        if self.plan.log is not None:
            self.plan.log.renew(timestamp)
        loss = self.watch.flush(timestamp.batches)
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        rates = [float(group["lr"]) for group in groups]
        record: _Record = {"event": "train", **self.when(), "train/loss": loss, "lr": rates[0]}
        if len(rates) > 1:
            record["lrs"] = by_group(rates, groups, self._optimizers)
        record.update(self.fields.values())
        began = time.perf_counter_ns()
        self.record(record)
        return time.perf_counter_ns() - began

    def _evaluate(self, timestamp: Timestamp, now: int) -> int:
        """Evaluate. Return the clock time from which training time counts again: the evaluation does not count."""
        if timestamp.batches == self._evaluated_at:
            # The loop has already evaluated after this batch.
            return now
        self._synchronize()
        waited = time.perf_counter_ns() - now  # this wait counts as training time: the device completes its steps
        started = time.perf_counter()
        if self.plan.evaluation is not None and self.plan.evaluation.reached(timestamp):
            self.plan.evaluation.renew(timestamp)
        if not self._pending:
            if self.processes.world_size > 1:  # all processes use the clock of rank 0
                (waited,) = self.processes.sum([waited if self.processes.is_main else 0])
            seconds = Fraction(timestamp.nanoseconds + waited, NANOSECONDS)
            self.state.timestamp = timestamp = timestamp.copy(seconds=seconds)
        metrics: dict[str, float] = {}
        if self.evaluation is not None:
            try:
                metrics = self.measure(self.evaluation, self._stop_evaluation)
            except _Stopped:
                self._pending = True
                return time.perf_counter_ns()
        if self.compile_time is not None:
            # Discard the time of compilation during evaluation: it is not training time.
            self.compile_time()
        self._evaluated_at, self._pending = timestamp.batches, False
        metrics["train/loss"] = self.watch.since_evaluation()
        if self.evaluation is not None:
            seconds_taken = time.perf_counter() - started
            self.evaluations.append({"timestamp": self.when(), "metrics": dict(metrics), "seconds": seconds_taken})
            self.record(evaluation_record(self.evaluations[-1]))
        self.metrics = metrics
        loss = metrics.get("eval/loss", 0.0)
        if loss - loss != 0.0:  # NaN or infinite
            raise DivergedError("eval/loss", loss, timestamp.batches)
        if self.evaluation is not None:
            self.rates.evaluated(metrics[self.objective])
        self._show(evaluated=self.evaluation is not None)
        return time.perf_counter_ns()

    def measure(
        self, loader: Iterable[Any], each_batch: Callable[[], object] | None = None, split: str = "eval"
    ) -> dict[str, float]:
        """Fire ``eval_start``, evaluate, and fire ``eval_end``. Return the metrics, including those of listeners."""
        self.events.fire("eval_start", self.owner)
        metrics: dict[str, float] = {}
        try:
            self.processes.share_buffers(self.task.model)
            metrics = self.task.evaluate(loader, self.processes, each_batch, split=split)
        finally:
            self.events.fire("eval_end", self.owner, metrics)
        return metrics

    def _stop_evaluation(self) -> None:
        """End an evaluation at a stop signal. With several processes, do nothing: all must complete the evaluation."""
        if self.stop.number and self.processes.world_size == 1:
            raise _Stopped

    def when(self) -> _Record:
        """Return the current epoch, batch, sample, token and seconds of training, for a record."""
        timestamp = self.state.timestamp
        return {
            "epoch": timestamp.epochs,
            "batch": timestamp.batches,
            "sample": timestamp.samples,
            "token": timestamp.tokens,
            "train_seconds": timestamp.nanoseconds / 1e9,
        }

    def _show(self, *, evaluated: bool = False) -> None:
        state, plan = self.state, self.plan
        timestamp = state.timestamp
        self.progress.update(
            Snapshot(
                share=plan.end.share(timestamp),
                step=timestamp.batches,
                steps=plan.end.steps(state),
                epoch=timestamp.epochs,
                lr=float(self._optimizers[0].param_groups[0]["lr"]),
                loss=self.watch.last,
                train_seconds=self.train_seconds,
                metrics=self.metrics,
            ),
            evaluated=evaluated,
        )
        self._next_show = time.perf_counter_ns() + self.progress.interval * 1e9

    def _synchronize(self) -> None:
        device = self.task.device
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()

    def _wrong_length(self, timestamp: Timestamp, how: str) -> InputError:
        actual = "" if how == "more" else f" ({timestamp.batches_in_epoch})"
        rule = f"has a length of {self.state.dataloader_len} batches, but returned {how}{actual}"
        fix = "correct len(train_dataloader), on which schedules and the end of the run depend"
        return MismatchError("train_dataloader", type(self.train).__name__, rule, fix)
