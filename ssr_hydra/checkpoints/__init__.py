"""Checkpoints: write and read them, decide which settings may change at a resume, and map the time of a changed run.

The package imports torch only when it writes or reads a checkpoint. So commands that must not load torch can use this
package to check the setting ``resume``.
"""

from ssr_hydra.checkpoints.description import MISSING, Difference, check_change, differences
from ssr_hydra.checkpoints.format import CheckpointError
from ssr_hydra.checkpoints.resume import find, open_checkpoint
from ssr_hydra.checkpoints.store import Checkpoint, CheckpointStore, load, load_latest_good
from ssr_hydra.checkpoints.time_map import TimeMap

__all__ = [
    "MISSING",
    "Checkpoint",
    "CheckpointError",
    "CheckpointStore",
    "Difference",
    "TimeMap",
    "check_change",
    "differences",
    "find",
    "load",
    "load_latest_good",
    "open_checkpoint",
]
