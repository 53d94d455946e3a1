"""Hydra's config loader with a guard: what may come from whom, and a check of every experiment before it is run.

Hydra acts on a composed config by itself, before the app sees it: it calls ``hydra.callbacks``, the classes named in
``hydra.job_logging`` and the launcher, sets ``hydra.job.env_set``, and makes ``hydra.run.dir``. In a YAML that
somebody else wrote, each of these runs code or writes files where its author wants it to. The one place that every
config passes, for a run, for ``--help`` and for each job of a sweep in whatever process, is the config loader; so it is
a subclass of Hydra's, handed to the ``Hydra`` object that takes it as an argument. Nothing of Hydra's is replaced.

Where a value came from is known only here, where files are loaded. So the rules are about sources: what this package,
Hydra and installed plugins bring is trusted as installed code is; the command line is the person's own word; every
other file may describe the experiment, and of ``hydra.*`` only what can do no harm.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.default_element import ResultDefault
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult, ConfigSource
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.build.check import check
from ssr_hydra.build.command_line import check_job_count
from ssr_hydra.build.explain import explain
from ssr_hydra.build.foreign import (
    FileBounds,
    check_folder_name,
    check_hydra,
    check_length,
    check_name,
    check_place,
    chosen_nodes,
)
from ssr_hydra.build.interpolations import check_growth, check_interpolations
from ssr_hydra.build.pending import holds_a_run, pending_name
from ssr_hydra.build.resuming import check_folder
from ssr_hydra.errors import InputError
from ssr_hydra.launchers.jobs import Description, describe
from ssr_hydra.settings.base import count

__all__ = ["GuardedConfigLoader", "IsMultirun"]


class IsMultirun(Exception):
    """A signal, not an error: a configuration composed for a run says that it is a sweep."""


class GuardedConfigLoader(ConfigLoaderImpl):
    """Loads configurations as Hydra does, and refuses what a file of somebody else's must not say.

    Args:
        config_search_path: Where configs are looked for.
        trusted: The providers of that path whose files come with installed code.
        command_line: The overrides that were typed, without ``trust``.
        trust: What ``trust=[...]`` on the command line named.
        checks: Whether experiments are checked too; off for ``--cfg``, ``--help`` and completion, which run nothing.
        is_main: Whether this process looks after the run's folder; of several, one does.
    """

    def __init__(
        self,
        config_search_path: ConfigSearchPath,
        *,
        trusted: frozenset[str],
        command_line: Sequence[str] = (),
        trust: Sequence[str] = (),
        checks: bool = True,
        is_main: bool = True,
    ) -> None:
        super().__init__(config_search_path)
        self.typed = dict(override.lstrip("+~").partition("=")[::2] for override in command_line)
        self.repository = _GuardedRepository(config_search_path, trusted, tuple(trust), self.typed)
        self.trusted, self.trust, self.checks, self.is_main = trusted, tuple(trust), checks, is_main
        self.new_folders: list[Path] = []  # that Hydra is about to make for a run or a sweep, the inner one first
        self.pending: str | None = None  # where the descriptions of a sweep's jobs wait, in a used folder
        self._foreign: dict[str, DictConfig] = {}  # files of somebody else's that were loaded, as they were placed
        self.descriptions: dict[tuple[str, ...], Description] = {}  # of the jobs of a sweep that were composed here
        self.places: dict[tuple[str, ...], str] = {}  # the folders that they were given, in that of the sweep

    def __getstate__(self) -> dict[str, Any]:
        # For the process of a job, which needs its place alone.
        return {**vars(self), "descriptions": {}}

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose, guard and check one configuration.

        Raises:
            InputError: Whatever is wrong with it, Hydra's and OmegaConf's own errors included.
        """
        cfg = self._compose(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        if run_mode == RunMode.MULTIRUN:
            self._check_sweep(cfg)
        if not self.checks:
            return cfg
        if run_mode == RunMode.RUN and cfg.hydra.mode == RunMode.MULTIRUN:
            raise IsMultirun
        for group in ("launcher", "hydra/launcher") if run_mode == RunMode.RUN else ():
            if group in self.typed:
                rule = "starts the jobs of a sweep, and this is a single run"
                raise InputError(group, cfg.hydra.runtime.choices.get(group), rule, "add -m, or leave it out")
        most = cfg.hydra.sweeper.get("max_batch_size")
        if run_mode == RunMode.MULTIRUN and most is not None:
            count(most, "hydra.sweeper.max_batch_size", 1)
        for field in ("hydra.output_subdir", "hydra.job.name"):
            check_length(str(OmegaConf.select(cfg, field)), field)
        folder = self._check_folder(cfg, "sweep" if run_mode == RunMode.MULTIRUN else "run")
        if run_mode == RunMode.RUN:
            values = check(cfg, self.trust)
            if self.is_main:
                check_folder(folder, cfg, values, "hydra.run.dir")
                subdir = cfg.hydra.output_subdir
                if subdir is not None and holds_a_run(folder, str(subdir)):  # it may yet be refused
                    with open_dict(cfg):
                        cfg.hydra.output_subdir = pending_name(str(subdir))
        elif cfg.hydra.output_subdir is not None and folder.is_dir():  # its jobs may have folders that hold runs
            self.pending = pending_name(str(cfg.hydra.output_subdir))
        new = [path for path in (folder, *folder.parents) if not path.exists()]
        self.new_folders = new if self.is_main else []
        return cfg

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Compose, guard and check one job of a sweep; a sweeper's parameters may come from a file."""
        for override in sweep_overrides:
            name, _, value = override.lstrip("+~").partition("=")
            if re.match(r"hydra([./@]|$)|trust$", name):
                raise InputError(name, value, "is not a parameter to sweep over", "give it on the command line")
        # Not resolved: what refers to the job, as hydra.sweep.subdir may, is each job's own.
        overrides: Any = OmegaConf.to_container(master_config.hydra.overrides.hydra, resolve=False)
        name = master_config.hydra.job.config_name
        cfg = self._compose(name, [*overrides, *sweep_overrides], RunMode.RUN)
        key = tuple(sweep_overrides)
        if self.checks:
            self.descriptions[key] = describe(check(cfg, self.trust))
        with open_dict(cfg):
            if key in self.places:
                cfg.hydra.sweep.subdir = self.places[key]
            if self.pending is not None:
                cfg.hydra.output_subdir = self.pending
        # The jobs of a sweep share what its master resolved: the time and the id in the name of the folder.
        OmegaConf.copy_cache(from_config=master_config, to_config=cfg)
        if self.checks:
            _check_shared(str(master_config.hydra.sweep.dir), cfg)
            with open_dict(cfg):
                cfg.hydra.sweep.dir = master_config.hydra.sweep.dir  # as it was checked
        return cfg

    def _compose(
        self, name: str | None, overrides: list[str], mode: RunMode, from_shell: bool = True, validate: bool = True
    ) -> DictConfig:
        try:
            cfg = super().load_configuration(name, overrides, mode, from_shell, validate)
        except InputError:
            raise
        except Exception as error:  # Hydra also raises ValueError, AssertionError and the YAML parser's errors
            raise self._located(explain(error, overrides, self.get_group_options)) from error
        if self._foreign:
            content: Any = OmegaConf.to_container(cfg, resolve=False)
            check_growth({key: value for key, value in content.items() if key != "hydra"})
        return cfg

    def _check_sweep(self, cfg: DictConfig) -> None:
        """Count the jobs of Hydra's own sweeper before it lists them."""
        if not str(cfg.hydra.sweeper.get("_target_")).endswith(".BasicSweeper"):
            return
        lines = [f"{key}={value}" for key, value in (cfg.hydra.sweeper.get("params") or {}).items()]
        try:
            check_job_count([*lines, *cfg.hydra.overrides.task], self)
        except (HydraException, RecursionError) as error:
            raise explain(error, lines) from error

    def _located(self, error: InputError) -> InputError:
        """The error of a field that was not typed, with the file that sets it and the value there."""
        for path, config in reversed(self._foreign.items()) if error.field not in self.typed else ():
            with suppress(OmegaConfBaseException):
                node: Any = config
                for key in error.field.split("."):
                    node = node._get_node(key) if OmegaConf.is_dict(node) else None
                if node is not None:
                    return InputError(error.field, node, f"{error.rule} (in {path}.yaml)", error.fix)
        return error

    def _load_single_config(self, default: ResultDefault, repo: IConfigRepository) -> ConfigResult:
        # Here, not where files are read: only here the package is known, and a file may be put anywhere by its reader
        # (`defaults: - experiment/x@hydra.callbacks: ...`).
        result = super()._load_single_config(default, repo)
        path, package = str(default.config_path), default.package
        group = path.rpartition("/")[0]
        if group.partition("/")[0] == "experiment" and (package or "").partition(".")[0] == "experiment":
            rule = "an overlay goes over the whole experiment"
            raise InputError("experiment", path, rule, "begin its file with # @package _global_")
        check_place(path, package)
        if result.provider in self.trusted or result.path == "structured://":
            return result
        if isinstance(result.config, DictConfig):
            content: Any = OmegaConf.to_container(result.config, resolve=False)
            check_interpolations(content, self.trust, "")
            if "trust" in content:
                rule = "is read from the command line alone, never from a file"
                raise InputError("trust", content["trust"], rule, "take it out, and say trust=[...] when you run it")
            if content.get("hydra"):
                chosen = chosen_nodes(group, self.typed)
                check_hydra(content["hydra"], f"{path}.yaml", () if chosen is None else chosen[1])
            self._foreign[path] = result.config
        return result

    def _check_folder(self, cfg: DictConfig, kind: str) -> Path:
        field = f"hydra.{kind}.dir"
        node = cfg.hydra[kind]
        try:
            folder = str(node.dir)
        except Exception as error:
            if kind == "sweep":
                _check_shared(None, cfg)
            raise explain(error) from error
        check_folder_name(folder, field, self.typed.get(field))
        # Hydra resolves it once more when a job runs: what was checked is what it finds.
        with open_dict(cfg):
            node.dir = folder
        return Path(folder)


def _check_shared(folder: str | None, job: DictConfig) -> None:
    """Refuse a folder of a sweep that differs between its jobs: they would not be in one study.

    Args:
        folder: The sweep's own; None if it does not resolve outside of a job.
        job: The configuration of a job.
    """
    number = job.hydra.job
    number.num, number.id = 0, "0"
    try:
        own: str | None = str(job.hydra.sweep.dir)
    except Exception:  # the caller reports what else is wrong with it
        own = None
    finally:
        number.num = number.id = MISSING
    if own is not None and own != folder:
        text = job.hydra.sweep._get_node("dir")._value()
        sweep = "" if folder is None else f" and {folder} for the sweep"
        rule = f"must be the same for all jobs of a sweep (got {own} for a job{sweep})"
        fix = "leave out what refers to the job; hydra.sweep.subdir=... names the folder of each job"
        raise InputError("hydra.sweep.dir", text, rule, fix)


class _GuardedRepository(ConfigRepository):
    """Reads files; those that did not come with installed code are measured before they are loaded."""

    def __init__(
        self,
        config_search_path: ConfigSearchPath,
        trusted: frozenset[str],
        trust: tuple[str, ...],
        typed: Mapping[str, str],
    ) -> None:
        self.trusted, self.trust, self.typed = trusted, trust, typed
        self.bounds = FileBounds(typed)
        super().__init__(config_search_path)

    def __deepcopy__(self, memo: dict[int, Any]) -> _GuardedRepository:
        # Hydra copies the repository for every composition and for every group that it lists, and with it all of the
        # ConfigStore. What it changes in the copy is the list of sources; the store copies what it hands out by itself.
        del memo
        other = copy.copy(self)
        other.sources = list(self.sources)
        other.bounds = FileBounds(self.typed)  # of one composition
        return other

    def load_config(self, config_path: str) -> ConfigResult | None:
        sources = [source for source in self.sources if source.is_config(config_path)]
        foreign = [source for source in sources if self._is_foreign(source)]
        file = None
        if foreign and foreign[0].scheme() == "file":
            file = Path(foreign[0].path) / foreign[0]._normalize_file_name(config_path)
        if file is not None and len(foreign) < len(sources) and not self._is_main(sources[0], config_path):
            check_name(config_path, file)
        is_foreign = bool(foreign) and foreign[0] is sources[0]
        if file is not None and is_foreign:
            self.bounds.check(file)  # also where its name has a form that the next line does not look for
            folders = [Path(source.path) for source in self.sources if self._is_foreign(source)]
            self.bounds.check_defaults(config_path.removesuffix(".yaml"), folders)
        result = super().load_config(config_path)
        if is_foreign and result is not None:
            # Read by Hydra before anything is composed: a search path `pkg://name` imports the package `name`.
            if _has_search_path(result.config):
                rule = "can import code, so it is not taken from a file"
                fix = "say hydra.searchpath=[...] on the command line"
                raise InputError("hydra.searchpath", config_path, rule, fix)
            check_interpolations([vars(default) for default in result.defaults_list or ()], self.trust, "defaults")
        return result

    def _is_foreign(self, source: ConfigSource) -> bool:
        return source.provider not in self.trusted and source.scheme() != "structured"

    def _is_main(self, source: ConfigSource, path: str) -> bool:
        """Whether it is the main config of ``--config-path``, in place of the package's."""
        return source.provider == "main" and self._is_foreign(source) and path.removesuffix(".yaml") == "config"


def _has_search_path(config: Any) -> bool:
    return OmegaConf.is_dict(config) and OmegaConf.select(config, "hydra.searchpath") is not None
