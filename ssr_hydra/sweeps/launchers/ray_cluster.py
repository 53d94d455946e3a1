"""Start a Ray cluster that lives as long as the sweep."""

from __future__ import annotations

import os
import signal

from hydra.plugins.launcher import Launcher

__all__ = ["start_cluster"]


def start_cluster(launcher: Launcher) -> None:
    """Start or join the cluster for Ray's launcher. Call this function in the main thread.

    When the *thread* that has started a local cluster ends, the system ends the processes of the cluster. The main
    thread lives as long as the sweep. In the main thread, Ray also replaces the handler of SIGTERM; this function
    restores the sweep's handler. Ray sends usage statistics unless ``RAY_USAGE_STATS_ENABLED`` is 0, so this function
    sets the variable to 0 if it is not set.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    settings = launcher.ray_cfg.init  # type: ignore[attr-defined]
    settings.setdefault("object_store_memory", 78643200)  # as in the plugin, which then joins this cluster
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_ray(settings)
    finally:
        signal.signal(signal.SIGTERM, before)
