"""The run of ``Trainer.fit``: its start or resume, the loop, the checkpoints, and the records."""

from __future__ import annotations

import time
from contextlib import ExitStack, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from ssr_hydra.checkpoints import CheckpointStore
from ssr_hydra.checkpoints.store import CHECKPOINTS
from ssr_hydra.data.seeding import fold, seed_everything
from ssr_hydra.files import WriteError
from ssr_hydra.machine import conditions
from ssr_hydra.metrics_log import MetricsLog, evaluation_record
from ssr_hydra.records import RunResult
from ssr_hydra.trainer.description import merged_code
from ssr_hydra.trainer.hardware import hardware, repeatable_kernels, versions
from ssr_hydra.trainer.interrupts import StopRequest, reason, status_of
from ssr_hydra.trainer.loop import Loop
from ssr_hydra.trainer.processes import lost_process
from ssr_hydra.trainer.progress import choose_progress, summary
from ssr_hydra.trainer.saving import BestSoFar, saved_weights
from ssr_hydra.trainer.step import compile_clock
from ssr_hydra.trainer.watch import DivergedError
from ssr_hydra.trainer.workers import shielded

if TYPE_CHECKING:
    from ssr_hydra.trainer.trainer import Trainer


class FitRun:
    """Trains a trainer's model, and writes the log, the checkpoints and the record of the run."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._processes = trainer, trainer._processes
        self._resuming, self._events = trainer._resuming, trainer._events
        self._checkpointing = trainer._checkpointing
        self._is_best = BestSoFar(self._checkpointing)
        self._log: MetricsLog | None = None

    def run(self) -> RunResult:
        """Train to the end, test, and export. Write the record of the run, even after an error."""
        trainer, resuming = self._trainer, self._resuming
        self._began = time.perf_counter() - resuming.seconds_before
        saves = self._checkpointing.enabled and trainer.run_dir is not None
        trainer._plan.saves = sorted(trainer.checkpoints_at) if saves else []
        with ExitStack() as stack:
            if trainer.run_dir is not None and trainer.is_main:
                self._log = stack.enter_context(MetricsLog(trainer.run_dir, resuming.keep, resuming.check_still))
            kind = trainer._progress if trainer.is_main else "none"
            self._progress = progress = choose_progress(kind, trainer.name or "training")
            request = StopRequest(progress.tell)
            if saves:
                stack.enter_context(shielded(trainer._train, trainer._eval, trainer._test))
                stack.enter_context(request)
            self._loop = loop = Loop(
                step=trainer._step,
                task=trainer._task,
                state=trainer.state,
                rates=trainer._rates,
                fields=trainer._fields,
                watch=trainer._watch,
                train=trainer._train,
                evaluation=trainer._eval,
                plan=trainer._plan,
                progress=progress,
                record=self._record,
                objective=trainer._objective or "eval/loss",
                events=self._events,
                owner=trainer,
                processes=self._processes,
                request=request,
                save=self._save if saves else None,
                is_best=self._is_best if saves and self._checkpointing.best is not None else None,
                compile_time=stack.enter_context(compile_clock()) if trainer._settings.compile else None,
            )
            tested: dict[str, float] = {}
            is_repeatable = trainer._seed is not None and trainer.device.type == "cuda"
            try:
                with repeatable_kernels() if is_repeatable else nullcontext():
                    self._begin()
                    loop.run()
                    if trainer._test is not None:
                        tested = trainer.evaluate("test")
                        self._record({"event": "test", **loop.when(), **tested})
                    trainer._export(loop.metrics)
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
        trainer, loop, resuming = self._trainer, self._loop, self._resuming
        checkpoint, seed, rank = resuming.checkpoint, trainer._seed, self._processes.rank
        evaluations = [] if checkpoint is None else resuming.evaluations()
        resuming.clear()
        for line in resuming.messages if trainer.is_main else ():
            self._progress.tell(line)
        if checkpoint is None:
            if seed is not None:
                seed_everything(fold(seed, rank) if rank else seed)
            self._events.fire("fit_start", trainer)
            return
        with checkpoint.part("loop") as state:
            loop.load_state_dict(state, evaluations)
        # Write the evaluations that metrics.jsonl lacks: those of a different run, or those that are stored in a
        # checkpoint of an earlier release.
        if self._log is not None:
            for evaluation in evaluations[resuming.logged_evaluations :]:
                self._log.write(evaluation_record(evaluation))
        if resuming.is_own:  # find the best metric of this folder's run
            for evaluation in loop.evaluations:
                self._is_best(evaluation["metrics"])
        trainer._load_callbacks()
        with checkpoint.part("scaler") as scaler:
            if trainer._step.scaler is not None and scaler is not None:
                trainer._step.scaler.load_state_dict(scaler)
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
        self._events.record(self._trainer, record, None if self._log is None else self._log.write)

    def _save(self) -> None:
        """Write a checkpoint of the run between two batches."""
        trainer, state = self._trainer, self._trainer.state
        weights = saved_weights(trainer.model, state.optimizers, self._processes, self._loop.reading())
        loop = self._loop.state_dict()
        if not trainer.is_main:
            return
        content = {
            **weights,
            "scaler": None if trainer._step.scaler is None else trainer._step.scaler.state_dict(),
            "rates": trainer._rates.state_dict(),
            "callbacks": self._events.state_dict(),
            "timestamp": state.timestamp.state_dict(),
            "time_map": trainer._time_map.state_dict(),
            "loop": loop,
            "log_bytes": 0 if self._log is None else self._log.sync(),
            "total_seconds": time.perf_counter() - self._began,
            "resumes": self._resuming.count,
            "code": merged_code(trainer.code_before, trainer.code),
        }
        settings, metric = self._checkpointing, None
        if settings.best is not None and loop["evaluated_at"] == state.timestamp.batches:
            metric = self._loop.metrics.get(settings.best)
        assert trainer.run_dir is not None
        store = CheckpointStore(trainer.run_dir / CHECKPOINTS, settings.keep, settings.best_mode)
        path = store.save(content, timestamp=content["timestamp"], description=trainer._description, metric=metric)
        self._events.fire("checkpoint_saved", trainer, path)

    def _finish(self, result: RunResult, *, failed: bool = False) -> None:
        trainer = self._trainer
        self._progress.close()
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
            self._progress.tell(summary(result, trainer.run_dir, trainer._objective))

    def _result(self, status: str, error: BaseException | None) -> RunResult:
        trainer, timestamp = self._trainer, self._trainer.state.timestamp
        return RunResult(
            status=status,
            error=None if error is None else reason(error),
            name=trainer.name,
            ssr=trainer._ssr,
            max_duration=trainer._max_duration.to_timestring(),
            seed=trainer._seed,
            steps=timestamp.batches,
            samples=timestamp.samples,
            tokens=timestamp.tokens,
            train_seconds=self._loop.train_seconds,
            total_seconds=time.perf_counter() - self._began,
            metrics=dict(self._loop.metrics),
            evaluations=list(self._loop.evaluations),
            config_hash=trainer._config_hash,
            versions=versions(),
            hardware={**hardware(trainer.device), "processes": self._processes.world_size},
            data=trainer._description["data"],
            resumes=self._resuming.count,
            control=trainer._control,
            conditions=conditions(trainer.jobs_beside()),
            code=merged_code(trainer.code_before, trainer.code),
        )
