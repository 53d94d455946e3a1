"""When checkpoints are written, and which are kept."""

from __future__ import annotations

from dataclasses import dataclass

from ssr_hydra.errors import InputError
from ssr_hydra.metrics import resolve_direction
from ssr_hydra.settings.base import flag, interval, one_of
from ssr_hydra.time import TimeLike

__all__ = ["CheckpointSettings"]


@dataclass(frozen=True)
class CheckpointSettings:
    """When checkpoints are written into a run's folder, and which are kept: ``Trainer(checkpoint=...)``.

    Args:
        enabled: False writes none, and a signal ends the run at once.
        interval: Time between two, in any unit, not scaled by ssr; None writes them only at the end. One is always
            written at the end, and when a signal stops the run.
        keep: How many of the last are kept, 2 or more, so that there is always a second one if the last is damaged.
        best: A metric whose best checkpoint is kept as well, such as ``"eval/accuracy"``.
        mode: Whether the best is the ``max`` or the ``min``; ``auto`` reads that from the metric's name
            (:func:`ssr_hydra.metrics.direction_by_name`). A value that is not finite is never the best.

    Raises:
        InputError: A value is out of range, or ``mode`` is ``auto`` and the name of ``best`` has no direction.

    Example:
        >>> CheckpointSettings(best="eval/bits_per_byte").best_mode
        'min'
    """

    enabled: bool = True
    interval: TimeLike | None = "10m"
    keep: int = 2
    best: str | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        flag(self.enabled, "enabled")
        interval(self.interval, "interval")
        if isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 2:
            rule = "must be at least 2, so that there is a second one if the last is damaged"
            raise InputError("keep", self.keep, rule, "write 2")
        one_of(self.mode, "mode", ("auto", "max", "min"))
        if self.best is not None and not self.enabled:
            rule = "cannot be used with checkpoint.enabled=false"
            raise InputError("best", self.best, rule, "set checkpoint.enabled=true, or checkpoint.best=null")
        _ = self.best_mode  # refuses a metric whose direction is unknown

    @property
    def best_mode(self) -> str | None:
        """``max`` or ``min``, or None if no best checkpoint is kept."""
        return None if self.best is None else resolve_direction(self.mode, self.best, "mode")
