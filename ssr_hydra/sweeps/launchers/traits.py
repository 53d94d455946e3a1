"""The properties of each launcher that a sweep must know. This module imports neither torch nor Hydra."""

from __future__ import annotations

from typing import NamedTuple


class Traits(NamedTuple):
    """The properties of a launcher. The defaults are safe for an unknown launcher.

    Args:
        launcher: Name of the launcher's class.
        library: The library of the plugin ``hydra-<library>-launcher``. The extra ``<library>`` of this package
            installs the plugin. None for launchers that need no plugin.
        isolates: True if the death of one job's process does not affect other jobs.
        finds_out: True if the launcher notices a dead job itself. Otherwise the launcher may wait forever.
        leaves_jobs: True if the jobs continue after the sweep was stopped.
        in_main_thread: True if the launcher handles signals, so the sweep must call it in the main thread.
        starts_all: True if the launcher starts all jobs immediately, even if there are many jobs.
        is_quiet: True if the jobs print into files, so that the sweep can redraw the terminal.
        workers: The key below ``hydra.launcher`` for the number of jobs at a time; None if there is no such key.
        shares: True if a job can wait for steps that a different job trains. This requires that the jobs start in order
            and use one file system, and that a waiting job does not block a device.
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
    """Return the traits of a launcher. ``launcher`` is the name of its class, with or without the module.

    The function does not compare classes, because Hydra imports a plugin a second time, as a different class.
    """
    name = launcher.rpartition(".")[2]
    return next((traits for traits in TRAITS.values() if traits.launcher == name), Traits())
