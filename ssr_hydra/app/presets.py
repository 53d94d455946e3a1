"""A Hydra config source for this package's presets. OmegaConf reads only the configs that a composition names.

Hydra's ConfigStore would make OmegaConf read all configs, and ``train.py --cfg job`` would take half as long again.
"""

from __future__ import annotations

import builtins
from functools import cache
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from ssr_hydra.configs.registry import PROVIDER, Preset, presets


@cache
def _presets() -> dict[str, Preset]:
    return {preset.path: preset for preset in presets()}


def is_preset(path: str) -> bool:
    """Return whether this package has a structured config with this group and name, such as ``scheduler/wsd``."""
    return path in _presets()


class PresetSource(ConfigSource):
    """Config source ``presets://`` with the structured configs of this package."""

    @staticmethod
    def scheme() -> str:
        return "presets"

    def available(self) -> bool:
        return True

    def is_group(self, config_path: str) -> bool:
        group = config_path.strip("/")
        return not group or any(path.startswith(f"{group}/") for path in _presets())

    def is_config(self, config_path: str) -> bool:
        # If ssr_hydra.configs.register has stored a config in the ConfigStore, Hydra must read it there.
        path = config_path.removesuffix(".yaml")
        return is_preset(path) and ConfigStore.instance().get_type(f"{path}.yaml") is ObjectType.NOT_FOUND

    def list(self, config_path: str, results_filter: ObjectType | None) -> builtins.list[str]:
        start = f"{config_path}/".lstrip("/")
        below = [path.removeprefix(start) for path in _presets() if path.startswith(start)]
        groups = {path.partition("/")[0] for path in below if "/" in path}
        names = {path for path in below if "/" not in path}
        by_type = {ObjectType.GROUP: groups, ObjectType.CONFIG: names}
        return sorted(groups | names if results_filter is None else by_type.get(results_filter, set()))

    def load_config(self, config_path: str) -> ConfigResult:
        """Create the structured config of a preset, as a Hydra config."""
        preset = _presets().get(config_path.removesuffix(".yaml"))
        if preset is None:
            raise ConfigLoadError(f"Config not found : {config_path}")
        config: Any = OmegaConf.structured(preset.node)
        return ConfigResult(provider=PROVIDER, path=self.full_path(), config=config, header={"package": preset.package})


class PresetSearchPath(SearchPathPlugin):
    """Add :class:`PresetSource` to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append(PROVIDER, f"{PresetSource.scheme()}://")


def register_source() -> None:
    """Let Hydra find the presets. Repeated calls have no effect."""
    Plugins.instance().register(PresetSource)
    Plugins.instance().register(PresetSearchPath)
