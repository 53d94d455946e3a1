"""A sweep: Hydra's sweeper with a launcher that knows the study, and what is shown when it ends."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from ssr_hydra.build.command_line import StudyOptions, Typed
from ssr_hydra.build.foreign import check_folder_name
from ssr_hydra.build.loader import GuardedConfigLoader
from ssr_hydra.build.pending import pending_pattern
from ssr_hydra.build.sweeps import show_sweep
from ssr_hydra.build.versions import versions
from ssr_hydra.errors import InputError
from ssr_hydra.files import WriteError, write_atomically
from ssr_hydra.launchers.code import code_version
from ssr_hydra.launchers.folder import StudyFolder
from ssr_hydra.launchers.heartbeat import Heartbeat
from ssr_hydra.launchers.jobs import Description
from ssr_hydra.launchers.pool import PoolTask
from ssr_hydra.launchers.registry import register_launchers
from ssr_hydra.launchers.resources import jobs_at_once
from ssr_hydra.launchers.study import Planner, StudyLauncher
from ssr_hydra.launchers.traits import Traits, traits_of
from ssr_hydra.trainer.interrupts import TerminatedError

__all__ = ["run_sweep", "unwritable"]

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_NUMBERED = "${hydra.job.num}"


def run_sweep(
    hydra: Hydra,
    loader: GuardedConfigLoader,
    task: TaskFunction,
    name: str,
    overrides: list[str],
    options: StudyOptions,
    typed: Typed,
) -> None:
    """As ``Hydra.multirun``; a folder that cannot be written is found before, the answer is shown after.

    Args:
        hydra: With the loader.
        loader: Composes the jobs, here and in the launcher's processes.
        task: Runs a job.
        name: Of the main config.
        overrides: Those of the command line, sweeps included.
        options: What was said of the study.
        typed: The command line.

    Raises:
        InputError: What cannot be meant; the folder of another study.
        SweepError: Jobs that did not complete.
    """
    cfg = hydra.compose_config(name, overrides, RunMode.MULTIRUN, with_log_configuration=True)
    traits = traits_of(str(cfg.hydra.launcher._target_))
    _set_workers(cfg, traits, options.workers)
    folder = Path(str(cfg.hydra.sweep.dir))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable("hydra.sweep.dir", str(folder), error) from error
    study = StudyFolder(folder)
    planner = _planner(loader, cfg, study, options, typed.in_study(folder))
    callbacks = Callbacks(cfg)
    pending = loader.pending
    callbacks.on_multirun_start(config=cfg, config_name=name)
    register_launchers()
    if traits.library == "joblib":
        task = PoolTask(task, os.getpid())
    sweeper = Plugins.instance().instantiate_sweeper(
        config=cfg,
        hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
        task_function=task,
    )
    at_a_time = options.workers or jobs_at_once(cfg.trainer.threads, cfg.trainer.device)
    launcher = _wrap(sweeper, study, planner, at_a_time)
    try:
        with Heartbeat(study.sign):
            # The sweeper writes this file too, but where the disk is full it does not say which.
            write_atomically(folder / "multirun.yaml", OmegaConf.to_yaml(cfg))
            sweeper.sweep(arguments=list(cfg.hydra.overrides.task))
    except (KeyboardInterrupt, TerminatedError):
        options = replace(options, reports=False)  # whoever stops a sweep wants it to stop
        raise
    except OSError as error:
        if error.errno not in _FULL or isinstance(error, WriteError):
            raise
        path = Path(str(error.filename or folder))
        raise WriteError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error
    finally:
        alone = study.clear_signs()
        if launcher is None or launcher.has_jobs:
            _show(folder, pending, options)
        if pending is not None:
            for path in folder.glob(f"**/{pending_pattern(pending) if alone else pending}"):
                shutil.rmtree(path, ignore_errors=True)
    callbacks.on_multirun_end(config=cfg, config_name=name)
    if launcher is not None:
        launcher.check()


def _show(folder: Path, pending: str | None, options: StudyOptions) -> None:
    """The table of the jobs, and the report; that neither can be printed does not end the sweep."""
    with suppress(OSError):
        show_sweep(folder, sys.stdout, pending)
        if options.reports:
            from ssr_hydra.report.after_sweep import report_of_sweep

            print()
            report_of_sweep(folder, sys.stdout)


def _set_workers(cfg: DictConfig, traits: Traits, workers: int | None) -> None:
    """Tell the launcher how many jobs to run at a time, in its own setting."""
    if workers is None or traits.starts_all:
        return
    if traits.workers is not None:
        with open_dict(cfg):
            cfg.hydra.launcher[traits.workers] = workers
    elif not (traits.in_main_thread and workers == 1):
        name = str(cfg.hydra.runtime.choices.get("hydra/launcher"))
        fix = "choose launcher=processes, or set hydra.launcher.* (shown by --cfg hydra -p hydra.launcher)"
        raise InputError("workers", workers, f"cannot be used with launcher={name}", fix)


def _wrap(sweeper: Any, study: StudyFolder, planner: Planner, at_a_time: int) -> StudyLauncher | None:
    """Put the study's launcher around the sweeper's own; a plugin's sweeper may keep it one level deeper."""
    is_basic = type(sweeper).__name__ == "BasicSweeper"  # Hydra loads its plugins' modules anew, with other classes
    for owner in (sweeper, getattr(sweeper, "sweeper", None)):
        inner = getattr(owner, "launcher", None)
        if owner is not None and inner is not None:
            options: dict[str, Any] = {"at_a_time": at_a_time, "returns_failures": not is_basic}
            owner.launcher = StudyLauncher(inner, study, planner, sys.stderr, **options)
            return owner.launcher  # type: ignore[no-any-return]
    return None


def _planner(
    loader: GuardedConfigLoader, cfg: DictConfig, study: StudyFolder, options: StudyOptions, command: str
) -> Planner:
    base = {key: value for key, value in _plain(cfg).items() if key != "hydra"}
    typed = OverridesParser.create().parse_overrides([str(item) for item in cfg.hydra.overrides.task])
    fixed = {item.get_key_element() for item in typed if not item.is_sweep_override()}
    params = cfg.hydra.sweeper.get("params") or ()  # of a sweep that a file describes
    sweep_keys = {item.get_key_element() for item in typed if item.is_sweep_override()} | {str(key) for key in params}
    code = {key: str(value) for key, value in versions().items()}
    code |= {
        key: f"{code[key]} {digest}" if key in code else digest for key, digest in code_version(loader.trust).items()
    }

    def compose(overrides: tuple[str, ...]) -> DictConfig:
        return loader.load_sweep_config(cfg, list(overrides))

    def description(overrides: tuple[str, ...]) -> Description:
        if overrides not in loader.descriptions:
            compose(overrides)
        return loader.descriptions[overrides]

    def open_folder(jobs: Iterable[tuple[str, ...]]) -> None:
        keys = {item.partition("=")[0] for overrides in jobs for item in overrides} - fixed
        study.open(base, sweep_keys | keys, code, any_code=options.any_code)

    open_folder(())  # another study's folder is refused before anything is written

    def subdir(overrides: tuple[str, ...], number: int) -> str:
        job = compose(overrides)
        with open_dict(job):
            job.hydra.job.num = job.hydra.job.id = number
        place = str(job.hydra.sweep.subdir)
        check_folder_name(place, "hydra.sweep.subdir", None, "the sweep's folder")
        return place

    numbered = _plain(cfg.hydra.sweep).get("subdir") == _NUMBERED
    return Planner(description, loader.places, None if numbered else subdir, open_folder, command)


def _plain(node: DictConfig) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node, resolve=False)
    return dict(content)


def unwritable(field: str, folder: str, error: OSError) -> InputError:
    """The error of a folder that Hydra was told to write to."""
    rule = f"cannot be written ({error.strerror or error})"
    return InputError(field, folder, rule, f"choose another place: {field}=...")
