"""The run of ``Trainer.fit``: its start or resume, the loop, the checkpoints, and the records."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssr_hydra.checkpoints import CheckpointStore, TimeMap
from ssr_hydra.checkpoints.store import CHECKPOINTS
from ssr_hydra.data.seeding import fold, seed_everything
from ssr_hydra.files import WriteError, write_atomically
from ssr_hydra.machine import conditions
from ssr_hydra.metrics_log import MetricsLog, evaluation_record
from ssr_hydra.records import RunResult
from ssr_hydra.settings import CheckpointSettings
from ssr_hydra.trainer.description import merged_code
from ssr_hydra.trainer.hardware import hardware, repeatable_kernels, versions
from ssr_hydra.trainer.interrupts import AgreedStop, StopRequest, reason, status_of
from ssr_hydra.trainer.loop import Loop
from ssr_hydra.trainer.loss_watch import DivergedError
from ssr_hydra.trainer.parallel import weights
from ssr_hydra.trainer.processes import lost_process
from ssr_hydra.trainer.progress import ProgressDisplay, summary
from ssr_hydra.trainer.resuming import Resuming
from ssr_hydra.trainer.saving import as_safetensors, saved_weights
from ssr_hydra.trainer.step import compile_clock
from ssr_hydra.trainer.workers import shielded

if TYPE_CHECKING:
    from ssr_hydra.trainer.trainer import Trainer


@dataclass(eq=False)
class FitRun:
    """Trains a trainer's model, and writes the log, the checkpoints and the record of the run."""

    trainer: Trainer
    loop: Loop
    resuming: Resuming
    checkpointing: CheckpointSettings
    test: Iterable[Any] | None
    time_map: TimeMap
    description: Mapping[str, Any]
    objective: str | None
    progress: str  # the kind of progress display
    record: Mapping[str, Any]  # the entries of result.json that the arguments of the trainer determine

    def __post_init__(self) -> None:
        self._processes, self._events = self.loop.processes, self.loop.events
        self._log: MetricsLog | None = None

    def run(self) -> RunResult:
        """Train to the end, test, and export. Write the record of the run, even after an error."""
        trainer, loop, resuming = self.trainer, self.loop, self.resuming
        if resuming.finished is not None:
            if trainer.is_main:
                print(f"nothing to train: the run in {trainer.run_dir} is complete")
            if self.checkpointing.export is not None:
                self.load_callbacks()
            self._export(resuming.finished.metrics)
            return resuming.finished
        self._began = time.perf_counter() - resuming.seconds_before
        loop.plan.saves = sorted(trainer.checkpoints_at) if loop.saves else []
        with ExitStack() as stack:
            if trainer.run_dir is not None and trainer.is_main:
                self._log = stack.enter_context(MetricsLog(trainer.run_dir, resuming.keep, resuming.check_still))
            kind = self.progress if trainer.is_main else "none"
            loop.progress = ProgressDisplay(kind, trainer.name or "training")
            request = StopRequest(loop.progress.tell)
            if loop.saves:
                stack.enter_context(shielded(loop.train, loop.evaluation, self.test))
                stack.enter_context(request)
            loop.stop = request if self._processes.world_size == 1 else AgreedStop(request, self._processes)
            loop.record, loop.save = self._record, self._save
            if loop.step.settings.compile:
                loop.compile_time = stack.enter_context(compile_clock())
            tested: dict[str, float] = {}
            is_repeatable = self.record["seed"] is not None and trainer.device.type == "cuda"
            try:
                with repeatable_kernels() if is_repeatable else nullcontext():
                    self._begin()
                    loop.run()
                    if self.test is not None:
                        tested = trainer.evaluate("test")
                        self._record({"event": "test", **loop.when(), **tested})
                    self._export(loop.metrics)
                    if self._log is not None:
                        self._log.check()  # a run that has lost its records must not count as completed
            except BaseException as error:
                # Write a record after a signal too. Otherwise the run would look as if it were still in progress.
                status = "diverged" if isinstance(error, DivergedError) else status_of(error)
                lost = lost_process(error, self._processes)
                self._finish(self._result(status, lost or error), failed=True)
                if lost is not None:
                    raise lost from error
                raise
            result = self._result("completed", None)
            result.metrics.update(tested)
            self._finish(result)
            return result

    def _begin(self) -> None:
        """Seed a new run or restore a resumed run, and notify callbacks."""
        trainer, loop, resuming = self.trainer, self.loop, self.resuming
        checkpoint, seed, rank = resuming.checkpoint, self.record["seed"], self._processes.rank
        evaluations = [] if checkpoint is None else resuming.evaluations()
        resuming.clear()
        for line in resuming.messages if trainer.is_main else ():
            loop.progress.tell(line)
        if checkpoint is None:
            if seed is not None:
                seed_everything(fold(seed, rank) if rank else seed)
            self._events.fire("fit_start", trainer)
            return
        with checkpoint.part("loop") as state:
            loop.load_state_dict(state, evaluations)
        # Write the evaluations that metrics.jsonl lacks, because the checkpoint is from a different run or from an
        # earlier release.
        if self._log is not None:
            for evaluation in evaluations[resuming.logged_evaluations :]:
                self._log.write(evaluation_record(evaluation))
        if resuming.is_own:  # find the best metric of this folder's run
            for evaluation in loop.evaluations:
                loop.is_best(evaluation["metrics"])
        self.load_callbacks()
        with checkpoint.part("scaler") as scaler:
            if loop.step.scaler is not None and scaler is not None:
                loop.step.scaler.load_state_dict(scaler)
        self._events.fire("fit_start", trainer)
        if trainer.is_main and not resuming.is_planned:
            # Record the messages about skipped checkpoints too, because a user may not read the terminal.
            notes = {"changes": resuming.changes, "messages": resuming.messages}
            record = {"event": "resume", **loop.when(), "from": str(resuming.path)}
            self._record({**record, **{key: lines for key, lines in notes.items() if lines}})
        # Restore the random state last, because the code above may use random numbers.
        with checkpoint.part("random"):
            loop.load_reading(resuming.restore_random_numbers(seed))

    def _record(self, record: dict[str, Any]) -> None:
        self._events.record(self.trainer, record, None if self._log is None else self._log.write)

    def _save(self) -> None:
        """Write a checkpoint of the run between two batches."""
        trainer, loop, state = self.trainer, self.loop, self.trainer.state
        weights = saved_weights(trainer.model, state.optimizers, self._processes, loop.reading())
        loop_state, scaler = loop.state_dict(), loop.step.scaler
        if not trainer.is_main:
            return
        content = {
            **weights,
            "scaler": None if scaler is None else scaler.state_dict(),
            "rates": loop.rates.state_dict(),
            "callbacks": self._events.state_dict(),
            "timestamp": state.timestamp.state_dict(),
            "time_map": self.time_map.state_dict(),
            "loop": loop_state,
            "log_bytes": 0 if self._log is None else self._log.sync(),
            "total_seconds": time.perf_counter() - self._began,
            "resumes": self.resuming.count,
            "code": merged_code(trainer.code_before, trainer.code),
        }
        settings, metric = self.checkpointing, None
        if settings.best is not None and loop_state["evaluated_at"] == state.timestamp.batches:
            metric = loop.metrics.get(settings.best)
        assert trainer.run_dir is not None
        store = CheckpointStore(trainer.run_dir / CHECKPOINTS, settings.keep, settings.best_mode)
        path = store.save(content, timestamp=content["timestamp"], description=self.description, metric=metric)
        self._events.fire("checkpoint_saved", trainer, path)

    def load_callbacks(self) -> None:
        """If the trainer has resumed from a checkpoint, load the state of the callbacks from this checkpoint."""
        if self.resuming.checkpoint is not None:
            with self.resuming.checkpoint.part("callbacks") as callbacks:
                self._events.load_state_dict(callbacks)

    def _export(self, metrics: Mapping[str, Any]) -> None:
        """Export the weights that evaluations use, if ``checkpoint.export`` names a file."""
        trainer, export = self.trainer, self.checkpointing.export
        if export is None or trainer.run_dir is None:
            return
        self._events.fire("eval_start", trainer)
        try:
            state, _ = weights(trainer.model, ())
            if trainer.is_main:
                steps = trainer.state.timestamp.batches
                content = as_safetensors(trainer.model, state, trainer.name, self.record["ssr"], steps)
                write_atomically(trainer.run_dir / export, content)
        finally:
            self._events.fire("eval_end", trainer, {key: value for key, value in metrics.items() if value is not None})

    def _finish(self, result: RunResult, *, failed: bool = False) -> None:
        trainer, progress = self.trainer, self.loop.progress
        progress.close()
        # If the run has failed, ignore an error while writing the record: the error of the run is more important.
        try:
            if trainer.run_dir is not None and trainer.is_main:
                with suppress(WriteError) if failed else nullcontext():
                    result.save(trainer.run_dir)
        finally:
            with suppress(Exception) if failed else nullcontext():
                try:
                    self._events.fire("fit_end", trainer, result)
                finally:
                    self._events.close()
        if trainer.is_main:
            progress.tell(summary(result, trainer.run_dir, self.objective))

    def _result(self, status: str, error: BaseException | None) -> RunResult:
        trainer, loop, timestamp = self.trainer, self.loop, self.trainer.state.timestamp
        return RunResult(
            **self.record,
            status=status,
            error=None if error is None else reason(error),
            name=trainer.name,
            steps=timestamp.batches,
            samples=timestamp.samples,
            tokens=timestamp.tokens,
            train_seconds=loop.train_seconds,
            total_seconds=time.perf_counter() - self._began,
            metrics=dict(loop.metrics),
            evaluations=list(loop.evaluations),
            versions=versions(),
            hardware={**hardware(trainer.device), "processes": self._processes.world_size},
            data=self.description["data"],
            resumes=self.resuming.count,
            conditions=conditions(trainer.jobs_beside()),
            code=merged_code(trainer.code_before, trainer.code),
        )
