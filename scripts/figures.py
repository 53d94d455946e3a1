"""Draw the documentation's pictures of the scale schedule ratio, of schedules after a resume, and of shared steps.

    python scripts/figures.py [FOLDER]

The files are in the repository. Their bytes depend only on this file, the package and the release of matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the checkout, installed or not

from ssr_hydra import State, Timestamp
from ssr_hydra.checkpoints import TimeMap
from ssr_hydra.drawing import HUES, render, style
from ssr_hydra.previews import preview
from ssr_hydra.schedulers import (
    CosineAnnealingScheduler,
    CosineAnnealingWithWarmupScheduler,
    WarmupStableDecayScheduler,
    bind,
)
from ssr_hydra.sweeps.sharing.sequences import Calendar, Sequences, Track
from ssr_hydra.sweeps.sharing.stages import Planned, plan_stages

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"


def resumed() -> Figure:
    """Draw a cosine over 10 epochs that is resumed at epoch 6 with 16 or 8 epochs, by ``extend`` and by ``rescale``."""
    figure = Figure(figsize=(6.3, 2.7), layout="constrained")
    at, dataloader_len = 6, 100

    def state(epochs: int, batch: int = 0) -> State:
        timestamp = Timestamp(epoch=batch // dataloader_len, batch=batch)
        return State(max_duration=f"{epochs}ep", dataloader_len=dataloader_len, timestamp=timestamp)

    planned = TimeMap.planned(state(10), 1)
    for axes, epochs in zip(figure.subplots(1, 2, sharey=True), (16, 8), strict=True):
        new = state(epochs, at * dataloader_len)
        lines = (
            ("as planned", planned, 10, 0, "#555555", (0, (2, 1.5))),
            ("extend", planned.extended(new, 1), epochs, at, HUES[0], "-"),
            ("rescale", planned.rescaled(new), epochs, at, HUES[1], "-"),
        )
        for label, time_map, end, begin, color, dashes in lines:
            curve = bind(CosineAnnealingScheduler(), time_map.plan(state(end)), time_map.ssr)
            batches = range(begin * dataloader_len, end * dataloader_len + 1, 5)
            alphas = [curve(time_map(Timestamp(batch=batch))) for batch in batches]
            axes.plot([batch / dataloader_len for batch in batches], alphas, label=label, color=color, linestyle=dashes)
        axes.axvline(at, color="#BBBBBB", linewidth=0.8, zorder=0)
        axes.set_title(f"10 epochs, resumed at {at} with {epochs}")
        axes.set_xlabel("epochs")
        axes.set_xlim(0, max(epochs, 10))
    figure.axes[0].set_ylabel("alpha")
    figure.axes[0].legend(frameon=False)
    return figure


def shared() -> Figure:
    """Draw the tree of a WSD sweep: the steps that each job trains itself, and where the job leaves the longest job."""
    figure = Figure(figsize=(6.3, 2.7), layout="constrained")
    axes = figure.subplots()
    calendar, scheduler = Calendar(batch_size=8), WarmupStableDecayScheduler("50ba", "0.2dur")
    ratios = (0.125, 0.25, 0.5, 1, 2)
    jobs = []
    for ratio in ratios:
        curve = bind(scheduler, State(max_duration=f"{1600 * ratio:g}ba"), ratio)
        jobs.append(Planned(Sequences(round(1600 * ratio), {"scheduler": Track(curve, calendar)}), "all"))
    plan = plan_stages(jobs)
    for ratio, job, branch, color in zip(ratios, jobs, plan.branches, HUES[len(ratios) - 1 :: -1], strict=True):
        steps = range(max(0, branch.begin - 1), branch.steps)
        alphas = job.sequences.tracks["scheduler"].values(steps[0], branch.steps)
        own = f"{branch.steps - branch.begin:,} of {branch.steps:,}"
        axes.plot(steps, alphas, color=color, label=f"SSR {ratio:g}: {own}")
        if branch.source is not None:
            axes.plot(branch.begin - 1, 1, "o", color=color, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("alpha")
    axes.set_xlim(0, 3200)
    axes.set_ylim(0, 1.1)
    figure.legend(frameon=False, loc="outside right center", title="steps that the job trains")
    return figure


def main(folder: Path = FOLDER) -> None:
    """Write ``ssr.svg`` and ``ssr.png`` (one schedule at four ratios), ``resuming.svg`` and ``sharing.svg``."""
    cosine = CosineAnnealingWithWarmupScheduler("0.1dur")
    for path in preview(cosine, max_duration="20ep", ssr=(0.25, 0.5, 1, 2)).save(folder / "ssr"):
        print(path)
    with style():
        for name, make_figure in (("resuming", resumed), ("sharing", shared)):
            (folder / f"{name}.svg").write_bytes(render(make_figure(), "svg"))
            print(folder / f"{name}.svg")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
