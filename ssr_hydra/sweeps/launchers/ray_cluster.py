"""Start Ray's cluster of a sweep so that it lives as long as the sweep."""

from __future__ import annotations

import os
import signal

from hydra.plugins.launcher import Launcher

__all__ = ["start_cluster"]


def start_cluster(launcher: Launcher) -> None:
    """Start or join the cluster for Ray's launcher.

    The system ends the processes of a local cluster together with the *thread* that has started them, so that must be
    the main thread. In the main thread Ray would also handle SIGTERM, which the sweep must handle. Ray sends usage
    statistics unless ``RAY_USAGE_STATS_ENABLED`` is 0, so this function sets it to 0 if it is not set.

    Args:
        launcher: Ray's launcher.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    settings = launcher.ray_cfg.init  # type: ignore[attr-defined]
    settings.setdefault("object_store_memory", 78643200)  # as in the plugin, which finds the running cluster
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_ray(settings)
    finally:
        signal.signal(signal.SIGTERM, before)
