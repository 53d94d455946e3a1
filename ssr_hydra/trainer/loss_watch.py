"""Sum the losses without waiting for the GPU, and raise an error if a loss is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssr_hydra.errors import RunError
from ssr_hydra.trainer.processes import ALONE, Processes


class DivergedError(RunError, RuntimeError):
    """A loss was NaN or infinite, or a weight was NaN or infinite at the end of the run.

    Args:
        what: The name of the loss, such as ``"train/loss"``, or of the weight.
        value: The value of the loss or weight. If several losses are checked together, the sum of the losses since
            the last evaluation.
        batch: The number of trained batches when the check found the value.
        since: The number of trained batches at the previous check; equal to ``batch`` if every step is checked.
    """

    def __init__(self, what: str, value: float, batch: int, since: int | None = None) -> None:
        self.what, self.value, self.batch = what, value, batch
        self.since = batch if since is None else since
        at = f"at batch {batch}" if self.since == batch else f"between batches {self.since} and {batch}"
        super().__init__(f"{what} is {value} {at}; lower the learning rate, use a warmup, or clip the gradients")

    def __reduce__(self) -> tuple[type[DivergedError], tuple[str, float, int, int]]:
        return type(self), (self.what, self.value, self.batch, self.since)


class LossWatch:
    """Sums the losses of training, and raises an error for a loss that is not finite.

    In one process on the CPU, the class reads every loss before the optimizer uses the gradients. On another device
    or in several processes, such a read would make every step slower. So :meth:`settle` reads only the sum of the
    losses, over all processes. If a loss is not finite, the sum is not finite either.
    """

    def __init__(self, device: torch.device, processes: Processes = ALONE) -> None:
        self._on_cpu = device.type == "cpu" and processes.world_size == 1
        self._processes = processes
        # MPS has no float64.
        precise = torch.float32 if device.type == "mps" else torch.float64
        self._pending = torch.zeros((), device=device, dtype=precise)
        self._checked = 0
        self.sum, self.count = 0.0, 0  # the sum and the number of losses since the last evaluation
        self._logged_sum, self._logged_count = 0.0, 0
        self.last = math.nan

    def add(self, loss: Tensor, batch: int) -> None:
        """Add the loss of a step. In one process on the CPU, raise a DivergedError if the loss is not finite."""
        self.count += 1
        if self._on_cpu:
            value: float = loss.item()
            # A NaN is unequal to itself; an infinity minus itself is a NaN.
            if value - value != 0.0:
                raise DivergedError("train/loss", value, batch)
            self.sum += value
        else:
            self._pending += loss.detach()

    def settle(self, batch: int) -> None:
        """Read the sum of the losses from the device. Raise a DivergedError if a loss was not finite."""
        if self._on_cpu:
            return
        (pending,) = self._processes.sum_floats([self._pending.item()], "the loss")
        self.sum += pending / self._processes.world_size
        self._pending.zero_()
        if not math.isfinite(self.sum):
            raise DivergedError("train/loss", self.sum, batch, self._checked)
        self._checked = batch

    def flush(self, batch: int) -> float:
        """Call :meth:`settle`. Return the mean loss since the previous ``flush``; without a step, the previous mean."""
        self.settle(batch)
        if self.count > self._logged_count:
            self.last = (self.sum - self._logged_sum) / (self.count - self._logged_count)
            self._logged_sum, self._logged_count = self.sum, self.count
        return self.last

    def since_evaluation(self) -> float:
        """Return the mean loss since the last call; NaN if there was no step. Call :meth:`settle` first."""
        mean = self.sum / self.count if self.count else math.nan
        self.sum = self._logged_sum = 0.0
        self.count = self._logged_count = 0
        return mean

    def state_dict(self) -> dict[str, float]:
        """Return the sums and counts since the last evaluation, and the last logged mean. Call :meth:`settle` first."""
        return {
            "sum": self.sum,
            "count": self.count,
            "logged_sum": self._logged_sum,
            "logged_count": self._logged_count,
            "last": self.last,
        }

    def load_state_dict(self, state: Mapping[str, float], batch: int) -> None:
        """Load the sums that :meth:`state_dict` returned after ``batch`` steps."""
        self.sum, self.count = float(state["sum"]), int(state["count"])
        self._logged_sum, self._logged_count = float(state["logged_sum"]), int(state["logged_count"])
        self.last, self._checked = float(state["last"]), batch
