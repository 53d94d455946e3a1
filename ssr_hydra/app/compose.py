"""Compose configs with Hydra's public API, and check the configs with :mod:`ssr_hydra.app.guard`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.command_line import VERSION_BASE, CommandLine, folder_of, key_of, split_override
from ssr_hydra.app.guard import CheckedFiles, check_hydra_node, check_parameters, register_source
from ssr_hydra.app.hydra_rules import chosen_nodes
from ssr_hydra.app.interpolations import check_growth
from ssr_hydra.app.messages import explain
from ssr_hydra.app.presets import register_source as register_presets
from ssr_hydra.app.targets import trust_of
from ssr_hydra.app.yaml_files import check_name, shown_path
from ssr_hydra.configs import APP_KEYS, conf_dir
from ssr_hydra.errors import ConflictError, InputError, UnknownNameError, WrongTypeError
from ssr_hydra.sweeps.launchers.resources import register_resolver, register_resolvers

_FOR_HYDRA = (*APP_KEYS, "launcher")  # keys that affect the hydra node, in addition to hydra.*
_SEARCH_PATH = "hydra.searchpath"


@contextmanager
def composing(line: CommandLine, run_id: str | None = None, *, keeps_files: bool = False) -> Iterator[Composer]:
    """Yield a :class:`Composer` for a command line. The composer works only in the ``with`` block.

    ``run_id`` is the value of ``${run_id:}``, which makes folder names unique. If ``keeps_files`` is true, the checked
    files stay in memory after the block, for the later compositions by Hydra.
    """
    register_presets()
    register_resolvers()
    register_source()
    if run_id is not None:
        register_resolver("run_id", lambda: run_id)
    composer = Composer(line)
    try:
        with composer.initialized():
            yield composer
    finally:
        if not keeps_files:
            CheckedFiles.instance().clear()


class Composer:
    """Compose configs for one command line; see :func:`composing`.

    Attributes:
        overrides: All overrides except ``hydra.searchpath``, which :class:`CheckedFiles` applies.
        is_guarded: Whether config files can also come from folders outside this package, Hydra and its plugins.
    """

    def __init__(self, line: CommandLine) -> None:
        self.line = line
        self.overrides = [override for override in line.overrides if key_of(override) != _SEARCH_PATH]
        files = CheckedFiles.instance()
        files.clear(str(conf_dir()), map(key_of, line.overrides))
        files.before = [] if line.config_path is None else [f"checked://{line.config_path}"]
        files.after = [] if line.config_dir is None else [f"checked://{line.config_dir}"]
        for override in line.overrides:
            if key_of(override) == _SEARCH_PATH:
                entries: Any = self._parse(override).value()
                files.after += [_checked(entry) for entry in (entries if isinstance(entries, list) else [entries])]
        self.is_guarded = bool(files.before or files.after)
        is_own = line.config_path is None and (conf_dir() / f"{line.config_name}.yaml").is_file()
        files.primary = line.config_name if self.is_guarded and not is_own else None
        self._folders = [each.removeprefix("checked://") for each in (*files.before, *files.after)]
        self._groups: frozenset[str] | None = None
        self._references: dict[tuple[str, ...], tuple[DictConfig, tuple[str, ...]]] = {}
        self._options: dict[str, list[str]] = {}

    @staticmethod
    def initialized() -> Any:
        """Return a context in which Hydra can compose."""
        return hydra.initialize_config_dir(str(conf_dir()), job_name="train", **VERSION_BASE)

    @contextmanager
    def _own_alone(self) -> Iterator[None]:
        """In the ``with`` block, let Hydra find only the configs of this package, of Hydra and of installed plugins."""
        if not self.is_guarded:
            yield
            return
        files, everything = CheckedFiles.instance(), GlobalHydra.instance().hydra
        before, after, primary = files.before, files.after, files.primary
        files.before, files.after, files.primary = [], [], None
        GlobalHydra.instance().clear()
        try:
            with self.initialized():
                yield
        finally:
            files.before, files.after, files.primary = before, after, primary
            if everything is not None:
                GlobalHydra.instance().initialize(everything)

    def is_group(self, key: str) -> bool:
        """Return whether the key of an override can be the name of a config group."""
        if self._groups is None:
            self._groups = frozenset(GlobalHydra.instance().config_loader().list_groups(""))
        return "@" in key or "/" in key or key in self._groups or bool(self._folders and "." not in key)

    def options(self, group: str) -> list[str]:
        """Return the names of a group's configs in this package, Hydra and plugins."""
        group = group.partition("@")[0].lstrip("/")
        if group not in self._options:
            with self._own_alone():
                self._options[group] = list(GlobalHydra.instance().config_loader().get_group_options(group))
        return self._options[group]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Parse overrides with Hydra's grammar, including ``glob(...)`` over the choices of a group."""
        loader = GlobalHydra.instance().config_loader()
        with self._explained(overrides):
            return OverridesParser.create(config_loader=loader).parse_overrides(list(overrides))

    def _parse(self, override: str) -> Override:
        with self._explained([override]):
            return OverridesParser.create().parse_override(override)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Compose and check one config, with its ``hydra`` node.

        Raises:
            InputError: Hydra cannot compose the config, or the config breaks a rule of :mod:`ssr_hydra.app.guard`.
        """
        files = CheckedFiles.instance()
        files.begin()
        if not files.trust:
            files.trust = self._typed_trust()
        with self._explained(overrides):
            cfg = hydra.compose(self.line.config_name, list(overrides), return_hydra_config=True)
        if self.is_guarded:
            self._guard(cfg, overrides)
        return cfg

    def _typed_trust(self) -> tuple[str, ...]:
        typed = [self._parse(each) for each in self.line.overrides if key_of(each) == "trust" and "=" in each]
        check_parameters({each.key_or_group: each.get_value_string() for each in typed if each.is_sweep_override()})
        return trust_of({"trust": typed[-1].value()}) if typed else ()

    def _guard(self, cfg: DictConfig, overrides: Sequence[str]) -> None:
        name = self.line.config_name
        for folder in self._folders if CheckedFiles.instance().primary is None else ():
            if (Path(folder) / f"{name}.yaml").is_file():
                check_name(name, f"{folder}/{name}.yaml")
        for group, choice in cfg.hydra.runtime.choices.items():
            for name in choice if OmegaConf.is_list(choice) else [choice]:
                self._check_name(str(group), str(name))
        check_hydra_node(cfg, overrides, *self._reference(overrides))
        content: Any = OmegaConf.to_container(cfg, resolve=False)
        check_growth({key: value for key, value in content.items() if key != "hydra"})

    def _check_name(self, group: str, name: str) -> None:
        """Refuse a user's file that has the same name as a preset of its group."""
        place = f"{group.partition('@')[0].lstrip('/')}/{name}"
        for folder in self._folders:
            if (Path(folder) / f"{place}.yaml").is_file() and name in self.options(place.rpartition("/")[0]):
                check_name(place, f"{folder}/{place}.yaml")

    def _reference(self, overrides: Sequence[str]) -> tuple[DictConfig, tuple[str, ...]]:
        """Compose the ``hydra`` overrides without the user's files.

        Also return the ``hydra`` nodes that a user's file may set, because an override chooses this file.
        """
        parts: list[str] = []
        chosen: list[str] = []
        for override in overrides:
            key, value = split_override(override)
            group = key.partition("@")[0]
            if not (key.startswith(("hydra.", "hydra/")) or key in _FOR_HYDRA):
                continue
            if (group.startswith("hydra/") or group == "launcher") and self.options(group):
                if value not in self.options(group):
                    chosen += (chosen_nodes(group, [group]) or ("", ()))[1]
                    continue
                override = f"{key}={value}" if group == "launcher" else override
            parts.append(override)
        parts = [part for part in parts if not f"{key_of(part)}.".startswith(tuple(chosen))]
        if tuple(parts) not in self._references:
            with self._explained(parts), self._own_alone():
                reference = hydra.compose("config", parts, return_hydra_config=True)
            self._references[tuple(parts)] = reference, tuple(chosen)
        return self._references[tuple(parts)]

    @contextmanager
    def _explained(self, overrides: Sequence[str]) -> Iterator[None]:
        """Convert errors of Hydra, OmegaConf and YAML to an InputError that names the config file."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # Hydra's errors include ValueError, AssertionError and YAML errors
            refusal = explain(error, overrides, self.options)
            files = CheckedFiles.instance()
            if refusal.field == "config" and refusal.value is None and files.texts:
                names = ", ".join(map(shown_path, files.texts))
                refusal = type(refusal)("config", names, refusal.rule, refusal.fix)
            suspects = [(refusal.field, refusal.value)]
            if "Unsupported config file extension" in str(error):  # this error of Hydra 1.4 does not name the choice
                suspects += map(split_override, overrides)
            for group, name in suspects:
                if any(Path(folder, group, f"{name}.yml").is_file() for folder in self._folders):
                    refusal = UnknownNameError(group, name, "unknown choice", f"rename {name}.yml to {name}.yaml")
            location = files.locate(refusal.field, refusal.value)
            sets_values = location is not None and OmegaConf.is_config(location[1]) and len(location[1]) > 0
            if location is not None and sets_values and "No match in the defaults list" in refusal.rule:
                rule = f"cannot be chosen, because {shown_path(Path(location[0]))} sets the values of {refusal.field}"
                fix = f"set single keys of {refusal.field}, or choose in the command that created this file"
                raise ConflictError(refusal.field, refusal.value, rule, fix) from error
            if location is not None and refusal.field not in map(key_of, overrides):
                rule = f"{refusal.rule} (in {shown_path(Path(location[0]))})"
                refusal = type(refusal)(refusal.field, location[1], rule, refusal.fix)
            raise refusal from error


def _checked(entry: Any) -> str:
    if not isinstance(entry, str):
        raise WrongTypeError(_SEARCH_PATH, entry, "must be a list of folders", "e.g. hydra.searchpath=[mine]")
    folder = folder_of(_SEARCH_PATH, entry.removeprefix("file://"))
    return entry if entry.startswith("pkg://") else f"checked://{folder}"
