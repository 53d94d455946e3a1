"""Settings: when a run writes checkpoints, and which checkpoints it keeps."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from typing import Annotated

from ssr_hydra.errors import ConflictError, FormatError, RangeError, missing_package
from ssr_hydra.metrics import resolve_direction
from ssr_hydra.settings.base import flag, interval, one_of
from ssr_hydra.time import TimeLike

_MODES = ("auto", "max", "min")
_EXPORT = re.compile(r"[^/\\:\x00-\x1f\x7f]{1,200}\.safetensors")


@dataclass(frozen=True)
class CheckpointSettings:
    """When a run writes checkpoints into its folder, and which checkpoints it keeps: ``Trainer(checkpoint=...)``.

    Args:
        enabled: Whether to write checkpoints. If false, a signal ends the run immediately.
        interval: Time between two checkpoints, in any unit. SSR does not scale the interval. The run also writes a
            checkpoint at its end, and when a signal stops it. None means that the run writes no other checkpoints.
        keep: Number of the newest checkpoints to keep, at least 2, in case the newest checkpoint is damaged.
        best: A metric, such as ``"eval/accuracy"``. The run also keeps the checkpoint with the best value.
        mode: Whether the best value is the ``max`` or the ``min``. ``auto`` derives the mode from the metric's name
            (:func:`ssr_hydra.metrics.direction_by_name`). A value that is not finite is never the best.
        export: Name of a file in the run's folder, such as ``model.safetensors``, for the weights at the end of a
            completed run. If the run evaluates the averaged weights of an EMA, the file contains these weights. None
            writes no file.

    Raises:
        InputError: A value is out of range; ``mode`` is ``auto``, but the name of the metric ``best`` does not show
            whether ``max`` or ``min`` is better; or ``export`` needs safetensors, which is not installed.

    Example:
        >>> CheckpointSettings(best="eval/bits_per_byte").best_mode
        'min'
    """

    enabled: bool = True
    interval: TimeLike | None = "10m"
    keep: int = 2
    best: str | None = None
    mode: Annotated[str, _MODES] = "auto"
    export: Annotated[str | None, _EXPORT] = None

    def __post_init__(self) -> None:
        flag(self.enabled, "enabled")
        interval(self.interval, "interval")
        if isinstance(self.keep, bool) or not isinstance(self.keep, int) or self.keep < 2:
            rule = "must be at least 2, so that a second checkpoint exists if the newest is damaged"
            raise RangeError("keep", self.keep, rule, "write 2")
        one_of(self.mode, "mode", _MODES)
        if self.best is not None and not self.enabled:
            rule = "cannot be used with checkpoint.enabled=false"
            raise ConflictError("best", self.best, rule, "set checkpoint.enabled=true, or checkpoint.best=null")
        if self.export is not None:
            if not isinstance(self.export, str) or not _EXPORT.fullmatch(self.export):
                rule = "must be the name of a file that ends in .safetensors, without a folder"
                raise FormatError("export", self.export, rule, "write e.g. model.safetensors")
            if importlib.util.find_spec("safetensors") is None:
                raise missing_package("export", self.export, "safetensors", "export")
        _ = self.best_mode  # this property raises an error if the direction of the metric is unknown

    @property
    def best_mode(self) -> str | None:
        """``max`` if a higher value of the metric ``best`` is better, otherwise ``min``. None if ``best`` is None."""
        return None if self.best is None else resolve_direction(self.mode, self.best, "mode")
