"""Run a sweep: open the study's folder, run the missing jobs, and print the table and the report at the end."""

from __future__ import annotations

import errno
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict

from ssr_hydra.checkpoints.resume import find
from ssr_hydra.configs import ExperimentConfig
from ssr_hydra.errors import InputError
from ssr_hydra.files import WriteError, check_folder_name, write_atomically
from ssr_hydra.settings.resume import AUTO
from ssr_hydra.sweeps.combinations import PlannedSweep
from ssr_hydra.sweeps.folder import AssignedJobs, StudyFolder
from ssr_hydra.sweeps.heartbeat import Heartbeat
from ssr_hydra.sweeps.job_status import JOB, read_identity, read_state
from ssr_hydra.sweeps.jobs_table import show_sweep
from ssr_hydra.sweeps.launchers.resources import jobs_at_once
from ssr_hydra.sweeps.pending import pending_pattern
from ssr_hydra.sweeps.plan import plan_of
from ssr_hydra.sweeps.sharing.orders import SHARED, Taken, clear_orders, clear_points, cost_of, points_of
from ssr_hydra.sweeps.sharing.plan import ALL, ENDS, NONE, cost_text
from ssr_hydra.sweeps.study_launcher import Planner, StudyLauncher
from ssr_hydra.trainer.interrupts import TerminatedError
from ssr_hydra.versions import code_version, software

__all__ = ["run_sweep", "unwritable"]

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NUMBERED = "${hydra.job.num}"


def run_sweep(
    inner: Launcher, cfg: DictConfig, loader: ConfigLoader, planned: PlannedSweep, batch: int | None = None
) -> None:
    """Run the missing jobs of a sweep. Then print the table of all jobs, and the report.

    Args:
        inner: The launcher that runs the jobs.
        cfg: The config of the sweep, without the overrides of single jobs.
        loader: Composes the config of a job if the name of the job's folder depends on it.
        planned: The jobs, which preflight has checked.
        batch: How many jobs the launcher gets at a time; None for all.

    Raises:
        InputError: The folder holds a different study, or cannot be written.
        SweepError: Some jobs did not complete.
    """
    folder = Path(str(cfg.hydra.sweep.dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable("hydra.sweep.dir", str(folder), error) from error
    study = StudyFolder(folder)
    planner = _planner(cfg, study, planned, loader)
    at_a_time = cfg.get("workers") or jobs_at_once(cfg.trainer.threads, cfg.trainer.device)
    launcher = StudyLauncher(
        inner, study, planner, sys.stderr, at_a_time=at_a_time, batch=batch, returns_failures=False
    )
    report = planned.report if cfg.get("study_report", True) else None
    try:
        with Heartbeat(study.sign):
            # If the disk is full, the error names the file.
            write_atomically(folder / "multirun.yaml", OmegaConf.to_yaml(cfg))
            launcher.launch([list(overrides) for overrides, _ in planned.jobs], 0)
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
        if launcher.has_jobs:
            with suppress(OSError):  # ignore errors while printing
                show_sweep(folder, sys.stdout, planned.pending)
                _show_sharing(folder, planned)
                if report is not None:
                    print()
                    report(folder, sys.stdout)
        _close_sharing(study, planned, alone=alone)
        if planned.pending is not None:
            name = pending_pattern(planned.pending) if alone else planned.pending
            for path in folder.glob(f"**/{name}"):
                shutil.rmtree(path, ignore_errors=True)
    launcher.check()


def _close_sharing(study: StudyFolder, planned: PlannedSweep, *, alone: bool) -> None:
    """Remove the files in the study's ``shared`` folder that no job needs any more."""
    if planned.keep is None:
        return
    jobs = [path.parent for path in study.path.glob(f"**/{JOB}")]
    owners = [owner for job in jobs if (owner := read_identity(job)) is not None]
    clear_orders(study.path, [identity for identity, sweep in owners if sweep == study.sweep])
    if planned.keep == NONE and alone and all(read_state(job).is_final for job in jobs):
        clear_points(study.path)


def _show_sharing(folder: Path, planned: PlannedSweep) -> None:
    """Print how much training time the shared steps have saved, and how many of their checkpoints are kept."""
    if planned.keep is None:
        return
    cost = cost_of(folder)
    if cost is not None:
        print(cost_text(cost))
    sizes = [point.size() for point in points_of(folder)] if planned.keep in (ALL, ENDS) else []
    if sizes:
        kept = "1 checkpoint" if len(sizes) == 1 else f"{len(sizes)} checkpoints"
        print(
            f"kept in {folder / SHARED}: {kept} of shared steps, {sum(sizes) / 1e6:,.1f} MB, "
            "so that later jobs can start there (share.keep=none keeps none)"
        )


def _planner(cfg: DictConfig, study: StudyFolder, planned: PlannedSweep, loader: ConfigLoader) -> Planner:
    known = ExperimentConfig.__dataclass_fields__
    base = {key: value for key, value in _plain(cfg).items() if key in known}
    typed = OverridesParser.create().parse_overrides([str(item) for item in cfg.hydra.overrides.task])
    fixed = {item.get_key_element() for item in typed if not item.is_sweep_override()}
    code = software(code_version(planned.trust))
    any_code = cfg.get("study_code") == "any"

    def open_folder(jobs: Iterable[tuple[str, ...]]) -> None:
        keys = {item.partition("=")[0] for overrides in jobs for item in overrides} - fixed
        study.open(base, planned.swept | keys, code, any_code=any_code)

    open_folder(())  # refuse the folder of a different study before anything is written

    def subdir(overrides: tuple[str, ...], number: int) -> str:
        job = loader.load_sweep_config(cfg, list(overrides))
        with open_dict(job):
            job.hydra.job.num = job.hydra.job.id = number
        place = str(job.hydra.sweep.subdir)
        check_folder_name(place, "hydra.sweep.subdir", None, "the sweep's folder")
        return place

    def arrange(plan: AssignedJobs) -> dict[str, int]:
        # Remove the orders of an earlier sweep that was killed, and notes on runs whose folders were removed.
        clear_orders(study.path, [job.description.identity for job in plan.mine])
        for job in plan.mine:
            if not read_state(job.folder).is_final and find(AUTO, job.folder) is None:
                Taken.remove(study.path, job.description.identity)
        if planned.keep is None:
            return {}
        folders = {job.description.identity: job.folder for job in plan.jobs}
        sharing = plan_of(study.path, planned, folders, {job.description.identity for job in plan.mine})
        print(*sharing.lines(planned.workers), sep="\n", flush=True)
        sharing.write_orders(folders)
        return sharing.order(planned.workers)

    numbered = _plain(cfg.hydra.sweep).get("subdir") == _NUMBERED
    descriptions = dict(planned.jobs)
    return Planner(
        descriptions.__getitem__,
        None if numbered else subdir,
        open_folder,
        planned.command,
        planned.extra,
        arrange,
    )


def _plain(node: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node, resolve=False)
    return dict(content)


def unwritable(field: str, folder: str, error: OSError) -> InputError:
    """Return the error for a folder that cannot be written."""
    rule = f"cannot be written ({error.strerror or error})"
    return InputError(field, folder, rule, f"choose another place: {field}=...")
