"""Save model, optimizers and random state in a checkpoint, and restore them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ssr_hydra.data.seeding import GlobalRng
from ssr_hydra.errors import WrongTypeError
from ssr_hydra.records import is_count
from ssr_hydra.settings import CheckpointSettings
from ssr_hydra.trainer.parallel import load_weights, weights
from ssr_hydra.trainer.processes import Processes


def random_numbers(now: GlobalRng) -> dict[str, Any]:
    """Return the state of random generators as plain data: numbers, strings, lists and tensors."""
    version, numbers, gauss = now.python
    numpy = None
    if now.numpy is not None:
        name, keys, *rest = now.numpy
        numpy = [str(name), [int(key) for key in keys], *(number for number in rest)]
    return {"python": [version, list(numbers), gauss], "numpy": numpy, "cpu": now.cpu, "cuda": now.cuda, "mps": now.mps}


def restore_random_numbers(state: Mapping[str, Any]) -> None:
    """Restore the result of :func:`random_numbers`, except for devices that this machine does not have."""
    version, numbers, gauss = state["python"]
    numpy = state["numpy"]
    now = GlobalRng.now()
    if numpy is not None and now.numpy is not None:
        import numpy as np

        name, keys, *rest = numpy
        numpy = (name, np.array(keys, dtype=np.uint32), *rest)
    cuda = state["cuda"]
    usable = cuda is not None and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count()
    GlobalRng(
        python=(version, tuple(numbers), gauss),
        numpy=numpy if now.numpy is not None else None,
        cpu=state["cpu"],
        cuda=cuda if usable else None,
        mps=state["mps"] if now.mps is not None else None,
    ).restore()


def saved_weights(
    model: nn.Module, optimizers: Sequence[Optimizer], processes: Processes, reading: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the state of model, optimizers and all processes' random generators. All processes must call this."""
    model_state, optimizer_states = weights(model, tuple(optimizers))
    return {
        "model": model_state,
        "optimizers": optimizer_states,
        "random": processes.gather({**random_numbers(GlobalRng.now()), "reading": reading}),
    }


def restore_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Load only the model from a checkpoint's state."""
    load_weights(model, (), state["model"], [])


class BestSoFar:
    """Decides whether an evaluation has the best finite value so far of the metric in ``checkpoint.best``."""

    def __init__(self, settings: CheckpointSettings) -> None:
        self._name, self._mode = settings.best, settings.best_mode
        self._best: float | None = None

    def __call__(self, metrics: Mapping[str, float]) -> bool:
        value = None if self._name is None else metrics.get(self._name)
        if value is None or not math.isfinite(value):
            return False
        is_best = self._best is None or (value > self._best if self._mode == "max" else value < self._best)
        self._best = value if is_best else self._best
        return is_best


def check_exportable(model: nn.Module, field: str, path: object) -> None:
    """Refuse a model with a state that a safetensors file cannot hold."""
    for name, value in model.state_dict().items():
        if not torch.is_tensor(value) or value.is_complex():
            kind = value.dtype if torch.is_tensor(value) else type(value).__name__
            rule = f"a safetensors file can contain only real tensors, but {name} is of type {kind}"
            raise WrongTypeError(field, str(path), rule, "use ssr-evaluate export=model.pt")


def as_safetensors(model: nn.Module, state: Mapping[str, Any], name: str | None, ssr: float, steps: int) -> bytes:
    """Return a model's full ``state`` in the format of safetensors. Store tied tensors once."""
    from safetensors.torch import save

    first: dict[int, str] = {}
    stored_keys = {key: first.setdefault(id(own), key) for key, own in sorted(model.state_dict(keep_vars=True).items())}
    tensors = {
        key: state[key].detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, other in stored_keys.items()
        if key == other
    }
    metadata = {key: other for key, other in stored_keys.items() if key != other}
    metadata |= {"format": "pt", "ssr": str(ssr), "steps": str(steps)} | ({} if name is None else {"name": name})
    return bytes(save(tensors, metadata))


def restore_optimizers(
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    states: Sequence[dict[str, Any]],
    old: Sequence[Mapping[str, Any]],
    new: Sequence[Mapping[str, Any]],
) -> None:
    """Load saved states into new optimizers. A hyperparameter that differs between ``old`` and ``new`` is not loaded.

    ``old`` and ``new`` describe the optimizers of the checkpoint and of this run.

    Raises:
        TypeError, ValueError: The state of an optimizer does not fit the parameters.
    """
    for optimizer, saved in zip(optimizers, states, strict=True):
        _check_fits(optimizer, saved)
    fresh_groups = [[dict(group) for group in optimizer.param_groups] for optimizer in optimizers]
    load_weights(model, tuple(optimizers), None, list(states))
    for optimizer, groups, was, is_now in zip(optimizers, fresh_groups, old, new, strict=True):
        # If this flag is not set, torch warns that lr_scheduler.step() was called before optimizer.step().
        optimizer._opt_called = True  # type: ignore[attr-defined]
        pairs = zip(optimizer.param_groups, groups, was["groups"], is_now["groups"], strict=True)
        for group, fresh_group, before, after in pairs:
            for key in fresh_group:
                name = key.removeprefix("initial_")
                if key == "params" or (key in group and name in before and before[name] == after.get(name)):
                    continue
                group[key] = fresh_group[key]
                group.pop(f"initial_{key}", None)
                if f"initial_{key}" in fresh_group:
                    group[f"initial_{key}"] = fresh_group[f"initial_{key}"]


_COUNTERS = ("step", "eta", "mu", "mu_product")
# In the state of these torch optimizers, each entry that is not in _COUNTERS has the shape of its parameter.
_OF_SHAPES = frozenset(name for name in torch.optim.__all__ if name not in ("Adafactor", "LBFGS", "Optimizer"))


def _check_fits(optimizer: Optimizer, saved: Any) -> None:
    # torch compares only the number of parameters, and would load a wrong state, which breaks the first step.
    parameters: dict[Any, torch.Tensor] = {}
    for number, (group, own) in enumerate(zip(saved["param_groups"], optimizer.param_groups, strict=True)):
        for key, value in group.items():
            name = key if key in own else str(key).removeprefix("initial_")
            if name != "params" and name in own and not _is_alike(value, own[name]):
                raise TypeError(f"{key} of param group {number} is {value!r}")
        parameters.update(zip(group["params"], own["params"], strict=True))
    kind = type(optimizer)
    if kind.__name__ not in _OF_SHAPES or kind is not getattr(torch.optim, kind.__name__):
        return
    names: set[str] | None = None
    for number, state in saved["state"].items():
        parameter = parameters[number]
        names = set(state) if names is None else names
        if set(state) != names:
            raise ValueError(f"parameter {number} has {sorted(state)}, but other parameters have {sorted(names)}")
        for name, value in state.items():
            if name in _COUNTERS:
                if not 0 <= float(value) < math.inf:
                    raise ValueError(f"{name} of parameter {number} is {float(value)}")
            elif not (name == "momentum_buffer" and value is None) and value.shape != parameter.shape:
                shapes = f"{list(value.shape)}, and the parameter's is {list(parameter.shape)}"
                raise ValueError(f"{name} of parameter {number} has the shape {shapes}")


def _is_alike(saved: Any, own: Any) -> bool:
    """Return whether a saved hyperparameter has the same type as this run's hyperparameter."""
    if isinstance(own, (tuple, list)):
        same = isinstance(saved, (tuple, list)) and len(saved) == len(own)
        return same and all(map(_is_alike, saved, own))
    if isinstance(own, (bool, int, float, torch.Tensor)):
        return type(saved) in (bool, float) or is_count(saved) or (torch.is_tensor(saved) and saved.numel() == 1)
    return isinstance(saved, type(own)) or (own is None and type(saved) in (bool, int, float, str))
