"""Share steps between jobs: one job trains the first steps and publishes checkpoints, from which other jobs start.

A job copies the files of a published checkpoint into its folder, and then resumes like any stopped run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssr_hydra.app.factory import make_fields, make_schedulers
from ssr_hydra.checkpoints.format import CheckpointError
from ssr_hydra.checkpoints.resume import find
from ssr_hydra.checkpoints.store import CHECKPOINTS, CheckpointStore, load
from ssr_hydra.errors import RunError
from ssr_hydra.settings.resume import AUTO
from ssr_hydra.sweeps.folder import SWEEPS
from ssr_hydra.sweeps.heartbeat import is_alive
from ssr_hydra.sweeps.job_status import JobState, read_identity, read_state
from ssr_hydra.sweeps.sharing.orders import Orders, Point, Taken, publish
from ssr_hydra.time import as_time, check_ssr
from ssr_hydra.versions import code_version, software

if TYPE_CHECKING:
    from ssr_hydra.trainer import Trainer

_POLL_SECONDS = 0.2
_STOP_SECONDS = 5.0  # ctrl-C also stops the waiting job, at most this long after the job that it waits for
_START_SECONDS = 120.0  # a started job writes its first heartbeat within this time


class Prefix:
    """The steps that a job shares with other jobs of its sweep."""

    def __init__(self, study: Path, run_dir: Path, identity: str, sweep: str, orders: Orders) -> None:
        self._study, self._run_dir, self._identity, self._sweep = study, run_dir, identity, sweep
        self._orders = orders

    @classmethod
    def of(cls, study: Path | None, run_dir: str | Path | None) -> Prefix | None:
        """Return the shared steps of the job in ``run_dir``; None if the job shares no steps."""
        if study is None or run_dir is None:
            return None
        owner = read_identity(Path(run_dir))
        orders = None if owner is None else Orders.read(study, owner[0])
        return None if owner is None or orders is None else cls(study, Path(run_dir), *owner, orders)

    # ---- take shared steps

    def wait(self) -> bool:
        """Wait until a different job has trained the shared steps, and return whether this job can start.

        This job cannot start if the job that trains the shared steps has died. The sweep then starts both jobs again.
        """
        orders, since, last = self._orders, time.monotonic(), None
        while orders.source is not None and not self._is_begun() and self._point() is None:
            source = self._study / orders.source
            state = read_state(source)
            if state is not last:
                last, since = state, time.monotonic()
            waited = time.monotonic() - since
            if state in (JobState.COMPLETED, JobState.DIVERGED, JobState.FAILED):
                break  # the other job published no checkpoint, so this job trains all of its steps
            if state is JobState.DIED or (
                state is JobState.WAITING and waited > _START_SECONDS and not self._is_queued()
            ):
                return self._point() is not None
            if state is JobState.STOPPED and waited > _STOP_SECONDS:
                what = f"job {orders.source}, which trains the first {orders.begin} steps for this job, was stopped"
                raise RunError(f"{what}; run the same command to continue both jobs")
            time.sleep(_POLL_SECONDS)
        return True

    def _is_queued(self) -> bool:
        """Return whether the job that trains the shared steps belongs to a different sweep that is still running."""
        owner = read_identity(self._study / str(self._orders.source))
        return owner is not None and owner[1] != self._sweep and is_alive(self._study / SWEEPS / f"{owner[1]}.json")

    def _is_begun(self) -> bool:
        return find(AUTO, self._run_dir) is not None or read_state(self._run_dir).is_final

    def _point(self) -> Point | None:
        return None if self._orders.point is None else Point.read(self._study, self._orders.point)

    def take(self, values: Mapping[str, Any], trust: Sequence[str]) -> None:
        """Write the checkpoint of the last shared step into the job's folder, unless the job has already begun."""
        point = self._point()
        if point is None or self._is_begun():
            return
        if not point.is_by(software(code_version(trust))):
            return  # the code was edited after the sweep had started, so this job trains all of its steps
        try:
            checkpoint = load(point.checkpoint)
        except CheckpointError as error:
            fix = f"remove {point.folder}; then this job trains all of its steps"
            raise CheckpointError(error.path, error.what, fix) from error
        point.copy_records(self._run_dir, int(checkpoint.state["log_bytes"]))
        state = {**checkpoint.state, "planned": True, "time_map": _time_map(checkpoint.state["time_map"], values)}
        store = CheckpointStore(self._run_dir / CHECKPOINTS, values["checkpoint"]["keep"])
        description = _description(checkpoint.description, values, tuple(trust))
        Taken(point.step, checkpoint.timestamp["nanoseconds"] / 1e9).write(self._study, self._identity)
        store.save(state, timestamp=checkpoint.timestamp, description=description)

    # ---- publish shared steps

    def follow(self, trainer: Trainer) -> None:
        """Make the trainer publish the checkpoints that other jobs wait for."""
        orders = self._orders
        if not orders.publish:
            return
        trainer.checkpoints_at = frozenset(orders.publish)
        trainer.on("checkpoint_saved", self._saved)
        for step in orders.publish:  # an earlier attempt may have been killed between saving and publishing
            path = self._run_dir / CHECKPOINTS / f"ba{step}"
            if path.exists():
                self._publish(trainer, path, step)

    def _saved(self, trainer: Trainer, path: Path) -> None:
        step, orders = trainer.state.timestamp.batches, self._orders
        if step in orders.publish or (orders.publishes_all and step < max(orders.publish)):
            self._publish(trainer, path, step)

    def _publish(self, trainer: Trainer, path: Path, step: int) -> None:
        from ssr_hydra.trainer.description import merged_code

        assert trainer.config is not None
        code = software(merged_code(trainer.code_before, trainer.code))
        publish(self._study, path, self._identity, step, trainer.config, code)


def _time_map(state: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``TimeMap`` of a shared checkpoint, with the length and ``ssr`` of this job."""
    # A truncated run (control=truncate) ends early, but follows the unscaled schedule (ssr=1).
    ssr = check_ssr(values["ssr"]) if values["control"] is None else Fraction(1)
    length = as_time(values["max_duration"], "max_duration") * ssr
    return {**state, "max_duration": [str(length.value), length.unit.value], "ssr": str(ssr)}


def _description(description: Mapping[str, Any], values: Mapping[str, Any], trust: tuple[str, ...]) -> dict[str, Any]:
    """Replace ``ssr``, length, ``control`` and schedulers in a shared checkpoint's description by this job's values."""
    from ssr_hydra.trainer.description import plain_data

    run = {
        **description["run"],
        "ssr": float(check_ssr(values["ssr"])),
        "max_duration": as_time(values["max_duration"], "max_duration").to_timestring(),
        "control": values["control"],
    }
    return {
        **description,
        "run": run,
        "scheduler": plain_data(make_schedulers(values, trust, ())),
        "schedules": plain_data(make_fields(values, trust) or {}),
    }
