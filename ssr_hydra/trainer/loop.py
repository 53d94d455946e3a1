"""The training loop: torch's usual training step, plus training time, evaluation, records and checkpoints."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from fractions import Fraction
from typing import Any

import torch
from torch.optim import Optimizer

from ssr_hydra.errors import InputError
from ssr_hydra.files import WriteError
from ssr_hydra.metrics_log import evaluation_record
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp, TimeUnit
from ssr_hydra.trainer.deadlines import Deadlines
from ssr_hydra.trainer.fields import FieldSchedules, by_group
from ssr_hydra.trainer.learning_rates import LearningRates
from ssr_hydra.trainer.progress import Progress, Snapshot
from ssr_hydra.trainer.rereading import Rereading
from ssr_hydra.trainer.step import TrainStep
from ssr_hydra.trainer.surroundings import AgreedStop, Surroundings
from ssr_hydra.trainer.task import Task
from ssr_hydra.trainer.watch import DivergedError, LossWatch

__all__ = ["Loop"]

_Record = dict[str, Any]


class _Stopped(BaseException):
    """A signal ended an evaluation. The resumed run repeats the evaluation."""


class Loop:
    """Trains to the end of the run, and keeps timestamp, learning rates, training clock and records consistent.

    For each batch, the loop runs forward, backward and the optimizer step. Then it moves the timestamp, runs the events
    that are due, and sets the learning rate of the next batch from the new timestamp. So the learning rate of batch k
    is ``initial_lr * alpha(timestamp k)``. Last, the loop writes a checkpoint if one is due, because only then the
    state is complete for the next batch.

    Args:
        step: Takes the optimizer steps.
        task: Model and loss.
        state: The run. The loop replaces its timestamp after every batch.
        rates: Sets the learning rates.
        fields: The schedules of hyperparameters other than the learning rate; None if there are no such schedules.
        watch: Sums the losses.
        train: Batches to train on.
        evaluation: Batches to evaluate on, or None.
        plan: The deadlines of the events.
        progress: Shows the progress of the run.
        record: A function that gets each record of ``metrics.jsonl``.
        objective: The name of the metric for ``ReduceLROnPlateau``.
        around: Listeners, other processes, signals and checkpoints.

    Attributes:
        metrics: The metrics of the last evaluation, with ``train/loss``.
        evaluations: The timestamps and metrics of all evaluations.
    """

    def __init__(
        self,
        step: TrainStep,
        task: Task,
        state: State,
        rates: LearningRates,
        fields: FieldSchedules | None,
        watch: LossWatch,
        train: Iterable[Any],
        evaluation: Iterable[Any] | None,
        plan: Deadlines,
        progress: Progress,
        record: Callable[[_Record], None],
        objective: str,
        around: Surroundings | None = None,
    ) -> None:
        self._step, self._task, self._state, self._rates, self._fields = step, task, state, rates, fields
        self._train, self._evaluation, self._plan = train, evaluation, plan
        self._progress, self._record, self._objective = progress, record, objective
        self._around = around = Surroundings() if around is None else around
        self._stop = around.stop if around.processes.world_size == 1 else AgreedStop(around.stop, around.processes)
        self._optimizers: tuple[Optimizer, ...] = tuple(state.optimizers)
        saves, is_shared = around.save is not None, train is evaluation
        self._rereading = None if hasattr(train, "seek") else Rereading(train, saves=saves, is_shared=is_shared)
        self._watch = watch
        self._next_show: float = 0  # the clock time of the next progress update; 0 before the first batch
        # No event is due before this number of batches and before this training time in nanoseconds.
        self._wake: float = 0
        self._wake_time: float = 0
        self._ended = self._saving = self._after = False
        self._evaluated_at, self._pending = -1, False
        self.metrics: dict[str, float] = {}
        self.evaluations: list[_Record] = []

    @property
    def train_seconds(self) -> float:
        """Seconds of training so far."""
        return self._state.timestamp.nanoseconds / 1e9

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loop, except the timestamp."""
        self._watch.settle(self._state.timestamp.batches)
        return {
            "watch": self._watch.state_dict(),
            "metrics": dict(self.metrics),
            "evaluations": len(self.evaluations),  # the log stores them, once
            "evaluated_at": self._evaluated_at,
            "pending": self._pending,
        }

    def reading(self) -> dict[str, Any] | None:
        """Return the state that the loader of this process needs to resume; None if the loader can seek a batch."""
        within = self._state.timestamp.batches_in_epoch > 0
        return None if self._rereading is None else self._rereading.state_dict(within=within)

    def load_reading(self, state: Mapping[str, Any] | None) -> None:
        """Resume the loader from the state of :meth:`reading`."""
        if self._rereading is not None and state is not None:
            self._rereading.load_state_dict(state)

    def load_state_dict(self, state: Mapping[str, Any], evaluations: list[_Record]) -> None:
        """Load the result of :meth:`state_dict`. The timestamp of the run must already be loaded.

        Raises:
            TypeError: A value in ``state`` has a wrong type.
        """
        timestamp = self._state.timestamp
        metrics, evaluated_at, pending = dict(state["metrics"]), state["evaluated_at"], state["pending"]
        are_numbers = all(type(value) in (int, float) for value in metrics.values())
        if not are_numbers or type(evaluated_at) is not int or type(pending) is not bool:
            raise TypeError("its metrics, evaluated_at or pending have a wrong type")
        self._watch.load_state_dict(state["watch"], timestamp.batches)
        self.metrics, self.evaluations = metrics, evaluations
        self._evaluated_at, self._pending = evaluated_at, pending
        self._plan.continued(timestamp)

    def run(self) -> None:
        """Train to the end of the run.

        Raises:
            DivergedError: A loss, or a weight at the end, was NaN or infinite.
            InputError: The number of batches in an epoch is not the loader's length.
            KeyboardInterrupt, TerminatedError: A signal asked the run to stop. If checkpoints are enabled, the loop has
                written one.
        """
        task, state, around = self._task, self._state, self._around
        clock, stop = time.perf_counter_ns, self._stop
        agree = stop.agree if isinstance(stop, AgreedStop) else None
        listeners = around.events.listeners("batch_end")
        # If one process has listeners, all processes must keep the loss, because they compute its mean together.
        self._step.keeps_loss = around.processes.sum([len(listeners)])[0] > 0
        step, set_rates = self._step.function(), self._set_rates()
        compile_time = around.compile_time
        length = state.dataloader_len
        if not task.model.training:
            task.model.train()
        timestamp = state.timestamp
        if self._is_over(timestamp):
            return
        if self._evaluation is not None:
            # Do not compile the model here: torch would compile it for the shapes of the evaluation batch first.
            with nullcontext() if compile_time is None else torch.compiler.set_stance("force_eager"):
                task.try_evaluation(self._evaluation, around.processes)
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
                    listener(around.owner, self._step.loss)
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
        set_rates = self._rates.batch_ended()
        if self._fields is None:
            return set_rates
        set_fields = self._fields.step

        def set_all() -> None:
            set_rates()
            set_fields()

        return set_all

    def _is_over(self, timestamp: Timestamp) -> bool:
        """Run an evaluation and a checkpoint that a stopped run has left. Return whether the run is at its end."""
        over = self._plan.end.reached(timestamp)
        self._saving = self._ended = over and timestamp.batches > 0
        if self._pending or (over and self._evaluated_at != timestamp.batches):
            self._evaluate(timestamp, time.perf_counter_ns())
            if self._around.is_best is not None and not self._pending:
                self._saving |= self._around.is_best(self.metrics)
        if self._ended and not self._pending:
            self._check_weights(timestamp)
        if self._saving or self._pending:
            self._save_and_leave(0)
        return over

    def _batches(self, epoch: int, start: int) -> Iterator[Any]:
        """Return an iterator over the batches of an epoch, in that epoch's order, without the first ``start`` ones."""
        if self._rereading is None:
            self._train.seek(epoch, start)  # type: ignore[attr-defined]
            batches = iter(self._train)
        else:
            batches = self._rereading.batches(epoch, start)
        if self._around.processes.world_size > 1:
            return self._together(batches)
        return self._with_first_checked(batches) if self._next_show == 0 else batches

    def _with_first_checked(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield the batches, after a check that the first batch has tokens if the run is measured in tokens."""
        end = object()
        first = next(batches, end)
        if first is end:
            return batches
        self._check_tokens(self._task.count(first)[1])
        return itertools.chain([first], batches)

    def _check_tokens(self, tokens: int) -> None:
        """Refuse a first batch without tokens if a deadline is in tokens, because it would never be reached."""
        due = next((due for due in self._plan.all() if due.time.unit is TimeUnit.TOKEN), None)
        if due is not None and tokens == 0:
            rule = "the batches have no tokens to count"
            raise InputError(due.field, str(due.time), rule, "give get_num_tokens_in_batch, or use another unit")

    # --- several processes --------------------------------------------------------------------------------------------

    def _together(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Yield batches, and sum their counts over processes. The epoch ends when any process has no batch left."""
        processes, step, epoch = self._around.processes, self._step, self._state.timestamp.epochs
        end = object()
        while True:
            batch = next(batches, end)
            counts = (0, 0, 0) if batch is end else step.count(batch)
            samples, tokens, weight, having = processes.sum((*counts, batch is not end))
            if having < processes.world_size:
                timestamp = self._state.timestamp
                if having and self._state.dataloader_len is not None:
                    raise self._wrong_length(timestamp, "fewer" if timestamp.epochs == epoch else "more")
                return
            if self._next_show == 0:
                self._check_tokens(tokens)
            step.total = (samples, tokens, weight)
            yield batch

    # --- what is due --------------------------------------------------------------------------------------------------

    def _end_epoch(self, *, again: bool = False) -> None:
        self._rates.epoch_ended(again=again)
        self._around.events.fire("epoch_end", self._around.owner)

    def _end_of_epoch(self, then: int) -> tuple[Timestamp, int]:
        """Handle the end of an epoch whose number of batches was unknown. Return as :meth:`_do_what_is_due`."""
        state = self._state
        if state.timestamp.batches_in_epoch == 0:
            rule = f"must have a batch in every epoch, but had none in epoch {state.timestamp.epochs}"
            fix = "give a loader that can be read repeatedly, not an iterator"
            raise InputError("train_dataloader", type(self._train).__name__, rule, fix)
        state.timestamp = state.timestamp.to_next_epoch()
        timestamp, then = self._do_what_is_due(state.timestamp, then)
        self._end_epoch(again=True)
        if self._fields is not None:
            self._fields.step()
        if self._after:
            then = self._save_and_leave(then)
        return timestamp, then

    def _do_what_is_due(self, timestamp: Timestamp, now: int) -> tuple[Timestamp, int]:
        """Log, evaluate and show progress if due at this batch boundary.

        The training clock has counted the time up to ``now``. Return the timestamp, whose iterations and seconds may
        have changed, and the new start time of the training clock.
        """
        plan = self._plan
        showing = now >= self._next_show
        if self._next_show == 0:
            self._next_show = time.perf_counter_ns() + self._progress.interval * 1e9
            showing = False
        # Count iterations first, because other deadlines may be in iterations.
        if plan.iteration is not None and plan.iteration.reached(timestamp):
            self._state.timestamp = timestamp = timestamp.to_next_iteration()
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
        if self._around.is_best is not None and self._evaluated_at == timestamp.batches:
            saving = saving or self._around.is_best(self.metrics)
        if saving and plan.checkpoint is not None:
            plan.checkpoint.renew(timestamp)
        self._saving = saving
        self._wake, self._wake_time, self._ended = plan.next_batch(), plan.next_time(), ended
        self._after = saving or bool(self._stop.number)
        return self._state.timestamp, now

    def _check_weights(self, timestamp: Timestamp) -> None:
        """Refuse to complete a run whose last step made a weight NaN or infinite. No loss follows that step."""
        if (name := self._step.not_finite()) is not None:
            raise DivergedError(f"the weight {name}", math.nan, timestamp.batches)

    def _save_and_leave(self, then: int) -> int:
        """Write a checkpoint, and end the run if a signal asks for it.

        The training clock has counted the time up to ``then``. Return the new start time of the training clock.
        """
        stop, save = self._stop, self._around.save
        leaving = bool(stop.number) and not (self._ended and not self._pending)
        saving = save is not None and (self._saving or leaving)
        if saving:
            self._synchronize()
        waited = time.perf_counter_ns()
        after = ""
        if saving and save is not None:
            after = f", with a checkpoint at batch {self._state.timestamp.batches}"
            try:
                save()
            except WriteError as error:
                if not leaving:
                    raise
                after = f", without a checkpoint: {error}"  # the run can still resume from the previous checkpoint
        self._saving = self._after = False
        if leaving:
            stop.leave(after)
        # The time since ``waited`` is not training time; the time before it is.
        return then + time.perf_counter_ns() - waited

    def _log(self, timestamp: Timestamp) -> int:
        """Write a record of training. Return the nanoseconds of writing, which do not count as training."""
        if self._plan.log is not None:
            self._plan.log.renew(timestamp)
        loss = self._watch.flush(timestamp.batches)
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        rates = [float(group["lr"]) for group in groups]
        record: _Record = {"event": "train", **self.when(), "train/loss": loss, "lr": rates[0]}
        if len(rates) > 1:
            record["lrs"] = by_group(rates, groups, self._optimizers)
        if self._fields is not None:
            record.update(self._fields.values())
        began = time.perf_counter_ns()
        self._record(record)
        return time.perf_counter_ns() - began

    def _evaluate(self, timestamp: Timestamp, now: int) -> int:
        """Evaluate, outside of training time. Return the new start time of the training clock."""
        if timestamp.batches == self._evaluated_at:  # the end of the run, directly after an evaluation
            return now
        self._synchronize()
        waited = time.perf_counter_ns() - now  # the wait until the device has finished training is training time
        started = time.perf_counter()
        if self._plan.evaluation is not None and self._plan.evaluation.reached(timestamp):
            self._plan.evaluation.renew(timestamp)
        if not self._pending:
            if self._around.processes.world_size > 1:  # all processes use the clock of rank 0
                (waited,) = self._around.processes.sum([waited if self._around.processes.is_main else 0])
            seconds = Fraction(timestamp.nanoseconds + waited, 10**9)
            self._state.timestamp = timestamp = timestamp.copy(seconds=seconds)
        metrics: dict[str, float] = {}
        if self._evaluation is not None:
            try:
                metrics = self._measured(self._evaluation)
            except _Stopped:
                self._pending = True
                return time.perf_counter_ns()
        if self._around.compile_time is not None:
            self._around.compile_time()  # discard it: compilation during evaluation was not in the training time
        self._evaluated_at, self._pending = timestamp.batches, False
        metrics["train/loss"] = self._watch.since_evaluation()
        if self._evaluation is not None:
            seconds_taken = time.perf_counter() - started
            self.evaluations.append({"timestamp": self.when(), "metrics": dict(metrics), "seconds": seconds_taken})
            self._record(evaluation_record(self.evaluations[-1]))
        self.metrics = metrics
        loss = metrics.get("eval/loss", 0.0)
        if loss - loss != 0.0:  # NaN or infinite
            raise DivergedError("eval/loss", loss, timestamp.batches)
        if self._evaluation is not None:
            self._rates.evaluated(metrics[self._objective])
        self._show(evaluated=self._evaluation is not None)
        return time.perf_counter_ns()

    def _measured(self, loader: Iterable[Any]) -> dict[str, float]:
        """Fire ``eval_start``, evaluate, fire ``eval_end``, and return the metrics."""
        around = self._around
        alone = around.processes.world_size == 1

        def look() -> None:
            # Several processes always evaluate to the end, because they compute together.
            if around.stop.number and alone and around.save is not None:
                raise _Stopped

        around.events.fire("eval_start", around.owner)
        metrics: dict[str, float] = {}
        try:
            around.processes.share_buffers(self._task.model)
            metrics = self._task.evaluate(loader, around.processes, look)
        finally:
            around.events.fire("eval_end", around.owner, metrics)
        return metrics

    def when(self) -> _Record:
        """Return the current epoch, batch, sample, token and seconds of training, for a record."""
        timestamp = self._state.timestamp
        return {
            "epoch": timestamp.epochs,
            "batch": timestamp.batches,
            "sample": timestamp.samples,
            "token": timestamp.tokens,
            "train_seconds": timestamp.nanoseconds / 1e9,
        }

    def _show(self, *, evaluated: bool = False) -> None:
        state, plan = self._state, self._plan
        timestamp = state.timestamp
        self._progress.update(
            Snapshot(
                share=plan.end.share(timestamp),
                step=timestamp.batches,
                steps=plan.end.steps(state),
                epoch=timestamp.epochs,
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
        given = "" if how == "more" else f" ({timestamp.batches_in_epoch})"
        rule = f"its length is {self._state.dataloader_len} batches, but it returned {how}{given}"
        fix = "correct its len(), because schedules and the end of the run depend on it"
        return InputError("train_dataloader", type(self._train).__name__, rule, fix)
