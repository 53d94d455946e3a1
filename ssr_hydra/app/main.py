"""The command ``ssr-train``. It checks the command line and all configs, and then runs an ordinary Hydra app.

Importing this module does not import torch, so ``--cfg``, ``--help`` and tab completion are fast.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.command_line import VERSION_BASE, CommandLine, TypedCommand, parse_command_line
from ssr_hydra.app.presets import register_source
from ssr_hydra.configs import conf_dir
from ssr_hydra.errors import InputError, RunError, UserCodeError, own_message, visible_lines
from ssr_hydra.output import safe_output
from ssr_hydra.sweeps.launchers.resources import register_resolver, register_resolvers
from ssr_hydra.trainer.interrupts import TerminatedError

if TYPE_CHECKING:
    from ssr_hydra.app.preflight import CheckedCommand
    from ssr_hydra.trainer.processes import Processes, RankAndSize

__all__ = ["main", "run", "run_job"]

_FAILED = 1
_BAD_INPUT = 2
_INTERRUPTED = 130


def _launched() -> RankAndSize | None:
    """Return this process's rank and the number of processes of the run; None if the run has one process."""
    if not {"RANK", "SLURM_PROCID"} & os.environ.keys():
        return None
    from ssr_hydra.trainer.processes import launched

    return launched()


def run_job(cfg: DictConfig) -> float | None:
    """Run one job of the Hydra app. Return the final value of ``trainer.objective``; None if the objective is null."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from ssr_hydra.app.targets import trust_of
    from ssr_hydra.app.train import train

    try:
        if _launched() is not None:
            from ssr_hydra.trainer.processes import Processes

            # Wait until Hydra has created the run's folder in all processes. Otherwise a slow process could create the
            # folder after rank 0 has refused the run and removed the folder.
            Processes.start().sum([0], "the start")
        return train(cfg, trust_of(cfg))
    except Exception as error:
        if HydraConfig.get().mode == RunMode.RUN:  # for an Exception, Hydra would print more lines
            raise _JobError(error) from None
        raise


class _JobError(BaseException):
    """The error of a single run as a ``BaseException``, which Hydra passes on unchanged."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


_hydra_app = hydra.main(**VERSION_BASE, config_path=str(conf_dir()), config_name="config")(run_job)


def main(argv: Sequence[str] | None = None, fixed: Sequence[str] = ()) -> None:
    """The command ``ssr-train``; see ``--help``.

    Args:
        argv: The command-line arguments; None for the arguments of this process.
        fixed: Arguments that a custom script puts in front of ``argv``.

    Raises:
        SystemExit: 2 for invalid input, 1 for a failed run, 130 for ctrl-C, and 128 plus the signal's number if a
            signal other than ctrl-C ended the run.
    """
    with safe_output():
        _main(TypedCommand.here() if argv is None else TypedCommand(tuple(argv)), fixed)


def _main(typed: TypedCommand, fixed: Sequence[str]) -> None:
    try:
        line = parse_command_line([*fixed, *typed.arguments])
        if line.mode in ("run", "multirun"):
            _run(line, typed)
        elif line.mode == "schema":
            from ssr_hydra.app.schema import write_schemas

            print(write_schemas(line.target, line.config_dir))
        elif line.mode == "new":
            from ssr_hydra.app.project import new_project

            print(new_project(line.target))
        else:
            _print_output(line)
    except (KeyboardInterrupt, TerminatedError) as error:
        code = error.exit_code if isinstance(error, TerminatedError) else _INTERRUPTED
        _exit(f"{str(error) or 'interrupted'}{_continued(error, typed)}", code, error)
    except Exception as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        if isinstance(error, (InputError, HydraException, OmegaConfBaseException)):
            from ssr_hydra.app.messages import explain

            _exit(f"error: {explain(error, typed.arguments)}", _BAD_INPUT, error)
        message = own_message(error)
        if message is not None:
            if isinstance(error, UserCodeError) or not isinstance(error, RunError):
                log = getattr(error, "_log", None)
                message += f" ({log} has its traceback)" if log else " (HYDRA_FULL_ERROR=1 prints its traceback)"
            _exit(f"error: {message}", _FAILED, error)
        _print_traceback(error)
        sys.exit(_FAILED)


def run(*fixed: str) -> None:
    """Run :func:`main`, and then exit the process.

    A process of a run with several processes exits without the interpreter's cleanup. During the cleanup, threads of
    torch could abort the process, and torchrun would report a completed run as failed.

    Args:
        fixed: Arguments that a custom script puts in front of the arguments of the command line:
            ``run("--config-dir", "conf", "trust=[my_lab]")``.

    Raises:
        SystemExit: See :func:`main`.
    """
    if _launched() is None:
        main(fixed=fixed)
        return
    code: Any = 0
    try:
        main(fixed=fixed)
    except SystemExit as leaving:
        code = leaving.code
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # ignore output that cannot be written
            stream.flush()
    os._exit(code if isinstance(code, int) else code is not None)


def _print_output(line: CommandLine) -> None:
    """Print the output of a flag such as ``--cfg`` or ``--help``. Run no job."""
    is_guarded = line.config_dir is not None or line.config_path is not None or line.is_typed("hydra.searchpath")
    if (is_guarded or line.package is not None) and line.mode != "shell_completion":
        from ssr_hydra.app.preflight import checked

        with checked(line, secrets.token_hex(4)) as command:
            if command.is_null:
                print("null")
            else:
                _call_hydra(command.argv)
    else:
        register_source()
        register_resolvers()
        register_resolver("run_id", lambda: "...")
        try:
            _call_hydra([*line.show, *line.main_config, *line.overrides])
        except (AssertionError, ValueError):  # Hydra raises these errors for values such as model=null
            from ssr_hydra.app.preflight import checked

            with checked(line, secrets.token_hex(4)):  # composes the config, and raises an error that explains itself
                raise
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is not None:
        _exit(f"error: cannot print: {failure.strerror or failure}", _FAILED)


def _run(line: CommandLine, typed: TypedCommand) -> None:
    from ssr_hydra.app.preflight import checked
    from ssr_hydra.trainer.processes import ALONE

    with nullcontext(ALONE) if _launched() is None else _together() as processes:
        run_id = processes.from_main(secrets.token_hex(4))
        with checked(line, run_id, processes) as command:
            processes.from_main(None)  # wait: rank 0 must list the missing folders before any rank creates them
            if command.is_plan and command.sweep is not None:
                from ssr_hydra.sweeps.plan import show_plan

                show_plan(command.folder, command.sweep, sys.stdout)
                return
            if command.sweep is not None:
                command.sweep.command = typed.in_study(command.folder)
                command.sweep.report = _report_of_sweep
            _run_checked(command)


def _report_of_sweep(folder: Path, stream: TextIO) -> None:
    from ssr_hydra.report.after_sweep import report_of_sweep  # import this slow module only after the jobs have ended

    report_of_sweep(folder, stream)


def _run_checked(command: CheckedCommand) -> None:
    try:
        _call_hydra(command.argv)
    except InputError:
        _remove_refused(command)
        raise
    except (OSError, ValueError) as error:
        # If a log file cannot be opened, logging raises a ValueError whose cause is the OSError.
        cause = error if isinstance(error, OSError) else error.__cause__
        if command.sweep is not None or not isinstance(cause, OSError):
            raise
        from ssr_hydra.sweeps.sweeper import unwritable

        # Hydra could not write a file. An error of the job would be a _JobError.
        raise unwritable("hydra.run.dir", str(command.folder), cause) from error
    except _JobError as failed:
        if isinstance(failed.error, InputError):
            _remove_refused(command)
        raise failed.error from failed.error.__cause__
    except (KeyboardInterrupt, TerminatedError) as error:
        if command.sweep is None:
            error._run = command.folder, command.resume  # type: ignore[union-attr]
        raise


def _continued(error: BaseException, typed: TypedCommand) -> str:
    """Return the text that tells the user how to continue a stopped run; ``""`` for a sweep."""
    from ssr_hydra.checkpoints.resume import find
    from ssr_hydra.settings.resume import AUTO

    stopped = getattr(error, "_run", None)
    if stopped is None:
        return ""
    if find(AUTO, stopped[0]) is None:
        return "; no checkpoint exists, so the same command starts the run again"
    if _launched() is None:
        return f"; continue with\n  {typed.in_run(*stopped)}"
    return f"; continue with the same command and hydra.run.dir={stopped[0]}"


def _call_hydra(arguments: Sequence[str]) -> None:
    """Call the Hydra app. ``HYDRA_FULL_ERROR=1`` makes Hydra raise errors instead of printing them."""
    argv, before = list(sys.argv), os.environ.get("HYDRA_FULL_ERROR")
    sys.argv[:] = [argv[0] if argv else "ssr-train", *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        _hydra_app()
    except SystemExit as leaving:
        if leaving.code not in (0, None):
            raise
    finally:
        sys.argv[:] = argv
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextmanager
def _together() -> Iterator[Processes]:
    """Connect the processes of a run. Rank 0 reports errors of all ranks. If a rank dies, one other rank reports it."""
    from ssr_hydra.trainer.processes import LostProcessError, Processes

    processes = Processes.start()
    try:
        yield processes
    except Exception as error:
        message = "" if isinstance(error, LostProcessError) and not processes.is_main else f"{type(error)} {error}"
        error._is_told = processes.fail(message)  # type: ignore[attr-defined]
        raise
    except (KeyboardInterrupt, TerminatedError) as error:
        error._is_told = processes.fail("stopped")  # type: ignore[union-attr]
        raise
    finally:
        processes.stop()


# ---- errors


def _exit(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    _print_error(message, error)
    sys.exit(code)


def _print_error(message: str, error: BaseException | None) -> None:
    """Print an error, unless a different rank prints it. Messages of all ranks except 0 start with the rank."""
    sys.stdout.flush()
    if getattr(error, "_is_told", False):
        return
    place = None if error is None else _launched()
    prefix = "" if place is None or place.rank == 0 else f"process {place.rank}: "
    print(visible_lines(f"{prefix}{message}"), file=sys.stderr)


def _print_traceback(error: Exception) -> None:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not run_job.__code__:
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, (trace and trace.tb_next) or error.__traceback__)
    _print_error("".join(lines).removesuffix("\n"), error)


def _remove_refused(command: CheckedCommand) -> None:
    """Remove the folders that Hydra created before the job refused its input. Keep a folder that contains a run."""
    from ssr_hydra.sweeps.folder import LOCK, STUDY, SWEEPS

    new = command.new_folders
    before_a_run = {".hydra", "train.log", "multirun.yaml", STUDY, SWEEPS, LOCK}
    if not new or not {path.name for path in new[0].glob("*")} <= before_a_run:
        return
    shutil.rmtree(new[0], ignore_errors=True)  # the folder might be missing
    for parent in new[1:]:
        with suppress(OSError):  # a different run has started in this folder
            parent.rmdir()
