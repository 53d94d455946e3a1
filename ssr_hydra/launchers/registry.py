"""This package's launcher among those of Hydra's plugins."""

from __future__ import annotations

from hydra.core.plugins import Plugins

__all__ = ["register_launchers"]

_NAME = "hydra_plugins.ssr_hydra.ProcessLauncher"  # in the launcher's config too


def register_launchers() -> None:
    """Let ``hydra/launcher=processes`` be found; once or many times, the result is the same.

    Hydra makes a launcher whose name begins with ``hydra_plugins`` and that it has in its list. It fills the list by
    importing every module of that package; what is put there by hand costs other commands no import.

    Example:
        >>> register_launchers()
        >>> "hydra_plugins.ssr_hydra.ProcessLauncher" in Plugins.instance().class_name_to_class
        True
    """
    from ssr_hydra.launchers.processes import ProcessLauncher

    Plugins.instance().class_name_to_class[_NAME] = ProcessLauncher
