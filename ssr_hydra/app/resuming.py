"""Check ``resume`` and ``checkpoint`` at composition. Refuse a folder that contains a run with a different config."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ssr_hydra.app.check_values import check_fields, check_no_iterations, is_result
from ssr_hydra.app.yaml_files import FileBounds
from ssr_hydra.checkpoints.description import CHANGE_FIX, MISSING, Difference, differences, joined
from ssr_hydra.checkpoints.resume import find
from ssr_hydra.checkpoints.store import OF_A_RUN, refuse_links
from ssr_hydra.configs import APP_KEYS, GROUPS, CheckpointConfig, ExperimentConfig, ResumeConfig
from ssr_hydra.errors import ConflictError, MismatchError, UnknownNameError
from ssr_hydra.files import check_length
from ssr_hydra.metrics_log import has_log
from ssr_hydra.records import RESULT, config_hash, refuse_finished
from ssr_hydra.settings import CheckpointSettings, ResumeSettings, setting_of
from ssr_hydra.settings.resume import AUTO, NEVER
from ssr_hydra.time import as_time

# Settings that may change when a run is resumed: logging, checkpoints, evaluation and the loading of data.
_FREE = re.compile(
    r"(name|debug|logger|callbacks|checkpoint|resume)(\.|$)"
    r"|trainer\.(progress|eval_interval|log_interval|objective|metrics)(\.|$)"
    r"|data\.(eval|test|eval_batch_size|num_workers|prefetch_factor)(\.|$)"
)
# How built-in data is read may also change on resume, because a checkpoint identifies data by its content.
_SOURCE = re.compile(r"data\.(train\.(path|eval_path|root|download|header|delimiter|decimal|na_values)|eval_path)$")
# No value of resume.on_change allows a change of these settings, because the tensors of the checkpoint would not fit.
_NEVER = re.compile(r"(model|optimizer\._target_|optimizer\.\w+\._target_|trainer\.precision)(\.|$)")


def check_resume(values: Mapping[str, Any]) -> None:
    """Refuse an invalid ``resume``, and a ``resume.path`` that contains no checkpoint."""
    node = values["resume"]
    if isinstance(node, Mapping):
        check_fields(node, ResumeConfig, "resume")
    path = str(ResumeSettings.of(node).path)
    check_length(path, "resume")
    if path not in (AUTO, NEVER):
        find(path, None)


def check_checkpoint(values: Mapping[str, Any], results: Sequence[str]) -> None:
    """Refuse an invalid ``checkpoint``."""
    node = values["checkpoint"]
    if isinstance(node, Mapping):
        check_fields({"export": None, **node}, CheckpointConfig, "checkpoint")
        best = node.get("best")
        if isinstance(best, str) and not is_result(best, results, values["trainer"]["metrics"]):
            rule = f"must be one of {', '.join(results)}"
            raise UnknownNameError("checkpoint.best", best, rule, "choose one of these, or set checkpoint.best=null")
    checkpoint = setting_of(CheckpointSettings, node, "checkpoint")
    if checkpoint.interval is not None and values["trainer"]["iteration_length"] is None:
        check_no_iterations(as_time(checkpoint.interval, "checkpoint.interval"), "checkpoint.interval")


def check_folder(folder: Path, config: Any, values: Mapping[str, Any], field: str) -> None:
    """Refuse a run if its folder contains a run with a different config, before any file is written in the folder.

    ``values`` are the plain values of ``config``. ``field`` is the key of the config that sets the folder.
    """
    refuse_links(folder, OF_A_RUN, field)
    resume = ResumeSettings.of(values["resume"])
    path, on_change = str(resume.path), resume.on_change
    own = find(AUTO, folder)
    if path == NEVER and ((folder / RESULT).exists() or own is not None or has_log(folder)):
        rule = "already contains a run, and resume=never starts a new run"
        raise ConflictError(field, str(folder), rule, f"remove {field}, or use a new folder")
    if own is None:
        refuse_finished(folder, field, config_hash(values))
    if own is None or on_change != "refuse":
        return
    try:
        text = FileBounds().read(folder / ".hydra/config.yaml")
        before: Any = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (OSError, ValueError, OmegaConfBaseException, YAMLError):
        return  # the folder has no readable config; the trainer compares the run with the checkpoint instead
    if not isinstance(before, dict):
        return
    now: Any = OmegaConf.to_container(config, resolve=False)
    before, now = (
        {key: value for key, value in each.items() if key != "hydra" and key not in APP_KEYS} for each in (before, now)
    )
    changes = [item for item in differences(before, now) if not _is_free(item, now)]
    if changes:
        rule = f"{folder} contains a different run: {joined(changes)}"
        fix = "use a new folder"
        if not any(_NEVER.match(item.field) for item in changes):
            fix += f", or {CHANGE_FIX}"
        raise MismatchError("resume", path, rule, fix)


def _is_free(item: Difference, now: Mapping[str, Any]) -> bool:
    """Return whether a run may resume although this field differs, e.g. because a newer release added the field."""
    if _SOURCE.match(item.field) and str(now["data"]["train"].get("_target_")).startswith("ssr_hydra.data."):
        return True
    return _FREE.match(item.field) is not None or (item.old is MISSING and _is_default(item, now))


def _is_default(item: Difference, now: Mapping[str, Any]) -> bool:
    *path, name = item.field.split(".")
    node: Any = now
    for key in path:
        node = node.get(key) if isinstance(node, Mapping) else None
    if not path:
        schemas: list[Any] = [ExperimentConfig]
    elif path in (["trainer"], ["data"]):
        schemas = [GROUPS["trainer"]["default"], GROUPS["data"]["custom"]]
    else:
        target = node.get("_target_") if isinstance(node, Mapping) else None
        choices = [config for group in GROUPS.values() for config in group.values()]
        schemas = [config for config in choices if target is not None and getattr(config, "_target_", None) == target]
    configs = [schema() if isinstance(schema, type) else schema for schema in schemas]
    return any(hasattr(schema, name) and getattr(schema, name) == item.new for schema in configs)
