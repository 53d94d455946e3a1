"""Artificial studies for reports: records on disk, computed from known curves."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import study_runs
from study_runs import record

STEPS = 1200


def accuracy(recipe: int, control: str | None, ssr: float, noise: float) -> float:
    """Return a quality that saturates in log SSR. Recipe k + 1 begins lower and ends higher than recipe k."""
    lost = 0.02 * max(0.0, -math.log2(ssr)) if control == "truncate" else 0.0
    return 0.965 - (0.022 + 0.004 * recipe) * ssr ** -(0.55 + 0.12 * recipe) + 0.007 * recipe - lost + noise


def write_run(
    folder: Path,
    recipe: str = "cosine",
    ssr: float = 1.0,
    seed: int | None = 0,
    quality: float | None = 0.9,
    *,
    control: str | None = None,
    status: str = "completed",
    error: str | None = None,
    evaluations: int = 8,
    metric: str = "eval/accuracy",
    rates: bool = True,
) -> Path:
    """Write the folder of one run: result.json, metrics.jsonl and its config."""
    steps = round(STEPS * ssr)
    config = {
        "name": "made up", "ssr": ssr, "max_duration": "16ep", "seed": seed, "control": control,
        "scheduler": {"_target_": f"made.up.{recipe}", "name": recipe, "scale_warmup": False},
        "trainer": {"objective": metric},
    }  # fmt: skip

    def stamp(step: int) -> dict[str, float | int]:
        return {"epoch": step // 75, "batch": step, "sample": 16 * step, "token": 0, "train_seconds": 6 * step / STEPS}

    evals = []
    lines = []
    for place in range(1, evaluations + 1 if quality is not None else 1):
        step = round(steps * place / evaluations)
        value = quality * (1 - 0.5 * math.exp(-4 * place / evaluations) * (place < evaluations))  # type: ignore[operator]
        evals.append({"timestamp": stamp(step), "metrics": {metric: value}, "seconds": 0.01})
        lines.append({"event": "eval", **stamp(step), metric: value})
    length = STEPS if control == "truncate" else steps
    for place in range(61 if rates else 0):
        step = max(1, round(steps * place / 60))
        lr = 0.05 * (1 + math.cos(math.pi * step / length))
        lines.append({"event": "train", **stamp(step), "train/loss": 1.0, "lr": lr})
    run_record = record(
        ssr, seed, quality, name="made up", status=status, error=error, control=control, evaluations=evals, steps=steps,
        samples=16 * steps, train_seconds=6 * ssr, total_seconds=6 * ssr + 0.5,
        metrics={metric: quality} if quality is not None else {},
    )  # fmt: skip
    overrides = [f"scheduler={recipe}", f"ssr={ssr}", f"seed={seed}"]
    study_runs.write_run(folder, run_record, config, overrides, {"scheduler": recipe})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def write_study(
    folder: Path,
    recipes: Sequence[str] = ("cosine_warmup", "linear_warmup", "wsd"),
    ssrs: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    seeds: Sequence[int] = (0, 1, 2, 3),
    controls: Sequence[str] = ("", "truncate"),
) -> Path:
    """Write a run for every recipe, SSR, seed and control."""
    rng = random.Random(7)
    job = 0
    for place, recipe in enumerate(recipes):
        for control in controls:
            for ssr in ssrs:
                for seed in seeds:
                    if control == "truncate" and ssr >= 1:
                        continue
                    value = accuracy(place, control, ssr, rng.gauss(0, 0.0025))
                    write_run(folder / str(job), recipe, ssr, seed, value, control=control or None)
                    job += 1
    return folder


def spoil(folder: Path) -> None:
    """Add a failed, a diverged, a damaged and a missing run."""
    out_of_memory = "RuntimeError: CUDA out of memory"
    write_run(folder / "9001", "cosine_warmup", 2.0, 7, None, status="failed", error=out_of_memory)
    write_run(folder / "9002", "wsd", 2.0, 7, None, status="diverged", error="the loss was nan at batch 11")
    torn = write_run(folder / "9003", "wsd", 2.0, 8, 0.9)
    (torn / "result.json").write_text('{"status": "comple', encoding="utf-8")
    gone = write_run(folder / "9004", "wsd", 2.0, 9, 0.9)
    (gone / "result.json").unlink()
