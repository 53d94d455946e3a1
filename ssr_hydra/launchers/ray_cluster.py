"""Ray's cluster of a sweep, started where it lives as long as the sweep does."""

from __future__ import annotations

import os
import signal

from hydra.plugins.launcher import Launcher

__all__ = ["start_cluster"]


def start_cluster(launcher: Launcher) -> None:
    """Start or join the cluster that Ray's launcher is to use.

    The system ends the processes of a local cluster with the *thread* that has started them, so that has to be the main
    one. In the main thread Ray takes SIGTERM over, which is for the sweep. Ray tells its makers how it is used unless
    the environment says ``RAY_USAGE_STATS_ENABLED``, so here it says no.

    Args:
        launcher: Ray's.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    settings = launcher.ray_cfg.init  # type: ignore[attr-defined]
    settings.setdefault("object_store_memory", 78643200)  # as the plugin, which finds the cluster running
    before = signal.getsignal(signal.SIGTERM)
    try:
        start_ray(settings)
    finally:
        signal.signal(signal.SIGTERM, before)
