"""What the study must know of each launcher, as one row. Needs neither torch nor Hydra."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["TRAITS", "Traits", "traits_of"]


class Traits(NamedTuple):
    """The traits of a launcher; the defaults are the cautious ones, for a launcher that is not known.

    Args:
        launcher: Name of its class.
        library: What it runs jobs with: the plugin is ``hydra-<library>-launcher``, in the extra ``<library>``. None
            for launchers that need no plugin.
        isolates: A job whose process dies takes no other job with it.
        finds_out: It returns when a job has died. Others wait for it without end.
        leaves_jobs: Its jobs go on when the sweep is stopped.
        in_main_thread: It has to be called in the main thread, to handle signals.
        starts_all: It starts all jobs at once, however many there are.
        is_quiet: Its jobs print into files, so that the terminal is the sweep's.
        workers: Its setting for the number of jobs at a time, below ``hydra.launcher``; None if it has none.
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


TRAITS = {
    "processes": Traits("ProcessLauncher", isolates=True, in_main_thread=True, is_quiet=True, workers="workers"),
    "basic": Traits("BasicLauncher", isolates=True, in_main_thread=True),
    "joblib": Traits("JoblibLauncher", "joblib", is_quiet=True, workers="n_jobs"),
    "submitit_local": Traits(
        "LocalLauncher", "submitit", isolates=True, finds_out=True, starts_all=True, is_quiet=True
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
"""Name in Hydra's group ``hydra/launcher`` -> traits."""


def traits_of(launcher: str) -> Traits:
    """The traits of a launcher.

    Args:
        launcher: Name of its class, with or without its module. Not the class: Hydra loads its plugins' modules again.

    Example:
        >>> traits_of("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher").library
        'joblib'
        >>> traits_of("Mine").isolates
        False
    """
    name = launcher.rpartition(".")[2]
    return next((traits for traits in TRAITS.values() if traits.launcher == name), Traits())
