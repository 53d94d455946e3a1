"""The properties of each launcher that a sweep must know. Needs neither torch nor Hydra."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TRAITS", "Traits", "traits_of"]


class Traits(NamedTuple):
    """The properties of a launcher. The defaults are safe for an unknown launcher.

    Args:
        launcher: Name of the launcher's class.
        library: The library that runs the jobs. The plugin is ``hydra-<library>-launcher``, and the extra ``<library>``
            of this package installs it. None for launchers that need no plugin.
        isolates: Whether the death of one job's process leaves the other jobs unaffected.
        finds_out: Whether the launcher returns when a job has died. If not, the launcher waits forever.
        leaves_jobs: Whether the jobs continue when the sweep is stopped.
        in_main_thread: Whether the launcher must be called in the main thread, to handle signals.
        starts_all: Whether the launcher starts all jobs immediately, even if there are many.
        is_quiet: Whether the jobs print into files, so that the sweep can redraw the terminal.
        workers: The launcher's setting for the number of jobs at a time, below ``hydra.launcher``; None if it has none.
        shares: Whether a job can wait for steps that a different job trains: jobs start in order, on one file system,
            and a job that waits does not block a device.
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
"""A mapping from the name of a launcher in Hydra's group ``hydra/launcher`` to its properties."""


def traits_of(launcher: str) -> Traits:
    """Return the traits of a launcher.

    Args:
        launcher: Name of the launcher's class, with or without its module. The class itself cannot be compared, because
            Hydra imports plugins again.
    """
    name = launcher.rpartition(".")[2]
    return next((traits for traits in TRAITS.values() if traits.launcher == name), Traits())
