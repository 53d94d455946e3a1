"""Preflight: compose and check every job of a command before Hydra runs the first job."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, ValueType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from ssr_hydra.app.check import CHECKED, check
from ssr_hydra.app.check_optimizers import check_schedules_are_used
from ssr_hydra.app.command_line import STUDY_NAME, CommandLine, key_of, quoted
from ssr_hydra.app.compose import Composer, composing
from ssr_hydra.app.guard import CheckedFiles, check_parameters
from ssr_hydra.app.hydra_rules import check_place
from ssr_hydra.app.messages import explain
from ssr_hydra.app.resuming import check_folder
from ssr_hydra.app.sharing import candidate
from ssr_hydra.app.targets import check_there, import_from_here, trust_of
from ssr_hydra.configs import APP_KEYS, GROUPS, AppConfig, ExperimentConfig
from ssr_hydra.configs.experiment import KEEPS, STUDY_CODES
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    MismatchError,
    PathError,
    RangeError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.files import check_folder_name, check_length
from ssr_hydra.settings.base import count, did_you_mean
from ssr_hydra.settings.resume import AUTO, ResumeSettings
from ssr_hydra.sweeps.combinations import PLANNED, PlannedSweep, check_job_count, combinations, product_of, zips_of
from ssr_hydra.sweeps.job_status import describe
from ssr_hydra.sweeps.launchers.resources import jobs_at_once
from ssr_hydra.sweeps.launchers.traits import TRAITS, traits_of
from ssr_hydra.sweeps.pending import deferring, holds_a_run
from ssr_hydra.sweeps.plan import ENDS
from ssr_hydra.trainer.processes import ALONE, Processes

__all__ = ["CheckedCommand", "JobComposer", "checked", "preflight", "sweep_axes"]

_ZIP = "zip"
_NO_GROUPS = {*AppConfig.__dataclass_fields__} - {*GROUPS, "param_groups", "debug", "trust"}
_OF_A_SWEEP = [key for key in APP_KEYS if key != "trust"]
_SWEEPER = "hydra_plugins.ssr_hydra.StudySweeper"


@dataclass
class CheckedCommand:
    """A checked command, ready for Hydra."""

    argv: list[str]  # the arguments for ``hydra.main``
    folder: Path = Path()  # the folder of the run or the sweep
    new_folders: list[Path] = field(
        default_factory=list
    )  # folders that Hydra will create: ``folder``, then its parents
    resume: str = AUTO  # the ``resume.path`` of a run
    sweep: PlannedSweep | None = None  # the jobs of a sweep; None for a single run
    is_plan: bool = False  # whether to list the jobs without running them (``plan=true``)
    is_null: bool = False  # whether the value of ``--package`` is null, which Hydra cannot print
    checked: list[tuple[dict[str, Any], tuple[str, ...]]] = field(default_factory=list)  # a run's values and trust


@contextmanager
def checked(line: CommandLine, run_id: str, processes: Processes = ALONE) -> Iterator[CheckedCommand]:
    """Run :func:`preflight`. In the ``with`` block, Hydra uses exactly the checked files and jobs."""
    try:
        command = preflight(line, run_id, processes)
        PLANNED[:] = [] if command.sweep is None else [command.sweep]
        CHECKED[:] = command.checked
        yield command
    finally:
        PLANNED.clear()
        CHECKED.clear()
        CheckedFiles.instance().clear()


def preflight(line: CommandLine, run_id: str, processes: Processes = ALONE) -> CheckedCommand:
    """Compose and check each job of a command line.

    ``run_id`` is the value of ``${run_id:}``. If several processes train one model together, they all use the folder
    of rank 0.

    Raises:
        InputError: Any invalid input.

    Example:
        >>> from ssr_hydra.app.command_line import parse_command_line
        >>> preflight(parse_command_line(["ssr=0.5", "hydra.run.dir=run"]), "id").argv
        ['ssr=0.5', 'hydra.mode=RUN', 'hydra.run.dir=run']
    """
    for override in line.overrides:
        group, _, package = key_of(override).partition("@")
        check_place(group, package)
        if override.startswith("~") and group in _NO_GROUPS:
            raise ConflictError(group, override, "cannot be deleted", f"remove ~{group}")
    with composing(line, run_id, keeps_files=True) as composer:
        if line.mode not in ("run", "multirun"):
            cfg = composer.compose(composer.overrides)  # Hydra reads the config's logging node even for --help
            is_null = line.mode == "cfg" and line.package is not None and _package(cfg, line) is None
            return CheckedCommand([*line.show, *line.main_config, *composer.overrides], is_null=is_null)
        parsed = composer.parse(composer.overrides)
        fixed = [str(each.input_line) for each in parsed if not each.is_sweep_override()]
        master = composer.compose(fixed)
        if trust := trust_of(master):
            import_from_here()
            check_there(trust)
        if line.mode == "multirun" or master.hydra.mode == RunMode.MULTIRUN:
            if processes.world_size > 1:  # for example, torchrun has started several processes
                flag = "-m" if line.mode == "multirun" else "hydra.mode=MULTIRUN"
                rule = f"{processes.world_size} processes were started for one run, but a sweep has many runs"
                fix = "start the sweep without torchrun, or start each run with torchrun"
                raise ConflictError("flags", flag, rule, fix)
            return _sweep(composer, master, parsed)
        if len(fixed) < len(parsed):
            composer.compose(composer.overrides)  # Hydra raises an error, because a single run cannot sweep
        return _checked_run(composer, master, processes)


def _package(cfg: DictConfig, line: CommandLine) -> Any:
    """Return the part of the config that ``--package`` selects for ``--cfg``. Refuse a part that does not exist."""
    kind, package, absent = line.show[1], str(line.package), object()
    keys = [str(key) for key in cfg if kind == "all" or (key == "hydra") == (kind == "hydra")]
    if package == "_global_":
        return keys
    try:
        with _hydra_config(cfg):
            node, whole = (
                OmegaConf.select(part, package, default=absent, throw_on_missing=True)
                for part in (OmegaConf.masked_copy(cfg, keys), cfg)
            )
    except Exception as error:
        raise explain(error, line.overrides) from error
    if node is absent:
        other = "job" if kind == "hydra" else "hydra"
        fix = did_you_mean(package, keys) if whole is absent else f"write --cfg {other}"
        raise UnknownNameError("--package", package, f"not found in the output of --cfg {kind}", fix)
    return node


def _checked_run(composer: Composer, cfg: DictConfig, processes: Processes) -> CheckedCommand:
    line = composer.line
    for key in ("launcher", "hydra/launcher", *_OF_A_SWEEP):
        if line.is_typed(key):
            rule = "works only in a sweep, but this is a single run"
            raise ConflictError(key, line.typed(key), rule, f"add -m, or remove {key}")
    _check_hydra(cfg)
    folder = _output_folder("hydra.run.dir", cfg, line.typed("hydra.run.dir"))
    trust = trust_of(cfg)
    values = check(cfg, trust)
    check_schedules_are_used(values)
    folder = processes.from_main(folder)
    argv = _argv(composer, "RUN", "hydra.run.dir", folder)
    new = []
    if processes.is_main:
        check_folder(Path(folder), cfg, values, "hydra.run.dir")
        subdir = cfg.hydra.output_subdir
        if subdir is not None and holds_a_run(Path(folder), str(subdir)):  # keep the old files until training starts
            argv += deferring(str(subdir))
        new = _missing(folder)
    else:  # only rank 0 writes the log and the config
        argv += ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    resume = str(ResumeSettings.of(values["resume"]).path)
    return CheckedCommand(argv, Path(folder), new, resume, checked=[(values, trust)])


def _output_folder(field: str, cfg: DictConfig, typed: str | None) -> str:
    """Return the folder of a run or of a sweep: the checked value of ``field``, with interpolations resolved."""
    try:
        with _hydra_config(cfg):
            folder = str(OmegaConf.select(cfg, field, throw_on_missing=True))
    except Exception as error:
        if field == "hydra.sweep.dir":
            _check_shared(None, cfg)  # raises a clearer error if the value contains a job's number
        raise explain(error) from error
    check_folder_name(folder, field, typed)
    return folder


def _check_hydra(cfg: DictConfig) -> None:
    for key in ("hydra.output_subdir", "hydra.job.name"):
        check_length(str(OmegaConf.select(cfg, key)), key)
    name, verbose = str(cfg.hydra.job.name), cfg.hydra.verbose
    if "/" in name:
        rule = "must not contain /, because it names the log file"
        raise PathError("hydra.job.name", name, rule, f"e.g. hydra.job.name={name.replace('/', '-')}")
    if not (isinstance(verbose, (bool, str)) or OmegaConf.is_list(verbose)):
        rule = "must be true, false or names of loggers"
        raise WrongTypeError("hydra.verbose", verbose, rule, "e.g. hydra.verbose=true")


def _argv(composer: Composer, mode: str, field: str, folder: str) -> list[str]:
    """Return the arguments for Hydra: the user's arguments, with ``hydra.mode`` and the output folder set."""
    overrides = [each for each in composer.overrides if key_of(each) not in (field, "hydra.mode")]
    return [*composer.line.main_config, *overrides, f"hydra.mode={mode}", f"{field}={quoted(folder)}"]


def _missing(folder: str) -> list[Path]:
    return [path for path in (Path(folder), *Path(folder).parents) if not path.exists()]


@contextmanager
def _hydra_config(cfg: DictConfig) -> Iterator[None]:
    """Let OmegaConf resolve ``${hydra:...}`` in the ``with`` block."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before


# ---- sweeps


def _sweep(composer: Composer, master: DictConfig, parsed: Sequence[Override]) -> CheckedCommand:
    line = composer.line
    _check_study(master)
    _check_hydra(master)
    folder = _output_folder("hydra.sweep.dir", master, line.typed("hydra.sweep.dir", "study"))
    if line.is_typed("study") and line.is_typed("hydra.sweep.dir"):
        rule = "cannot be used with hydra.sweep.dir"
        raise ConflictError("study", master.study, rule, "remove study or hydra.sweep.dir")
    most = master.hydra.sweeper.get("max_batch_size")
    if most is not None:
        count(most, "hydra.sweeper.max_batch_size", 1)
    content: Any = OmegaConf.to_container(master, resolve=False)
    base = {key: value for key, value in content.items() if key in ExperimentConfig.__dataclass_fields__}
    sweep = PlannedSweep(base=base, trust=trust_of(master), any_code=master.get("study_code") == "any")
    shares = _check_share(line, master)
    if str(OmegaConf.select(master, "hydra.sweeper._target_")) == _SWEEPER:
        params = OmegaConf.to_container(master.hydra.sweeper, resolve=False).get("params") or {}  # type: ignore[union-attr]
        swept = {each.get_key_element(): each.get_value_string() for each in parsed if each.is_sweep_override()}
        swept = {key: value for key, value in {**params, **swept}.items() if key_of(key) != _ZIP}
        check_parameters(swept)
        sweep.swept = frozenset(map(str, swept))
        axes, zips = sweep_axes(composer, master, parsed, params)
        check_job_count(axes, zips)
        sweep.product = product_of(axes, zips)
        jobs = JobComposer(composer, parsed, axes, None if params else master)
        sweep.keep, sweep.workers = str(master.share_keep) if shares else None, _workers(master)
        sweep.describe = partial(candidate, trust=sweep.trust)
        for overrides in combinations(axes, zips):
            values = check(jobs.compose(overrides), sweep.trust)
            check_schedules_are_used(values)
            sweep.jobs.append((overrides, describe(values)))
            if shares or master.get("plan"):
                sweep.candidates.append((values, sweep.describe(values)))
        if "${" in (line.typed("hydra.sweep.dir") or ""):
            for overrides, _ in (sweep.jobs[0], sweep.jobs[-1]):  # these two jobs differ in every swept key
                job = composer.compose([*jobs.hydra_overrides, *overrides])
                OmegaConf.copy_cache(from_config=master, to_config=job)  # for ${now:...}
                _check_shared(folder, job)
    elif line.is_typed(_ZIP) or master.get(_ZIP) is not None:
        fix = "remove hydra/sweeper or zip"
        raise ConflictError(_ZIP, line.typed(_ZIP) or master.zip, "works only with hydra/sweeper=study", fix)
    if master.hydra.output_subdir is not None and Path(folder).is_dir():  # the jobs' folders may already contain runs
        sweep.extra = deferring(str(master.hydra.output_subdir))
    argv = _argv(composer, "MULTIRUN", "hydra.sweep.dir", folder)
    return CheckedCommand(argv, Path(folder), _missing(folder), sweep=sweep, is_plan=bool(master.get("plan")))


def sweep_axes(
    composer: Composer, master: DictConfig, parsed: Sequence[Override], params: Mapping[str, Any]
) -> tuple[list[Override], tuple[tuple[str, ...], ...]]:
    """Return all overrides of a sweep except ``zip``, and one tuple of keys for each zip.

    Args:
        composer: The composer of the command line.
        master: The config without the sweep.
        parsed: The overrides on the command line.
        params: The ``hydra.sweeper.params`` of the config.
    """
    in_file = composer.parse([f"{key}={value}" for key, value in params.items()])
    typed = [each for each in parsed if not each.is_hydra_override()]
    axes = [each for each in (*in_file, *typed) if each.key_or_group != _ZIP]
    stated = [each for each in (*in_file, *typed) if each.key_or_group == _ZIP and not each.is_delete()]
    text = value = OmegaConf.to_container(master, resolve=False).get(_ZIP)  # type: ignore[union-attr]
    if stated:
        text, value = stated[-1].get_value_string(), _override_values(composer, stated[-1])
        if sum(each.key_or_group == _ZIP for each in typed) > 1:
            raise ConflictError(
                _ZIP, text, "must be set only once", "to pair several groups of keys, write 'zip=[a,b],[c,d]'"
            )
    elif isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    keys = {each.get_key_element() for each in typed}
    effective = [*typed, *(each for each in in_file if each.get_key_element() not in keys)]
    return axes, zips_of(value, [each for each in effective if each.key_or_group not in APP_KEYS], text)


def _override_values(composer: Composer, override: Override) -> Any:
    """Return the value of an override. If it lists several values, as ``zip=ssr,optimizer.lr`` does, return a list."""
    if override.value_type in (ValueType.SIMPLE_CHOICE_SWEEP, ValueType.CHOICE_SWEEP):
        return [
            each.value() for each in composer.parse([f"{_ZIP}={text}" for text in override.sweep_string_iterator()])
        ]
    return override.get_value_string() if override.is_sweep_override() else override.value()


def _check_shared(folder: str | None, job: DictConfig) -> None:
    """Refuse a ``hydra.sweep.dir`` that gives the job a different folder than ``folder``, the folder of the sweep.

    ``folder`` is None if ``hydra.sweep.dir`` can be resolved only in a job.
    """
    job = copy.deepcopy(job)
    with read_write(job.hydra):
        job.hydra.job.num, job.hydra.job.id = 0, "0"
    try:
        with _hydra_config(job):
            own: str | None = str(job.hydra.sweep.dir)
    except Exception:  # the caller reports the error
        own = None
    if own is not None and own != folder:
        sweep = "" if folder is None else f" and {folder} for the sweep"
        rule = f"must be the same for all jobs of a sweep (got {own} for a job{sweep})"
        fix = "remove references to values that differ by job, or move them to hydra.sweep.subdir"
        typed: Any = OmegaConf.to_container(job.hydra.sweep, resolve=False)
        raise MismatchError("hydra.sweep.dir", typed["dir"], rule, fix)


def _check_study(cfg: DictConfig) -> None:
    study = cfg.get("study")
    if study is not None and (not STUDY_NAME.fullmatch(str(study)) or not str(study).strip("./")):
        rule = "must contain only letters, digits and . _ + - /"
        raise FormatError("study", study, rule, "e.g. study=first, or study=results/first")
    workers = cfg.get("workers")
    if workers is not None and workers < 1:
        rule = "must be a whole number of at least 1, or null for as many jobs as fit on the machine"
        raise RangeError("workers", workers, rule, "e.g. workers=2")
    if cfg.get("study_code", "same") not in STUDY_CODES:
        raise UnknownNameError("study_code", cfg.study_code, "unknown value", did_you_mean(cfg.study_code, STUDY_CODES))


def _workers(cfg: DictConfig) -> int:
    traits = traits_of(str(cfg.hydra.launcher._target_))
    if traits.in_main_thread and traits.workers is None:
        return 1
    stated = cfg.get("workers") or (traits.workers and OmegaConf.select(cfg, f"hydra.launcher.{traits.workers}"))
    if isinstance(stated, int) and stated > 0:
        return stated
    return jobs_at_once(cfg.trainer.threads, cfg.trainer.device)


def _check_share(line: CommandLine, cfg: DictConfig) -> bool:
    """Return whether jobs share steps. Refuse an invalid ``share_keep``, and ``share=true`` if it is impossible."""
    if cfg.get("share_keep", ENDS) not in KEEPS:
        raise UnknownNameError("share_keep", cfg.share_keep, "unknown value", did_you_mean(cfg.share_keep, KEEPS))
    if not cfg.get("share"):
        if line.is_typed("share_keep"):
            fix = "add share=true, or leave out share_keep"
            raise ConflictError("share_keep", cfg.share_keep, "works only with share=true", fix)
        return False
    launcher = str(cfg.hydra.runtime.choices.get("hydra/launcher"))
    if not traits_of(str(cfg.hydra.launcher._target_)).shares:
        launchers = [name for name, traits in TRAITS.items() if traits.shares]
        fix = f"choose launcher={launchers[0]} (or {', '.join(launchers[1:])}), or leave out share"
        raise ConflictError("share", True, f"cannot be used with launcher={launcher}", fix)
    if str(OmegaConf.select(cfg, "hydra.sweeper._target_")) != _SWEEPER:
        rule = "cannot be used with this sweeper, because share needs all jobs before the first job starts"
        raise ConflictError("share", True, rule, "remove hydra/sweeper or share")
    if cfg.hydra.sweeper.get("max_batch_size") is not None:
        rule = "cannot be used with hydra.sweeper.max_batch_size, because share plans all jobs together"
        raise ConflictError("share", True, rule, "leave out share, or hydra.sweeper.max_batch_size")
    return True


class JobComposer:
    """Compose the jobs of one sweep.

    Hydra composes only the first job for each combination of group choices. For the other jobs, this class sets the
    swept values in a copy of the first job's config, which is faster.

    Args:
        parsed: The overrides on the command line.
        axes: The overrides in ``parsed`` and ``hydra.sweeper.params``, except ``zip`` and ``hydra.*``.
        master: The config without sweeps; None if ``hydra.sweeper.params`` is set.
    """

    def __init__(
        self,
        composer: Composer,
        parsed: Sequence[Override],
        axes: Sequence[Override],
        master: DictConfig | None = None,
    ) -> None:
        self._composer = composer
        self.hydra_overrides = [str(each.input_line) for each in parsed if each.is_hydra_override()]
        self._bases: dict[tuple[str, ...], tuple[DictConfig, dict[str, Any]]] = {}
        self._values: dict[str, tuple[str, Any]] = {}
        keys = [each.key_or_group for each in axes]
        self._plain = {
            each.get_key_element()
            for each in axes
            if each.is_sweep_override()
            and not (each.is_add() or each.is_force_add() or each.is_delete() or each.package)
            and not composer.is_group(each.key_or_group)
            and sum(_overlap(each.key_or_group, key) for key in keys) == 1
        }
        if master is not None:
            self._keep(tuple(str(each.input_line) for each in axes if not each.is_sweep_override()), master)

    def _keep(self, shared: tuple[str, ...], cfg: DictConfig) -> None:
        choices = {str(group): choice for group, choice in cfg.hydra.runtime.choices.items()}
        cfg = copy.deepcopy(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        self._bases[shared] = cfg, choices

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose the config of one job, without its ``hydra`` node."""
        plain = [each for each in overrides if each.partition("=")[0] in self._plain]
        shared = self._shared(overrides)
        if shared not in self._bases:
            # Store the first job's config with its swept values: every later job overwrites these values.
            self._keep(shared, self._composer.compose([*self.hydra_overrides, *shared, *plain]))
            return copy.deepcopy(self._bases[shared][0])
        cfg = copy.deepcopy(self._bases[shared][0])
        for override in plain:
            if override not in self._values:
                (parsed,) = self._composer.parse([override])
                self._values[override] = parsed.key_or_group, parsed.value()
            key, value = self._values[override]
            try:
                OmegaConf.update(cfg, key, value, merge=True)
            except Exception as error:
                self._composer.compose([*self.hydra_overrides, *overrides])  # Hydra usually raises a clearer error
                raise explain(error, overrides) from error
        return cfg

    def choice(self, overrides: Sequence[str], group: str) -> str | None:
        """Return the choice of a group in a composed job; None if the job has no choice for the group."""
        choice = self._bases[self._shared(overrides)][1].get(group)
        return None if choice is None else str(choice)

    def _shared(self, overrides: Sequence[str]) -> tuple[str, ...]:
        return tuple(each for each in overrides if each.partition("=")[0] not in self._plain)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
