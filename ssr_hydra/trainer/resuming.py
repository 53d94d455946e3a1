"""Decide whether a run starts from scratch, resumes from a checkpoint, or has already finished."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import nn

from ssr_hydra.checkpoints import Checkpoint, CheckpointError, TimeMap, check_change, differences, load, open_checkpoint
from ssr_hydra.checkpoints.format import STATE
from ssr_hydra.checkpoints.store import CHECKPOINTS, is_store, refuse_links
from ssr_hydra.data.seeding import fold, seed_everything
from ssr_hydra.errors import ConflictError, InputError, MismatchError, RunError
from ssr_hydra.metrics_log import METRICS, has_log, read_evaluations
from ssr_hydra.records import RESULT, RunResult, check_evaluations, finite, is_count, refuse_finished
from ssr_hydra.settings import ResumeSettings
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.trainer.processes import Processes
from ssr_hydra.trainer.saving import restore_optimizers, restore_random_numbers, restore_weights

# The fields of a description that determine the learning rate at each time.
_PLAN = re.compile(
    r"run\.(ssr|max_duration|control|samples_per_batch|tokens_per_batch)|scheduler|schedules|use_stepwise_scheduler"
    r"|iteration_length|data\.(batches|batch_size)"
)

# The keys of a trainer's checkpoint.
_HELD = "model optimizers random scaler rates callbacks timestamp time_map loop log_bytes total_seconds resumes".split()


class Resuming:
    """Chooses the checkpoint from which a run starts, and restores the run's state from it.

    Attributes:
        checkpoint: The checkpoint to resume from; None if the run starts from scratch.
        path: The folder of that checkpoint, or None.
        finished: The record of the run if the run has finished, else None.
        messages: Messages for the user.
        changes: The differences between the run and the checkpoint, as text.
        count: How often the run was resumed. A start from the checkpoint of shared steps does not count.
        keep: The number of bytes of ``metrics.jsonl`` that the resumed run keeps.
        seconds_before: The total seconds of the run before the checkpoint.
        is_planned: Whether the run starts from a checkpoint of steps that it shares with other runs of its sweep.
        logged_evaluations: The number of the run's evaluations that ``metrics.jsonl`` already has.

    Raises:
        InputError, CheckpointError: The given path has no checkpoint, every checkpoint is damaged, or the folder
            belongs to another run.
    """

    def __init__(
        self, run_dir: Path | None, resume: ResumeSettings, processes: Processes, saves: bool, hashed: str | None = None
    ) -> None:
        self._hashed = hashed
        self._run_dir, self._processes = run_dir, processes
        self._resume, self._on_change = str(resume.path), resume.on_change
        self._record_found = self._record_now()
        self.messages: list[str] = []
        self.changes: list[str] = []
        self.finished: RunResult | None = None
        self.checkpoint = checkpoint = self._agreed(saves)
        self.path = None if checkpoint is None else checkpoint.path
        self.count = self.keep = self.logged_evaluations = 0
        self.seconds_before = 0.0
        self.is_planned = False
        if checkpoint is None:
            return
        if missing := [key for key in _HELD if key not in checkpoint.state]:
            raise CheckpointError(
                checkpoint.path / STATE, f"it is not a checkpoint of a run: it lacks {', '.join(missing)}"
            )
        self.is_planned = checkpoint.state.get("planned") is True
        with checkpoint.part("resumes") as resumes:
            self.count = _saved_count(resumes) + (not self.is_planned)
        with checkpoint.part("log_bytes") as log_bytes:
            self._log_bytes = _saved_count(log_bytes)
        with checkpoint.part("total_seconds") as seconds:
            self.seconds_before = float(seconds)

    def _agreed(self, saves: bool) -> Checkpoint | None:
        """Return the checkpoint that rank 0 has chosen, or None. If rank 0 has an error, all processes raise it."""
        checkpoint: Checkpoint | None = None
        error: Exception | None = None
        if self._processes.is_main:
            try:
                checkpoint = self._choose(saves)
            except (InputError, RunError, OSError) as raised:
                error = raised
        path, error = self._processes.from_main((None if checkpoint is None else checkpoint.path, error))
        if error is not None:
            raise error
        if path is None or self._processes.is_main:
            return checkpoint
        return load(Path(path))

    def _choose(self, saves: bool) -> Checkpoint | None:
        folder = self._run_dir
        if folder is not None:
            refuse_links(folder)
        opened = open_checkpoint(self._resume, folder)
        if opened is not None:
            checkpoint, refused = opened
            self.messages += refused
            if folder is not None and not _is_of(checkpoint.path, folder):
                refuse_finished(folder, hashed=self._hashed)
            return checkpoint
        if folder is None:
            return None
        is_begun = has_log(folder)
        has_checkpoints = (folder / CHECKPOINTS).is_dir() and any((folder / CHECKPOINTS).iterdir())
        if self._resume == "never" and (is_begun or has_checkpoints or (folder / RESULT).exists()):
            rule, fix = "must not be the folder of another run", "choose another folder, or use resume=auto"
            raise ConflictError("run_dir", str(folder), rule, fix)
        refuse_finished(folder, hashed=self._hashed)
        if self._resume == "auto" and is_begun:
            when = "before its first checkpoint" if saves else "and wrote no checkpoint"
            self.messages.append(f"{folder} has a run that was stopped {when}; this run starts from scratch")
        return None

    def restore(
        self, model: nn.Module, state: State, plan: State, ssr: Fraction, description: Mapping[str, Any]
    ) -> TimeMap:
        """Load model, optimizers and timestamp from the checkpoint, if any. Return the map from run to schedule time.

        ``plan`` is the run that the schedules follow, and ``ssr`` is its SSR. Normally, ``plan`` is ``state``. With
        ``control=truncate``, ``plan`` has the full length, ``ssr`` is 1, and ``state`` has the shorter length.
        """
        checkpoint = self.checkpoint
        if checkpoint is None:
            return TimeMap.planned(plan, ssr)
        with checkpoint.part("timestamp") as counters:
            timestamp = Timestamp.from_state_dict(counters)
        changes = differences(checkpoint.description, description)
        if self.is_planned and changes:
            rule = f"cannot be used, because the config of the shared steps differs: {'; '.join(map(str, changes))}"
            raise MismatchError("share", True, rule, f"delete {checkpoint.path} and remove share, or name a new study")
        check_change(changes, self._on_change, timestamp, self._resume)
        self.changes = [str(item) for item in changes]
        with checkpoint.part("time_map") as state_of_map:
            saved_map = TimeMap.from_state_dict(state_of_map)
        state.timestamp = plan.timestamp = timestamp
        # Create a new time map only if a field of _PLAN has changed. After other changes, such as that of the learning
        # rate or of the number of processes, the schedule continues as before.
        time_map = saved_map
        if any(_PLAN.match(item.field) for item in changes):
            if self._on_change == "rescale" and plan is not state:
                rule = "cannot be used with control=truncate, whose runs do not complete their schedule"
                raise ConflictError(
                    "resume.on_change", "rescale", rule, "use resume.on_change=extend, or remove control"
                )
            time_map = saved_map.extended(plan, ssr) if self._on_change == "extend" else saved_map.rescaled(plan)
        with checkpoint.part("model"):
            restore_weights(model, checkpoint.state)
        with checkpoint.part("optimizers"):
            before, now = checkpoint.description["optimizers"], description["optimizers"]
            restore_optimizers(model, state.optimizers, checkpoint.state["optimizers"], before, now)
        record = self._finished(timestamp)
        # A finished run can only be extended: any other change would have no effect, so refuse it.
        if record is not None and changes:
            TimeMap.planned(state, ssr).extended(state, ssr)
        elif record is not None:  # the weights of the finished run are loaded, to evaluate or export them
            self.finished = record
            return saved_map
        if self.is_own:
            self.keep = self._log_bytes
        self.messages.append(f"resumed from {checkpoint.path} at batch {timestamp.batches}")
        self.messages += [f"  changed: {change}" for change in self.changes]
        return time_map

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the evaluations before the checkpoint. Add a message if ``metrics.jsonl`` lacks evaluations."""
        assert self.checkpoint is not None
        evaluations, lost = evaluations_of(self.checkpoint)
        if lost is not None:
            self.messages.append(lost)
        if self.is_own and self._run_dir is not None:
            self.logged_evaluations = len(read_evaluations(self._run_dir / METRICS, self.keep))
        return evaluations

    @property
    def is_own(self) -> bool:
        """True if the run resumes from a checkpoint in its own folder."""
        return self.path is not None and self._run_dir is not None and _is_of(self.path, self._run_dir)

    def _finished(self, timestamp: Timestamp) -> RunResult | None:
        """Return the record of the finished run, if the checkpoint is from the end of that run; else None."""
        if self._run_dir is None or not self.is_own:
            return None
        try:
            record = RunResult.load(self._run_dir)
        except (InputError, OSError):
            return None
        return record if record.status == "completed" and record.steps == timestamp.batches else None

    def _record_now(self) -> tuple[int, int] | None:
        """Return the inode and modification time of ``result.json`` in the folder; None if there is no such file."""
        if self._run_dir is None:
            return None
        try:
            stat = (self._run_dir / RESULT).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def check_still(self) -> None:
        """Refuse a folder to which another run has written since this object was created."""
        folder = self._run_dir
        if folder is None or not self._processes.is_main:
            return
        if self._record_now() != self._record_found or (self.path is None and is_store(folder / CHECKPOINTS)):
            rule = "another run has written to this folder since this run was created"
            raise ConflictError("run_dir", str(folder), rule, "choose another folder, or create this run again")

    def clear(self) -> None:
        """Remove the record ``result.json`` from the folder. The run writes a new record when it ends."""
        if self._run_dir is not None and self._processes.is_main:
            (self._run_dir / RESULT).unlink(missing_ok=True)

    def restore_random_numbers(self, seed: int | None) -> Mapping[str, Any] | None:
        """Restore this process's random generators from the checkpoint. Return the saved loader state, or None.

        If the checkpoint has no state of this process, because the run had fewer processes, this method seeds the
        generators from ``seed``, the rank and the number of trained batches.
        """
        assert self.checkpoint is not None
        saved, rank = self.checkpoint.state["random"], self._processes.rank
        if rank < len(saved):
            restore_random_numbers(saved[rank])
            reading: Mapping[str, Any] | None = saved[rank]["reading"]
            return reading
        if seed is not None:
            seed_everything(fold(seed, rank, int(self.checkpoint.timestamp["batch"])))
        return None


def evaluations_of(checkpoint: Checkpoint) -> tuple[list[dict[str, Any]], str | None]:
    """Return the evaluations of a run up to a checkpoint, and a message if some evaluations are lost (else None).

    The evaluations are in the run's ``metrics.jsonl``. Some earlier releases stored them in the checkpoint.

    Raises:
        CheckpointError: The checkpoint does not say how many evaluations the run had.
    """
    with checkpoint.part("log_bytes") as log_bytes:
        size = _saved_count(log_bytes)
    with checkpoint.part("loop") as loop:
        saved = loop["evaluations"]
        if isinstance(saved, list):
            check_evaluations(evaluations := finite(saved))
            return evaluations, None
        count = _saved_count(saved)
    path = checkpoint.path.resolve().parents[1] / METRICS
    evaluations = read_evaluations(path, size)
    if len(evaluations) < count:
        return evaluations, f"{path} has {len(evaluations)} of the {count} evaluations before the checkpoint"
    return evaluations, None


def _saved_count(value: Any) -> int:
    if not is_count(value):
        raise TypeError(f"{value!r} is not an integer >= 0")
    return int(value)


def _is_of(checkpoint: Path, run_dir: Path) -> bool:
    """Return whether a checkpoint is in the folder of a run."""
    return checkpoint.resolve().parents[1] == run_dir.resolve()
