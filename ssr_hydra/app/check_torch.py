"""Check the use of torch's own schedulers, before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ssr_hydra.errors import ConflictError, InputError, MissingRateError, MissingValueError, within
from ssr_hydra.metrics import mode_of
from ssr_hydra.schedulers.run import Run
from ssr_hydra.state import State
from ssr_hydra.time import check_ssr

_HOME = "ssr_hydra.torch_schedulers."
WINDOWS = "ssr_hydra.data.StdlibBytes"
"""The built-in data set whose samples all have the same number of tokens."""


def is_description(node: Any) -> bool:
    """Return whether a config node has a ``_target_`` in this package's module ``torch_schedulers``."""
    return isinstance(node, Mapping) and str(node.get("_target_", "")).startswith(_HOME)


def check_torch_schedulers(
    schedulers: Sequence[tuple[str, Any]], values: Mapping[str, Any], state: State, ssr: Fraction
) -> None:
    """Refuse torch schedulers that are invalid in this run, or that cannot be combined.

    If ``state.dataloader_len`` is None, the function skips the checks that need this number.
    """
    from ssr_hydra.torch_schedulers import ReduceLROnPlateau
    from ssr_hydra.torch_schedulers.combined import together

    stepwise = values["trainer"]["use_stepwise_scheduler"]
    run = Run.of(state, ssr)
    as_run = _as_run(values, state)
    entries = []
    for path, scheduler in schedulers:
        if path.startswith(("schedules.", "scheduler.")):
            rule = "must not be a torch scheduler, because it would change the learning rates of a whole optimizer"
            raise ConflictError(path, type(scheduler).__name__, rule, "use a scheduler of this package, e.g. cosine")
        if not isinstance(scheduler, ReduceLROnPlateau):
            entries.append((path, scheduler, scheduler.pace_in(stepwise)))
            with within(path):
                scheduler.check_moves(
                    as_run, stepwise, f"use {path}.pace=batch, or {path}.pace=epoch to keep one step per epoch"
                )
            continue
        if values["data"]["eval"] is None:
            rule = "needs evaluation data, because it reads a metric of the evaluation"
            raise MissingValueError(path, "ReduceLROnPlateau", rule, "set data.eval")
        objective = values["trainer"]["objective"] or "eval/loss"
        mode_of(scheduler.mode, objective, f"{path}.mode")
        try:
            scheduler.bind(run)
        except MissingRateError as error:
            if state.dataloader_len is not None:
                raise error.within(path) from None
        except InputError as error:
            raise error.within(path) from None
    try:
        courses = together(entries, run)
    except MissingRateError:
        if state.dataloader_len is not None:
            raise
        return
    for path, course, _ in courses:
        if course.has_momenta:
            _check_momentum(path, values)


def _as_run(values: Mapping[str, Any], state: State) -> State:
    """Return ``state`` with the shorter length of a truncated run, and with the tokens per batch if constant."""
    data, trainer = values["data"], values["trainer"]
    length, tokens = state.max_duration, state.tokens_per_batch
    if length is not None and values["control"] is not None:
        length = length * check_ssr(values["ssr"])
    if tokens is None and data["train"]["_target_"] == WINDOWS and trainer["get_num_tokens_in_batch"] is None:
        tokens = data["batch_size"] * data["train"].get("length", 64)
    return State(length, state.dataloader_len, state.samples_per_batch, tokens)


def _check_momentum(path: str, values: Mapping[str, Any]) -> None:
    optimizer, field = values["optimizer"], f"{path}.cycle_momentum"
    is_torchs = isinstance(optimizer, Mapping) and str(optimizer.get("_target_", "")).startswith("torch.optim.")
    if is_torchs and not {"momentum", "betas"} & optimizer.keys():
        name = optimizer["_target_"].rpartition(".")[2]
        raise ConflictError(field, True, f"must be false, because {name} has no momentum", "set it to false")
    for name in ("momentum", "betas", "beta1"):
        if name in values.get("schedules", {}):
            raise ConflictError(field, True, f"cannot be used with schedules.{name}", "set it to false")
