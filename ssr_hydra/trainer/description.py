"""The description of a run in its checkpoints: settings, model and data. A resume uses it to detect changes."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Subset, TensorDataset

from ssr_hydra.data.describe import digest
from ssr_hydra.data.loaders import known_length
from ssr_hydra.data.seeded import NamedStream, SeededDataset
from ssr_hydra.errors import InputError
from ssr_hydra.optim.torch_schedulers import Paced, read
from ssr_hydra.settings import CountSettings, StepSettings
from ssr_hydra.state import State
from ssr_hydra.time import Time
from ssr_hydra.trainer.argument_checks import batch_size
from ssr_hydra.trainer.learning_rates import follows_metric
from ssr_hydra.trainer.parallel import class_name, is_sharded

_MOST_SHOWN, _MOST_ROWS = 64, 256
# The settings of a step that are in the "step" part of a description. Precision and channels_last are separate parts.
_OF_STEP = ("accumulate", "clip_grad_norm", "clip_grad_value", "loss_mean_over")
_SHARED = (
    *("precision", "scheduler", "schedules", "optimizers", "model", "loss"),
    *("use_stepwise_scheduler", "channels_last", "device"),
)


def describe_run(
    state: State,
    *,
    run: Mapping[str, Any],
    counts: CountSettings,
    schedulers: Any,
    schedules: Mapping[str, Any] | None,
    use_stepwise_scheduler: bool | None,
    model: nn.Module,
    loader: Iterable[Any],
    loss: Any,
    step: StepSettings,
    device: str,
    processes: int,
    objective: str | None,
    eval_interval: Any,
    evaluation: Iterable[Any] | None,
) -> dict[str, Any]:
    """Return the description of a run for its checkpoints, from the trainer's arguments and the new run's state."""
    described = {
        "run": {
            **run,
            # These two values are None if the user did not pass them. The loader's batch size is in "data".
            "samples_per_batch": None if counts.samples_per_batch is None else str(state.samples_per_batch),
            "tokens_per_batch": None if counts.tokens_per_batch is None else str(state.tokens_per_batch),
        },
        "scheduler": plain_data(schedulers),
        "schedules": plain_data(schedules or {}),
        "use_stepwise_scheduler": use_stepwise_scheduler,
        "optimizers": [describe_optimizer(optimizer) for optimizer in state.optimizers],
        "model": describe_model(model),
        "data": describe_loader(loader),
        "loss": plain_data(loss),
        "iteration_length": None if counts.iteration_length is None else str(counts.iteration_length),
        "step": {key: getattr(step, key) for key in _OF_STEP},
        "precision": step.precision,
        "channels_last": step.channels_last,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        "device": device,
        "processes": processes,
        "sharded": is_sharded(model),
    }
    if follows_metric(schedulers):  # the data and times of evaluations affect training
        described["follows"] = {
            "objective": objective,
            "eval_interval": None if eval_interval is None else str(eval_interval),
            "eval": None if evaluation is None else describe_loader(evaluation),
        }
    return described


def shared_description(description: Mapping[str, Any], loader: Iterable[Any], **others: Any) -> dict[str, Any]:
    """Return the values that must be equal in all processes of a run: parts of the description, and ``others``."""
    # If the loader has a global batch size, all processes share one order of the data, and must have equal loaders.
    shares_order = hasattr(loader, "global_batch_size")
    data = {key: value for key, value in description["data"].items() if key != "dataset"} if shares_order else None
    shared = {key: description[key] for key in _SHARED}
    return {**description["run"], **description["step"], **shared, "data": data, **plain_data(others)}


def merged_code(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return a digest of the code of each package. If the code changed at a resume, the value is ``old+new``."""
    both = {name: f"{before.get(name, '')}+{digest}" for name, digest in now.items()}
    return {name: "+".join(dict.fromkeys(filter(None, text.split("+")))) for name, text in both.items()}


def describe_model(model: nn.Module) -> dict[str, Any]:
    """Return the description of a model: its class, and the type and shape of every tensor in its state dict."""
    tensors = {
        name: f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    return {"class": class_name(model), "state": tensors}


def describe_optimizer(optimizer: Optimizer) -> dict[str, Any]:
    """Return the description of an optimizer: its class, and the initial hyperparameters of each param group."""
    return {"class": type(optimizer).__qualname__, "groups": [_group(group) for group in optimizer.param_groups]}


def _group(group: Mapping[str, Any]) -> dict[str, Any]:
    # Describe the initial values, without the effect of schedules: schedules multiply the values of `initial_*`.
    plain = {key: value for key, value in group.items() if key != "params" and not key.startswith("initial_")}
    plain.update({key.removeprefix("initial_"): group[key] for key in group if key.startswith("initial_")})
    return {"parameters": len(group["params"]), **{key: plain_data(value) for key, value in plain.items()}}


def describe_loader(loader: Iterable[Any]) -> dict[str, Any]:
    """Return the description of a loader: the number, size and order of its batches, and its data set."""
    described: dict[str, Any] = {
        "loader": type(loader).__qualname__,
        "batches": known_length(loader),
        "batch_size": batch_size(loader),
    }
    for part in (loader, getattr(loader, "batch_sampler", None)):
        for name in ("seed", "shuffle", "drop_last"):
            value = getattr(part, name, None)
            if isinstance(value, (bool, int)) and name not in described:
                described[name] = value
    if getattr(loader, "augment", None) is not None:
        described["augment"] = plain_data(loader.augment)  # type: ignore[attr-defined]
    dataset = getattr(loader, "dataset", None)
    if dataset is not None:
        described["dataset"] = describe_data(dataset)
    return described


def describe_data(dataset: Any) -> dict[str, Any]:
    """Return the result of the data set's method ``describe``, or its class, length, and digests of its tensors."""
    if isinstance(dataset, (NamedStream, SeededDataset)):
        dataset = dataset.dataset
    describe = getattr(dataset, "describe", None)
    if callable(describe):
        return {str(key): plain_data(value) for key, value in describe().items()}
    described: dict[str, Any] = {"class": type(dataset).__qualname__, "samples": known_length(dataset)}
    if isinstance(dataset, TensorDataset):
        described["tensors"] = [_tensor(tensor) for tensor in dataset.tensors]
    elif isinstance(dataset, Subset):
        described.update(indices=plain_data(list(dataset.indices)), of=describe_data(dataset.dataset))
    return described


def _tensor(tensor: Tensor) -> str:
    """Return the type and shape of a tensor, and a digest of at most 256 evenly spaced rows."""
    rows = tensor.detach().reshape(len(tensor) if tensor.ndim else 1, -1)
    if len(rows) > _MOST_ROWS:
        rows = rows[torch.linspace(0, len(rows) - 1, _MOST_ROWS).long()]
    content = rows.to("cpu").contiguous().view(torch.uint8).numpy().tobytes()
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype} {list(tensor.shape)} {digest([content])[:16]}"


def plain_data(value: Any, around: tuple[int, ...] = ()) -> Any:
    """Convert a value to JSON data that is equal in all processes. Replace an object by its class and arguments.

    ``around`` has the ids of the containers around this value, to detect a value that contains itself.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if id(value) in around:  # the value contains itself
        return "..."
    plain = functools.partial(plain_data, around=(*around, id(value)))
    if isinstance(value, Tensor):
        return plain(value.tolist()) if value.numel() <= _MOST_SHOWN else _tensor(value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist()) if value.dtype == object else plain(torch.as_tensor(value))
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, (Enum, Path, bytes, complex, Fraction, torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, (bool, int, float, str)):  # convert an instance of a subclass to the plain type
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    if isinstance(value, Time):
        return value.to_timestring()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):  # the order of a set differs between processes
        return sorted((plain(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        if len(items) <= _MOST_SHOWN:
            return items
        return f"list [{len(items)}] {digest([json.dumps(items, sort_keys=True).encode()])[:16]}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, functools.partial):
        return {"class": _function_name(value.func), "args": plain(value.args), **plain(value.keywords)}
    if isinstance(value, Paced):
        return {"pace": value.pace, **plain(value.scheduler)}
    if isinstance(value, torch.optim.lr_scheduler.LRScheduler):
        try:
            return plain(read(value))  # describe all arguments, even private arguments
        except InputError:
            pass
    if isinstance(value, (Callable, type)) and hasattr(value, "__qualname__"):  # type: ignore[arg-type]
        return _function_name(value)
    described = {"class": type(value).__qualname__}
    if hasattr(value, "__dict__"):
        described.update({key: plain(item) for key, item in vars(value).items() if _is_setting(key, item)})
    if isinstance(value, nn.Module):  # for example, the value is a loss with class weights
        described.update({key: plain(item) for key, item in value.state_dict().items()})
    return described


def _function_name(function: Any) -> str:
    return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', type(function).__qualname__)}"


# Attributes of torch schedulers that are not settings: counters, and values that they read from their optimizer.
_MOVING = frozenset({"last_epoch", "base_lrs", "num_bad_epochs", "cooldown_counter", "best", "T_cur", "T_i"})


def _is_setting(key: str, value: Any) -> bool:
    return (
        not key.startswith("_") and key not in _MOVING and isinstance(value, (bool, int, float, str, list, tuple, Time))
    )
