"""One optimizer step: forward, backward and update; optionally with mixed precision, accumulation and clipping."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ssr_hydra.data.seeded import Padding
from ssr_hydra.errors import MismatchError, MissingValueError, WrongTypeError
from ssr_hydra.settings import StepSettings
from ssr_hydra.trainer.batches import map_parts
from ssr_hydra.trainer.loss_watch import LossWatch
from ssr_hydra.trainer.processes import ALONE, Processes
from ssr_hydra.trainer.task import Task

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

_Step = Callable[[Any, int], tuple[int, int]]


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the context manager for a forward pass with this precision: ``fp32``, ``bf16`` or ``fp16``."""
    dtype = _DTYPES[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)


class TrainStep:
    """Takes the optimizer steps of a run, each with the gradient of the mean loss over the whole batch.

    A batch may be split over processes, and into parts whose gradients are accumulated. The parts may differ in size:
    the weight of a part is its number of samples or tokens.
    """

    def __init__(
        self,
        task: Task,
        optimizers: Sequence[Optimizer],
        watch: LossWatch,
        settings: StepSettings | None = None,
        processes: Processes = ALONE,
    ) -> None:
        self.task, self.watch, self.processes = task, watch, processes
        self._optimizers = tuple(optimizers)
        self.settings = settings = StepSettings() if settings is None else settings
        self._autocast = autocast(settings.precision, task.device)
        self.scaler = torch.amp.GradScaler(task.device.type) if settings.precision == "fp16" else None
        self._parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        self.keeps_loss = False
        self.loss: Tensor | None = None  # the loss of the last step, if keeps_loss is True
        # Samples, tokens and weight of the batch, summed over all processes. With several processes, the loop sets
        # them before each step.
        self.total = (0, 0, 0)

    def function(self) -> _Step:
        """Return the function that takes a step: ``step(batch, number_of_earlier_batches) -> (samples, tokens)``."""
        if self.settings.is_plain and self.processes.world_size == 1 and not self.keeps_loss:
            return self._plain()
        return self._step

    def _plain(self) -> _Step:
        """Return a faster step for one process, without mixed precision, accumulation, clipping or listeners."""
        loss_of, add, optimizers = self.task.loss, self.watch.add, self._optimizers

        def step(batch: Any, number: int) -> tuple[int, int]:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss, samples, tokens = loss_of(batch)
            add(loss, number)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
            return samples, tokens

        return step

    def _step(self, batch: Any, number: int) -> tuple[int, int]:
        settings, world_size = self.settings, self.processes.world_size
        if world_size == 1:
            self.total = self.count(batch)
        samples, tokens, total = self.total
        if total == 0:
            rule = f"this batch has 0 {settings.loss_mean_over}"
            raise MissingValueError("loss_mean_over", settings.loss_mean_over, rule, "set get_num_tokens_in_batch")
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        parts = self._parts(batch)
        loss = torch.zeros((), device=self.task.device)
        for index, (part, size) in enumerate(parts):
            is_last = index == len(parts) - 1
            with nullcontext() if is_last else self._not_synchronized():
                # DDP and FSDP divide the sum of gradients by world_size; the factor world_size undoes the division.
                loss = loss + self._backward(part, size * world_size / total)
        self.watch.add(loss, number)
        self._update()
        if self.keeps_loss:
            self.loss = self.processes.mean(loss)
        return samples, tokens

    def count(self, batch: Any) -> tuple[int, int, int]:
        """Return the samples, tokens and weight (:meth:`Task.weigh`) of this process's batch; all are 0 for padding."""
        return (0, 0, 0) if isinstance(batch, Padding) else self.task.weigh(batch)

    def _parts(self, batch: Any) -> list[tuple[Any, int]]:
        """Split a batch into parts for gradient accumulation. Return each part with its weight."""
        parts = self.settings.accumulate
        if isinstance(batch, Padding):
            return [(batch.batch, 0)] * parts
        weight = self.count(batch)[2] if self.processes.world_size > 1 else self.total[2]
        if parts == 1:
            return [(batch, weight)]
        length = self.task.length(batch)
        n_parts = min(parts, length)

        def piece(item: Any, index: int) -> Any:  # split only tensors that have a row for each sample
            is_split = isinstance(item, Tensor) and item.ndim and len(item) == length
            return torch.tensor_split(item, n_parts)[index] if is_split else item

        pieces = [map_parts(batch, partial(piece, index=index)) for index in range(n_parts)]
        split = [(part, self.count(part)[2]) for part in pieces]
        if (total := sum(size for _, size in split)) != weight:
            rule = f"splits this batch into parts that have {total} {self.settings.loss_mean_over} in total"
            fix = "give batches whose tensors have the samples in the first dimension, or set accumulate=1"
            raise MismatchError("accumulate", parts, f"{rule}, but the whole batch has {weight}", fix)
        if self.processes.world_size > 1:
            # Every process must have the same number of parts, because the processes compute together. Parts of weight
            # 0 come first, because gradients are exchanged with the last part.
            return [(split[0][0], 0)] * (parts - n_parts) + split
        # Leave out a part of weight 0: if the loss divides by the number of tokens, the part's gradient would be NaN.
        return [(part, size) for part, size in split if size]

    def _backward(self, part: Any, weight: float) -> Tensor:
        """Compute the gradients of ``weight * loss`` for a part of the batch. Return ``weight * loss``."""
        with self._autocast:
            loss = self.task.training_loss(part)
        if loss.ndim:
            rule = f"must be one number (has shape {tuple(loss.shape)})"
            raise WrongTypeError("loss", type(loss).__name__, rule, "give a loss that averages over the batch")
        weighted = loss if weight == 1 else loss * weight
        scaled = weighted if self.scaler is None else self.scaler.scale(weighted)
        scaled.backward()  # type: ignore[no-untyped-call]
        # The loss of a part of weight 0 may be NaN, so return 0 for this part.
        return weighted.detach() if weight else torch.zeros_like(weighted)

    def not_finite(self) -> str | None:
        """Return the name of the first weight that is NaN or infinite, or None. All processes return the same name."""
        with torch.no_grad():
            parts = [p.to_local() if hasattr(p, "to_local") else p for p in self._parameters]
            flags = [part.isfinite().all().to(self.task.device) for part in parts]
            bad = self.processes.sum((~torch.stack(flags)).tolist(), "the end")  # wait for the device only once
        index = next((index for index, count in enumerate(bad) if count), None)
        if index is None:
            return None
        names = {id(parameter): name for name, parameter in self.task.model.named_parameters()}
        return names.get(id(self._parameters[index]), f"parameter {index}")

    def _update(self) -> None:
        settings, scaler = self.settings, self.scaler
        clips = settings.clip_grad_norm is not None or settings.clip_grad_value is not None
        if scaler is not None and clips:
            for optimizer in self._optimizers:
                scaler.unscale_(optimizer)
        if settings.clip_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, settings.clip_grad_norm)
        elif settings.clip_grad_value is not None:
            torch.nn.utils.clip_grad_value_(self._parameters, settings.clip_grad_value)
        for optimizer in self._optimizers:
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
        if scaler is not None:
            scaler.update()

    @contextmanager
    def _not_synchronized(self) -> Iterator[None]:
        """In the ``with`` block, do not exchange gradients. Only the last part of a batch needs an exchange."""
        model: Any = self.task.train_model
        if hasattr(model, "no_sync"):  # DDP
            with model.no_sync():
                yield
            return
        switch = getattr(model, "set_requires_gradient_sync", lambda _: None)  # FSDP
        switch(False)
        try:
            yield
        finally:
            switch(True)


@contextmanager
def compile_clock() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the nanoseconds of compilation since its previous call."""
    # torch._dynamo.on_compile_start is public, but it cannot unregister a callback.
    from torch._dynamo.callback import callback_handler

    changes: list[int] = []  # the negative time of each start, and the time of each end

    def start(_: object) -> None:
        changes.append(-time.perf_counter_ns())

    def end(_: object) -> None:
        changes.append(time.perf_counter_ns())

    def take() -> int:
        spent = sum(changes)
        changes.clear()
        return spent

    callback_handler.register_start_callback(start)
    callback_handler.register_end_callback(end)
    try:
        yield take
    finally:
        callback_handler.remove_start_callback(start)
        callback_handler.remove_end_callback(end)
