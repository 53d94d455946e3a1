"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ssr_hydra.errors import ConflictError, InputError, MismatchError, RangeError, UnsupportedError, WrongTypeError
from ssr_hydra.schedulers.run import Run
from ssr_hydra.settings.base import count, flag, fraction
from ssr_hydra.time import TimeLike, TimeUnit, as_time

if TYPE_CHECKING:
    from torch import Tensor, nn

_DEFAULT = 0.999


@dataclass(eq=False)
class EMA:
    """Keep an exponential moving average of the weights, and evaluate the model with the average.

    After every ``interval`` batches, ``average = decay * average + (1 - decay) * weights``. The average starts as the
    initial weights. With ``warmup``, the decay of update n (0, 1, ...) is ``min(decay, (1 + n) / (10 + n))``, so the
    average soon forgets the initial weights. Floating-point buffers are averaged too; other buffers are copied.

    A ``half_life`` in ``dur``, such as ``0.05dur`` (5% of the run), stretches with SSR. ``decay``, and a ``half_life``
    in other units, do not depend on SSR.

    The average of a resumed run is bitwise equal to the average of an uninterrupted run. Outside of evaluations, the
    model has the trained weights, also after the run. :meth:`copy_to` and :meth:`swapped` give access to the average.

    Args:
        decay: Decay of one update, from 0 to below 1; None means 0.999, or the value computed from ``half_life`` if
            ``half_life`` is set.
        half_life: Time after which an old value contributes half as much to the average:
            ``decay = 0.5 ** (interval / half_life)``, with both times in batches.
        interval: Batches between two updates.
        warmup: Whether the decay increases during the first updates.
        evaluate: Whether evaluations use the average instead of the trained weights.

    Raises:
        InputError: A value is out of range, or both ``decay`` and ``half_life`` are set.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> ema = EMA(decay=0.5, warmup=False)
        >>> ema.attach(model)
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> ema.update()
        >>> with ema.swapped():
        ...     average = model.weight.item()
        >>> average, model.weight.item()
        (2.0, 3.0)

    Sources: Polyak and Juditsky, 1992; for the warmup, TensorFlow's ``ExponentialMovingAverage``.
    """

    decay: float | None = None
    half_life: TimeLike | None = None
    interval: int = 1
    warmup: bool = True
    evaluate: bool = True

    def __post_init__(self) -> None:
        flag(self.warmup, "warmup")
        flag(self.evaluate, "evaluate")
        count(self.interval, "interval", 1)
        if self.decay is not None and self.half_life is not None:
            raise ConflictError("half_life", self.half_life, "cannot be used with decay", "remove decay or half_life")
        if self.decay is not None:
            fraction(self.decay, "decay", zero=True, example=_DEFAULT)
        if self.half_life is not None:
            time = as_time(self.half_life, "half_life")
            if time.value <= 0:
                raise RangeError("half_life", str(time), "must be above 0", "try 0.05dur")
            if time.unit in (TimeUnit.SECOND, TimeUnit.ITERATION):
                fix = "use the unit ba, ep, sp, tok or dur"
                raise UnsupportedError("half_life", str(time), "cannot be converted to batches", fix)
        self.updates = 0
        self._model: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}
        self._swapped = self._is_passing = False
        self._saved: Mapping[str, Any] | None = None

    def fit_start(self, trainer: Any) -> None:
        """Start the average with the model's weights, or with the average from a checkpoint."""
        self.decay = self.decay_in(trainer.state)
        self.attach(trainer.model)

    def decay_in(self, state: Any) -> float:
        """Return the decay of one update. Refuse a half-life that cannot be converted to batches of this run."""
        if self.half_life is None:
            return _DEFAULT if self.decay is None else self.decay
        run, half_life = Run.of(state), as_time(self.half_life, "half_life")
        try:
            batches = run.convert(run.resolve(half_life, "", scale=False), TimeUnit.BATCH, "half_life").value
        except InputError as error:
            rule = f"cannot be converted to batches of this run: {error.rule}"
            raise type(error)("half_life", str(half_life), rule, "write the time in ba, or set decay") from None
        return float(0.5 ** (self.interval / Fraction(batches)))

    def batch_end(self, trainer: Any, loss: Tensor) -> None:
        """Update the average if the number of batches is a multiple of ``interval``."""
        del loss
        if trainer.state.timestamp.batches % self.interval == 0:
            self.update()

    def eval_start(self, trainer: Any) -> None:
        """Replace the model's weights by the average."""
        if self.evaluate and not self._model:  # the evaluation is before fit(): use the average of the checkpoint
            saved = self._saved
            self.attach(trainer.model)
            self._saved, self._is_passing = saved, True
        if self.evaluate and not self._swapped:
            self._swap()

    def eval_end(self, trainer: Any, metrics: dict[str, float]) -> None:
        """Restore the trained weights bitwise."""
        del trainer, metrics
        if self._swapped:
            self._swap()
        if self._is_passing:  # undo the attach() of eval_start, so that it does not affect a later fit()
            self._model, self._average, self._is_passing = {}, {}, False

    def fit_end(self, trainer: Any, result: Any) -> None:
        """Restore the trained weights if an evaluation was interrupted."""
        del result
        self.eval_end(trainer, {})

    def attach(self, model: nn.Module) -> None:
        """Start to average the weights of a model. The first average is the current weights.

        Raises:
            InputError: The model's parameters are sharded, or the average from a checkpoint does not fit the model.
        """
        import torch

        tensors: dict[str, Tensor] = {}
        ids: set[int] = set()
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not torch.is_tensor(tensor) or id(tensor) in ids:  # tied weights occur twice, but are averaged once
                continue
            if hasattr(tensor, "placements"):
                rule = "cannot average this tensor, because it is sharded and the average of shards cannot be saved"
                raise ConflictError("callbacks.ema", name, rule, "train with trainer.parallel=ddp, or without ema")
            ids.add(id(tensor))
            tensors[name] = tensor.detach()
        self._model = tensors
        self._average = {name: tensor.clone() for name, tensor in tensors.items()}
        if self._saved is not None:
            saved, self._saved = self._saved, None
            self.load_state_dict(saved)

    def update(self) -> None:
        """Update the average with the current weights of the model."""
        import torch
        from torch.optim.swa_utils import get_ema_multi_avg_fn

        decay = _DEFAULT if self.decay is None else self.decay
        if self.warmup:
            decay = min(decay, (1 + self.updates) / (10 + self.updates))
        averaged, weights = [], []
        with torch.no_grad():
            for name, average in self._average.items():
                if average.is_floating_point() or average.is_complex():
                    averaged.append(average)
                    weights.append(self._model[name])
                else:
                    average.copy_(self._model[name])
            if averaged:
                get_ema_multi_avg_fn(decay)(averaged, weights, None)  # type: ignore[no-untyped-call]
        self.updates += 1

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """In the ``with`` block, the model has the averaged weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def copy_to(self, model: nn.Module) -> None:
        """Copy the average to ``model``, for example for an export.

        Raises:
            InputError: ``model`` does not have the architecture of the averaged model.
        """
        import torch

        own = model.state_dict(keep_vars=True)
        _check_same({name: own[name] for name in own if name in self._average}, self._average)
        with torch.no_grad():
            for name, average in self._average.items():
                own[name].copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the number of updates."""
        average = self._model if self._swapped else self._average
        return {"updates": self.updates, "average": {name: tensor.detach().clone() for name, tensor in average.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a saved average. If no model is attached yet, :meth:`attach` loads the average.

        Raises:
            InputError: ``state`` is not a saved average, or the average does not fit the model.
        """
        import torch

        average = state.get("average") if isinstance(state, Mapping) else None
        is_average = isinstance(average, Mapping) and all(map(torch.is_tensor, average.values()))
        if not is_average or type(state.get("updates")) is not int:
            raise WrongTypeError("ema", state, "must be a saved average", "load a result of EMA.state_dict()")
        if not self._model:
            self._saved = state
            return
        _check_same(state["average"], self._average)
        self.updates = int(state["updates"])
        for name, tensor in state["average"].items():
            self._average[name].copy_(tensor)

    def _swap(self) -> None:
        import torch

        # Copy into the existing tensors, because compiled models, DDP and optimizers refer to these tensors.
        with torch.no_grad():
            for name, average in self._average.items():
                weights = self._model[name].clone()
                self._model[name].copy_(average)
                average.copy_(weights)
        self._swapped = not self._swapped


def _check_same(saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name in (*own, *saved):
        shapes = [tuple(tensors[name].shape) if name in tensors else None for tensors in (saved, own)]
        if shapes[0] != shapes[1]:
            rule = f"{name} has the shape {shapes[0]} in the saved average and {shapes[1]} in the model"
            raise MismatchError("ema", name, rule, "use the model from which the average was saved")
