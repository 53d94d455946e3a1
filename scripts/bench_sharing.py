"""Measure shared prefixes: the time to plan a sweep, and the time of a sweep with and without sharing."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra.schedulers import (
    CosineAnnealingWithWarmupScheduler,
    MultiStepWithWarmupScheduler,
    StepScheduler,
    WarmupStableDecayScheduler,
)
from ssr_hydra.state import State
from ssr_hydra.sweeps.sharing.sequences import Calendar, Sequences, Track
from ssr_hydra.sweeps.sharing.stages import Planned, plan_stages

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
SWEEP = (
    "experiment=byte_lm",
    "scheduler=wsd",
    "scheduler.t_warmup=6400tok",  # 50 batches
    "scheduler.t_decay=0.2dur",
    "trainer.eval_interval=null",
    "checkpoint.interval=null",
    "trainer.progress=none",
    "study_report=false",
    "workers=1",
)
RATIOS = (0.125, 0.25, 0.5, 1, 2)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the time to plan sweeps of many jobs; with ``--train``, also the times of two sweeps."""
    parser = argparse.ArgumentParser(prog="bench.py sharing", description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of 1,200 steps (1000)")
    parser.add_argument("--long-jobs", type=int, default=200, help="jobs of 1,000,000 steps (200)")
    parser.add_argument("--train", action="store_true", help="also train the language model, with and without sharing")
    options = parser.parse_args(argv)
    makers: dict[str, Callable[[int], Any]] = {
        "wsd, 3 decays": lambda k: WarmupStableDecayScheduler("100ba", f"{(k % 3 + 1) / 20}dur"),
        "multistep": lambda k: MultiStepWithWarmupScheduler("100ba", ["0.5dur", f"0.{60 + k % 20}dur"]),
        "step": lambda k: StepScheduler("0.34dur"),  # noqa: ARG005
        "cosine": lambda k: CosineAnnealingWithWarmupScheduler("100ba"),  # noqa: ARG005
    }
    print(f"{'plan':<16}{'jobs':>6}{'steps':>12}{'seconds':>10}{'saved':>8}")
    for steps, jobs in ((1200, options.jobs), (1_000_000, options.long_jobs)):
        for name, make in makers.items():
            began = time.process_time()
            plan = plan_stages([_planned(make(k), steps, 0.5 + k / (2 * jobs)) for k in range(jobs)])
            seconds = time.process_time() - began
            saved = 1 - plan.shared / plan.alone
            print(f"{name:<16}{jobs:>6,}{steps:>12,}{seconds:>10.2f}{saved:>8.1%}")
    if options.train:
        _train()
    return 0


def _planned(scheduler: Any, steps: int, ssr: float) -> Planned:
    length = round(steps * ssr)
    curve = scheduler.bind(State(f"{length}ba"), ssr)
    return Planned(Sequences(length, {"scheduler": Track(curve, Calendar(batch_size=16))}), "all")


def _train() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for name, share in (("alone", "share=false"), ("shared", "share=true")):
            ratios = ",".join(map(str, RATIOS))
            arguments = ["-m", *SWEEP, f"ssr={ratios}", f"study={name}", share]
            began = time.perf_counter()
            process = subprocess.run(
                [sys.executable, str(TRAIN), *arguments], cwd=folder, check=True, capture_output=True, text=True
            )
            seconds[name] = time.perf_counter() - began
        steps = re.search(r"cost of the study: ([\d,]+) steps in .* instead of ([\d,]+) steps", process.stdout)
        assert steps is not None
        shared, alone = (int(each.replace(",", "")) for each in steps.groups())
        print(f"\nbyte LM, WSD, SSR {', '.join(map(str, RATIOS))}, one worker")
        print(f"{'steps':<10}{alone:>10,}{shared:>10,}{shared / alone:>8.3f}")
        ratio = seconds["shared"] / seconds["alone"]
        print(f"{'seconds':<10}{seconds['alone']:>10.1f}{seconds['shared']:>10.1f}{ratio:>8.3f}")
