"""Settings: how the trainer computes an optimizer step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ssr_hydra.errors import ConflictError
from ssr_hydra.settings.base import count, flag, one_of, positive

PRECISIONS = ("fp32", "bf16", "fp16")
PARALLEL = ("ddp", "fsdp")
MEANS = ("samples", "tokens")


@dataclass(frozen=True)
class StepSettings:
    """How the trainer computes an optimizer step: ``Trainer(step=...)``, and keys of the config node ``trainer``.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``. ``bf16`` and ``fp16`` run the forward pass under autocast, also in
            evaluation. ``fp16`` also scales the loss. Weights stay in fp32.
        accumulate: Number of parts into which a batch is split. Each part has a separate forward and backward pass. The
            optimizer step uses the sum of the gradients.
        clip_grad_norm: The maximum 2-norm of all gradients together; None for no limit.
        clip_grad_value: The maximum absolute value of a gradient; None for no limit.
        compile: Whether to compile the model in place with ``torch.compile``. Compilation does not count as training
            time.
        channels_last: Whether to use the memory format ``channels_last`` for images and convolutions.
        parallel: How to use several processes. ``ddp`` copies the model to each process. ``fsdp`` requires a model that
            :func:`ssr_hydra.trainer.parallel.shard` has sharded. Shard the model before you create its optimizer.
        loss_mean_over: Whether the loss of a batch is a mean over ``samples`` or ``tokens``. This setting determines
            the weight of each part of a batch. If the loss has a method ``num_averaged(batch)``, the run calls this
            method to get the number of tokens; otherwise the run counts the tokens.

    Raises:
        InputError: A value is out of range, or both ``clip_grad_norm`` and ``clip_grad_value`` are set.

    Example:
        >>> StepSettings(accumulate=4, clip_grad_norm=1.0).is_plain
        False
    """

    precision: Annotated[str, PRECISIONS] = "fp32"
    accumulate: int = 1
    clip_grad_norm: float | None = None
    clip_grad_value: float | None = None
    compile: bool = False
    channels_last: bool = False
    parallel: Annotated[str, PARALLEL] = "ddp"
    loss_mean_over: Annotated[str, MEANS] = "samples"

    def __post_init__(self) -> None:
        one_of(self.precision, "precision", PRECISIONS)
        count(self.accumulate, "accumulate", 1)
        positive(self.clip_grad_norm, "clip_grad_norm")
        positive(self.clip_grad_value, "clip_grad_value")
        if self.clip_grad_norm is not None and self.clip_grad_value is not None:
            rule, fix = "cannot be used with clip_grad_norm", "set clip_grad_value=null or clip_grad_norm=null"
            raise ConflictError("clip_grad_value", self.clip_grad_value, rule, fix)
        flag(self.compile, "compile")
        flag(self.channels_last, "channels_last")
        one_of(self.parallel, "parallel", PARALLEL)
        one_of(self.loss_mean_over, "loss_mean_over", MEANS)

    @property
    def is_plain(self) -> bool:
        """Whether a step has no autocast, no accumulation and no clipping."""
        return (
            self.precision == "fp32"
            and self.accumulate == 1
            and self.clip_grad_norm is None
            and self.clip_grad_value is None
        )
