"""Studies made up for reports: records on disk as runs leave them, of curves that are known."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import yaml

from ssr_hydra.records import RunResult

MACHINE = {
    "cpu": "AMD EPYC",
    "instruction_set": "AVX2",
    "cores": 2,
    "threads": 2,
    "device": "cpu",
    "gpu": None,
    "processes": 1,
}
VERSIONS = {"python": "3.11.7", "torch": "2.10.0", "numpy": "2.0.0", "ssr_hydra": "0.1.0"}
STEPS = 1200


def accuracy(recipe: int, control: str | None, ssr: float, noise: float) -> float:
    """Saturating in log SSR; later recipes begin lower and end higher, truncation loses most where it cuts most."""
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
    scale_warmup: bool = False,
    status: str = "completed",
    error: str | None = None,
    evaluations: int = 8,
    metric: str = "eval/accuracy",
    mode: str = "max",
    rates: bool = True,
    seconds: float = 6.0,
) -> Path:
    """One run's folder: result.json, metrics.jsonl and its config."""
    steps = round(STEPS * ssr)
    folder.mkdir(parents=True)
    (folder / ".hydra").mkdir()
    config = {
        "name": "made up",
        "ssr": ssr,
        "max_duration": "16ep",
        "seed": seed,
        "control": control,
        "scheduler": {"_target_": f"made.up.{recipe}", "name": recipe, "scale_warmup": scale_warmup},
        "trainer": {"objective": metric, "mode": mode},
    }
    (folder / ".hydra/config.yaml").write_text(
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    choices = {"hydra": {"runtime": {"choices": {"scheduler": recipe}}}}
    (folder / ".hydra/hydra.yaml").write_text(yaml.safe_dump(choices, allow_unicode=True), encoding="utf-8")
    overrides = [f"scheduler={recipe}", f"ssr={ssr}", f"seed={seed}"]
    (folder / ".hydra/overrides.yaml").write_text(yaml.safe_dump(overrides, allow_unicode=True), encoding="utf-8")

    def stamp(step: int) -> dict[str, float | int]:
        return {
            "epoch": step // 75,
            "batch": step,
            "sample": 16 * step,
            "token": 0,
            "train_seconds": seconds * step / STEPS,
        }

    done = []
    lines = []
    for place in range(1, evaluations + 1):
        step = round(steps * place / evaluations)
        value = (
            None
            if quality is None
            else quality * (1 - 0.5 * math.exp(-4 * place / evaluations) * (place < evaluations))
        )
        done.append({"timestamp": stamp(step), "metrics": {metric: value}, "seconds": 0.01})
        lines.append({"event": "eval", **stamp(step), metric: value})
    for place in range(61 if rates else 0):
        step = max(1, round(steps * place / 60))
        length = STEPS if control == "truncate" else steps
        lines.append(
            {"event": "train", **stamp(step), "train/loss": 1.0, "lr": 0.05 * (1 + math.cos(math.pi * step / length))}
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    record = RunResult(
        status=status,
        error=error,
        name="made up",
        ssr=ssr,
        max_duration="16ep",
        seed=seed,
        steps=steps,
        samples=16 * steps,
        tokens=0,
        train_seconds=seconds * ssr,
        total_seconds=seconds * ssr + 0.5,
        metrics={metric: quality} if quality is not None else {},
        evaluations=done if quality is not None else [],
        versions=dict(VERSIONS),
        hardware=dict(MACHINE),
        control=control,
        data={"dataset": {"name": "made up", "samples": 1198, "sha256": "0" * 64}},
    )
    record.save(folder)
    return folder


def write_study(
    folder: Path,
    recipes: Sequence[str] = ("cosine_warmup", "linear_warmup", "wsd"),
    ssrs: Sequence[float] = (0.125, 0.25, 0.5, 1.0, 2.0),
    seeds: Sequence[int] = (0, 1, 2, 3),
    controls: Sequence[str] = ("", "truncate"),
    noise: float = 0.0025,
    evaluations: int = 8,
) -> Path:
    """Every recipe, SSR, seed and control, of seeds that share some of their noise."""
    drawn = random.Random(7)
    job = 0
    for place, recipe in enumerate(recipes):
        for control in controls:
            for ssr in ssrs:
                for seed in seeds:
                    if control == "truncate" and ssr >= 1:
                        continue
                    value = accuracy(place, control or None, ssr, drawn.gauss(0, noise))
                    write_run(
                        folder / str(job), recipe, ssr, seed, value, control=control or None, evaluations=evaluations
                    )
                    job += 1
    return folder


def spoil(folder: Path) -> None:
    """Add what goes wrong: a failed, a diverged, a torn and a missing run."""
    write_run(
        folder / "9001",
        "cosine_warmup",
        2.0,
        7,
        None,
        status="failed",
        error="RuntimeError: CUDA out of memory",
        evaluations=0,
    )
    write_run(
        folder / "9002", "wsd", 2.0, 7, None, status="diverged", error="the loss was nan at batch 11", evaluations=0
    )
    torn = write_run(folder / "9003", "wsd", 2.0, 8, 0.9)
    (torn / "result.json").write_text('{"status": "comple', encoding="utf-8")
    gone = write_run(folder / "9004", "wsd", 2.0, 9, 0.9)
    (gone / "result.json").unlink()
