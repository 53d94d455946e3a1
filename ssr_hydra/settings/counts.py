"""Settings: how a run counts samples, tokens and iterations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssr_hydra.errors import RangeError, UnsupportedError
from ssr_hydra.settings.base import function, interval
from ssr_hydra.time import TimeLike, TimeUnit, as_time, exact


@dataclass(frozen=True)
class CountSettings:
    """How a run counts samples, tokens and iterations: ``Trainer(counts=...)``, and keys of the node ``trainer``.

    Args:
        samples_per_batch: Samples per batch, to convert samples to or from other units. None means the loader's
            ``batch_size``.
        tokens_per_batch: Tokens per batch, to convert tokens to or from other units; None if unknown.
        iteration_length: Length of an iteration, for runs and schedules measured in ``iter``.
        get_num_samples_in_batch: Function that returns the number of samples of a batch. None means the first dimension
            of the batch's first tensor.
        get_num_tokens_in_batch: Function that returns the number of tokens of a batch. With None, the run adds up the
            batch's ``attention_mask``. Without a mask, the run counts the elements of ``input_ids``, or of a batch that
            is an integer tensor [N, L]. Other batches have no tokens.

    Raises:
        InputError: ``samples_per_batch`` or ``tokens_per_batch`` is not above 0, ``iteration_length`` is not a valid
            time, or a function cannot be called.

    Example:
        >>> CountSettings(tokens_per_batch=4096).tokens_per_batch
        4096
    """

    samples_per_batch: float | None = None
    tokens_per_batch: float | None = None
    iteration_length: TimeLike | None = None
    get_num_samples_in_batch: Callable[[Any], int] | None = None
    get_num_tokens_in_batch: Callable[[Any], int] | None = None

    def __post_init__(self) -> None:
        for name in ("samples_per_batch", "tokens_per_batch"):
            value = getattr(self, name)
            if value is not None and exact(value, name) <= 0:
                raise RangeError(name, value, "must be a finite number above 0", f"write e.g. 16, or leave out {name}")
        interval(self.iteration_length, "iteration_length")
        if self.iteration_length is not None:
            time = as_time(self.iteration_length, "iteration_length")
            if time.unit is TimeUnit.ITERATION:
                raise UnsupportedError(
                    "iteration_length", str(time), "cannot be in iterations", "write e.g. 2ep or 100ba"
                )
        function(self.get_num_samples_in_batch, "get_num_samples_in_batch")
        function(self.get_num_tokens_in_batch, "get_num_tokens_in_batch")
