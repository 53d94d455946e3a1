"""How an optimizer step is taken."""

from __future__ import annotations

from dataclasses import dataclass

from ssr_hydra.errors import InputError
from ssr_hydra.settings.base import count, flag, one_of, positive

__all__ = ["PARALLEL", "PRECISIONS", "StepSettings"]

PRECISIONS = ("fp32", "bf16", "fp16")
PARALLEL = ("ddp", "fsdp")


@dataclass(frozen=True)
class StepSettings:
    """How a step is taken: ``Trainer(step=...)``, and keys of the node ``trainer``.

    Args:
        precision: ``fp32``; ``bf16`` or ``fp16`` run the forward pass under autocast, also in evaluation, and fp16
            scales the loss. Weights stay in fp32.
        accumulate: Number of parts of a batch for forward and backward, with one optimizer step for all.
        clip_grad_norm: The maximum 2-norm of all gradients together.
        clip_grad_value: The maximum absolute value of a gradient.
        compile: Whether to compile the model in place with ``torch.compile``; that time does not count as training.
        channels_last: Whether to use the memory format ``channels_last`` for images and convolutions.
        parallel: With several processes: ``ddp`` copies the model; ``fsdp`` expects one that
            :func:`ssr_hydra.trainer.parallel.shard` sharded before its optimizer was made.
        loss_mean_over: Whether the loss of a batch is a mean over ``samples`` or ``tokens``: the weight of its parts.
            Tokens are those that the loss counts by ``loss.num_averaged(batch)`` if it has that, else those of the
            run's time.

    Raises:
        InputError: A value is out of range, or both ways of clipping are set.

    Example:
        >>> StepSettings(accumulate=4, clip_grad_norm=1.0).is_plain
        False
    """

    precision: str = "fp32"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    compile: bool = False
    channels_last: bool = False
    parallel: str = "ddp"
    loss_mean_over: str = "samples"

    def __post_init__(self) -> None:
        one_of(self.precision, "precision", PRECISIONS)
        count(self.accumulate, "accumulate", 1)
        positive(self.clip_grad_norm, "clip_grad_norm")
        positive(self.clip_grad_value, "clip_grad_value")
        if self.clip_grad_norm is not None and self.clip_grad_value is not None:
            rule = "cannot be used with clip_grad_norm"
            raise InputError("clip_grad_value", self.clip_grad_value, rule, "set one of them to null")
        flag(self.compile, "compile")
        flag(self.channels_last, "channels_last")
        one_of(self.parallel, "parallel", PARALLEL)
        one_of(self.loss_mean_over, "loss_mean_over", ("samples", "tokens"))

    @property
    def is_plain(self) -> bool:
        """Whether a step is only forward, backward and update."""
        return (
            self.precision == "fp32"
            and self.accumulate == 1
            and self.clip_grad_norm is None
            and self.clip_grad_value is None
        )
