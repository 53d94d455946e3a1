"""The traits of each launcher that a study must know, one row per launcher. Needs neither torch nor Hydra."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TRAITS", "Traits", "traits_of"]


class Traits(NamedTuple):
    """The traits of a launcher; the defaults are the cautious choice for an unknown launcher.

    Args:
        launcher: Name of its class.
        library: The library that runs the jobs: the plugin is ``hydra-<library>-launcher``, in the extra ``<library>``.
            None for launchers that need no plugin.
        isolates: Whether a job whose process dies does not affect other jobs.
        finds_out: Whether it returns when a job has died; others wait for the job forever.
        leaves_jobs: Whether its jobs continue when the sweep is stopped.
        in_main_thread: Whether it must be called in the main thread, to handle signals.
        starts_all: Whether it starts all jobs at once, whatever their number.
        is_quiet: Whether its jobs print into files, so that the sweep can use the terminal.
        workers: Its setting for the number of jobs at a time, below ``hydra.launcher``; None if it has none.
        shares: Whether jobs can wait for steps that another job trains: they start in order on one file system, and
            a waiting job keeps no device from others.
    """

    launcher: str = ""
    library: str | None = None
    isolates: bool = False
    finds_out: bool = False
    leaves_jobs: bool = False
    in_main_thread: bool = False
    starts_all: bool = False
    is_quiet: bool = False
    workers: str | None = None
    shares: bool = False


TRAITS = {
    "processes": Traits(
        "ProcessLauncher", isolates=True, in_main_thread=True, is_quiet=True, workers="workers", shares=True
    ),
    "basic": Traits("BasicLauncher", isolates=True, in_main_thread=True, shares=True),
    "joblib": Traits("JoblibLauncher", "joblib", is_quiet=True, workers="n_jobs", shares=True),
    "submitit_local": Traits(
        "LocalLauncher", "submitit", isolates=True, finds_out=True, starts_all=True, is_quiet=True, shares=True
    ),
    "submitit_slurm": Traits(
        "SlurmLauncher",
        "submitit",
        isolates=True,
        finds_out=True,
        leaves_jobs=True,
        is_quiet=True,
        workers="array_parallelism",
    ),
    "ray": Traits("RayLauncher", "ray", isolates=True, is_quiet=True),
}
"""A mapping from the name in Hydra's group ``hydra/launcher`` to traits."""


def traits_of(launcher: str) -> Traits:
    """Return the traits of a launcher.

    Args:
        launcher: Name of its class, with or without its module. Not the class, because Hydra imports plugins again.

    Example:
        >>> traits_of("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher").library
        'joblib'
        >>> traits_of("Mine").isolates
        False
    """
    name = launcher.rpartition(".")[2]
    return next((traits for traits in TRAITS.values() if traits.launcher == name), Traits())
