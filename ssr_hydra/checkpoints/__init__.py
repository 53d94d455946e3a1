"""Checkpoints: what a run leaves to be continued from, what may change on the way, and the clock after a change.

Nothing here imports torch before a checkpoint is written or read: composing an experiment checks ``resume`` too.
"""

from ssr_hydra.checkpoints.description import MISSING, Difference, check_change, differences
from ssr_hydra.checkpoints.resume import find, open_checkpoint
from ssr_hydra.checkpoints.store import Checkpoint, CheckpointError, CheckpointStore, load, load_latest_good
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
