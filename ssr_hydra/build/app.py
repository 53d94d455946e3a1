"""The command line: Hydra's own flags and overrides, with a guarded loader, ``trust``, and errors of one line.

``@hydra.main`` makes its config loader itself and reports errors itself, by a traceback or over many lines. This is
what it does, written out, for a loader of our own and a report of our own.
"""

from __future__ import annotations

import argparse
import datetime
import os
import secrets
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobStatus, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.build.command_line import StudyOptions, Typed, find_configs, take_study, take_trust
from ssr_hydra.build.explain import explain
from ssr_hydra.build.loader import GuardedConfigLoader, IsMultirun
from ssr_hydra.build.resuming import spelled_out
from ssr_hydra.build.sweeping import run_sweep, unwritable
from ssr_hydra.build.targets import check_there
from ssr_hydra.checkpoints.resume import find
from ssr_hydra.errors import InputError, RunError, UserCodeError, visible_lines
from ssr_hydra.launchers.folder import LOCK, STUDY, SWEEPS
from ssr_hydra.output import safe_output
from ssr_hydra.settings.resume import AUTO, ResumeSettings
from ssr_hydra.trainer.interrupts import TerminatedError, reason
from ssr_hydra.trainer.processes import ALONE, Launch, LostProcessError, Processes, launched

__all__ = ["run_app"]

_FAILED = 1
_BAD_INPUT = 2
_INTERRUPTED = 130

Task = Callable[[DictConfig], Any]
MakeTask = Callable[[tuple[str, ...]], Task]


def run_app(make_task: MakeTask, conf: Path, name: str, argv: Sequence[str] | None = None) -> None:
    """Compose what the command line asks for and run it; on an error, print it and exit.

    Args:
        make_task: From what ``trust=[...]`` named, the function of the composed config. It is sent to the workers of
            launchers, so it has to be picklable.
        conf: Folder of the app's own configs, an absolute path.
        name: The app's name, used for its log file.
        argv: Arguments instead of ``sys.argv[1:]``.

    Raises:
        SystemExit: 2 for input that cannot be meant, 1 for a run that failed, 130 for an interrupted one, 128 and the
            signal's number for one that another signal ended.
    """
    with safe_output():
        _run_app(make_task, conf, name, Typed.here() if argv is None else Typed(tuple(argv)))


def _run_app(make_task: MakeTask, conf: Path, name: str, typed: Typed) -> None:
    parser = _Parser(parents=[get_args_parser()], add_help=False, conflict_handler="resolve")
    parser.add_argument("--version", action=_Version, nargs=0, help="Show the versions of this, of Hydra and of torch")
    parser.typed = typed.arguments
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    args = argparse.Namespace(overrides=[])
    try:
        # Flags may stand anywhere: Hydra's own parser refuses what follows a flag in the middle.
        args = parser.parse_intermixed_args(parser.typed)
        _dispatch(args, parser, make_task, conf, name, typed)
    except InputError as error:
        if full:
            raise
        _exit(f"error: {error}", _BAD_INPUT, error)
    except (HydraException, OmegaConfBaseException) as error:
        if full:
            raise
        _exit(f"error: {explain(error, args.overrides)}", _BAD_INPUT, error)
    except KeyboardInterrupt as error:
        _exit(f"{str(error) or 'interrupted'}{_continued(error, typed)}", _INTERRUPTED, error)
    except TerminatedError as error:
        _exit(f"{error}{_continued(error, typed)}", error.exit_code, error)
    except RunError as error:
        if full:
            raise
        where = " (train.log has its traceback)" if isinstance(error, UserCodeError) else ""
        _exit(f"error: {error}{where}", _FAILED, error)
    except Exception as error:
        if full:
            raise
        if any(note.startswith("raised by the scheduler ") for note in getattr(error, "__notes__", ())):
            _exit(f"error: {reason(error)} (train.log has its traceback)", _FAILED, error)
        _report(error)
        sys.exit(_FAILED)


def _continued(error: BaseException, typed: Typed) -> str:
    """How to continue a run that was stopped, if it has a checkpoint."""
    stopped = getattr(error, "_run", None)
    if stopped is None or find(AUTO, stopped[0]) is None:
        return ""
    if launched() is None:
        return f"; continue with\n  {typed.in_run(*stopped)}"
    return f"; continue with the same command and hydra.run.dir={stopped[0]}"


class _Parser(argparse.ArgumentParser):
    typed: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        raise InputError("flags", " ".join(self.typed), message, "see --help")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from ssr_hydra.build.versions import version_line

        print(version_line())
        parser.exit()


def _exit(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    with suppress(OSError):  # nobody reads it
        sys.stdout.flush()
    prefix = _prefix(error)
    with suppress(OSError):
        if prefix is not None:
            print(visible_lines(f"{prefix}{message}"), file=sys.stderr)
    sys.exit(code)


def _prefix(error: BaseException | None) -> str | None:
    """What goes before a message: which of several processes it is; None where another one has said it already."""
    if getattr(error, "_is_told", False):
        return None
    place = None if error is None else launched()
    return "" if place is None or place.rank == 0 else f"process {place.rank}: "


def _report(error: Exception) -> None:
    """The traceback of a job, from where the job begins: the frames before it are this file's and Hydra's."""
    prefix = _prefix(error)
    if prefix is None:
        return
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_name != "run_job":
        trace = trace.tb_next
    with suppress(OSError):
        sys.stdout.flush()
    lines = traceback.format_exception(type(error), error, (trace and trace.tb_next) or error.__traceback__)
    with suppress(OSError):
        sys.stderr.write(visible_lines(prefix + "".join(lines)))


def _dispatch(
    args: argparse.Namespace,
    parser: argparse.ArgumentParser,
    make_task: MakeTask,
    conf: Path,
    name: str,
    typed: Typed,
) -> None:
    version.setbase("1.3")
    if args.experimental_rerun is not None:
        rule = "a pickle can run code, so none is read"
        raise InputError("--experimental-rerun", args.experimental_rerun, rule, f"use {_REPLAY}")
    modes = ("run", "cfg", "multirun", "shell_completion", "info", "help", "hydra_help")
    asked = [mode for mode in modes if getattr(args, mode)]
    if len(asked) > 1:
        flags = ", ".join(f"--{mode.replace('_', '-')}" for mode in asked)
        raise InputError("flags", flags, "exclude each other", "give one of them")
    asked_for = asked[0] if asked else "run"
    trust, overrides = take_trust(args.overrides)
    if asked_for in ("run", "multirun"):
        check_there(trust)
    options, overrides = take_study(spelled_out(overrides), is_sweep=asked_for != "run")
    place = launched()
    if place is not None and asked_for == "multirun":
        raise _refused_sweep(place, "-m")
    together = nullcontext(ALONE) if place is None or asked_for != "run" else _together()
    with together as processes:
        run_id, moment = processes.from_main((secrets.token_hex(4), time.time()))
        # The names of folders; the id is what keeps two runs of the same second apart.
        OmegaConf.register_new_resolver("run_id", lambda: run_id, replace=True)
        _compose_and_run(
            args, parser, make_task, conf, name, asked_for, trust, overrides, processes, moment, options, typed
        )


def _refused_sweep(place: Launch | Processes, flag: str) -> InputError:
    rule = f"{place.world_size} processes were started for one run, and a sweep is many"
    error = InputError("flags", flag, rule, "start the sweep without torchrun, or each of its runs by torchrun")
    error._is_told = place.rank != 0  # type: ignore[attr-defined]  # all of them see the same
    return error


@contextmanager
def _together() -> Iterator[Processes]:
    """Connect with the other processes of a run.

    What all of them fail on alike is told by rank 0; so is, by one of them, that another one is gone.
    """
    processes = Processes.start()
    try:
        yield processes
    except Exception as error:
        said = "" if isinstance(error, LostProcessError) and not processes.is_main else f"{type(error)} {error}"
        error._is_told = processes.fail(said)  # type: ignore[attr-defined]
        raise
    except (KeyboardInterrupt, TerminatedError) as error:
        error._is_told = processes.fail("stopped")  # type: ignore[union-attr]
        raise
    finally:
        processes.stop()


def _compose_and_run(
    args: argparse.Namespace,
    parser: argparse.ArgumentParser,
    make_task: MakeTask,
    conf: Path,
    name: str,
    asked_for: str,
    trust: tuple[str, ...],
    overrides: list[str],
    processes: Processes,
    moment: float,
    options: StudyOptions,
    typed: Typed,
) -> None:
    search_path, trusted = find_configs(args, conf)
    loader = GuardedConfigLoader(
        search_path,
        trusted=trusted,
        command_line=overrides,
        trust=trust,
        checks=asked_for in ("run", "multirun"),
        is_main=processes.is_main,
    )
    config_name = args.config_name or "config"
    if args.config_path is not None:
        # A replayed or foreign main config does not say where runs go; our own does.
        overrides = [*(f"{key}={value}" for key, value in _OURS.items() if not _is_typed(key, overrides)), *overrides]
    if args.resolve and asked_for not in ("cfg", "help"):
        raise InputError("--resolve", True, "is for --cfg and --help", "leave it out")
    hydra = Hydra(task_name=name, config_loader=loader)
    GlobalHydra.instance().initialize(hydra)
    if processes.world_size > 1:
        OmegaConf.register_new_resolver("now", lambda form: _at(moment, form), use_cache=True, replace=True)
    if not processes.is_main:  # rank 0 keeps the log and the config
        overrides = [*overrides, "hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    try:
        if asked_for in ("run", "multirun"):
            multirun = asked_for == "multirun"
            task = make_task(trust)
            _run(hydra, loader, task, config_name, overrides, processes, options, typed, multirun=multirun)
        else:
            _look(hydra, asked_for, parser, args, config_name, overrides)
    finally:
        GlobalHydra.instance().clear()


def _at(moment: float, form: str) -> str:
    return datetime.datetime.fromtimestamp(moment).astimezone().strftime(form)


def _look(
    hydra: Hydra,
    asked_for: str,
    parser: argparse.ArgumentParser,
    args: argparse.Namespace,
    config_name: str,
    overrides: list[str],
) -> None:
    """Print what was asked for, and run nothing."""
    try:
        if asked_for == "help":
            args.overrides = overrides
            hydra.app_help(config_name=config_name, args_parser=parser, args=args)
        elif asked_for == "hydra_help":
            args.overrides = overrides
            hydra.hydra_help(config_name=config_name, args_parser=parser, args=args)
        elif asked_for == "cfg":
            hydra.show_cfg(config_name, overrides, args.cfg, args.package, args.resolve)
        elif asked_for == "shell_completion":
            hydra.shell_completion(config_name, overrides)
        elif asked_for == "info":
            hydra.show_info(args.info, config_name, overrides)
        sys.stdout.flush()
    except BrokenPipeError:  # `--help | head` has seen enough
        pass
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        _exit(f"error: cannot print: {failure.strerror or failure}", _FAILED)


_REPLAY = "--config-path RUN/.hydra --config-name config"
_OURS = {"hydra/output": "unique"}


def _run(
    hydra: Hydra,
    loader: GuardedConfigLoader,
    task: Task,
    name: str,
    overrides: list[str],
    processes: Processes,
    options: StudyOptions,
    typed: Typed,
    *,
    multirun: bool,
) -> None:
    try:
        if not multirun:
            try:
                _run_once(hydra, task, name, overrides, processes)
                return
            except IsMultirun:  # an experiment that is a sweep says `hydra.mode: MULTIRUN`
                if processes.world_size > 1:
                    raise _refused_sweep(processes, "hydra.mode=MULTIRUN") from None
        run_sweep(hydra, loader, task, name, [*overrides, "hydra.mode=MULTIRUN"], options, typed)
    except InputError:
        _remove_refused(loader.new_folders)
        raise


def _run_once(hydra: Hydra, task: Task, name: str, overrides: list[str], processes: Processes) -> None:
    """As ``Hydra.run``, which also prints a line of its own about every error."""
    cfg = hydra.compose_config(name, overrides, RunMode.RUN, with_log_configuration=True)
    processes.from_main(None)  # rank 0 has seen which folders are new, so from here on they may be made
    cfg.hydra.mode = RunMode.RUN
    callbacks = Callbacks(cfg)
    callbacks.on_run_start(config=cfg, config_name=name)
    try:
        done = run_job(
            hydra_context=HydraContext(config_loader=hydra.config_loader, callbacks=callbacks),
            task_function=task,
            config=cfg,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
    except OSError as error:  # not the task's, whose errors are in what is returned
        raise unwritable("hydra.run.dir", str(cfg.hydra.run.dir), error) from error
    except (KeyboardInterrupt, TerminatedError) as error:
        error._run = Path(str(cfg.hydra.run.dir)), str(ResumeSettings.of(cfg["resume"]).path)  # type: ignore[union-attr]
        raise
    callbacks.on_run_end(config=cfg, config_name=name, job_return=done)
    if done.status is not JobStatus.COMPLETED:
        raise done._return_value


_BEFORE_A_RUN = {".hydra", "train.log", "multirun.yaml", STUDY, SWEEPS, LOCK}


def _remove_refused(new: Sequence[Path]) -> None:
    """Input that only the data or the model could refuse leaves nothing behind, unless a run has begun.

    Before, Hydra writes ``.hydra`` and a log for a run, and for a sweep ``multirun.yaml`` beside the study's files.
    """
    if not new or not {path.name for path in new[0].glob("*")} <= _BEFORE_A_RUN:
        return
    shutil.rmtree(new[0], ignore_errors=True)  # where it could not be made, it is not there
    for parent in new[1:]:
        with suppress(OSError):  # another run has begun beside it
            parent.rmdir()


def _is_typed(key: str, overrides: Sequence[str]) -> bool:
    return any(override.lstrip("+~").partition("=")[0] == key for override in overrides)
