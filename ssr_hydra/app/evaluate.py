"""Evaluate a checkpoint of a run, and compare the metrics with the metrics that the run recorded.

The evaluation reads the run's ``.hydra/config.yaml`` and checks this file like any other config: every ``_target_``
must be registered or trusted. The evaluation writes nothing into the run's folder.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf, open_dict

from ssr_hydra.app.check import plain
from ssr_hydra.app.command_line import CommandLine, key_of, quoted, split_override
from ssr_hydra.app.compose import composing
from ssr_hydra.app.targets import trust_of
from ssr_hydra.app.train import build
from ssr_hydra.checkpoints import Checkpoint, CheckpointStore, differences, load, open_checkpoint
from ssr_hydra.checkpoints.store import CHECKPOINTS
from ssr_hydra.configs import APP_KEYS
from ssr_hydra.errors import (
    ConflictError,
    InputError,
    MismatchError,
    MissingValueError,
    PathError,
    UnknownNameError,
    UnsupportedError,
    missing_package,
    visible,
)
from ssr_hydra.files import check_path, write_atomically
from ssr_hydra.output import text_table
from ssr_hydra.records import RESULT, RunResult, check_evaluations
from ssr_hydra.settings import CheckpointSettings, setting_of
from ssr_hydra.settings.base import one_of
from ssr_hydra.settings.data import EVALUATED
from ssr_hydra.trainer.processes import launched

if TYPE_CHECKING:
    from ssr_hydra.trainer import Trainer

TOLERANCE = 1e-6
_EMA = "ssr_hydra.callbacks.EMA"
_SAFETENSORS = ".safetensors"


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a checkpoint: the values computed now, and the values that the run recorded.

    Args:
        checkpoint: The folder of the checkpoint.
        batch: Number of batches after which the checkpoint was written.
        weights: ``raw`` for the trained weights; otherwise the name of the callback that averaged the weights.
        metrics: The metrics computed now.
        recorded: The metrics of these weights that the run recorded after ``batch`` batches, except metrics that the
            overrides affect. None if the run recorded no such metrics.
        messages: Additional messages for the user.
    """

    checkpoint: Path
    batch: int
    weights: str
    metrics: dict[str, float]
    recorded: dict[str, float | None] | None
    messages: tuple[str, ...] = ()

    @property
    def differences(self) -> dict[str, float]:
        """The difference between each metric and its recorded value.

        If the absolute recorded value is above 1, the difference is relative; otherwise it is absolute.
        """
        recorded = self.recorded or {}
        return {name: _off(value, recorded[name]) for name, value in self.metrics.items() if name in recorded}

    def table(self, tolerance: float = TOLERANCE) -> str:
        """Return a text table of the metrics and their recorded values, with the result of the comparison below it."""
        lines = [f"{self.checkpoint}: batch {self.batch}, {_words_for(self.weights)}"]
        rows = [("", "recorded", "now", "")]
        off = self.differences
        for name, value in self.metrics.items():
            missing = "not recorded" if self.recorded is None else "not compared"
            verdict = missing if name not in off else "equal" if off[name] == 0 else f"off by {off[name]:.2g}"
            before = repr(self.recorded[name]) if self.recorded and name in off else ""
            rows.append((visible(name), before, repr(value), verdict))
        lines += [f"  {line}" for line in text_table(rows)]
        return "\n".join([*lines, self.verdict(tolerance)])

    def is_as_recorded(self, tolerance: float = TOLERANCE) -> bool:
        """Return whether every compared metric differs by at most ``tolerance``."""
        return all(off <= tolerance for off in self.differences.values())

    def verdict(self, tolerance: float = TOLERANCE) -> str:
        """Return the result of the comparison, as one line of text."""
        off = self.differences
        if self.recorded is None:
            return "not compared: the run recorded no metrics of these weights at this batch"
        if not off:
            return "not compared: no metric has a comparable record"
        if not any(off.values()):
            return "bitwise equal to the record"
        worst = max(off, key=lambda name: off[name])
        if self.is_as_recorded(tolerance):
            return f"equal to the record within {tolerance:g}"
        return f"{visible(worst)} is off by {off[worst]:.2g}, more than {tolerance:g}"


def evaluate(
    run: str | Path,
    checkpoint: str | Path = "latest",
    *,
    overrides: Sequence[str] = (),
    trust: Iterable[str] | str = (),
    weights: str = "auto",
    export: str | Path | None = None,
    split: str = "eval",
) -> Evaluation:
    """Evaluate a checkpoint of a run with the data, loss and metrics of the run.

    Args:
        run: The folder of the run.
        checkpoint: ``latest`` for the newest intact checkpoint, ``best``, or the name or path of a checkpoint.
        overrides: Overrides of the run's config, such as ``data.eval_batch_size=512``. If they change the evaluation
            data, the loss or a metric, the affected metrics are not compared with the recorded values.
        trust: Modules, in addition to this package, whose classes and functions the config may name.
        weights: ``raw`` for the trained weights, or the name of a callback that averages weights. ``auto`` selects the
            weights that the run used for its own evaluations.
        export: File to save the evaluated weights in. A file name that ends in ``.safetensors`` selects the format of
            safetensors. Otherwise the file is a ``state_dict`` that ``torch.load(weights_only=True)`` reads. None to
            save nothing.
        split: ``eval`` for the evaluation data, or ``test`` for the test data, ``data.test``.

    Raises:
        InputError: The run or the checkpoint does not exist, the config names a target that is not trusted, or the
            checkpoint belongs to a different model.
        CheckpointError: The checkpoint is truncated, altered or not plain data.
        WriteError: The weights cannot be saved.

    Example:
        >>> evaluation = evaluate("outputs/run")  # doctest: +SKIP
        >>> evaluation.metrics["eval/accuracy"], evaluation.is_as_recorded()  # doctest: +SKIP
        (0.9632721202003339, True)
    """
    place = launched()
    if place is not None and place.world_size > 1:
        rule = f"must be evaluated by one process, but {place.world_size} processes were started"
        raise UnsupportedError("run", str(run), rule, "start the evaluation without torchrun")
    one_of(split, "split", EVALUATED)
    target = None if export is None else _new_file(Path(export))
    check_path(checkpoint, "checkpoint")
    run = check_path(Path(run).expanduser(), "run")
    config = _composed(run, [*overrides, *_as_override(trust)])
    loaded_checkpoint, messages = _checkpoint(run, checkpoint, config)
    if OmegaConf.is_dict(config.get("checkpoint")):  # an old config may not tell whether max or min is best
        config["checkpoint"]["best"] = None
    averaging = _averaging(config, loaded_checkpoint)
    evaluated = _chosen("auto", averaging)
    chosen = _chosen(weights, averaging)
    trainer = build(config, trust_of(config))
    _take(trainer, loaded_checkpoint, None if weights == "auto" else chosen)
    data = plain(config)["data"]
    if split == "test" and data.get("test") is None:
        raise MissingValueError("split", split, "needs test data, but the run has none", "set data.test=...")
    if split == "eval" and data.get("eval") is None and not data.get("eval_on_train"):
        fix = "write split=test, or set data.eval" if data.get("test") else "set data.eval"
        raise MissingValueError("data.eval", None, "must be set, because split=eval needs evaluation data", fix)
    metrics = trainer.evaluate(split)
    if target is not None:
        _export(trainer, loaded_checkpoint, chosen, target)
        messages.append(f"saved {_words_for(chosen)} as {target}")
    batch = int(loaded_checkpoint.timestamp["batch"])
    recorded, about = _recorded(run, loaded_checkpoint, batch, split)
    trusted = [each for each in overrides if key_of(each) == "trust"]
    if recorded is not None and len(trusted) < len(overrides):  # overrides other than trust may change the data
        own = _composed(run, [*trusted, *_as_override(trust)])
        recorded, changes = _comparable(recorded, own, config, split)
        about += changes
    if chosen != evaluated:
        recorded, about = None, [f"the run evaluated {_words_for(evaluated)}"]
    return Evaluation(loaded_checkpoint.path, batch, chosen, metrics, recorded, (*messages, *about))


def _comparable(
    recorded: dict[str, float | None], own: DictConfig, config: DictConfig, split: str = "eval"
) -> tuple[dict[str, float | None], list[str]]:
    """Remove the recorded metrics that overrides affect. Also return a message that lists the changed fields."""
    data = plain(config)["data"]
    # Keys of data that do not change which samples are evaluated.
    same = ["num_workers", "prefetch_factor", "test" if split == "eval" else "eval_on_train"]
    if not data.get("eval_on_train"):
        same += ["batch_size", "limit_train", "drop_last", "augment"]
    if data.get("limit_eval") is None:  # with limit_eval, the batch size changes the evaluated samples
        same.append("eval_batch_size")
    other: set[str] = set()
    changed: list[str] = []
    for field in (item.field for item in differences(plain(own), plain(config))):
        group, key, *path = f"{field}..".split(".")
        if group == "data" and key not in same:
            names = set(recorded)
        elif group == "trainer" and key in ("loss", "loss_mean_over"):
            names = {f"{split}/loss"}
        elif group == "trainer" and key == "metrics":
            names = {name for name in recorded if f"{name}/".startswith(f"{split}/{path[0]}/")}
        else:
            continue
        other |= names
        changed.append(field)
    if not other:
        return recorded, []
    remaining = {name: value for name, value in recorded.items() if name not in other}
    differ = "differs" if len(changed) == 1 else "differ"
    return remaining, [f"not compared with the record, because {', '.join(changed)} {differ} from the run"]


def _as_override(trust: Iterable[str] | str) -> list[str]:
    names = [trust] if isinstance(trust, str) else list(trust)
    return [f"trust=[{','.join(map(quoted, names))}]"] if names else []


def _composed(run: Path, overrides: list[str]) -> DictConfig:
    """Return the checked config of the run with ``overrides``. The config has no loggers, resume path or export."""
    folder = run / ".hydra"
    if not (folder / "config.yaml").is_file():
        rule = "folder not found" if not run.is_dir() else "must be the folder of a run, but has no .hydra/config.yaml"
        raise PathError("run", str(run), rule, "use the output folder of a run")
    for override in overrides:
        key, value = split_override(override)
        if re.match(r"hydra\b", key):
            raise ConflictError(key, value, "has no effect, because an evaluation is not a Hydra job", f"remove {key}")
        if key in APP_KEYS and key != "trust":
            raise ConflictError(key, value, "has no effect, because an evaluation is not a sweep", f"remove {key}")
    line = CommandLine(tuple(overrides), config_path=str(folder.absolute()))
    with composing(line) as composer:
        config = composer.compose(composer.overrides)
    with open_dict(config):
        del config["hydra"]
        config["logger"], config["resume"] = {}, {"path": "never", "on_change": "refuse"}
        if OmegaConf.is_dict(config.get("checkpoint")):
            config["checkpoint"]["export"] = None  # do not write the exported file of the run again
        # A checkpoint has the same content for any number of processes, so one process can evaluate it.
        if OmegaConf.is_dict(config.get("trainer")) and config["trainer"].get("parallel") == "fsdp":
            config["trainer"]["parallel"] = "ddp"
    return config


def _checkpoint(run: Path, checkpoint: str | Path, config: DictConfig) -> tuple[Checkpoint, list[str]]:
    name = str(checkpoint)
    if name == "latest":
        opened = open_checkpoint("auto", run)
        if opened is None:
            raise PathError("run", str(run), "contains no checkpoint", "set checkpoint=<path>, or train the run again")
        return opened[0], list(opened[1])
    if name == "best":
        mode = setting_of(CheckpointSettings, plain(config).get("checkpoint") or {}, "checkpoint").best_mode
        path = CheckpointStore(run / CHECKPOINTS, best_mode=mode).best()
        if path is None:
            missing = "needs checkpoint.best in the run's config"
            rule = missing if mode is None else "the run kept no best checkpoint"
            raise PathError("checkpoint", "best", rule, "use checkpoint=latest, or the name of a checkpoint")
        return load(path), []
    named = run / CHECKPOINTS / name
    path = named if named.is_dir() and Path(name).name == name else Path(name).expanduser()
    if not path.exists():
        fix = "use latest, best, a name such as ba1200, or a path"
        raise PathError("checkpoint", name, "checkpoint not found", fix)
    return load(path if path.is_dir() else path.parent), []


def _averaging(config: DictConfig, checkpoint: Checkpoint) -> dict[str, bool]:
    """Return the callbacks that average weights: a mapping from name to whether the run evaluated their average."""
    nodes = config.get("callbacks") or {}
    return {
        str(name): bool(node.get("evaluate", True))
        for name, node in nodes.items()
        if OmegaConf.is_dict(node) and node.get("_target_") == _EMA and name in checkpoint.state.get("callbacks", ())
    }


def _chosen(weights: str, averaging: Mapping[str, bool]) -> str:
    if weights == "auto":
        return next((name for name, evaluates in averaging.items() if evaluates), "raw")
    if weights != "raw" and weights not in averaging:
        others = ", ".join(["auto", "raw", *averaging])
        rule = f"this run has no callback {weights!r} that averages weights"
        raise UnknownNameError("weights", weights, rule, f"choose from {others}")
    return weights


def _take(trainer: Trainer, source: Checkpoint, weights: str | None) -> None:
    """Load ``weights`` of a checkpoint. If ``weights`` is None, load the trained weights and the callbacks' states."""
    from ssr_hydra.trainer.description import describe_model

    model = describe_model(trainer.model)
    changed = differences({"model": source.description.get("model")}, {"model": model})
    if changed:
        rule = f"the checkpoint {source.path} belongs to a different model: {'; '.join(map(str, changed[:3]))}"
        raise MismatchError("checkpoint", source.path.name, rule, "use a checkpoint of this run")
    trainer.load(source, callbacks=weights is None)
    if weights is not None:
        _average(trainer, source, weights)


def _average(trainer: Trainer, checkpoint: Checkpoint, name: str) -> None:
    """Load the weights that a callback averaged. Do nothing if ``name`` is ``raw``."""
    import torch

    if name == "raw":
        return
    own = trainer.model.state_dict(keep_vars=True)
    with torch.no_grad(), checkpoint.part("callbacks"):
        for key, tensor in checkpoint.state["callbacks"][name]["average"].items():
            if tensor.shape != own[key].shape:
                raise ValueError(f"{key} has the shape {list(tensor.shape)}, and the model's {list(own[key].shape)}")
            own[key].copy_(tensor)


def _export(trainer: Trainer, checkpoint: Checkpoint, weights: str, target: Path) -> None:
    import torch

    from ssr_hydra.trainer.saving import as_safetensors, check_exportable, restore_weights

    with checkpoint.part("model"):
        restore_weights(trainer.model, checkpoint.state)
    _average(trainer, checkpoint, weights)
    if target.suffix == _SAFETENSORS:
        assert trainer.config is not None
        check_exportable(trainer.model, "export", target)
        about = trainer.name, trainer.config["ssr"], int(checkpoint.timestamp["batch"])
        write_atomically(target, as_safetensors(trainer.model, trainer.model.state_dict(), *about))
        return
    state = {
        key: value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
        for key, value in trainer.model.state_dict().items()
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(target, buffer.getvalue())


def _new_file(path: Path) -> Path:
    path = check_path(path.expanduser(), "export")
    if path.exists():
        rule = "already exists, and existing files are not overwritten"
        raise PathError("export", str(path), rule, "use a different name")
    if not path.parent.is_dir():
        fix = "create the folder, or use a different path"
        raise PathError("export", str(path), "must be in an existing folder", fix)
    if path.suffix == _SAFETENSORS and importlib.util.find_spec("safetensors") is None:
        raise missing_package("export", str(path), "safetensors", "export")
    return path


def _recorded(
    run: Path, checkpoint: Checkpoint, batch: int, split: str
) -> tuple[dict[str, float | None] | None, list[str]]:
    """Return the metrics that the run recorded after ``batch`` batches (or None), and messages for the user."""
    from ssr_hydra.trainer.resuming import evaluations_of

    evaluations, lost = evaluations_of(checkpoint)
    about = [] if lost is None else [lost]
    records: dict[int, dict[str, float | None]] = {}
    if (run / RESULT).exists():
        try:
            result = RunResult.load(run)
            check_evaluations(result.evaluations)
        except (InputError, OSError) as error:
            about.append(f"the run's record was ignored: {error.rule if isinstance(error, InputError) else error}")
        else:
            evaluations += result.evaluations
            about += _elsewhere(result)
            records[result.steps] = {key: value for key, value in result.metrics.items() if key.startswith("test/")}
    if split == "eval":
        records = {item["timestamp"]["batch"]: dict(item["metrics"]) for item in evaluations}
    return records.get(batch) or None, about


def _elsewhere(result: RunResult) -> list[str]:
    """Return a message if this software or hardware differs from the run's: metrics may then differ slightly."""
    import torch

    from ssr_hydra.trainer.hardware import hardware, versions

    here: dict[str, Any] = {**versions(), **hardware(torch.device("cpu"))}
    before = {**result.versions, **result.hardware}
    names = ("torch", "ssr_hydra", "cpu", "instruction_set", "threads")
    changed = [
        f"{name} {visible(str(before[name]))}, here {here[name]}"
        for name in names
        if name in before and name in here and before[name] != here[name]
    ]
    return [f"recorded with {'; '.join(changed)}"] if changed else []


def _off(now: float, before: float | None) -> float:
    if before is None or not math.isfinite(now):  # recorded metrics have null for values that are not finite
        return 0.0 if before is None and not math.isfinite(now) else math.inf
    return abs(now - before) / max(1.0, abs(before))


def _words_for(weights: str) -> str:
    return "the trained weights" if weights == "raw" else f"the average of {visible(weights)}"
