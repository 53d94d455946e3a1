"""Watching the loss without waiting for the GPU, and the error of a run that diverged."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssr_hydra.errors import RunError

__all__ = ["DivergedError", "LossWatch"]


class DivergedError(RunError, RuntimeError):
    """A loss was NaN or infinite; the run cannot go on.

    Args:
        what: Which loss, such as ``"train/loss"``.
        value: Its value, or the value of a sum that contains it.
        batch: Batches trained when it was seen.
        since: Batches trained when it was last known to be finite; equal to ``batch`` where every step is checked.
    """

    def __init__(self, what: str, value: float, batch: int, since: int | None = None) -> None:
        self.what, self.value, self.batch = what, value, batch
        self.since = batch if since is None else since
        at = f"at batch {batch}" if self.since == batch else f"between batches {self.since} and {batch}"
        super().__init__(f"{what} is {value} {at}: lower the learning rate, warm it up, or clip the gradients")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[str, float, int, int]]:
        return type(self), (self.what, self.value, self.batch, self.since)


class LossWatch:
    """Sums the losses and sees one that is not finite.

    On the CPU every loss is read, before the optimizer uses its gradients. On another device a read would make Python
    wait for the device in every step; there the sum is kept on the device and read at :meth:`flush` alone. A sum with
    one NaN or infinite term is not finite, so none is missed.

    Args:
        device: Where the losses are computed.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._pending = torch.zeros((), device=device)
        self._checked = 0
        self.sum, self.count = 0.0, 0  # since the last evaluation
        self._logged_sum, self._logged_count = 0.0, 0
        self.last = math.nan

    def add(self, loss: Tensor, batch: int) -> None:
        """Take in the loss of a step, ``batch`` steps into the run.

        Raises:
            DivergedError: On the CPU, if it is not finite.
        """
        self.count += 1
        if self._on_cpu:
            value: float = loss.item()
            # A NaN is unequal to itself; an infinity minus itself is a NaN.
            if value - value != 0.0:
                raise DivergedError("train/loss", value, batch)
            self.sum += value
        else:
            self._pending += loss.detach()

    def flush(self, batch: int) -> float:
        """The mean loss since the last flush, in a run of ``batch`` steps.

        Raises:
            DivergedError: If one of the losses since then was not finite.
        """
        if not self._on_cpu:
            self.sum += self._pending.item()
            self._pending.zero_()
            if not math.isfinite(self.sum):
                raise DivergedError("train/loss", self.sum, batch, self._checked)
            self._checked = batch
        if self.count > self._logged_count:
            self.last = (self.sum - self._logged_sum) / (self.count - self._logged_count)
            self._logged_sum, self._logged_count = self.sum, self.count
        return self.last

    def since_evaluation(self) -> float:
        """The mean loss since the last call; NaN if there was no step. Call :meth:`flush` before."""
        mean = self.sum / self.count if self.count else math.nan
        self.sum = self._logged_sum = 0.0
        self.count = self._logged_count = 0
        return mean
