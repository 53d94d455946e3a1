"""Determine whether a job can share its first steps with jobs whose configs differ only in fields such as ``ssr``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ssr_hydra.app.built_ins import known_samples
from ssr_hydra.app.check import are_named, known_dataloader_len, scheduler_parts
from ssr_hydra.app.check_torch import WINDOWS, is_description
from ssr_hydra.app.targets import as_description, instantiate, locate, walk
from ssr_hydra.errors import InputError
from ssr_hydra.schedulers.combinators import product
from ssr_hydra.schedulers.protocol import bind
from ssr_hydra.settings.resume import AUTO, ResumeSettings
from ssr_hydra.state import State
from ssr_hydra.sweeps.job_status import is_free
from ssr_hydra.sweeps.sharing.sequences import Calendar, Candidate, Sequences, Track, UnknownCounterError
from ssr_hydra.time import Time, TimeUnit, as_time, check_ssr

# Jobs may share steps even if these fields differ, because the sweep compares the scheduled values step by step. The
# keys of ``schedules`` must be equal.
_FUTURE = re.compile(r"ssr|max_duration|control|scheduler([.\[].*)?|schedules\..*")
_SHAREABLE = frozenset({"ssr_hydra.callbacks.EMA"})  # EMA counts batches, and checkpoints contain EMA's state
_LOGGERS = frozenset({"ssr_hydra.callbacks.CSVLogger"})  # CSVLogger writes a file that a different job can copy
_PROBES = 16
_CLOCKED = ("max_duration", "trainer.eval_interval", "trainer.log_interval", "trainer.iteration_length")


def candidate(values: Mapping[str, Any], trust: Sequence[str] = ()) -> Candidate:
    """Return what determines which other jobs can share training steps with this job, without reading data."""
    length = as_time(values["max_duration"], "max_duration") * check_ssr(values["ssr"])
    leaves = [(path, value) for path, value in walk(values) if not (isinstance(value, (Mapping, list)) and value)]
    fields = {path: text for path, value in leaves if (text := _compared(path, value, length)) is not None}
    fields["logger.csv"] = str(any(node["_target_"] in _LOGGERS for node in values["logger"].values()))
    fields["the scheduled fields"] = ", ".join(sorted(values["schedules"])) or "none"
    calendar = _calendar(values)
    sequences = None
    with suppress(UnknownCounterError):
        sequences = Sequences(calendar.steps(length))
    refused = next(_refusals(values, tuple(trust)), None)
    if refused is not None:
        return Candidate(fields, sequences, refused)
    try:
        sequences = _sequences(values, tuple(trust), calendar, calendar.steps(length))
    except UnknownCounterError as error:
        reason = f"a schedule or max_duration needs {error}, which is unknown before training"
        return Candidate(fields, sequences, reason)
    except InputError as error:  # for example, the schedule needs the unknown number of batches per epoch
        return Candidate(fields, sequences, f"{error.field}: {error.rule}")
    fields["the named schedules"] = ", ".join(sorted(sequences.tracks)) or "none"
    return Candidate(fields, sequences, hint=_hint(values))


def _hint(values: Mapping[str, Any]) -> str:
    """Return a hint if jobs cannot share the warmup because it depends on the run's length; otherwise an empty text."""
    for field, part in scheduler_parts(values["scheduler"]) if values["scheduler"] is not None else []:
        warmup = part.get("t_warmup") if isinstance(part, Mapping) else None
        if isinstance(warmup, str) and warmup.endswith("dur"):
            unit = as_time(values["max_duration"], "max_duration").unit.value
            return f"; {field}.t_warmup={warmup} is a fraction of the run; a warmup in {unit} can be shared"
        if isinstance(part, Mapping) and part.get("scale_warmup"):
            return f"; {field}.scale_warmup=true scales the warmup with ssr; an unscaled warmup can be shared"
    return ""


def _compared(path: str, value: Any, length: Time) -> str | None:
    """Return a field's value as text for comparison; None if jobs with different values may share steps."""
    if is_free(path) or _FUTURE.fullmatch(path):
        return None
    if isinstance(value, str) and value.rstrip().endswith("dur"):
        try:
            time = as_time(value, path)
        except InputError:
            return json.dumps(value)
        return str(length * time.value)  # convert the fraction of the run to the unit of the run's length
    return json.dumps(value, sort_keys=True)


def _refusals(values: Mapping[str, Any], trust: tuple[str, ...]) -> Iterator[str]:
    """Yield the reasons why a job cannot share steps with any other job."""
    for field in _CLOCKED:
        node: Any = values
        for key in field.split("."):
            node = node[key]
        if node is not None and as_time(node, field).unit is TimeUnit.SECOND:
            yield f"{field}={node} is measured in seconds, so its step differs from run to run"
    checkpoint = values["checkpoint"]
    if not checkpoint["enabled"]:
        yield "checkpoint.enabled=false: sharing needs checkpoints"
    if checkpoint["best"] is not None:
        yield f"checkpoint.best={checkpoint['best']}: jobs cannot share their best checkpoint"
    path = ResumeSettings.of(values["resume"]).path
    if path != AUTO:
        yield f"resume.path={path}: the job does not start from the beginning"
    for name, node in values["logger"].items():
        if node["_target_"] not in _LOGGERS:
            yield f"logger.{name} would log the shared steps of only one job"
    for name, node in values["callbacks"].items():
        target = node["_target_"]
        if target in _SHAREABLE:
            continue
        if target.startswith("ssr_hydra."):
            yield f"callbacks.{name} has a state that checkpoints do not contain"
        elif getattr(locate(target, trust, f"callbacks.{name}._target_"), "shareable", None) is not True:
            rule = "may depend on the length of the run; if it does not, set shareable = True in its class"
            yield f"callbacks.{name} ({target}) {rule}"
    for path, part in scheduler_parts(values["scheduler"]) if values["scheduler"] is not None else ():
        if is_description(as_description(part)):
            yield f"{path} is a scheduler of torch; only this package's schedulers (multistep, cosine ...) can share"
    if str(values["trainer"]["device"]).startswith("mps"):
        yield "trainer.device=mps: mps kernels are not deterministic"


def _calendar(values: Mapping[str, Any]) -> Calendar:
    data, trainer = values["data"], values["trainer"]
    batches = known_dataloader_len(data)
    samples = known_samples(data["train"])
    if samples is not None and batches is not None:
        samples = min(samples, batches * data["batch_size"])
    tokens = None
    if data["train"]["_target_"] == WINDOWS and trainer["get_num_tokens_in_batch"] is None:
        tokens = data["train"].get("length", 64)
    is_counted = trainer["get_num_samples_in_batch"] is None
    return Calendar(data["batch_size"], batches, samples, tokens, is_counted)


def _sequences(values: Mapping[str, Any], trust: tuple[str, ...], calendar: Calendar, steps: int) -> Sequences:
    ssr = check_ssr(values["ssr"] if values["control"] is None else 1)
    data, trainer = values["data"], values["trainer"]
    state = State(
        max_duration=as_time(values["max_duration"], "max_duration") * ssr,
        dataloader_len=calendar.batches,
        samples_per_batch=trainer["samples_per_batch"] or data["batch_size"],
        tokens_per_batch=trainer["tokens_per_batch"],
    )

    def bound(node: Any, path: str, *, by_epoch: bool = False) -> Track:
        parts = node if isinstance(node, list) else [node]
        curves = [bind(instantiate(part, trust, path), state, ssr) for part in parts]
        track = Track(product(curves), calendar, by_epoch=by_epoch)
        if track.is_exact:
            # Compute some values, so that a schedule that needs an unknown number (tokens per batch) raises an error.
            for step in range(0, steps, max(1, steps // _PROBES)):
                track.values(step, step + 1)
        return track

    by_epoch = trainer["use_stepwise_scheduler"] is False
    tracks = {f"schedules.{name}": bound(node, f"schedules.{name}") for name, node in values["schedules"].items()}
    node = values["scheduler"]
    named = {f"scheduler.{name}": part for name, part in node.items()} if are_named(node) else {"scheduler": node}
    if node is not None:
        tracks |= {path: bound(part, path, by_epoch=by_epoch) for path, part in named.items()}
    return Sequences(steps, tracks)
