"""The sweeper ``hydra/sweeper=study``: it runs the missing jobs of a study, and then prints a table and a report."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ssr_hydra.checkpoints.resume import find
from ssr_hydra.errors import ConflictError, InputError, PathError
from ssr_hydra.files import WriteError, check_folder_name, write_atomically
from ssr_hydra.settings.resume import AUTO
from ssr_hydra.sweeps.combinations import PLANNED, PlannedSweep
from ssr_hydra.sweeps.folder import AssignedJobs, StudyFolder
from ssr_hydra.sweeps.heartbeat import Heartbeat
from ssr_hydra.sweeps.job_status import owners_of, read_state
from ssr_hydra.sweeps.jobs_table import show_sweep
from ssr_hydra.sweeps.launchers.plugins import PoolTask
from ssr_hydra.sweeps.launchers.resources import jobs_at_once
from ssr_hydra.sweeps.launchers.traits import Traits, traits_of
from ssr_hydra.sweeps.plan import ALL, ENDS, NONE, cost_text, plan_of
from ssr_hydra.sweeps.sharing.orders import SHARED, Orders, Taken, clear_points, cost_of, points_of
from ssr_hydra.sweeps.study_launcher import StudyLauncher
from ssr_hydra.trainer.interrupts import TerminatedError
from ssr_hydra.versions import code_version, software

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NUMBERED = "${hydra.job.num}"


def _set_workers(cfg: DictConfig, traits: Traits, workers: int | None) -> None:
    if workers is None or traits.starts_all:
        return
    if traits.workers is not None:
        with open_dict(cfg):
            cfg.hydra.launcher[traits.workers] = workers
    elif not (traits.in_main_thread and workers == 1):
        name = str(cfg.hydra.runtime.choices.get("hydra/launcher"))
        fix = "choose launcher=processes, or set hydra.launcher.* (shown by --cfg hydra -p hydra.launcher)"
        raise ConflictError("workers", workers, f"cannot be used with launcher={name}", fix)


def run_sweep(context: HydraContext, task: TaskFunction, cfg: DictConfig, batch: int | None = None) -> None:
    """Run the missing jobs of the sweep in ``PLANNED``. Then print the table of all jobs, and the report.

    ``batch`` is the number of jobs to pass to the launcher at a time; None for all.

    Raises:
        InputError: The study in the folder does not match the sweep, or the folder cannot be written.
        SweepError: Some jobs did not complete.
    """
    (planned,) = PLANNED
    traits = traits_of(str(cfg.hydra.launcher._target_))
    _set_workers(cfg, traits, cfg.get("workers"))
    task = PoolTask(task, os.getpid()) if traits.library == "joblib" else task
    inner = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=cfg)
    folder = Path(str(cfg.hydra.sweep.dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable("hydra.sweep.dir", str(folder), error) from error
    study = StudyFolder(folder)
    study.open(planned.base, planned.swept, software(code_version(planned.trust)), any_code=planned.any_code)
    at_a_time = cfg.get("workers") or jobs_at_once(cfg.trainer.threads, cfg.trainer.device)
    plan: AssignedJobs | None = None
    report = planned.report if cfg.get("study_report", True) else None
    try:
        with Heartbeat(study.sign):
            write_atomically(folder / "multirun.yaml", OmegaConf.to_yaml(cfg))
            plan = study.assign(planned.jobs, _folder_names(cfg, planned, context.config_loader))
            launcher = StudyLauncher(
                inner,
                study,
                plan,
                sys.stderr,
                command=planned.command,
                extra=planned.extra,
                places=_arrange(study, planned, plan),
                at_a_time=at_a_time,
                batch=batch,
            )
            launcher.run()
    except (KeyboardInterrupt, TerminatedError):
        report = None  # print no report if the user stops the sweep
        raise
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, WriteError):
            raise
        path = Path(str(error.filename or folder))
        raise WriteError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
    finally:
        alone = study.clear_signs()
        if plan is not None:
            with suppress(OSError):
                show_sweep(folder, plan.jobs, sys.stdout)
                _show_sharing(folder, planned)
                if report is not None:
                    print()
                    report(folder, sys.stdout)
        _close_sharing(study, planned, alone=alone)
    launcher.check()


def _close_sharing(study: StudyFolder, planned: PlannedSweep, *, alone: bool) -> None:
    """Remove the orders (instructions) of this sweep's jobs, and the shared checkpoints that no job needs.

    This function removes checkpoints only with ``share_keep=none``, after all jobs are done. ``alone`` is True if no
    other sweep of the study is alive.
    """
    if planned.keep is None:
        return
    owners = owners_of(study.path)
    for identity, (_, sweep) in owners.items():
        if sweep == study.sweep:
            Orders.remove(study.path, identity)
    if planned.keep == NONE and alone and all(read_state(folder).is_final for folder, _ in owners.values()):
        clear_points(study.path)


def _show_sharing(folder: Path, planned: PlannedSweep) -> None:
    """Print the training time that sharing has saved, and the number of published checkpoints."""
    if planned.keep is None:
        return
    cost = cost_of(folder)
    if cost is not None:
        print(cost_text(cost))
    sizes = [point.size() for point in points_of(folder)] if planned.keep in (ALL, ENDS) else []
    if sizes:
        amount = "1 checkpoint" if len(sizes) == 1 else f"{len(sizes)} checkpoints"
        print(
            f"kept in {folder / SHARED}: {amount} of shared steps, {sum(sizes) / 1e6:,.1f} MB, "
            "so that later jobs can start from them (share_keep=none keeps no checkpoint)"
        )


def _folder_names(cfg: DictConfig, planned: PlannedSweep, loader: ConfigLoader) -> list[str] | None:
    """Return the folder name of each job; None if the folders are numbered."""
    sweep: Any = OmegaConf.to_container(cfg.hydra.sweep, resolve=False)
    if sweep.get("subdir") == _NUMBERED:
        return None
    places = []
    for number, (overrides, _) in enumerate(planned.jobs):
        job = loader.load_sweep_config(cfg, list(overrides))
        with open_dict(job):
            job.hydra.job.num = job.hydra.job.id = number
        places.append(str(job.hydra.sweep.subdir))
        check_folder_name(places[-1], "hydra.sweep.subdir", None, "the sweep's folder")
    return places


def _arrange(study: StudyFolder, planned: PlannedSweep, plan: AssignedJobs) -> Mapping[str, int]:
    """Write the instructions (orders) for each job. Return the position of each job in the start order.

    The result is empty if the jobs may start in any order. First, this function removes the files of shared steps that
    earlier runs of these jobs wrote.
    """
    for job in plan.mine:
        Orders.remove(study.path, job.description.identity)
        if not read_state(job.folder).is_final and find(AUTO, job.folder) is None:
            Taken.remove(study.path, job.description.identity)
    if planned.keep is None:
        return {}
    folders = {job.description.identity: job.folder for job in plan.jobs}
    sharing = plan_of(study.path, planned, folders, {job.description.identity for job in plan.mine})
    print(*sharing.lines(planned.workers), sep="\n", flush=True)
    sharing.write_orders(folders)
    return sharing.order(planned.workers)


def unwritable(field: str, folder: str, error: OSError) -> InputError:
    """Return the error for a folder that cannot be written."""
    rule = f"cannot be written ({error.strerror or error})"
    return PathError(field, folder, rule, f"choose a different folder: {field}=...")
