"""For each launcher, the properties on which a sweep depends."""

from __future__ import annotations

from typing import NamedTuple


class Traits(NamedTuple):
    """The properties of a launcher. The defaults are safe for an unknown launcher."""

    launcher: str = ""  # name of the launcher's class
    library: str | None = None  # the extra of this package that installs the launcher's plugin
    isolates: bool = False  # the death of one job's process does not affect other jobs
    finds_out: bool = False  # the launcher notices when a job dies; if False, it may wait forever
    leaves_jobs: bool = False  # the jobs continue after the sweep was stopped
    in_main_thread: bool = False  # the launcher handles signals, so the sweep must call it in the main thread
    starts_all: bool = False  # the launcher starts all jobs immediately, even if there are many jobs
    is_quiet: bool = False  # the jobs print into files, so that the sweep can redraw the terminal
    workers: str | None = None  # the key ``hydra.launcher.<workers>`` sets the number of jobs at a time
    # Jobs can share steps: they start in order, use one file system, and a job that waits for shared steps blocks no
    # device.
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

    The function compares names instead of classes, because Hydra imports a plugin twice, which creates two classes.
    """
    name = launcher.rpartition(".")[2]
    return next((traits for traits in TRAITS.values() if traits.launcher == name), Traits())
