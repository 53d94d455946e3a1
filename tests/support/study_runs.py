"""Studies for tests: from numbers, and from folders like those of real runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from ssr_hydra.records import RunResult
from ssr_hydra.studies import Study
from ssr_hydra.studies.study import Direction, as_curves, as_frame

METRIC = "eval/accuracy"
Values = Mapping[float, Any]


def study_of(
    values: Mapping[str | tuple[str, str], Values],
    direction: Direction = "max",
    seconds_per_ssr: float = 10.0,
    noise: Literal["pooled", "cell"] = "pooled",
) -> Study:
    """Return a study of {recipe or (recipe, control): {ssr: values}}; values are a list or {seed or None: value}."""
    rows: list[dict[str, Any]] = []
    for name, cells in values.items():
        recipe, control = (name, "") if isinstance(name, str) else name
        for ssr, qualities in cells.items():
            runs = qualities.items() if isinstance(qualities, Mapping) else enumerate(np.atleast_1d(qualities).tolist())
            for seed, quality in runs:
                row = {"recipe": recipe, "control": control, "ssr": ssr, "seed": seed, "quality": quality}
                row |= {"status": "completed", "steps": 100 * ssr, "samples": 1600 * ssr, "tokens": 0, "resumes": 0}
                row |= {"seconds": seconds_per_ssr * ssr, "total_seconds": seconds_per_ssr * ssr + 1}
                if math.isnan(quality):
                    row |= {"status": "diverged", "error": "train/loss is nan"}
                rows.append(dict.fromkeys(("study", "job", "error", "max_duration", "config_hash", "folder"), "") | row)
    return Study(as_frame(rows), as_curves(), METRIC, direction, noise=noise)


def record(ssr: float = 1.0, seed: int | None = 0, quality: float | None = 0.9, **changes: Any) -> RunResult:
    """Return the record of a run of 100 * ssr steps with two evaluations."""
    steps = round(100 * ssr)
    evaluations = [
        {
            "timestamp": {"epoch": 0, "batch": batch, "sample": 16 * batch, "token": 0, "train_seconds": batch / 10},
            "metrics": {METRIC: value, "train/loss": 1.0},
            "seconds": 0.01,
        }
        for batch, value in ((steps // 2, 0.5), (steps, quality))
    ]
    result = RunResult(
        status="completed", error=None, name="digits", ssr=ssr, max_duration="16ep", seed=seed, steps=steps,
        samples=16 * steps, tokens=0, train_seconds=steps / 10, total_seconds=steps / 10 + 1,
        metrics={METRIC: quality, "train/loss": 1.0}, evaluations=evaluations, config_hash="0" * 64,
        versions={"python": "3.12.1", "torch": "2.10.0"},
        hardware={"cpu": "a cpu", "gpu": None, "device": "cpu", "threads": 1, "processes": 1},
        data={"dataset": {"name": "digits train", "sha256": "0e8e82d85b"}},
    )  # fmt: skip
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def config(ssr: float = 1.0, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """Return the part of a job's config that a study reads."""
    settings: dict[str, Any] = {
        "name": "digits",
        "ssr": ssr,
        "max_duration": "16ep",
        "seed": seed,
        "scheduler": {"scale_warmup": False, "_target_": "ssr_hydra.schedulers.CosineAnnealingWithWarmupScheduler"},
        "optimizer": {"lr": 0.1, "_target_": "torch.optim.SGD"},
        "trainer": {"objective": METRIC, "progress": "auto"},
        "checkpoint": {"best": None, "mode": "auto"},
        "control": None,
    }
    for key, value in changes.items():
        node = settings
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    return settings


def write_run(
    folder: Path,
    result: RunResult | None = None,
    configured: Mapping[str, Any] | None = None,
    overrides: list[str] | None = None,
    choices: Mapping[str, Any] | None = None,
) -> Path:
    """Write the folder of a job. Without ``configured``, the folder has no config, like that of a run in Python."""
    folder.mkdir(parents=True)
    if configured is not None:
        (folder / ".hydra").mkdir()
        hydra = {"hydra": {"job": {"name": "train"}, "runtime": {"version": "1.3.2", "choices": dict(choices or {})}}}
        for name, content in (("config", configured), ("overrides", overrides or []), ("hydra", hydra)):
            text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
            (folder / f".hydra/{name}.yaml").write_text(text, encoding="utf-8")
    if result is not None:
        (folder / "result.json").write_text(result.to_json(), encoding="utf-8")
    return folder


def raw(result: RunResult) -> dict[str, Any]:
    """Return a record as it is stored on disk."""
    content: dict[str, Any] = json.loads(result.to_json())
    return content
