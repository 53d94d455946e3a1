"""Check every value of an experiment before any data is read, any model is created or torch is imported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssr_hydra.app.built_ins import check_fit, check_known, data_name, known_samples, with_two_sources
from ssr_hydra.app.callbacks import check_callbacks
from ssr_hydra.app.check_optimizers import check_optimizers, check_reach
from ssr_hydra.app.check_task import check_task
from ssr_hydra.app.check_torch import check_torch_schedulers, is_description
from ssr_hydra.app.check_values import (
    check_against_choices,
    check_fields,
    check_no_iterations,
    check_node,
    check_whole,
    is_result,
    not_a_scheduler,
)
from ssr_hydra.app.messages import explain
from ssr_hydra.app.resuming import check_checkpoint, check_resume
from ssr_hydra.app.targets import REGISTERED, as_description, check_targets, check_trust, instantiate
from ssr_hydra.configs import APP_KEYS, GROUPS, ExperimentConfig
from ssr_hydra.configs.experiment import CONTROLS, DEVICE
from ssr_hydra.errors import (
    ConflictError,
    FormatError,
    InputError,
    MissingRateError,
    MissingValueError,
    UnknownNameError,
    WrongTypeError,
)
from ssr_hydra.settings import CountSettings, DataSettings, StepSettings, keys_of, setting_of
from ssr_hydra.settings.base import PROGRESS, count, did_you_mean, interval, number, one_of, seed_number
from ssr_hydra.state import State
from ssr_hydra.time import as_time, check_ssr, simplest

CHECKED: list[tuple[dict[str, Any], tuple[str, ...]]] = []
"""The experiment that preflight has checked, with its ``trust``. :func:`check` does not check this experiment again."""

# Keys that release 0.1 did not have. A config with null for these keys has the same hash as in release 0.1.
_NEW_KEYS = (("data", "test"), ("checkpoint", "export"))

_SCHEDULERS = frozenset(GROUPS["scheduler"])
_SCHEDULER_HOMES = ("ssr_hydra.schedulers.", "ssr_hydra.torch_schedulers.")
_PART = re.compile(r"\.(factors|schedulers)\.\w+$|\.phases\.\w+\.scheduler$")
_LONGEST_NAME = 200


def plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as plain Python values, with interpolations resolved.

    A run without a name gets the name of its data. Metrics that the user has set to null are removed. A rounding error
    in ``ssr`` is corrected (:func:`~ssr_hydra.time.simplest`): ``ssr=0.30000000000000004`` becomes ``ssr=0.3``.
    """
    node = cfg if isinstance(cfg, DictConfig) else OmegaConf.create(dict(cfg))
    try:
        # Resolve key by key, without the node hydra: some values of this node exist only in a running job.
        values = {str(key): node[key] for key in node if key != "hydra" and key not in APP_KEYS}
        for key, value in values.items():
            if OmegaConf.is_config(value):
                values[key] = OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    except (OmegaConfBaseException, RecursionError) as error:
        raise explain(error) from None
    if "data" in values:
        values["data"] = with_two_sources(values["data"])
    for part, key in _NEW_KEYS:
        if isinstance(values_of := values.get(part), Mapping) and values_of.get(key) is None:
            values[part] = {name: value for name, value in values_of.items() if name != key}
    if "name" in values and values["name"] is None:
        values["name"] = data_name(values.get("data"))
    if isinstance(ssr := values.get("ssr"), float) and 0 < ssr < math.inf:
        values["ssr"] = float(simplest(ssr))
    trainer = values.get("trainer")
    if isinstance(trainer, dict) and isinstance(metrics := trainer.get("metrics"), dict):
        trainer["metrics"] = {name: metric for name, metric in metrics.items() if metric is not None}
    return values


def check(cfg: DictConfig | Mapping[str, Any], trust: Iterable[str] | str = ()) -> dict[str, Any]:
    """Refuse an invalid experiment. The check needs neither torch nor data, and takes milliseconds.

    Args:
        cfg: The composed experiment, as Hydra passes it to ``train.py``.
        trust: Modules, in addition to this package, whose classes and functions the config may name by ``_target_``.

    Returns:
        The experiment as plain Python values.

    Raises:
        InputError: A value is invalid. The error names the dotted path of the field, the value, the rule and the fix.

    Example:
        >>> from hydra import compose, initialize_config_dir
        >>> from ssr_hydra.configs import GROUPS, conf_dir, register
        >>> register(GROUPS)
        >>> with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        ...     cfg = compose("config", ["scheduler.t_warmup=10"])
        >>> check(cfg)
        Traceback (most recent call last):
        ssr_hydra.errors.FormatError: scheduler.t_warmup='10': a duration needs a unit; did you mean '10ba' or '10ep'?
    """
    trust = check_trust(trust)
    values = plain(cfg)
    if (values, trust) in CHECKED:
        return values
    config_keys = [field.name for field in fields(ExperimentConfig)]
    for key in values:
        if key not in config_keys:
            raise UnknownNameError(key, values[key], "unknown config key", did_you_mean(key, config_keys))
    for key in config_keys:
        if key not in values:
            raise MissingValueError(key, None, "is missing", f"write +{key}=..." if key in GROUPS else "set it")
    # Check targets first, so that no other value is read from a config with a target that is not allowed.
    check_targets(values, trust)
    _check_data(values["data"])
    check_node(values["model"], "model", "model=conv")
    check_against_choices(values["model"], "model")
    check_known(values)
    check_fit(values["data"], values["model"])
    check_optimizers(values)
    evaluates = values["data"]["eval"] is not None or values["data"]["eval_on_train"]
    results = _check_trainer(values["trainer"], evaluates=evaluates)
    check_task(values)
    _check_top(values)
    check_checkpoint(values, results)
    check_resume(values)
    check_callbacks(values)
    check_schedule(values, dataloader_len=known_dataloader_len(values["data"]))
    return values


def _check_top(values: Mapping[str, Any]) -> None:
    for key, example in (("name", "e.g. name=digits_wsd"), ("debug", "write debug=null")):
        name = values[key]
        if key == "debug" and name is None:
            continue
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            raise FormatError(key, name, f"must be a name of 1 to {_LONGEST_NAME} printable characters", example)
    ssr = check_ssr(number(values["ssr"], "ssr"))
    # This multiplication raises an error if the scaled length is not a valid time.
    length = _run_length(values["max_duration"]) * ssr
    if values["trainer"]["iteration_length"] is None:
        check_no_iterations(length, "max_duration")
    seed_number(values["seed"])
    control = values["control"]
    if control is not None and one_of(control, "control", CONTROLS) and ssr > 1:
        rule = f"needs ssr of at most 1 (got ssr={float(ssr):g}), because truncation can only shorten a run"
        raise ConflictError("control", control, rule, "use ssr values up to 1")


def _run_length(value: Any) -> Any:
    return State(max_duration=as_time(value, "max_duration")).max_duration


def check_schedule(values: Mapping[str, Any], dataloader_len: int | None = None) -> None:
    """Refuse schedulers with arguments that are invalid for a run of this length.

    If ``dataloader_len`` (batches per epoch) is None, skip the checks that need this number.
    """
    from ssr_hydra.schedulers import bind

    parts = [] if values["scheduler"] is None else scheduler_parts(values["scheduler"])
    for name, node in values["schedules"].items():
        if are_named(node) or node == []:
            rule = "must be a scheduler, or a list of schedulers whose multipliers are multiplied"
            raise WrongTypeError(f"schedules.{name}", node, rule, f"write +scheduler@schedules.{name}=cosine")
        parts += scheduler_parts(node, f"schedules.{name}")
    # A truncated run (control=truncate) ends early, but follows the unscaled schedule (ssr=1).
    ssr = check_ssr(values["ssr"] if values["control"] is None else 1)
    state = State(
        max_duration=_run_length(values["max_duration"]) * ssr,
        dataloader_len=dataloader_len,
        samples_per_batch=values["trainer"]["samples_per_batch"] or values["data"]["batch_size"],
        tokens_per_batch=values["trainer"]["tokens_per_batch"],
    )
    torchs = []
    for path, scheduler_node in parts:
        part = as_description(scheduler_node)
        if not isinstance(part, Mapping) or "_target_" not in part:
            check_node(part, path, "scheduler=cosine_warmup")
        scheduler = instantiate(_with_stand_ins(part, path), path=path)
        if is_description(part):
            torchs.append((path, scheduler))
            continue
        try:
            curve = bind(scheduler, state, ssr)
        except MissingRateError as error:
            if dataloader_len is not None:
                raise error.within(path) from None
        except InputError as error:
            raise (error if error.field == "ssr" else error.within(path)) from None
        else:
            group, _, field = path.partition(".")
            if group == "schedules":
                check_reach(values, field, curve, state)
    if torchs:
        check_torch_schedulers(torchs, values, state, ssr)


def scheduler_parts(node: Any, path: str = "scheduler") -> list[tuple[str, Any]]:
    """Return the path and the node of each scheduler. ``node`` is one scheduler, or a list or mapping of schedulers."""
    if isinstance(node, list):
        return [(f"{path}[{index}]", part) for index, part in enumerate(node)]
    if are_named(node):
        return [pair for name, part in node.items() for pair in scheduler_parts(part, f"{path}.{name}")]
    return [(path, node)]


def are_named(node: Any) -> bool:
    """Return whether a node maps names to schedulers. In this case, each param group chooses its scheduler by name."""
    return (
        isinstance(node, Mapping) and "_target_" not in node and bool(node) and all(map(_are_schedulers, node.values()))
    )


def _are_schedulers(node: Any) -> bool:
    return all(
        isinstance(part, Mapping) and "_target_" in part for part in (node if isinstance(node, list) else [node])
    )


def _stand_in(state: object, ssr: float = 1.0) -> float:  # noqa: ARG001  # schedulers have these arguments
    """Act as a custom scheduler in the checks, because importing the custom scheduler may import torch."""
    return 1.0


def _with_stand_ins(node: Any, path: str) -> Any:
    if isinstance(node, Mapping):
        target = node.get("_target_")
        if isinstance(target, str) and not target.startswith(_SCHEDULER_HOMES):
            if target in REGISTERED:
                raise not_a_scheduler(path, target)
            return _stand_in
        if target is not None:
            check_whole(node, path)
        return {key: _with_stand_ins(value, f"{path}.{key}") for key, value in node.items()}
    if not isinstance(node, list):
        if isinstance(node, str) and node in _SCHEDULERS and _PART.search(path):
            raise WrongTypeError(
                path, node, "must be the config of a scheduler, not its name", f"write scheduler@{path}={node}"
            )
        return node
    return [_with_stand_ins(value, f"{path}[{index}]") for index, value in enumerate(node)]


def _check_data(node: Any) -> None:
    if not isinstance(node, Mapping):
        raise WrongTypeError(
            "data", node, "must be a mapping with the keys train, eval, batch_size ...", "e.g. data=digits"
        )
    check_fields({"test": None, **node}, GROUPS["data"]["custom"], "data")
    check_node(node["train"], "data.train", "data=digits")
    if node["eval"] is not None:
        check_node(node["eval"], "data.eval", "data=digits")
    _check_test(node)
    if node["augment"] is not None:
        check_node(node["augment"], "data.augment", "data.augment=null")
    setting_of(DataSettings, keys_of(DataSettings, node), "data")


def _check_test(data: Mapping[str, Any]) -> None:
    test = data.get("test")
    if not isinstance(test, str):
        if test is not None:
            check_node(test, "data.test", "data.test=test.csv for data=arrays")
        return
    target = data["train"]["_target_"]
    if target not in ("ssr_hydra.data.Arrays", "ssr_hydra.data.ImageFolder"):
        rule = "can name a file only for data=arrays, and a folder only for data=image_folder"
        raise ConflictError("data.test", test, rule, "set data.test._target_ to the class of a data set")
    if target.endswith("ImageFolder") and (data["eval"] or {}).get("_target_") != target:
        raise MissingValueError(
            "data.test", test, "needs data.eval, because test images use the transforms of data.eval", "set data.eval"
        )


def known_dataloader_len(data: Mapping[str, Any]) -> int | None:
    """Return the number of batches per epoch; None if the number is 0, or is unknown before the data is loaded."""
    samples = known_samples(data["train"])
    if samples is None:
        return None
    if data["limit_train"] is not None:
        samples = min(samples, data["limit_train"] * data["batch_size"])
    whole, rest = divmod(samples, data["batch_size"])
    batches = whole if data["drop_last"] or rest == 0 else whole + 1
    return batches or None


def _check_trainer(node: Any, *, evaluates: bool) -> list[str]:
    """Refuse invalid values of ``trainer``, and return the names of the metrics that the run computes."""
    if not isinstance(node, Mapping):
        rule = "must be a mapping with the keys loss, metrics, eval_interval ..."
        raise WrongTypeError("trainer", node, rule, "e.g. trainer=default")
    check_fields(node, GROUPS["trainer"]["default"], "trainer")
    if node["loss"] is not None:
        check_node(node["loss"], "trainer.loss", "the default, torch.nn.CrossEntropyLoss")
    for name, metric in node["metrics"].items():
        check_node(metric, f"trainer.metrics.{name}", "{accuracy: {_target_: ...}}")
    for key in ("get_num_samples_in_batch", "get_num_tokens_in_batch"):
        if node[key] is not None:
            check_node(node[key], f"trainer.{key}", "null")
    counts = keys_of(CountSettings, node)
    setting_of(CountSettings, {k: None if k.startswith("get_") else v for k, v in counts.items()}, "trainer")
    for key in ("eval_interval", "log_interval"):
        interval(node[key], f"trainer.{key}")
        if node["iteration_length"] is None and node[key] is not None:
            check_no_iterations(as_time(node[key], f"trainer.{key}"), f"trainer.{key}")
    if not isinstance(node["device"], str) or DEVICE.fullmatch(node["device"]) is None:
        rule = "must be auto, cpu, cuda, cuda:<number> or mps"
        raise UnknownNameError("trainer.device", node["device"], rule, "write auto")
    if node["threads"] is not None:
        count(node["threads"], "trainer.threads", 1, 4096)
    one_of(node["progress"], "trainer.progress", PROGRESS)
    results = ["train/loss", *(("eval/loss", *(f"eval/{name}" for name in node["metrics"])) if evaluates else ())]
    if node["objective"] is not None and not is_result(node["objective"], results, node["metrics"]):
        rule, fix = f"must be one of {', '.join(results)}", "for no objective, set trainer.objective=null"
        if not evaluates:
            rule, fix = "must be train/loss or null, because data.eval=null", "set trainer.objective=train/loss"
        raise ConflictError("trainer.objective", node["objective"], rule, fix)
    setting_of(StepSettings, keys_of(StepSettings, node), "trainer")
    return results
