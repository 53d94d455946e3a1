"""Enforce the rules for config files from other people.

Hydra acts on a composed config before the app sees the config. Hydra calls ``hydra.callbacks`` and the classes in
``hydra.job_logging``, sets ``hydra.job.env_set``, and creates ``hydra.run.dir``. In someone else's YAML file, each of
these keys could run code or write files. The app trusts the command line, this package, Hydra and installed plugins.
All other files must follow four rules:

1. Every ``_target_`` is a registered name or a member of ``trust`` (:mod:`ssr_hydra.app.targets`).
2. The file does not set ``trust``, and sets only a few plain values of ``hydra.*``. The app composes the config with
   and without such files, and :func:`check_hydra_node` compares the two ``hydra`` nodes.
3. The file stays within the limits of :class:`~ssr_hydra.app.yaml_files.FileBounds`. It uses no resolver that reads
   the machine, such as ``oc.env`` (:mod:`ssr_hydra.app.interpolations`).
4. Each folder that is set in the file is below the working directory (:func:`~ssr_hydra.files.check_folder_name`).

:class:`CheckedSource` reads each file only once. Every later composition uses the checked text, even in the processes
that run the jobs of a sweep.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from ssr_hydra.app.hydra_rules import check_hydra, check_place, chosen_nodes, leaves
from ssr_hydra.app.interpolations import check_interpolations
from ssr_hydra.app.messages import overlay_error
from ssr_hydra.app.presets import is_preset
from ssr_hydra.app.targets import how_to_trust
from ssr_hydra.app.yaml_files import (
    OWN_CHOICES,
    FileBounds,
    check_name,
    content_of,
    defaults_of,
    problem_of,
    shown_path,
)
from ssr_hydra.configs import APP_KEYS
from ssr_hydra.configs.registry import PROVIDER
from ssr_hydra.errors import ConflictError, FormatError, RangeError, UntrustedError, WrongTypeError

_SCHEME = "checked://"


class CheckedFiles(metaclass=Singleton):
    """The config files that this process has read and checked.

    This class is one of Hydra's singletons, because Hydra's launchers copy the singletons into the processes of jobs.

    Attributes:
        texts: A mapping from path to content.
        typed: The keys of the overrides on the command line.
        trust: The modules, classes, functions and resolvers that the command line trusts.
        own: Folder of the app's own configs.
        before: The folders (as URLs) that Hydra searches before the app's own configs.
        after: The folders (as URLs) that Hydra searches after the app's own configs.
        primary: Name of the main config; None if the main config comes from this package.
        bounds: Checks the total size of the files in the current composition.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.clear()

    def clear(self, own: str = "", typed: Collection[str] = ()) -> None:
        """Forget the previous command line. ``own`` and ``typed`` are the attributes for the new command line."""
        self.texts.clear()
        self.own, self.typed = own, tuple(typed)
        self.trust: tuple[str, ...] = ()
        self.before: list[str] = []
        self.after: list[str] = []
        self.primary: str | None = None
        self.begin()

    def begin(self) -> None:
        """Start a new composition: count the sizes of its files from zero."""
        self.bounds = FileBounds(self.typed, self.texts)

    @property
    def folders(self) -> list[Path]:
        """The folders whose files are checked, in the order in which Hydra searches these folders."""
        entries = (*self.before, *self.after)
        return [Path(entry.removeprefix(_SCHEME)) for entry in entries if entry.startswith(_SCHEME)]

    def locate(self, field: str, choice: object = None) -> tuple[str, Any] | None:
        """Return the path of the checked file that sets a field, and the field's value; None if no file sets it.

        If ``field`` is a config group, an entry ``field: choice`` in a file's defaults list also sets the group.
        """
        for path, text in reversed(self.texts.items()):
            try:
                node: Any = OmegaConf.load(io.StringIO(text))
                package = CheckedSource._get_header_dict(text[:512])["package"]
            except Exception:  # the file is invalid, so it sets nothing
                continue
            entries = defaults_of(content_of(text))
            if any(entry.group and entry.root == field and choice in entry.names for entry in entries):
                return path, choice
            keys = field.split(".")
            if package != "_global_" and keys[0] == Path(path).parent.name:
                keys = keys[1:]
            for key in keys:
                node = node._get_node(key) if OmegaConf.is_dict(node) else None
            if node is not None and keys:
                return path, node
        return None


class CheckedSource(ConfigSource):
    """Config source ``checked:///absolute/path``: checks the configs of a folder outside the package."""

    @staticmethod
    def scheme() -> str:
        return "checked"

    def _file(self, config_path: str) -> Path:
        return Path(self.path) / self._normalize_file_name(config_path)

    def available(self) -> bool:
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        return (Path(self.path) / config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        # Accept regular files, and files whose text this process has already read.
        path = self._file(config_path)
        return str(path) in CheckedFiles.instance().texts or path.is_file()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        names: list[str] = []
        for path in (Path(self.path) / config_path).iterdir():
            self._list_add_result(names, f"{config_path}/{path.name}".lstrip("/"), path.name, results_filter)
        return sorted(set(names))

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a config file, and run the checks that need only this file."""
        files = CheckedFiles.instance()
        path = self._file(config_path)
        if not self.is_config(config_path):
            raise ConfigLoadError(f"Config not found : {path}")
        place = config_path.removesuffix(".yaml")
        is_primary = place == files.primary
        text = files.bounds.read(path)
        files.bounds.check_defaults(place, files.folders)
        if not is_primary and is_apps_own(place, files.own):
            check_name(place, path)
        name, group = f"{place}.yaml", place.rpartition("/")[0]
        header = self._get_header_dict(text[:512])
        if group.partition("/")[0] == "experiment" and header["package"] is None:
            raise overlay_error(place)
        check_place(place, header["package"])
        try:
            config = OmegaConf.load(io.StringIO(text))
        except RecursionError:
            raise RangeError(
                "config", shown_path(path), "is nested too deeply", "use fewer levels of nesting"
            ) from None
        except Exception as error:  # a wrong value for a tag, such as !!bool x, may raise any error
            raise FormatError("config", shown_path(path), problem_of(error), "correct the YAML") from None
        content: Any = OmegaConf.to_container(config, resolve=False)
        if not isinstance(content, dict):
            raise WrongTypeError("config", shown_path(path), "must be a mapping of keys to values", "write key: value")
        check_interpolations(content, files.trust)
        if content.get("hydra", {}) != {}:
            chosen = chosen_nodes(group, files.typed)
            check_hydra(content["hydra"], name, () if chosen is None else chosen[1])
        if is_primary and isinstance(config, DictConfig):
            config["defaults"] = _with_own_choices(content.get("defaults"))
        return ConfigResult(provider=self.provider, path=self.full_path(), config=config, header=header)


class CheckedSearchPath(SearchPathPlugin):
    """Add the folders of :class:`CheckedFiles` to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        files = CheckedFiles.instance()
        for path in files.before:
            search_path.prepend("command-line", path, SearchPathQuery(provider="main"))
        for path in files.after:
            search_path.append("command-line", path)
        entries = search_path.get_path()
        for presets in [entry for entry in entries if entry.provider == PROVIDER]:  # move the presets to the end
            entries.remove(presets)
            entries.append(presets)


def register_source() -> None:
    """Register :class:`CheckedSource` and :class:`CheckedSearchPath` with Hydra. Repeated calls have no effect."""
    Plugins.instance().register(CheckedSource)
    Plugins.instance().register(CheckedSearchPath)


def is_apps_own(config_path: str, own: str) -> bool:
    """Return whether this package, Hydra or a plugin has a config with this path."""
    if is_preset(config_path) or (Path(own) / f"{config_path}.yaml").is_file():
        return True
    try:
        ConfigStore.instance().load(f"{config_path}.yaml")
    except ConfigLoadError:
        return False
    return True


def _with_own_choices(defaults: Any) -> list[Any]:
    """Add this package's choices to the defaults list of a user's main config, for groups that the list lacks."""
    own: list[Any] = list(defaults) if isinstance(defaults, list) else ["base_config", "_self_"]
    groups = {str(key).replace("/hydra", "hydra") for item in own if isinstance(item, Mapping) for key in item}
    choices = {group if group == "launcher" else f"override {group}": name for group, name in OWN_CHOICES.items()}
    missing = [{key: name} for key, name in choices.items() if key not in groups]
    return sorted([*own, *missing], key=_is_override)  # Hydra requires overrides at the end of a defaults list


def _is_override(item: Any) -> bool:
    return isinstance(item, Mapping) and any(str(key).startswith("override ") for key in item)


# ---- rule 2: trust and hydra.*

_ABSENT = object()
_PARAMS = ("sweeper", "params")
# Keys of the hydra node that Hydra itself sets during composition.
_BY_HYDRA = (
    ("overrides",),
    ("runtime", "choices"),
    ("runtime", "config_sources"),
    ("job", "override_dirname"),
    ("job", "config_name"),
)


def check_hydra_node(
    cfg: DictConfig, overrides: Sequence[str], reference: DictConfig, chosen: Sequence[str] = ()
) -> None:
    """Refuse a ``trust`` or ``hydra`` node that a file from outside the package has changed.

    Args:
        cfg: The composed config, with its ``hydra`` node.
        overrides: The overrides with which ``cfg`` was composed.
        reference: A config with the same ``hydra`` overrides, composed without files from outside the package.
        chosen: Nodes that may differ from ``reference``. For example, with ``hydra/launcher=mine`` on the command
            line, the user's file may set all keys that start with ``hydra.launcher.``.
    """
    _check_trust(cfg, reference)
    typed: Any = _unresolved(cfg.hydra.overrides)
    recorded = [*typed["hydra"], *typed["task"]]
    if sorted(map(str, recorded)) != sorted(overrides):
        rule = "cannot be set in a file"
        raise UntrustedError("hydra.overrides", " ".join(map(str, recorded)), rule, "remove hydra.overrides")
    own, content = (dict(leaves(_unresolved(each.hydra), ())) for each in (reference, cfg))
    changed: dict[str, Any] = {}
    for path in sorted(own.keys() | content.keys(), key=str):
        field = ".".join(("hydra", *path))
        is_by_hydra = any(path[: len(prefix)] == prefix for prefix in _BY_HYDRA)
        if is_by_hydra or field.startswith(tuple(chosen)) or (path == _PARAMS and path not in content):
            continue
        one, other = own.get(path, _ABSENT), content.get(path, _ABSENT)
        if type(one) is type(other) and one == other:
            continue
        node = changed
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = content.get(path)
    if changed:
        check_hydra(changed, "a config file outside this package")


def _check_trust(cfg: DictConfig, reference: DictConfig) -> None:
    value, own = (_unresolved(each).get("trust", []) for each in (cfg, reference))
    if value != own:
        fix = how_to_trust(map(str, value) if isinstance(value, list) and value else ["..."])
        raise UntrustedError("trust", value, "can be set only on the command line, not in a file", fix)


def check_parameters(keys: Mapping[str, object]) -> None:
    """Refuse a sweep over a key of ``hydra`` or over a setting of the app, such as ``study``."""
    for key, value in keys.items():
        name = key.lstrip("+~")
        if re.match(r"(hydra|launcher)([./@]|$)", name) or name in APP_KEYS:
            raise ConflictError(
                name,
                value,
                "cannot be swept, because all jobs of a sweep share it",
                f"set {name} to one value",
            )


def _unresolved(node: Any) -> dict[str, Any]:
    content: Any = OmegaConf.to_container(node, resolve=False)
    return dict(content)
