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
from ssr_hydra.errors import InputError, RunError
from ssr_hydra.metrics_log import METRICS, has_log, read_evaluations
from ssr_hydra.records import (
    RESULT,
    RunResult,
    check_evaluations,
    finite,
    is_count,
    refuse_finished,
)
from ssr_hydra.settings import ResumeSettings
from ssr_hydra.state import State
from ssr_hydra.time import Timestamp
from ssr_hydra.trainer.processes import Processes
from ssr_hydra.trainer.saving import restore_optimizers, restore_random_numbers, restore_weights

__all__ = ["Resuming", "evaluations_of"]

# The parts of a description that determine the times of learning rates.
_PLAN = re.compile(
    r"run\.(ssr|max_duration|control|samples_per_batch|tokens_per_batch)|scheduler|schedules|use_stepwise_scheduler"
    r"|iteration_length|data\.(batches|batch_size)"
)

# The parts of a checkpoint of a trainer.
_HELD = "model optimizers random scaler rates callbacks timestamp time_map loop log_bytes total_seconds resumes".split()


class Resuming:
    """Finds the checkpoint from which a run resumes, and restores the state of the run.

    Args:
        run_dir: The run's own folder; None if it writes no files.
        resume: The place of the checkpoint, and the meaning of a changed config.
        processes: The processes of the run: rank 0 decides, and the others read the checkpoint that it chose.
        saves: Whether the run writes checkpoints.
        hashed: The hash of its config, by which a run recognizes its own failed record.

    Attributes:
        checkpoint: The checkpoint to resume from, or None.
        path: Its folder, or None.
        finished: The record of the run, if nothing is left to train.
        messages: Messages for the user.
        changes: The differences from the checkpoint, as text.
        count: How often the run was resumed.
        is_planned: Whether the run continues from steps that another run trained for it, which is not recorded as a
            resume.
        logged_evaluations: The number of evaluations that the log of the run already has.

    Raises:
        InputError, CheckpointError: The given path has no checkpoint, every checkpoint is damaged, or the folder
            belongs to another run.
    """

    def __init__(
        self,
        run_dir: Path | None,
        resume: ResumeSettings,
        processes: Processes,
        saves: bool,
        hashed: str | None = None,
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
            self.count = _count(resumes) + (not self.is_planned)
        with checkpoint.part("log_bytes") as log_bytes:
            self._log_bytes = _count(log_bytes)
        with checkpoint.part("total_seconds") as seconds:
            self.seconds_before = float(seconds)

    def _agreed(self, saves: bool) -> Checkpoint | None:
        """Read in every process the checkpoint that rank 0 has chosen. All processes raise an error of rank 0."""
        found: Checkpoint | None = None
        error: Exception | None = None
        if self._processes.is_main:
            try:
                found = self._choose(saves)
            except (InputError, RunError, OSError) as raised:
                error = raised
        path, error = self._processes.from_main((None if found is None else found.path, error))
        if error is not None:
            raise error
        if path is None or self._processes.is_main:
            return found
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
        if self._resume == "never" and (folder / CHECKPOINTS).is_dir() and any((folder / CHECKPOINTS).iterdir()):
            rule = "must not be a folder with checkpoints of another run"
            raise InputError(
                "run_dir", str(folder), rule, "choose another folder, or continue that run with resume=auto"
            )
        is_begun = has_log(folder)
        if self._resume == "never" and ((folder / RESULT).exists() or is_begun):
            rule = "must not be a folder with the record of another run"
            raise InputError("run_dir", str(folder), rule, "choose another folder")
        refuse_finished(folder, hashed=self._hashed)
        if self._resume == "auto" and is_begun:
            when = "before its first checkpoint" if saves else "and wrote no checkpoint"
            self.messages.append(f"{folder} has a run that was stopped {when}; this run starts from scratch")
        return None

    def restore(
        self, model: nn.Module, state: State, plan: State, ssr: Fraction, description: Mapping[str, Any]
    ) -> TimeMap:
        """Load model, optimizers and timestamp from the checkpoint.

        Args:
            model: The model to load.
            state: The run to load.
            plan: The run for which schedules are planned: the same, or in a truncated run the full one.
            ssr: The ratio of that plan.
            description: The description of the run.

        Returns:
            The time map of schedules.

        Raises:
            InputError: The run differs from the checkpoint, and ``on_change`` does not allow it.
        """
        checkpoint = self.checkpoint
        if checkpoint is None:
            return TimeMap.planned(plan, ssr)
        with checkpoint.part("timestamp") as counters:
            timestamp = Timestamp.from_state_dict(counters)
        found = differences(checkpoint.description, description)
        check_change(found, self._on_change, timestamp, self._resume)
        self.changes = [str(item) for item in found]
        with checkpoint.part("time_map") as state_of_map:
            saved_map = TimeMap.from_state_dict(state_of_map)
        state.timestamp = plan.timestamp = timestamp
        # Only a new plan needs a new time map; with another learning rate or more processes the schedule continues.
        time_map = saved_map
        if any(_PLAN.match(item.field) for item in found):
            if self._on_change == "rescale" and plan is not state:
                rule = "cannot be used with control=truncate, whose runs do not complete their schedule"
                raise InputError("resume.on_change", "rescale", rule, "use resume.on_change=extend, or remove control")
            time_map = saved_map.extended(plan, ssr) if self._on_change == "extend" else saved_map.rescaled(plan)
        with checkpoint.part("model"):
            restore_weights(model, checkpoint.state)
        with checkpoint.part("optimizers"):
            before, now = checkpoint.description["optimizers"], description["optimizers"]
            states = {"optimizers": checkpoint.state["optimizers"]}
            restore_optimizers(model, state.optimizers, states, before, now)
        record = self._finished(timestamp)
        if record is not None and found:  # otherwise a change would be recorded that never affected training
            TimeMap.planned(state, ssr).extended(state, ssr)
        elif record is not None:  # its weights are loaded, so that they can be evaluated or exported
            self.finished = record
            return saved_map
        if self.is_own:
            self.keep = self._log_bytes
        self.messages.append(f"resumed from {checkpoint.path} at batch {timestamp.batches}")
        self.messages += [f"  changed: {change}" for change in self.changes]
        return time_map

    def evaluations(self) -> list[dict[str, Any]]:
        """Return the evaluations before the checkpoint; a message says if the log has lost some of them."""
        assert self.checkpoint is not None
        evaluations, lost = evaluations_of(self.checkpoint)
        if lost is not None:
            self.messages.append(lost)
        if self.is_own and self._run_dir is not None:
            self.logged_evaluations = len(read_evaluations(self._run_dir / METRICS, self.keep))
        return evaluations

    @property
    def is_own(self) -> bool:
        """Whether the run resumes from a checkpoint in its own folder."""
        return self.path is not None and self._run_dir is not None and _is_of(self.path, self._run_dir)

    def _finished(self, timestamp: Timestamp) -> RunResult | None:
        """Return the record of the run, if the folder has it finished and the checkpoint is that of its end."""
        if self._run_dir is None or not self.is_own:
            return None
        try:
            record = RunResult.load(self._run_dir)
        except (InputError, OSError):
            return None
        return record if record.status == "completed" and record.steps == timestamp.batches else None

    def _record_now(self) -> tuple[int, int] | None:
        """Return the identity of a run's record in the folder; None if there is none."""
        if self._run_dir is None:
            return None
        try:
            stat = (self._run_dir / RESULT).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def check_still(self) -> None:
        """Refuse a folder to which another run has written since it was read; its files would be overwritten.

        Raises:
            InputError: There is a new record, or there are checkpoints that this run does not know.
        """
        folder = self._run_dir
        if folder is None or not self._processes.is_main:
            return
        if self._record_now() != self._record_found or (self.path is None and is_store(folder / CHECKPOINTS)):
            rule = "must not be a folder to which another run has written since this run was created"
            raise InputError("run_dir", str(folder), rule, "choose another folder, or create this run again")

    def clear(self) -> None:
        """Remove the record of the run in progress: it is valid only after the run ends."""
        if self._run_dir is not None and self._processes.is_main:
            (self._run_dir / RESULT).unlink(missing_ok=True)

    def restore_random_numbers(self, seed: int | None) -> Mapping[str, Any] | None:
        """Restore this process's random generators from the checkpoint.

        A process that is not in the checkpoint keeps its own random state.

        Returns:
            The position of the process's loader.
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
    """Return the evaluations of a run up to a checkpoint, from the run's ``metrics.jsonl``.

    Checkpoints of earlier releases have the evaluations themselves.

    Returns:
        The evaluations, and a message if the file has fewer than the checkpoint counted.

    Raises:
        CheckpointError: The checkpoint does not have their number.
    """
    with checkpoint.part("log_bytes") as log_bytes:
        size = _count(log_bytes)
    with checkpoint.part("loop") as loop:
        saved = loop["evaluations"]
        if isinstance(saved, list):
            check_evaluations(evaluations := finite(saved))
            return evaluations, None
        count = _count(saved)
    path = checkpoint.path.resolve().parents[1] / METRICS
    evaluations = read_evaluations(path, size)
    if len(evaluations) < count:
        return evaluations, f"{path} has {len(evaluations)} of the {count} evaluations before the checkpoint"
    return evaluations, None


def _count(value: Any) -> int:
    if not is_count(value):
        raise TypeError(f"{value!r} is not an integer >= 0")
    return int(value)


def _is_of(checkpoint: Path, run_dir: Path) -> bool:
    """Whether a checkpoint is in the folder of a run."""
    return checkpoint.resolve().parents[1] == run_dir.resolve()
